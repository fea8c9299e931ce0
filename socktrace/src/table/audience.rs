//! Who hears of rows, and how closely they look.

use socktrace_common::socket::{Protocol, TcpState};

use crate::change::{Change, Kind, What};

/// How closely somebody looks at a row of what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// At all of it.
    Full,
    /// At what kind of row it is: a [`Brief`].
    Kind,
    /// Not at all: it need not be made.
    None,
}

/// How closely somebody looks at which rows.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    /// At changes of state that end no connection. Most rows are such, so it is known of them before they
    /// are made.
    pub changes: Look,
    /// At all others.
    pub others: fn(Protocol, &What) -> Look,
}

impl Looks {
    /// At all of all rows.
    pub const FULL: Self = Self {
        changes: Look::Full,
        others: |_, _| Look::Full,
    };

    /// At a row of what happened to a socket of this protocol.
    #[inline]
    pub fn at(self, protocol: Protocol, what: &What) -> Look {
        match what {
            What::State { outcome: None, .. } => self.changes,
            _ => (self.others)(protocol, what),
        }
    }
}

/// What a row says that is only looked at for its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brief {
    /// The kind.
    pub kind: Kind,
    /// Of a change of state the old state, and the time in it where that is known, nanoseconds.
    pub left: Option<(TcpState, u64)>,
}

impl From<&What> for Brief {
    fn from(what: &What) -> Self {
        let left = match *what {
            What::State { old, in_old_ns, .. } => in_old_ns.map(|ns| (old, ns)),
            _ => None,
        };
        Self {
            kind: what.kind(),
            left,
        }
    }
}

/// Hears of rows as they are made.
pub trait Audience {
    /// One that is looked at in full. What it has become afterwards is of no interest.
    fn row(&mut self, change: &mut Change);

    /// Those of one socket that are only looked at for their kind, where they are added up most of all:
    /// after the others.
    fn briefs(&mut self, briefs: &[Brief]);
}

/// Hands rows on as somebody has made them complete.
pub(super) struct Completed<'a, A, F> {
    pub(super) audience: &'a mut A,
    pub(super) complete: F,
}

impl<A: Audience, F: FnMut(&mut Change)> Audience for Completed<'_, A, F> {
    fn row(&mut self, change: &mut Change) {
        (self.complete)(change);
        self.audience.row(change);
    }

    fn briefs(&mut self, briefs: &[Brief]) {
        self.audience.briefs(briefs);
    }
}

/// Keeps all that are looked at in full.
impl Audience for Vec<Change> {
    fn row(&mut self, change: &mut Change) {
        self.push(change.clone());
    }

    fn briefs(&mut self, _: &[Brief]) {}
}
