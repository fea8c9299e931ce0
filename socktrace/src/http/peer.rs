//! Groups: whose number is a name's, and which the process at the other end of a socket has.

use std::{
    fs, io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// A process has at most 65536 groups (`NGROUPS_MAX`); far fewer are usual.
const USUAL: usize = 64;

/// The number of the group with this name. `/etc/group` is asked and nothing else: the group is a
/// system group that the package makes there.
pub(super) fn group_named(name: &str) -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next() == Some(name);
        fields.nth(1).filter(|_| is_it)?.parse().ok()
    })
}

/// The supplementary groups of whoever connected this Unix socket, as they were then
/// (`SO_PEERGROUPS`, since Linux 4.13).
pub(super) fn groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; USUAL];
    loop {
        let room = groups.len() * size_of::<u32>();
        let mut length = libc::socklen_t::try_from(room).map_err(io::Error::other)?;
        // SAFETY: the descriptor is borrowed, so open; the kernel writes at most `length` bytes, which
        // is what the vector holds, and any bytes are numbers of groups.
        let failed = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = length as usize / size_of::<u32>();
        if failed == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // It says how much room it wants.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::{fd::AsFd as _, unix::net::UnixStream};

    use super::*;

    #[test]
    fn root_has_a_group_and_nobody_has_one_of_no_name() {
        assert_eq!(group_named("root"), Some(0));
        assert_eq!(group_named(""), None);
        assert_eq!(group_named("no such group"), None);
    }

    #[test]
    fn the_peers_groups_are_those_of_its_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let mut told = groups(one.as_fd()).unwrap();
        let own = rustix::process::getgroups().unwrap();
        let mut own: Vec<_> = own.into_iter().map(rustix::process::Gid::as_raw).collect();
        told.sort_unstable();
        own.sort_unstable();
        assert_eq!(told, own);
    }
}
