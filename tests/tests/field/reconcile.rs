//! Properties of reconciliation: random sets on both sides, any chunking, frame limit and refusal.

use std::collections::BTreeSet;
use std::time::Duration;

use nostr::types::Timestamp;
use sync_core::config::Size;
use sync_core::status::RelayStatus;
use sync_tests::corpus::{Corpus, Mode, Options};
use sync_tests::entropy::{Entropy, Seeded};
use sync_tests::sim::faults::{Faults, Nature, Negentropy};
use sync_tests::world::{Action, World};

use super::bench::*;

/// A world that is synced with a part of a corpus and then meets a relay with another part.
struct Meeting {
    world: World,
    corpus: Corpus,
}

impl Meeting {
    fn draw(seed: u64, entropy: &mut Seeded) -> Self {
        let corpus = Corpus::generate(Options {
            seed,
            repositories: 3,
            same_second: 100,
            ..options(2, 120 + 20 * (seed % 8) as usize)
        });
        let mut setup = setup();
        setup.seed = seed;
        let config = &mut setup.config;
        config.fetch.values_per_filter = entropy.between(1, 100) as u32;
        config.fetch.ids_per_filter = entropy.between(1, 50) as u32;
        config.fetch.filters_per_req = entropy.between(1, 10) as u32;
        config.limits.neg_frame_bytes = Size(entropy.between(8_192, 120_000));
        config.limits.neg_need = entropy.between(5, 200) as u32;
        config.sync.relays = vec![url(0), url(1)];
        let mut world = super::bench::world(setup, &[Nature::default(), Nature::default()], 2);
        // Relay 0 has what we have in the end, relay 1 holds another part: have and need.
        let (have, need) = (entropy.below(1_001) as u32, entropy.below(1_001) as u32);
        for entry in &corpus.entries {
            let event = std::sync::Arc::new(entry.event.clone());
            let announced = entry.event.kind.as_u16() == 30617;
            if announced || entropy.chance(have) {
                put(&mut world, 0, &event);
            }
            if announced || entropy.chance(need) {
                put(&mut world, 1, &event);
            }
        }
        Self { world, corpus }
    }

    /// Ids that either relay holds and policy wants.
    fn wanted(&self) -> BTreeSet<nostr::event::EventId> {
        let held = |id: &nostr::event::EventId| {
            self.world.relays.iter().any(|relay| relay.store.find(id).is_some())
        };
        // An event whose parents are on neither relay is rejected: the world itself judges.
        let all = self.corpus.wanted(&Mode::Archive, &self.corpus.all_relays());
        all.into_iter().filter(held).collect()
    }
}

#[test]
fn random_sets_reconcile_exactly_with_any_chunking_and_any_refusal() {
    for seed in 0..40 {
        let mut entropy = Seeded::new(seed, "reconcile");
        let mut meeting = Meeting::draw(seed, &mut entropy);
        let world = &mut meeting.world;
        let faults = Faults {
            neg_refused: [0, 0, 100, 500][entropy.index(4)],
            neg_blocked_above: entropy.chance(400).then(|| entropy.below(60) as usize),
            jitter: Duration::from_millis(entropy.below(200)),
            duplicates: if entropy.chance(300) { 200 } else { 0 },
            ..Faults::default()
        };
        world.relays[1].misbehave(faults);
        if entropy.chance(300) {
            world.relays[0].nature.negentropy = Negentropy::ALL[entropy.index(6)];
        }
        world.relays[1].nature.cap = Some([10, 50, 500][entropy.index(3)]);
        world.boot();
        converge(world, 3_600);
        // Once more, when both have sets and everything is proven: differences only.
        for n in 0..entropy.below(40) {
            let at = world.wall().as_secs() - 500 + n;
            let text = format!("later {n}");
            let relay = entropy.index(2);
            world.relays[relay].publish(
                &issue(90, &meeting.corpus.repositories[0].coordinate(), at, &text),
                Timestamp::from_secs(at),
            );
        }
        for relay in 0..2 {
            world.after(Duration::ZERO, Action::Cut(relay));
        }
        run(world, 1);
        converge(world, 3_600);
        let stored = world.stored();
        let unsettled = world
            .relays
            .iter()
            .flat_map(|relay| relay.store.iter())
            .filter(|event| !world.plane.is_settled(event) && is_asked_for(world, event))
            .count();
        assert_eq!(unsettled, 0, "seed {seed}: every needed id is stored or rejected");
        let wanted = meeting.wanted();
        let unwanted = wanted.difference(&stored).count();
        let world = &meeting.world;
        let explained = wanted
            .difference(&stored)
            .filter(|id| world.plane.rejection(id).is_some() || !is_known(world, id))
            .count();
        assert_eq!(unwanted, explained, "seed {seed}");
    }
}

/// Whether an event hangs on anything that is wanted.
fn is_asked_for(world: &World, event: &nostr::event::Event) -> bool {
    let claimed: Vec<_> =
        world.ledger().cohorts().flat_map(|(_, cohort)| cohort.items.clone()).collect();
    sync_tests::check::items_match(&claimed, &[])(event)
}

fn is_known(world: &World, id: &nostr::event::EventId) -> bool {
    let event = world.relays.iter().find_map(|relay| relay.store.find(id));
    event.is_some_and(|event| is_asked_for(world, event))
}

#[test]
fn ids_that_are_promised_and_not_served_are_named_and_all_else_is_stored() {
    for seed in 0..12 {
        let mut entropy = Seeded::new(seed, "withheld");
        let corpus = Corpus::generate(Options { seed, ..options(1, 150) });
        let mut world = synced(setup(), &corpus, &[Nature::default()]);
        let root = corpus.entries.iter().find(|e| e.event.kind.as_u16() == 1621);
        let Some(root) = root.map(|entry| entry.event.clone()) else { continue };
        let at = world.wall().as_secs();
        let later: Vec<_> =
            (0..60).map(|n| comment(80, &root, &root, at - 600 + n, &format!("{n}"))).collect();
        let withheld: BTreeSet<_> =
            later.iter().filter(|_| entropy.chance(300)).map(|event| event.id).collect();
        world.relays[0].misbehave(Faults { withheld: withheld.clone(), ..Faults::default() });
        for event in &later {
            world.relays[0].publish(event, Timestamp::from_secs(at - 1));
        }
        world.after(Duration::ZERO, Action::Cut(0));
        run(&mut world, 1);
        converge(&mut world, 600);
        for event in &later {
            assert_eq!(has(&world, event), !withheld.contains(&event.id), "seed {seed}");
        }
        let gaps: BTreeSet<_> =
            world.ledger().gaps(&world.relays[0].url).flat_map(|gap| gap.ids.clone()).collect();
        assert_eq!(gaps, withheld, "seed {seed}");
        let expected = match withheld.is_empty() {
            true => RelayStatus::Connected,
            false => RelayStatus::ConnectedDegraded,
        };
        assert_eq!(world.status(0), Some(expected));
    }
}

#[test]
fn a_relay_that_serves_mostly_what_policy_rejects_disturbs_nothing() {
    for negentropy in [Negentropy::Speaks, Negentropy::Error] {
        for cap in [20, 500] {
            let nature = Nature { negentropy, cap: Some(cap), ..Nature::default() };
            let mut world = super::bench::world(setup(), &[nature], 1);
            let home = repo(1, "home");
            put(&mut world, 0, &announcement(1, "home", START - 2_000_000, &[0], &[]));
            // States of our identifier by strangers: served for `#d`, and nobody wants them.
            for n in 0..600 {
                put(&mut world, 0, &state(100 + n as usize, "home", START - 1_900_000 + 900 * n));
            }
            let mut ours = 1;
            for n in 0..60 {
                let at = START - 1_900_000 + 9_000 * n;
                put(&mut world, 0, &issue(2, &home, at, &format!("{n}")));
                ours += 1;
            }
            world.boot();
            converge(&mut world, 900);
            assert!(is_connected(&world, 0), "{negentropy:?}, cap {cap}");
            assert_eq!(world.stored().len(), ours);
            let relay = id(&world, 0);
            let first = world.journal().received(relay, Duration::ZERO);
            assert!(first >= 661, "{first}");
            for action in [Action::Cut(0), Action::Kill] {
                let since = world.elapsed();
                world.after(Duration::ZERO, action);
                run(&mut world, 1);
                converge(&mut world, 900);
                assert_eq!(world.journal().received(relay, since), 0, "{negentropy:?}, cap {cap}");
            }
        }
    }
}
