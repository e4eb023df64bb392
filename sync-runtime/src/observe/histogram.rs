//! A log-linear histogram of atomics: 16 sub-buckets an octave, exact at powers of two, so that
//! quantiles of documents and of Prometheus agree there. Recording takes no lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const SUB: usize = 16;
const BUCKETS: usize = 33 * SUB;

/// Counts values: microseconds, or items.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
}

/// A copy of a [`Histogram`], or the difference of two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramCopy {
    /// Values recorded.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The smallest, when there is one.
    pub min: Option<u64>,
    /// The largest, when there is one.
    pub max: Option<u64>,
    /// Index and count of buckets that hold any.
    pub buckets: Vec<(u16, u64)>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }
}

/// The bucket of a value: it holds what is above the upper bound of the one before, up to its own
/// bound, so that `le` of Prometheus is exact.
fn bucket(value: u64) -> usize {
    let v = value.saturating_sub(1);
    if v < SUB as u64 {
        return v as usize;
    }
    let octave = v.ilog2() as usize;
    let sub = (v >> (octave - 4)) as usize & (SUB - 1);
    ((octave - 3) * SUB + sub).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < SUB {
        return bucket as u64 + 1;
    }
    let (octave, sub) = (bucket / SUB + 3, bucket % SUB);
    ((SUB + sub + 1) as u64) << (octave - 4)
}

impl Histogram {
    /// Records a span in microseconds.
    pub fn span(&self, span: Duration) {
        self.record(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
    }

    /// Records a value.
    pub fn record(&self, value: u64) {
        self.buckets[bucket(value)].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
        self.min.fetch_min(value, Relaxed);
        self.max.fetch_max(value, Relaxed);
    }

    /// What was recorded so far.
    pub fn copy(&self) -> HistogramCopy {
        let buckets: Vec<_> = (0u16..)
            .zip(self.buckets.iter().map(|n| n.load(Relaxed)))
            .filter(|(_, n)| *n > 0)
            .collect();
        let count = buckets.iter().map(|(_, n)| n).sum();
        let (min, max) = (self.min.load(Relaxed), self.max.load(Relaxed));
        HistogramCopy {
            count,
            sum: self.sum.load(Relaxed),
            min: (count > 0).then_some(min),
            max: (count > 0).then_some(max),
            buckets,
        }
    }
}

impl HistogramCopy {
    /// The value below which `numerator`/`denominator` of the values lie: the upper bound of its
    /// bucket, at most 6.25 % above, and never beyond what was recorded.
    pub fn quantile(&self, numerator: u64, denominator: u64) -> Option<u64> {
        let rank = (self.count * numerator).div_ceil(denominator).max(1);
        let mut seen = 0;
        let (at, _) = self.buckets.iter().find(|(_, n)| {
            seen += n;
            seen >= rank
        })?;
        let bound = upper(usize::from(*at));
        Some(bound.min(self.max.unwrap_or(bound)).max(self.min.unwrap_or(0)))
    }

    /// How many values are at most `bound`, a power of two.
    pub fn up_to(&self, bound: u64) -> u64 {
        let within = |at: u16| upper(usize::from(at)) <= bound;
        self.buckets.iter().filter(|(at, _)| within(*at)).map(|(_, n)| n).sum()
    }

    /// What was recorded since `before`. Smallest and largest are those of the buckets that grew,
    /// since extremes cannot be subtracted.
    pub fn since(&self, before: &Self) -> Self {
        let old = |at: u16| {
            let found = before.buckets.binary_search_by_key(&at, |(b, _)| *b);
            found.map_or(0, |i| before.buckets[i].1)
        };
        let buckets: Vec<_> = self
            .buckets
            .iter()
            .map(|(at, n)| (*at, n.saturating_sub(old(*at))))
            .filter(|(_, n)| *n > 0)
            .collect();
        let lower = |at: u16| if at == 0 { 0 } else { upper(usize::from(at) - 1) };
        Self {
            count: buckets.iter().map(|(_, n)| n).sum(),
            sum: self.sum.saturating_sub(before.sum),
            min: buckets.first().map(|(at, _)| lower(*at).max(self.min.unwrap_or(0))),
            max: buckets
                .last()
                .map(|(at, _)| upper(usize::from(*at)).min(self.max.unwrap_or(u64::MAX))),
            buckets,
        }
    }

    /// Both together.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = [self.min, other.min].into_iter().flatten().min();
        self.max = self.max.max(other.max);
        for (at, n) in &other.buckets {
            match self.buckets.binary_search_by_key(at, |(b, _)| *b) {
                Ok(i) => self.buckets[i].1 += n,
                Err(i) => self.buckets.insert(i, (*at, *n)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn powers_of_two_are_bounds_of_buckets_and_belong_below() {
        for exponent in 0..36 {
            let bound = 1u64 << exponent;
            assert_eq!(upper(bucket(bound)), bound, "2^{exponent}");
            assert_eq!(bucket(bound + 1), bucket(bound) + 1, "2^{exponent} + 1");
        }
    }

    #[test]
    fn an_interval_is_the_difference_of_two_copies() {
        let histogram = Histogram::default();
        histogram.record(100);
        let before = histogram.copy();
        histogram.record(3);
        histogram.record(4);
        let interval = histogram.copy().since(&before);
        assert_eq!((interval.count, interval.sum), (2, 7));
        assert_eq!((interval.min, interval.max), (Some(3), Some(4)));
        assert_eq!(interval.quantile(1, 2), Some(3));
        let mut both = before;
        both.merge(&interval);
        assert_eq!((both.count, both.sum, both.max), (3, 107, Some(100)));
        assert_eq!(both.up_to(4), 2);
    }

    #[test]
    fn many_threads_lose_no_value() {
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let histogram = &histogram;
                scope.spawn(move || (0..1000).for_each(|n| histogram.record(n * 8 + thread)));
            }
        });
        let copy = histogram.copy();
        assert_eq!((copy.count, copy.sum), (8000, 7999 * 8000 / 2));
        assert_eq!((copy.min, copy.max), (Some(0), Some(7999)));
    }

    proptest! {
        #[test]
        fn a_quantile_is_never_below_and_at_most_a_sixteenth_above(
            mut values in prop::collection::vec(0u64..1 << 35, 1..200),
            percent in 1u64..=100,
        ) {
            let histogram = Histogram::default();
            values.iter().for_each(|v| histogram.record(*v));
            values.sort_unstable();
            let rank = (values.len() as u64 * percent).div_ceil(100).max(1) as usize;
            let (exact, got) = (values[rank - 1], histogram.copy().quantile(percent, 100).expect("values"));
            prop_assert!(got >= exact && got <= exact + exact / 16 + 1, "{got} for {exact}");
        }
    }
}
