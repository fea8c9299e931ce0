//! Sockets that systemd listens on and hands over (`sd_listen_fds(3)`).

use std::{
    net::TcpListener,
    os::{
        fd::{FromRawFd as _, OwnedFd},
        unix::net::UnixListener,
    },
};

use rustix::net::{AddressFamily, SocketType, getsockname, sockopt};

use crate::failure::{FAILURE, Failure};

/// What was handed over.
#[derive(Default)]
pub(super) struct Handed {
    pub(super) tcp: Vec<TcpListener>,
    pub(super) unix: Vec<UnixListener>,
}

/// Takes all sockets that are meant for this process. To be called once: they have one owner.
pub(super) fn take() -> Result<Handed, Failure> {
    let wrong = |what: &dyn std::fmt::Display| {
        Failure::new(FAILURE, format!("--web.systemd-socket: {what}"))
    };
    let mut handed = Handed::default();
    for number in sd_notify::listen_fds().map_err(|error| wrong(&error))? {
        // SAFETY: systemd opened these for this process (LISTEN_PID says so), nobody else in it knows
        // their numbers, and the flag is read once at start. A number that is not open is no matter of
        // memory: what is asked of it next fails.
        let socket = unsafe { OwnedFd::from_raw_fd(number) };
        let no_listener = || {
            wrong(&format!(
                "descriptor {number} is no stream socket that listens"
            ))
        };
        let is_stream = sockopt::socket_type(&socket) == Ok(SocketType::STREAM);
        if !is_stream || sockopt::socket_acceptconn(&socket) != Ok(true) {
            return Err(no_listener());
        }
        let address = getsockname(&socket).map_err(|_| no_listener())?;
        match address.address_family() {
            AddressFamily::INET | AddressFamily::INET6 => handed.tcp.push(socket.into()),
            AddressFamily::UNIX => handed.unix.push(socket.into()),
            _ => return Err(no_listener()),
        }
    }
    if handed.tcp.is_empty() && handed.unix.is_empty() {
        return Err(wrong(
            &"systemd handed over no socket; start the socket unit, not the service, or leave the flag out",
        ));
    }
    Ok(handed)
}
