//! What `fuzz/` calls: one function for each place where bytes come in that somebody else made. Not
//! for use, and only there with the feature `fuzzing`; the tests call them too.
//!
//! A function panics where something is wrong, and says nothing otherwise.

mod outputs;
mod stream;
#[cfg(test)]
mod tests;

use std::{hint::black_box, sync::OnceLock};

use clap::Parser as _;

pub use self::stream::{recording, records};
use crate::{
    change::Change,
    cli::Cli,
    clock::Clock,
    http,
    inventory::Expression,
    probe::offsets,
    process::{
        Details,
        attribution::{boottime_offset, effective_uid, started},
    },
    select::{Condition, Select},
    settings::Configuration,
    source::snapshot::{Protocols, Query, class::Class, diag},
};

/// Takes what may be anything.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 9] = [
    ("records", records),
    ("recording", recording),
    ("netlink", netlink),
    ("btf", btf),
    ("settings", settings),
    ("filters", filters),
    ("arguments", arguments),
    ("process", process),
    ("web_config", web_config),
];

const CLOCK: Clock = Clock {
    ahead_ns: 1_700_000_000_000_000_000,
    began_ns: 0,
};

/// What `sock_diag` answers, and what is made of its rows.
pub fn netlink(bytes: &[u8]) {
    let Some((&first, answer)) = bytes.split_first() else {
        return;
    };
    let protocol = Protocols::ALL[usize::from(first) % Protocols::ALL.len()];
    let mut found = Vec::new();
    diag::rows(Query::all(protocol), answer, |row| found.push(row));
    let inodes = std::iter::empty().collect();
    for row in &found {
        black_box(Class::of(row, &inodes));
    }
    outputs::sockets(found);
}

/// The kernel's type information.
pub fn btf(bytes: &[u8]) {
    drop(black_box(offsets::of(bytes.to_vec())));
}

/// The configuration file.
pub fn settings(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(read) = Configuration::parse(text) {
        let written = toml::to_string(&read).expect("what was read can be written");
        let again = Configuration::parse(&written).expect("what was written can be read");
        assert_eq!(again, read, "{written}");
    }
}

/// What rows are chosen with: `--filter`, and the words of ss.
pub fn filters(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    drop(black_box(text.parse::<Expression>()));
    let conditions: Result<Vec<Condition>, _> = text.lines().map(str::parse).collect();
    let Ok(conditions) = conditions else { return };
    let select = Select {
        conditions,
        ..Select::default()
    };
    for change in changes() {
        black_box(select.wants(change, &CLOCK));
    }
}

/// The command line, a word each line.
pub fn arguments(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    drop(black_box(Cli::try_parse_from(
        ["socktrace"].into_iter().chain(text.lines()),
    )));
}

/// What `/proc` says of a process: `cgroup`, `stat`, `status`, `timens_offsets`.
pub fn process(bytes: &[u8]) {
    black_box((started(bytes), effective_uid(bytes)));
    let Some(text) = text(bytes) else { return };
    black_box(boottime_offset(text));
    let details = Details::from_cgroup_file(text);
    let part = |part: Option<&str>| {
        let cgroup = details.cgroup.as_deref().unwrap_or_default();
        assert!(part.is_none_or(|part| cgroup.contains(part)));
    };
    part(details.unit());
    part(details.container.as_deref());
    black_box(details.pod());
}

/// The web configuration.
pub fn web_config(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    drop(black_box(http::try_out(text)));
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Rows of most kinds.
fn changes() -> &'static [Change] {
    static CHANGES: OnceLock<Vec<Change>> = OnceLock::new();
    CHANGES.get_or_init(|| stream::changes(include_bytes!("../../testdata/families.rec")))
}
