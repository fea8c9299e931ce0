//! Which process holds which socket under which descriptor, as far as calls tell: hints for what
//! no call tells (exit, exec, fork), never counts.

use hashbrown::HashMap;
use socktrace_common::event::{DESCRIPTOR_WORDS, DescriptorSet};

use super::neighbours::Neighbours;

/// Sockets by process and descriptor.
#[derive(Debug, Default)]
pub(super) struct Holders {
    by_pid: HashMap<u32, Held>,
    /// Empty ones, for the next process: many hold one socket after the other.
    spare: Vec<Held>,
}

/// What a process holds, by descriptor.
type Held = HashMap<i32, u64, Neighbours>;

/// No more empty maps than this.
const SPARE: usize = 64;

impl Holders {
    /// The process holds the socket; returns what it held there before, silently closed.
    pub(super) fn hold(&mut self, pid: u32, fd: i32, id: u64) -> Option<u64> {
        let spare = &mut self.spare;
        let held = self.by_pid.entry(pid);
        held.or_insert_with(|| spare.pop().unwrap_or_default())
            .insert(fd, id)
    }

    /// What the process holds there.
    pub(super) fn held(&self, pid: u32, fd: i32) -> Option<u64> {
        self.by_pid.get(&pid)?.get(&fd).copied()
    }

    /// The process lets go of a descriptor.
    pub(super) fn release(&mut self, pid: u32, fd: i32) -> Option<u64> {
        let held = self.by_pid.get_mut(&pid)?;
        let id = held.remove(&fd);
        if held.is_empty()
            && let Some(empty) = self.by_pid.remove(&pid)
            && self.spare.len() < SPARE
        {
            self.spare.push(empty);
        }
        id
    }

    /// The process exits: all that it held, in the order of descriptors.
    pub(super) fn release_all(&mut self, pid: u32) -> Vec<(i32, u64)> {
        let mut released: Vec<_> = self.by_pid.remove(&pid).into_iter().flatten().collect();
        released.sort_unstable();
        released
    }

    /// Only `open` stays open: what the process lets go of, in the order of descriptors. Above
    /// the set's last descriptor nothing is known and nothing is let go.
    pub(super) fn keep(&mut self, pid: u32, open: &DescriptorSet) -> Vec<(i32, u64)> {
        let Some(held) = self.by_pid.get_mut(&pid) else {
            return Vec::new();
        };
        let mut released: Vec<_> = held.extract_if(|fd, _| !is_open(open, *fd)).collect();
        if held.is_empty() {
            self.by_pid.remove(&pid);
        }
        released.sort_unstable();
        released
    }

    /// The child holds what its parent holds; returns it.
    pub(super) fn fork(&mut self, parent: u32, child: u32) -> Vec<(i32, u64)> {
        let Some(held) = self.by_pid.get(&parent) else {
            return Vec::new();
        };
        let held = held.clone();
        let inherited = held.iter().map(|(&fd, &id)| (fd, id)).collect();
        self.by_pid.insert(child, held);
        inherited
    }

    /// What the process holds.
    pub(super) fn of(&self, pid: u32) -> impl Iterator<Item = u64> {
        self.by_pid
            .get(&pid)
            .into_iter()
            .flat_map(HashMap::values)
            .copied()
    }
}

fn is_open(open: &DescriptorSet, fd: i32) -> bool {
    let Ok(fd) = usize::try_from(fd) else {
        return false;
    };
    fd >= DESCRIPTOR_WORDS * 64 || open[fd / 64] & (1 << (fd % 64)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exec_keeps_what_is_open_and_what_is_not_told() {
        let mut holders = Holders::default();
        for fd in [3, 4, 70, 5000] {
            holders.hold(10, fd, u64::try_from(fd).unwrap());
        }
        let mut open = [0; DESCRIPTOR_WORDS];
        open[0] = 1 << 3;
        assert_eq!(holders.keep(10, &open), [(4, 4), (70, 70)]);
        assert_eq!(holders.release_all(10), [(3, 3), (5000, 5000)]);
    }

    #[test]
    fn a_child_holds_what_its_parent_held_and_lets_go_by_itself() {
        let mut holders = Holders::default();
        holders.hold(10, 3, 7);
        assert_eq!(holders.fork(10, 11), [(3, 7)]);
        assert_eq!(holders.release(10, 3), Some(7));
        assert_eq!(holders.release_all(11), [(3, 7)]);
        assert_eq!(holders.release_all(11), []);
    }
}
