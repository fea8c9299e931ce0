//! Records, one after another in memory of our own.

use aya::maps::{MapData, RingBuf};
use socktrace_common::event::Header;
use zerocopy::{FromBytes as _, IntoBytes as _};

/// Records one after another, each behind its length in bytes, all at multiples of 8 bytes.
#[derive(Debug, Default)]
pub struct Chunk {
    words: Vec<u64>,
    /// Where the last one is.
    last: usize,
}

impl Chunk {
    /// With room for so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self {
            words: Vec::with_capacity(bytes / 8),
            last: 0,
        }
    }

    /// Copies a record to the end.
    pub fn push(&mut self, record: &[u8]) {
        let (words, rest) = record.as_chunks();
        self.last = self.words.len();
        self.words.push(record.len() as u64);
        self.words
            .extend(words.iter().map(|&word| u64::from_ne_bytes(word)));
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.words.push(u64::from_ne_bytes(word));
        }
    }

    /// Copies from the ring until there are about so many bytes.
    pub(super) fn copy(&mut self, ring: &mut RingBuf<MapData>, most: usize) {
        while self.bytes() < most
            && let Some(record) = ring.next()
        {
            self.push(&record);
        }
    }

    /// Forgets them all; their memory is used again.
    pub fn clear(&mut self) {
        self.words.clear();
    }

    /// How many bytes they take here.
    pub fn bytes(&self) -> usize {
        self.words.len() * 8
    }

    /// What is in it, in order.
    pub fn records(&self) -> Records<'_> {
        Records(&self.words)
    }

    /// When the last of them was written: `CLOCK_MONOTONIC`, nanoseconds; 0 if there is none, or none that is
    /// a record.
    pub(crate) fn newest_ns(&self) -> u64 {
        self.last().map_or(0, told_at)
    }

    fn last(&self) -> Option<&[u8]> {
        Records(self.words.get(self.last..)?).next()
    }
}

/// When a record was written, as it says; 0 for what is none.
pub(super) fn told_at(record: &[u8]) -> u64 {
    Header::read_from_prefix(record).map_or(0, |(header, _)| header.mono_ns)
}

/// What is left of the records in a [`Chunk`].
#[derive(Clone, Debug)]
pub struct Records<'a>(&'a [u64]);

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, behind) = self.0.split_first()?;
        let length = usize::try_from(length).ok()?;
        let (record, others) = behind.split_at_checked(length.div_ceil(8))?;
        self.0 = others;
        record.as_bytes().get(..length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        let mut chunk = Chunk::default();
        assert_eq!((chunk.records().count(), chunk.last()), (0, None));
        let told: [&[u8]; 4] = [b"a record", b"", b"one more than eight", b"z"];
        for record in told {
            chunk.push(record);
            assert_eq!(chunk.last(), Some(record));
        }
        assert_eq!(chunk.records().collect::<Vec<_>>(), told);
        assert!(chunk.records().all(|it| it.as_ptr().addr() % 8 == 0));
        assert_eq!(chunk.bytes(), 8 * (4 + 1 + 3 + 1));
        chunk.clear();
        assert_eq!((chunk.records().count(), chunk.last()), (0, None));
    }
}
