use memmap2::MmapMut;
use socktrace_common::event::EventKind;
use zerocopy::{FromBytes as _, FromZeros as _, IntoBytes as _};

use super::*;

const PLACES: usize = 16;

/// What the kernel side does, on memory of our own.
pub(crate) struct Kernel {
    /// The same memory, mapped again.
    memory: Shelves,
    put: [u64; 2],
}

/// Memory that is mapped twice.
fn twice(bytes: usize) -> [MmapRaw; 2] {
    let file = tempfile::tempfile().unwrap();
    file.set_len(bytes as u64).unwrap();
    [(); 2].map(|()| MmapOptions::new().len(bytes).map_raw(&file).unwrap())
}

impl Kernel {
    /// Two CPUs, and what reads them.
    pub(crate) fn new() -> (Self, Shelves) {
        let [numbers, numbers_too] = twice(2 * size_of::<Shelf>());
        let [lives, lives_too] = twice(2 * PLACES * size_of::<LifeEvent>());
        let kernel = Self {
            memory: Shelves::new(numbers, lives, 2, PLACES).unwrap(),
            put: [0; 2],
        };
        let shelves = Shelves::new(numbers_too, lives_too, 2, PLACES).unwrap();
        (kernel, shelves)
    }

    /// A life ends on a CPU. False where there is no place.
    pub(crate) fn put(&mut self, cpu: usize, mono_ns: u64) -> bool {
        let put = self.put[cpu];
        let taken = self.memory.number(cpu, TAKEN).load(Ordering::Acquire);
        if put - taken == PLACES as u64 {
            return false;
        }
        let mut life = LifeEvent::new_zeroed();
        life.header.mono_ns = mono_ns;
        life.header.kind = EventKind::Life as u16;
        let at = usize::try_from(put).unwrap() % PLACES;
        let place = (cpu * PLACES + at) * size_of::<LifeEvent>();
        let told = life.as_bytes();
        // SAFETY: the map is as large, and nobody reads a place that was not put, or was taken.
        unsafe {
            let place = self.memory.lives.as_mut_ptr().add(place);
            place.copy_from_nonoverlapping(told.as_ptr(), told.len());
        }
        self.put[cpu] += 1;
        let number = self.memory.number(cpu, PUT);
        number.store(self.put[cpu], Ordering::Release);
        true
    }
}

#[test]
fn a_place_is_used_again_when_its_life_was_taken() {
    let (mut kernel, mut shelves) = Kernel::new();
    let mut told = Vec::new();
    let mut take = |shelves: &mut Shelves| {
        let life = shelves.oldest(1)?;
        let (life, _) = LifeEvent::read_from_prefix(life).unwrap();
        told.push(life.header.mono_ns);
        shelves.take(1);
        Some(())
    };
    for mono_ns in 1..=100 {
        while !kernel.put(1, mono_ns) {
            shelves.look(1);
            for _ in 0..5 {
                take(&mut shelves).unwrap();
            }
        }
    }
    shelves.look(1);
    while take(&mut shelves).is_some() {}
    assert_eq!(told, (1..=100).collect::<Vec<_>>());
    assert!(shelves.oldest(0).is_none(), "another CPU's");
}

#[test]
fn what_was_left_after_a_look_is_not_there_before_the_next() {
    let (mut kernel, mut shelves) = Kernel::new();
    assert!(kernel.put(0, 1));
    assert!(shelves.oldest(0).is_none());
    // Nothing is given back that was not there.
    shelves.take(0);
    shelves.look(0);
    assert!(kernel.put(0, 2));
    assert!(shelves.oldest(0).is_some());
    shelves.take(0);
    assert!(shelves.oldest(0).is_none());
    shelves.look(0);
    assert!(shelves.oldest(0).is_some());
}

#[test]
fn maps_that_are_too_small_are_none() {
    let map = |bytes| MmapRaw::from(MmapMut::map_anon(bytes).unwrap());
    let place = size_of::<LifeEvent>();
    let shelves = |bytes, lives, places| Shelves::new(map(bytes), map(lives), 2, places);
    assert!(shelves(256, 32 * place, 16).is_some());
    assert!(shelves(255, 32 * place, 16).is_none());
    assert!(shelves(256, 32 * place - 1, 16).is_none());
    assert!(shelves(256, 32 * place, 15).is_none());
}
