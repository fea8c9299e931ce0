//! One object a row, schema 1 (docs/events.md).

use std::io::{self, Write};

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::ser::{Formatter, PrettyFormatter};

use super::Sink;
use crate::{
    change::Change,
    clock::Clock,
    field::{COMMON, Field, added, is_harmful},
};

/// Writes JSON.
pub struct Json<W: Write> {
    out: W,
    fields: Option<Vec<Field>>,
    pretty: bool,
}

impl<W: Write> Json<W> {
    /// All keys of a row, or only these.
    pub fn new(out: W, fields: Option<Vec<Field>>, pretty: bool) -> Self {
        Self {
            out,
            fields,
            pretty,
        }
    }
}

impl<W: Write> Sink for Json<W> {
    fn row(&mut self, change: &Change, clock: &Clock) -> io::Result<()> {
        let row = Row {
            change,
            clock,
            fields: self.fields.as_deref(),
        };
        write(&mut self.out, &row, self.pretty)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes a value and ends the line.
pub fn write(out: &mut impl Write, value: &impl Serialize, pretty: bool) -> io::Result<()> {
    if pretty {
        let formatter = Pretty(PrettyFormatter::new());
        value.serialize(&mut serde_json::Serializer::with_formatter(
            &mut *out, formatter,
        ))?;
    } else {
        value.serialize(&mut serde_json::Serializer::with_formatter(
            &mut *out, Compact,
        ))?;
    }
    out.write_all(b"\n")
}

struct Row<'a> {
    change: &'a Change,
    clock: &'a Clock,
    fields: Option<&'a [Field]>,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let mut put =
            |field: Field| map.serialize_entry(field.name(), &self.change.value(field, self.clock));
        if let Some(fields) = self.fields {
            for &field in fields {
                put(field)?;
            }
        } else {
            for &field in COMMON {
                put(field)?;
            }
            // Only where it says something.
            if self.change.other_actor().is_some() {
                put(Field::ActorPid)?;
            }
            for &field in added(self.change.what.kind()) {
                put(field)?;
            }
        }
        map.end()
    }
}

/// One line. JSON itself demands escapes only below U+0020; a terminal obeys more than that.
struct Compact;

impl Formatter for Compact {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        write_harmless(out, fragment)
    }
}

/// Several lines, with the same care.
struct Pretty(PrettyFormatter<'static>);

impl Formatter for Pretty {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        write_harmless(out, fragment)
    }

    fn begin_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

fn write_harmless<W: Write + ?Sized>(out: &mut W, fragment: &str) -> io::Result<()> {
    // Nearly every fragment: our own words, and names of programs.
    if fragment.bytes().all(|byte| byte < 0x7f) {
        return out.write_all(fragment.as_bytes());
    }
    for c in fragment.chars() {
        if is_harmful(c) {
            write!(out, "\\u{:04x}", u32::from(c))?;
        } else {
            out.write_all(c.encode_utf8(&mut [0; 4]).as_bytes())?;
        }
    }
    Ok(())
}
