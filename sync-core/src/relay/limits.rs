//! What a relay lets us have open: started small, learned, aged (TALK-3).

use nostr::types::Timestamp;

use crate::config::Config;
use crate::input::InfoLimits;

/// Most open subscriptions that are ever tried.
const CEILING: u32 = 200;
/// Answered requests that raise the budget by one.
const ANSWERS_PER_STEP: u32 = 4;

/// The budget of one relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    subscriptions: u32,
    ceiling: u32,
    answers: u32,
    learned_at: Option<Timestamp>,
    /// Whether `limit: 0` was refused by this relay (FILT-3).
    pub live_by_since: bool,
}

impl Limits {
    /// Fewest open subscriptions that a budget falls to: one live, one historic.
    pub const FLOOR: u32 = 2;

    /// What a relay gets that nothing is known of.
    pub fn new(config: &Config) -> Self {
        Self {
            subscriptions: config.learn.subscriptions.max(Self::FLOOR),
            ceiling: CEILING,
            answers: 0,
            learned_at: None,
            live_by_since: false,
        }
    }

    /// Open subscriptions and sessions allowed in all.
    pub fn subscriptions(&self) -> u32 {
        self.subscriptions
    }

    /// Of them, live ones: three of five, as 12 of 20.
    pub fn live(&self) -> u32 {
        (self.subscriptions * 3 / 5).max(1)
    }

    /// A request was answered: additive increase, up to what was learned.
    pub fn on_answer(&mut self) {
        self.answers += 1;
        if self.answers >= ANSWERS_PER_STEP {
            self.answers = 0;
            self.subscriptions = (self.subscriptions + 1).min(self.ceiling);
        }
    }

    /// The relay said that `open` are too many: that is the most it takes.
    pub fn on_subscription_limit(&mut self, open: u32, wall: Timestamp) {
        self.ceiling = open.saturating_sub(1).max(Self::FLOOR);
        self.subscriptions = (self.subscriptions / 2).clamp(Self::FLOOR, self.ceiling);
        self.learned_at = Some(wall);
    }

    /// The relay refuses or ignores `limit: 0` (FILT-3): whether that is new.
    pub fn refuse_limit_0(&mut self, wall: Timestamp) -> bool {
        self.learned_at.get_or_insert(wall);
        !core::mem::replace(&mut self.live_by_since, true)
    }

    /// Hints of NIP-11: lower the ceiling, never raise it.
    pub fn on_info(&mut self, info: &InfoLimits) {
        if let Some(max) = info.max_subscriptions.filter(|max| *max > 0) {
            self.ceiling = self.ceiling.min(max.max(Self::FLOOR));
            self.subscriptions = self.subscriptions.min(self.ceiling);
        }
    }

    /// Forgets what is older than `learn.ttl`.
    pub fn age(&mut self, wall: Timestamp, config: &Config) {
        let old = self
            .learned_at
            .is_some_and(|at| wall.as_secs() >= at.as_secs() + config.learn.ttl.as_secs());
        if old {
            *self = Self::new(config);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_grows_by_one_for_four_answers_and_halves_on_a_limit() {
        let config = Config::default();
        let mut limits = Limits::new(&config);
        assert_eq!((limits.subscriptions(), limits.live()), (20, 12));
        for _ in 0..40 {
            limits.on_answer();
        }
        assert_eq!(limits.subscriptions(), 30);
        limits.on_subscription_limit(30, Timestamp::from_secs(5));
        assert_eq!(limits.subscriptions(), 15);
        for _ in 0..400 {
            limits.on_answer();
        }
        assert_eq!(limits.subscriptions(), 29);
        limits.age(Timestamp::from_secs(5 + 86_400), &config);
        assert_eq!(limits.subscriptions(), 20);
    }
}
