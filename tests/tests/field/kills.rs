//! Kills at random moments: what is not committed is lost, events and ledger rows together.

use std::collections::BTreeSet;
use std::time::Duration;

use nostr::event::Event;
use sync_core::item::Item;
use sync_core::status::RelayStatus;
use sync_tests::check::items_match;
use sync_tests::corpus::{Corpus, Options, Spread};
use sync_tests::entropy::{Entropy, Seeded};
use sync_tests::sim::faults::{Nature, Negentropy};
use sync_tests::world::{Action, World};

use super::bench::*;

const SEEDS: u64 = 200;
/// Events beside the differences: what lies in the overlap of pages, and what comes live and by
/// request at once.
const SLACK: u64 = 20;

fn corpus_of(seed: u64) -> Corpus {
    Corpus::generate(Options {
        seed,
        repositories: 3,
        spread: if seed.is_multiple_of(2) { Spread::Halves } else { Spread::Everywhere },
        replies_carry_root: !seed.is_multiple_of(3),
        ..options(2, 90)
    })
}

/// What a relay may send after a kill: what is not settled here, and what belongs to items that
/// nothing is proven of, which come by pages (HIST-1). Each counts once a filter that it matches.
fn differences(world: &World) -> u64 {
    let mut proven: BTreeSet<Item> = BTreeSet::new();
    for (_, cohort) in world.ledger().cohorts() {
        proven.extend(cohort.items.iter().cloned());
    }
    let proven: Vec<Item> = proven.into_iter().collect();
    let is_proven = items_match(&proven, &[]);
    let differs = |event: &&std::sync::Arc<Event>| {
        !world.plane.is_settled(event) || !is_only_of(event, &is_proven, &proven)
    };
    world.relays.iter().map(|relay| 3 * relay.store.iter().filter(differs).count() as u64).sum()
}

/// Whether every item that an event belongs to is proven.
fn is_only_of(event: &Event, is_proven: &impl Fn(&Event) -> bool, proven: &[Item]) -> bool {
    let items = sync_core::admit::references::items(event);
    is_proven(event) && items.iter().all(|item| proven.contains(item))
}

fn finish(world: &mut World, corpus: &Corpus, seed: u64) {
    let good = |world: &World| {
        (0..2).all(|relay| match world.status(relay) {
            Some(RelayStatus::Connected) => true,
            Some(_) => false,
            None => corpus.on_relay(relay).next().is_none(),
        }) && world.is_idle()
    };
    let done = world.run_until(secs(3_600), good);
    world.expect_sound();
    let statuses: Vec<_> = world.core.relays().collect();
    assert!(done, "seed {seed}: {statuses:?}");
    assert_eq!(missing(world, corpus), 0, "seed {seed}");
}

#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_confirmed() {
    let mut unwritten = 0;
    for seed in 0..SEEDS {
        let mut entropy = Seeded::new(seed, "kills");
        let corpus = corpus_of(seed);
        let mut setup = setup();
        setup.seed = seed;
        setup.store_delay = Duration::from_millis(entropy.between(1, 400));
        let mut world = World::of_corpus(setup, &corpus);
        let speaks = entropy.chance(600);
        for relay in &mut world.relays {
            let negentropy = if speaks { Negentropy::Speaks } else { Negentropy::Error };
            relay.nature = Nature { negentropy, cap: Some(50), ..Nature::default() };
        }
        // Mostly within the first sync, now and then when all is done.
        let longest = if entropy.chance(800) { 4_000 } else { 60_000 };
        for _ in 0..entropy.between(1, 3) {
            let span = entropy.span(Duration::ZERO, Duration::from_millis(longest));
            world.run_for(span);
            let rows = world.ledger().rows().len();
            unwritten += u64::from(rows != world.durable().rows().len());
            world.after(Duration::ZERO, Action::Kill);
            world.run_for(Duration::ZERO);
            world.expect_sound(); // S6, S7 of what is durable
        }
        let bound = differences(&world) + SLACK;
        let killed = world.elapsed();
        finish(&mut world, &corpus, seed);
        if speaks {
            let ids: Vec<_> = world.core.relays().map(|(relay, _)| relay).collect();
            let came: u64 = ids.iter().map(|r| world.journal().received(*r, killed)).sum();
            assert!(came <= bound, "seed {seed}: {came} events came, {bound} differ");
        }
    }
    assert!(unwritten > SEEDS / 10, "kills fell between rows and commits {unwritten} times");
}

#[test]
fn a_kill_of_a_current_daemon_costs_only_what_came_meanwhile() {
    for seed in 0..10 {
        let corpus = corpus_of(seed);
        let mut world = synced(setup(), &corpus, &[Nature::default(), Nature::default()]);
        run(&mut world, 600);
        let root = corpus.on_relay(0).find(|e| e.event.kind.as_u16() == 1621);
        let Some(root) = root.map(|entry| entry.event.clone()) else { continue };
        world.after(Duration::ZERO, Action::Kill);
        for n in 0..seed {
            let at = world.wall().as_secs() - 100 + n;
            put(&mut world, 0, &comment(80, &root, &root, at, "meanwhile"));
        }
        let killed = world.elapsed();
        finish(&mut world, &corpus, seed);
        let ids: Vec<_> = world.core.relays().map(|(relay, _)| relay).collect();
        let came: u64 = ids.iter().map(|r| world.journal().received(*r, killed)).sum();
        // `#e` and `#E` both name the root.
        assert!(came <= 2 * seed, "{came} events for {seed} differences");
    }
}

#[test]
fn the_rows_that_were_persisted_are_the_rows_that_a_core_would_write() {
    for seed in 0..20 {
        let corpus = corpus_of(seed);
        let mut world = World::of_corpus(setup(), &corpus);
        for _ in 0..8 {
            run(&mut world, 1 + seed % 3);
            let known = |row: &sync_core::ledger::LedgerRow| {
                !matches!(row, sync_core::ledger::LedgerRow::Relay(_))
            };
            let mut core: Vec<_> = world.core.durable().into_iter().filter(known).collect();
            let mut ledger: Vec<_> = world.ledger().rows().into_iter().filter(known).collect();
            core.sort_by_key(|row| format!("{row:?}"));
            ledger.sort_by_key(|row| format!("{row:?}"));
            assert_eq!(core, ledger);
        }
    }
}
