//! What was there before: the lowest count of each window of time. Counts go up and down with the
//! traffic; what only accumulates raises the floor under them.

use std::{collections::VecDeque, hash::Hash};

use hashbrown::HashMap;

/// The lowest counts of the last windows, of one thing.
#[derive(Clone, Debug)]
pub(super) struct Floors {
    window_ns: u64,
    /// When each began, and its lowest count; the last one is not over.
    windows: VecDeque<(u64, u64)>,
    looked: u64,
}

/// At most so many windows are kept.
const KEPT: usize = 64;

impl Floors {
    pub(super) fn new(window_ns: u64) -> Self {
        Self {
            window_ns: window_ns.max(1),
            windows: VecDeque::new(),
            looked: 0,
        }
    }

    /// There are so many now.
    pub(super) fn see(&mut self, now: u64, count: u64) {
        self.looked = now;
        match self.windows.back_mut() {
            Some((began, lowest)) if now < began.saturating_add(self.window_ns) => {
                *lowest = count.min(*lowest);
            }
            _ => {
                self.windows.push_back((now, count));
                if self.windows.len() > KEPT {
                    self.windows.pop_front();
                }
            }
        }
    }

    /// Has the floor risen from each of the last `windows` that are over to the next? A burst that
    /// stays raises it once.
    pub(super) fn rising(&self, windows: usize) -> bool {
        let over = self.over();
        let Some(from) = over.len().checked_sub(windows).filter(|_| windows > 1) else {
            return false;
        };
        let last: Vec<_> = over.range(from..).map(|(_, lowest)| *lowest).collect();
        last.is_sorted_by(|before, after| before < after)
    }

    /// How much the floor rose over the windows that are over.
    pub(super) fn risen(&self) -> u64 {
        let over = self.over();
        let at = |end: Option<&(u64, u64)>| end.map_or(0, |(_, lowest)| *lowest);
        at(over.back()).saturating_sub(at(over.front()))
    }

    /// For how long there is history, nanoseconds.
    pub(super) fn length_ns(&self) -> u64 {
        let began = self
            .windows
            .front()
            .map_or(self.looked, |(began, _)| *began);
        self.looked.saturating_sub(began)
    }

    fn over(&self) -> VecDeque<(u64, u64)> {
        let mut over = self.windows.clone();
        let running = |began: u64| self.looked < began.saturating_add(self.window_ns);
        if over.back().is_some_and(|(began, _)| running(*began)) {
            over.pop_back();
        }
        over
    }
}

/// A history for each of several things. What was not seen in a look is forgotten with it.
#[derive(Clone, Debug)]
pub(super) struct Histories<K, H> {
    by_key: HashMap<K, (H, u64)>,
    look: u64,
}

impl<K, H> Default for Histories<K, H> {
    fn default() -> Self {
        Self {
            by_key: HashMap::new(),
            look: 0,
        }
    }
}

impl<K: Copy + Eq + Hash, H> Histories<K, H> {
    /// A look begins.
    pub(super) fn begin(&mut self) {
        self.look += 1;
    }

    /// The history of a thing, begun if it has none.
    pub(super) fn of(&mut self, key: K, new: impl FnOnce() -> H) -> &mut H {
        let look = self.look;
        let (history, seen) = self.by_key.entry(key).or_insert_with(|| (new(), look));
        *seen = look;
        history
    }

    /// The look is over.
    pub(super) fn end(&mut self) {
        let look = self.look;
        self.by_key.retain(|_, (_, seen)| *seen == look);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floors(counts: &[u64]) -> Floors {
        let mut floors = Floors::new(10);
        for (now, count) in (0..).step_by(5).zip(counts) {
            floors.see(now, *count);
        }
        floors
    }

    #[test]
    fn the_floor_rises_under_what_comes_and_goes() {
        // Two looks a window; the last window is not over.
        assert!(floors(&[1, 9, 3, 30, 50, 4, 9]).rising(3));
        assert!(!floors(&[5, 9, 5, 30, 50, 5, 9]).rising(3));
        assert!(!floors(&[1, 9, 3, 30, 50, 2, 9]).rising(3));
        assert!(!floors(&[1, 9, 3, 30]).rising(3));
        assert!(!floors(&[1, 9, 30, 30, 30, 30, 30]).rising(3));
        assert_eq!(floors(&[1, 9, 3, 30, 50, 4, 9]).risen(), 3);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut histories = Histories::default();
        histories.begin();
        *histories.of(1, || 0) += 1;
        *histories.of(2, || 0) += 1;
        histories.end();
        histories.begin();
        *histories.of(1, || 0) += 1;
        histories.end();
        histories.begin();
        assert_eq!((*histories.of(1, || 0), *histories.of(2, || 0)), (2, 0));
    }
}
