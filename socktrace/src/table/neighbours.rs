//! Hashes for numbers that the kernel gives out in a row.

use std::hash::{BuildHasher, Hasher};

use hashbrown::DefaultHashBuilder;

/// Numbers in a row stand together in a table, so that they share what the CPU reads of it: sockets that
/// began together, descriptors of a process. Where each row stands nobody can choose.
#[derive(Clone, Debug, Default)]
pub(super) struct Neighbours(DefaultHashBuilder);

impl Neighbours {
    /// Numbers in a row.
    const ROW: u64 = 32;

    pub(super) fn hash(&self, number: u64) -> u64 {
        let row = self.0.hash_one(number / Self::ROW);
        // The lowest bits say where in the table it is, the highest seven are compared first.
        (row - row % Self::ROW + number % Self::ROW) ^ number << 57
    }
}

impl BuildHasher for Neighbours {
    type Hasher = OfNumber;

    fn build_hasher(&self) -> OfNumber {
        OfNumber {
            neighbours: self.clone(),
            hash: 0,
        }
    }
}

/// Hashes a single number.
pub(super) struct OfNumber {
    neighbours: Neighbours,
    hash: u64,
}

impl Hasher for OfNumber {
    fn finish(&self) -> u64 {
        self.hash
    }

    fn write_i32(&mut self, number: i32) {
        self.hash = self.neighbours.hash(u64::from(number.cast_unsigned()));
    }

    /// What is no number of a descriptor has no neighbours.
    fn write(&mut self, bytes: &[u8]) {
        self.hash = self.neighbours.0.hash_one((self.hash, bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_are_neighbours_that_differ() {
        let hasher = Neighbours::default();
        let row: Vec<u64> = (0..Neighbours::ROW)
            .map(|number| hasher.hash(6400 + number))
            .collect();
        let places: Vec<u64> = row.iter().map(|hash| hash & 0xffff).collect();
        assert!(
            places.windows(2).all(|two| two[0] + 1 == two[1]),
            "{places:x?}"
        );
        let mut first_compared: Vec<u64> = row.iter().map(|hash| hash >> 57).collect();
        first_compared.sort_unstable();
        first_compared.dedup();
        assert_eq!(first_compared.len(), row.len());
        // Nor can anybody know where the next row is.
        let rows =
            |hasher: &Neighbours| (0..8).map(|row| hasher.hash(row * 32)).collect::<Vec<_>>();
        assert_ne!(rows(&hasher), rows(&Neighbours::default()));
    }

    #[test]
    fn descriptors_are_numbers() {
        let hasher = Neighbours::default();
        assert_eq!(hasher.hash_one(70_i32), hasher.hash(70));
        assert_ne!(hasher.hash_one(-1_i32), hasher.hash_one(-2_i32));
    }
}
