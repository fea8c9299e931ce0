//! The kernel's own count of a namespace's sockets: `/proc/net/sockstat`.

use std::{fs::File, io, os::unix::fs::FileExt as _};

/// How many sockets a network namespace has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Population {
    /// Full sockets of all families (`sockets: used`), also those that no dump shows; neither
    /// connection requests nor minisocks.
    pub used: u64,
    /// TCP sockets that are connected, connecting or listening (`TCP: inuse`, `TCP6: inuse`), those
    /// of MPTCP included.
    pub tcp: u64,
    /// TCP minisocks, IPv4 and IPv6 (`TCP: tw`).
    pub time_wait: u64,
}

impl Population {
    /// Is there nothing but our own netlink socket? Then there is no listener either, and so no
    /// connection request.
    pub fn is_ours(&self) -> bool {
        self.used <= 1 && self.time_wait == 0
    }

    /// Can there be TCP sockets that are more than bound to a port? Connection requests need a
    /// listener.
    pub fn has_tcp(&self) -> bool {
        self.tcp != 0 || self.time_wait != 0
    }

    pub(super) fn read(ipv4: &File, ipv6: Option<&File>) -> io::Result<Self> {
        // Six lines, and five.
        let mut text = [0; 2048];
        let mut length = ipv4.read_at(&mut text, 0)?;
        if let Some(file) = ipv6 {
            length += file.read_at(&mut text[length..], 0)?;
        }
        Self::parse(&String::from_utf8_lossy(&text[..length]))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "sockstat has another form"))
    }

    /// Lines of `name: key value key value…`.
    fn parse(text: &str) -> Option<Self> {
        let value = |line: &str, key: &str| -> Option<u64> {
            let words = text.lines().find_map(|it| it.strip_prefix(line))?;
            let mut words = words.split_ascii_whitespace();
            words.find(|&word| word == key)?;
            words.next()?.parse().ok()
        };
        Some(Self {
            used: value("sockets:", "used")?,
            tcp: value("TCP:", "inuse")? + value("TCP6:", "inuse").unwrap_or(0),
            time_wait: value("TCP:", "tw")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_text_is_read() {
        let text = "sockets: used 212\nTCP: inuse 9 orphan 0 tw 17 alloc 11 mem 2\nUDP: inuse 3 mem 0\nTCP6: inuse 4\nUDP6: inuse 1\n";
        let population = Population::parse(text).unwrap();
        assert_eq!(
            population,
            Population {
                used: 212,
                tcp: 13,
                time_wait: 17
            }
        );
        assert_eq!(Population::parse(""), None);
        assert_eq!(Population::parse("sockets: used many\n"), None);
    }
}
