//! TCP state changes: the spine.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    helpers::bpf_ktime_get_ns,
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use socktrace_common::{
    counters::Outcome,
    event::{EventKind, StateEvent, Step},
    socket::TcpState,
};

use super::{child, connect};
use crate::{
    emit::{Context, emit, run_alone},
    filter,
    kernel::{
        Probed, Typed, pid,
        sock::{self, Kind, Sock, SockMemory},
        task,
    },
    life,
    process::announce,
};

const SYN_SENT: u8 = TcpState::SynSent as u8;
const SYN_RECV: u8 = TcpState::SynRecv as u8;
const ESTABLISHED: u8 = TcpState::Established as u8;
const CLOSE_WAIT: u8 = TcpState::CloseWait as u8;
const FIN_WAIT1: u8 = TcpState::FinWait1 as u8;
const FIN_WAIT2: u8 = TcpState::FinWait2 as u8;
const CLOSE: u8 = TcpState::Close as u8;
const LISTEN: u8 = TcpState::Listen as u8;

/// `trace_inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`
/// (include/trace/events/sock.h, 4.16), before the state is written.
///
/// As `tp_btf`: 37 ns against 60 of a classic tracepoint, and never skipped because another
/// tracing program runs on this CPU.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state(context: BtfTracePointContext) -> i32 {
    let (sk, old, new) = (
        context.arg::<Sock>(0),
        context.arg::<i32>(1),
        context.arg::<i32>(2),
    );
    // SAFETY: the argument is a typed socket.
    unsafe { changed::<Typed>(&context, sk, old as u8, new as u8) };
    0
}

/// The same as a classic tracepoint, where the kernel has no `tp_btf` or no cookie for it.
#[tracepoint]
fn inet_sock_set_state_tp(context: TracePointContext) -> u32 {
    // SAFETY: the verifier checks loads from the context: `skaddr` at 8, `oldstate` at 16 and
    // `newstate` at 20, unchanged since 4.16.
    unsafe {
        let fields = context.as_ptr().cast::<u8>();
        changed::<Probed>(
            &context,
            fields.add(8).cast::<u64>().read() as Sock,
            fields.add(16).cast::<i32>().read() as u8,
            fields.add(20).cast::<i32>().read() as u8,
        );
    }
    0
}

/// A change of state. Most are of sockets whose lives are kept, and all else is a function of its own: what
/// runs for every change stays short, and together in the CPU's caches.
#[inline(always)]
unsafe fn changed<M: SockMemory>(context: &impl EbpfContext, sk: Sock, old: u8, new: u8) {
    let context = context.as_ptr();
    // SAFETY: the caller's socket fits `M`.
    unsafe {
        // The child of a listener may have to be told of a step later than the kernel does.
        if old == SYN_RECV && child::come_later() {
            run_alone(EventKind::State, || {
                told::<M>(context, sk, LISTEN, SYN_RECV)
            });
        }
        run_alone(EventKind::State, || {
            if life::folding() && kept::<M>(&Context(context), sk, [old, new]) {
                return Outcome::Folded;
            }
            told::<M>(context, sk, old, new)
        });
    }
}

/// A change that is told at once, or begins a life.
#[inline(never)]
unsafe fn told<M: SockMemory>(context: *mut c_void, sk: Sock, old: u8, new: u8) -> Outcome {
    let context = &Context(context);
    // SAFETY: the caller's socket fits `M`; every field of the record is written.
    unsafe {
        // A shutdown() of a socket in CLOSE and a second listen() announce no change.
        if !filter::kind(EventKind::State) || old == new {
            return Outcome::Filtered;
        }
        if old == LISTEN && new == SYN_RECV && child::is_copy::<M>(sk) {
            child::comes_later();
            return Outcome::Filtered;
        }
        if !sock::is_tcp::<M>(sk) {
            return Outcome::Filtered;
        }
        // Asked for first: whoever looks at this socket later finds its cookie.
        let id = M::identity(sk);
        let at = sock::endpoint::<M>(sk, Kind::tcp::<M>(sk));
        let by_caller = old == CLOSE && (new == SYN_SENT || new == LISTEN);
        if filter::by_process() {
            let wanted = if by_caller {
                filter::process(pid::running_tgid())
            } else if new == SYN_RECV {
                filter::listened(sock::netns::<M>(sk), at.lport)
            } else {
                filter::followed(id)
            };
            if !wanted {
                return Outcome::Filtered;
            }
        }
        if filter::by_process() && old == LISTEN && new == CLOSE {
            filter::unlisten(sock::netns::<M>(sk), at.lport);
        }
        if !filter::endpoint(&at) {
            return Outcome::Filtered;
        }
        if (by_caller || new == SYN_RECV) && filter::follow(id).is_err() {
            return Outcome::LostMap;
        }
        let mut connect_fd = -1;
        if by_caller {
            announce(context, pid::running_tgid());
            connect_fd = task::connecting_fd();
        }
        let begins = new == SYN_RECV && old == LISTEN || new == SYN_SENT && life::from_connect();
        if begins {
            let describe = |out| sock::describe::<M>(sk, id, &at, out);
            let first = step::<M>(sk, [old, new], connect_fd);
            if life::begin(context, id, describe, first) {
                return Outcome::Folded;
            }
        }
        emit(EventKind::State, context, |record: *mut StateEvent| {
            sock::describe::<M>(sk, id, &at, &raw mut (*record).socket);
            let (acked, received) = if new == CLOSE {
                sock::bytes(sk)
            } else {
                (0, 0)
            };
            (&raw mut (*record).bytes_acked).write(acked);
            (&raw mut (*record).bytes_received).write(received);
            (&raw mut (*record).old).write(old);
            (&raw mut (*record).new).write(new);
            (&raw mut (*record).flags).write(sock::flags::<M>(sk));
            (&raw mut (*record).error).write(sock::error::<M>(sk));
            (&raw mut (*record).connect_fd).write(connect_fd);
            (&raw mut (*record).pad).write(0);
        })
    }
}

/// Adds the change to the socket's life, which is most of what happens here. The socket has passed the
/// filters, so no more of it is read than what a step says. False if it has no life, or none any more.
#[inline(always)]
unsafe fn kept<M: SockMemory>(context: &impl EbpfContext, sk: Sock, [old, new]: [u8; 2]) -> bool {
    // SAFETY: the caller's socket fits `M`, and the life is the map's value.
    unsafe {
        // A listener's is over when it begins to listen, and that of its child begins with this.
        if !filter::kind(EventKind::State) || old == new || old == LISTEN {
            return false;
        }
        let id = sock::cookie::<M>(sk);
        let Some(life) = life::of(id) else {
            return false;
        };
        let mut connect_fd = -1;
        if old == CLOSE {
            if new == LISTEN {
                life::over(context, id);
                return false;
            }
            let tgid = pid::running_tgid();
            if !life::is_begun_by(life, tgid) {
                announce(context, tgid);
            }
            connect_fd = task::connecting_fd();
        } else if old == SYN_SENT {
            // Now it has a port, and addresses.
            let at = sock::endpoint::<M>(sk, Kind::tcp::<M>(sk));
            sock::place::<M>(sk, &at, &raw mut (*life).socket);
        }
        if new == CLOSE {
            life::count_bytes(life, sock::bytes(sk));
        }
        let step = step::<M>(sk, [old, new], connect_fd);
        let added = life::add_at(context, life, step, time(sk, [old, new]));
        if added && connect_fd >= 0 {
            connect::states_tell();
        }
        added
    }
}

/// When this change is: `CLOCK_MONOTONIC`, nanoseconds.
///
/// These are made by a packet and by nothing else, and TCP has just asked for the time of that
/// (`tcp_mstamp_refresh()`, called by `tcp_rcv_state_process()` and `tcp_rcv_established()`,
/// `net/ipv4/tcp_input.c`, 4.20): reading the clock again would cost more than all the rest.
#[inline(always)]
unsafe fn time(sk: Sock, change: [u8; 2]) -> u64 {
    let by_packet = matches!(
        change,
        [SYN_SENT | SYN_RECV, ESTABLISHED] | [ESTABLISHED, CLOSE_WAIT] | [FIN_WAIT1, FIN_WAIT2]
    );
    // SAFETY: the caller's is a socket over TCP; the helper has no conditions.
    unsafe {
        if by_packet {
            let at = sock::packet_ns(sk);
            // Memory that cannot be read.
            if at != 0 {
                return at;
            }
        }
        bpf_ktime_get_ns()
    }
}

/// The change as a step of a life. How it went shows in the last.
#[inline(always)]
unsafe fn step<M: SockMemory>(sk: Sock, states: [u8; 2], connect_fd: i32) -> Step {
    let (error, flags) = if states[1] == CLOSE {
        // SAFETY: the caller's socket fits `M`.
        unsafe { (sock::error::<M>(sk), sock::flags::<M>(sk)) }
    } else {
        (0, 0)
    };
    life::changed(pid::running_tgid(), connect_fd, error, states, flags)
}
