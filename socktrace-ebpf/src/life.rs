//! Lives of young TCP sockets, kept here and told at once.
//!
//! Most connections are over soon. Nine records for each of their ends cost the traced program more
//! than all the looking does: every record is a hundred bytes of cold memory. So where nobody needs
//! to hear of each step at once, steps are kept in a map, and one record tells all of them when the
//! socket ends, or at the first step that finds it grown up. What happens to it afterwards is told
//! as it happens. User space can look into the map in between.
//!
//! A cookie has two places, which it may share: one of a few that stay in the CPU's caches, where most lives
//! are over before another comes, and one of many. Who comes when both are taken by those that are young is
//! told step by step; one that has grown up there is told, and goes. Nobody adds to a life that has grown
//! up, so nobody is in the middle of that.

use core::ffi::c_void;

use aya_ebpf::{EbpfContext, helpers::bpf_ktime_get_ns};
use socktrace_common::{
    config::{FOLD_LIVES, LIVES_FROM_CONNECT},
    counters::Outcome,
    event::{ClosedBy, EventKind, Header, LifeEvent, STEPS, Step},
    socket::{SYNTHETIC_ID, SocketInfo},
};

use crate::{
    atomic::{fetch_add, replace},
    constant::config,
    emit::{Context, emit_at, run, run_alone},
    maps::LIVES,
    shelf,
};

/// A socket is young for so long: afterwards somebody may be waiting to hear of it.
const YOUNG_NS: i64 = 1_000_000_000;
/// Since when nobody can be adding to a life that was young a moment ago.
const OLD_NS: i64 = 2 * YOUNG_NS;

/// In [`LifeEvent::count`] of the map: it is being told, so nothing can be added.
const TOLD: u64 = 1 << 32;

/// In the place of a cookie: the life is being written.
const UNFINISHED: u64 = u64::MAX;

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

/// Where the life of this socket is, if it has found room there.
#[inline(always)]
fn near(id: u64) -> Option<*mut LifeEvent> {
    LIVES.get_ptr_mut(id as u32 & config!(near_mask))
}

/// Where it is else, if it is anywhere.
#[inline(always)]
fn far(id: u64) -> Option<*mut LifeEvent> {
    LIVES.get_ptr_mut(config!(near_mask) + 1 + (id as u32 & config!(lives_mask)))
}

/// Whose life it is: a cookie, or 0 for nobody's. It stands where a record has its time.
#[inline(always)]
fn whose(life: *mut LifeEvent) -> *mut u64 {
    // SAFETY: no memory is touched.
    unsafe { &raw mut (*life).header.mono_ns }
}

/// A life begins with this step; `describe` writes whose it is. False where it is not kept, and then
/// each step is told.
#[inline(always)]
pub(crate) fn begin(
    context: &impl EbpfContext,
    id: u64,
    describe: impl FnOnce(*mut SocketInfo),
    first: Step,
) -> bool {
    if !folding() || id == 0 || id >= SYNTHETIC_ID {
        return false;
    }
    // SAFETY: the helper has no conditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(life) = take(context, near(id), now).or_else(|| take(context, far(id), now)) else {
        return false;
    };
    // SAFETY: the map's value is a life, and it is ours alone. What is left over of another life in it
    // lies beyond `count`.
    unsafe {
        describe(&raw mut (*life).socket);
        (&raw mut (*life).began_ns).write(now);
        // Zeroes in a row become a call that writes them byte by byte.
        (&raw mut (*life).bytes_acked).write_volatile(0);
        (&raw mut (*life).bytes_received).write_volatile(0);
        (&raw mut (*life).listener).write_volatile(0);
        (&raw mut (*life).count).write(1);
        (&raw mut (*life).steps).cast::<Step>().write(first);
        whose(life).write_volatile(id);
    }
    true
}

/// Takes a place, if nobody young has it.
#[inline(always)]
fn take(
    context: &impl EbpfContext,
    place: Option<*mut LifeEvent>,
    now: u64,
) -> Option<*mut LifeEvent> {
    let life = place?;
    // SAFETY: the map's value is a life.
    unsafe {
        let other = whose(life).read_volatile();
        if other != 0 {
            let age = now.wrapping_sub((&raw const (*life).began_ns).read_volatile());
            if other == UNFINISHED || (age as i64) < OLD_NS {
                return None;
            }
            tell(context.as_ptr(), life, now);
        }
        replace(whose(life), 0, UNFINISHED).then_some(life)
    }
}

/// Is the life of this socket kept?
#[inline(always)]
pub(crate) fn of(id: u64) -> Option<*mut LifeEvent> {
    if !folding() || id == 0 {
        return None;
    }
    // SAFETY: the map's value is a life.
    let is_its = |life: &*mut LifeEvent| unsafe { whose(*life).read_volatile() } == id;
    near(id).filter(is_its).or_else(|| far(id).filter(is_its))
}

/// Did this process begin the life? Then it has been announced.
#[inline(always)]
pub(crate) fn is_begun_by(life: *mut LifeEvent, tgid: u32) -> bool {
    // SAFETY: the caller's is the map's value, and a life has a first step.
    unsafe { (*(&raw const (*life).steps).cast::<Step>()).tgid == tgid }
}

/// Adds a step. False where the life is over with this: it has been told, and the step is to be.
#[inline(always)]
pub(crate) fn add(context: &impl EbpfContext, life: *mut LifeEvent, step: Step) -> bool {
    // SAFETY: the helper has no conditions.
    add_at(context, life, step, unsafe { bpf_ktime_get_ns() })
}

/// The same, where it is known what time it is.
#[inline(always)]
pub(crate) fn add_at(
    context: &impl EbpfContext,
    life: *mut LifeEvent,
    step: Step,
    now: u64,
) -> bool {
    match write(life, step, now, 1) {
        Some(before) if before < STEPS as u64 => true,
        _ => {
            tell(context.as_ptr(), life, now);
            false
        }
    }
}

/// Writes a step, if there is room for it, and adds this much to the life's count: one instruction takes the
/// room and does whatever else the count is to say. What the count was before; nothing is done to a life
/// that has grown up.
#[inline(always)]
fn write(life: *mut LifeEvent, mut step: Step, now: u64, more: u64) -> Option<u64> {
    // SAFETY: the callers' is the map's value, and the index is within it.
    unsafe {
        let age = now.wrapping_sub((*life).began_ns) as i64;
        if age >= YOUNG_NS {
            return None;
        }
        // Another CPU's clock may be a little behind.
        step.after_ns = if age < 0 { 0 } else { age as u32 };
        let before = fetch_add(&raw mut (*life).count, more);
        if before < STEPS as u64 {
            let steps = (&raw mut (*life).steps).cast::<Step>();
            steps.add(before as usize).write(step);
        }
        Some(before)
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

/// What is to come of this socket is told as it happens, so what was goes first.
#[inline(always)]
pub(crate) fn over(context: &impl EbpfContext, id: u64) {
    if let Some(life) = of(id) {
        // SAFETY: the helper has no conditions.
        tell(context.as_ptr(), life, unsafe { bpf_ktime_get_ns() });
    }
}

/// Tells a life and forgets it, unless another CPU does.
pub(crate) fn tell(context: *mut c_void, life: *mut LifeEvent, now: u64) {
    // SAFETY: the caller's is the map's value.
    let count = unsafe { fetch_add(&raw mut (*life).count, TOLD) };
    if count < TOLD {
        hand_over(context, life, now, count);
    }
}

/// The socket is gone: its last step is added and its life told. False where the life was over before, and
/// the step is to be told. Only the program of ends does this, so it counts what it tells by itself.
#[inline(always)]
pub(crate) fn end(context: &impl EbpfContext, life: *mut LifeEvent, last: Step) -> bool {
    // SAFETY: the helper has no conditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(before) = write(life, last, now, TOLD + 1) else {
        tell(context.as_ptr(), life, now);
        return false;
    };
    if before >= TOLD {
        return false;
    }
    let context = context.as_ptr();
    if before < STEPS as u64 {
        hand_over_alone(context, life, now, before + 1);
        return true;
    }
    // Its end is told by itself, so that both go through the ring, where one follows the other.
    hand_over(context, life, now, before);
    false
}

/// Tells a life of so many steps, to which nobody adds any more, and forgets it. A function of its own, as
/// every hook of sockets has it.
#[inline(never)]
fn hand_over(context: *mut c_void, life: *mut LifeEvent, now: u64, count: u64) {
    run(EventKind::Life, || submit(context, life, now, count));
}

/// The same, in the program that alone counts lives in books of its own, and puts them on shelves.
#[inline(never)]
fn hand_over_alone(context: *mut c_void, life: *mut LifeEvent, now: u64, count: u64) {
    run_alone(EventKind::Life, || {
        if shelf::put(now, |place| copy(life, count, place)) {
            forget(life);
            return Outcome::Emitted;
        }
        submit(context, life, now, count)
    });
}

#[inline(always)]
fn submit(context: *mut c_void, life: *mut LifeEvent, now: u64, count: u64) -> Outcome {
    let context = &Context(context);
    let fill = move |record| copy(life, count, record);
    // SAFETY: all that follows the header is written at once, as it is in the map.
    let outcome = unsafe { emit_at(EventKind::Life, now, context, fill) };
    forget(life);
    outcome
}

/// Writes all of the record but its header.
#[inline(always)]
fn copy(life: *mut LifeEvent, count: u64, record: *mut LifeEvent) {
    let steps = if count > STEPS as u64 {
        STEPS as u64
    } else {
        count
    };
    // SAFETY: both callers' are as large as a life, and no other has the record.
    unsafe {
        // A word at a time: a helper would do the same, and look after faults.
        let (from, to) = (life.cast::<u64>(), record.cast::<u64>());
        for word in size_of::<Header>() / 8..size_of::<LifeEvent>() / 8 {
            to.add(word).write_volatile(from.add(word).read_volatile());
        }
        (&raw mut (*record).count).write(steps);
    }
}

/// The last that is done to it: from here on the place is another's.
#[inline(always)]
fn forget(life: *mut LifeEvent) {
    // SAFETY: the callers' is the map's value.
    unsafe { whose(life).write_volatile(0) };
}
