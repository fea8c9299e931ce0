//! Addresses to listen on.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs as _},
};

use rustix::{
    io::Errno,
    net::{self, AddressFamily, SocketFlags, SocketType, sockopt},
};
use tracing::warn;

use crate::{
    cli::Web,
    failure::{FAILURE, Failure, PRIVILEGES},
};

/// How many connections wait in the kernel to be accepted.
const BACKLOG: i32 = 1024;

/// Binds all addresses, or says which one cannot be had, why, and what to do.
pub(super) fn bind(web: &Web) -> Result<Vec<TcpListener>, Failure> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut missing = Vec::new();
    for text in &web.listen_addresses {
        for address in addresses(text)? {
            match listen(address) {
                Ok(listener) => listeners.push(listener),
                // A machine without IPv6, or without a loopback address of its kind.
                Err(error) if web.listens_by_default() && is_lacking(error) => {
                    missing.push((text, error));
                }
                // On all addresses, where there is no IPv6: all there are.
                Err(error) if text.starts_with(':') && is_lacking(error) => {
                    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
                    let listener = listen(address).map_err(|error| refusal(text, error))?;
                    listeners.push(listener);
                }
                Err(error) => return Err(refusal(text, error)),
            }
        }
    }
    for (text, error) in &missing {
        warn!(address = text, %error, "not listening on an address that this machine lacks");
    }
    match missing.first() {
        Some((text, error)) if listeners.is_empty() => Err(refusal(text, *error)),
        _ => Ok(listeners),
    }
}

/// `:PORT` is all addresses, as with Prometheus' exporters; a name may have several.
fn addresses(text: &str) -> Result<Vec<SocketAddr>, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::usage(format!(
            "--web.listen-address {text}: {why}; it is like 127.0.0.1:10137, [::1]:10137 or :10137"
        ))
    };
    if let Some(port) = text.strip_prefix(':') {
        let port = port.parse().map_err(|_| wrong(&"no port number"))?;
        return Ok(vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))]);
    }
    let found: Vec<_> = text
        .to_socket_addrs()
        .map_err(|error| wrong(&error))?
        .collect();
    if found.is_empty() {
        return Err(wrong(&"the name has no address"));
    }
    Ok(found)
}

/// The standard library leaves it to a sysctl whether `[::]` takes IPv4, too; here it does, as
/// with Prometheus' exporters.
fn listen(address: SocketAddr) -> Result<TcpListener, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    // What a former daemon's connections left behind does not keep the next one from its port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

fn is_lacking(error: Errno) -> bool {
    error == Errno::ADDRNOTAVAIL || error == Errno::AFNOSUPPORT
}

fn refusal(text: &str, error: Errno) -> Failure {
    let (status, remedy) = match error {
        Errno::ADDRINUSE => (
            FAILURE,
            "is another socktrace running? `ss -ltnp` says who listens there; choose another port with --web.listen-address",
        ),
        Errno::ADDRNOTAVAIL => (
            FAILURE,
            "no interface has this address; `ip address` lists those there are",
        ),
        Errno::AFNOSUPPORT => (FAILURE, "this kernel has no such addresses"),
        Errno::ACCESS => (
            PRIVILEGES,
            "ports below 1024 need CAP_NET_BIND_SERVICE; choose another with --web.listen-address",
        ),
        _ => (FAILURE, "choose another with --web.listen-address"),
    };
    let error = io::Error::from(error);
    Failure::new(
        status,
        format!("cannot listen on {text}: {error}\n  {remedy}"),
    )
}
