//! The lives that the kernel side keeps of young sockets.

use aya::maps::Array;
use socktrace_common::event::LifeEvent;
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::Probes;

/// Words of a [`LifeEvent`], which the library knows how to read.
const WORDS: usize = size_of::<LifeEvent>() / 8;

impl Probes {
    /// What is kept of this socket (a cookie); `None` where all has been told.
    pub fn life(&self, id: u64) -> Option<LifeEvent> {
        let map = self.ebpf.map("LIVES")?;
        let map = Array::<_, [u64; WORDS]>::try_from(map).ok()?;
        let places = [
            id & self.near_mask,
            self.near_mask + 1 + (id & self.lives_mask),
        ];
        places.into_iter().find_map(|place| {
            let words = map.get(&u32::try_from(place).ok()?, 0).ok()?;
            let life = LifeEvent::read_from_bytes(words.as_bytes()).ok()?;
            // Whose it is stands where a record has its time; another may have come while it was read.
            (id != 0 && life.header.mono_ns == id && life.socket.id == id).then_some(life)
        })
    }
}
