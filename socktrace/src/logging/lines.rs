//! One line each, as key=value or as JSON.

use std::{
    fmt::{self, Debug, Write as _},
    io,
};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

use super::repeats;
use crate::cli::LogFormat;

/// Writes lines to what `open` gives.
pub(super) struct Lines<F> {
    format: LogFormat,
    open: F,
}

impl<F> Lines<F> {
    pub(super) fn new(format: LogFormat, open: F) -> Self {
        Self { format, open }
    }
}

impl<S, F, W> Layer<S> for Lines<F>
where
    S: Subscriber,
    F: Fn() -> W + 'static,
    W: io::Write,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let left_out = repeats::left_out();
        if left_out > 0 {
            fields.others.push(("left_out", left_out.into()));
        }
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        let now = format!("{:.3}", Timestamp::now());
        let line = match self.format {
            LogFormat::Logfmt => logfmt(&now, &level, &fields),
            LogFormat::Json => json(now, level, fields),
        };
        // In one go, so that lines of other threads stay apart. Where nobody reads, there is nobody to
        // complain to.
        drop((self.open)().write_all(line.as_bytes()));
    }
}

/// What an event says.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        let name = field.name();
        // Where the record of a library that uses `log` comes from.
        if !name.starts_with("log.") {
            self.others.push((name, value.into()));
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ => self.add(field, format!("{value:?}")),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            _ => self.add(field, value),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }
}

fn logfmt(now: &str, level: &str, fields: &Fields) -> String {
    let mut line = format!("ts={now} level={level} msg={}", Quoted(&fields.message));
    for (name, value) in &fields.others {
        let written = match value {
            Value::String(text) => write!(line, " {name}={}", Quoted(text)),
            other => write!(line, " {name}={other}"),
        };
        debug_assert!(written.is_ok(), "a String takes everything");
    }
    line.push('\n');
    line
}

fn json(now: String, level: String, fields: Fields) -> String {
    let mut object = Map::new();
    for (name, value) in fields.others {
        object.insert(name.to_owned(), value);
    }
    for (name, value) in [("ts", now), ("level", level), ("msg", fields.message)] {
        object.insert(name.to_owned(), value.into());
    }
    format!("{}\n", Value::Object(object))
}

/// A word as it is, and anything else in quotes, with nothing in it that a terminal obeys.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_word = |c: char| c.is_ascii_graphic() && !"\"=\\".contains(c);
        if !self.0.is_empty() && self.0.chars().all(is_word) {
            f.write_str(self.0)
        } else {
            write!(f, "{:?}", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{info, subscriber::with_default, warn};
    use tracing_subscriber::{layer::SubscriberExt as _, registry};

    use super::{super::repeats::Repeats, *};

    /// What is written.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that these events make, without the time.
    fn lines(format: LogFormat, events: impl FnOnce()) -> Vec<String> {
        let page = Page::default();
        let open = page.clone();
        let lines = Lines::new(format, move || open.clone());
        with_default(registry().with(Repeats::default()).with(lines), events);
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_has_time_level_message_and_fields() {
        let line = lines(LogFormat::Logfmt, || {
            warn!(path = "/a b", count = 3, error = %"x=\"1\"\u{1b}[31m", word = "plain", "it is \u{202e} so");
        });
        let (time, rest) = line[0].split_once(' ').unwrap();
        let time = time.strip_prefix("ts=").unwrap();
        assert!(
            time.parse::<Timestamp>().is_ok() && time.ends_with('Z'),
            "{time}"
        );
        assert_eq!(
            rest,
            r#"level=warn msg="it is \u{202e} so" path="/a b" count=3 error="x=\"1\"\u{1b}[31m" word=plain"#
        );
    }

    #[test]
    fn json_is_one_object_a_line() {
        let line = lines(LogFormat::Json, || info!(count = 3, text = "a\nb", "said"));
        let object: Map<String, Value> = serde_json::from_str(&line[0]).unwrap();
        assert_eq!(object["msg"], "said");
        assert_eq!(object["level"], "info");
        assert_eq!(object["count"], 3);
        assert_eq!(object["text"], "a\nb");
        assert_eq!(line.len(), 1);
    }

    #[test]
    fn what_is_said_in_a_loop_does_not_fill_the_log() {
        let lines = lines(LogFormat::Logfmt, || {
            for number in 0..100 {
                warn!(number, "again");
            }
            warn!("something else");
        });
        assert_eq!(lines.len(), 11, "{lines:#?}");
        assert!(lines[10].contains("something else"), "{lines:#?}");
    }
}
