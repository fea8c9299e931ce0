//! Where rows go. Siblings behind one trait: an output is its file and a line here.

pub mod csv;
pub mod findings;
pub mod json;
pub mod life;
pub mod limits;
mod plain;
pub mod ports;
pub mod sockets;
mod stacks;
pub mod text;

use std::io::{self, Write};

use crate::{
    change::Change,
    clock::Clock,
    field::Field,
    table::{Brief, Looks},
};

/// Takes rows.
pub trait Sink {
    /// Writes one row.
    fn row(&mut self, change: &Change, clock: &Clock) -> io::Result<()>;

    /// A batch is over: what was written becomes visible. Batches end with whole rows and come at
    /// least every 20 ms, so a reader of a pipe sees rows as they happen.
    fn flush(&mut self) -> io::Result<()>;

    /// Counts rows that it looks at for their kind only, as [`Self::looks`] says.
    fn briefs(&mut self, briefs: &[Brief]) {
        debug_assert!(false, "whoever says so counts them: {briefs:?}");
    }

    /// How closely it looks at which rows.
    fn looks(&self) -> Looks {
        Looks::FULL
    }
}

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "lower")]
pub enum Format {
    /// Columns for people
    #[default]
    Table,
    /// More columns
    Wide,
    /// One object a line
    Json,
    /// Objects over several lines
    JsonPretty,
    /// Comma-separated values, with a header
    Csv,
}

/// Which rows, for the formats that tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Everything.
    Trace,
    /// Ended connections.
    Life,
}

/// How times are shown in tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    /// Not at all.
    #[default]
    None,
    /// Wall clock.
    Clock,
    /// Seconds since we began.
    Elapsed,
}

/// What a sink is made of.
#[derive(Clone, Debug)]
pub struct Style {
    /// See [`Format`].
    pub format: Format,
    /// See [`Report`].
    pub report: Report,
    /// Only these keys (JSON, CSV, table).
    pub fields: Option<Vec<Field>>,
    /// See [`Times`].
    pub times: Times,
    /// Room for IPv6 addresses.
    pub wide: bool,
    /// May colours be used?
    pub color: bool,
}

impl Style {
    /// The sink for this style.
    pub fn sink<W: Write + 'static>(self, out: W) -> Box<dyn Sink> {
        match (self.format, self.report, self.fields) {
            (Format::Json, _, fields) => Box::new(json::Json::new(out, fields, false)),
            (Format::JsonPretty, _, fields) => Box::new(json::Json::new(out, fields, true)),
            (Format::Csv, _, fields) => Box::new(csv::Csv::new(out, fields)),
            (Format::Table | Format::Wide, _, Some(fields)) => {
                Box::new(text::Columns::new(out, fields, self.times))
            }
            (format, Report::Trace, None) => Box::new(text::Text::new(
                out,
                self.times,
                self.wide,
                format == Format::Wide,
                self.color,
            )),
            (format, Report::Life, None) => Box::new(life::Life::new(
                out,
                self.times,
                self.wide || format == Format::Wide,
            )),
        }
    }

    /// Do rows show what only `/proc` knows of a process?
    pub fn shows_details(&self) -> bool {
        match (&self.fields, self.format) {
            (Some(fields), _) => fields.iter().any(|field| field.is_detail()),
            (None, Format::Table) => false,
            (None, Format::Wide | Format::Json | Format::JsonPretty | Format::Csv) => true,
        }
    }
}
