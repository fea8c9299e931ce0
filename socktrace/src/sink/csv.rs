//! Comma-separated values: every row has every column, empty where it says nothing.

use std::io::{self, Write};

use super::Sink;
use crate::{
    change::Change,
    clock::Clock,
    field::{Field, ON_REQUEST},
};

/// Writes CSV.
pub struct Csv<W: Write> {
    out: csv::Writer<W>,
    fields: Vec<Field>,
    begun: bool,
}

impl<W: Write> Csv<W> {
    /// All keys but those on request, or only these.
    pub fn new(out: W, fields: Option<Vec<Field>>) -> Self {
        let all = || {
            let named = Field::ALL.iter().copied();
            named.filter(|field| !ON_REQUEST.contains(field)).collect()
        };
        Self {
            out: csv::Writer::from_writer(out),
            fields: fields.unwrap_or_else(all),
            begun: false,
        }
    }
}

impl<W: Write> Sink for Csv<W> {
    fn row(&mut self, change: &Change, clock: &Clock) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            self.out
                .write_record(self.fields.iter().map(|field| field.name()))?;
        }
        for &field in &self.fields {
            self.out
                .write_field(change.value(field, clock).to_string())?;
        }
        self.out.write_record(None::<&[u8]>)?;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
