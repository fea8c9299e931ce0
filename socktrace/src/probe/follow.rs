//! What the kernel side is told while it runs: whose sockets to follow, besides those that it sees
//! begin.

use aya::maps::{HashMap, MapData};
use hashbrown::HashSet;

use super::Probes;

impl Probes {
    /// A process that user space knows already: the kernel side tells of its forks, of the programs
    /// that it runs and of its end, without announcing it first.
    pub fn knows(&mut self, pid: u32) {
        self.with("PROCESSES", |mut processes: HashMap<_, u32, u8>| {
            processes.insert(pid, 1, 0).unwrap_or_default();
            // It may have ended before it was entered, and then nobody takes it out.
            if !std::path::Path::new("/proc").join(pid.to_string()).exists() {
                processes.remove(&pid).unwrap_or_default();
            }
        });
    }

    /// If only some processes are followed: this socket, by its cookie, is one of theirs. With
    /// namespace and port for a listener, whose children have no owner until they are accepted.
    pub fn follow(&mut self, cookie: u64, listens_at: Option<(u32, u16)>) {
        // Where there is no room the socket's state changes are not told; snapshots still are.
        self.with("SOCKETS", |mut sockets: HashMap<_, u64, u8>| {
            sockets.insert(cookie, 1, 0).unwrap_or_default();
        });
        let Some((netns, port)) = listens_at else {
            return;
        };
        self.with("LISTENERS", |mut listeners: HashMap<_, u64, u64>| {
            let key = u64::from(netns) << 32 | u64::from(port);
            let before = listeners.get(&key, 0).unwrap_or_default();
            listeners.insert(key, before + 1, 0).unwrap_or_default();
        });
    }

    /// The processes that are followed, with their children so far.
    pub fn followed(&mut self) -> HashSet<u32> {
        let mut followed = HashSet::new();
        self.with("PIDS", |pids: HashMap<_, u32, u8>| {
            followed = pids.keys().flatten().collect();
        });
        followed
    }

    fn with<K: aya::Pod, V: aya::Pod>(
        &mut self,
        name: &str,
        use_it: impl FnOnce(HashMap<&mut MapData, K, V>),
    ) {
        if let Some(map) = self.ebpf.map_mut(name)
            && let Ok(map) = HashMap::try_from(map)
        {
            use_it(map);
        }
    }
}
