//! The kernel's own count of a namespace's sockets: `/proc/net/sockstat`.

use std::{fs::File, io, os::unix::fs::FileExt as _};

/// How many sockets a network namespace has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Population {
    /// Full sockets of all families (`sockets: used`), also those that no dump shows; neither
    /// connection requests nor minisocks.
    pub used: u64,
    /// TCP minisocks, IPv4 and IPv6 (`TCP: tw`).
    pub time_wait: u64,
}

impl Population {
    pub(super) fn read(file: &File) -> io::Result<Self> {
        // Five lines.
        let mut text = [0; 1024];
        let length = file.read_at(&mut text, 0)?;
        Self::parse(&String::from_utf8_lossy(&text[..length]))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "sockstat has another form"))
    }

    /// Lines of `name: key value key value…`.
    fn parse(text: &str) -> Option<Self> {
        let value = |line: &str, key: &str| {
            let words = text.lines().find_map(|it| it.strip_prefix(line))?;
            let mut words = words.split_ascii_whitespace();
            words.find(|&word| word == key)?;
            words.next()?.parse().ok()
        };
        Some(Self {
            used: value("sockets:", "used")?,
            time_wait: value("TCP:", "tw").unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_text_is_read() {
        let text =
            "sockets: used 212\nTCP: inuse 9 orphan 0 tw 17 alloc 11 mem 2\nUDP: inuse 3 mem 0\n";
        let population = Population::parse(text).unwrap();
        assert_eq!(
            population,
            Population {
                used: 212,
                time_wait: 17
            }
        );
        assert_eq!(Population::parse(""), None);
        assert_eq!(Population::parse("sockets: used many\n"), None);
    }
}
