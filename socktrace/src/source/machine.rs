//! How full the machine's tables are, and what each process may have: read from `/proc`.

use std::{fs, io};

/// How full something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// What there is.
    pub used: u64,
    /// What there may be.
    pub limit: u64,
}

impl Filled {
    /// From 0 to 1, and beyond.
    #[allow(clippy::cast_precision_loss, reason = "it is a ratio")]
    pub fn ratio(self) -> f64 {
        if self.limit == 0 {
            // A backlog of none is full as soon as one waits.
            return if self.used == 0 { 0.0 } else { 1.0 };
        }
        self.used as f64 / self.limit as f64
    }
}

/// What is the same for all of the machine. What cannot be read is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Open files: `fs.file-nr`, of `fs.file-max`.
    pub files: Option<Filled>,
    /// TCP sockets that nobody holds, of all namespaces: `orphan` in `/proc/net/sockstat`, of
    /// `net.ipv4.tcp_max_orphans`.
    pub orphans: Option<Filled>,
    /// Inodes in memory: `fs.inode-nr`. They have no limit but memory.
    pub inodes: Option<u64>,
}

impl Machine {
    /// Reads it.
    pub fn read() -> Self {
        let max_orphans = number("/proc/sys/net/ipv4/tcp_max_orphans", 0);
        Self {
            files: number("/proc/sys/fs/file-nr", 0)
                .zip(number("/proc/sys/fs/file-nr", 2))
                .map(|(used, limit)| Filled { used, limit }),
            orphans: orphans()
                .zip(max_orphans)
                .map(|(used, limit)| Filled { used, limit }),
            inodes: number("/proc/sys/fs/inode-nr", 0),
        }
    }
}

/// What each network namespace has for itself; read by a thread that is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Tracked connections, where the module is loaded: `nf_conntrack_count`, `nf_conntrack_max`.
    pub conntrack: Option<Filled>,
    /// `net.ipv4.tcp_max_tw_buckets`.
    pub tw_buckets: Option<u64>,
}

impl Tables {
    /// Those of the calling thread's namespace.
    pub fn read() -> Self {
        let conntrack = |name| number(&format!("/proc/sys/net/netfilter/nf_conntrack_{name}"), 0);
        Self {
            conntrack: conntrack("count")
                .zip(conntrack("max"))
                // None at all means as many as you like.
                .filter(|(_, limit)| *limit != 0)
                .map(|(used, limit)| Filled { used, limit }),
            tw_buckets: number("/proc/sys/net/ipv4/tcp_max_tw_buckets", 0),
        }
    }
}

/// Every process with its open descriptors and its soft `RLIMIT_NOFILE`. Those that do not show
/// them are left out, as are kernel threads, which have none.
pub fn descriptors() -> io::Result<Vec<(u32, Filled)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(filled) = of_process(pid) {
            found.push((pid, filled));
        }
    }
    Ok(found)
}

fn of_process(pid: u32) -> Option<Filled> {
    let folder = format!("/proc/{pid}/fd");
    // The kernel says their number as the folder's size (6.2); before that the size is 0.
    let mut used = fs::metadata(&folder).ok()?.len();
    if used == 0 {
        used = fs::read_dir(&folder).ok()?.count() as u64;
    }
    if used == 0 {
        return None;
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let limit = soft_limit(&limits)?;
    Some(Filled { used, limit })
}

/// `Max open files            1024                 4096                 files`.
fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    // "unlimited" is the largest number of descriptors that there can be.
    Some(soft.parse().unwrap_or(u64::from(u32::MAX)))
}

/// A number in a file of numbers, by its place.
fn number(path: &str, place: usize) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.split_whitespace().nth(place)?.parse().ok()
}

fn orphans() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/sockstat").ok()?;
    let tcp = text.lines().find_map(|line| line.strip_prefix("TCP: "))?;
    let mut words = tcp.split_whitespace();
    words.find(|word| *word == "orphan")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_counts() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(soft_limit(limits), Some(1024));
        assert_eq!(
            soft_limit("Max open files  unlimited unlimited files"),
            Some(u64::from(u32::MAX))
        );
        assert_eq!(soft_limit(""), None);
    }

    #[test]
    fn our_own_descriptors_are_counted() {
        let own = std::process::id();
        let before = of_process(own).unwrap();
        let held: Vec<_> = (0..10)
            .map(|_| fs::File::open("/dev/null").unwrap())
            .collect();
        let after = of_process(own).unwrap();
        // Other tests of this process may open and close some.
        assert!(after.used >= before.used + 5, "{before:?} {after:?}");
        assert!(descriptors().unwrap().iter().any(|(pid, _)| *pid == own));
        drop(held);
    }

    #[test]
    fn the_machine_has_files() {
        let machine = Machine::read();
        assert!(
            machine
                .files
                .is_some_and(|files| files.used > 0 && files.limit > files.used)
        );
        assert!(machine.orphans.is_some() && machine.inodes.is_some());
    }
}
