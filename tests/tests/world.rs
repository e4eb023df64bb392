//! The simulated world with fixed seeds: honest relays first, then what they do wrong.

use std::time::Duration;

use sync_core::status::RelayStatus;
use sync_tests::corpus::{Corpus, Mode, Options, Signing, Spread};
use sync_tests::sim::faults::{Nature, Negentropy};
use sync_tests::world::{Setup, World};

fn relays(n: usize) -> Vec<String> {
    (0..n).map(|n| format!("wss://r{n}.example/")).collect()
}

fn options() -> Options {
    Options {
        events: 300,
        repositories: 6,
        relays: relays(3),
        copies: 2,
        signing: Signing::Simulated,
        ..Options::default()
    }
}

/// Runs until all relays are past their pass, and checks that the store is what the oracle says.
fn syncs(mut world: World, corpus: &Corpus, limit: Duration) -> World {
    let converged = world.run_until(limit, World::is_converged);
    world.expect_sound();
    let statuses: Vec<_> = world.core.relays().collect();
    assert!(converged, "not converged after {:?}: {statuses:?}", world.elapsed());
    let wanted = corpus.wanted(&Mode::Archive, &corpus.all_relays());
    let stored = world.stored();
    let missing: Vec<_> = corpus
        .entries
        .iter()
        .filter(|entry| wanted.contains(&entry.event.id) && !stored.contains(&entry.event.id))
        .map(|entry| (entry.event.kind.as_u16(), entry.relays.clone(), entry.event.id))
        .collect();
    assert!(missing.is_empty(), "{} of {} missing: {:?}", missing.len(), wanted.len(), missing[0]);
    assert_eq!(stored.difference(&wanted).count(), 0, "nothing unwanted is stored");
    world
}

#[test]
fn an_honest_relay_with_negentropy_is_connected_and_all_of_it_is_stored() {
    let corpus = Corpus::generate(Options { relays: relays(1), copies: 1, ..options() });
    let world = World::of_corpus(Setup::default(), &corpus);
    let world = syncs(world, &corpus, Duration::from_secs(120));
    assert_eq!(world.status(0), Some(RelayStatus::Connected));
}

#[test]
fn an_honest_relay_without_negentropy_is_connected_and_all_of_it_is_stored() {
    let corpus = Corpus::generate(Options { relays: relays(1), copies: 1, ..options() });
    let mut world = World::of_corpus(Setup::default(), &corpus);
    world.relays[0].nature = Nature { negentropy: Negentropy::Ignored, ..Nature::default() };
    let world = syncs(world, &corpus, Duration::from_secs(300));
    assert_eq!(world.status(0), Some(RelayStatus::Connected));
}

#[test]
fn relays_found_through_announcements_are_synced_from_too() {
    let corpus = Corpus::generate(Options { spread: Spread::Halves, ..options() });
    let world = World::of_corpus(Setup::default(), &corpus);
    let world = syncs(world, &corpus, Duration::from_secs(300));
    for relay in 0..3 {
        assert_eq!(world.status(relay), Some(RelayStatus::Connected), "relay {relay}");
    }
}
