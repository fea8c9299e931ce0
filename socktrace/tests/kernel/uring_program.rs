//! A program that uses sockets by `io_uring`, or to compare by system calls. The tests of `uring` start
//! it: it is this test program, asked for a test that does what the environment says.

use std::{
    env, io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd},
        linux::net::SocketAddrExt as _,
    },
    process::{self, Command},
};

use io_uring::{
    Builder, IoUring, opcode,
    squeue::{self, Flags},
    types::{DestinationSlot, Fd, Fixed},
};
use rustix::net::{self, AddressFamily, SocketType, sockopt::socket_cookie};

/// Names what the program is to do.
const TASK: &str = "SOCKTRACE_URING_TASK";

/// Adds to a command that starts another that this is the one, with what it is to do.
pub(crate) fn add_to<'a>(command: &'a mut Command, task: &str) -> &'a mut Command {
    command
        .arg(env::current_exe().unwrap())
        .args(["uring_program::program", "--exact", "--ignored"])
        .args(["--nocapture", "--test-threads=1"])
        .env(TASK, task)
}

const IPV4: i32 = 2;
const UNIX: i32 = 1;
const UNIX_FAMILY: u16 = 1;
const STREAM: i32 = 1;
const DATAGRAM: i32 = 2;

#[test]
#[ignore = "a program that the tests of uring start"]
#[expect(
    clippy::exit,
    reason = "what the test program says at its end gets into rows"
)]
fn program() {
    let ring = || Way::Ring(Box::new(Ring::new()));
    // Another thread of the kernel's looks for requests by itself; or each is handed to another.
    let polled = IoUring::builder().setup_sqpoll(1_000).clone();
    let with = |mut builder: Builder, flags| Way::Ring(Box::new(Ring::with(&mut builder, flags)));
    match env::var(TASK).as_deref() {
        Ok("life by ring") => life(ring()),
        Ok("life by polled ring") => life(with(polled, Flags::empty())),
        Ok("life by other threads") => life(with(IoUring::builder(), Flags::ASYNC)),
        Ok("life by calls") => life(Way::Calls),
        Ok("failures by ring") => failures(ring()),
        Ok("failures by calls") => failures(Way::Calls),
        Ok("families") => families(Ring::new()),
        Ok("multishot") => multishot(),
        Ok("many multishots") => many_multishots(),
        Ok("direct") => direct(),
        Ok("batch") => batch(),
        Ok("bad close") => bad_close(),
        task => panic!("{task:?}"),
    }
    // The test program would write `ok` and the end of that line apart, and a row that is written in between
    // would begin no line.
    process::exit(0);
}

#[allow(clippy::print_stdout, reason = "it is read by the test")]
fn say(name: &str, fact: impl Into<u64>) {
    // In a line of its own: the test program says things, too.
    println!("\n{{\"{name}\":{}}}", fact.into());
}

fn say_cookie(name: &str, fd: RawFd) {
    say(name, socket_cookie(borrow(fd)).unwrap());
}

fn borrow(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: it is open where it is asked about, and nothing of it is kept.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// A ring that is asked one thing at a time.
struct Ring(IoUring, Flags);

impl Ring {
    fn new() -> Self {
        Self::with(&mut IoUring::builder(), Flags::empty())
    }

    fn with(builder: &mut Builder, flags: Flags) -> Self {
        let ring = builder.build(8).unwrap();
        ring.submitter().register_files_sparse(8).unwrap();
        Self(ring, flags)
    }

    fn push(&mut self, entry: squeue::Entry) {
        let entry = if self.1.is_empty() {
            entry
        } else {
            entry.flags(self.1)
        };
        // SAFETY: what it points to lives until its completion is there.
        unsafe { self.0.submission().push(&entry).unwrap() };
    }

    fn result(&mut self) -> i32 {
        self.0.submit_and_wait(1).unwrap();
        self.0.completion().next().unwrap().result()
    }

    fn ask(&mut self, entry: squeue::Entry) -> i32 {
        self.push(entry);
        self.result()
    }
}

/// `struct sockaddr_in`.
fn address(host: [u8; 4], port: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&2_u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    bytes[4..8].copy_from_slice(&host);
    bytes
}

/// By `io_uring` or by system calls.
enum Way {
    Ring(Box<Ring>),
    Calls,
}

impl Way {
    fn socket(&mut self) -> RawFd {
        match self {
            Self::Ring(ring) => ring.ask(opcode::Socket::new(IPV4, STREAM, 0).build()),
            Self::Calls => {
                let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None);
                socket.unwrap().into_raw_fd()
            }
        }
    }

    /// Its port.
    fn bind(&mut self, fd: RawFd) -> u16 {
        let any = address([127, 0, 0, 1], 0);
        match self {
            Self::Ring(ring) => {
                let bind = opcode::Bind::new(Fd(fd), any.as_ptr().cast(), 16);
                assert_eq!(ring.ask(bind.build()), 0);
            }
            Self::Calls => net::bind(borrow(fd), &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap(),
        }
        let at = SocketAddr::try_from(net::getsockname(borrow(fd)).unwrap());
        at.unwrap().port()
    }

    fn listen(&mut self, fd: RawFd) {
        match self {
            Self::Ring(ring) => {
                assert_eq!(ring.ask(opcode::Listen::new(Fd(fd), 16).build()), 0);
            }
            Self::Calls => net::listen(borrow(fd), 16).unwrap(),
        }
    }

    /// 0 or a negative errno.
    fn connect(&mut self, fd: RawFd, host: [u8; 4], port: u16) -> i32 {
        match self {
            Self::Ring(ring) => {
                let to = address(host, port);
                ring.ask(opcode::Connect::new(Fd(fd), to.as_ptr().cast(), 16).build())
            }
            Self::Calls => match net::connect(borrow(fd), &SocketAddr::from((host, port))) {
                Ok(()) => 0,
                Err(error) => -error.raw_os_error(),
            },
        }
    }

    fn accept(&mut self, fd: RawFd) -> RawFd {
        match self {
            Self::Ring(ring) => {
                let (address, length) = (std::ptr::null_mut(), std::ptr::null_mut());
                ring.ask(opcode::Accept::new(Fd(fd), address, length).build())
            }
            Self::Calls => net::accept(borrow(fd)).unwrap().into_raw_fd(),
        }
    }

    fn close(&mut self, fd: RawFd) {
        match self {
            Self::Ring(ring) => assert_eq!(ring.ask(opcode::Close::new(Fd(fd)).build()), 0),
            // SAFETY: it is ours, and nobody uses it any more.
            Self::Calls => drop(unsafe { OwnedFd::from_raw_fd(fd) }),
        }
    }
}

/// One of each: a listener, a client, a server's socket.
fn life(mut way: Way) {
    let tid = rustix::thread::gettid().as_raw_pid();
    say("tid", u64::try_from(tid).unwrap());
    let listener = way.socket();
    let port = way.bind(listener);
    way.listen(listener);
    let client = way.socket();
    assert_eq!(way.connect(client, [127, 0, 0, 1], port), 0);
    let accepted = way.accept(listener);
    let sockets = [
        ("listener", listener),
        ("client", client),
        ("accepted", accepted),
    ];
    for (name, fd) in sockets {
        say_cookie(name, fd);
        say(&format!("fd of {name}"), u64::try_from(fd).unwrap());
    }
    way.close(client);
    way.close(accepted);
    way.close(listener);
}

/// Connects that fail with and without a change of state.
fn failures(mut way: Way) {
    for (name, host) in [("refused", [127, 0, 0, 1]), ("unreachable", [192, 0, 2, 1])] {
        let socket = way.socket();
        say_cookie(name, socket);
        assert!(way.connect(socket, host, 1) < 0);
        way.close(socket);
    }
}

/// A UDP and a Unix socket, which have no states to be told by.
fn families(mut ring: Ring) {
    let udp = ring.ask(opcode::Socket::new(IPV4, DATAGRAM, 0).build());
    say_cookie("udp", udp);
    let to = address([127, 0, 0, 1], 53);
    let connect = opcode::Connect::new(Fd(udp), to.as_ptr().cast(), 16);
    assert_eq!(ring.ask(connect.build()), 0);

    let name = format!("\0socktrace-ring-{}", process::id());
    let at = std::os::unix::net::SocketAddr::from_abstract_name(&name[1..]).unwrap();
    let server = std::os::unix::net::UnixListener::bind_addr(&at).unwrap();
    let unix = ring.ask(opcode::Socket::new(UNIX, STREAM, 0).build());
    say_cookie("unix", unix);
    let mut to = UNIX_FAMILY.to_ne_bytes().to_vec();
    to.extend(name.as_bytes());
    let length = u32::try_from(to.len()).unwrap();
    let connect = opcode::Connect::new(Fd(unix), to.as_ptr().cast(), length);
    assert_eq!(ring.ask(connect.build()), 0);
    // Nobody listens there.
    let nowhere = ring.ask(opcode::Socket::new(UNIX, STREAM, 0).build());
    say_cookie("nowhere", nowhere);
    to.push(b'x');
    let connect = opcode::Connect::new(Fd(nowhere), to.as_ptr().cast(), length + 1);
    assert_eq!(ring.ask(connect.build()), -111);
    for fd in [udp, unix, nowhere] {
        assert_eq!(ring.ask(opcode::Close::new(Fd(fd)).build()), 0);
    }
    drop(server);
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    say_cookie("listener", std::os::fd::AsRawFd::as_raw_fd(&listener));
    (listener, at)
}

/// One accept for many connections, with more of the same number under way.
fn multishot() {
    let (listener, at) = listener();
    let mut ring = Ring::new();
    let fd = Fd(std::os::fd::AsRawFd::as_raw_fd(&listener));
    ring.push(opcode::AcceptMulti::new(fd).build().user_data(7));
    let mut clients = Vec::new();
    for name in ["first", "second", "third"] {
        clients.push(TcpStream::connect(at).unwrap());
        let accepted = ring.result();
        say_cookie(name, accepted);
        say(&format!("fd of {name}"), u64::try_from(accepted).unwrap());
    }
    // The last completion: it was taken back.
    ring.push(opcode::AsyncCancel::new(7).build().user_data(8));
    ring.0.submit_and_wait(2).unwrap();
    let last: Vec<_> = ring.0.completion().map(|it| it.result()).collect();
    assert!(last.contains(&-125), "{last:?}");
    // What has its number now is no accept.
    let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
    io::Write::write_all(&mut &a, b"0123456789").unwrap();
    let mut buffer = [0_u8; 16];
    let read = opcode::Read::new(
        Fd(std::os::fd::AsRawFd::as_raw_fd(&b)),
        buffer.as_mut_ptr(),
        16,
    );
    assert_eq!(ring.ask(read.build().user_data(7)), 10);
}

/// More accepts under way than are remembered, then none, then a few.
fn many_multishots() {
    let (listener, _) = listener();
    let fd = Fd(std::os::fd::AsRawFd::as_raw_fd(&listener));
    let mut ring = Ring::new();
    let begin = |ring: &mut Ring, number| {
        ring.push(opcode::AcceptMulti::new(fd).build().user_data(number));
        ring.0.submit().unwrap();
    };
    let many = 0..4096 + 50;
    many.clone().for_each(|number| begin(&mut ring, number));
    for number in many {
        ring.push(opcode::AsyncCancel::new(number).build().user_data(u64::MAX));
        ring.0.submit_and_wait(2).unwrap();
        assert_eq!(ring.0.completion().count(), 2);
    }
    (0..50).for_each(|number| begin(&mut ring, number));
}

/// Sockets that are in no process's table of descriptors.
fn direct() {
    let (listener, at) = listener();
    let mut ring = Ring::new();
    let fd = Fd(std::os::fd::AsRawFd::as_raw_fd(&listener));
    let connect = |name: &str| {
        let client = TcpStream::connect(at).unwrap();
        say(name, client.local_addr().unwrap().port());
        client
    };
    let one = connect("accepted by one");
    let slot = DestinationSlot::try_from_slot_target(3).unwrap();
    let (null, length) = (std::ptr::null_mut(), std::ptr::null_mut());
    let accept = opcode::Accept::new(fd, null, length).file_index(Some(slot));
    assert_eq!(ring.ask(accept.build()), 0);
    let many = opcode::AcceptMulti::new(fd).allocate_file_index(true);
    ring.push(many.build().user_data(7));
    let two = connect("accepted by many");
    assert!(ring.result() >= 0);
    ring.push(opcode::AsyncCancel::new(7).build().user_data(8));
    ring.0.submit_and_wait(2).unwrap();
    assert_eq!(ring.0.completion().count(), 2);
    let slot = DestinationSlot::try_from_slot_target(5).unwrap();
    let socket = opcode::Socket::new(IPV4, STREAM, 0).file_index(Some(slot));
    assert_eq!(ring.ask(socket.build()), 0);
    let SocketAddr::V4(v4) = at else { panic!() };
    let to = address(v4.ip().octets(), v4.port());
    let connect = opcode::Connect::new(Fixed(5), to.as_ptr().cast(), 16);
    assert_eq!(ring.ask(connect.build()), 0);
    let (accepted, peer) = listener.accept().unwrap();
    say("client", peer.port());
    assert_eq!(ring.ask(opcode::Close::new(Fixed(5)).build()), 0);
    drop((one, two, accepted.as_fd()));
}

/// A socket that is connected before the completion of its making is there: those of one batch come
/// at its end.
fn batch() {
    let (listener, at) = listener();
    let mut ring = Ring::new();
    let slot = DestinationSlot::try_from_slot_target(2).unwrap();
    let socket = opcode::Socket::new(IPV4, STREAM, 0).file_index(Some(slot));
    ring.push(socket.build());
    let SocketAddr::V4(v4) = at else { panic!() };
    let to = address(v4.ip().octets(), v4.port());
    ring.push(opcode::Connect::new(Fixed(2), to.as_ptr().cast(), 16).build());
    ring.0.submit_and_wait(2).unwrap();
    assert!(ring.0.completion().all(|it| it.result() == 0));
    let (_accepted, peer) = listener.accept().unwrap();
    say("client", peer.port());
    let close = opcode::Close::new(Fixed(2)).build();
    ring.push(close.flags(Flags::SKIP_SUCCESS));
    ring.0.submit().unwrap();
}

/// A close that does not take place: what is before it in its chain fails.
fn bad_close() {
    let (listener, _) = listener();
    let mut ring = Ring::new();
    let mut buffer = [0_u8; 1];
    let fails = opcode::Read::new(Fd(-1), buffer.as_mut_ptr(), 1).build();
    ring.push(fails.flags(Flags::IO_LINK));
    let fd = Fd(std::os::fd::AsRawFd::as_raw_fd(&listener));
    ring.push(opcode::Close::new(fd).build());
    ring.0.submit_and_wait(2).unwrap();
    assert!(ring.0.completion().all(|it| it.result() < 0));
    listener.local_addr().unwrap();
}
