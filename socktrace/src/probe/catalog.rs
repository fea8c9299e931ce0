//! THE table of hooks: what each is attached to, since which kernel, what is lost without it.
//!
//! With `socktrace-ebpf/src/kernel/`, the only place that knows kernel versions.

use socktrace_common::event::EventKind::{
    self, Accept, Bind, Close, Connect, Descriptors, Destroy, Exec, Exit, Fork, Listen, Name,
    Socket, State,
};

use crate::endpoint::Protocol;

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// A raw tracepoint with typed arguments (5.5 and BTF).
    TpBtf(&'static str),
    /// The same, where it has a name that it did not always have: the name now, and before.
    Renamed(&'static str, &'static str),
    /// A classic tracepoint: needs a readable tracefs.
    Tracepoint(&'static str, &'static str),
    /// `cgroup/sock_create` or `cgroup/sock_release` at the root of cgroup v2, as the program says.
    CgroupSock,
}

/// What becomes of a run in which the hook cannot be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing can be told without it.
    Required,
    /// One thing is lost, as the sentence says.
    Optional(&'static str),
}

/// One hook.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Its name for people, in `doctor` and in metrics.
    pub name: &'static str,
    /// The program in the object.
    pub program: &'static str,
    /// What it is attached to.
    pub attach: Attach,
    /// The kernel that has this attach point first.
    pub since: &'static str,
    /// Required or optional.
    pub need: Need,
    /// The kinds of record it brings: it is attached if one of them is wanted.
    pub kinds: &'static [EventKind],
    /// Bits of the protocols of which it tells: it is attached if one of them is wanted.
    pub protocols: u32,
    /// A classic tracepoint that does the same, if a worse job of it.
    pub fallback: Option<Fallback>,
}

/// Of sockets of every protocol.
const ANY: u32 = u32::MAX;
/// Of TCP only.
const TCP: u32 = Protocol::Tcp.bit();
/// Of Unix sockets.
const UNIX: u32 = Protocol::Unix.bit();
/// Of what runs over IPv4 and IPv6, and over nothing else.
pub(super) const OVER_IP: u32 = TCP
    | Protocol::Udp.bit()
    | Protocol::UdpLite.bit()
    | Protocol::Mptcp.bit()
    | Protocol::Raw.bit();
/// Of what else than TCP runs over IPv4 and IPv6. Other protocols may.
const OTHERS_OVER_IP: u32 = OVER_IP & !TCP | Protocol::Other.bit();

impl Hook {
    /// Does every system call of the machine pass by where it is attached?
    pub fn is_of_calls(&self) -> bool {
        matches!(self.attach, Attach::Tracepoint("syscalls", _))
    }

    /// Is it of use for these kinds of record (bits) of sockets of these protocols (bits)?
    pub fn is_wanted(&self, kinds: u32, protocols: u32) -> bool {
        self.protocols & protocols != 0 && self.kinds.iter().any(|kind| kinds & kind.bit() != 0)
    }
}

/// What to attach where the typed tracepoint cannot be.
#[derive(Clone, Copy, Debug)]
pub struct Fallback {
    /// The program in the object.
    pub program: &'static str,
    /// Category and name of the classic tracepoint.
    pub tracepoint: (&'static str, &'static str),
}

/// What the fallback costs, for `doctor`.
pub const FALLBACK_COSTS: &str = "60 ns instead of 37 for each state change, sockets without \
    cookies, and events lost whenever another tracing program runs on the CPU";

const fn syscall(
    name: &'static str,
    program: &'static str,
    kinds: &'static [EventKind],
    lost: &'static str,
) -> Hook {
    Hook {
        name,
        program,
        attach: Attach::Tracepoint("syscalls", name),
        since: "4.7",
        need: Need::Optional(lost),
        kinds,
        protocols: ANY,
        fallback: None,
    }
}

const fn typed(
    name: &'static str,
    since: &'static str,
    need: Need,
    kinds: &'static [EventKind],
    fallback: Option<Fallback>,
) -> Hook {
    Hook {
        name,
        program: name,
        attach: Attach::TpBtf(name),
        since,
        need,
        kinds,
        protocols: ANY,
        fallback,
    }
}

/// Every hook, in the order in which they are attached: what ends a life before what begins one,
/// so that nothing is seen to begin whose end could be missed.
pub const CATALOG: &[Hook] = &[
    Hook {
        protocols: TCP,
        ..typed(
            "tcp_destroy_sock",
            "5.5",
            Need::Required,
            &[Destroy],
            Some(Fallback {
                program: "tcp_destroy_sock_tp",
                tracepoint: ("tcp", "tcp_destroy_sock"),
            }),
        )
    },
    Hook {
        name: "sock_release",
        program: "sock_release",
        attach: Attach::CgroupSock,
        since: "5.9",
        need: Need::Optional("UDP and raw sockets are seen to end only by close"),
        kinds: &[Destroy],
        protocols: OTHERS_OVER_IP,
        fallback: None,
    },
    typed(
        "sched_process_exit",
        "5.5",
        Need::Optional("sockets closed by exit are seen to end, not to be closed"),
        &[Exit],
        None,
    ),
    typed(
        "sched_process_exec",
        "5.5",
        Need::Optional("a process keeps the name it had before it ran another program"),
        &[Exec],
        None,
    ),
    typed(
        "sched_prepare_exec",
        "6.10",
        Need::Optional("sockets closed by exec are seen to end, not to be closed"),
        &[Descriptors],
        None,
    ),
    typed(
        "sched_process_fork",
        "5.5",
        Need::Optional("children of the traced processes are not followed"),
        &[Fork],
        None,
    ),
    syscall(
        "sys_enter_close",
        "sys_enter_close",
        &[Close],
        "no close events",
    ),
    syscall(
        "sys_enter_dup2",
        "sys_enter_dup2",
        &[Close],
        "sockets closed by dup2 are seen to end, not to be closed",
    ),
    syscall(
        "sys_enter_dup3",
        "sys_enter_dup2",
        &[Close],
        "sockets closed by dup3 are seen to end, not to be closed",
    ),
    syscall(
        "sys_exit_close_range",
        "sys_exit_close_range",
        &[Descriptors],
        "sockets closed by close_range are seen to end, not to be closed",
    ),
    Hook {
        protocols: TCP,
        ..typed(
            "inet_sock_set_state",
            "5.5",
            Need::Required,
            &[State],
            Some(Fallback {
                program: "inet_sock_set_state_tp",
                tracepoint: ("sock", "inet_sock_set_state"),
            }),
        )
    },
    syscall(
        "sys_exit_accept",
        "sys_exit_accept",
        &[Accept],
        "accepted sockets have no owner",
    ),
    syscall(
        "sys_exit_accept4",
        "sys_exit_accept",
        &[Accept],
        "accepted sockets have no owner",
    ),
    syscall(
        "sys_exit_connect",
        "sys_exit_connect",
        &[Connect],
        "connects that fail at once (no route, no local port) are not seen",
    ),
    syscall("sys_exit_bind", "sys_exit_bind", &[Bind], "no bind events"),
    syscall(
        "sys_exit_listen",
        "sys_exit_listen",
        &[Listen],
        "no listen events with their backlog",
    ),
    Hook {
        attach: Attach::Renamed("io_uring_submit_req", "io_uring_submit_sqe"),
        ..typed(
            "io_uring_submit_req",
            "6.0",
            Need::Optional(
                "sockets that io_uring closes are seen to end, not to be closed, and those of its \
                 multishot accepts have no owner",
            ),
            &[Accept, Close],
            None,
        )
    },
    Hook {
        attach: Attach::TpBtf("io_uring_complete"),
        ..typed(
            "io_uring_complete_named",
            "6.0",
            Need::Optional(
                "of sockets that io_uring connects, binds or closes only state changes are seen",
            ),
            &[Bind, Listen, Connect, Close],
            None,
        )
    },
    typed(
        "io_uring_complete",
        "6.0",
        Need::Optional("sockets that io_uring makes or accepts have no owner"),
        &[Socket, Accept],
        None,
    ),
    Hook {
        name: "sock_create",
        program: "sock_create",
        attach: Attach::CgroupSock,
        since: "5.7",
        need: Need::Optional(
            "a TCP socket has no cookie until its first state change, others have none",
        ),
        kinds: &[Socket, Bind],
        protocols: TCP | OTHERS_OVER_IP,
        fallback: None,
    },
    syscall(
        "sys_exit_socket",
        "sys_exit_socket",
        &[Socket],
        "no socket events; an owner is known from connect and accept on",
    ),
    Hook {
        protocols: UNIX | Protocol::Other.bit(),
        ..syscall(
            "sys_exit_socketpair",
            "sys_exit_socketpair",
            &[Socket],
            "pairs of Unix sockets are not seen to begin",
        )
    },
];

/// The kinds of record that a set of wanted kinds cannot do without, as bits, if sockets of these
/// protocols (bits) are wanted.
///
/// A table that only hears half of a life tells lies: owners come from `socket`, `connect` and
/// `accept`, ends from `destroy`, names from processes.
pub fn needed(wanted: &[EventKind], protocols: u32) -> u32 {
    let mut bits = EventKind::Process.bit();
    if protocols & UNIX != 0 {
        // These calls name a socket, and every later row shows the name.
        bits |= Name.bit() | Bind.bit() | Connect.bit() | Accept.bit();
    }
    // Of the end of Unix and netlink sockets nothing tells but who closes them last.
    let closes = (protocols & !(TCP | OTHERS_OVER_IP) != 0).then_some(&Close);
    for &kind in wanted.iter().chain(closes) {
        let with: &[EventKind] = match kind {
            Socket | Accept => &[Exec],
            Bind | Listen => &[Socket, State, Exec],
            Connect => &[Socket, State, Exec],
            State => &[Socket, Connect, Listen, Accept, Exec],
            Close => &[
                Socket,
                Connect,
                Listen,
                Accept,
                State,
                Descriptors,
                Fork,
                Exec,
            ],
            Destroy => &[Socket, Connect, Listen, Accept, State, Exec],
            EventKind::Process | EventKind::Life | Fork | Exec | Exit | Descriptors | Name => &[],
        };
        bits |= kind.bit();
        for kind in with {
            bits |= kind.bit();
        }
    }
    // Without ends the table, and the kernel side's maps, would only grow.
    bits | Destroy.bit() | Exit.bit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_but_process_has_a_hook() {
        for kind in EventKind::ALL {
            let hooked = CATALOG.iter().any(|hook| hook.kinds.contains(&kind));
            // A process is announced by whichever hook sees it first, a name goes with its call, and a
            // life is what others have kept.
            let beside = matches!(kind, EventKind::Process | EventKind::Life | Name);
            assert_eq!(hooked, !beside, "{kind:?}");
        }
    }

    #[test]
    fn what_is_required_has_a_fallback() {
        for hook in CATALOG.iter().filter(|hook| hook.need == Need::Required) {
            assert!(hook.fallback.is_some(), "{}", hook.name);
        }
    }

    #[test]
    fn ends_are_always_heard() {
        assert_ne!(needed(&[Socket], 0) & Destroy.bit(), 0);
        assert_ne!(needed(&[], 0) & Exit.bit(), 0);
        let closes = Close.bit() | Descriptors.bit();
        assert_eq!(needed(&[Socket], UNIX) & closes, closes);
        assert_eq!(needed(&[Socket], TCP | Protocol::Udp.bit()) & closes, 0);
    }
}
