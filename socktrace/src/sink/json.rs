//! One object a row, schema 1 (docs/events.md).

use std::io::{self, Write};

use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::Sink;
use crate::{
    change::Change,
    clock::Clock,
    field::{COMMON, Field, added},
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
        if self.pretty {
            serde_json::to_writer_pretty(&mut self.out, &row)?;
        } else {
            serde_json::to_writer(&mut self.out, &row)?;
        }
        self.out.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
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
