//! What Prometheus reads: counts of what happened ([`Tally`]), what there is at the moment of a scrape
//! ([`Reading`]), and both as families of metrics.
//!
//! Labels are closed sets. There is no pid, no ephemeral port and no address among them unless the
//! user asks for the worst destinations; owners are bounded.

mod catalog;
mod families;
mod histogram;
mod openmetrics;
pub mod own;
mod owners;
mod page;
mod reading;
mod settings;
mod tally;

pub use self::{
    catalog::{METRICS, Metric, Type},
    families::{Exporter, text},
    openmetrics::openmetrics,
    owners::{Naming, Owner, Owners},
    page::page,
    reading::{AlertCounts, HookRuns, Reading, Seen},
    settings::Settings,
    tally::{Adder, Tally},
};
