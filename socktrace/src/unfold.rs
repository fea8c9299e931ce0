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
    event::Event,
};

/// What happened to a young TCP socket so far, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life(LifeEvent);

/// Whether a record tells a life.
pub fn is_life(record: &[u8]) -> bool {
    Header::ref_from_prefix(record).is_ok_and(|(header, _)| header.kind == EventKind::Life as u16)
}

impl Life {
    /// Reads a record.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (life, _) =
            LifeEvent::read_from_prefix(bytes).map_err(|_| DecodeError::Truncated(bytes.len()))?;
        Self::new(life)
    }

    /// A record, or what the kernel side has of one that is not finished.
    pub fn new(mut life: LifeEvent) -> Result<Self, DecodeError> {
        // In the kernel's map the upper half says that it is being told.
        life.count = (life.count & u64::from(u32::MAX)).min(STEPS as u64);
        let life = Self(life);
        life.steps().iter().try_for_each(check)?;
        Ok(life)
    }

    /// First part of the record.
    pub fn header(&self) -> &Header {
        &self.0.header
    }

    /// Identity of the socket.
    pub fn id(&self) -> u64 {
        self.0.socket.id
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        usize::try_from(self.0.count).unwrap_or(STEPS)
    }

    /// A life without a step is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The socket has these addresses by now. The kernel side learns them late.
    pub fn place(&mut self, info: &SocketInfo) {
        let socket = &mut self.0.socket;
        if socket.lport == 0 && socket.rport == 0 {
            (socket.laddr, socket.raddr) = (info.laddr, info.raddr);
            (socket.lport, socket.rport) = (info.lport, info.rport);
            socket.family = info.family;
        }
    }

    /// Does it begin with the socket, or with the handshake that a listener answers, and end with its
    /// end, and that once?
    pub fn is_whole(&self) -> bool {
        let SocketInfo {
            id, family, proto, ..
        } = self.0.socket;
        let [first, between @ .., last] = self.steps() else {
            return false;
        };
        let amiss = |step: &Step| begins(step) || kind(step) == DESTROY;
        id != 0
            && Protocol::of(family, proto) == Protocol::Tcp
            && begins(first)
            && kind(last) == DESTROY
            && !between.iter().any(amiss)
    }

    /// The socket, as it was in the end.
    pub fn info(&self) -> &SocketInfo {
        &self.0.socket
    }

    /// The processes that made its calls, each as often as it comes after another.
    pub fn actors(&self) -> impl Iterator<Item = u32> {
        let calls = self
            .steps()
            .iter()
            .filter(|step| kind(step) != STATE && kind(step) != DESTROY);
        let mut last = 0;
        calls.filter_map(move |step| {
            let before = std::mem::replace(&mut last, step.tgid);
            (before != step.tgid).then_some(step.tgid)
        })
    }

    fn steps(&self) -> &[Step] {
        &self.0.steps[..self.len()]
    }

    /// The events of all steps but the first so many, as the kernel side would have told them.
    pub fn events(&self, from: usize) -> impl Iterator<Item = Event> {
        self.steps().iter().skip(from).map(|step| self.event(step))
    }

    fn event(&self, step: &Step) -> Event {
        let header = Header {
            mono_ns: self.0.began_ns.saturating_add(u64::from(step.after_ns)),
            kind: u16::from(kind(step)),
            tgid: step.tgid,
            tid: 0,
            stack: 0,
            ..self.0.header
        };
        let (socket, fd, value) = (self.0.socket, step.fd, i32::from(step.value));
        let [old, new] = states_of(step);
        match kind(step) {
            SOCKET => Event::Socket(SocketEvent {
                header,
                socket,
                fd,
                socket_type: value.unsigned_abs(),
            }),
            CONNECT => Event::Connect(ConnectEvent {
                header,
                socket,
                fd,
                ret: value,
                ..ConnectEvent::new_zeroed()
            }),
            ACCEPT => Event::Accept(AcceptEvent {
                header,
                socket,
                listener: self.0.listener,
                fd,
                pad: 0,
            }),
            CLOSE => Event::Close(CloseEvent {
                header,
                socket,
                fd,
                by: u32::from(step.states),
                references_left: i64::from(value),
            }),
            DESTROY => Event::Destroy(DestroyEvent {
                header,
                socket,
                error: value,
                pad: 0,
            }),
            // The only one that is left of those that may be steps.
            _ => Event::State(StateEvent {
                header,
                socket: SocketInfo {
                    state: old,
                    ..socket
                },
                bytes_acked: self.0.bytes_acked,
                bytes_received: self.0.bytes_received,
                old,
                new,
                flags: u16::from(step.kind >> 4),
                error: value,
                connect_fd: fd,
                pad: 0,
            }),
        }
    }
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

/// Is it the first thing that can happen to a socket?
fn begins(step: &Step) -> bool {
    let child = [TcpState::Listen as u8, TcpState::SynRecv as u8];
    kind(step) == SOCKET || kind(step) == STATE && states_of(step) == child
}

#[cfg(test)]
mod tests {
    use socktrace_common::{
        event::ClosedBy,
        socket::{FAMILY_IPV4, FAMILY_UNIX, PROTO_TCP},
    };
    use zerocopy::IntoBytes as _;

    use super::*;
    use crate::{change::Kind, table::SocketTable};

    fn step(after_ns: u32, kind: EventKind, value: i16, states: [TcpState; 2]) -> Step {
        Step {
            after_ns,
            tgid: 7,
            fd: 3,
            value,
            kind: kind as u8,
            states: states[0] as u8 | (states[1] as u8) << 4,
        }
    }

    /// A client whose connection is refused nothing and closed in order.
    fn client() -> LifeEvent {
        use TcpState::{Close, Established, FinWait1, FinWait2, SynSent};
        let mut life = LifeEvent::new_zeroed();
        life.header.kind = EventKind::Life as u16;
        life.socket = SocketInfo {
            id: 9,
            laddr: [127; 16],
            lport: 40_000,
            rport: 80,
            proto: PROTO_TCP,
            family: FAMILY_IPV4,
            ..SocketInfo::new_zeroed()
        };
        life.began_ns = 1_000;
        (life.bytes_acked, life.bytes_received) = (12, 1);
        let mut close = step(50, EventKind::Close, 0, [Close, Close]);
        close.states = ClosedBy::Close as u8;
        let steps = [
            step(10, EventKind::Socket, 1, [Close, Close]),
            step(20, EventKind::State, 0, [Close, SynSent]),
            step(30, EventKind::State, 0, [SynSent, Established]),
            step(40, EventKind::Connect, 0, [Close, Close]),
            close,
            step(51, EventKind::State, 0, [Established, FinWait1]),
            step(60, EventKind::State, 0, [FinWait1, FinWait2]),
            step(70, EventKind::State, 0, [FinWait2, Close]),
            step(71, EventKind::Destroy, 0, [Close, Close]),
        ];
        life.steps[..steps.len()].copy_from_slice(&steps);
        life.count = steps.len() as u64;
        life
    }

    fn kinds(life: &Life, from: usize) -> Vec<EventKind> {
        let events = life.events(from).map(|event| event.kind());
        events.collect()
    }

    #[test]
    fn a_life_is_the_events_that_it_is_made_of() {
        let life = Life::decode(client().as_bytes()).unwrap();
        let mut table = SocketTable::default();
        let mut changes = Vec::new();
        for event in life.events(0) {
            table.apply(&event, &mut changes);
        }
        let told: Vec<_> = changes.iter().map(|change| change.what.kind()).collect();
        assert_eq!(
            told,
            [
                Kind::Socket,
                Kind::State,
                Kind::State,
                Kind::Connect,
                Kind::Close,
                Kind::State,
                Kind::State,
                Kind::State,
                Kind::End
            ]
        );
        assert!(table.is_empty());
        let end = changes.last().unwrap();
        assert_eq!(end.mono_ns, 1_071);
        assert_eq!(end.socket.owner.as_ref().unwrap().pid, 7);
    }

    #[test]
    fn what_is_known_already_is_left_out() {
        let life = Life::decode(client().as_bytes()).unwrap();
        assert_eq!(kinds(&life, 7), [EventKind::State, EventKind::Destroy]);
        assert_eq!(kinds(&life, 99), []);
    }

    #[test]
    fn a_life_is_whole_from_one_beginning_to_one_end() {
        let is_whole = |change: fn(&mut LifeEvent)| {
            let mut life = client();
            change(&mut life);
            Life::new(life).unwrap().is_whole()
        };
        assert!(is_whole(|_| {}));
        // It is told when it has become old.
        assert!(!is_whole(|life| life.count -= 1));
        // io_uring tells of the socket after what it did with it.
        assert!(!is_whole(|life| life.steps.swap(0, 1)));
        assert!(!is_whole(|life| life.steps[3] = life.steps[0]));
        assert!(!is_whole(|life| life.steps[3] = life.steps[8]));
        assert!(!is_whole(|life| life.socket.id = 0));
        assert!(!is_whole(|life| life.socket.family = FAMILY_UNIX));
        assert!(!is_whole(|life| life.count = 0));
        let child = step(
            10,
            EventKind::State,
            0,
            [TcpState::Listen, TcpState::SynRecv],
        );
        let mut life = client();
        life.steps[0] = child;
        assert!(Life::new(life).unwrap().is_whole());
    }

    #[test]
    fn those_that_made_calls_are_named_once_in_a_row() {
        let mut life = client();
        for (step, tgid) in life.steps.iter_mut().zip([7, 9, 9, 7, 8, 9, 9, 9, 9]) {
            step.tgid = tgid;
        }
        let life = Life::new(life).unwrap();
        assert_eq!(life.actors().collect::<Vec<_>>(), [7, 8]);
    }

    #[test]
    fn one_that_is_being_told_has_as_many_steps_as_there_is_room() {
        let mut told = client();
        told.count = (1 << 32) + 12;
        for step in &mut told.steps {
            step.kind = EventKind::Destroy as u8;
        }
        assert_eq!(Life::new(told).unwrap().len(), STEPS);
    }

    #[test]
    fn addresses_come_late_and_stay() {
        let found = SocketInfo {
            lport: 1,
            rport: 2,
            ..client().socket
        };
        let mut young = client();
        (young.socket.lport, young.socket.rport) = (0, 0);
        for (life, expected) in [(young, [1, 2]), (client(), [40_000, 80])] {
            let mut life = Life::new(life).unwrap();
            life.place(&found);
            let Event::Socket(event) = life.events(0).next().unwrap() else {
                panic!("it begins with another event");
            };
            assert_eq!([event.socket.lport, event.socket.rport], expected);
        }
    }

    #[test]
    fn numbers_that_name_nothing_are_refused() {
        let mut life = client();
        life.steps[3].kind = EventKind::Fork as u8;
        assert_eq!(
            Life::decode(life.as_bytes()),
            Err(DecodeError::UnknownKind(EventKind::Fork as u16))
        );
        life = client();
        life.steps[1].states = TcpState::Close as u8 | (0xf << 4);
        assert_eq!(Life::new(life), Err(DecodeError::UnknownState(15)));
        let bytes = client();
        let bytes = &bytes.as_bytes()[..200];
        assert_eq!(Life::decode(bytes), Err(DecodeError::Truncated(200)));
        assert!(is_life(bytes) && !is_life(&bytes[..20]));
    }
}
