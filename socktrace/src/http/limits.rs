//! How much a client may take. What is not here is `--web.max-requests`.

use std::time::Duration;

/// Limits of the server. The defaults are meant for a daemon; tests are less patient.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections over TCP. At the limit a new one takes the place of the one that is idle longest.
    pub connections: usize,
    /// Connections over the Unix socket, apart, so that nobody on the network keeps them out.
    pub local_connections: usize,
    /// From a connection's first byte to its handshake's end, and from the first byte of a request to
    /// the end of its headers.
    pub head: Duration,
    /// How long a connection may be idle between requests: longer than the usual scrape intervals.
    pub idle: Duration,
    /// How long an answer may take to be made.
    pub answer: Duration,
    /// How long from a request's headers until its whole answer is read by the client.
    pub response: Duration,
    /// Bytes of a request's line and headers.
    pub head_size: usize,
    /// Requests at a time over one HTTP/2 connection.
    pub streams: u32,
    /// How long requests may go on once the server is to stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            local_connections: 64,
            head: Duration::from_secs(10),
            idle: Duration::from_mins(3),
            answer: Duration::from_secs(30),
            response: Duration::from_mins(1),
            head_size: 16 << 10,
            streams: 16,
            grace: Duration::from_secs(2),
        }
    }
}
