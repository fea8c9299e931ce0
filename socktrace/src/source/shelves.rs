//! Lives from the shelves of all CPUs, in the order in which they were told.

use super::chunk::{Chunk, told_at};
use crate::probe::Shelves;

/// Shelves, and when the oldest life on each was told.
pub(super) struct InOrder {
    shelves: Shelves,
    /// `CLOCK_MONOTONIC`, nanoseconds; [`NEVER`] where there is none.
    oldest_ns: Vec<u64>,
}

const NEVER: u64 = u64::MAX;

impl InOrder {
    pub(super) fn new(shelves: Shelves) -> Self {
        let oldest_ns = vec![NEVER; shelves.count()];
        Self { shelves, oldest_ns }
    }

    /// Looks what is there: what comes later is not taken before the next look.
    pub(super) fn look(&mut self) {
        for cpu in 0..self.shelves.count() {
            self.shelves.look(cpu);
            self.see(cpu);
        }
    }

    /// Takes those that were told until then, in their order, as long as there are less than so many bytes.
    pub(super) fn take(&mut self, chunk: &mut Chunk, most: usize, until_ns: u64) {
        while chunk.bytes() < most
            && let Some((cpu, &oldest_ns)) = self.earliest()
            && oldest_ns <= until_ns
            && let Some(life) = self.shelves.oldest(cpu)
        {
            chunk.push(life);
            self.shelves.take(cpu);
            self.see(cpu);
        }
    }

    /// The CPU whose oldest life was told first, and when.
    fn earliest(&self) -> Option<(usize, &u64)> {
        let times = self.oldest_ns.iter().enumerate();
        times.min_by_key(|&(_, &oldest_ns)| oldest_ns)
    }

    fn see(&mut self, cpu: usize) {
        self.oldest_ns[cpu] = self.shelves.oldest(cpu).map_or(NEVER, told_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{probe::shelves::tests::Kernel, unfold::is_life};

    fn take(lives: &mut InOrder, until_ns: u64) -> Vec<u64> {
        let mut chunk = Chunk::default();
        lives.take(&mut chunk, usize::MAX, until_ns);
        assert!(chunk.records().all(is_life));
        chunk.records().map(told_at).collect()
    }

    #[test]
    fn lives_of_all_cpus_come_in_the_order_in_which_they_were_told() {
        let (mut kernel, shelves) = Kernel::new();
        let mut lives = InOrder::new(shelves);
        for (cpu, mono_ns) in [(1, 10), (0, 20), (0, 30), (1, 40)] {
            assert!(kernel.put(cpu, mono_ns));
        }
        assert!(take(&mut lives, u64::MAX).is_empty(), "no look");
        lives.look();
        assert!(kernel.put(0, 50));
        assert_eq!(take(&mut lives, 30), [10, 20, 30]);
        assert_eq!(take(&mut lives, u64::MAX), [40], "one look");
        lives.look();
        assert_eq!(take(&mut lives, u64::MAX), [50]);
    }

    #[test]
    fn there_are_about_as_many_bytes_as_are_wanted() {
        let (mut kernel, shelves) = Kernel::new();
        let mut lives = InOrder::new(shelves);
        assert!((1..=10).all(|mono_ns| kernel.put(1, mono_ns)));
        lives.look();
        let mut chunk = Chunk::default();
        lives.take(&mut chunk, 1, u64::MAX);
        assert_eq!(chunk.records().count(), 1);
        let most = 4 * chunk.bytes();
        lives.take(&mut chunk, most, u64::MAX);
        assert_eq!(chunk.records().count(), 4);
    }
}
