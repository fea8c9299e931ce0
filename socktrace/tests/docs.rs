//! The documents say what is true: every key, event, command, room and status is in them, and every
//! example in them is one.

#![allow(clippy::unwrap_used, reason = "it is all tests")]

use std::{collections::BTreeSet, fs, path::Path};

use clap::{CommandFactory as _, Parser as _, ValueEnum as _};
use serde_json::{Map, Value};
use socktrace::{
    change::{Kind, state_word},
    cli::Cli,
    detect, failure,
    field::{COMMON, Field, ON_REQUEST, added},
    probe::catalog::CATALOG,
    settings::Configuration,
};
use socktrace_common::socket::TcpState;

fn document(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join(name)).expect(name)
}

/// What stands between a heading of the second level and the next.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let start = format!("\n## {heading}\n");
    let at = document
        .find(&start)
        .unwrap_or_else(|| panic!("a section {heading}"));
    let text = &document[at + start.len()..];
    text.split("\n## ").next().unwrap()
}

/// The first cells of a table's rows, split at their commas, without backticks.
fn keys(section: &str) -> Vec<&str> {
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    cells
        .flat_map(|cell| cell.split(", "))
        .map(|key| key.trim_matches('`'))
        .collect()
}

fn names(fields: impl IntoIterator<Item = &'static Field>) -> Vec<&'static str> {
    fields.into_iter().map(|field| field.name()).collect()
}

/// The lines of code blocks in this language.
fn code<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let blocks = document.split(&fence).skip(1);
    blocks
        .flat_map(|block| block.split("```").next().unwrap().lines())
        .collect()
}

/// The words of a shell's line, up to a pipe, a redirection or a comment.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars().chain([' ']) {
        match c {
            '\'' => quoted = !quoted,
            ';' | '|' | '#' | '>' if !quoted => break,
            ' ' if !quoted && word.is_empty() => {}
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words
}

#[test]
fn every_key_and_every_event_is_described_in_its_place() {
    let events = document("docs/events.md");
    let common: Vec<_> = COMMON.iter().chain([&Field::ActorPid]).collect();
    assert_eq!(
        keys(section(&events, "Keys that every row has")),
        names(common)
    );
    assert_eq!(keys(section(&events, "Keys on request")), names(ON_REQUEST));
    let mut described: BTreeSet<_> = keys(&events).into_iter().collect();
    for kind in Kind::value_variants() {
        let section = section(&events, &format!("`{}`", kind.word()));
        assert_eq!(keys(section), names(added(*kind)), "{kind:?}");
    }
    for field in Field::ALL {
        assert!(described.remove(field.name()), "{field:?} is described");
    }
    assert!(described.is_empty(), "no such keys: {described:?}");
}

#[test]
fn every_field_of_open_sockets_is_described() {
    let sockets = document("docs/sockets.md");
    let parse = |fields: &str| {
        Cli::try_parse_from(["socktrace", "sockets", "-o", "json", "--fields", fields])
    };
    let keys = keys(section(&sockets, "JSON"));
    assert!(keys.len() > 25, "{keys:?}");
    assert!(parse(&keys.join(",")).is_ok(), "{keys:?}");
    // A wrong name is answered with all of them.
    let answer = parse("nothing").unwrap_err().to_string();
    let (_, known) = answer.split_once("there are ").unwrap();
    let known: Vec<_> = known.lines().next().unwrap().split(", ").collect();
    for key in known {
        assert!(keys.contains(&key), "{key} is described");
    }
}

#[test]
fn every_event_has_an_example_with_its_keys() {
    let events = document("docs/events.md");
    for kind in Kind::value_variants() {
        let examples = code(section(&events, &format!("`{}`", kind.word())), "json");
        assert!(!examples.is_empty(), "{kind:?}");
        for example in examples {
            let row: Map<String, Value> = serde_json::from_str(example).expect(example);
            assert_eq!(row["event"], kind.word());
            let mut expected = names(COMMON.iter().chain(added(*kind)));
            expected.sort_unstable();
            let mut there: Vec<_> = row.keys().map(String::as_str).collect();
            there.sort_unstable();
            assert_eq!(there, expected, "{example}");
        }
    }
}

#[test]
fn every_word_that_a_row_can_hold_is_described() {
    use socktrace::{
        change::{By, Ownership, Place, Reason, Role},
        endpoint::{Family, Protocol, protocol_word},
    };

    let events = document("docs/events.md");
    let described = |name: &str, words: &[&str]| {
        let text = section(&events, name);
        for word in words {
            assert!(text.contains(&format!("`{word}`")), "{word} in {name}");
        }
    };
    let states = TcpState::ALL.map(state_word);
    described("`state`", &states);
    described("`close`", &By::ALL.map(By::word));
    described("`end`", &Role::ALL.map(Role::word));
    described("`end`", &Reason::ALL.map(Reason::word));
    let places = [Place::Ring(0), Place::Map, Place::Recursion, Place::Decode];
    described("`lost`", &places.map(Place::word));
    let common = "Keys that every row has";
    described(common, &Ownership::ALL.map(Ownership::word));
    let events = Protocol::ALL.iter().filter(|it| **it != Protocol::Pipe);
    let protocols: Vec<_> = events.map(|it| protocol_word(*it)).collect();
    described(common, &protocols);
    let families = [Family::Ipv4, Family::Ipv6, Family::Unix, Family::Other];
    described(common, &families.map(Family::word));
}

#[test]
fn the_readme_has_every_command_and_every_status() {
    let readme = document("README.md");
    let commands = section(&readme, "Commands");
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(commands.contains(&format!("| `{name}")), "{name}");
    }
    let statuses = section(&readme, "Exit status");
    for status in [
        0,
        failure::FAILURE,
        failure::USAGE,
        failure::FINDINGS,
        failure::KERNEL,
        failure::PRIVILEGES,
        failure::CONFIGURATION,
        failure::NOT_EXECUTABLE,
        failure::NOT_FOUND,
        failure::INTERRUPTED,
    ] {
        assert!(statuses.contains(&format!("| {status} |")), "{status}");
    }
}

#[test]
fn every_command_line_in_the_documents_is_one() {
    for name in ["README.md", "CONTRIBUTING.md", "docs/recording.md"] {
        let document = document(name);
        let mut found = 0;
        for line in code(&document, "sh") {
            let words = words(line);
            let words = words.strip_prefix(&["sudo".to_owned()]).unwrap_or(&words);
            let arguments = ["socktrace", "cargo xtask run --"]
                .iter()
                .find_map(|program| {
                    let program: Vec<_> = program.split(' ').map(str::to_owned).collect();
                    words.strip_prefix(&program[..])
                });
            let Some(arguments) = arguments else { continue };
            let words = ["socktrace"]
                .into_iter()
                .chain(arguments.iter().map(String::as_str));
            if let Err(error) = Cli::try_parse_from(words)
                && error.use_stderr()
            {
                panic!("{name}: {line}\n{error}");
            }
            found += 1;
        }
        assert!(name != "README.md" || found > 5, "{name}: {found}");
    }
}

#[test]
fn every_room_is_on_the_map() {
    let map = document("ARCHITECTURE.md");
    let map = section(&map, "Where things are");
    let library = include_str!("../src/lib.rs");
    let rooms = library
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod "));
    for room in rooms.map(|room| room.trim_end_matches(';')) {
        assert!(map.contains(&format!("`{room}")), "{room}");
    }
    for (crate_name, files) in [
        ("socktrace-common", "../socktrace-common/src"),
        ("socktrace-ebpf", "../socktrace-ebpf/src"),
        ("xtask", "../xtask/src"),
    ] {
        assert!(map.contains(crate_name), "{crate_name}");
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join(files);
        for file in fs::read_dir(files).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            let name = name.trim_end_matches(".rs");
            if !["lib", "main", "util"].contains(&name) {
                assert!(map.contains(&format!("`{name}")), "{crate_name}: {name}");
            }
        }
    }
}

#[test]
fn the_page_of_kernels_has_every_hook() {
    let kernels = document("docs/kernels.md");
    let tried: BTreeSet<_> = keys(section(&kernels, "Hooks")).into_iter().collect();
    let hooks: BTreeSet<_> = CATALOG.iter().map(|hook| hook.name).collect();
    assert_eq!(tried, hooks, "`cargo xtask vm --all --write` writes it");
}

#[test]
fn every_kind_of_finding_is_documented() {
    let document = document("docs/findings.md");
    let documented = keys(section(&document, "What is found"));
    let kinds: Vec<_> = detect::Kind::ALL.iter().map(|kind| kind.word()).collect();
    let mut sorted = (documented.clone(), kinds.clone());
    sorted.0.sort_unstable();
    sorted.1.sort_unstable();
    assert_eq!(sorted.0, sorted.1);
}

#[test]
fn every_key_of_an_alert_is_documented_and_its_examples_have_them() {
    let (alerts, findings) = (document("docs/alerts.md"), document("docs/findings.md"));
    let mut documented = keys(section(&alerts, "Alerts as JSON"));
    documented.extend(keys(section(&findings, "Findings as JSON")));
    documented.sort_unstable();
    let examples = code(&alerts, "json");
    let mut words = Vec::new();
    for example in examples {
        let row: Map<String, Value> = serde_json::from_str(example).expect(example);
        let mut there: Vec<_> = row.keys().map(String::as_str).collect();
        there.sort_unstable();
        assert_eq!(there, documented, "{example}");
        words.push(row["alert"].clone());
    }
    assert_eq!(words, ["start", "update", "clear"]);
    let told = keys(section(&alerts, "What is told, and when"));
    assert_eq!(told, ["start", "update", "clear"]);
}

#[test]
fn the_settings_of_alerts_in_the_documents_are_the_defaults() {
    let text = code(&document("docs/alerts.md"), "toml").join("\n");
    let read: Configuration = toml::from_str(&text).unwrap();
    let needed = "
[alerts.journald]
[alerts.file]
path = \"/var/log/socktrace/alerts.json\"
[alerts.command]
run = [\"/usr/local/bin/page\", \"--team\", \"web\"]
[alerts.webhook]
url = \"https://example.com/hooks/socktrace\"
[alerts.alertmanager]
urls = [\"http://127.0.0.1:9093\"]
";
    assert_eq!(read, toml::from_str(needed).unwrap());
    // What is only there as a comment is a key, too.
    let uncommented = text.replace("\n# A namespace", "\n## A namespace");
    let uncommented = uncommented.replace("\n# ", "\n");
    let all: Configuration = toml::from_str(&uncommented).unwrap();
    assert_ne!(all, read);
    assert_eq!(Configuration::default().alerts.severity.word(), "suspect");
}

#[test]
fn the_thresholds_in_the_documents_are_the_defaults() {
    let document = document("docs/findings.md");
    let text = code(&document, "toml").join("\n");
    let read: Configuration = toml::from_str(&text).unwrap();
    assert_eq!(read, Configuration::default());
}

#[test]
fn the_page_of_metrics_is_what_the_code_says() {
    let page = socktrace::exporter::page();
    assert!(
        document("docs/metrics.md") == page,
        "`cargo xtask docs` writes docs/metrics.md"
    );
}

#[test]
fn the_packaged_configuration_has_every_key_with_its_default() {
    let packaged = document("packaging/socktrace.toml");
    // As it is, it changes nothing.
    let parsed: Configuration = toml::from_str(&packaged).unwrap();
    assert_eq!(parsed, Configuration::default());
    // And with every key in force neither.
    let lines = packaged.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if !key.starts_with(' ') => key,
        _ => line,
    });
    let in_force: String = lines.flat_map(|line| [line, "\n"]).collect();
    let parsed: Configuration = toml::from_str(&in_force).expect(&in_force);
    assert_eq!(parsed, Configuration::default());
    let all: toml::Table = toml::from_str(&toml::to_string(&parsed).unwrap()).unwrap();
    let told: toml::Table = toml::from_str(&in_force).unwrap();
    assert_eq!(told, all);
}
