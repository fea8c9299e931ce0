//! Lives of young TCP sockets, kept here and told at once.
//!
//! Most connections are over soon. Nine records for each of their ends cost the traced program more
//! than all the looking does: every record is a hundred bytes of cold memory. So where nobody needs
//! to hear of each step at once, steps are kept in a map, and one record tells all of them when the
//! socket ends, or at the first step that finds it grown up. What happens to it afterwards is told
//! as it happens. User space can look into the map in between.

use core::ffi::c_void;

use aya_ebpf::{EbpfContext, bindings::BPF_NOEXIST, helpers::bpf_ktime_get_ns};
use socktrace_common::{
    config::{FOLD_LIVES, LIVES_FROM_CONNECT},
    event::{ClosedBy, EventKind, Header, LifeEvent, STEPS, Step},
    socket::{SYNTHETIC_ID, SocketInfo},
};

use crate::{
    atomic::fetch_add,
    emit::{Context, emit, run},
    maps::{LIVES, NEW_LIFE, config},
};

/// A socket is young for so long: afterwards somebody may be waiting to hear of it.
const YOUNG_NS: i64 = 1_000_000_000;

/// In [`LifeEvent::count`] of the map: it is being told, so nothing can be added.
const TOLD: u64 = 1 << 32;

/// Programs that begin a life: their places in [`NEW_LIFE`].
#[derive(Clone, Copy)]
pub(crate) enum Born {
    BySocket = 0,
    /// By a state change: a child of a listener, or a client of whose `socket()` nobody tells.
    ByHandshake = 1,
}

/// Are lives folded?
#[inline(always)]
pub(crate) fn folding() -> bool {
    config!(flags) & FOLD_LIVES != 0
}

/// Does the life of a client begin with its `connect()`?
#[inline(always)]
pub(crate) fn from_connect() -> bool {
    config!(flags) & LIVES_FROM_CONNECT != 0
}

/// What a step says besides its time.
#[inline(always)]
pub(crate) fn step(kind: EventKind, tgid: u32, fd: i32, value: i32) -> Step {
    Step {
        after_ns: 0,
        tgid,
        fd,
        value: value as i16,
        kind: kind as u8,
        states: 0,
    }
}

/// A descriptor of the socket goes.
#[inline(always)]
pub(crate) fn closed(tgid: u32, fd: i32, by: ClosedBy, references_left: i64) -> Step {
    let most = i64::from(i16::MAX);
    let value = if references_left > most {
        most
    } else {
        references_left
    };
    Step {
        states: by as u8,
        ..step(EventKind::Close, tgid, fd, value as i32)
    }
}

/// The state changes.
#[inline(always)]
pub(crate) fn changed(
    tgid: u32,
    connect_fd: i32,
    error: i32,
    [old, new]: [u8; 2],
    flags: u16,
) -> Step {
    let mut step = step(EventKind::State, tgid, connect_fd, error);
    step.kind |= (flags << 4) as u8;
    step.states = old | new << 4;
    step
}

/// A life begins with this step; `describe` writes whose it is. False where it is not kept, and then
/// each step is told.
#[inline(always)]
pub(crate) fn begin(
    born: Born,
    id: u64,
    describe: impl FnOnce(*mut SocketInfo),
    first: Step,
) -> bool {
    if !folding() || id == 0 || id >= SYNTHETIC_ID {
        return false;
    }
    let Some(life) = NEW_LIFE.get_ptr_mut(born as u32) else {
        return false;
    };
    // SAFETY: the map's value is a life, and this program alone uses it on this CPU. What is left
    // over of another life in it lies beyond `count`.
    unsafe {
        describe(&raw mut (*life).socket);
        (&raw mut (*life).began_ns).write(bpf_ktime_get_ns());
        (&raw mut (*life).bytes_acked).write(0);
        (&raw mut (*life).bytes_received).write(0);
        (&raw mut (*life).listener).write(0);
        (&raw mut (*life).count).write(1);
        (&raw mut (*life).steps).cast::<Step>().write(first);
        let new: &LifeEvent = &*life;
        LIVES.insert(id, new, u64::from(BPF_NOEXIST)).is_ok()
    }
}

/// Is the life of this socket kept?
#[inline(always)]
pub(crate) fn of(id: u64) -> Option<*mut LifeEvent> {
    if !folding() {
        return None;
    }
    LIVES.get_ptr_mut(id)
}

/// Adds a step. False where the life is over with this: it has been told, and the step is to be.
#[inline(always)]
pub(crate) fn add(
    context: &impl EbpfContext,
    id: u64,
    life: *mut LifeEvent,
    mut step: Step,
) -> bool {
    // SAFETY: the caller's is the map's value, and the index is within it.
    unsafe {
        let steps = (&raw mut (*life).steps).cast::<Step>();
        let age = bpf_ktime_get_ns().wrapping_sub((*life).began_ns) as i64;
        if age < YOUNG_NS {
            // Another CPU's clock may be a little behind.
            step.after_ns = if age < 0 { 0 } else { age as u32 };
            let at = fetch_add(&raw mut (*life).count, 1);
            if at < STEPS as u64 {
                steps.add(at as usize).write(step);
                return true;
            }
        }
        tell(context.as_ptr(), id, life);
        false
    }
}

/// How many bytes went, for the change to CLOSE.
#[inline(always)]
pub(crate) fn count_bytes(life: *mut LifeEvent, (acked, received): (u64, u64)) {
    // SAFETY: the caller's is the map's value.
    unsafe {
        (&raw mut (*life).bytes_acked).write(acked);
        (&raw mut (*life).bytes_received).write(received);
    }
}

/// Nobody wants to hear of this socket.
#[inline(always)]
pub(crate) fn dropped(id: u64) {
    if folding() {
        _ = LIVES.remove(id);
    }
}

/// What is to come of this socket is told as it happens, so what was goes first.
#[inline(always)]
pub(crate) fn over(context: &impl EbpfContext, id: u64) {
    if let Some(life) = of(id) {
        tell(context.as_ptr(), id, life);
    }
}

/// Tells a life and forgets it, unless another CPU does. A function of its own, as every hook of
/// sockets has it.
#[inline(never)]
pub(crate) fn tell(context: *mut c_void, id: u64, life: *mut LifeEvent) {
    // SAFETY: the caller's is the map's value.
    let count = unsafe { fetch_add(&raw mut (*life).count, TOLD) };
    if count >= TOLD {
        return;
    }
    run(EventKind::Life, || {
        // SAFETY: all that follows the header is written at once, as it is in the map.
        let outcome = unsafe {
            emit(
                EventKind::Life,
                &Context(context),
                |record: *mut LifeEvent| {
                    // A word at a time: a helper would do the same, and look after faults.
                    let (from, to) = (life.cast::<u64>(), record.cast::<u64>());
                    for word in size_of::<Header>() / 8..size_of::<LifeEvent>() / 8 {
                        to.add(word).write_volatile(from.add(word).read_volatile());
                    }
                    let steps = if count > STEPS as u64 {
                        STEPS as u64
                    } else {
                        count
                    };
                    (&raw mut (*record).count).write(steps);
                },
            )
        };
        // Gone only if it was told twice, which it was not.
        _ = LIVES.remove(id);
        outcome
    });
}
