//! Ephemeral ports: which are left to whom, and why the others are not.
//!
//! Pure functions over what a look at a network namespace brings: no input, no output, no clock.
//! The rules are the kernel's: `__inet_hash_connect()` (`net/ipv4/inet_hashtables.c`) for
//! `connect()`, `inet_csk_find_open_port()` (`net/ipv4/inet_connection_sock.c`) for `bind()` to
//! port 0, `udp_lib_get_port()` (`net/ipv4/udp.c`) for UDP. A port search asks three questions:
//!
//! - is the port eligible: in the range, and not reserved ([`Eligible`])?
//! - may this call share it: does nobody use it explicitly ([`Blocked`], for `connect()`), and does
//!   no address overlap ([`Local::overlaps`], for the others)?
//! - is the connection new: does no socket have the same addresses and ports ([`Pool::connect`]),
//!   but for those in `TIME_WAIT` that may be taken over ([`Reuse`])?

mod blocked;
mod eligible;
mod overlap;
mod owners;
mod pool;
mod report;
mod reuse;
mod seen;
mod set;
mod settings;
mod signals;
mod slope;
mod socket;
#[cfg(test)]
mod tests;
mod trend;

pub use self::{
    blocked::{Blocked, Release},
    eligible::{Eligible, Range, Search, parse_reserved},
    overlap::Local,
    owners::{Blocker, Blocking, Why, blockers, blocking},
    pool::{Pool, Use},
    report::{Kind, Ownership, Row, Severity, rows},
    reuse::Reuse,
    seen::Seen,
    set::PortSet,
    settings::{Settings, Unreadable},
    signals::{Destination, Outcome, Signals, Signs},
    slope::theil_sen,
    socket::{Phase, Protocol, Socket},
    trend::Trends,
};
