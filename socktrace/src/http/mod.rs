//! What others make, served over HTTP: to Prometheus, to people, and over a Unix socket to the other
//! commands. It knows nothing of sockets, tables or metrics, and nothing that a client does reaches
//! beyond it: it runs on a thread of its own.
//!
//! A connection comes in by `listen`, `activation` or `unix`, finds a seat in the `crowd`, is served in
//! `connection` for as long as it keeps to the `limits`; each request passes the `guard` (what the
//! web configuration asks for) and ends in `routes`.

mod activation;
mod body;
pub mod client;
mod connection;
mod crowd;
mod encode;
mod guard;
mod landing;
mod limits;
mod listen;
mod negotiate;
mod peer;
mod routes;
mod scrape;
mod server;
mod unix;
mod web_config;

use std::fmt;

use bytes::Bytes;

pub(crate) use self::landing::escape;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::web_config::try_out;
pub use self::{
    limits::Limits,
    server::{Running, Server},
    unix::UnixPlace,
};

/// The lists below `/api/v1/`.
pub const LISTS: [&str; 5] = ["sockets", "findings", "ports", "limits", "hooks"];

/// What is served. Its answers are waited for on the server's thread: they must not block it.
pub trait Content: Send + Sync + 'static {
    /// All metrics in this format. Asked for once at a time: who comes meanwhile gets the same.
    fn metrics(&self, format: Format) -> impl Future<Output = Result<Bytes, Unavailable>> + Send;

    /// One of `LISTS`, with the decoded pairs of the query in their order.
    fn api(
        &self,
        list: &str,
        query: Vec<(String, String)>,
    ) -> impl Future<Output = Result<Answer, ApiError>> + Send;

    /// Is everything in place? If not, what is missing.
    fn ready(&self) -> Result<(), String>;

    /// Pages for people, besides the one that lists everything. Asked for once.
    fn pages(&self) -> Vec<Page> {
        Vec::new()
    }

    /// Reads the configuration again; an error says what is wrong with it.
    fn reload(&self) -> impl Future<Output = Result<(), String>> + Send;
}

/// A page for people that is always the same.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where it is: a slash and plain letters, and nothing that is there already.
    pub path: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// What is sent.
    pub html: String,
}

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    Text004,
    /// `OpenMetrics` text, version 1.0.0.
    OpenMetrics100,
}

impl Format {
    /// As Prometheus 3 wants it, which refuses what it does not know.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text004 => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics100 => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Why there are no metrics now: status 503.
#[derive(Clone, Debug)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An answer of the API.
#[derive(Clone, Debug)]
pub struct Answer {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Other headers. One that is none is left out.
    pub headers: Vec<(&'static str, String)>,
    /// What is sent.
    pub body: Bytes,
}

impl Answer {
    /// JSON.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self {
            content_type: "application/json",
            headers: Vec::new(),
            body: body.into(),
        }
    }
}

/// Why there is no answer. It is sent as `{"error": message}`.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// Status, like 400 or 503.
    pub status: u16,
    /// What is wrong and what to do.
    pub message: String,
}

impl ApiError {
    /// An error with this status.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}
