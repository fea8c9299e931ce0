//! Who looks at what a run sees, and asks it for more.

use std::{io, time::Duration};

use tokio::sync::{mpsc::UnboundedReceiver, oneshot};

use super::{question::Question, snapshots::Snapshots, survey::Survey};
use crate::{
    detect,
    failure::Failure,
    inventory::{Listed, Want, each},
    pipeline::Pipeline,
    probe::{AttachError, Probes},
    process::Ask,
    source::snapshot::{Holders, Namespaces},
    table::SocketTable,
};

/// What whoever looks for leaks is shown.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) sightings: Vec<detect::Sighting>,
    pub(super) survey: Survey,
    /// What could not be looked at.
    pub(super) notes: Vec<String>,
    /// How long it took to see it.
    pub(super) took: Duration,
}

/// Whoever looks at each snapshot when it has been taken in.
pub(super) trait Look {
    /// The hooks are there, and nothing has been told yet.
    fn attached(&mut self, _: &mut Probes) -> Result<(), AttachError> {
        Ok(())
    }

    /// Ports and limits of these namespaces are wanted, or of all.
    fn netns(&self) -> &[u32];

    /// The part of one CPU that snapshots may take.
    fn share(&self) -> f64;

    /// Looks at it, and at what the table has made of it.
    /// `accepts`: it has been told who accepts since the run began.
    fn look(&mut self, seen: Seen, table: &SocketTable, accepts: bool);

    /// Everything is attached, and what was open first is known.
    fn ready(&mut self, _: &Probes, _: &mut Pipeline) -> Result<(), Failure> {
        Ok(())
    }

    /// What others ask of the run while it lasts; taken once.
    fn asks(&mut self) -> Option<UnboundedReceiver<Question>> {
        None
    }

    /// Somebody asks.
    fn asked(&mut self, _: Question, _: &mut Pipeline, _: &Probes, _: &Snapshots) {}

    /// What the thread that takes snapshots does first.
    fn enter(&self) -> fn() {
        || ()
    }

    /// The run is over, and the books are closed.
    fn over(&mut self, _: &Pipeline) {}

    /// Another second has passed, and the loop is alive.
    fn beat(&mut self, _: &mut Pipeline) {}
}

/// A list of what is open, for somebody who is not this run.
pub(super) struct Listing {
    pub(super) want: Want,
    /// What to ask `/proc` about processes.
    pub(super) details: Ask,
    pub(super) reply: oneshot::Sender<io::Result<Listed>>,
}

impl Listing {
    pub(super) fn answer(self, holders: &mut Holders, namespaces: &mut Namespaces) {
        let mut rows = Vec::new();
        let missing = each(holders, namespaces, &self.want, self.details, |row| {
            rows.push(row);
        });
        let notes = missing.map(|missing| missing.notes);
        // Whoever asked may have gone.
        drop(self.reply.send(notes.map(|notes| Listed { rows, notes })));
    }
}
