//! Ports that no plain `connect()` gets, whatever the addresses.
//!
//! The kernel keeps a bucket for each port in use. `connect()` shares one only while all of its
//! owners got the port from `connect()` too (`fastreuse` and `fastreuseport` are both -1); a
//! listener, a `bind()` to the port or to port 0, and the connections that a listener accepted make
//! it explicit, for every address and both families (`net/ipv4/inet_hashtables.c`).

use super::{Phase, PortSet, Protocol, Socket};

/// When the kernel lets a bucket be shared again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// When the last explicit owner is gone (6.18, d57f4b874946).
    LastExplicit,
    /// When the last owner of any kind is gone: before, a port that was bound once stays lost
    /// while connections that share it come and go.
    LastOwner,
}

/// The ports that are blocked: X.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocked {
    /// Within the range and beyond.
    pub ports: PortSet,
    /// The kernel said so; else some may be missing.
    pub exact: bool,
}

impl Blocked {
    /// What the kernel's buckets say, and what the walk over connections does not reach: sockets
    /// that are bound and neither listen nor are connected.
    pub fn exact(mut buckets: PortSet, sockets: &[Socket]) -> Self {
        for socket in tcp(sockets).filter(|it| it.phase == Phase::Bound) {
            buckets.insert(socket.port);
        }
        Self {
            ports: buckets,
            exact: true,
        }
    }

    /// What the sockets let one conclude without the buckets: who listens or is bound is explicit.
    /// A connection whose socket was bound to port 0 first looks like any other, and is missed.
    /// `before` is the last estimate for the same namespace.
    pub fn estimate(sockets: &[Socket], before: Option<&Self>, release: Release) -> Self {
        let explicit = |socket: &&Socket| matches!(socket.phase, Phase::Listen | Phase::Bound);
        let mut ports: PortSet = tcp(sockets).filter(explicit).map(|it| it.port).collect();
        if let (Release::LastOwner, Some(before)) = (release, before) {
            let mut lost: PortSet = tcp(sockets).map(|socket| socket.port).collect();
            lost.keep(&before.ports);
            ports.add(&lost);
        }
        Self {
            ports,
            exact: false,
        }
    }
}

fn tcp(sockets: &[Socket]) -> impl Iterator<Item = &Socket> {
    let tcp = |socket: &&Socket| socket.protocol == Protocol::Tcp;
    sockets.iter().filter(tcp)
}
