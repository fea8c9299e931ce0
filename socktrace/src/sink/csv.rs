//! Comma-separated values: every row has every column, empty where it says nothing.
//!
//! Spreadsheets take what begins like a formula for one, quotes or not. A program chooses its name and
//! those of its sockets, so such text gets a `'`, which they take for the sign of text.

use std::io::{self, Write};

use super::Sink;
use crate::{
    change::Change,
    clock::Clock,
    field::{Field, ON_REQUEST, Value},
};

/// A text that begins with one of these could be a formula. Tabs and ends of lines are escaped anyway.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

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
            self.out.write_field(cell(&change.value(field, clock)))?;
        }
        self.out.write_record(None::<&[u8]>)?;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn cell(value: &Value<'_>) -> String {
    match value {
        Value::Text(text) if text.starts_with(FORMULA) => format!("'{value}"),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_chose_is_no_formula() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@/tmp/.X11-unix/X0", "'@/tmp/.X11-unix/X0"),
            ("＝1", "'＝1"),
            ("\t=1", "\\t=1"),
            ("a=1", "a=1"),
            ("nginx", "nginx"),
            ("", ""),
        ] {
            assert_eq!(cell(&Value::Text(text.into())), expected);
        }
        // Words are ours.
        assert_eq!(cell(&Value::Word("-")), "-");
        assert_eq!(cell(&Value::Null), "");
    }
}
