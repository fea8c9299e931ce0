//! Where the descriptors are that are in no process's table: in messages that nobody has read yet,
//! and in the rings of `io_uring`.
//!
//! Only `/proc/PID/fdinfo` tells. It costs some microseconds a file, so it is asked only once
//! there is a socket that nobody holds.

use std::{fs, io, io::Read as _};

use hashbrown::{HashMap, HashSet};

use super::{
    Held, Holder,
    class::{Class, Inodes},
    proc,
};

const AF_UNIX: u16 = 1;

/// How often a ring is asked that is busy: the kernel does not wait for it, and leaves its files
/// out.
const ATTEMPTS: usize = 5;

/// What is known of descriptors that are in no table.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere {
    /// Sockets that are direct descriptors of `io_uring`.
    direct: Inodes,
    /// Files of any kind that are on their way in messages (`SCM_RIGHTS`), by the network namespace
    /// of the Unix socket that has them queued.
    queued: HashMap<u32, Queued>,
}

/// Files on their way.
#[derive(Clone, Debug, Default)]
struct Queued {
    files: u64,
    /// How many of them each process could receive. A socket of several processes is the first's.
    receivers: HashMap<u32, u64>,
}

impl Elsewhere {
    /// Reads what the holders' Unix sockets have queued, and what the rings of all processes hold.
    /// `holders` are all that a walk showed.
    pub fn look(holders: &[Holder]) -> io::Result<Self> {
        Ok(Self {
            queued: queued(holders),
            direct: direct(holders)?,
        })
    }

    /// How many files are on their way to Unix sockets of a network namespace. Those in the queue
    /// of a socket that is on its way itself are not among them, and without the kernel's
    /// iterator over files none are.
    pub fn queued(&self, netns: u32) -> u64 {
        self.queued.get(&netns).map_or(0, |queued| queued.files)
    }

    /// The process in whose queues most of them are.
    pub fn receiver(&self, netns: u32) -> Option<u32> {
        let queued = self.queued.get(&netns)?;
        let most = queued.receivers.iter();
        most.filter(|(_, files)| **files * 2 > queued.files)
            .map(|(pid, _)| *pid)
            .next()
    }

    /// Is the socket a direct descriptor? No is certain only from Linux 6.14 on, whose rings
    /// name their sockets, and if no ring was busy each time.
    pub fn is_direct(&self, inode: u32) -> bool {
        self.direct.contains(inode)
    }

    /// The class of a socket that has a file and no holder. `unexplained` says how many of these
    /// its namespace has that are no direct descriptors: the kernel tells how many files a queue
    /// holds and not which, so only where as many wait as there are sockets, each is taken to be
    /// one of them.
    pub fn class(&self, netns: u32, inode: u32, unexplained: u64) -> Class {
        if self.is_direct(inode) {
            Class::DirectDescriptor
        } else if (1..=self.queued(netns)).contains(&unexplained) {
            Class::InFlight
        } else {
            Class::NoDescriptor
        }
    }
}

/// Files in the queues of Unix sockets, each socket asked once.
fn queued(holders: &[Holder]) -> HashMap<u32, Queued> {
    let (mut seen, mut queued) = (HashSet::new(), HashMap::<u32, Queued>::new());
    for holder in holders {
        let Held::Socket(Some(open)) = holder.held else {
            continue;
        };
        if open.family != AF_UNIX || !seen.insert(holder.inode) {
            continue;
        }
        let information = information(holder.pid, holder.fd);
        let files = information.ok().and_then(|text| scm_fds(&text));
        if let Some(files) = files.filter(|&files| files > 0) {
            let queued = queued.entry(open.netns).or_default();
            queued.files += files;
            *queued.receivers.entry(holder.pid).or_default() += files;
        }
    }
    queued
}

/// `scm_fds` of a Unix socket (`net/unix/af_unix.c`, 5.6): files in messages that wait to be
/// received; for a listener, by those whom it has not accepted yet (6.1).
fn scm_fds(information: &str) -> Option<u64> {
    let mut lines = information.lines();
    let value = lines.find_map(|line| line.strip_prefix("scm_fds:"))?;
    value.trim().parse().ok()
}

/// Sockets in the rings of all processes that show theirs.
fn direct(holders: &[Holder]) -> io::Result<Inodes> {
    // No link of a descriptor that is known to be something else needs to be read.
    let known: HashSet<_> = holders.iter().map(|it| (it.pid, it.fd)).collect();
    let mut direct = Inodes::default();
    for pid in proc::pids()? {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        for entry in entries.flatten() {
            let fd = entry.file_name().to_str().and_then(|it| it.parse().ok());
            let Some(fd) = fd.filter(|&fd| !known.contains(&(pid, fd))) else {
                continue;
            };
            if fs::read_link(entry.path()).is_ok_and(|it| it.as_os_str() == RING) {
                ring(pid, fd, &mut direct);
            }
        }
    }
    Ok(direct)
}

/// What the link of a ring leads to (`io_uring/io_uring.c`, 5.1).
const RING: &str = "anon_inode:[io_uring]";

fn ring(pid: u32, fd: u32, direct: &mut Inodes) {
    for _ in 0..ATTEMPTS {
        let Ok(information) = information(pid, fd) else {
            // It is gone.
            return;
        };
        let inodes = slots(&information);
        if !inodes.is_empty() {
            for inode in inodes {
                direct.insert(inode);
            }
            return;
        }
    }
}

/// The sockets among a ring's files (`io_uring/fdinfo.c`): lines such as `    3: socket:[1234]`
/// after `UserFiles:`. Before 6.14 they show the name of a protocol in place of an inode number. There
/// are none where the ring has none, and where it was busy.
fn slots(information: &str) -> Vec<u32> {
    let lines = information.lines();
    let files = lines.skip_while(|line| !line.starts_with("UserFiles:"));
    let files = files.skip(1).map_while(|line| {
        let (slot, path) = line.split_once(": ")?;
        slot.trim().parse::<u32>().ok().map(|_| path)
    });
    files
        .filter_map(|path| proc::numbered(path.as_ref(), "socket"))
        .collect()
}

fn information(pid: u32, fd: u32) -> io::Result<String> {
    // A path may be any bytes.
    let mut bytes = Vec::new();
    fs::File::open(format!("/proc/{pid}/fdinfo/{fd}"))?.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queued_files_are_counted() {
        let text = "pos:\t0\nflags:\t02000002\nmnt_id:\t10\nino:\t7\nscm_fds: 3\n";
        assert_eq!(scm_fds(text), Some(3));
        assert_eq!(scm_fds("pos:\t0\nflags:\t02\n"), None);
    }

    #[test]
    fn the_sockets_of_a_ring_are_found_among_its_files() {
        let text = "SqMask:\t0x7\nSQEs:\t0\nUserFiles:\t8\n    0: /tmp/socket:[5]\n    3: socket:[6]\n    \
                    4: pipe:[8]\n    5: socket:[7]\nUserBufs:\t1\n    9: socket:[9]\nPollList:\n";
        assert_eq!(slots(text), [6, 7]);
        // Linux 6.13.
        let text = "UserFiles:\t3\n    0: TCP\n    1: <none>\n    2: UNIX\nUserBufs:\t0\n";
        assert!(slots(text).is_empty());
        assert!(slots("SqMask:\t0x7\nSqHead:\t1\n").is_empty());
    }

    #[test]
    fn a_queue_explains_no_more_sockets_than_it_has_files() {
        let elsewhere = Elsewhere {
            direct: Inodes::from_iter([5]),
            queued: HashMap::from([(
                1,
                Queued {
                    files: 2,
                    receivers: HashMap::from([(100, 2)]),
                },
            )]),
        };
        assert_eq!(elsewhere.class(1, 5, 2), Class::DirectDescriptor);
        assert_eq!(elsewhere.class(1, 6, 2), Class::InFlight);
        assert_eq!(elsewhere.class(1, 6, 3), Class::NoDescriptor);
        assert_eq!(elsewhere.class(4, 6, 1), Class::NoDescriptor);
        assert_eq!(Elsewhere::default().class(1, 6, 1), Class::NoDescriptor);
    }

    #[test]
    fn who_has_most_of_what_is_queued_is_the_receiver() {
        let receiver = |receivers: &[(u32, u64)]| {
            let queued = Queued {
                files: receivers.iter().map(|(_, files)| files).sum(),
                receivers: receivers.iter().copied().collect(),
            };
            let elsewhere = Elsewhere {
                queued: HashMap::from([(1, queued)]),
                ..Elsewhere::default()
            };
            elsewhere.receiver(1)
        };
        assert_eq!(receiver(&[(100, 50), (200, 1)]), Some(100));
        assert_eq!(receiver(&[(100, 5), (200, 5)]), None);
        assert_eq!(receiver(&[]), None);
    }
}
