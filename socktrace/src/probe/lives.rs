//! The lives that the kernel side keeps of young sockets.

use aya::maps::HashMap;
use socktrace_common::event::LifeEvent;
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::Probes;

/// Words of a [`LifeEvent`], which the library knows how to read.
const WORDS: usize = size_of::<LifeEvent>() / 8;

impl Probes {
    /// What is kept of this socket (a cookie); `None` where all has been told.
    pub fn life(&self, id: u64) -> Option<LifeEvent> {
        let map = self.ebpf.map("LIVES")?;
        let map = HashMap::<_, u64, [u64; WORDS]>::try_from(map).ok()?;
        let words = map.get(&id, 0).ok()?;
        LifeEvent::read_from_bytes(words.as_bytes()).ok()
    }

    /// Drops lives that began before this time (`CLOCK_MONOTONIC`, ns) of sockets that are not there:
    /// the kernel skipped the hook that should have told their end, which it counts. How many.
    pub fn drop_lives(&mut self, began_before: u64, is_there: impl Fn(u64) -> bool) -> usize {
        let lost: Vec<u64> = {
            let Some(map) = self.ebpf.map("LIVES") else {
                return 0;
            };
            let Ok(map) = HashMap::<_, u64, [u64; WORDS]>::try_from(map) else {
                return 0;
            };
            let ids = map.keys().flatten().filter(|&id| !is_there(id));
            let old = |id: &u64| {
                let life = self.life(*id);
                life.is_some_and(|life| life.began_ns < began_before)
            };
            ids.filter(old).collect()
        };
        let map = self.ebpf.map_mut("LIVES");
        let map = map.and_then(|map| HashMap::<_, u64, [u64; WORDS]>::try_from(map).ok());
        let Some(mut map) = map else { return 0 };
        lost.iter().filter(|id| map.remove(id).is_ok()).count()
    }
}
