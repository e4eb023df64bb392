//! A whole run: a corpus, relays with their natures, what goes wrong and when, and what must hold
//! in the end. Drawn from a seed, played, and shrunk when it fails.

use std::fmt;
use std::time::Duration;

use nostr::types::Timestamp;
use sync_core::agenda::Timer;
use sync_core::input::Operator;
use sync_core::item::GapReason;
use sync_core::status::RelayStatus;

use crate::check::Violation;
use crate::corpus::{Corpus, Mode, Options, Signing, Spread};
use crate::entropy::{Entropy, Seeded};
use crate::sim::faults::{Faults, Nature};
use crate::world::{Action, Setup, World};

/// A run that can be played.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Decides what the world draws.
    pub seed: u64,
    /// The events.
    pub corpus: Options,
    /// What each relay is like.
    pub natures: Vec<Nature>,
    /// How long things go wrong.
    pub phase: Duration,
    /// What happens, and when.
    pub actions: Vec<(Duration, Action)>,
    /// Relays that never heal.
    pub lost: Vec<usize>,
    /// How long the store takes for a batch.
    pub store_delay: Duration,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything held.
    Sound {
        /// Digest of all commands (D1).
        digest: u64,
        /// How many they were.
        commands: u64,
        /// Virtual time of the whole run.
        took: Duration,
    },
    /// An invariant did not hold.
    Safety(Violation),
    /// After the faults stopped something did not come about.
    Liveness(String),
}

/// Time after the last fault within which everything must be caught up: a day's daily
/// reconciliation, and the longest backoff.
const LIVENESS: Duration = Duration::from_secs(27 * 3600);
/// How long a converged world is watched (L4).
const CALM: Duration = Duration::from_secs(20 * 60);
/// Plays of one shrinking.
const SHRINKS: usize = 16;
/// The start of every scenario, wall time.
const START: u64 = 1_790_000_000;

impl Scenario {
    /// Draws a scenario.
    pub fn draw(seed: u64) -> Self {
        let mut entropy = Seeded::new(seed, "scenario");
        let count = entropy.between(1, 5) as usize;
        let phase = Duration::from_secs(entropy.between(60, 1_500));
        let corpus = draw_corpus(seed, count, phase, &mut entropy);
        let natures = (0..count).map(|_| Nature::draw(&mut entropy)).collect();
        let mut scenario = Self {
            seed,
            corpus,
            natures,
            phase,
            actions: Vec::new(),
            lost: Vec::new(),
            store_delay: Duration::from_millis(entropy.between(1, 200)),
        };
        scenario.draw_actions(&mut entropy);
        scenario.lost = (1..count).filter(|_| entropy.chance(80)).collect();
        scenario
    }

    fn draw_actions(&mut self, entropy: &mut impl Entropy) {
        let relays = self.natures.len();
        for _ in 0..entropy.below(12) {
            let at = entropy.span(Duration::ZERO, self.phase);
            let relay = entropy.index(relays);
            let action = match entropy.below(20) {
                0..9 => Action::Misbehave(relay, Faults::draw(entropy, false)),
                9..11 => Action::Heal(relay),
                11..14 => Action::Cut(relay),
                14..16 => Action::Restart,
                16 => Action::Operator(Operator::SyncNow),
                17..19 => Action::StoreDelay(
                    entropy.span(Duration::from_millis(1), Duration::from_secs(20)),
                ),
                _ => Action::StoreFails(true),
            };
            self.actions.push((at, action));
        }
        if entropy.chance(300) {
            self.actions.push((
                Duration::ZERO,
                Action::Misbehave(entropy.index(relays), Faults::draw(entropy, false)),
            ));
        }
        self.actions.sort_by_key(|(at, _)| *at);
    }

    /// Plays it to its end.
    pub fn play(&self, trace: bool) -> Outcome {
        let corpus = Corpus::generate(self.corpus.clone());
        let setup = Setup {
            seed: self.seed,
            wall: Timestamp::from_secs(START),
            store_delay: self.store_delay,
            trace,
            ..Setup::default()
        };
        let mut world = World::of_corpus(setup, &corpus);
        for (relay, nature) in world.relays.iter_mut().zip(&self.natures) {
            relay.nature = nature.clone();
        }
        for (at, action) in &self.actions {
            world.after(*at, action.clone());
        }
        world.run_for(self.phase);
        self.heal(&mut world);
        let result = self.liveness(&mut world, &corpus);
        if let Some(violation) = world.violation() {
            return Outcome::Safety(violation.clone());
        }
        match result {
            Ok(()) => {
                let (digest, commands) = world.digest();
                Outcome::Sound { digest, commands, took: world.elapsed() }
            }
            Err(text) => Outcome::Liveness(text),
        }
    }

    fn heal(&self, world: &mut World) {
        for relay in 0..self.natures.len() {
            let action = match self.lost.contains(&relay) {
                true => Action::Misbehave(relay, Faults { frozen: true, ..Faults::default() }),
                false => Action::Heal(relay),
            };
            world.after(Duration::ZERO, action);
        }
        world.after(Duration::ZERO, Action::StoreFails(false));
        world.after(Duration::ZERO, Action::StoreDelay(self.store_delay));
    }

    /// L1, L2, L4, L5.
    fn liveness(&self, world: &mut World, corpus: &Corpus) -> Result<(), String> {
        let healed = || (0..self.natures.len()).filter(|relay| !self.lost.contains(relay));
        let good = |world: &World| {
            is_calm(world)
                && healed().all(|relay| match world.status(relay) {
                    Some(RelayStatus::Connected) => true,
                    Some(RelayStatus::ConnectedDegraded) => only_dense(world, relay),
                    // No announcement that can be reached names it.
                    None => {
                        !self.lost.is_empty()
                            || relay > 0 && corpus.on_relay(relay).next().is_none()
                    }
                    Some(_) => false,
                })
        };
        if !world.run_until(LIVENESS, good) {
            let states: Vec<_> = healed()
                .map(|relay| {
                    let gaps: Vec<_> = world
                        .ledger()
                        .gaps(&world.relays[relay].url)
                        .map(|gap| (gap.reason, gap.range, gap.tries, gap.retry_at))
                        .collect();
                    (relay, world.status(relay), gaps)
                })
                .collect();
            let (elapsed, rest) = (world.elapsed(), world.describe());
            return Err(format!("L1: not caught up after {elapsed:?}: {states:?}, {rest}"));
        }
        let wanted = corpus.wanted(&Mode::Archive, &healed().collect());
        self.complete(world, corpus, &wanted)?;
        self.calm(world)?;
        world.after(Duration::ZERO, Action::Operator(Operator::Shutdown));
        let drain = 2 * *world.setup.config.dial.drain + Duration::from_secs(1);
        if !world.run_until(drain, World::is_ended) {
            return Err(format!("L5: not ended {drain:?} after shutdown"));
        }
        let (_, commands) = world.digest();
        world.run_for(drain);
        match (world.open(), world.digest().1 - commands) {
            (0, 0) => Ok(()),
            (open, later) => Err(format!("L5: {open} open, {later} commands after the end")),
        }
    }

    fn complete(
        &self,
        world: &World,
        corpus: &Corpus,
        wanted: &std::collections::BTreeSet<nostr::event::EventId>,
    ) -> Result<(), String> {
        let stored = world.stored();
        let missing: Vec<_> = corpus
            .entries
            .iter()
            .filter(|entry| wanted.contains(&entry.event.id))
            .filter(|entry| !stored.contains(&entry.event.id))
            // A lost relay may have brought what replaces or deletes it.
            .filter(|entry| self.lost.is_empty() || !world.plane.is_settled(&entry.event))
            .filter(|entry| !world.is_named_by_gap(&entry.event))
            .map(|entry| {
                let event = &entry.event;
                let why = world.plane.rejection(&event.id);
                (event.kind.as_u16(), event.id, event.created_at, entry.relays.clone(), why)
            })
            .collect();
        if !missing.is_empty() {
            let first = &missing[..missing.len().min(3)];
            return Err(format!("L2: {} of {} missing: {first:?}", missing.len(), wanted.len()));
        }
        let unwanted = stored.difference(wanted).count();
        if self.lost.is_empty() && unwanted > 0 {
            return Err(format!("L2: {unwanted} unwanted events are stored"));
        }
        Ok(())
    }

    /// L4: once converged only maintenance is scheduled.
    fn calm(&self, world: &mut World) -> Result<(), String> {
        let end = world.elapsed() + CALM;
        while world.elapsed() < end && world.violation().is_none() && world.run_one() {
            if world.is_idle() && self.lost.is_empty() && !is_calm(world) {
                let deadline = world.core.next_deadline();
                return Err(format!("L4: {deadline:?} is armed although all is done"));
            }
        }
        Ok(())
    }

    /// A smaller scenario that ends the same way, by leaving out what does not matter. Plays at
    /// most `SHRINKS` times.
    pub fn shrink(&self, same: impl Fn(&Outcome) -> bool) -> Self {
        let mut best = self.clone();
        let mut at = 0;
        for _ in 0..SHRINKS {
            if at >= best.actions.len() {
                break;
            }
            let mut smaller = best.clone();
            smaller.actions.remove(at);
            match same(&smaller.play(false)) {
                true => best = smaller,
                false => at += 1,
            }
        }
        while best.corpus.events > 60 {
            let mut smaller = best.clone();
            smaller.corpus.events /= 2;
            if !same(&smaller.play(false)) {
                break;
            }
            best = smaller;
        }
        best
    }
}

/// Whether nothing is under way and the next timer is one of maintenance.
fn is_calm(world: &World) -> bool {
    let maintenance = [Timer::Audit, Timer::Daily, Timer::LiveWrite, Timer::Stable, Timer::Refetch];
    let calm = |reason| maintenance.contains(&reason) || reason == Timer::Retry;
    world.is_idle() && world.core.next_deadline().is_none_or(|deadline| calm(deadline.reason))
}

/// Whether all gaps of a relay are dense seconds that its cap explains (L1).
fn only_dense(world: &World, relay: usize) -> bool {
    let relay = &world.relays[relay];
    let cap = relay.nature.cap.unwrap_or(usize::MAX);
    world.ledger().gaps(&relay.url).all(|gap| {
        let filter = nostr::filter::Filter::new().since(gap.range.since).until(gap.range.until);
        let second = gap.range.since == gap.range.until;
        gap.reason == GapReason::DenseSecond
            && second
            && relay.store.matching(&filter).count() >= cap.min(10)
    })
}

fn draw_corpus(seed: u64, relays: usize, phase: Duration, entropy: &mut impl Entropy) -> Options {
    // The newest part of the corpus is published while things go wrong.
    let span_secs = match entropy.below(3) {
        0 => 2 * 365 * 86_400,
        1 => 20 * phase.as_secs(),
        _ => 4 * phase.as_secs(),
    };
    Options {
        seed,
        repositories: entropy.between(1, 12) as usize,
        relays: (0..relays).map(|n| format!("wss://r{n}.example/")).collect(),
        copies: entropy.between(1, relays as u64) as usize,
        events: entropy.between(20, 600) as usize,
        end: Timestamp::from_secs(START + phase.as_secs()),
        span_secs,
        spread: if entropy.chance(500) { Spread::Halves } else { Spread::Everywhere },
        replies_carry_root: entropy.chance(600),
        deletions: 0,
        replaced: entropy.between(0, 60) as u32,
        same_second: if entropy.chance(300) { 200 } else { 10 },
        maintainers: entropy.between(0, 500) as u32,
        strangers: entropy.between(0, 30) as u32,
        quotes: entropy.between(0, 30) as u32,
        content: 60,
        signing: Signing::Simulated,
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let corpus = &self.corpus;
        writeln!(
            f,
            "seed {}: {} events of {} repositories over {} s, {:?}, roots carried: {}, store {:?}",
            self.seed,
            corpus.events,
            corpus.repositories,
            corpus.span_secs,
            corpus.spread,
            corpus.replies_carry_root,
            self.store_delay,
        )?;
        for (n, nature) in self.natures.iter().enumerate() {
            let lost = if self.lost.contains(&n) { ", never heals" } else { "" };
            writeln!(f, "  relay {n}: {nature:?}{lost}")?;
        }
        for (at, action) in &self.actions {
            writeln!(f, "  {at:?}: {action:?}")?;
        }
        write!(f, "  healed after {:?}", self.phase)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_scenario_each_time() {
        let text = |seed| Scenario::draw(seed).to_string();
        assert_eq!(text(3), text(3));
        assert_ne!(text(3), text(4));
    }

    #[test]
    fn shrinking_keeps_only_the_actions_that_matter() {
        let mut scenario = Scenario::draw(1);
        scenario.corpus.events = 40;
        scenario.actions =
            (0..5).map(|n| (Duration::from_secs(n), Action::StoreFails(n == 3))).collect();
        // The outcome does not matter: everything that can be left out is.
        let shrunk = scenario.shrink(|_| true);
        assert!(shrunk.actions.is_empty());
        assert_eq!(scenario.shrink(|_| false).actions.len(), 5);
    }
}
