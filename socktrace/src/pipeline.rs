//! The one place that calls everything in order: decode, table, selection, sink.

mod lives;
mod records;
mod rows;

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, BufWriter},
};

use hashbrown::HashMap;

use self::rows::Rows;
use crate::{
    change::{Change, Place, View, What},
    clock::Clock,
    decode::decode,
    event::Event,
    probe::counters::Counters,
    process::{Ask, read_comm},
    select::Select,
    sequence::Sequence,
    sink::{Report, Sink},
    source::{Described, Item, recording::Writer},
    table::{Past, SocketTable},
    unfold::is_life,
};

/// From records to rows.
pub struct Pipeline {
    table: SocketTable,
    rows: Rows,
    sequence: Sequence,
    /// Where records are kept, if anywhere.
    recorder: Option<Writer<BufWriter<File>>>,
    /// What to ask `/proc`.
    pub ask: Ask,
    counters: Option<Counters>,
    undecodable: u64,
    last_ns: u64,
    /// Is what the first snapshot finds told, or only taken in?
    pub tells_open: bool,
    /// Of how many steps of a life is known before it is told, by the socket's identity.
    previewed: HashMap<u64, usize>,
}

impl Pipeline {
    /// Rows that `select` wants go to `sink`.
    pub fn new(select: Select, report: Report, sink: Option<Box<dyn Sink>>, clock: Clock) -> Self {
        let last_ns = clock.began_ns;
        let rows = Rows::new(select, report, sink, clock);
        let mut table = SocketTable::default();
        table.looks = rows.looks();
        table.keeps_time_waits = report != Report::Life;
        Self {
            table,
            rows,
            sequence: Sequence::default(),
            recorder: None,
            ask: Ask::Nothing,
            counters: None,
            undecodable: 0,
            last_ns,
            tells_open: false,
            previewed: HashMap::new(),
        }
    }

    /// Tells no more rows than this.
    pub fn tell_at_most(&mut self, rows: u64) {
        self.rows.most = rows;
    }

    /// Keeps everything in a recording, too.
    pub fn record(&mut self, recorder: Writer<BufWriter<File>>) {
        self.recorder = Some(recorder);
    }

    /// Takes in what a source brings.
    pub fn take(&mut self, item: &Item<'_>) -> io::Result<()> {
        match item {
            Item::Record(bytes) => self.record_came(bytes),
            Item::Adopted(adopted) => {
                for &(pid, _) in &adopted.holders {
                    if self.ask != Ask::Nothing && !self.table.knows(pid) {
                        self.look_up(pid)?;
                    }
                }
                self.keep(item)?;
                let mut telling = self.rows.telling(self.tells_open);
                self.table.adopt(adopted, &mut telling);
                telling.result
            }
            Item::SnapshotBegins(mono_ns) => {
                self.keep(item)?;
                self.last_ns = self.last_ns.max(*mono_ns);
                self.table.snapshot_begins(*mono_ns);
                Ok(())
            }
            Item::SnapshotEnds { whole } => {
                self.keep(item)?;
                let mut telling = self.rows.telling(self.tells_open);
                self.table.snapshot_ends(*whole, &mut telling);
                telling.result?;
                // Of those whose end was lost nothing will come.
                let table = &self.table;
                self.previewed.retain(|&id, _| table.contains(id));
                self.tells_open = true;
                Ok(())
            }
            Item::Process(described) => {
                self.keep(item)?;
                let Described { pid, comm, details } = described.clone();
                self.table.describe(pid, comm, details);
                Ok(())
            }
            Item::Settle => {
                self.keep(item)?;
                self.settle()
            }
            Item::Counters(counters) => {
                self.keep(item)?;
                self.counted(counters)
            }
        }
    }

    /// Everything has come: what is missing from the end of the sequences is told now.
    pub fn finish(&mut self, counters: Option<&Counters>) -> io::Result<()> {
        // A gap is told when a batch has passed; both of these are empty.
        self.take(&Item::Settle)?;
        self.take(&Item::Settle)?;
        if let Some(counters) = counters {
            self.take(&Item::Counters(*counters))?;
        }
        let lost_ring = self.counters.map_or(0, |counters| counters.lost_ring);
        let unplaced = lost_ring.saturating_sub(self.sequence.missing());
        if unplaced > 0 {
            self.lost(unplaced, Place::Ring(0), self.last_ns)?;
        }
        self.rows.flush()?;
        match self.recorder.take() {
            Some(recorder) => recorder.finish(),
            None => Ok(()),
        }
    }

    /// Have all the rows been written that were asked for?
    pub fn is_full(&self) -> bool {
        self.rows.are_full()
    }

    /// What the records add up to.
    pub fn table(&self) -> &SocketTable {
        &self.table
    }

    /// Records that made no sense.
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// What is remembered of sockets from an earlier run; how many of them are still there.
    pub fn remember(&mut self, pasts: &[Past]) -> usize {
        let known = pasts.iter().filter(|past| self.table.remember(past));
        known.count()
    }

    /// The kernel side's counters, as they were read last.
    pub fn counters(&self) -> Counters {
        self.counters.unwrap_or_default()
    }

    /// A table of at most so many sockets, instead of the one that there is.
    pub fn limit(&mut self, most: usize) {
        let before = std::mem::replace(&mut self.table, SocketTable::new(most));
        self.table.looks = before.looks;
        self.table.keeps_time_waits = before.keeps_time_waits;
    }

    /// The summary for people.
    pub fn summary_text(&self) -> String {
        let elapsed = self.last_ns.saturating_sub(self.rows.clock.began_ns);
        let summary = &self.rows.summary;
        let mut text = summary.text(elapsed, self.table.len(), self.counters.as_ref());
        let corrected: Vec<_> = self
            .table
            .corrections()
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(learned, count)| format!("{} {count}", learned.word()))
            .collect();
        if !corrected.is_empty() {
            _ = write!(text, "\nsnapshots corrected: {}", corrected.join(", "));
        }
        if self.table.untracked() > 0 {
            _ = write!(
                text,
                "\nnot tracked for want of room: {} (a larger --max-sockets may help)",
                self.table.untracked()
            );
        }
        if self.undecodable > 0 {
            _ = write!(text, "\n{} records made no sense", self.undecodable);
        }
        text
    }

    fn made_no_sense(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.keep(&Item::Record(bytes))?;
        self.undecodable += 1;
        self.lost(1, Place::Decode, self.last_ns)
    }

    fn record_came(&mut self, bytes: &[u8]) -> io::Result<()> {
        if is_life(bytes) {
            return self.life_came(bytes);
        }
        let Ok(event) = decode(bytes) else {
            return self.made_no_sense(bytes);
        };
        let header = *event.header();
        self.sequence.see(header.cpu, header.seq, header.mono_ns);
        self.last_ns = self.last_ns.max(header.mono_ns);
        // The kernel side tells of a process before its first event, unless that found no room.
        if event.acts() {
            self.meet(header.tgid)?;
        }
        self.keep(&Item::Record(bytes))?;
        let mut telling = self.rows.telling(true);
        self.table.apply(&event, &mut telling);
        telling.result?;
        match event {
            Event::Process(_) if matches!(self.ask, Ask::Details | Ask::Families) => {
                self.look_up(header.tgid)
            }
            Event::Fork(fork) => {
                let pids = &mut self.rows.select.pids;
                if pids.contains(&header.tgid) {
                    pids.insert(fork.child);
                }
                if self.ask == Ask::Details {
                    self.look_up(fork.child)
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        }
    }

    /// A process did something: who is it?
    fn meet(&mut self, pid: u32) -> io::Result<()> {
        if self.ask == Ask::Nothing || self.table.knows(pid) {
            return Ok(());
        }
        self.look_up(pid)
    }

    /// Asks `/proc` about a process. It may be gone: then nothing more is known of it.
    fn look_up(&mut self, pid: u32) -> io::Result<()> {
        let known = self.table.knows(pid);
        self.take(&Item::Process(Described {
            pid,
            comm: if known { None } else { read_comm(pid) },
            details: self.ask.details(pid),
        }))
    }

    fn settle(&mut self) -> io::Result<()> {
        let mut missing = Vec::new();
        self.sequence.settle(|gap| missing.push(gap));
        for gap in missing {
            self.lost(gap.count, Place::Ring(gap.cpu), gap.before_ns)?;
        }
        self.rows.flush()
    }

    /// Losses that leave no gap have no place but the time at which they were noticed.
    fn counted(&mut self, counters: &Counters) -> io::Result<()> {
        self.last_ns = self.last_ns.max(counters.mono_ns);
        self.table.passes(self.last_ns);
        let before = self.counters.replace(*counters).unwrap_or_default();
        if counters.lost_ring > before.lost_ring {
            // The gap shows when the next record comes, and that can take a while.
            self.table.lost(counters.mono_ns);
        }
        let news = [
            (
                Place::Map,
                counters.lost_map.saturating_sub(before.lost_map),
            ),
            (
                Place::Recursion,
                counters.recursion.saturating_sub(before.recursion),
            ),
        ];
        for (place, count) in news {
            if count > 0 {
                self.lost(count, place, self.last_ns)?;
            }
        }
        Ok(())
    }

    fn lost(&mut self, count: u64, place: Place, mono_ns: u64) -> io::Result<()> {
        self.table.lost(mono_ns);
        self.rows.tell(&mut Change {
            mono_ns,
            socket: View::default(),
            actor: None,
            tid: None,
            fd: None,
            what: What::Lost { count, place },
        })
    }

    fn keep(&mut self, item: &Item<'_>) -> io::Result<()> {
        match &mut self.recorder {
            Some(recorder) => recorder.write(item),
            None => Ok(()),
        }
    }
}
