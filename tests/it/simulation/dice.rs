//! Chance that repeats itself.

use std::cell::Cell;

/// SplitMix64: the same seed gives the same throws, on every computer and with every version of anything.
pub(super) struct Dice(Cell<u64>);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    fn throw(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From `low` to `high`, both of them possible.
    pub(super) fn between(&self, low: u64, high: u64) -> u64 {
        low + self.throw() % (high - low + 1)
    }

    /// True so many times in a hundred.
    pub(super) fn percent(&self, chance: u64) -> bool {
        self.between(1, 100) <= chance
    }

    /// An index into so many.
    pub(super) fn index(&self, length: usize) -> usize {
        self.between(0, length as u64 - 1) as usize
    }

    pub(super) fn pick<T: Copy>(&self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    /// One of these, each as often as its weight says.
    pub(super) fn weighted<T: Copy>(&self, from: &[(u64, T)]) -> T {
        let total: u64 = from.iter().map(|(weight, _)| weight).sum();
        let mut left = self.between(1, total);
        for (weight, item) in from {
            if left <= *weight {
                return *item;
            }
            left -= weight;
        }
        unreachable!("the weights add up")
    }
}
