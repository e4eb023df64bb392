//! The core's own random stream: splitmix64, forked per relay, so that adding one relay never
//! shifts another's jitter. Not for secrets.

use core::time::Duration;

/// A deterministic stream of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng(u64);

impl Rng {
    /// A stream of its own.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream that depends on this seed and `name` only.
    pub fn fork(seed: u64, name: &str) -> Self {
        // FNV-1a; it only has to tell names apart.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut rng = Self(seed ^ hash);
        rng.next();
        rng
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "a stream without an end is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of a 128-bit product is uniform enough for jitter.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A span in `low..=high`, in microseconds; `low` when the range is empty.
    pub fn span(&mut self, low: Duration, high: Duration) -> Duration {
        let low = low.as_micros() as u64;
        let width = (high.as_micros() as u64).saturating_sub(low);
        Duration::from_micros(low + self.below(width + 1))
    }
}
