//! A server with content that obeys the test, and clients.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::Parser;
use socktrace::{
    cli::Web,
    failure::Failure,
    http::{
        Answer, ApiError, Content, Format, Limits, Page, Running, Server, Unavailable, UnixPlace,
    },
};
use tokio::sync::Semaphore;

/// Nothing here takes so long, however slow the machine.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// More than what sockets and servers buffer.
pub(crate) const HUGE: usize = 64 << 20;

/// Content that waits when it is told to.
pub(crate) struct Fake {
    pub(crate) scrapes: AtomicUsize,
    pub(crate) reloads: AtomicUsize,
    pub(crate) is_ready: AtomicBool,
    /// A scrape needs a permit, and so does the list of findings.
    pub(crate) gate: Semaphore,
}

impl Fake {
    pub(crate) fn open(&self) {
        self.gate.add_permits(1000);
    }
}

impl Content for Fake {
    async fn metrics(&self, format: Format) -> Result<Bytes, Unavailable> {
        let number = self.scrapes.fetch_add(1, Ordering::SeqCst);
        let permit = self.gate.acquire().await;
        permit
            .map_err(|error| Unavailable(error.to_string()))?
            .forget();
        let end = match format {
            Format::Text004 => "",
            Format::OpenMetrics100 => "# EOF\n",
        };
        let lines = "# TYPE scrape gauge\n".to_owned() + &format!("scrape {number}\n").repeat(200);
        Ok((lines + end).into())
    }

    async fn api(&self, list: &str, query: Vec<(String, String)>) -> Result<Answer, ApiError> {
        match list {
            "ports" => Ok(Answer::json(vec![b' '; HUGE])),
            "hooks" => Err(ApiError::new(400, "no such \"hook\"")),
            "findings" => {
                self.gate.acquire().await.unwrap().forget();
                Ok(Answer::json("[]"))
            }
            _ => {
                let mut answer = Answer::json(format!("{list} {query:?}"));
                answer
                    .headers
                    .push(("x-socktrace-complete", "true".to_owned()));
                Ok(answer)
            }
        }
    }

    fn pages(&self) -> Vec<Page> {
        vec![Page {
            path: "/page",
            about: "a page",
            html: "<p id=\"here\">".to_owned(),
        }]
    }

    fn ready(&self) -> Result<(), String> {
        let is_ready = self.is_ready.load(Ordering::SeqCst);
        is_ready
            .then_some(())
            .ok_or("the hooks are not in place".to_owned())
    }

    async fn reload(&self) -> Result<(), String> {
        match self.reloads.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(()),
            _ => Err("line 3 is wrong".to_owned()),
        }
    }
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    web: Web,
}

pub(crate) fn web(arguments: &[&str]) -> Web {
    let all = ["socktrace"].iter().chain(arguments);
    Flags::try_parse_from(all).unwrap().web
}

/// A server that runs until it is dropped.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) content: Arc<Fake>,
    pub(crate) running: Running,
}

/// A port of the kernel's choice, and whatever else is asked for; the gate is open.
pub(crate) fn start(arguments: &[&str]) -> Site {
    let site = start_with(arguments, Limits::default(), None).unwrap();
    site.content.open();
    site
}

pub(crate) fn start_with(
    arguments: &[&str],
    limits: Limits,
    unix: Option<&UnixPlace>,
) -> Result<Site, Failure> {
    let arguments = [&["--web.listen-address", "127.0.0.1:0"], arguments].concat();
    let server = Server::bind(&web(&arguments), unix)?.with_limits(limits);
    let content = Arc::new(Fake {
        scrapes: AtomicUsize::new(0),
        reloads: AtomicUsize::new(0),
        is_ready: AtomicBool::new(true),
        gate: Semaphore::new(0),
    });
    Ok(Site {
        address: server.addresses()[0],
        running: server.start(Arc::clone(&content)).unwrap(),
        content,
    })
}

impl Site {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// curl, for a path of this server.
    pub(crate) fn curl(&self, path: &str, arguments: &[&str]) -> Answered {
        curl(&[&[self.url(path).as_str()], arguments].concat())
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }
}

/// What curl got.
#[derive(Debug)]
pub(crate) struct Answered {
    /// curl's own: 0 if there is an answer.
    pub(crate) exit: i32,
    /// 0 if there is none.
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) error: String,
}

impl Answered {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line == header)
    }
}

pub(crate) fn curl(arguments: &[&str]) -> Answered {
    let mut command = Command::new("curl");
    answered(command.args(arguments))
}

/// Runs a command that is curl, or becomes it.
pub(crate) fn answered(command: &mut Command) -> Answered {
    let output: Output = command
        .args(["--silent", "--show-error", "--include", "--noproxy", "*"])
        .args(["--max-time", "60"])
        .output()
        .expect("curl (package curl)");
    let end = output
        .stdout
        .windows(4)
        .position(|four| four == b"\r\n\r\n");
    let (head, body) = output.stdout.split_at(end.map_or(0, |end| end + 4));
    let head = String::from_utf8_lossy(head)
        .replace('\r', "")
        .to_lowercase();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Answered {
        exit: output.status.code().unwrap(),
        status: status.unwrap_or(0),
        head,
        body: body.to_vec(),
        error: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits until it holds.
pub(crate) fn wait(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Reads until the other side has closed; what came. A reset is an end, too.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 65536];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return bytes,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return bytes,
            Err(error) => panic!("not closed: {error}"),
        }
    }
}

pub(crate) fn ask(stream: &mut TcpStream, path: &str) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
}

pub(crate) fn write(path: &Path, text: &str) {
    // As editors and configuration tools do it: never half a file.
    let draft = path.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, path).unwrap();
}
