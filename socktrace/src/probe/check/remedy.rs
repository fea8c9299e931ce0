//! Ways out.

use std::fmt;

/// What to do about something: any one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy(Vec<String>);

impl Remedy {
    /// Any of several.
    pub(in crate::probe) fn any(ways: impl Into<Vec<String>>) -> Self {
        Self(ways.into())
    }

    /// For people: a line for each way.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().enumerate().map(|(index, way)| match index {
            0 => format!("remedy: {way}"),
            _ => format!("    or: {way}"),
        })
    }
}

impl<T: Into<String>> From<T> for Remedy {
    fn from(way: T) -> Self {
        Self(vec![way.into()])
    }
}

/// On one line.
impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; or: "))
    }
}

/// What keeps something from working.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Why it does not work.
    pub why: String,
    /// What to do, if that is known.
    pub remedy: Option<Remedy>,
}

impl Obstacle {
    pub(in crate::probe) fn new(why: impl Into<String>, remedy: impl Into<Remedy>) -> Self {
        Self {
            why: why.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// The message for people: why, then `more`, then what to do, a line each.
    pub(in crate::probe) fn message(&self, more: &[String]) -> String {
        let mut lines = vec![self.why.clone()];
        lines.extend_from_slice(more);
        lines.extend(self.remedy.iter().flat_map(Remedy::lines));
        lines.join("\n  ")
    }
}
