//! Everything that is shown, held against what its readers take for granted.

use std::{
    cell::RefCell,
    io::{self, Write},
    rc::Rc,
    sync::Arc,
};

use super::CLOCK;
use crate::{
    change::{Change, Role},
    clock::Clock,
    exporter::{
        Adder, Exporter, Naming, Owners, Reading, Seen, Settings, Tally, openmetrics, text,
    },
    field::{Field, is_harmful},
    inventory::Row,
    process::Details,
    sink::{Format, Report, Sink, Style, Times, sockets},
    source::snapshot::Found,
    table::SocketTable,
};

/// All sinks at once.
pub(super) struct Outputs {
    written: Vec<(Format, Memory)>,
    tally: Rc<RefCell<Tally>>,
    report: Report,
}

#[derive(Clone, Default)]
struct Memory(Rc<RefCell<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct All(Vec<Box<dyn Sink>>);

impl Sink for All {
    fn row(&mut self, change: &Change, clock: &Clock) -> io::Result<()> {
        self.0.iter_mut().try_for_each(|it| it.row(change, clock))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.iter_mut().try_for_each(|it| it.flush())
    }
}

impl Outputs {
    pub(super) fn new(report: Report) -> Self {
        let formats = [Format::Table, Format::Wide, Format::Json, Format::Csv];
        let owners = Owners::new(vec![Naming::Unit, Naming::Comm], 4, |_| Details::default());
        Self {
            written: formats.map(|it| (it, Memory::default())).into(),
            tally: Rc::new(RefCell::new(Tally::new(owners))),
            report,
        }
    }

    pub(super) fn sink(&self) -> Box<dyn Sink> {
        let sink = |(format, memory): &(Format, Memory)| {
            let style = Style {
                format: *format,
                report: self.report,
                // On request: each field has a column.
                fields: (*format == Format::Wide).then(|| Field::ALL.to_vec()),
                times: Times::Elapsed,
                wide: false,
                color: false,
            };
            style.sink(memory.clone())
        };
        let mut all: Vec<_> = self.written.iter().map(sink).collect();
        all.push(Box::new(Adder(Rc::clone(&self.tally))));
        Box::new(All(all))
    }

    /// Whatever was told, the outputs are what they should be.
    pub(super) fn check(self) {
        for (format, memory) in &self.written {
            let bytes = memory.0.borrow();
            let text = std::str::from_utf8(&bytes).expect("every output is UTF-8");
            harmless(text);
            match format {
                Format::Json | Format::JsonPretty => {
                    for line in text.lines() {
                        let row: Result<serde_json::Map<_, serde_json::Value>, _> =
                            serde_json::from_str(line);
                        row.expect("every line is an object");
                    }
                }
                // The reader refuses rows with more or fewer columns than the first.
                Format::Csv => {
                    for row in csv::Reader::from_reader(text.as_bytes()).records() {
                        row.expect("every row has all columns");
                    }
                }
                Format::Table | Format::Wide => {}
            }
        }
        metrics(&self.tally);
    }
}

/// Nothing that a terminal obeys but the ends of lines.
fn harmless(text: &str) {
    let harmful = |c: char| c != '\n' && is_harmful(c);
    assert!(!text.contains(harmful), "{text:?}");
}

/// A line is a comment, or a name, labels and a number.
fn metrics(tally: &RefCell<Tally>) {
    let table = SocketTable::default();
    let seen = Arc::new(Seen::default());
    let reading = Reading::take(1, &mut tally.borrow_mut(), &table, &seen);
    let exporter = Exporter::new(&Settings::default()).expect("the default is possible");
    let families = exporter.families(reading);
    let plain = text(&families).expect("there is a text of every reading");
    for line in plain.lines().chain(openmetrics(&families).lines()) {
        if line.starts_with('#') {
            continue;
        }
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        assert!(value == "+Inf" || value.parse::<f64>().is_ok(), "{line}");
        assert!(
            name.starts_with("socktrace_") || name.starts_with("process_"),
            "{line}"
        );
    }
}

/// The rows of a snapshot, as tables and as JSON, and for the table.
pub(super) fn sockets(found: Vec<Found>) {
    let row = |found| Row {
        found,
        class: None,
        holders: Vec::new(),
        owner: None,
        role: Role::Unknown,
        receiver: None,
        told: None,
    };
    let mut rows: Vec<_> = found.into_iter().map(row).collect();
    sockets::sort(&mut rows);
    let mut table = SocketTable::new(rows.len());
    let now = CLOCK.began_ns;
    table.snapshot_begins(now);
    for adopted in rows.iter().filter_map(|row| row.adopted(now)) {
        table.adopt(&adopted, &mut Vec::new());
    }
    table.snapshot_ends(true, &mut Vec::new());
    for wide in [false, true] {
        let mut text = Vec::new();
        sockets::write_table(&mut text, &rows, wide).expect("memory takes everything");
        harmless(std::str::from_utf8(&text).expect("every output is UTF-8"));
    }
    let mut json = Vec::new();
    sockets::write_json(&mut json, &rows, None, false).expect("memory takes everything");
    for line in std::str::from_utf8(&json)
        .expect("every output is UTF-8")
        .lines()
    {
        harmless(line);
        let row: Result<serde_json::Value, _> = serde_json::from_str(line);
        row.expect("every line is an object");
    }
}
