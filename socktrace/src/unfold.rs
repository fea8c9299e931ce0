//! A life that was told at once → the events that it is made of.

use socktrace_common::{
    event::{
        AcceptEvent, CloseEvent, ConnectEvent, DestroyEvent, EventKind, Header, LifeEvent, STEPS,
        SocketEvent, StateEvent, Step,
    },
    socket::{Protocol, SocketInfo, TcpState},
};
use zerocopy::{FromBytes as _, FromZeros as _};

use crate::{
    decode::{DecodeError, cause, returned, states},
    event::{Announced, Event},
};

/// What happened to a young TCP socket so far, checked; read where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life<'a> {
    told: &'a LifeEvent,
    steps: &'a [Step],
    is_whole: bool,
}

/// Whether a record tells a life.
pub fn is_life(record: &[u8]) -> bool {
    Header::ref_from_prefix(record).is_ok_and(|(header, _)| header.kind == EventKind::Life as u16)
}

/// The socket has these addresses by now. The kernel side learns them late.
pub fn place(life: &mut LifeEvent, info: &SocketInfo) {
    let socket = &mut life.socket;
    if socket.lport == 0 && socket.rport == 0 {
        (socket.laddr, socket.raddr) = (info.laddr, info.raddr);
        (socket.lport, socket.rport) = (info.lport, info.rport);
        socket.family = info.family;
    }
}

impl<'a> Life<'a> {
    /// Reads a record, which begins at a multiple of 8 bytes, as those in the ring and in recordings do.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (life, _) =
            LifeEvent::ref_from_prefix(bytes).map_err(|_| DecodeError::Truncated(bytes.len()))?;
        Self::new(life)
    }

    /// A record, or what the kernel side has of one that is not finished.
    pub fn new(told: &'a LifeEvent) -> Result<Self, DecodeError> {
        // In the kernel's map the upper half says that it is being told.
        let count = usize::try_from(told.count & u64::from(u32::MAX)).unwrap_or(STEPS);
        let steps = &told.steps[..count.min(STEPS)];
        let mut ends = 0;
        for step in steps {
            check(step)?;
            ends += usize::from(makes(step) || kind(step) == DESTROY);
        }
        let is_whole = is_whole(&told.socket, steps, ends);
        Ok(Self {
            told,
            steps,
            is_whole,
        })
    }

    /// First part of the record.
    pub fn header(&self) -> &Header {
        &self.told.header
    }

    /// Identity of the socket.
    pub fn id(&self) -> u64 {
        self.told.socket.id
    }

    /// When its first step was: `CLOCK_MONOTONIC`, nanoseconds.
    pub fn began_ns(&self) -> u64 {
        self.steps
            .first()
            .map_or(self.told.began_ns, |step| self.time(step))
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// A life without a step is none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Does it begin with the socket, with its connect, or with the handshake that a listener answers, and
    /// end with its end, and that once?
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The socket, as it was in the end.
    pub fn info(&self) -> &SocketInfo {
        &self.told.socket
    }

    /// Was the socket there before?
    pub fn is_of_older(&self) -> bool {
        self.steps.first().is_some_and(connects)
    }

    /// The processes that made its calls, each as often as it comes after another.
    pub fn actors(&self) -> impl Iterator<Item = u32> {
        let calls = self
            .steps
            .iter()
            .filter(|step| kind(step) != STATE && kind(step) != DESTROY);
        let mut last = 0;
        calls.filter_map(move |step| {
            let before = std::mem::replace(&mut last, step.tgid);
            (before != step.tgid).then_some(step.tgid)
        })
    }

    /// What happened, step by step.
    pub fn deeds(&self) -> impl Iterator<Item = Deed> {
        self.steps.iter().map(|step| self.deed(step))
    }

    /// The events of all steps but the first so many, as the kernel side would have told them.
    pub fn events(&self, from: usize) -> impl Iterator<Item = Event> {
        let steps = self.steps.iter().skip(from);
        steps.map(|step| self.event(&self.deed(step)))
    }

    fn time(&self, step: &Step) -> u64 {
        self.told.began_ns.saturating_add(u64::from(step.after_ns))
    }

    #[inline]
    fn deed(&self, step: &Step) -> Deed {
        let value = i32::from(step.value);
        let [old, new] = states_of(step);
        Deed {
            header: Header {
                mono_ns: self.time(step),
                kind: u16::from(kind(step)),
                tgid: step.tgid,
                tid: 0,
                stack: 0,
                ..self.told.header
            },
            fd: step.fd,
            did: match kind(step) {
                SOCKET => Did::Create {
                    socket_type: value.unsigned_abs(),
                },
                CONNECT => Did::Connect { ret: value },
                ACCEPT => Did::Accept {
                    listener: self.told.listener,
                },
                CLOSE => Did::Close {
                    by: u32::from(step.states),
                    references_left: i64::from(value),
                },
                DESTROY => Did::End { error: value },
                // The only one that is left of those that may be steps.
                _ => Did::Change(Announced {
                    old,
                    new,
                    flags: u16::from(step.kind >> 4),
                    error: value,
                    is_bound: self.told.socket.lport != 0,
                    bytes_acked: self.told.bytes_acked,
                    bytes_received: self.told.bytes_received,
                }),
            },
        }
    }

    fn event(&self, deed: &Deed) -> Event {
        let (socket, Deed { header, fd, did }) = (self.told.socket, *deed);
        match did {
            Did::Create { socket_type } => Event::Socket(SocketEvent {
                header,
                socket,
                fd,
                socket_type,
            }),
            Did::Connect { ret } => Event::Connect(ConnectEvent {
                header,
                socket,
                fd,
                ret,
                ..ConnectEvent::new_zeroed()
            }),
            Did::Accept { listener } => Event::Accept(AcceptEvent {
                header,
                socket,
                listener,
                fd,
                pad: 0,
            }),
            Did::Change(announced) => Event::State(StateEvent {
                header,
                socket: SocketInfo {
                    state: announced.old,
                    ..socket
                },
                bytes_acked: announced.bytes_acked,
                bytes_received: announced.bytes_received,
                old: announced.old,
                new: announced.new,
                flags: announced.flags,
                error: announced.error,
                connect_fd: fd,
                pad: 0,
            }),
            Did::Close {
                by,
                references_left,
            } => Event::Close(CloseEvent {
                header,
                socket,
                fd,
                by,
                references_left,
            }),
            Did::End { error } => Event::Destroy(DestroyEvent {
                header,
                socket,
                error,
                pad: 0,
            }),
        }
    }
}

/// A step of a life: what an event would say, less what all of the life's would say of the socket.
#[derive(Clone, Copy, Debug)]
pub struct Deed {
    /// First part of what its record would be.
    pub header: Header,
    /// The descriptor of the call; of a state change that of the `connect()` that runs, or -1.
    pub fd: i32,
    /// What happened.
    pub did: Did,
}

/// What happened in a step, with the fields of the event of that kind.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "named after those of the events")]
pub enum Did {
    Create { socket_type: u32 },
    Connect { ret: i32 },
    Accept { listener: u64 },
    Change(Announced),
    Close { by: u32, references_left: i64 },
    End { error: i32 },
}

const SOCKET: u8 = EventKind::Socket as u8;
const CONNECT: u8 = EventKind::Connect as u8;
const ACCEPT: u8 = EventKind::Accept as u8;
const STATE: u8 = EventKind::State as u8;
const CLOSE: u8 = EventKind::Close as u8;
const DESTROY: u8 = EventKind::Destroy as u8;

fn kind(step: &Step) -> u8 {
    step.kind & 15
}

/// The old one and the new one.
fn states_of(step: &Step) -> [u8; 2] {
    [step.states & 15, step.states >> 4]
}

/// Numbers that later stages take for granted.
fn check(step: &Step) -> Result<(), DecodeError> {
    match kind(step) {
        SOCKET | ACCEPT | DESTROY => Ok(()),
        CONNECT => returned(i32::from(step.value)),
        STATE => states(states_of(step)),
        CLOSE => cause(u32::from(step.states)),
        other => Err(DecodeError::UnknownKind(u16::from(other))),
    }
}

/// See [`Life::is_whole`]; `ends` of its steps make a socket or end it.
fn is_whole(socket: &SocketInfo, steps: &[Step], ends: usize) -> bool {
    let [first, .., last] = steps else {
        return false;
    };
    socket.id != 0
        && Protocol::of(socket.family, socket.proto) == Protocol::Tcp
        && kind(last) == DESTROY
        && (makes(first) && ends == 2 || connects(first) && ends == 1)
}

/// Does it make a socket?
fn makes(step: &Step) -> bool {
    kind(step) == SOCKET || changes(step, [TcpState::Listen, TcpState::SynRecv])
}

/// Is it the first that the kernel side tells of a client, if it tells connections only?
fn connects(step: &Step) -> bool {
    changes(step, [TcpState::Close, TcpState::SynSent])
}

fn changes(step: &Step, states: [TcpState; 2]) -> bool {
    kind(step) == STATE && states_of(step) == states.map(|it| it as u8)
}

#[cfg(test)]
mod tests;
