//! Recordings in, rows out: everything above the ring buffer, without privileges.
//!
//! `testdata/README.md` says what each recording shows and how to make it again.

#![allow(clippy::unwrap_used, reason = "it is all tests")]

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Output,
};

use assert_cmd::Command;
use proptest::prelude::*;
use serde_json::{Map, Value};
use socktrace::{
    change::Kind,
    field::{COMMON, Field, ON_REQUEST, added, printable},
    pipeline::Pipeline,
    select::Select,
    sink::{Format, Report, Style, Times},
    source::recording::{Reader, RecordingError},
};

const RECORDINGS: [&str; 5] = ["echo", "refused", "holders", "hostile", "families"];

/// What people read, and the options that ask for it.
const TABLES: [(&str, &[&str]); 6] = [
    ("table", &[]),
    ("elapsed", &["-t", "-w"]),
    ("wide", &["-o", "wide", "-T"]),
    ("csv", &["-o", "csv"]),
    (
        "fields",
        &[
            "--fields",
            "ts,event,cookie,pid,comm,fd,lport,rport,error,new,by",
        ],
    ),
    ("life", &["--life"]),
];

#[test]
fn an_echo_over_ipv4_and_ipv6_is_shown_as_it_was() {
    golden("echo");
}

#[test]
fn connects_that_fail_are_shown_as_they_were() {
    golden("refused");
}

#[test]
fn descriptors_that_go_by_fork_dup_exec_and_exit_are_shown_as_they_were() {
    golden("holders");
}

#[test]
fn hostile_names_are_shown_as_they_were() {
    golden("hostile");
}

#[test]
fn sockets_that_are_not_tcp_are_shown_as_they_were() {
    golden("families");
}

#[test]
fn a_recording_shows_all_its_protocols_unless_some_are_asked_for() {
    let protocols = |options: &[&str]| {
        let mut all = options.to_vec();
        all.extend(["-o", "csv", "--fields", "proto"]);
        let text = stdout(&replay("families", &all));
        let words: BTreeSet<_> = text.lines().skip(1).map(str::to_owned).collect();
        words.into_iter().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(protocols(&[]), "netlink udp unix");
    assert_eq!(protocols(&["--proto", "udp"]), "udp");
    assert_eq!(protocols(&["--proto", "unix,netlink"]), "netlink unix");
    assert_eq!(protocols(&["--life"]), "");
    assert_eq!(protocols(&["--life", "--proto", "all"]), "udp unix");
}

#[test]
fn a_life_is_the_same_in_every_format() {
    let table = stdout(&replay("echo", &["--life"]));
    let csv = stdout(&replay(
        "echo",
        &[
            "--life",
            "-o",
            "csv",
            "--fields",
            "event,lport,rport,tx_bytes",
        ],
    ));
    let rows = rows(&replay("echo", &["--life", "-o", "json"]));
    // Two connections, two ends.
    assert_eq!(
        (rows.len(), table.lines().count(), csv.lines().count()),
        (4, 5, 5)
    );
    for (row, line) in rows.iter().zip(table.lines().skip(1)) {
        assert_eq!(row["event"], "end");
        assert_eq!((&row["tx_bytes"], &row["rx_bytes"]), (&5.into(), &5.into()));
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words[3], row["lport"].to_string());
        assert_eq!(words[5], row["rport"].to_string());
    }
    compare(
        "echo-life-json",
        &stdout(&replay("echo", &["--life", "-o", "json"])),
    );
}

#[test]
fn every_row_has_the_keys_of_its_kind_in_their_order() {
    for recording in RECORDINGS {
        for line in stdout(&replay(recording, &["-o", "json"])).lines() {
            let row: Map<String, Value> = serde_json::from_str(line).unwrap();
            let kind = kind(&row);
            let actor = row.contains_key("actor_pid").then_some(&Field::ActorPid);
            let expected: Vec<_> = COMMON.iter().chain(actor).chain(added(kind)).collect();
            let expected: Vec<_> = expected.into_iter().map(|field| field.name()).collect();
            assert_eq!(keys_in_order(line), expected, "{line}");
            if let Some(actor) = row.get("actor_pid") {
                assert_ne!(
                    actor, &row["pid"],
                    "the actor is told only where it differs"
                );
            }
        }
    }
}

#[test]
fn jsonpretty_says_what_json_says() {
    for recording in RECORDINGS {
        let pretty = stdout(&replay(recording, &["-o", "jsonpretty"]));
        let pretty: Vec<Value> = serde_json::Deserializer::from_str(&pretty)
            .into_iter()
            .collect::<Result<_, _>>()
            .unwrap();
        let plain: Vec<_> = json(recording).into_iter().map(Value::Object).collect();
        assert_eq!(pretty, plain, "{recording}");
    }
}

#[test]
fn csv_says_what_json_says() {
    for recording in RECORDINGS {
        let text = stdout(&replay(recording, &["-o", "csv"]));
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header: Vec<_> = reader
            .headers()
            .unwrap()
            .iter()
            .map(str::to_owned)
            .collect();
        let by_itself = |field: &&Field| !ON_REQUEST.contains(*field);
        let fields = Field::ALL.iter().filter(by_itself);
        assert_eq!(header, fields.map(|field| field.name()).collect::<Vec<_>>());
        let lines: Vec<_> = reader.records().map(Result::unwrap).collect();
        let rows = json(recording);
        assert_eq!(lines.len(), rows.len(), "{recording}");
        for (line, row) in lines.iter().zip(&rows) {
            for (name, cell) in header.iter().zip(line) {
                let expected = match row.get(name) {
                    None | Some(Value::Null) => String::new(),
                    // Spreadsheets would read it as a formula.
                    Some(Value::String(text)) if text.starts_with(['=', '+', '-', '@']) => {
                        format!("'{}", printable(text))
                    }
                    Some(Value::String(text)) => printable(text),
                    Some(other) => other.to_string(),
                };
                assert_eq!(cell, expected, "{name} of {row:?}");
            }
        }
    }
}

#[test]
fn named_fields_come_in_the_order_in_which_they_are_named() {
    let text = stdout(&replay(
        "echo",
        &["-o", "json", "--fields", "event,pid,new,cookie"],
    ));
    for line in text.lines() {
        assert_eq!(keys_in_order(line), ["event", "pid", "new", "cookie"]);
    }
    let text = stdout(&replay("echo", &["-o", "csv", "--fields", "rport,lport"]));
    assert_eq!(text.lines().next(), Some("rport,lport"));
}

#[test]
fn nothing_of_a_hostile_name_reaches_a_terminal() {
    let colored: &[&str] = &["--color", "always"];
    for (format, options) in TABLES {
        let text = stdout(&replay("hostile", options));
        assert!(!text.contains(harmful), "{format}: {text:?}");
        assert!(
            text.contains("u{1b}"),
            "{format} shows the name with its escape"
        );
    }
    // Only our own colours.
    let text = stdout(&replay("hostile", colored));
    let text = [
        "\x1b[0m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m",
    ]
    .iter()
    .fold(text, |text, color| text.replace(color, ""));
    assert!(!text.contains(harmful), "{text:?}");
}

#[test]
fn json_holds_hostile_names_whole_and_harmless() {
    let text = stdout(&replay("hostile", &["-o", "json"]));
    let names: BTreeSet<_> = json("hostile")
        .iter()
        .map(|row| row["comm"].as_str().unwrap().to_owned())
        .collect();
    let expected = [
        "\u{1b}[2J\u{1b}]0;pwned\u{7}",
        "two\nlines\t\r",
        "\"quo,ted\"\\",
        "\u{fffd}\u{fffd}\u{fffd}raw",
        "\u{9b}31mC1\u{7f}",
        "\u{202e}gpj.exe",
        "=1+1",
    ];
    assert_eq!(names, expected.map(str::to_owned).into());
    assert!(!text.contains(harmful), "{text:?}");
}

#[test]
fn no_number_is_a_kernel_pointer() {
    for recording in RECORDINGS {
        for row in json(recording) {
            for (key, value) in &row {
                assert!(
                    value.as_u64().is_none_or(|number| number < 1 << 63),
                    "{key} of {row:?}"
                );
            }
        }
    }
}

#[test]
fn filters_leave_exactly_the_rows_for_which_they_hold() {
    type Holds = fn(&Map<String, Value>) -> bool;
    let cases: [(&str, &[&str], Holds); 17] = [
        ("echo", &["-4"], |row| row["family"] == "ipv4"),
        ("echo", &["-6"], |row| row["family"] == "ipv6"),
        ("echo", &["--event", "connect,end"], |row| {
            row["event"] == "connect" || row["event"] == "end"
        }),
        ("echo", &["--state", "CLOSE-WAIT,established"], |row| {
            row.get("new")
                .is_some_and(|new| new == "close_wait" || new == "established")
        }),
        ("echo", &["--comm", "python3"], |row| {
            row["comm"] == "python3"
        }),
        ("echo", &["--comm", "nginx"], |_| false),
        ("echo", &["--netns", "1"], |_| false),
        ("echo", &["--proto", "tcp"], |_| true),
        ("echo", &["--container", "4f"], |_| false),
        ("echo", &["--filter", "raddr==::1"], |row| {
            row["raddr"] == "::1"
        }),
        (
            "echo",
            &["--filter", "rport!=null", "--filter", "rport < 50000"],
            |row| row["rport"].as_u64().is_some_and(|port| port < 50_000),
        ),
        ("echo", &["--filter", "pid==null"], |row| {
            row["pid"].is_null()
        }),
        ("echo", &["--filter", "new~^fin_"], |row| {
            row.get("new")
                .and_then(Value::as_str)
                .is_some_and(|new| new.starts_with("fin_"))
        }),
        ("refused", &["-D", "80,81"], |row| row["rport"] == 80),
        ("refused", &["--filter", "error!=null"], |row| {
            row.get("error").is_some_and(|error| !error.is_null())
        }),
        ("holders", &["--filter", "actor_pid>0"], |row| {
            row.contains_key("actor_pid")
        }),
        ("hostile", &["--filter", "comm~\u{1b}"], |row| {
            row["comm"].as_str().unwrap().contains('\u{1b}')
        }),
    ];
    for (recording, options, holds) in cases {
        let wanted: Vec<_> = json(recording).into_iter().filter(holds).collect();
        let options = [options, &["-o", "json"]].concat();
        assert_eq!(
            rows(&replay(recording, &options)),
            wanted,
            "{recording} {options:?}"
        );
    }
}

#[test]
fn a_local_port_is_one_sides_port() {
    let all = json("echo");
    let listener = all.iter().find(|row| row["event"] == "listen").unwrap();
    let port = &listener["lport"];
    let rows = rows(&replay("echo", &["-o", "json", "-L", &port.to_string()]));
    let kinds: BTreeSet<_> = rows
        .iter()
        .map(|row| row["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["accept", "bind", "close", "end", "listen", "state"].into()
    );
    assert!(rows.iter().all(|row| row["lport"] == *port));
}

#[test]
fn a_process_is_followed_with_its_children() {
    let all = json("holders");
    let parent = all[0]["pid"].to_string();
    let child = all.iter().find_map(|row| row.get("actor_pid")).unwrap();
    let of_parent = rows(&replay("holders", &["-o", "json", "-p", &parent]));
    let of_child = rows(&replay(
        "holders",
        &["-o", "json", "-p", &child.to_string()],
    ));
    assert!(
        of_parent
            .iter()
            .any(|row| row.get("actor_pid") == Some(child))
    );
    assert!(!of_child.is_empty());
    assert!(
        of_child
            .iter()
            .all(|row| row.get("actor_pid") == Some(child))
    );
}

#[test]
fn no_more_rows_come_than_were_asked_for() {
    // The exit of one process makes several rows at once.
    for count in 1..=4_usize {
        let options = [
            "-o",
            "json",
            "--filter",
            "by==exit",
            "--count",
            &count.to_string(),
        ];
        assert_eq!(rows(&replay("holders", &options)).len(), count);
    }
}

#[test]
fn the_summary_counts_the_rows_and_shows_the_books_of_the_kernel_side() {
    for recording in RECORDINGS {
        let summary = String::from_utf8(replay(recording, &[]).stderr).unwrap();
        compare(&format!("{recording}-summary"), &summary);
    }
}

#[test]
fn standard_input_is_a_recording_too() {
    let output = socktrace()
        .args(["replay", "-"])
        .write_stdin(fs::read(file("echo")).unwrap())
        .output()
        .unwrap();
    assert_eq!(stdout(&output), stdout(&replay("echo", &[])));
}

#[test]
fn the_time_of_day_is_that_of_the_readers_time_zone() {
    let hour = |zone: &str| {
        let mut command = socktrace();
        let command = command.args(["replay", "-T"]).arg(file("echo"));
        let text = stdout(&command.env("TZ", zone).output().unwrap());
        let row = text.lines().nth(1).unwrap();
        row[..2].parse::<i32>().unwrap()
    };
    // In this notation, five hours behind UTC.
    assert_eq!((hour("EST5") + 5) % 24, hour("UTC"));
}

#[test]
fn what_was_cut_off_shows_what_came_before_and_fails() {
    let whole = stdout(&replay("echo", &["-o", "json"]));
    let bytes = fs::read(file("echo")).unwrap();
    let output = socktrace()
        .args(["replay", "-", "-o", "json"])
        .write_stdin(&bytes[..bytes.len() / 2])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let (rows, messages) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(rows.lines().count() > 10 && rows.len() < whole.len());
    assert!(whole.starts_with(&*rows));
    assert!(messages.contains("cut off after"), "{messages}");
}

#[test]
fn every_recording_cut_off_anywhere_is_known_as_such() {
    for recording in RECORDINGS {
        let bytes = fs::read(file(recording)).unwrap();
        assert!(run(&bytes, &SINKS).is_ok(), "{recording}");
        for length in 8..bytes.len() {
            let cut = run(&bytes[..length], &SINKS[..1]);
            assert!(
                matches!(cut, Err(RecordingError::Truncated(_))),
                "{recording} {length}: {cut:?}"
            );
        }
    }
}

/// What damages a number: its limits, whatever its width.
fn damage() -> impl Strategy<Value = (prop::sample::Index, [u8; 8])> {
    let bytes = prop_oneof![
        Just([0xff; 8]),
        Just([0; 8]),
        Just(i64::MAX.to_ne_bytes()),
        Just(i64::MIN.to_ne_bytes()),
        Just([0, 0, 0, 0x80, 0, 0, 0, 0x80]),
        any::<[u8; 8]>(),
    ];
    (any::<prop::sample::Index>(), bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_with_hostile_numbers_never_make_it_panic(
        recording in prop::sample::select(&RECORDINGS[..]),
        damages in prop::collection::vec(damage(), 1..12),
    ) {
        let mut frames = frames(&fs::read(file(recording)).unwrap());
        for (at, damage) in damages {
            let records = frames.iter_mut().filter(|(tag, _)| *tag == b'R');
            // A record's numbers are where four bytes begin, and some are four bytes long.
            let mut words: Vec<_> = records.flat_map(|(_, body)| body.chunks_exact_mut(8)).collect();
            let at = at.index(words.len());
            words[at].copy_from_slice(&damage);
        }
        // Kinds and states that do not exist are told as lost.
        prop_assert!(run(&recording_of(&frames), &SINKS).is_ok());
    }

    #[test]
    fn a_recording_with_any_bytes_in_it_never_makes_it_panic(
        recording in prop::sample::select(&RECORDINGS[..]),
        damages in prop::collection::vec(damage(), 1..6),
    ) {
        let mut bytes = fs::read(file(recording)).unwrap();
        for (at, damage) in damages {
            let at = at.index(bytes.len() - damage.len());
            bytes[at..at + damage.len()].copy_from_slice(&damage);
        }
        // Whether it is noticed depends on what was hit.
        drop(run(&bytes, &SINKS));
    }
}

#[test]
fn what_a_recording_says_of_clocks_and_counters_is_not_believed() {
    let most = u64::MAX;
    for ahead_ns in [i128::MAX, i128::MIN, 0] {
        for began_ns in [0, most] {
            let mut frames = frames(&fs::read(file("echo")).unwrap());
            let header = format!(
                r#"{{"byte_order":"{}","kernel":"","ahead_ns":{ahead_ns},"began_ns":{began_ns}}}"#,
                if cfg!(target_endian = "little") {
                    "little"
                } else {
                    "big"
                }
            );
            frames[0].1 = header.into_bytes();
            let counters = format!(
                r#"{{"seen":{most},"emitted":{most},"folded":{most},"filtered":{most},"lost_ring":{most},"lost_map":{most},"recursion":{most}}}"#
            );
            for (tag, body) in &mut frames {
                if *tag == b'C' {
                    *body = counters.clone().into_bytes();
                }
            }
            assert!(
                run(&recording_of(&frames), &SINKS).is_ok(),
                "{ahead_ns} {began_ns}"
            );
        }
    }
}

#[test]
fn another_user_sees_the_same() {
    if !rustix::process::geteuid().is_root() {
        // This test already runs as somebody who may not trace.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &Path, mode| {
        let to = folder.path().join(from.file_name().unwrap());
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(mode)).unwrap();
        to
    };
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = copy(Path::new(env!("CARGO_BIN_EXE_socktrace")), 0o755);
    let as_nobody = |recording: &Path, options: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "--no-new-privs",
            ])
            .args(["--inh-caps=-all", "--bounding-set=-all"])
            .arg(&program)
            .arg("replay")
            .arg(recording)
            .args(options)
            .env("TZ", "UTC");
        command.output().unwrap()
    };
    for recording in RECORDINGS {
        let readable = copy(&file(recording), 0o644);
        for (format, options) in TABLES {
            let (theirs, ours) = (as_nobody(&readable, options), replay(recording, options));
            assert_eq!(stdout(&theirs), stdout(&ours), "{recording} {format}");
            assert_eq!(theirs.stderr, ours.stderr, "{recording} {format}");
        }
    }
    let unreadable = copy(&file("echo"), 0o600);
    let refused = as_nobody(&unreadable, &[]);
    let message = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{message}");
    assert!(message.contains("Permission denied"), "{message}");
}

/// Compares a recording's rows, in every format, with what they were.
fn golden(recording: &str) {
    let json = stdout(&replay(recording, &["-o", "json"]));
    compare(&format!("{recording}-json"), &json);
    for (format, options) in TABLES {
        let text = stdout(&replay(recording, options));
        compare(&format!("{recording}-{format}"), &text);
    }
}

/// Compares with what is in `snapshots`.
fn compare(name: &str, text: &str) {
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(name, text) });
}

fn file(recording: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(recording)
        .with_extension("rec")
}

/// The program, where nothing of the machine shows in what it writes.
fn socktrace() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_socktrace"));
    command.env("TZ", "UTC");
    command
}

fn replay(recording: &str, options: &[&str]) -> Output {
    let output = socktrace()
        .arg("replay")
        .arg(file(recording))
        .args(options)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{recording} {options:?}: {output:?}"
    );
    output
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn rows(output: &Output) -> Vec<Map<String, Value>> {
    let text = stdout(output);
    text.lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// All rows of a recording.
fn json(recording: &str) -> Vec<Map<String, Value>> {
    let rows = rows(&replay(recording, &["-o", "json"]));
    assert!(rows.len() > 5, "{recording} has rows");
    rows
}

fn kind(row: &Map<String, Value>) -> Kind {
    use clap::ValueEnum as _;
    let word = row["event"].as_str().unwrap();
    Kind::from_str(word, false).unwrap()
}

/// The keys of an object on one line; a map would sort them.
fn keys_in_order(line: &str) -> Vec<String> {
    struct Keys(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Keys {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(Self(Vec::new()))
        }
    }
    impl<'de> serde::de::Visitor<'de> for Keys {
        type Value = Self;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
            while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                self.0.push(key);
            }
            Ok(self)
        }
    }
    let Keys(keys) = serde_json::from_str(line).unwrap();
    keys
}

/// Moves a cursor, ends a line or turns text around; a line end of ours aside.
fn harmful(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// First bytes of a recording.
const MAGIC: &[u8] = b"SOCKTRC\x01";

/// A recording's frames: a tag, the length of the body in four bytes, the body.
fn frames(mut recording: &[u8]) -> Vec<(u8, Vec<u8>)> {
    recording = recording.strip_prefix(MAGIC).unwrap();
    let mut frames = Vec::new();
    while let [tag, a, b, c, d, rest @ ..] = recording {
        let (body, rest) = rest.split_at(u32::from_le_bytes([*a, *b, *c, *d]) as usize);
        frames.push((*tag, body.to_vec()));
        recording = rest;
    }
    frames
}

/// The recording with these frames.
fn recording_of(frames: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut recording = MAGIC.to_vec();
    for (tag, body) in frames {
        recording.push(*tag);
        recording.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        recording.extend(body);
    }
    recording
}

/// Every kind of sink.
const SINKS: [(Format, Report); 4] = [
    (Format::Json, Report::Trace),
    (Format::Csv, Report::Trace),
    (Format::Wide, Report::Trace),
    (Format::Table, Report::Life),
];

/// Runs a recording through everything, in this process.
fn run(bytes: &[u8], sinks: &[(Format, Report)]) -> Result<(), RecordingError> {
    for &(format, report) in sinks {
        let style = Style {
            format,
            report,
            fields: None,
            times: Times::Elapsed,
            wide: false,
            color: false,
        };
        let mut reader = Reader::new(bytes)?;
        let sink = style.sink(io::sink());
        let mut pipeline = Pipeline::new(Select::default(), report, Some(sink), reader.clock());
        let ended = loop {
            match reader.read() {
                Ok(Some(item)) => pipeline.take(&item).unwrap(),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        pipeline.finish(None).unwrap();
        drop(pipeline.summary_text());
        ended?;
    }
    Ok(())
}
