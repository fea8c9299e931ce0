//! The shelves on which the kernel side leaves lives that are over: see
//! [`Shelf`](socktrace_common::shelf::Shelf).

use std::{
    io,
    mem::offset_of,
    os::fd::{AsFd as _, AsRawFd as _},
    slice,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::{
    maps::{Map, MapError},
    util::online_cpus,
};
use memmap2::{MmapOptions, MmapRaw};
use socktrace_common::{event::LifeEvent, shelf::Shelf};

use super::{AttachError, Probes};

/// The shelves of all CPUs, in memory that they share with the kernel side.
pub struct Shelves {
    numbers: MmapRaw,
    lives: MmapRaw,
    /// Places of each CPU: a power of two.
    places: usize,
    cpus: Vec<Read>,
}

/// How far a shelf has been read.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    /// So many were taken.
    taken: u64,
    /// So many were there at the last look.
    there: u64,
}

const PUT: usize = offset_of!(Shelf, put);
const TAKEN: usize = offset_of!(Shelf, taken);

impl Shelves {
    /// Over the maps of this name. None where they are too small for so many CPUs with so many places.
    fn new(numbers: MmapRaw, lives: MmapRaw, cpus: usize, places: usize) -> Option<Self> {
        let fits = numbers.len() >= cpus * size_of::<Shelf>()
            && lives.len() >= cpus * places * size_of::<LifeEvent>()
            && places.is_power_of_two();
        fits.then(|| Self {
            numbers,
            lives,
            places,
            cpus: vec![Read::default(); cpus],
        })
    }

    /// How many there are: one for each CPU.
    pub fn count(&self) -> usize {
        self.cpus.len()
    }

    /// Looks how many lives a CPU has left. What it leaves later is not there before the next look.
    pub fn look(&mut self, cpu: usize) {
        // Whatever was written before it is seen after it.
        self.cpus[cpu].there = self.number(cpu, PUT).load(Ordering::Acquire);
    }

    /// The record of the oldest life that is there of a CPU.
    #[expect(clippy::cast_possible_truncation, reason = "the lower bits are meant")]
    pub fn oldest(&self, cpu: usize) -> Option<&[u8]> {
        let Read { taken, there } = self.cpus[cpu];
        if taken == there {
            return None;
        }
        let place = cpu * self.places + (taken as usize & (self.places - 1));
        // SAFETY: the map has as many places as `new` was told, and is there as long as we are. The kernel
        // side writes to none that was put and not taken: `look` has seen that this was put, and `take`
        // cannot be called as long as somebody has the record.
        unsafe {
            let life = self.lives.as_ptr().add(place * size_of::<LifeEvent>());
            Some(slice::from_raw_parts(life, size_of::<LifeEvent>()))
        }
    }

    /// Gives the place of the oldest life back.
    pub fn take(&mut self, cpu: usize) {
        let read = &mut self.cpus[cpu];
        if read.taken != read.there {
            read.taken += 1;
        }
        // What was read before it was read before its place is another's.
        let taken = self.cpus[cpu].taken;
        self.number(cpu, TAKEN).store(taken, Ordering::Release);
    }

    /// A number of a CPU's shelf: [`PUT`] or [`TAKEN`].
    fn number(&self, cpu: usize, at: usize) -> &AtomicU64 {
        assert!(cpu < self.cpus.len(), "a CPU that may be there");
        // SAFETY: the map has a shelf for each CPU, as `new` was told, and is there as long as we are. Both
        // numbers are at a multiple of 8 bytes in it, and nobody reads or writes a part of one.
        unsafe {
            let number = self.numbers.as_mut_ptr().add(cpu * size_of::<Shelf>() + at);
            AtomicU64::from_ptr(number.cast())
        }
    }
}

/// How many processors have a shelf: those that there are, as far as the highest number. There may be more one
/// day, often by hundreds; such a one uses the ring.
pub(super) fn cpus() -> u32 {
    let online = online_cpus().unwrap_or_default();
    online.into_iter().max().unwrap_or(0) + 1
}

impl Probes {
    /// The shelves, if the kernel side leaves anything there ([`Plan::shelves`](super::Plan::shelves)). Taken once.
    pub fn take_shelves(&mut self) -> Result<Option<Shelves>, AttachError> {
        let Some((cpus, places)) = self.shelves else {
            return Ok(None);
        };
        let (cpus, places) = (cpus as usize, places as usize);
        let shelves = self.mapped("SHELVES", cpus * size_of::<Shelf>(), true)?;
        let lives = self.mapped("SHELVED", cpus * places * size_of::<LifeEvent>(), false)?;
        let found = Shelves::new(shelves, lives, cpus, places);
        found
            .map(Some)
            .ok_or_else(|| io::Error::other("the shelves are too small").into())
    }

    fn mapped(&mut self, name: &str, bytes: usize, to_write: bool) -> Result<MmapRaw, AttachError> {
        let missing = || MapError::InvalidName { name: name.into() };
        let Some(Map::Array(map)) = self.ebpf.take_map(name) else {
            return Err(missing().into());
        };
        let (fd, mut options) = (map.fd().as_fd().as_raw_fd(), MmapOptions::new());
        options.len(bytes);
        let mapped = if to_write {
            options.map_raw(fd)
        } else {
            options.map_raw_read_only(fd)
        };
        Ok(mapped?)
    }
}

#[cfg(test)]
pub(crate) mod tests;
