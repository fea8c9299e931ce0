//! Who hears of rows, and how closely they look.

use socktrace_common::socket::Protocol;

use crate::change::{Change, View, What};

/// How closely somebody looks at a row of what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// At all of it.
    Full,
    /// At what happened, and to what kind of socket.
    Kind,
    /// Not at all: it need not be made.
    None,
}

/// How closely somebody looks at rows of what happened to sockets of a protocol.
pub type Looks = fn(Protocol, &What) -> Look;

/// Hears of rows as they are made.
pub trait Audience {
    /// One that is looked at in full. What it has become afterwards is of no interest.
    fn row(&mut self, change: &mut Change);

    /// One that is only looked at for its kind. Most are, where they are added up.
    fn kind(&mut self, mono_ns: u64, protocol: Protocol, what: &What);
}

/// Keeps the last one.
impl Audience for Option<Change> {
    fn row(&mut self, change: &mut Change) {
        *self = Some(change.clone());
    }

    fn kind(&mut self, mono_ns: u64, protocol: Protocol, what: &What) {
        *self = Some(brief(mono_ns, protocol, what));
    }
}

/// Keeps them all.
impl Audience for Vec<Change> {
    fn row(&mut self, change: &mut Change) {
        self.push(change.clone());
    }

    fn kind(&mut self, mono_ns: u64, protocol: Protocol, what: &What) {
        self.push(brief(mono_ns, protocol, what));
    }
}

/// A row that says nothing but of what kind it is.
fn brief(mono_ns: u64, protocol: Protocol, what: &What) -> Change {
    Change {
        mono_ns,
        socket: View {
            protocol: Some(protocol),
            ..View::default()
        },
        actor: None,
        tid: None,
        fd: None,
        what: what.clone(),
    }
}
