//! One look at the ports of every namespace: settings, sockets, and what the buckets say.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
};

use rustix::{
    fs::fstat,
    net::{AddressFamily, SocketType, bind, socket},
};

use super::{
    Buckets, Buffer, Diag, DiagError, Explicit, Found, Namespace, Namespaces, Protocol, Protocols,
    Query, State, States, Sysctls,
};
use crate::clock::monotonic_ns;

/// What a look at a namespace brought; a socket is kept as `S`.
#[derive(Debug)]
pub struct PortLook<S> {
    /// Inode number of the namespace.
    pub netns: u32,
    /// When its TCP sockets had been listed: `CLOCK_MONOTONIC`, nanoseconds.
    pub at_ns: u64,
    /// Its settings.
    pub sysctls: Sysctls,
    /// Its TCP and UDP sockets that were kept, with their cookies; each once.
    pub sockets: Vec<(u64, S)>,
    /// What the buckets say, where they can be read.
    pub explicit: Option<Explicit>,
    /// Every list is whole, as far as one can tell.
    pub complete: bool,
}

/// Looks at those namespaces that are `wanted`; an error is that of one namespace. `keep`: what to
/// keep of a socket, of which there may be a hundred thousand.
pub fn look_at_ports<S: Send>(
    namespaces: &mut Namespaces,
    mut buckets: Option<&mut Buckets>,
    wanted: impl Fn(u32) -> bool + Send,
    keep: impl Fn(&Found) -> Option<S> + Copy + Send,
) -> io::Result<Vec<(u32, io::Result<PortLook<S>>)>> {
    let mut buffer = Buffer::default();
    let looks = namespaces.each_inside(wanted, move |namespace| {
        look_at_ports_here(namespace, buckets.as_deref_mut(), &mut buffer, 0, keep)
    })?;
    let flat = |(netns, looked): (u32, io::Result<_>)| (netns, looked.and_then(|look| look));
    Ok(looks.into_iter().map(flat).collect())
}

/// Looks at the namespace in which the calling thread is, as within [`Namespaces::each_inside`]. `room`:
/// about how many sockets there will be, if that is known: a list that grows is there twice.
pub fn look_at_ports_here<S>(
    namespace: &mut Namespace,
    buckets: Option<&mut Buckets>,
    buffer: &mut Buffer,
    room: usize,
    keep: impl Fn(&Found) -> Option<S>,
) -> io::Result<PortLook<S>> {
    let mut look = PortLook {
        netns: namespace.inum(),
        at_ns: 0,
        sysctls: namespace.sysctls()?,
        sockets: Vec::with_capacity(room),
        explicit: None,
        complete: true,
    };
    let mut connected = false;
    for protocol in [Protocols::Tcp, Protocols::Udp] {
        let sockets = &mut look.sockets;
        let each = |row: Found| {
            connected |= row.protocol == Protocol::Tcp && row.state != State::BoundInactive;
            sockets.extend(keep(&row).map(|kept| (row.cookie, kept)));
        };
        match namespace.dump(Query::all(protocol), buffer, each) {
            Ok(dumped) => look.complete &= !dumped.interrupted && dumped.malformed == 0,
            Err(DiagError::Unsupported) => look.complete = false,
            Err(DiagError::Io(error)) => return Err(error),
        }
        if look.at_ns == 0 {
            look.at_ns = monotonic_ns();
        }
    }
    // A dump is not taken in one moment: a socket that moves can be in it twice.
    look.sockets.sort_unstable_by_key(|&(cookie, _)| cookie);
    look.sockets.dedup_by_key(|(cookie, _)| *cookie);
    // The kernel keeps the TCP sockets of all namespaces in one table, and walks all of it: not
    // where there are none that it would find.
    look.explicit = match buckets {
        // After the dump, which gave every minisock its cookie.
        Some(buckets) if connected => Some(buckets.read()?),
        Some(_) => Some(Explicit::default()),
        None => None,
    };
    Ok(look)
}

/// Does this kernel list sockets that are bound and neither listen nor are connected (6.8)? Older
/// ones ignore the question, so one is asked for that is there.
pub fn bound_sockets_are_listed() -> io::Result<bool> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let here = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    bind(&socket, &here)?;
    let inode = fstat(&socket)?.st_ino;
    let mut listed = false;
    let query = Query::tcp(States::BOUND_INACTIVE);
    let dumped = Diag::open(0)?.dump(query, &mut Buffer::default(), |row| {
        listed |= u64::from(row.inode) == inode;
    });
    dumped.map_err(io::Error::other)?;
    Ok(listed)
}
