//! An `io_uring` in this process, in a namespace that the calling thread enters.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::AsRawFd as _,
    ptr,
};

use io_uring::{
    IoUring, opcode,
    squeue::Entry,
    types::{DestinationSlot, Fd, Fixed},
};

use crate::support::Netns;

const AF_INET: u16 = 2;
const SOCK_STREAM: i32 = 1;
const SOCK_CLOEXEC: i32 = 0o2_000_000;

/// Where a socket is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    /// A descriptor.
    Fd(i32),
    /// A direct descriptor.
    Slot(u32),
}

/// A ring with eight slots for files.
pub(crate) struct Ring(IoUring);

impl Ring {
    /// The thread moves into the namespace, and stays there. `None`, and told so, where rings are
    /// forbidden (`kernel.io_uring_disabled`) or not compiled in.
    pub(crate) fn new(netns: &Netns) -> Option<Self> {
        netns.enter();
        let ring = match IoUring::new(8) {
            Ok(ring) => ring,
            Err(error) => {
                println!("skipped: there is no io_uring ({error})");
                return None;
            }
        };
        ring.submitter().register_files_sparse(8).unwrap();
        Some(Self(ring))
    }

    /// Does one thing, and waits until it is done: its result.
    ///
    /// # Safety
    ///
    /// What the entry points to lives until then.
    #[track_caller]
    unsafe fn run(&mut self, entry: &Entry) -> i32 {
        // SAFETY: the caller keeps what it points to, and nothing else is under way.
        unsafe { self.0.submission().push(entry).unwrap() };
        self.0.submit_and_wait(1).unwrap();
        let result = self.0.completion().next().unwrap().result();
        assert!(result >= 0, "{}", io::Error::from_raw_os_error(-result));
        result
    }

    /// A TCP socket: its descriptor, or in a slot.
    pub(crate) fn socket(&mut self, slot: Option<u32>) -> i32 {
        let entry = opcode::Socket::new(AF_INET.into(), SOCK_STREAM | flags(slot), 0);
        // SAFETY: it points to nothing.
        unsafe { self.run(&entry.file_index(slot.map(target)).build()) }
    }

    /// Connects a socket to a listener on IPv4.
    pub(crate) fn connect(&mut self, socket: At, listener: &TcpListener) {
        let SocketAddr::V4(to) = listener.local_addr().unwrap() else {
            panic!("{listener:?}");
        };
        // struct sockaddr_in
        let mut bytes = [0_u8; 16];
        bytes[..2].copy_from_slice(&AF_INET.to_ne_bytes());
        bytes[2..4].copy_from_slice(&to.port().to_be_bytes());
        bytes[4..8].copy_from_slice(&to.ip().octets());
        let address = bytes.as_ptr().cast();
        let entry = match socket {
            At::Fd(fd) => opcode::Connect::new(Fd(fd), address, 16).build(),
            At::Slot(slot) => opcode::Connect::new(Fixed(slot), address, 16).build(),
        };
        // SAFETY: the address lives until the end of this function.
        unsafe { self.run(&entry) };
    }

    /// Accepts what waits: its descriptor, or in a slot.
    pub(crate) fn accept(&mut self, listener: &TcpListener, slot: Option<u32>) -> i32 {
        let entry = opcode::Accept::new(Fd(listener.as_raw_fd()), ptr::null_mut(), ptr::null_mut())
            .flags(flags(slot));
        // SAFETY: it points to nothing.
        unsafe { self.run(&entry.file_index(slot.map(target)).build()) }
    }

    /// Waits for data, and sends it back; whether there was any.
    pub(crate) fn echo(&mut self, slot: u32) -> bool {
        let mut bytes = [0_u8; 64];
        let room = u32::try_from(bytes.len()).unwrap();
        let entry = opcode::Recv::new(Fixed(slot), bytes.as_mut_ptr(), room).build();
        // SAFETY: the bytes live until the end of this function.
        let length = unsafe { self.run(&entry) };
        let length = u32::try_from(length).unwrap();
        let entry = opcode::Send::new(Fixed(slot), bytes.as_ptr(), length).build();
        // SAFETY: as before.
        length > 0 && unsafe { self.run(&entry) } > 0
    }

    /// Makes a descriptor of what is in a slot, which stays there.
    pub(crate) fn install(&mut self, slot: u32) -> i32 {
        let entry = opcode::FixedFdInstall::new(Fixed(slot), 0).build();
        // SAFETY: it points to nothing.
        unsafe { self.run(&entry) }
    }

    /// Closes a descriptor or empties a slot.
    pub(crate) fn close(&mut self, at: At) {
        let entry = match at {
            At::Fd(fd) => opcode::Close::new(Fd(fd)),
            At::Slot(slot) => opcode::Close::new(Fixed(slot)),
        };
        // SAFETY: it points to nothing.
        unsafe { self.run(&entry.build()) };
    }
}

/// Slots are never inherited, and the kernel refuses to be told so.
fn flags(slot: Option<u32>) -> i32 {
    slot.map_or(SOCK_CLOEXEC, |_| 0)
}

fn target(slot: u32) -> DestinationSlot {
    DestinationSlot::try_from_slot_target(slot).unwrap()
}
