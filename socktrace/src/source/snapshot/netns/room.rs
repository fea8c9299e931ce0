//! How many namespaces are looked into: who can make namespaces must not be able to use up our descriptors.

use crate::descriptors;

/// Descriptors that are kept open for a namespace: itself, a netlink socket, two counts of its sockets.
const EACH: usize = 4;
/// The part of all descriptors that is left for everything else, and at least so many.
const REST: usize = 4;
const LEFT: usize = 64;

/// How many namespaces can be open at once.
pub(super) fn namespaces_at_most() -> usize {
    within(descriptors::most())
}

/// Our own is looked into in any case.
fn within(descriptors: usize) -> usize {
    let left = LEFT.max(descriptors / REST);
    (descriptors.saturating_sub(left) / EACH).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_descriptors_is_for_something_else() {
        assert_eq!(within(65_536), 12_288);
        assert_eq!(within(1024), 192);
        assert_eq!(within(100), 9);
        assert_eq!(within(10), 1);
        assert!(within(usize::MAX) > 1 << 60);
    }
}
