//! One object a row, schema 1 (docs/events.md).

use std::io::{self, Write};

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::ser::{Formatter, PrettyFormatter};

use super::{
    Sink,
    plain::{Rfc3339, address, decimal},
};
use crate::{
    change::Change,
    clock::Clock,
    field::{COMMON, Field, Put, Value, added, is_harmful, put_common},
};

/// Writes JSON.
pub struct Json<W: Write> {
    out: W,
    fields: Option<Vec<Field>>,
    pretty: bool,
    line: Vec<u8>,
    times: Rfc3339,
}

impl<W: Write> Json<W> {
    /// All keys of a row, or only these.
    pub fn new(out: W, fields: Option<Vec<Field>>, pretty: bool) -> Self {
        Self {
            out,
            fields,
            pretty,
            line: Vec::new(),
            times: Rfc3339::default(),
        }
    }

    /// One line, as [`write()`] makes it, in a fraction of its time.
    fn line(&mut self, change: &Change, clock: &Clock) -> io::Result<()> {
        self.line.clear();
        let mut line = Line {
            text: &mut self.line,
            times: &mut self.times,
            change,
            clock,
        };
        if let Some(fields) = &self.fields {
            for &field in fields {
                line.put_any(field);
            }
        } else {
            put_common(&mut line);
            rest(change, |field| line.put_any(field));
        }
        self.line.extend_from_slice(b"}\n");
        // In the place of the first comma.
        match self.line.first_mut() {
            Some(first) if *first == b',' => *first = b'{',
            _ => self.line.insert(0, b'{'),
        }
        self.out.write_all(&self.line)
    }
}

impl<W: Write> Sink for Json<W> {
    fn row(&mut self, change: &Change, clock: &Clock) -> io::Result<()> {
        if !self.pretty {
            return self.line(change, clock);
        }
        let row = Row {
            change,
            clock,
            fields: self.fields.as_deref(),
        };
        write(&mut self.out, &row, true)
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
        let mut fields = self.fields.unwrap_or(COMMON).to_vec();
        if self.fields.is_none() {
            rest(self.change, |field| fields.push(field));
        }
        let mut map = serializer.serialize_map(None)?;
        for field in fields {
            map.serialize_entry(field.name(), &self.change.value(field, self.clock))?;
        }
        map.end()
    }
}

/// The keys of a row after those that all have.
fn rest(change: &Change, mut put: impl FnMut(Field)) {
    // Only where it says something.
    if change.other_actor().is_some() {
        put(Field::ActorPid);
    }
    for &field in added(change.what.kind()) {
        put(field);
    }
}

/// A row on its way into a line: a comma before each key.
struct Line<'a> {
    text: &'a mut Vec<u8>,
    times: &'a mut Rfc3339,
    change: &'a Change,
    clock: &'a Clock,
}

impl Put for Line<'_> {
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "twenty times, and each is a few lines"
    )]
    fn put(&mut self, field: Field) {
        self.text.extend_from_slice(field.key().as_bytes());
        if field == Field::Ts {
            self.text.push(b'"');
            self.times
                .append(self.text, self.clock, self.change.mono_ns);
            self.text.push(b'"');
        } else {
            put(self.text, &self.change.value(field, self.clock));
        }
    }
}

impl Line<'_> {
    /// For keys that are not known before.
    #[inline(never)]
    fn put_any(&mut self, field: Field) {
        self.put(field);
    }
}

/// Appends what a key holds.
#[inline]
fn put(line: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Null => line.extend_from_slice(b"null"),
        Value::Number(number) => decimal(line, *number),
        Value::Word(word) => quote(line, word.as_bytes()),
        Value::Text(text) if is_plain(text.as_bytes()) => quote(line, text.as_bytes()),
        Value::Address(ip) => {
            line.push(b'"');
            address(line, *ip);
            line.push(b'"');
        }
        Value::Text(_) | Value::Time(_) => escape(line, value),
    }
}

#[cold]
fn escape(line: &mut Vec<u8>, value: &Value<'_>) {
    let mut serializer = serde_json::Serializer::with_formatter(line, Compact);
    // Memory takes everything.
    value.serialize(&mut serializer).unwrap_or_default();
}

fn quote(line: &mut Vec<u8>, text: &[u8]) {
    line.push(b'"');
    line.extend_from_slice(text);
    line.push(b'"');
}

/// Is there no escape for any of it, and none needed?
fn is_plain(text: &[u8]) -> bool {
    // To the end, whatever comes: many at a time.
    text.iter().fold(true, |plain, byte| {
        plain & matches!(byte, b' '..=b'~') & !matches!(byte, b'"' | b'\\')
    })
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
