//! Lives that are over, left where user space takes them.
//!
//! A record in the ring takes a lock that all CPUs share, a number, and two locked instructions that wait until
//! what was written before them has left the CPU, which is cold memory each time: twice as long as all else
//! that is done at the end of a life. Here one CPU writes, one reader reads, and what they tell each other is
//! two numbers. What finds no place goes through the ring.

use core::arch::asm;

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use socktrace_common::{
    config::{SHELVE, STORES_IN_ORDER},
    event::{EventKind, Header, LifeEvent, UNNUMBERED},
    shelf::Shelf,
};

use crate::{
    atomic::fetch_add,
    constant::config,
    emit::{header, wake_reader},
    maps::{SHELVED, SHELVES},
};

/// Has `fill` write all of a life but its header into a place of this CPU. False where there is none.
///
/// Only for the one program that ends lives, which the kernel does not run twice at once on a CPU.
#[inline(always)]
pub(crate) fn put(now: u64, fill: impl FnOnce(*mut LifeEvent)) -> bool {
    if config!(flags) & SHELVE == 0 {
        return false;
    }
    // SAFETY: the helper has no conditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(shelf) = SHELVES.get_ptr_mut(cpu) else {
        return false;
    };
    // SAFETY: the map's value is a shelf; user space writes `taken` only.
    let (put, taken) = unsafe {
        (
            (&raw const (*shelf).put).read_volatile(),
            (&raw const (*shelf).taken).read_volatile(),
        )
    };
    let mask = config!(shelf_mask);
    let waiting = put.wrapping_sub(taken);
    if waiting > u64::from(mask) {
        return false;
    }
    let Some(place) = SHELVED.get_ptr_mut(cpu * (mask + 1) + (put as u32 & mask)) else {
        return false;
    };
    // SAFETY: the map's value is a life, and it is ours until `put` says that it is there: user space has
    // taken what was in it.
    unsafe {
        let of_life = header(EventKind::Life, now, UNNUMBERED);
        place.cast::<Header>().write(of_life);
        fill(place);
        is_there(shelf, put);
    }
    // A timer brings the reader, but not soon enough where so many lives end.
    if waiting == u64::from(mask / 2) {
        wake_reader();
    }
    true
}

/// Tells user space that one more life is there: all of it, on every architecture.
///
/// # Safety
///
/// The map's value, of this CPU.
#[inline(always)]
unsafe fn is_there(shelf: *mut Shelf, put: u64) {
    // SAFETY: the caller's.
    unsafe {
        let counter = &raw mut (*shelf).put;
        if config!(flags) & STORES_IN_ORDER == 0 {
            // Whatever was written before it is seen before it.
            fetch_add(counter, 1);
        } else {
            // The compiler keeps what was written before it there.
            asm!("", options(nostack));
            counter.write_volatile(put + 1);
        }
    }
}
