//! What tests of outputs have in common.

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::{Alert, Complain, Stream};
use crate::{
    clock::Clock,
    detect::{Finding, Kind, News, Severity, Standing, Story, Subject},
    endpoint::Endpoint,
    process::{Comm, Process},
};

pub(super) const CLOCK: Clock = Clock {
    ahead_ns: 1_700_000_000_000_000_000,
    began_ns: 0,
};

/// A leak of a process whose name is hostile.
pub(super) fn finding(severity: Severity, count: u64) -> Finding {
    let process = Process {
        comm: Some(Comm::from(&b"ng\x1b[2J\nPRIO=0"[..])),
        ..Process::new(7)
    };
    let subject = Subject {
        netns: Some(4_026_532_178),
        process: Some(Arc::new(process)),
        remote: Endpoint {
            address: Some([10, 0, 0, 9].into()),
            port: Some(5432),
        },
        ..Subject::default()
    };
    Finding {
        count: Some(count),
        oldest_ns: Some(400_000_000_000),
        advice: "socktrace sockets -p 7 state close-wait".to_owned(),
        ..Finding::new(Kind::CloseWait, severity, subject)
    }
    .with("floor_risen_by", 12)
}

pub(super) fn story_of(finding: Finding) -> Story {
    let mut standing = Standing::new(Duration::from_secs(1));
    let mut stories = Vec::new();
    standing.take(500_000_000_000, vec![finding], |_, story| {
        stories.push(story.clone());
    });
    stories.remove(0)
}

pub(super) fn story(severity: Severity, count: u64) -> Story {
    story_of(finding(severity, count))
}

/// That it began, is more, is over.
pub(super) fn alerts(finding: Finding) -> [Alert; 3] {
    let mut stream = Stream::new(Severity::Info);
    let story = story_of(finding);
    let mut take = |news, now| stream.take(news, &story, now, &CLOCK).unwrap();
    [
        take(News::Began, 500_000_000_000),
        take(News::Changed, 501_000_000_000),
        take(News::Cleared, 502_000_000_000),
    ]
}

pub(super) fn alert() -> Alert {
    let [alert, ..] = alerts(finding(Severity::Confirmed, 42));
    alert
}

/// What was complained about.
#[derive(Clone, Default)]
pub(super) struct Complaints(Arc<Mutex<Vec<String>>>);

impl Complaints {
    pub(super) fn complain(&self) -> Complain {
        let complaints = self.clone();
        Arc::new(move |text: &str| complaints.0.lock().unwrap().push(text.to_owned()))
    }

    pub(super) fn heard(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Waits until it holds; a busy machine may take its time.
#[track_caller]
pub(super) fn eventually(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(2);
    while !holds() {
        assert!(Instant::now() < end, "in vain");
        thread::sleep(Duration::from_millis(10));
    }
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// A server that remembers what it was sent.
pub(super) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    requests: Receiver<Request>,
}

pub(super) struct Request {
    pub(super) head: String,
    pub(super) body: String,
}

impl Server {
    /// Answers with these in turn, then with the last again and again; without any it is gone.
    pub(super) fn start(answers: &[&'static str]) -> Self {
        Self::serve("http", answers, exchange)
    }

    /// The same, known by a certificate of the authority in `testdata/tls`.
    pub(super) fn start_tls(answers: &[&'static str]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tls");
        let chain = CertificateDer::pem_file_iter(folder.join("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        let config = Arc::new(config);
        Self::serve("https", answers, move |stream, answer| {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            exchange(rustls::StreamOwned::new(connection, stream), answer)
        })
    }

    fn serve(
        scheme: &'static str,
        answers: &[&'static str],
        exchange: impl Fn(TcpStream, &str) -> Option<Request> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, requests) = channel();
        if let Some(last) = answers.last().copied() {
            let answers = Vec::from(answers).into_iter();
            let mut answers = answers.chain(std::iter::repeat(last));
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let answer = answers.next().unwrap();
                    let Some(request) = exchange(stream.unwrap(), answer) else {
                        continue;
                    };
                    if heard.send(request).is_err() {
                        return;
                    }
                }
            });
        }
        Self {
            address,
            scheme,
            requests,
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// The next request; waits for it.
    #[track_caller]
    pub(super) fn next(&self) -> Request {
        self.requests.recv_timeout(Duration::from_mins(1)).unwrap()
    }

    /// What has come and was not looked at.
    pub(super) fn rest(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }
}

/// Reads a request and answers it. The other side may go away before.
fn exchange(stream: impl Read + Write, answer: &str) -> Option<Request> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    let said = "no\x1b";
    let answer = format!(
        "HTTP/1.1 {answer}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{said}",
        said.len()
    );
    stream.get_mut().write_all(answer.as_bytes()).ok()?;
    stream.get_mut().flush().ok()?;
    Some(Request {
        head,
        body: String::from_utf8(body).unwrap(),
    })
}
