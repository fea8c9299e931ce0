//! How the daemon is reached, with the flags that Prometheus' exporters share.

use std::path::PathBuf;

use clap::Args;

/// Where the daemon listens unless told otherwise: on this machine alone, as it names processes and
/// their peers. Not in the range that exporters share, which is full, nor an ephemeral port.
pub const LISTEN: [&str; 2] = ["127.0.0.1:10137", "[::1]:10137"];

const WEB: &str = "HTTP";

/// How the daemon is reached.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = WEB)]
pub struct Web {
    /// Listen on this address and port, or with `:PORT` on all addresses; may be repeated
    #[arg(long = "web.listen-address", value_name = "ADDRESS:PORT", default_values = LISTEN)]
    pub listen_addresses: Vec<String>,
    /// TLS, client certificates and users, in the format of Prometheus' exporters; read again when
    /// it changes
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Take the sockets that systemd listens on, instead of addresses
    #[arg(long = "web.systemd-socket")]
    pub systemd_socket: bool,
    /// Where the metrics are
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics", value_parser = telemetry_path)]
    pub telemetry_path: String,
    /// Allow `POST /-/reload`, which reads the configuration again
    #[arg(long = "web.enable-lifecycle")]
    pub enable_lifecycle: bool,
    /// Answer at most this many requests at a time, and others with status 503 (0: no limit)
    #[arg(long = "web.max-requests", value_name = "N", default_value_t = 40)]
    pub max_requests: usize,
}

impl Web {
    /// Has nobody chosen where to listen? Then an address that this machine lacks is no error.
    pub fn listens_by_default(&self) -> bool {
        self.listen_addresses.iter().eq(LISTEN.iter())
    }
}

/// The daemon's own paths stay its own, and nothing in it means anything but itself.
fn telemetry_path(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    if !text.starts_with('/') || text == "/" || !text.bytes().all(plain) {
        return Err("a path is like /metrics: a slash, then letters, digits or -_.~/".to_owned());
    }
    if text.starts_with("/-/") || text.starts_with("/api/") || text == "/runbook" {
        return Err("/-/, /api/ and /runbook are taken; choose another path".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_for_metrics_is_plain_and_not_taken() {
        assert_eq!(telemetry_path("/a/metrics").as_deref(), Ok("/a/metrics"));
        for wrong in [
            "",
            "/",
            "metrics",
            "/a b",
            "/{x}",
            "/-/ready",
            "/api/v1/x",
            "/runbook",
        ] {
            assert!(telemetry_path(wrong).is_err(), "{wrong}");
        }
    }
}
