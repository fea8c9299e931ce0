//! The invariants of ARCHITECTURE.md that a compiler does not keep.

#![allow(clippy::unwrap_used, reason = "it is all tests")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use regex_lite::Regex;

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The rooms, in the order in which lib.rs lists them.
fn rooms() -> Vec<String> {
    let text = fs::read_to_string(sources().join("lib.rs")).unwrap();
    let rooms = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod "));
    rooms
        .map(|room| room.trim_end_matches(';').to_owned())
        .collect()
}

/// Every source file of a room, and what is in it.
fn files(room: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![sources().join(format!("{room}.rs")), sources().join(room)];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(
                fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if let Ok(text) = fs::read_to_string(&path) {
            found.push((path, text));
        }
    }
    found
}

#[test]
fn a_room_uses_only_rooms_above_it() {
    let rooms = rooms();
    // `use crate::{a::…, b::…}` and `crate::a::…`: the first name after each.
    let name = Regex::new(r"crate::(\w+)|^    (\w+)(?:::|,|\{)").unwrap();
    for (own, room) in rooms.iter().enumerate() {
        for (path, text) in files(room) {
            let mut within = false;
            // Comments may look ahead.
            for line in text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
            {
                within |= line.starts_with("use crate::{");
                let names = name
                    .captures(line)
                    .filter(|_| within || line.contains("crate::"));
                within &= !line.starts_with('}');
                let Some(used) = names.and_then(|names| names.get(1).or(names.get(2))) else {
                    continue;
                };
                if let Some(other) = rooms.iter().position(|room| room == used.as_str()) {
                    assert!(other <= own, "{}: {line}", path.display());
                }
            }
        }
    }
}

#[test]
fn the_table_and_the_ports_do_no_input_or_output_and_read_no_clock() {
    let outside =
        Regex::new(r"std::(fs|io|net::Tcp|process|time|thread)|Instant|SystemTime").unwrap();
    for (path, text) in ["table", "ports"].into_iter().flat_map(files) {
        for line in text.lines() {
            assert!(!outside.is_match(line), "{}: {line}", path.display());
        }
    }
}

#[test]
fn there_is_no_unsafe_between_the_source_and_the_sink() {
    for room in [
        "decode", "event", "table", "sequence", "field", "select", "sink", "pipeline",
    ] {
        for (path, text) in files(room) {
            assert!(!text.contains("unsafe {"), "{}", path.display());
        }
    }
}

#[test]
fn files_are_small_rooms() {
    for room in rooms() {
        for (path, text) in files(&room) {
            // A list of cases is as long as there are cases.
            if path.ends_with("tests.rs") {
                continue;
            }
            let lines = text.lines().count();
            assert!(lines <= 400, "{} has {lines} lines", path.display());
        }
    }
}
