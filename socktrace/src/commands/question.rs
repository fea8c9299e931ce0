//! What others ask of a run while it lasts: they are on other threads, and the table is its own.

use tokio::sync::oneshot;

use super::{daemon::Hook, look::Listing};
use crate::{exporter::Reading, inventory::Told};

/// A question, with the way back.
pub(super) enum Question {
    /// Everything that a scrape shows.
    Reading(oneshot::Sender<Reading>),
    /// What is open, by a fresh look.
    List(Box<Listing>),
    /// What is known of the sockets with these identities; 0 is none.
    Known(Vec<u64>, oneshot::Sender<Vec<Option<Told>>>),
    /// The hooks, and what they cost.
    Hooks(oneshot::Sender<Vec<Hook>>),
    /// The configuration is to be read again; if it makes no sense, why.
    ReadAgain(oneshot::Sender<Result<(), String>>),
}
