//! What the kernel side counted, and what the kernel skipped.

use std::{fs, os::fd::AsRawFd as _, time::Duration};

use aya::maps::{MapError, PerCpuArray};
use socktrace_common::{
    counters::{Books, Outcome, SLOTS, outcome_slot, seen_slot},
    event::EventKind,
};

use super::{Probes, catalog::Hook};
use crate::clock::monotonic_ns;

/// What the kernel side counted since it was loaded, over all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// When they were read: `CLOCK_MONOTONIC`, nanoseconds. 0 where a recording does not say.
    #[serde(default)]
    pub mono_ns: u64,
    /// Times a hook had something to decide.
    pub seen: u64,
    /// Records in the ring.
    pub emitted: u64,
    /// Kept in kernel-side maps only.
    pub folded: u64,
    /// Not asked for.
    pub filtered: u64,
    /// Records for which the ring had no room.
    pub lost_ring: u64,
    /// Sockets or processes for which a map had no room.
    pub lost_map: u64,
    /// Runs that the kernel skipped because the program, or for a classic tracepoint any tracing
    /// program, already ran on that CPU. Outside the sum: no program saw them.
    pub recursion: u64,
}

impl Counters {
    /// Everything that is known to be lost, wherever.
    pub fn lost(&self) -> u64 {
        [self.lost_ring, self.lost_map, self.recursion]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// `seen = emitted + folded + filtered + lost`. While hooks run it can be off by those that
    /// are between the two counts.
    pub fn balanced(&self) -> bool {
        let ends = [
            self.emitted,
            self.folded,
            self.filtered,
            self.lost_ring,
            self.lost_map,
        ];
        // What a recording says of them may be anything.
        let sum = ends.into_iter().try_fold(0, u64::checked_add);
        sum == Some(self.seen)
    }
}

impl Probes {
    /// Reads the counters.
    pub fn counters(&self) -> Result<Counters, MapError> {
        let map = self
            .ebpf
            .map("COUNTERS")
            .ok_or_else(|| MapError::InvalidName {
                name: "COUNTERS".into(),
            })?;
        let map = PerCpuArray::<_, [u64; SLOTS]>::try_from(map)?;
        let mut sum = Counters {
            mono_ns: monotonic_ns(),
            recursion: self.recursion + self.recursion_misses(),
            ..Counters::default()
        };
        let kinds = EventKind::ALL.into_iter();
        let slots = kinds.flat_map(|kind| Books::ALL.map(|books| (books, kind)));
        for cpu in map.get(&0, 0)?.iter() {
            for (books, kind) in slots.clone() {
                let ended = |outcome| cpu[outcome_slot(books, kind, outcome)];
                sum.seen += cpu[seen_slot(books, kind)];
                sum.emitted += ended(Outcome::Emitted);
                sum.folded += ended(Outcome::Folded);
                sum.filtered += ended(Outcome::Filtered);
                sum.lost_ring += ended(Outcome::LostRing);
                sum.lost_map += ended(Outcome::LostMap);
            }
        }
        Ok(sum)
    }

    /// How often the program of a hook ran and what that took of all CPUs, as far as the kernel
    /// counts it (`kernel.bpf_stats_enabled`). Several hooks may share a program.
    pub fn runs(&self, hook: &Hook) -> Option<(u64, Duration)> {
        let mut programs = self.programs();
        let (_, program) = programs.find(|(name, _)| *name == hook.program)?;
        let info = program.info().ok()?;
        Some((info.run_count(), info.run_time()))
    }

    /// How many instructions the verifier looked at, for each program that is loaded, by its name in
    /// the object (5.16).
    pub fn verified(&self) -> Vec<(String, u32)> {
        self.programs()
            .filter_map(|(name, program)| {
                let count = program.info().ok()?.verified_instruction_count()?;
                Some((name.to_owned(), count))
            })
            .collect()
    }

    /// The kernel's own count for each program (5.12), as `/proc/self/fdinfo` shows it.
    pub(super) fn recursion_misses(&self) -> u64 {
        self.programs()
            .filter_map(|(_, program)| program.fd().ok())
            .filter_map(|fd| {
                use std::os::fd::AsFd as _;
                let number = fd.as_fd().as_raw_fd();
                let text = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
                let line = text
                    .lines()
                    .find_map(|line| line.strip_prefix("recursion_misses:"))?;
                line.trim().parse::<u64>().ok()
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_neither_counted_nor_lost_is_noticed() {
        let mut counters = Counters {
            mono_ns: 0,
            seen: 10,
            emitted: 5,
            folded: 1,
            filtered: 2,
            lost_ring: 1,
            lost_map: 1,
            recursion: 7,
        };
        assert!(counters.balanced());
        counters.seen += 1;
        assert!(!counters.balanced());
    }
}
