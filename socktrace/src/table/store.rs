//! Where sockets are kept: pages that never move, and an index by identity.
//!
//! A map of sockets would be a quarter to two thirds empty and would be copied whole whenever it
//! grows. Here only the index, two numbers a socket, does that; and a socket that goes leaves its
//! place to the next one, so that a table of steady size asks for no memory.

use std::{cell::Cell, hint::black_box};

use hashbrown::{HashMap, HashTable};
use socktrace_common::socket::INODE_ID;

use super::{neighbours::Neighbours, socket::Socket};

/// Sockets in a page.
const PAGE: usize = 1024;

/// Sockets by identity, see [`SocketInfo::id`](socktrace_common::socket::SocketInfo::id).
#[derive(Debug, Default)]
pub(super) struct Store {
    index: HashTable<Entry>,
    hasher: Neighbours,
    pages: Vec<Vec<Socket>>,
    /// Places without a socket: what is there is over.
    free: Vec<u32>,
    /// Identities that sockets had before, and which older records may still name.
    former: HashMap<u64, u64>,
    recent: Recent,
}

/// Where a socket is, in the index.
#[derive(Clone, Copy, Debug)]
struct Entry {
    place: u32,
    /// Of its identity: another's differs, nearly always, so that only the right socket is looked at.
    tag: u32,
}

/// Half of an identity's bits, of which the higher half is nearly always the same.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
fn tag(id: u64) -> u32 {
    (id ^ id >> 32) as u32
}

/// Where sockets were when they were asked for: an event asks for one several times. By the lowest bits of the
/// identity; one that is there no more is somebody else's, or nobody's, so whoever looks sees that.
#[derive(Debug)]
struct Recent([Cell<u32>; Self::ROOM]);

impl Recent {
    /// More than are looked up together.
    const ROOM: usize = 64;

    fn of(&self, id: u64) -> &Cell<u32> {
        &self.0[tag(id) as usize % Self::ROOM]
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self([const { Cell::new(0) }; Self::ROOM])
    }
}

impl Store {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.place(id).is_some()
    }

    pub(super) fn get(&self, id: u64) -> Option<&Socket> {
        let (page, slot) = split(self.place(id)?);
        self.pages.get(page)?.get(slot)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Socket> {
        let (page, slot) = split(self.place(id)?);
        self.pages.get_mut(page)?.get_mut(slot)
    }

    /// Reads these, so that the CPU has them in its caches.
    pub(super) fn fetch(&self, ids: impl Iterator<Item = u64>) {
        // None is waited for before the next is asked for: what is done with them needs no answer.
        let places = ids.filter_map(|id| {
            let its_tag = |entry: &Entry| entry.tag == tag(id);
            let entry = self.index.find(self.hasher.hash(id), its_tag)?;
            self.recent.of(id).set(entry.place);
            Some(entry.place)
        });
        let sockets = places.map(|place| at(&self.pages, place));
        black_box(sockets.fold(0, |read, socket| read ^ socket.read()));
    }

    /// Puts a socket in, in the place of the one with its identity if there is one.
    pub(super) fn insert(&mut self, socket: Socket) {
        let id = socket.id();
        match (self.find(id), self.free.last()) {
            (Some(place), _) => self.put(place, socket),
            (None, Some(&place)) => {
                self.free.pop();
                self.put(place, socket);
                self.enter(id, place);
            }
            (None, None) => {
                let place = self.append(socket);
                self.enter(id, place);
            }
        }
    }

    /// A socket has another identity from now on.
    pub(super) fn rename(&mut self, before: u64, id: u64) -> Option<&Socket> {
        let place = self.unlist(before)?;
        let (page, slot) = split(place);
        self.pages[page][slot].rename(id);
        self.enter(id, place);
        self.get(id)
    }

    /// A socket that is known by its present identity may be named by a former one for a while.
    pub(super) fn also_named(&mut self, before: u64, id: u64) {
        self.former.insert(before, id);
    }

    /// Nothing names sockets by former identities any more.
    pub(super) fn forget_former(&mut self) {
        self.former = HashMap::new();
    }

    /// Takes a socket out; what it held is let go of.
    pub(super) fn remove(&mut self, id: u64) -> Option<Socket> {
        let place = self
            .unlist(id)
            .or_else(|| self.present(id).and_then(|id| self.unlist(id)))?;
        self.free.push(place);
        let (page, slot) = split(place);
        Some(std::mem::take(&mut self.pages[page][slot]))
    }

    /// Takes an identity out of the index; the place of its socket.
    fn unlist(&mut self, id: u64) -> Option<u32> {
        let pages = &self.pages;
        let hash = self.hasher.hash(id);
        let entry = self
            .index
            .find_entry(hash, |&entry| is(pages, entry, id))
            .ok()?;
        Some(entry.remove().0.place)
    }

    /// Every socket, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Socket> {
        self.index.iter().map(|entry| at(&self.pages, entry.place))
    }

    /// Every socket, to be changed. What is over has no identity.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Socket> {
        let sockets = self.pages.iter_mut().flatten();
        sockets.filter(|socket| socket.id() != 0)
    }

    /// The identity of a socket that had this one once.
    fn present(&self, id: u64) -> Option<u64> {
        let former = (id & INODE_ID == INODE_ID).then(|| self.former.get(&id));
        former.flatten().copied()
    }

    fn place(&self, asked: u64) -> Option<u32> {
        let recent = self.recent.of(asked);
        let (page, slot) = split(recent.get());
        let there = self.pages.get(page).and_then(|page| page.get(slot));
        if asked != 0 && there.is_some_and(|socket| socket.id() == asked) {
            return Some(recent.get());
        }
        // Its own first: when the one that had it is gone, another may have its inode.
        if let Some(place) = self.find(asked) {
            recent.set(place);
            return Some(place);
        }
        self.find(self.present(asked)?)
    }

    /// The place of the socket that has this identity now.
    fn find(&self, id: u64) -> Option<u32> {
        let hash = self.hasher.hash(id);
        let entry = self.index.find(hash, |&entry| is(&self.pages, entry, id))?;
        Some(entry.place)
    }

    fn enter(&mut self, id: u64, place: u32) {
        let (pages, hasher) = (&self.pages, &self.hasher);
        let hash_of = |entry: &Entry| hasher.hash(at(pages, entry.place).id());
        let entry = Entry {
            place,
            tag: tag(id),
        };
        self.index.insert_unique(hasher.hash(id), entry, hash_of);
    }

    fn put(&mut self, place: u32, socket: Socket) {
        let (page, slot) = split(place);
        self.pages[page][slot] = socket;
    }

    /// Puts a socket after the last one; its place.
    fn append(&mut self, socket: Socket) -> u32 {
        let full = self.pages.last().is_none_or(|page| page.len() == PAGE);
        if full {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        let last = self.pages.len() - 1;
        let page = &mut self.pages[last];
        page.push(socket);
        u32::try_from(last * PAGE + page.len() - 1).unwrap_or(u32::MAX)
    }
}

fn split(place: u32) -> (usize, usize) {
    (place as usize / PAGE, place as usize % PAGE)
}

/// Is it the entry of this identity?
fn is(pages: &[Vec<Socket>], entry: Entry, id: u64) -> bool {
    entry.tag == tag(id) && at(pages, entry.place).id() == id
}

fn at(pages: &[Vec<Socket>], place: u32) -> &Socket {
    let (page, slot) = split(place);
    &pages[page][slot]
}
