//! Which rows are told, and to whom.

use std::io;

use crate::{
    change::Change,
    clock::Clock,
    select::Select,
    sink::{Report, Sink, life},
    summary::Summary,
    table::{Audience, Brief, Looks},
};

/// What becomes of a row.
pub(super) struct Rows {
    pub(super) select: Select,
    /// Nothing was asked for in particular.
    wants_all: bool,
    pub(super) sink: Option<Box<dyn Sink>>,
    report: Report,
    pub(super) clock: Clock,
    pub(super) summary: Summary,
    told: u64,
    /// No more than this.
    pub(super) most: u64,
}

impl Rows {
    pub(super) fn new(
        select: Select,
        report: Report,
        sink: Option<Box<dyn Sink>>,
        clock: Clock,
    ) -> Self {
        Self {
            wants_all: select.is_everything(),
            select,
            sink,
            report,
            clock,
            summary: Summary::default(),
            told: 0,
            most: u64::MAX,
        }
    }

    /// How closely rows are looked at.
    pub(super) fn looks(&self) -> Looks {
        match (&self.sink, self.report) {
            (_, Report::Life) => life::LOOKS,
            (Some(sink), _) if self.wants_all => sink.looks(),
            _ => Looks::FULL,
        }
    }

    /// Have all been told that were asked for?
    pub(super) fn are_full(&self) -> bool {
        self.told >= self.most
    }

    /// Tells a row, or what it is to those who want another kind.
    #[inline]
    pub(super) fn tell(&mut self, change: &mut Change) -> io::Result<()> {
        if self.report == Report::Life && !life::ends(change) {
            return Ok(());
        }
        let change = &*change;
        if self.are_full() || !(self.wants_all || self.select.wants(change, &self.clock)) {
            return Ok(());
        }
        self.summary.add(&change.what);
        self.told += 1;
        match &mut self.sink {
            Some(sink) => sink.row(change, &self.clock),
            None => Ok(()),
        }
    }

    /// The same of those that are only looked at for their kind, which nothing was asked of.
    fn count(&mut self, briefs: &[Brief]) {
        if !self.are_full()
            && let Some(sink) = &mut self.sink
        {
            self.summary.count(briefs);
            self.told += briefs.len() as u64;
            sink.briefs(briefs);
        }
    }

    /// Hears of rows as they are made, and tells them unless nobody `wants` them.
    pub(super) fn telling(&mut self, wants: bool) -> Telling<'_> {
        Telling {
            rows: self,
            wants,
            result: Ok(()),
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Some(sink) => sink.flush(),
            None => Ok(()),
        }
    }
}

/// Tells rows as they are made, until one cannot be written.
pub(super) struct Telling<'a> {
    rows: &'a mut Rows,
    wants: bool,
    pub(super) result: io::Result<()>,
}

impl Audience for Telling<'_> {
    #[inline]
    fn row(&mut self, change: &mut Change) {
        if self.wants && self.result.is_ok() {
            self.result = self.rows.tell(change);
        }
    }

    fn briefs(&mut self, briefs: &[Brief]) {
        if self.wants {
            self.rows.count(briefs);
        }
    }
}
