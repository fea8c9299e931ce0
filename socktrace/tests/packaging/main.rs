//! What is packaged: the unit; and for Prometheus and Grafana rules, their tests and dashboards name what the code
//! exports, and lead to what the runbook says.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it is all tests")]

mod dashboard;
mod dashboards;
mod names;
mod rules;
mod unit;

use std::{fs, path::PathBuf};

/// Where a file of the repository is.
fn place(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join(name)
}

/// A file of the repository.
fn document(name: &str) -> String {
    fs::read_to_string(place(name)).expect(name)
}
