//! Looks at ports again and again, to say how fast they go.

use std::{
    io,
    time::{Duration, Instant},
};

use hashbrown::{HashMap, HashSet};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep_until,
};

use super::port_rows::{PortReport, PortRows};
use crate::{
    ports::{Seen, Socket},
    probe::offsets,
    source::snapshot::{Held, Holder, Holders, Namespaces, look_at_ports},
};

/// Looks are at least this far apart, and take at most a twentieth of the time.
const SOONEST: Duration = Duration::from_secs(1);
/// And at most this far.
const LATEST: Duration = Duration::from_secs(5);

/// Looks again and again.
pub(super) struct PortWatch {
    netns: Vec<u32>,
    holders: Holders,
    namespaces: Namespaces,
    rows: PortRows,
}

impl PortWatch {
    /// For these namespaces, or all.
    pub(super) fn new(netns: Vec<u32>) -> io::Result<Self> {
        let types = offsets::read();
        let mut watch = Self {
            netns,
            holders: match &types {
                Ok(types) => Holders::new(types),
                Err(_) => Holders::from_proc(),
            },
            namespaces: Namespaces::new(),
            rows: PortRows::new(types.as_ref()),
        };
        watch.walk()?;
        Ok(watch)
    }

    /// Who holds what, and which namespaces that leads to; also whether all of it was seen.
    fn walk(&mut self) -> io::Result<(HashMap<u32, u32>, Option<String>)> {
        let (mut by_inode, mut leads): (HashMap<u32, u32>, Vec<_>) = Default::default();
        let mut seen = HashSet::new();
        let walked = self.holders.each(|holder: Holder| {
            if matches!(holder.held, Held::Socket(_)) {
                let pid = by_inode.entry(holder.inode).or_insert(holder.pid);
                *pid = holder.pid.min(*pid);
                // One way into each is enough.
                leads.extend(holder.lead().filter(|lead| seen.insert(lead.netns)));
            }
        })?;
        self.namespaces.refresh(leads)?;
        let note = (walked.unreadable > 0).then(|| {
            format!(
                "{} processes do not show their descriptors: their ports are nobody's here \
                 (CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH show all)",
                walked.unreadable
            )
        });
        Ok((by_inode, note))
    }

    fn look(&mut self, notes: &mut Vec<String>) -> io::Result<Vec<Seen>> {
        let wanted = &self.netns;
        let buckets = self.rows.buckets.as_mut();
        let wanted = |netns| wanted.is_empty() || wanted.contains(&netns);
        let looks = look_at_ports(&mut self.namespaces, buckets, wanted, Socket::of)?;
        Ok(self.rows.seen(looks, notes))
    }

    /// Looks until the time is over or somebody is in a hurry.
    pub(super) fn wait(&mut self, duration: Duration) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            let end = Instant::now() + duration;
            loop {
                let began = Instant::now();
                let seen = self.look(&mut Vec::new())?;
                self.rows.rows(&seen, |_| None, false);
                let pause = (began.elapsed() * 20).clamp(SOONEST, LATEST);
                let next = began + pause.min(duration / 5);
                if next >= end {
                    break;
                }
                tokio::select! {
                    () = sleep_until(next.into()) => {}
                    _ = interrupt.recv() => return Ok(()),
                    _ = terminate.recv() => return Ok(()),
                }
            }
            tokio::select! {
                () = sleep_until(end.into()) => {}
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            Ok(())
        })
    }

    /// The last look, with who has what.
    pub(super) fn report(&mut self) -> io::Result<PortReport> {
        let (holders, unreadable) = self.walk()?;
        let mut notes = self.rows.notes.clone();
        let owners = unreadable.is_none();
        notes.extend(unreadable);
        let seen = self.look(&mut notes)?;
        let wanted = |netns| self.netns.is_empty() || self.netns.contains(&netns);
        notes.extend(self.namespaces.notes("seen", wanted));
        let holder = |inode| holders.get(&inode).copied();
        Ok(self.rows.rows(&seen, holder, owners).with(notes))
    }
}
