//! Backoff and health of a relay: a pure function of its history and the time (spec §8).

use core::time::Duration;

use nostr::types::Timestamp;

use crate::config::HealthConfig;
use crate::rng::Rng;
use crate::status::HealthStatus;
use crate::time::Instant;

/// What of a relay's history its health depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Consecutive failures.
    pub failures: u32,
    /// Wall time of the first of them.
    pub failing_since: Option<Timestamp>,
    /// Nothing is sent and no dial begins before (TALK-2).
    pub cooldown_until: Option<Instant>,
}

impl Health {
    /// Counts a failed dial or a short connection (HLTH-1).
    pub fn on_failure(&mut self, wall: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(wall);
    }

    /// Ends the streak after a stable time (HLTH-1).
    pub fn on_stable(&mut self) {
        self.failures = 0;
        self.failing_since = None;
    }

    /// Whether the relay failed for a day (HLTH-2).
    pub fn is_dead(&self, wall: Timestamp, config: &HealthConfig) -> bool {
        self.failing_since.is_some_and(|since| {
            wall.as_secs().saturating_sub(since.as_secs()) >= config.dead_after.as_secs()
        })
    }

    /// The bound of the backoff: base × 2^(n−1), capped; a day for a dead relay. Within a streak
    /// it never falls (S13).
    pub fn backoff_bound(&self, wall: Timestamp, config: &HealthConfig) -> Duration {
        if self.failures == 0 {
            return Duration::ZERO;
        }
        if self.is_dead(wall, config) {
            return *config.dead_retry;
        }
        let doublings = (self.failures - 1).min(31);
        config.backoff_base.saturating_mul(1 << doublings).min(*config.backoff_max)
    }

    /// A backoff below its bound, at least half of it, so that relays that failed together come
    /// back apart.
    pub fn backoff(&self, wall: Timestamp, config: &HealthConfig, rng: &mut Rng) -> Duration {
        let bound = self.backoff_bound(wall, config);
        rng.span(bound / 2, bound)
    }

    /// The state that is shown.
    pub fn status(
        &self,
        now: Instant,
        wall: Timestamp,
        online: bool,
        config: &HealthConfig,
    ) -> HealthStatus {
        if self.cooldown_until.is_some_and(|until| now < until) {
            HealthStatus::RateLimited
        } else if online {
            if self.failures == 0 { HealthStatus::Healthy } else { HealthStatus::Degraded }
        } else if self.is_dead(wall, config) {
            HealthStatus::Dead
        } else {
            HealthStatus::Disconnected
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn the_backoff_bound_doubles_up_to_an_hour_and_is_a_day_when_dead() {
        let config = HealthConfig::default();
        let mut health = Health::default();
        let mut bounds = alloc::vec::Vec::new();
        for _ in 0..12 {
            health.on_failure(at(100));
            bounds.push(health.backoff_bound(at(100), &config).as_secs());
        }
        assert_eq!(bounds, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
        assert_eq!(health.backoff_bound(at(100 + 86_400), &config).as_secs(), 86_400);
        assert_eq!(
            health.status(Instant::ZERO, at(100 + 86_400), false, &config),
            HealthStatus::Dead
        );
    }

    #[test]
    fn the_backoff_lies_between_half_and_all_of_its_bound() {
        let config = HealthConfig::default();
        let mut health = Health::default();
        let mut rng = Rng::new(1);
        health.on_failure(at(1));
        for _ in 0..1000 {
            let backoff = health.backoff(at(1), &config, &mut rng).as_micros();
            assert!((2_500_000..=5_000_000).contains(&backoff), "{backoff}");
        }
    }

    #[test]
    fn a_relay_within_a_streak_is_degraded_until_it_was_stable() {
        let config = HealthConfig::default();
        let mut health = Health::default();
        health.on_failure(at(1));
        let online = |h: &Health| h.status(Instant::ZERO, at(2), true, &config);
        assert_eq!(online(&health), HealthStatus::Degraded);
        health.on_stable();
        assert_eq!(online(&health), HealthStatus::Healthy);
        health.cooldown_until = Some(Instant::from_micros(1));
        assert_eq!(online(&health), HealthStatus::RateLimited);
    }
}
