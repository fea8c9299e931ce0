//! What of a socket matters to those who look for a port.

use std::net::IpAddr;

use socktrace_common::socket::TcpState;

use super::Local;
use crate::source::snapshot::{Found, Protocol as Listed, State};

/// How long `TIME_WAIT` lasts: `TCP_TIMEWAIT_LEN` (include/net/tcp.h), milliseconds.
const TIME_WAIT_MS: u32 = 60_000;

/// Protocols with ephemeral ports; each has ports of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Protocol {
    Tcp,
    Udp,
}

/// A socket that has a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its address.
    pub local: Local,
    /// Its port.
    pub port: u16,
    /// Where it is connected to.
    pub remote: Option<(IpAddr, u16)>,
    /// How it has its port.
    pub phase: Phase,
    /// Inode number in sockfs; 0 where no process has it.
    pub inode: u32,
}

/// How a socket has its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It listens.
    Listen,
    /// It is bound and neither listens nor is connected. All of UDP that is not connected is so.
    Bound,
    /// It has a connection, in whatever state: each of them holds the addresses and ports,
    /// `CLOSE_WAIT` for as long as it is not closed. `FIN_WAIT2` whose socket is gone too: nothing
    /// takes it over.
    Open,
    /// Only `TIME_WAIT` is left.
    TimeWait {
        /// For how long: milliseconds.
        age_ms: u32,
        /// The connection carried TCP's timestamps.
        timestamps: bool,
    },
}

impl Socket {
    /// From a row of a dump, which does not say whether a connection in `TIME_WAIT` carried
    /// timestamps: it is taken not to have.
    ///
    /// `None` for what has no port of its own: a connection request has its listener's, and is not
    /// in the tables that are searched.
    pub fn of(found: &Found) -> Option<Self> {
        let protocol = match found.protocol {
            Listed::Tcp => Protocol::Tcp,
            Listed::Udp => Protocol::Udp,
            _ => return None,
        };
        let phase = match found.state {
            State::Request | State::Pipe(_) => return None,
            State::BoundInactive => Phase::Bound,
            State::Tcp(TcpState::Listen) => Phase::Listen,
            State::Tcp(TcpState::Close) => Phase::Bound,
            State::Tcp(TcpState::TimeWait) => {
                let left = found.timer.map_or(TIME_WAIT_MS, |timer| timer.expires_ms);
                Phase::TimeWait {
                    age_ms: TIME_WAIT_MS.saturating_sub(left),
                    timestamps: false,
                }
            }
            State::Tcp(_) => Phase::Open,
        };
        Some(Self {
            protocol,
            local: Local {
                address: found.local.address?,
                only_ipv6: found.only_ipv6,
            },
            port: found.local.port?,
            remote: found.remote.address.zip(found.remote.port),
            phase,
            inode: found.inode,
        })
    }

    /// A connection in `TIME_WAIT` carried timestamps, or did not.
    #[must_use]
    pub fn with_timestamps(mut self, carried: bool) -> Self {
        if let Phase::TimeWait { timestamps, .. } = &mut self.phase {
            *timestamps = carried;
        }
        self
    }
}
