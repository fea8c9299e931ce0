//! Recordings in, metrics out: what Prometheus reads, byte by byte.

#![allow(clippy::unwrap_used, reason = "it is all tests")]

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Write as _},
    path::Path,
    process,
    rc::Rc,
    sync::Arc,
};

use socktrace::{
    change::Change,
    clock::Clock,
    exporter::{
        Adder, Exporter, HookRuns, METRICS, Naming, Owners, Reading, Seen, Settings, Tally,
        openmetrics, own::OWN, text,
    },
    pipeline::Pipeline,
    probe::counters::Counters,
    process::Details,
    select::Select,
    sink::{Report, Sink},
    source::recording::Reader,
};

/// Who is named as in the recording; nobody is asked.
fn owners(most: usize) -> Owners {
    Owners::new(vec![Naming::Unit, Naming::Comm], most, |_| {
        Details::default()
    })
}

/// What a recording adds up to.
fn reading(recording: &str, most: usize) -> Reading {
    added_up(recording, most, false)
}

/// The same; `full`: of rows in full.
fn added_up(recording: &str, most: usize, full: bool) -> Reading {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/{recording}.rec"));
    let mut reader = Reader::new(File::open(path).unwrap()).unwrap();
    let tally = Rc::new(RefCell::new(Tally::new(owners(most))));
    let sink: Box<dyn Sink> = if full {
        Box::new(Full(Adder(Rc::clone(&tally))))
    } else {
        Box::new(Adder(Rc::clone(&tally)))
    };
    let clock = reader.clock();
    let mut pipeline = Pipeline::new(Select::default(), Report::Trace, Some(sink), clock);
    while let Some(item) = reader.read().unwrap() {
        pipeline.take(&item).unwrap();
    }
    pipeline.finish(None).unwrap();
    let now = u64::MAX / 2;
    Reading::take(
        now,
        &mut tally.borrow_mut(),
        pipeline.table(),
        &Arc::new(Seen::default()),
    )
}

/// Has all rows made in full.
struct Full(Adder);

impl Sink for Full {
    fn row(&mut self, change: &Change, clock: &Clock) -> io::Result<()> {
        self.0.row(change, clock)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Metrics without those of the process, which are never the same.
fn lasting(text: &str) -> String {
    let ours = |line: &&str| !line.contains("process_") && !line.contains("build_info");
    let lines = text.lines().filter(ours);
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn a_recording_adds_up_to_these_metrics() {
    for recording in ["echo", "refused", "hostile", "families"] {
        let exporter = Exporter::new(&Settings::default()).unwrap();
        let families = exporter.families(reading(recording, 50));
        let text = text(&families).unwrap();
        insta::assert_snapshot!(format!("metrics-{recording}"), lasting(&text));
    }
}

#[test]
fn what_nobody_looks_at_in_full_adds_up_to_the_same() {
    for recording in ["echo", "refused", "hostile", "families"] {
        let page = |full| {
            let exporter = Exporter::new(&Settings::default()).unwrap();
            let families = exporter.families(added_up(recording, 50, full));
            lasting(&text(&families).unwrap())
        };
        assert_eq!(page(false), page(true), "{recording}");
    }
}

#[test]
fn openmetrics_has_the_same_samples_and_an_end() {
    let exporter = Exporter::new(&Settings::default()).unwrap();
    let families = exporter.families(reading("echo", 50));
    let open = openmetrics(&families);
    assert!(open.ends_with("\n# EOF\n"));
    assert!(
        open.contains("# TYPE socktrace_accepts counter\n"),
        "{open}"
    );
    assert!(
        open.contains("\nsocktrace_accepts_total{owner=\"python3\"} 2.0\n"),
        "{open}"
    );
    let plain = text(&families).unwrap();
    let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples(&open), samples(&plain));
    for line in open.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value == "+Inf" || value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn who_finds_no_room_counts_among_others_and_series_are_bounded() {
    let settings = Settings {
        series: 5,
        ..Settings::default()
    };
    let exporter = Exporter::new(&settings).unwrap();
    // Nobody but `other` and `unknown` has series.
    for scrape in 1..=2 {
        let families = exporter.families(reading("echo", 0));
        let text = text(&families).unwrap();
        assert!(
            text.contains("socktrace_accepts_total{owner=\"other\"} 2\n"),
            "{text}"
        );
        // Eleven states of one owner, five places.
        let dropped = format!(
            "socktrace_series_dropped_total{{metric=\"socktrace_sockets\"}} {}\n",
            6 * scrape
        );
        assert!(text.contains(&dropped), "{text}");
    }
}

#[test]
fn every_metric_is_in_the_list_and_every_one_of_the_list_is_known_to_promtool() {
    let exporter = Exporter::new(&Settings::default()).unwrap();
    let mut reading = reading("refused", 50);
    reading.lost.push(("ring", 1));
    reading.counters = Some(Counters {
        seen: 15,
        emitted: 1,
        folded: 2,
        filtered: 4,
        lost_ring: 8,
        ..Counters::default()
    });
    let runs = Some(HookRuns { count: 2, ns: 3 });
    reading.hooks.push(("inet_sock_set_state", true, runs));
    let families = exporter.families(reading);
    let known: Vec<_> = METRICS.iter().chain(OWN).map(|it| it.name).collect();
    for family in &families {
        assert!(known.contains(&family.name()), "{}", family.name());
    }
    let mut promtool = process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(process::Stdio::piped())
        .stdout(process::Stdio::piped())
        .stderr(process::Stdio::piped())
        .spawn()
        .unwrap();
    let text = text(&families).unwrap();
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
