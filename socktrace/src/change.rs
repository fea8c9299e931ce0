//! What happened to a socket, as people see it: the rows of `trace`.

mod view;

use socktrace_common::socket::TcpState;

pub use self::view::View;
pub use crate::endpoint::{Endpoint, Family, Names, Protocol, UnixName, state_word};

/// One row.
#[derive(Clone, Debug)]
pub struct Change {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub mono_ns: u64,
    /// The socket after the change; empty for [`What::Lost`].
    pub socket: View,
    /// The process that acted, where the kernel can know it.
    pub actor: Option<u32>,
    /// The thread that acted, likewise.
    pub tid: Option<u32>,
    /// The descriptor that the call was about, or under which the owner holds the socket.
    pub fd: Option<i32>,
    /// What happened.
    pub what: What,
}

/// How an owner is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// Seen when it created, connected or accepted the socket.
    Exact,
    /// Found by a snapshot.
    Adopted,
    /// Not known.
    #[default]
    Unknown,
}

/// Which end of a connection a socket is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// It connected.
    Client,
    /// It came out of a listener.
    Server,
    /// It listens.
    Listener,
    /// It did none of these while we looked.
    #[default]
    Unknown,
}

/// Why a socket ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reason {
    /// In an orderly way, or it was never connected.
    Closed,
    /// The peer reset the connection.
    Reset,
    /// The peer did not answer.
    Timeout,
    /// Nobody listened there.
    Refused,
    /// This side gave it up: closed with data unread or `SO_LINGER` 0, or killed.
    Aborted,
    /// None of these is sure.
    #[default]
    Unknown,
}

/// What made a holder let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the calls")]
pub enum By {
    Close,
    Dup,
    Exec,
    CloseRange,
    Exit,
}

/// How a connection went, once it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// From its establishment, or where it never was established from its beginning;
    /// nanoseconds. `None` for a connection older than we are.
    pub duration_ns: Option<u64>,
    /// Why it is over.
    pub reason: Reason,
    /// Bytes that the peer acknowledged, and bytes received.
    pub bytes: Bytes,
}

/// Payload in both directions, without SYN and FIN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Acknowledged by the peer.
    pub sent: u64,
    /// Received in order.
    pub received: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A process created the socket.
    Socket {
        /// `SOCK_*`.
        socket_type: u32,
    },
    /// `bind()` returned.
    Bind {
        /// Positive errno.
        error: Option<i32>,
        /// The port that it asked for if it failed, where that is known: 0 for any.
        asked: Option<u16>,
    },
    /// `listen()` returned.
    Listen {
        /// As the program gave it; the kernel caps it at `net.core.somaxconn`.
        backlog: i32,
        /// Positive errno.
        error: Option<i32>,
    },
    /// The outcome of an active open is known.
    Connect {
        /// Positive errno.
        error: Option<i32>,
        /// From the call to the outcome, nanoseconds.
        latency_ns: Option<u64>,
    },
    /// `accept()` returned the socket.
    Accept {
        /// Time in the accept queue, nanoseconds.
        queued_ns: Option<u64>,
        /// The listener's cookie.
        listener: Option<u64>,
    },
    /// A TCP transition.
    State {
        /// The old state.
        old: TcpState,
        /// The new state. `TimeWait` when a timewait socket takes over the port.
        new: TcpState,
        /// Time in the old state, nanoseconds.
        in_old_ns: Option<u64>,
        /// For the last transition of a connection.
        outcome: Option<Outcome>,
        /// The socket's part in the connection.
        role: Role,
    },
    /// A holder let go.
    Close {
        /// What made it.
        by: By,
        /// References to the open file that remain.
        holders_left: Option<u64>,
    },
    /// The socket is gone.
    End {
        /// From its creation, nanoseconds; `None` if it is older than we are.
        lifetime_ns: Option<u64>,
        /// What it was.
        role: Role,
        /// Why it ended.
        reason: Reason,
        /// `None` if its end was not seen in full.
        bytes: Option<Bytes>,
    },
    /// A snapshot taught what no event told.
    Snapshot {
        /// What it taught.
        learned: Learned,
        /// The state that the table had; `None` of what has none.
        old: Option<TcpState>,
        /// The state in the snapshot; likewise.
        new: Option<TcpState>,
        /// How old the socket is at least, nanoseconds.
        age_ns: Option<u64>,
        /// How long it has been in its state at least, nanoseconds.
        in_state_ns: Option<u64>,
    },
    /// Events were lost here.
    Lost {
        /// How many.
        count: u64,
        /// Where.
        place: Place,
    },
}

/// What a snapshot teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Learned {
    /// A socket is open that no event told of.
    Open,
    /// A socket is gone, and no event told of its end.
    Gone,
    /// It is in another state.
    State,
    /// It has a port that no event told of.
    Address,
    /// Somebody holds a socket that had no owner.
    Owner,
    /// Others hold it than was known.
    Holders,
    /// A port is, or is no more, kept by a connection that is over.
    TimeWait,
}

/// Where events are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The ring buffer had no room; the CPU that wanted to write.
    Ring(u16),
    /// A map of the kernel side had no room.
    Map,
    /// The kernel skipped a program that already ran.
    Recursion,
    /// A record made no sense.
    Decode,
}

/// Turns an enum without data into the words that users see, once.
macro_rules! words {
    ($($kind:ty { $($variant:ident => $word:literal),+ $(,)? })+) => {
        $(impl $kind {
            /// Every one of them.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The word for it in output and filters.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        })+
    };
}

words! {
    Ownership { Exact => "exact", Adopted => "adopted", Unknown => "unknown" }
    Role { Client => "client", Server => "server", Listener => "listener", Unknown => "unknown" }
    Reason {
        Closed => "closed",
        Reset => "reset",
        Timeout => "timeout",
        Refused => "refused",
        Aborted => "aborted",
        Unknown => "unknown",
    }
    Learned {
        Open => "open",
        Gone => "gone",
        State => "state",
        Address => "address",
        Owner => "owner",
        Holders => "holders",
        TimeWait => "time_wait",
    }
    By {
        Close => "close",
        Dup => "dup",
        Exec => "exec",
        CloseRange => "close_range",
        Exit => "exit",
    }
}

impl Place {
    /// The word for it in output and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ring(_) => "ring",
            Self::Map => "map",
            Self::Recursion => "recursion",
            Self::Decode => "decode",
        }
    }
}

/// The kinds of row, for `--event` and for the `event` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Kind {
    /// A process created a socket
    Socket,
    /// `bind()` returned
    Bind,
    /// `listen()` returned
    Listen,
    /// The outcome of an active open is known
    Connect,
    /// `accept()` returned a socket
    Accept,
    /// A TCP state changed
    State,
    /// A holder let go of a socket
    Close,
    /// A socket is gone
    End,
    /// What is open already, and what else no event told
    Snapshot,
    /// Events were lost here
    Lost,
}

impl Kind {
    /// What there is to tell of a socket, in the order of its life: each is at its own number.
    pub const OF_SOCKETS: [Self; 9] = [
        Self::Socket,
        Self::Bind,
        Self::Listen,
        Self::Connect,
        Self::Accept,
        Self::State,
        Self::Close,
        Self::End,
        Self::Snapshot,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Bind => "bind",
            Self::Listen => "listen",
            Self::Connect => "connect",
            Self::Accept => "accept",
            Self::State => "state",
            Self::Close => "close",
            Self::End => "end",
            Self::Snapshot => "snapshot",
            Self::Lost => "lost",
        }
    }
}

impl What {
    /// Is it a call that only an owner makes, or that makes one?
    pub fn makes_owner(&self) -> bool {
        matches!(
            self.kind(),
            Kind::Socket | Kind::Listen | Kind::Connect | Kind::Accept
        )
    }

    /// Is it what makes a socket a client, a server or a listener?
    pub fn takes_part(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Accept { .. } => true,
            Self::Listen { error, .. } => error.is_none(),
            _ => false,
        }
    }

    /// The kind of row.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Socket { .. } => Kind::Socket,
            Self::Bind { .. } => Kind::Bind,
            Self::Listen { .. } => Kind::Listen,
            Self::Connect { .. } => Kind::Connect,
            Self::Accept { .. } => Kind::Accept,
            Self::State { .. } => Kind::State,
            Self::Close { .. } => Kind::Close,
            Self::End { .. } => Kind::End,
            Self::Snapshot { .. } => Kind::Snapshot,
            Self::Lost { .. } => Kind::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_sockets_are_at_their_own_numbers() {
        for (place, kind) in Kind::OF_SOCKETS.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
        assert!(Kind::Lost as usize >= Kind::OF_SOCKETS.len());
    }
}
