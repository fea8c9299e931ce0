//! What the rooms of the snapshot read from `/proc` in the same way.

use std::{ffi::OsStr, fs, io};

/// The processes, as the pid namespace of `/proc` numbers them.
pub(super) fn pids() -> io::Result<impl Iterator<Item = u32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// The number in a link such as `socket:[1234]`.
pub(super) fn numbered(link: &OsStr, kind: &str) -> Option<u32> {
    let number = link.to_str()?.strip_prefix(kind)?.strip_prefix(":[")?;
    number.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_of_the_kind_have_a_number() {
        let number = |link: &str| numbered(OsStr::new(link), "socket");
        assert_eq!(number("socket:[4026531840]"), Some(4_026_531_840));
        for other in [
            "socket:[]",
            "socket:7",
            "pipe:[7]",
            "/tmp/socket:[7]",
            "socket:[7] (deleted)",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
