//! Real programs at work, each in a namespace and a folder of its own: owners and holders are what
//! `ss` and `/proc` say, also for what was handed on.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    listed::{agreed, find},
    ring::Ring,
    support::{Background, Netns, Row, run},
};

/// How much each program has to do before it is looked at.
const REQUESTS: usize = 200;
/// Connections that stay open while it is.
const OPEN: usize = 4;

/// A namespace that this thread is in too, and a folder.
struct Place {
    netns: Netns,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let netns = Netns::new();
        netns.enter();
        let folder = tempfile::tempdir().unwrap();
        Self { netns, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// What is open once everything that waited to be accepted was.
    #[track_caller]
    fn rows(&self) -> Vec<Row> {
        let waits = |row: &Row| row.text("class") == Some("unaccepted");
        let mut rows = Vec::new();
        let accepted = eventually(|| {
            rows = agreed(&self.netns);
            !rows.iter().any(waits)
        });
        assert!(accepted, "{rows:#?}");
        rows
    }

    /// Starts a program that is there once somebody listens on the port.
    #[track_caller]
    fn start(&self, mut command: Command, port: u16) -> Background {
        command.current_dir(self.folder.path());
        let program = Background::start(command, "");
        let connected = eventually(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(connected, "{}{}", program.stdout(), program.stderr());
        program
    }
}

/// Is the program not installed? Then the test says so and ends.
pub(crate) fn lacks(program: &str, package: &str) -> bool {
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let found = folders
        .iter()
        .any(|folder| Path::new(folder).join(program).exists());
    if !found {
        println!("skipped: {program} is not there (Debian package {package})");
    }
    !found
}

fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if holds() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

/// One request, and the answer up to the end of the connection.
#[track_caller]
fn get(port: u16) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Connections in the middle of a request, so that the program has accepted them.
#[track_caller]
fn hold(port: u16, count: usize) -> Vec<TcpStream> {
    let open = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
        stream
    };
    (0..count).map(|_| open()).collect()
}

/// The children of a process.
fn children(pid: i64) -> Vec<i64> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace()
        .map(|it| it.parse().unwrap())
        .collect()
}

/// The TCP listener on a port.
#[track_caller]
fn listener(rows: &[Row], port: u16) -> &Row {
    let listens = |row: &&Row| row.text("role") == Some("listener");
    let of_port = rows
        .iter()
        .filter(listens)
        .filter(|row| row.text("proto") == Some("tcp") && row.number("lport") == Some(port.into()));
    let found: Vec<_> = of_port.collect();
    assert_eq!(found.len(), 1, "{rows:#?}");
    found[0]
}

/// The program's side of a connection.
#[track_caller]
fn served<'a>(rows: &'a [Row], client: &TcpStream) -> &'a Row {
    let port = client.local_addr().unwrap().port();
    find(rows, "rport", port.into())
}

/// The processes that hold it, each once.
fn pids(row: &Row) -> Vec<i64> {
    let mut pids: Vec<_> = row.holders().into_iter().map(|(pid, _)| pid).collect();
    pids.dedup();
    pids
}

/// Asserts that one process holds the program's side, which owns it, and this one the other; the
/// former's pid.
#[track_caller]
fn expect_served(rows: &[Row], client: &TcpStream, comm: &str) -> i64 {
    let row = served(rows, client);
    let holders = pids(row);
    assert_eq!(holders.len(), 1, "{row:?}");
    row.expect("pid", holders[0])
        .expect("comm", comm)
        .expect("owner", "adopted")
        .expect("role", "server");
    let ours = client.local_addr().unwrap().port();
    let row = find(rows, "lport", ours.into());
    assert_eq!(pids(row), [i64::from(std::process::id())]);
    holders[0]
}

/// The same of all, whose holders are among these.
#[track_caller]
fn expect_all_served(rows: &[Row], clients: &[TcpStream], comm: &str, among: &[i64]) {
    for client in clients {
        let pid = expect_served(rows, client, comm);
        assert!(among.contains(&pid), "{pid} of {among:?}");
    }
}

/// Asserts that exactly these processes hold it, and that the one with the lowest number owns it.
#[track_caller]
fn expect_held(row: &Row, expected: impl IntoIterator<Item = i64>) {
    let mut expected: Vec<_> = expected.into_iter().collect();
    expected.sort_unstable();
    assert_eq!(pids(row), expected);
    row.expect("pid", expected[0]).expect("owner", "adopted");
}

#[test]
fn nginx_with_four_workers() {
    if lacks("nginx", "nginx-light") {
        return;
    }
    let place = Place::new();
    let folder = place.folder.path().display();
    let configuration = place.write(
        "nginx.conf",
        &format!(
            "daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 4;
             events {{ worker_connections 64; }}
             http {{ access_log off;
                server {{ listen 127.0.0.1:8080; location / {{ return 200 'hello'; }} }} }}"
        ),
    );
    let mut command = place.netns.command("nginx");
    command.arg("-c").arg(configuration);
    let nginx = place.start(command, 8080);
    (0..REQUESTS).for_each(|_| get(8080));
    let held = hold(8080, OPEN);
    let rows = place.rows();
    let workers = children(nginx.pid());
    assert_eq!(workers.len(), 4);
    let all = workers.iter().copied().chain([nginx.pid()]);
    expect_held(listener(&rows, 8080), all);
    expect_all_served(&rows, &held, "nginx", &workers);
}

#[test]
fn gunicorn_with_forked_workers() {
    if lacks("gunicorn", "gunicorn") {
        return;
    }
    let place = Place::new();
    place.write(
        "app.py",
        "def app(_, start):\n    start('200 OK', [('Content-Length', '2')])\n    return [b'ok']\n",
    );
    let mut command = place.netns.command("gunicorn");
    command.args(["--workers", "4", "--bind", "127.0.0.1:8000", "app:app"]);
    let gunicorn = place.start(command, 8000);
    assert!(eventually(|| children(gunicorn.pid()).len() == 4));
    (0..REQUESTS).for_each(|_| get(8000));
    let held = hold(8000, OPEN);
    let rows = place.rows();
    let workers = children(gunicorn.pid());
    let all = workers.iter().copied().chain([gunicorn.pid()]);
    expect_held(listener(&rows, 8000), all);
    let comm = served(&rows, &held[0]).text("comm").unwrap().to_owned();
    expect_all_served(&rows, &held, &comm, &workers);
}

#[test]
fn redis_alone() {
    if lacks("redis-server", "redis-server") {
        return;
    }
    let place = Place::new();
    let mut command = place.netns.command("redis-server");
    command.args(["--port", "6379", "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--unixsocket", "socket", "--dir", "."]);
    let redis = place.start(command, 6379);
    let mut held: Vec<_> = (0..OPEN)
        .map(|_| TcpStream::connect("127.0.0.1:6379").unwrap())
        .collect();
    for _ in 0..REQUESTS {
        for stream in &mut held {
            stream.write_all(b"PING\r\n").unwrap();
            let mut answer = [0; 7];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"+PONG\r\n");
        }
    }
    let rows = place.rows();
    expect_held(listener(&rows, 6379), [redis.pid()]);
    expect_all_served(&rows, &held, "redis-server", &[redis.pid()]);
    let unix = rows.iter().find(|row| row.text("path") == Some("socket"));
    expect_held(unix.expect("its Unix socket"), [redis.pid()]);
}

#[test]
fn postgresql_with_a_process_for_each_connection() {
    if lacks("pgbench", "postgresql") {
        return;
    }
    let place = Place::new();
    let user = |option| run(Command::new("id").args([option, "postgres"]));
    let id = |option| user(option).trim().parse().ok();
    chown(place.folder.path(), id("-u"), id("-g")).unwrap();
    let as_postgres = |program: &Path| {
        let mut command = place.netns.command("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        command.arg(program).current_dir(place.folder.path());
        command
    };
    // As Debian's pg_wrapper does: the newest there is.
    let versions = fs::read_dir("/usr/lib/postgresql").unwrap().flatten();
    let programs = versions.map(|it| it.path().join("bin")).max().unwrap();
    let data = place.path("data");
    run(as_postgres(&programs.join("initdb"))
        .args(["--auth=trust", "--no-sync", "--no-instructions", "-D"])
        .arg(&data));
    let mut command = as_postgres(&programs.join("postgres"));
    command
        .arg("-D")
        .arg(&data)
        .args(["-p", "5432", "-h", "127.0.0.1", "-F", "-k"]);
    command.arg(place.folder.path());
    let postgres = place.start(command, 5432);
    let bench = |arguments: &[&str]| {
        let mut command = as_postgres(&programs.join("pgbench"));
        run(command
            .args(["-h", "127.0.0.1"])
            .args(arguments)
            .arg("postgres"))
    };
    assert!(eventually(|| postgres.stderr().contains("ready to accept")));
    bench(&["-i", "-q", "-s", "1"]);
    // A connection for each of its hundred transactions.
    let told = bench(&["-C", "-c", "4", "-t", "25", "-n"]);
    assert!(told.contains("processed: 100/100"), "{told}");
    let held: Vec<_> = (0..OPEN)
        .map(|_| TcpStream::connect("127.0.0.1:5432").unwrap())
        .collect();
    // Its first word comes once a process serves it.
    for mut stream in &held {
        stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
        let mut answer = [0];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"N");
    }
    let rows = place.rows();
    expect_held(listener(&rows, 5432), [postgres.pid()]);
    let backends = children(postgres.pid());
    expect_all_served(&rows, &held, "postgres", &backends);
    let mut pids: Vec<_> = held.iter().map(|it| pids(served(&rows, it))).collect();
    pids.dedup();
    assert_eq!(pids.len(), OPEN);
}

#[test]
fn haproxy_hands_its_listener_to_the_next() {
    if lacks("haproxy", "haproxy") {
        return;
    }
    let place = Place::new();
    let socket = place.path("socket");
    let configuration = place.write(
        "haproxy.cfg",
        &format!(
            "global\n  stats socket {} mode 600 level admin expose-fd listeners\n\
             defaults\n  mode http\n  timeout client 30s\n  timeout http-request 30s\n  \
             timeout connect 1s\n  timeout server 1s\n\
             frontend f\n  bind 127.0.0.1:8080\n  http-request return status 200\n",
            socket.display()
        ),
    );
    let command = || {
        let mut command = place.netns.command("haproxy");
        command.arg("-db").arg("-f").arg(&configuration);
        command
    };
    let old = place.start(command(), 8080);
    (0..REQUESTS).for_each(|_| get(8080));
    let held = hold(8080, OPEN);
    let rows = place.rows();
    expect_held(listener(&rows, 8080), [old.pid()]);
    expect_all_served(&rows, &held, "haproxy", &[old.pid()]);
    let cookie = listener(&rows, 8080).number("cookie");

    let mut next = command();
    next.arg("-x")
        .arg(&socket)
        .args(["-sf", &old.pid().to_string()]);
    let next = place.start(next, 8080);
    let only_next = || pids(listener(&place.rows(), 8080)) == [next.pid()];
    assert!(eventually(only_next), "{}", next.stderr());
    (0..REQUESTS).for_each(|_| get(8080));
    let rows = place.rows();
    let listener = listener(&rows, 8080);
    // It is the same socket, and who made it has let go.
    assert_eq!(listener.number("cookie"), cookie);
    expect_held(listener, [next.pid()]);
    // What the old one had accepted stays with it to its end.
    expect_all_served(&rows, &held, "haproxy", &[old.pid()]);
}

#[test]
fn an_echo_server_on_a_ring() {
    let place = Place::new();
    let listening = std::net::TcpListener::bind("127.0.0.1:7000").unwrap();
    let Some(mut ring) = Ring::new(&place.netns) else {
        return;
    };
    let (stop, stopped) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let listening = &listening;
        let server = scope.spawn(move || {
            let slots = 0..u32::try_from(OPEN).unwrap();
            for slot in slots.clone() {
                ring.accept(listening, Some(slot));
            }
            for _ in 0..REQUESTS {
                assert!(slots.clone().all(|slot| ring.echo(slot)));
            }
            // The ring lives until it was looked at, or that failed.
            stopped.recv().unwrap_err();
        });
        let mut held: Vec<_> = (0..OPEN)
            .map(|_| TcpStream::connect("127.0.0.1:7000").unwrap())
            .collect();
        for _ in 0..REQUESTS {
            for stream in &mut held {
                stream.write_all(b"hello").unwrap();
                let mut answer = [0; 5];
                stream.read_exact(&mut answer).unwrap();
                assert_eq!(&answer, b"hello");
            }
        }
        let rows = place.rows();
        expect_held(listener(&rows, 7000), [std::process::id().into()]);
        for client in &held {
            let row = served(&rows, client);
            assert_eq!(row.holders(), []);
            row.expect("class", "direct descriptor")
                .expect("owner", "unknown")
                .expect("role", "server")
                .expect("state", "established");
        }
        drop(stop);
        server.join().unwrap();
    });
}

#[test]
fn a_service_that_is_started_by_its_socket() {
    if lacks("systemd-socket-activate", "systemd") {
        return;
    }
    let place = Place::new();
    // It inherits the listener as its descriptor 3, and knows by the environment.
    let service = place.write(
        "service.py",
        "import os, socket, time\n\
         assert os.environ['LISTEN_FDS'] == '1'\n\
         l = socket.socket(fileno=3); kept = []\n\
         while True: kept.append(l.accept()[0]); kept[-1].send(b'x')\n",
    );
    let mut command = place.netns.command("systemd-socket-activate");
    command.args(["--listen=127.0.0.1:9000", "/usr/bin/python3"]);
    command.arg(service);
    let manager = Background::start(command, "Listening on");
    let rows = place.rows();
    expect_held(listener(&rows, 9000), [manager.pid()]);
    let cookie = listener(&rows, 9000).number("cookie");
    let mut held = Vec::new();
    for _ in 0..OPEN {
        let mut stream = TcpStream::connect("127.0.0.1:9000").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        held.push(stream);
    }
    let rows = place.rows();
    let listener = listener(&rows, 9000);
    assert_eq!(listener.number("cookie"), cookie);
    // The service took the place of the program that listened for it.
    assert_eq!(listener.holders(), [(manager.pid(), 3)]);
    listener.expect("comm", "python3");
    expect_all_served(&rows, &held, "python3", &[manager.pid()]);
}
