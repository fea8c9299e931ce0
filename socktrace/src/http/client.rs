//! Asks a running daemon over its Unix socket, for commands that run once. It blocks.

use std::{
    fmt,
    future::poll_fn,
    io::{self, Write},
    os::unix::net::UnixStream as StdStream,
    path::Path,
    pin::Pin,
    time::Duration,
};

use axum::body::Body;
use hyper::{
    HeaderMap, Request, StatusCode,
    body::{Body as _, Incoming},
    client::conn::http1,
    header::HOST,
};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, runtime, time::timeout};

/// Until the answer begins, and between any two of its pieces; longer than the daemon lets itself.
const WAIT: Duration = Duration::from_mins(1);

/// A message is not longer.
const MESSAGE: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody listens at the socket.
    NoDaemon(String),
    /// This user may not ask.
    NotAllowed(String),
    /// The daemon says no: its status and its words.
    Refused(u16, String),
    /// The connection failed, or the daemon does not answer.
    Broken(String),
    /// The answer cannot be written; of the kind `BrokenPipe` where nobody wants more of it.
    Output(io::Error),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDaemon(path) => write!(f, "no daemon is running: nobody listens at {path}"),
            Self::NotAllowed(path) => write!(
                f,
                "this user may not ask the daemon at {path}\n  \
                 run this with sudo, or add yourself to its group: sudo usermod -aG socktrace $USER, then log in again"
            ),
            Self::Refused(status, message) => write!(f, "the daemon says: {message} ({status})"),
            Self::Broken(why) => write!(f, "the daemon does not answer: {why}"),
            Self::Output(error) => write!(f, "the output cannot be written: {error}"),
        }
    }
}

impl std::error::Error for ClientError {}

/// The path and query of a list, like `/api/v1/sockets?proto=tcp`.
pub fn target<'a>(list: &str, query: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    let query = pairs.extend_pairs(query).finish();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("/api/v1/{list}{mark}{query}")
}

/// Gets `target` from the daemon at `socket`. An answer of status 200 is written to `output` as it
/// comes; its headers are returned.
pub fn get(socket: &Path, target: &str, output: &mut impl Write) -> Result<HeaderMap, ClientError> {
    // Before there is a runtime, which has sockets of its own: who finds no daemon lists sockets.
    let path = || socket.display().to_string();
    let stream = StdStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NoDaemon(path()),
        io::ErrorKind::PermissionDenied => ClientError::NotAllowed(path()),
        _ => ClientError::Broken(error.to_string()),
    })?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ClientError::Broken(error.to_string()))?;
    runtime.block_on(ask(stream, path(), target, output))
}

async fn ask(
    stream: StdStream,
    path: String,
    target: &str,
    output: &mut impl Write,
) -> Result<HeaderMap, ClientError> {
    let stream = stream
        .set_nonblocking(true)
        .and_then(|()| UnixStream::from_std(stream));
    let stream = stream.map_err(|error| ClientError::Broken(error.to_string()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // It ends with the sender; what goes wrong on it is told where the answer is read.
    tokio::spawn(async { drop(connection.await) });
    let request = Request::get(target)
        .header(HOST, "localhost")
        .body(Body::empty());
    let request = request.map_err(|error| ClientError::Broken(error.to_string()))?;
    let response = in_time(WAIT, sender.send_request(request))
        .await?
        .map_err(broken)?;
    let (head, mut body) = response.into_parts();
    match head.status {
        StatusCode::OK => {
            while let Some(piece) = next(&mut body).await? {
                output.write_all(&piece).map_err(ClientError::Output)?;
            }
            output.flush().map_err(ClientError::Output)?;
            Ok(head.headers)
        }
        StatusCode::FORBIDDEN => Err(ClientError::NotAllowed(path)),
        other => {
            let mut text = Vec::new();
            while let Some(piece) = next(&mut body).await?.filter(|_| text.len() < MESSAGE) {
                text.extend_from_slice(&piece);
            }
            Err(ClientError::Refused(other.as_u16(), message(&text)))
        }
    }
}

/// What an error says, in JSON or in words.
fn message(body: &[u8]) -> String {
    let said = serde_json::from_slice::<serde_json::Value>(body).ok();
    let said = said.as_ref().and_then(|said| said.get("error")?.as_str());
    said.map_or_else(
        || String::from_utf8_lossy(body).trim_end().to_owned(),
        str::to_owned,
    )
}

async fn next(body: &mut Incoming) -> Result<Option<bytes::Bytes>, ClientError> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        match in_time(WAIT, frame).await? {
            None => return Ok(None),
            Some(frame) => {
                if let Ok(data) = frame.map_err(broken)?.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

async fn in_time<T>(most: Duration, future: impl Future<Output = T>) -> Result<T, ClientError> {
    let ended = timeout(most, future).await;
    ended.map_err(|_| ClientError::Broken(format!("nothing came within {most:?}")))
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn broken(error: hyper::Error) -> ClientError {
    ClientError::Broken(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_encoded() {
        assert_eq!(target("ports", []), "/api/v1/ports");
        let query = [("filter", "comm == a&b"), ("netns", "1")];
        assert_eq!(
            target("sockets", query),
            "/api/v1/sockets?filter=comm+%3D%3D+a%26b&netns=1"
        );
    }

    #[test]
    fn an_error_is_told_in_the_daemons_words() {
        assert_eq!(message(b"{\"error\":\"no such list\"}\n"), "no such list");
        assert_eq!(message(b"soon\n"), "soon");
    }

    #[test]
    fn without_a_daemon_that_is_said() {
        let socket = Path::new("/nowhere/socktrace.sock");
        let error = get(socket, "/", &mut Vec::new()).unwrap_err();
        assert!(matches!(error, ClientError::NoDaemon(_)), "{error}");
    }
}
