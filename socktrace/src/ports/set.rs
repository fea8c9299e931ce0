//! A set of ports, a bit each.

use std::fmt;

const WORDS: usize = 65_536 / 64;

/// A set of ports.
#[derive(Clone, PartialEq, Eq)]
pub struct PortSet(Box<[u64; WORDS]>);

impl PortSet {
    /// Adds one; was it not in yet?
    pub fn insert(&mut self, port: u16) -> bool {
        let (word, bit) = place(port);
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    /// Takes one out.
    pub fn remove(&mut self, port: u16) {
        let (word, bit) = place(port);
        self.0[word] &= !bit;
    }

    /// Is it in?
    pub fn contains(&self, port: u16) -> bool {
        let (word, bit) = place(port);
        self.0[word] & bit != 0
    }

    /// How many are in.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Is none in?
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// How many are in both.
    pub fn common(&self, other: &Self) -> u32 {
        let words = self.0.iter().zip(&other.0[..]);
        words.map(|(one, other)| (one & other).count_ones()).sum()
    }

    /// Leaves only those that are in the other too.
    pub fn keep(&mut self, other: &Self) {
        for (one, other) in self.0.iter_mut().zip(&other.0[..]) {
            *one &= other;
        }
    }

    /// Adds those of the other.
    pub fn add(&mut self, other: &Self) {
        for (one, other) in self.0.iter_mut().zip(&other.0[..]) {
            *one |= other;
        }
    }

    /// Those in it, from the lowest.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        (0..=u16::MAX).filter(|port| self.contains(*port))
    }
}

fn place(port: u16) -> (usize, u64) {
    (usize::from(port / 64), 1 << (port % 64))
}

impl Default for PortSet {
    fn default() -> Self {
        Self(Box::new([0; WORDS]))
    }
}

impl From<Box<[u64; WORDS]>> for PortSet {
    /// A bit for each port, the lowest in the first word's lowest.
    fn from(words: Box<[u64; WORDS]>) -> Self {
        Self(words)
    }
}

impl FromIterator<u16> for PortSet {
    fn from_iter<T: IntoIterator<Item = u16>>(ports: T) -> Self {
        let mut set = Self::default();
        for port in ports {
            set.insert(port);
        }
        set
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(one: Vec<u16>, other: Vec<u16>, out: u16) {
            let (a, b): (BTreeSet<_>, BTreeSet<_>) =
                (one.iter().copied().collect(), other.iter().copied().collect());
            let (x, y): (PortSet, PortSet) = (one.into_iter().collect(), other.into_iter().collect());
            prop_assert_eq!(x.len() as usize, a.len());
            prop_assert_eq!(x.common(&y) as usize, a.intersection(&b).count());
            prop_assert!(x.iter().eq(a.iter().copied()));
            let mut both = x;
            both.add(&y);
            prop_assert!(both.iter().eq(a.union(&b).copied()));
            both.keep(&y);
            prop_assert_eq!(&both, &y);
            both.remove(out);
            prop_assert!(!both.contains(out));
        }
    }
}
