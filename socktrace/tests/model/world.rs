//! A kernel that is as simple as can be: processes, descriptors, sockets. What it does it writes into
//! its own books, and says in events as the hooks would.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use socktrace::{event::Event, source::Adopted};
use socktrace_common::{
    event::{
        AcceptEvent, CallEvent, CloseEvent, ClosedBy, ConnectEvent, DESCRIPTOR_WORDS, DestroyEvent,
        EventKind, ExecEvent, ForkEvent, Header, ProcessEvent, SocketEvent, StateEvent,
    },
    socket::{FAMILY_IPV4, PROTO_TCP, PROTO_UDP, SocketInfo, TcpState},
};
use zerocopy::FromZeros as _;

use TcpState::{
    Close, CloseWait, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv, SynSent,
};

/// Whoever is interrupted by what the network does.
const SOMEBODY: u32 = 9_999;
const ECONNREFUSED: i32 = 111;
/// Numbers are used again soon.
const PIDS: u32 = 6;

/// A process: its number, and when it began.
pub(crate) type Owner = (u32, u64);

/// What is true of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Truth {
    pub(crate) tcp: bool,
    pub(crate) state: TcpState,
    pub(crate) owner: Option<Owner>,
    pub(crate) holders: BTreeSet<(u32, i32)>,
    /// The listener that it came from, until somebody accepts it.
    waits_at: Option<u64>,
    lport: u16,
    rport: u16,
}

#[derive(Debug, Default)]
struct Process {
    start_ns: u64,
    fds: BTreeMap<i32, u64>,
}

/// What may happen. Numbers pick among what there is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    Spawn,
    Socket { by: usize, tcp: bool },
    Connect { which: usize, refused: bool },
    Answered { which: usize },
    Listen { which: usize },
    Arrives { which: usize },
    Accept { which: usize },
    PeerCloses { which: usize },
    Acknowledged { which: usize },
    Close { which: usize },
    Fork { by: usize },
    Exec { by: usize, keeps: u64 },
    Exit { by: usize },
}

/// Mostly what makes connections.
pub(crate) fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let n = any::<usize>;
    let deed = prop_oneof![
        2 => Just(Deed::Spawn),
        8 => (n(), prop::bool::weighted(0.8)).prop_map(|(by, tcp)| Deed::Socket { by, tcp }),
        6 => (n(), prop::bool::weighted(0.2))
            .prop_map(|(which, refused)| Deed::Connect { which, refused }),
        6 => n().prop_map(|which| Deed::Answered { which }),
        3 => n().prop_map(|which| Deed::Listen { which }),
        6 => n().prop_map(|which| Deed::Arrives { which }),
        6 => n().prop_map(|which| Deed::Accept { which }),
        3 => n().prop_map(|which| Deed::PeerCloses { which }),
        6 => n().prop_map(|which| Deed::Acknowledged { which }),
        8 => n().prop_map(|which| Deed::Close { which }),
        2 => n().prop_map(|by| Deed::Fork { by }),
        2 => (n(), any::<u64>()).prop_map(|(by, keeps)| Deed::Exec { by, keeps }),
        2 => n().prop_map(|by| Deed::Exit { by }),
    ];
    prop::collection::vec(deed, 1..120)
}

/// The books, and what was said so far.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) sockets: BTreeMap<u64, Truth>,
    pub(crate) told: Vec<Event>,
    /// Every socket that ever was.
    pub(crate) ever: u64,
    processes: BTreeMap<u32, Process>,
    now: u64,
}

impl World {
    pub(crate) fn after(deeds: &[Deed]) -> Self {
        let mut world = Self::default();
        for deed in deeds {
            world.takes_place(*deed);
        }
        world
    }

    /// A time after all that was told.
    pub(crate) fn later(&mut self) -> u64 {
        self.now += 1_000;
        self.now
    }

    /// What a snapshot shows.
    pub(crate) fn shown(&self) -> Vec<Adopted> {
        let show = |(&id, truth): (&u64, &Truth)| Adopted {
            socket: info(id, truth),
            holders: truth.holders.iter().copied().collect(),
            served: false,
            born_ns: self.now,
            state_since_ns: self.now,
            until_ns: None,
            name: None,
        };
        self.sockets.iter().map(show).collect()
    }

    fn header(&mut self, kind: EventKind, tgid: u32) -> Header {
        Header {
            mono_ns: self.later(),
            kind: kind as u16,
            tgid,
            tid: tgid,
            ..Header::new_zeroed()
        }
    }

    fn info(&self, id: u64) -> SocketInfo {
        info(id, &self.sockets[&id])
    }

    fn process(&self, by: usize) -> Option<u32> {
        pick(self.processes.keys().copied().collect(), by)
    }

    /// A descriptor, of those that refer to a socket that is as it should be.
    fn held(&self, which: usize, is: impl Fn(&Truth) -> bool) -> Option<(u32, i32, u64)> {
        let held = self
            .processes
            .iter()
            .flat_map(|(&pid, process)| process.fds.iter().map(move |(&fd, &id)| (pid, fd, id)));
        pick(held.filter(|it| is(&self.sockets[&it.2])).collect(), which)
    }

    fn one(&self, which: usize, is: impl Fn(&Truth) -> bool) -> Option<u64> {
        let sockets = self.sockets.iter().filter(|it| is(it.1));
        pick(sockets.map(|it| *it.0).collect(), which)
    }

    fn takes_place(&mut self, deed: Deed) {
        // What finds nobody to do it, or nothing to be done to, does not take place.
        _ = match deed {
            Deed::Spawn => self.spawn(),
            Deed::Socket { by, tcp } => self.process(by).map(|pid| self.socket(pid, tcp)),
            Deed::Connect { which, refused } => self.connect(which, refused),
            Deed::Answered { which } => self
                .one(which, |it| matches!(it.state, SynSent | SynRecv) && it.tcp)
                .map(|id| self.state(id, SOMEBODY, Established, 0)),
            Deed::Listen { which } => self.listen(which),
            Deed::Arrives { which } => self.arrives(which),
            Deed::Accept { which } => self.accept(which),
            Deed::PeerCloses { which } => self
                .one(which, |it| it.state == Established && it.tcp)
                .map(|id| self.state(id, SOMEBODY, CloseWait, 0)),
            Deed::Acknowledged { which } => self.acknowledged(which),
            Deed::Close { which } => self
                .held(which, |_| true)
                .map(|(pid, fd, id)| self.close(pid, fd, id)),
            Deed::Fork { by } => self.fork(by),
            Deed::Exec { by, keeps } => self.exec(by, keeps),
            Deed::Exit { by } => self.process(by).map(|pid| self.exit(pid)),
        };
    }

    fn spawn(&mut self) -> Option<()> {
        let pid = (1..=PIDS).find(|pid| !self.processes.contains_key(pid))?;
        let header = self.header(EventKind::Process, pid);
        self.begin(pid);
        self.told.push(Event::Process(ProcessEvent {
            header,
            start_ns: self.now,
            comm: *b"name\0\0\0\0\0\0\0\0\0\0\0\0",
        }));
        Some(())
    }

    fn begin(&mut self, pid: u32) {
        let process = Process {
            start_ns: self.now,
            ..Process::default()
        };
        self.processes.insert(pid, process);
    }

    /// A new socket, in a process's lowest free descriptor if it has one.
    fn open(&mut self, pid: Option<u32>, truth: Truth) -> (u64, i32) {
        self.ever += 1;
        let id = self.ever;
        self.sockets.insert(id, truth);
        let fd = pid.map_or(-1, |pid| self.hold(pid, id));
        (id, fd)
    }

    fn hold(&mut self, pid: u32, id: u64) -> i32 {
        let process = self.processes.get_mut(&pid).unwrap();
        let fd = (3..i32::MAX)
            .find(|fd| !process.fds.contains_key(fd))
            .unwrap();
        process.fds.insert(fd, id);
        let truth = self.sockets.get_mut(&id).unwrap();
        truth.holders.insert((pid, fd));
        truth.owner = truth.owner.or(Some((pid, process.start_ns)));
        fd
    }

    fn socket(&mut self, pid: u32, tcp: bool) {
        let (id, fd) = self.open(Some(pid), Truth::new(tcp, Close));
        let event = SocketEvent {
            header: self.header(EventKind::Socket, pid),
            socket: self.info(id),
            fd,
            socket_type: 1,
        };
        self.told.push(Event::Socket(event));
    }

    fn connect(&mut self, which: usize, refused: bool) -> Option<()> {
        let (pid, fd, id) = self.held(which, |it| it.tcp && it.state == Close && it.rport == 0)?;
        (self.truth(id).lport, self.truth(id).rport) = (40_000, 80);
        self.state(id, pid, SynSent, 0);
        let mut ret = -115;
        if refused {
            self.state(id, SOMEBODY, Close, ECONNREFUSED);
            ret = -ECONNREFUSED;
        }
        let event = ConnectEvent {
            header: self.header(EventKind::Connect, pid),
            socket: self.info(id),
            fd,
            ret,
            ..ConnectEvent::new_zeroed()
        };
        self.told.push(Event::Connect(event));
        Some(())
    }

    fn listen(&mut self, which: usize) -> Option<()> {
        let (pid, fd, id) = self.held(which, |it| it.tcp && it.state == Close && it.rport == 0)?;
        self.truth(id).lport = 80;
        self.state(id, pid, Listen, 0);
        let event = CallEvent {
            header: self.header(EventKind::Listen, pid),
            socket: self.info(id),
            fd,
            ret: 0,
            arg: 128,
            pad: 0,
        };
        self.told.push(Event::Listen(event));
        Some(())
    }

    /// A child of a listener begins as its copy.
    fn arrives(&mut self, which: usize) -> Option<()> {
        let listener = self.one(which, |it| it.state == Listen)?;
        let mut child = Truth::new(true, Listen);
        (child.lport, child.rport) = (80, 40_000);
        child.waits_at = Some(listener);
        let (id, _) = self.open(None, child);
        self.state(id, SOMEBODY, SynRecv, 0);
        Some(())
    }

    fn accept(&mut self, which: usize) -> Option<()> {
        let (pid, _, listener) = self.held(which, |it| it.state == Listen)?;
        let waits = |it: &Truth| it.waits_at == Some(listener) && it.state != SynRecv;
        let id = self.one(which, waits)?;
        self.truth(id).waits_at = None;
        let fd = self.hold(pid, id);
        let event = AcceptEvent {
            header: self.header(EventKind::Accept, pid),
            socket: self.info(id),
            listener,
            fd,
            pad: 0,
        };
        self.told.push(Event::Accept(event));
        Some(())
    }

    /// The other side answers what nobody here waits for any more.
    fn acknowledged(&mut self, which: usize) -> Option<()> {
        let id = self.one(which, |it| {
            matches!(it.state, FinWait1 | FinWait2 | LastAck)
        })?;
        if self.sockets[&id].state == FinWait1 {
            self.state(id, SOMEBODY, FinWait2, 0);
        } else {
            self.state(id, SOMEBODY, Close, 0);
            self.destroy(id);
        }
        Some(())
    }

    fn close(&mut self, pid: u32, fd: i32, id: u64) {
        let left = self.sockets[&id].holders.len() - 1;
        let event = CloseEvent {
            header: self.header(EventKind::Close, pid),
            socket: self.info(id),
            fd,
            by: ClosedBy::Close as u32,
            references_left: i64::try_from(left).unwrap(),
        };
        self.told.push(Event::Close(event));
        self.let_go(pid, fd);
    }

    fn let_go(&mut self, pid: u32, fd: i32) {
        let process = self.processes.get_mut(&pid).unwrap();
        let id = process.fds.remove(&fd).unwrap();
        self.truth(id).holders.remove(&(pid, fd));
        if self.sockets[&id].holders.is_empty() {
            self.released(id, pid);
        }
    }

    /// Nobody holds it any more.
    fn released(&mut self, id: u64, pid: u32) {
        match self.sockets[&id].state {
            Established | SynRecv if self.sockets[&id].tcp => self.state(id, pid, FinWait1, 0),
            CloseWait => self.state(id, pid, LastAck, 0),
            Listen => {
                let waiting = self.sockets.iter().filter(|it| it.1.waits_at == Some(id));
                for child in waiting.map(|it| *it.0).collect::<Vec<_>>() {
                    if !matches!(self.sockets[&child].state, Close) {
                        self.state(child, pid, Close, 0);
                    }
                    self.destroy(child);
                }
                self.state(id, pid, Close, 0);
                self.destroy(id);
            }
            SynSent => {
                self.state(id, pid, Close, 0);
                self.destroy(id);
            }
            _ => self.destroy(id),
        }
    }

    fn destroy(&mut self, id: u64) {
        let event = DestroyEvent {
            header: self.header(EventKind::Destroy, SOMEBODY),
            socket: self.info(id),
            error: 0,
            pad: 0,
        };
        self.told.push(Event::Destroy(event));
        self.sockets.remove(&id);
    }

    fn fork(&mut self, by: usize) -> Option<()> {
        let parent = self.process(by)?;
        let child = (1..=PIDS).find(|pid| !self.processes.contains_key(pid))?;
        let header = self.header(EventKind::Fork, parent);
        self.begin(child);
        let fds = self.processes[&parent].fds.clone();
        for (&fd, &id) in &fds {
            self.truth(id).holders.insert((child, fd));
        }
        self.processes.get_mut(&child)?.fds = fds;
        self.told.push(Event::Fork(ForkEvent {
            header,
            start_ns: self.now,
            comm: *b"child\0\0\0\0\0\0\0\0\0\0\0",
            child,
            shares_descriptors: 0,
        }));
        Some(())
    }

    fn exec(&mut self, by: usize, keeps: u64) -> Option<()> {
        let pid = self.process(by)?;
        let mut open = [0; DESCRIPTOR_WORDS];
        open[0] = keeps;
        let header = self.header(EventKind::Exec, pid);
        self.told.push(Event::Exec(ExecEvent {
            header,
            comm: *b"other\0\0\0\0\0\0\0\0\0\0\0",
            open,
        }));
        let fds: Vec<i32> = self.processes[&pid].fds.keys().copied().collect();
        for fd in fds {
            if fd >= 64 || keeps & (1 << fd) == 0 {
                self.let_go(pid, fd);
            }
        }
        Some(())
    }

    fn exit(&mut self, pid: u32) {
        let header = self.header(EventKind::Exit, pid);
        self.told.push(Event::Exit(header));
        let fds: Vec<i32> = self.processes[&pid].fds.keys().copied().collect();
        for fd in fds {
            self.let_go(pid, fd);
        }
        self.processes.remove(&pid);
    }

    fn truth(&mut self, id: u64) -> &mut Truth {
        self.sockets.get_mut(&id).unwrap()
    }

    /// Announces a change, then makes it.
    fn state(&mut self, id: u64, tgid: u32, new: TcpState, error: i32) {
        let old = self.sockets[&id].state;
        let event = StateEvent {
            header: self.header(EventKind::State, tgid),
            socket: self.info(id),
            old: old as u8,
            new: new as u8,
            error,
            connect_fd: -1,
            ..StateEvent::new_zeroed()
        };
        self.told.push(Event::State(event));
        self.truth(id).state = new;
    }
}

impl Truth {
    fn new(tcp: bool, state: TcpState) -> Self {
        Self {
            tcp,
            state,
            owner: None,
            holders: BTreeSet::new(),
            waits_at: None,
            lport: 0,
            rport: 0,
        }
    }
}

fn info(id: u64, truth: &Truth) -> SocketInfo {
    SocketInfo {
        id,
        lport: truth.lport,
        rport: truth.rport,
        proto: if truth.tcp { PROTO_TCP } else { PROTO_UDP },
        family: FAMILY_IPV4,
        state: truth.state as u8,
        netns: 1,
        inode: u32::try_from(id).unwrap(),
        ..SocketInfo::new_zeroed()
    }
}

fn pick<T>(mut from: Vec<T>, which: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(which % from.len()))
}
