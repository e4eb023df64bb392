//! Where choices come from: one interface, four sources. A world that draws every choice here can
//! be driven by a seed, by a fuzzer, by proptest, or through every combination.

use std::time::Duration;

use sync_core::rng::Rng;

/// A source of choices. What it gives last when it runs dry is 0, the tamest choice.
pub trait Entropy {
    /// A number below `bound`; 0 when `bound` is 0.
    fn below(&mut self, bound: u64) -> u64;

    /// True in so many of a thousand cases.
    fn chance(&mut self, per_thousand: u32) -> bool {
        // 0 must mean no, so that a source that ran dry plays the tame case.
        per_thousand > 0 && self.below(1_000) >= 1_000 - u64::from(per_thousand.min(1_000))
    }

    /// A number in `low..=high`.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// An index of a slice of this length, which is not empty.
    fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// A span in `low..=high`, in whole microseconds.
    fn span(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_micros(self.between(low.as_micros() as u64, high.as_micros() as u64))
    }
}

/// Choices of a seed.
#[derive(Clone, Debug)]
pub struct Seeded(Rng);

impl Seeded {
    /// The stream of this seed and name; streams of other names do not shift it.
    pub fn new(seed: u64, name: &str) -> Self {
        Self(Rng::fork(seed, name))
    }
}

impl Entropy for Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }
}

/// Choices of a fuzzer's bytes: as few bytes a choice as its bound needs.
#[derive(Clone, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Entropy for Bytes<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        if bound <= 1 {
            return 0;
        }
        let wanted = (64 - (bound - 1).leading_zeros()).div_ceil(8) as usize;
        let (now, rest) = self.0.split_at(wanted.min(self.0.len()));
        self.0 = rest;
        now.iter().fold(0, |n: u64, byte| n << 8 | u64::from(*byte)) % bound
    }
}

/// Choices that proptest made and can shrink.
#[derive(Clone, Debug)]
pub struct Choices {
    values: std::vec::IntoIter<u64>,
}

impl Choices {
    /// Plays these numbers, then zeros.
    pub fn new(values: Vec<u64>) -> Self {
        Self { values: values.into_iter() }
    }
}

impl Entropy for Choices {
    fn below(&mut self, bound: u64) -> u64 {
        self.values.next().unwrap_or(0).checked_rem(bound).unwrap_or(0)
    }
}

/// Every combination of choices, one a run: `while let Some(run) = all.next_run()`.
#[derive(Clone, Debug, Default)]
pub struct Exhaustive {
    /// Choice and bound, in the order they were made.
    made: Vec<(u64, u64)>,
    at: usize,
    started: bool,
}

impl Exhaustive {
    /// The next combination; `None` when all were played.
    pub fn next_run(&mut self) -> Option<&mut Self> {
        self.at = 0;
        if !self.started {
            self.started = true;
            return Some(self);
        }
        while let Some((choice, bound)) = self.made.pop() {
            if choice + 1 < bound {
                self.made.push((choice + 1, bound));
                return Some(self);
            }
        }
        None
    }
}

impl Entropy for Exhaustive {
    fn below(&mut self, bound: u64) -> u64 {
        if self.at == self.made.len() {
            self.made.push((0, bound.max(1)));
        }
        self.at += 1;
        self.made[self.at - 1].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exhaustive_plays_every_combination_once() {
        let mut all = Exhaustive::default();
        let mut seen = Vec::new();
        while let Some(run) = all.next_run() {
            let first = run.below(3);
            // The second choice exists only after some first ones.
            let second = if first == 1 { run.below(2) } else { 9 };
            seen.push((first, second));
        }
        assert_eq!(seen, [(0, 9), (1, 0), (1, 1), (2, 9)]);
    }

    #[test]
    fn sources_that_ran_dry_give_the_tame_choice() {
        let mut bytes = Bytes(&[1, 44, 7]);
        assert_eq!(bytes.below(1_000), 300);
        assert_eq!(bytes.below(10), 7);
        assert_eq!(bytes.below(10), 0);
        assert!(!bytes.chance(999));
        let mut choices = Choices::new(vec![13]);
        assert_eq!((choices.below(10), choices.below(10)), (3, 0));
    }

    #[test]
    fn chance_is_never_at_zero_and_always_at_a_thousand() {
        let mut seeded = Seeded::new(3, "chance");
        assert_eq!((0..500).filter(|_| seeded.chance(0)).count(), 0);
        assert_eq!((0..500).filter(|_| seeded.chance(1_000)).count(), 500);
    }
}
