//! `cargo xtask bench report`: `docs/benchmarks.md` from what the others have measured last.

use std::{collections::BTreeMap, fmt::Write as _, fs};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::Value;

use crate::util::{target_dir, workspace};

/// What is measured, in the order of the page: the file's name, what is asked of `cargo xtask bench` for it,
/// the heading, and what to know of it.
const PARTS: &[(&str, &str, &str, &str)] = &[
    (
        "connections",
        "connections",
        "A connection, with a tool beside it",
        "Two threads make connections over loopback in a network namespace of their own, close them in order, and send \
         nothing, so that what a tool adds is the largest share that it can be. `total_cpu` is the CPU time of workload \
         and tool over that of the workload alone, `rate` connections a second over those without the tool, both as \
         median (and quartiles) of pairs that ran one after the other. `kernel_ns` is what the kernel's statistics say \
         of the BPF programs for a connection, without the readings of the clock: the median of five runs, each \
         after one that is not counted.",
    ),
    (
        "idle",
        "idle",
        "Programs that use no sockets",
        "What a system call that does nothing takes longer, and opening and closing a file, in nanoseconds.",
    ),
    (
        "events",
        "events",
        "The user side",
        "Records of connections through decoding, table and tally (`examples/events.rs`): a record for each step, as \
         `trace` has them, or one for each socket, as the daemon has.",
    ),
    (
        "daemon",
        "daemon",
        "The daemon in steady state",
        "A thousand open sockets, 200 connections a second.",
    ),
    (
        "soak",
        "daemon --highest 3600",
        "The daemon at the highest rate",
        "As many connections as two threads can make, for long. `floors_mb` are the least memory of the first and of \
         the last looks; `calls` is what the programs counted, and `outcomes` what became of each.",
    ),
    (
        "growth",
        "growth",
        "As the number of sockets grows",
        "Real sockets as far as the machine holds them, then a table that was filled.",
    ),
    (
        "snapshot",
        "snapshot",
        "Listing what is open",
        "A hundred thousand sockets in two network namespaces, beside ss and /proc.",
    ),
];

/// What figures do not say.
const NOTES: &str = include_str!("notes.md");

/// A result is kept beside the build.
pub(super) fn keep(name: &str, result: &impl Serialize) -> Result<()> {
    let folder = target_dir().join("bench");
    fs::create_dir_all(&folder)?;
    let text = serde_json::to_string_pretty(result)?;
    Ok(fs::write(folder.join(format!("{name}.json")), text + "\n")?)
}

/// Rows of subjects take the places of those of the same subjects; others stay, so that some can be measured
/// again by themselves.
pub(super) fn keep_rows(name: &str, rows: &impl Serialize) -> Result<()> {
    let kept = fs::read_to_string(target_dir().join(format!("bench/{name}.json")));
    let kept = kept.ok().and_then(|text| serde_json::from_str(&text).ok());
    keep(
        name,
        &merged(kept.unwrap_or_default(), serde_json::to_value(rows)?),
    )
}

fn merged(kept: Value, rows: Value) -> Vec<Value> {
    let list = |rows: Value| match rows {
        Value::Array(rows) => rows,
        _ => Vec::new(),
    };
    let mut all = list(kept);
    for row in list(rows) {
        match all.iter_mut().find(|it| it["subject"] == row["subject"]) {
            Some(before) => *before = row,
            None => all.push(row),
        }
    }
    all
}

/// Writes the page.
pub(super) fn report() -> Result<()> {
    let mut page = String::from(
        "# Benchmarks\n\n\
         Made by `cargo xtask bench report` of what `cargo xtask bench connections`, `idle`, `events` and so on have \
         measured last; each says with `--help` what it can be told. They need root, bring their own load, and touch \
         loopback only. Ratios are of one run on one machine and are what to compare; times are the machine's.\n\n",
    );
    writeln!(page, "{}\n", machine()?)?;
    let mut any = false;
    for (name, command, heading, about) in PARTS {
        let file = target_dir().join(format!("bench/{name}.json"));
        let Ok(text) = fs::read_to_string(&file) else {
            eprintln!("{name} has not been measured: `cargo xtask bench {command}` does it");
            continue;
        };
        any = true;
        let result: Value = serde_json::from_str(&text)?;
        writeln!(
            page,
            "## {heading}\n\n`cargo xtask bench {command}`. {about}\n"
        )?;
        write_table(&mut page, &result)?;
        writeln!(
            page,
            "\n<details><summary>JSON</summary>\n\n```json\n{result}\n```\n\n</details>\n"
        )?;
    }
    if !any {
        bail!("nothing has been measured yet: see `cargo xtask bench --help`");
    }
    page.push_str(NOTES);
    fs::write(
        workspace().join("docs/benchmarks.md"),
        page.trim_end().to_owned() + "\n",
    )?;
    eprintln!("docs/benchmarks.md is written");
    Ok(())
}

/// A table of an object for each row; of one object, a row for each figure.
fn write_table(page: &mut String, result: &Value) -> Result<()> {
    let cells = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let Some(rows) = result.as_array() else {
        writeln!(page, "| figure | value |\n| --- | --- |")?;
        return figures(page, "", result);
    };
    let rows: Vec<_> = rows.iter().filter_map(Value::as_object).collect();
    let first = rows.first().context("a result without rows")?;
    // What it is about, then the figures.
    let mut keys: Vec<_> = first.keys().collect();
    keys.sort_by_key(|key| !first[*key].is_string());
    let names: Vec<_> = keys.iter().map(|key| key.replace('_', " ")).collect();
    writeln!(page, "{}", cells(&names))?;
    writeln!(page, "{}", cells(&vec!["---".to_owned(); keys.len()]))?;
    for row in rows {
        let shown = keys
            .iter()
            .map(|key| row.get(*key).map_or_else(String::new, shown));
        writeln!(page, "{}", cells(&shown.collect::<Vec<_>>()))?;
    }
    Ok(())
}

/// Each figure of an object with the names of what it is in. Longer lists are in the JSON only.
fn figures(page: &mut String, of: &str, value: &Value) -> Result<()> {
    match value {
        Value::Object(inner) if !inner.contains_key("median") => {
            for (key, value) in inner {
                let name = format!("{of} {}", key.replace('_', " "));
                figures(page, name.trim(), value)?;
            }
        }
        Value::Array(list) => {
            let pair = |it: &Value| Some((it.get(0)?.as_str()?.to_owned(), it.get(1)?.as_f64()?));
            if let Some(pairs) = list.iter().map(pair).collect::<Option<Vec<_>>>() {
                let pairs = pairs
                    .iter()
                    .map(|(name, number)| format!("{name} {}", digits(*number)));
                writeln!(page, "| {of} | {} |", pairs.collect::<Vec<_>>().join(", "))?;
            }
        }
        figure => writeln!(page, "| {of} | {} |", shown(figure))?,
    }
    Ok(())
}

/// A number with as many digits as mean something; a spread with its quartiles.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "not said".to_owned(),
        Value::Number(number) => number.as_f64().map_or_else(String::new, digits),
        Value::String(text) => text.clone(),
        Value::Object(spread) => {
            let of = |key: &str| spread.get(key).and_then(Value::as_f64).map(digits);
            match (of("median"), of("quarter"), of("three_quarters")) {
                (Some(median), Some(low), Some(high)) => format!("{median} ({low} to {high})"),
                _ => value.to_string(),
            }
        }
        other => other.to_string(),
    }
}

fn digits(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 || number.fract() == 0.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

fn machine() -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let fields: BTreeMap<_, _> = cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let model = fields.get("model name").copied().unwrap_or("a CPU");
    let cpus = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    Ok(format!(
        "The machine: {model}, {cpus} CPUs, Linux {}.",
        release.trim().split('-').next().unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_takes_the_place_of_the_one_of_its_subject() {
        let row = |subject: &str, is: u32| json!({"subject": subject, "is": is});
        let kept = json!([row("a", 1), row("b", 2)]);
        let all = merged(kept, json!([row("b", 3), row("c", 4)]));
        assert_eq!(all, [row("a", 1), row("b", 3), row("c", 4)]);
        assert_eq!(merged(Value::Null, json!([row("c", 4)])), [row("c", 4)]);
    }

    #[test]
    fn one_object_is_a_row_for_each_figure() {
        let mut page = String::new();
        let spread = json!({"median": 2.0, "quarter": 1.0, "three_quarters": 3.5});
        let result =
            json!({"at_rest": {"cpu": spread, "threads": [["http", 0.25]], "samples": [{"a": 1}]}});
        write_table(&mut page, &result).unwrap();
        let rows: Vec<_> = page.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| at rest cpu | 2 (1 to 3.50) |",
                "| at rest threads | http 0.25 |"
            ]
        );
    }
}
