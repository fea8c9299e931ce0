//! Where records are missing: each CPU numbers what it wanted to write.

use std::collections::BTreeSet;

use socktrace_common::event::UNNUMBERED;

/// What each CPU's numbers tell.
#[derive(Debug, Default)]
pub struct Sequence {
    cpus: Vec<Cpu>,
    /// Those with gaps: a recording may name CPUs that no machine has.
    gapped: BTreeSet<u16>,
    /// Records that are missing for good.
    missing: u64,
}

#[derive(Debug, Default)]
struct Cpu {
    /// The number after the highest that came.
    next: u64,
    gaps: Vec<Gap>,
}

/// Numbers that did not come, in their place.
#[derive(Debug)]
struct Gap {
    from: u64,
    to: u64,
    /// Time of the record that came instead.
    before_ns: u64,
    /// One batch has passed since.
    waited: bool,
}

/// Records that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The CPU that had no room for them.
    pub cpu: u16,
    /// How many.
    pub count: u64,
    /// They are older than this, `CLOCK_MONOTONIC`.
    pub before_ns: u64,
}

impl Sequence {
    /// A record came.
    pub fn see(&mut self, cpu: u16, seq: u64, mono_ns: u64) {
        if seq == UNNUMBERED {
            return;
        }
        let (number, index) = (cpu, usize::from(cpu));
        if self.cpus.len() <= index {
            self.cpus.resize_with(index + 1, Cpu::default);
        }
        let cpu = &mut self.cpus[index];
        if seq >= cpu.next {
            if seq > cpu.next {
                cpu.gaps.push(Gap {
                    from: cpu.next,
                    to: seq,
                    before_ns: mono_ns,
                    waited: false,
                });
                self.gapped.insert(number);
            }
            cpu.next = seq.saturating_add(1);
        } else {
            cpu.came_late(seq);
        }
    }

    /// A batch is over: says what has been missing since the one before. A softirq can number its
    /// record while another is being written, so a number may come a little late.
    pub fn settle(&mut self, mut tell: impl FnMut(Missing)) {
        let (cpus, missing) = (&mut self.cpus, &mut self.missing);
        self.gapped.retain(|&number| {
            let cpu = &mut cpus[usize::from(number)];
            cpu.gaps.retain_mut(|gap| {
                if !gap.waited {
                    gap.waited = true;
                    return true;
                }
                let count = gap.to - gap.from;
                *missing = missing.saturating_add(count);
                tell(Missing {
                    cpu: number,
                    count,
                    before_ns: gap.before_ns,
                });
                false
            });
            !cpu.gaps.is_empty()
        });
    }

    /// Records that are missing for good, so far.
    pub fn missing(&self) -> u64 {
        self.missing
    }
}

impl Cpu {
    fn came_late(&mut self, seq: u64) {
        let Some(index) = self
            .gaps
            .iter()
            .position(|gap| (gap.from..gap.to).contains(&seq))
        else {
            return;
        };
        let gap = self.gaps.swap_remove(index);
        for (from, to) in [(gap.from, seq), (seq + 1, gap.to)] {
            if from < to {
                self.gaps.push(Gap { from, to, ..gap });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(sequence: &mut Sequence) -> Vec<(u16, u64)> {
        let mut told = Vec::new();
        sequence.settle(|missing| told.push((missing.cpu, missing.count)));
        told
    }

    #[test]
    fn a_batch_costs_nothing_where_nothing_is_missing() {
        let mut sequence = Sequence::default();
        sequence.see(u16::MAX, 3, 1);
        sequence.see(0, 0, 1);
        let mut told = Vec::new();
        sequence.settle(|it| told.push(it));
        assert_eq!((told.len(), sequence.gapped.len()), (0, 1));
        sequence.settle(|it| told.push(it));
        assert_eq!((told.len(), told[0].cpu, told[0].count), (1, u16::MAX, 3));
        assert!(sequence.gapped.is_empty());
        // All that was missing came late.
        sequence.see(0, 2, 2);
        sequence.see(0, 1, 2);
        sequence.settle(|_| panic!("nothing is missing"));
        assert!(sequence.gapped.is_empty());
    }

    #[test]
    fn nothing_is_missing_from_a_full_sequence() {
        let mut sequence = Sequence::default();
        for seq in 0..5 {
            sequence.see(0, seq, seq);
            sequence.see(1, seq, seq);
        }
        assert_eq!(
            (settle(&mut sequence), settle(&mut sequence)),
            (vec![], vec![])
        );
    }

    #[test]
    fn a_gap_is_told_once_and_in_its_place() {
        let mut sequence = Sequence::default();
        sequence.see(1, 0, 10);
        sequence.see(1, 4, 20);
        assert_eq!(settle(&mut sequence), []);
        assert_eq!(settle(&mut sequence), [(1, 3)]);
        assert_eq!(settle(&mut sequence), []);
        assert_eq!(sequence.missing(), 3);
    }

    #[test]
    fn the_first_records_of_a_cpu_can_be_missing_too() {
        let mut sequence = Sequence::default();
        sequence.see(0, 2, 10);
        settle(&mut sequence);
        assert_eq!(settle(&mut sequence), [(0, 2)]);
    }

    #[test]
    fn what_comes_late_is_not_missing() {
        let mut sequence = Sequence::default();
        for seq in [0, 3, 2, 1, 4] {
            sequence.see(0, seq, seq);
        }
        settle(&mut sequence);
        assert_eq!(settle(&mut sequence), []);
    }
}
