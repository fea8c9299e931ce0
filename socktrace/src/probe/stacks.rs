//! The stacks that the kernel side kept.

use aya::maps::{HashMap, MapData, MapError};
use socktrace_common::stack::Stack;
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::Probes;

/// Words of a [`Stack`], which the library knows how to read.
const WORDS: usize = size_of::<Stack>() / 8;

/// Stacks by the keys that records have for them. It outlives the hooks.
pub struct Stacks(HashMap<MapData, u32, [u64; WORDS]>);

impl Probes {
    /// The map of stacks. Taken once; without [`Plan::stacks`](super::Plan::stacks) nothing is in it.
    pub fn take_stacks(&mut self) -> Result<Stacks, MapError> {
        let missing = || MapError::InvalidName {
            name: "STACKS".into(),
        };
        let map = self.ebpf.take_map("STACKS").ok_or_else(missing)?;
        HashMap::try_from(map).map(Stacks)
    }
}

impl Stacks {
    /// The stack with this key.
    pub fn get(&self, key: u32) -> Option<Stack> {
        let words = self.0.get(&key, 0).ok()?;
        Stack::read_from_bytes(words.as_bytes()).ok()
    }
}
