//! The section `[metrics]` of the configuration.

use serde::{Deserialize, Serialize};

use super::Naming;

/// What `/metrics` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What the label `owner` says, the first of these that is known: unit, container, pod, comm.
    pub owner: Vec<Naming>,
    /// So many owners have series of their own; the others count among `other`.
    pub owners: usize,
    /// No metric has more series than this; see `socktrace_series_dropped_total`.
    pub series: usize,
    /// So many network namespaces have series of their own: those with the fewest ports left.
    pub namespaces: usize,
    /// So many destinations have series of their own. They name addresses, so there are none unless
    /// they are asked for.
    pub destinations: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            owner: vec![Naming::Unit, Naming::Container, Naming::Comm],
            owners: 50,
            series: 2_000,
            namespaces: 20,
            destinations: 0,
        }
    }
}
