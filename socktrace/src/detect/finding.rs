//! What a detector says: who, what, since when, how bad, how long left, what to run next.

use std::sync::Arc;

use super::{Filled, Member};
use crate::{
    endpoint::Endpoint, process::Process, source::snapshot::Protocol, stack::Opening, table::Opened,
};

/// Declares the kinds of finding with the words that users see, once.
macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident => $word:literal,)+) => {
        /// A kind of finding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $variant,)+
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word for it in output, labels and settings.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

kinds! {
    /// The peer has closed, and the process does not.
    CloseWait => "close_wait",
    /// The connection is over, and its descriptor is still open.
    DeadOpen => "dead_open",
    /// Sockets were created and never used.
    NeverConnected => "never_connected",
    /// More and more connections grow old.
    IdleGrowth => "idle_growth",
    /// A destination does not answer.
    SynSent => "syn_sent",
    /// Connections that nobody holds and that do not end.
    Orphan => "orphan",
    /// Connections wait to be accepted.
    AcceptQueue => "accept_queue",
    /// A listener is held by a process that never accepts from it.
    InheritedListener => "inherited_listener",
    /// UDP sockets only accumulate.
    UdpGrowth => "udp_growth",
    /// The peer of a Unix socket is gone, and the process does not close.
    UnixHalfDead => "unix_half_dead",
    /// Pipes of which one end is gone.
    Pipe => "pipe",
    /// Descriptors in messages that nobody receives.
    InFlightFd => "in_flight_fd",
    /// A destination is about to run out of local ports.
    PortExhaustion => "port_exhaustion",
    /// A listener's port can be taken by an outgoing connection.
    ListenerInEphemeralRange => "listener_in_ephemeral_range",
    /// Connections that are over keep ports.
    TimeWait => "time_wait",
    /// A process is about to run out of descriptors.
    FdLimit => "fd_limit",
    /// The machine is about to run out of open files.
    FileTable => "file_table",
    /// The table of tracked connections fills up.
    Conntrack => "conntrack",
}

/// How bad it is. The first three are of leaks, the last two of limits.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Bounded or explained.
    Info,
    /// It grows, and nothing else is known.
    Suspect,
    /// There is direct evidence.
    Confirmed,
    /// A limit is near.
    Warning,
    /// A limit is reached, or will be soon.
    Critical,
}

impl Severity {
    /// How bad it is that something is so full: at these ratios and above.
    pub(super) fn of_ratio(filled: Filled, warning: f64, critical: f64) -> Option<Self> {
        match filled.ratio() {
            ratio if ratio >= critical => Some(Self::Critical),
            ratio if ratio >= warning => Some(Self::Warning),
            _ => None,
        }
    }

    /// Is it as bad as the other? Leaks and limits have words of their own for how bad they are, and
    /// direct evidence is as bad as a limit that is near.
    pub fn is_at_least(self, other: Self) -> bool {
        let bad = |severity| match severity {
            Self::Info => 0,
            Self::Suspect => 1,
            Self::Confirmed | Self::Warning => 2,
            Self::Critical => 3,
        };
        bad(self) >= bad(other)
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Suspect => "suspect",
            Self::Confirmed => "confirmed",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Whom and what a finding is about; what does not apply is `None`. With its kind, this is what
/// tells it from others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Inode number of the network namespace.
    pub netns: Option<u32>,
    /// The process that is to blame, or to look at.
    pub process: Option<Arc<Process>>,
    /// The protocol.
    pub proto: Option<Protocol>,
    /// The other side of all the connections.
    pub remote: Endpoint,
    /// The local port of all the connections.
    pub lport: Option<u16>,
}

/// What tells a finding from others, however it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// See [`Finding::kind`].
    pub kind: Kind,
    /// See [`Subject::netns`].
    pub netns: Option<u32>,
    /// Number of [`Subject::process`].
    pub pid: Option<u32>,
    /// See [`Subject::remote`].
    pub remote: Endpoint,
    /// See [`Subject::lport`].
    pub lport: Option<u16>,
}

/// A number or word that a rule saw.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Evidence {
    /// A number.
    Number(u64),
    /// A number with a fraction.
    Ratio(f64),
    /// A word of ours.
    Word(&'static str),
    /// Text that a process chose: escape it.
    Text(String),
}

/// What a detector says at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Its kind.
    pub kind: Kind,
    /// How bad it is.
    pub severity: Severity,
    /// Whom it is about.
    pub subject: Subject,
    /// How many sockets, pipes or descriptors.
    pub count: Option<u64>,
    /// How old the oldest of them is at least, nanoseconds.
    pub oldest_ns: Option<u64>,
    /// What there may be at most.
    pub limit: Option<u64>,
    /// What there is of that.
    pub used: Option<u64>,
    /// Seconds until there is no more, if it goes on like this.
    pub eta_seconds: Option<f64>,
    /// Nothing was lost that could have changed it.
    pub complete: bool,
    /// The numbers that the rule saw.
    pub evidence: Vec<(&'static str, Evidence)>,
    /// Where the sockets that were counted were opened, and how many in each place.
    pub opened: Vec<(Opened, u64)>,
    /// The same for people, once somebody has looked the places up.
    pub stacks: Option<Vec<Opening>>,
    /// The next command to run. We never kill anything.
    pub advice: String,
}

impl Finding {
    /// A finding of which only this is known.
    pub fn new(kind: Kind, severity: Severity, subject: Subject) -> Self {
        Self {
            kind,
            severity,
            subject,
            count: None,
            oldest_ns: None,
            limit: None,
            used: None,
            eta_seconds: None,
            complete: true,
            evidence: Vec::new(),
            opened: Vec::new(),
            stacks: None,
            advice: String::new(),
        }
    }

    /// One about something that fills up: what there is, and what there may be.
    pub fn of_limit(kind: Kind, severity: Severity, subject: Subject, filled: Filled) -> Self {
        Self {
            used: Some(filled.used),
            limit: Some(filled.limit),
            ..Self::new(kind, severity, subject)
        }
    }

    /// What tells it from others.
    pub fn identity(&self) -> Identity {
        let subject = &self.subject;
        Identity {
            kind: self.kind,
            netns: subject.netns,
            pid: subject.process.as_ref().map(|process| process.pid),
            remote: subject.remote,
            lport: subject.lport,
        }
    }

    /// Remembers where these sockets were opened.
    pub(super) fn opened_by(&mut self, members: &[&Member]) {
        let mut opened: Vec<_> = members.iter().map(|member| member.opened).collect();
        opened.sort_unstable();
        let places = opened.chunk_by(PartialEq::eq);
        self.opened = places.map(|same| (same[0], same.len() as u64)).collect();
    }

    /// Adds a number that the rule saw.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: u64) -> Self {
        self.evidence.push((name, Evidence::Number(value)));
        self
    }
}
