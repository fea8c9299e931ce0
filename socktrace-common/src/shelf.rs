//! Where a CPU leaves lives that are over, for user space to take.
//!
//! In the map `SHELVES` there is one of these for each CPU, and in the map `SHELVED` as many places for
//! each: the life with number `n` lies in place `n` modulo their number. Both are mapped into user space.

use crate::wire;

/// How many places all CPUs have together: 1.2 MB. Where there are many CPUs it is more.
const PLACES: u32 = 4096;
/// How many each has at least: its reader is woken for half of them, which costs as much as a hundred lives.
const LEAST: u32 = 512;

/// How many places each of so many CPUs has: a power of two.
#[must_use]
pub const fn places(cpus: u32) -> u32 {
    let each = PLACES / if cpus == 0 { 1 } else { cpus };
    1 << if each < LEAST { LEAST } else { each }.ilog2()
}

wire! {
    /// How far a CPU's shelf has been filled and emptied. Each number has a line of the caches of its own.
    pub struct Shelf {
        /// How many lives were put on it. Only that CPU writes it, when a life is there.
        pub put: u64,
        /// Nothing.
        pub pad: [u64; 7],
        /// How many were taken. Only user space writes it, when it has a copy.
        pub taken: u64,
        /// Nothing.
        pub pad_too: [u64; 7],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_a_power_of_two_and_never_few() {
        for (cpus, each) in [
            (0, 4096),
            (1, 4096),
            (2, 2048),
            (3, 1024),
            (16, 512),
            (96, 512),
        ] {
            assert_eq!(places(cpus), each, "{cpus} CPUs");
        }
    }
}
