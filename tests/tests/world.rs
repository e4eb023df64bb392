//! The simulated world with fixed seeds: honest relays first, then what they do wrong.

use std::time::Duration;

use sync_core::status::RelayStatus;
use sync_tests::corpus::{Corpus, Mode, Options, Signing, Spread};
use sync_tests::scenario::{Outcome, Scenario};
use sync_tests::sim::faults::{Nature, Negentropy};
use sync_tests::world::{Action, Setup, World};

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
    assert!(missing.is_empty(), "{} of {} missing: {missing:?}", missing.len(), wanted.len());
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

#[test]
fn replies_that_name_only_their_parent_are_followed_to_their_depth() {
    for negentropy in [Negentropy::Speaks, Negentropy::Error] {
        let corpus = Corpus::generate(Options {
            replies_carry_root: false,
            spread: Spread::Halves,
            ..options()
        });
        let mut world = World::of_corpus(Setup::default(), &corpus);
        for relay in &mut world.relays {
            relay.nature.negentropy = negentropy;
        }
        syncs(world, &corpus, Duration::from_secs(600));
    }
}

#[test]
fn quotes_strangers_and_maintainers_end_as_the_oracle_says() {
    let corpus = Corpus::generate(Options {
        quotes: 60,
        strangers: 40,
        maintainers: 500,
        replaced: 60,
        same_second: 100,
        spread: Spread::Halves,
        ..options()
    });
    let world = World::of_corpus(Setup::default(), &corpus);
    syncs(world, &corpus, Duration::from_secs(600));
}

#[test]
fn pages_of_every_cap_bring_everything_without_negentropy() {
    for cap in [10, 50, 75, 100, 500] {
        let corpus = Corpus::generate(Options {
            same_second: 0,
            relays: relays(1),
            copies: 1,
            events: 600,
            ..options()
        });
        let mut world = World::of_corpus(Setup::default(), &corpus);
        let negentropy = Negentropy::Notice;
        world.relays[0].nature = Nature { cap: Some(cap), negentropy, ..Nature::default() };
        let world = syncs(world, &corpus, Duration::from_secs(900));
        assert_eq!(world.status(0), Some(RelayStatus::Connected), "cap {cap}");
    }
}

#[test]
fn the_same_seed_gives_the_same_commands() {
    let run = |seed| {
        let corpus = Corpus::generate(options());
        let mut world = World::of_corpus(Setup { seed, ..Setup::default() }, &corpus);
        world.run_for(Duration::from_secs(120));
        world.expect_sound();
        world.digest()
    };
    let (digest, commands) = run(5);
    assert!(commands > 50);
    assert_eq!((digest, commands), run(5));
}

#[test]
fn what_is_published_while_connected_arrives_live() {
    // The newest part of the corpus comes within the run.
    let corpus = Corpus::generate(Options { span_secs: 3_000, ..options() });
    let wall = corpus.options.end - 600_u64;
    let mut world = World::of_corpus(Setup { wall, ..Setup::default() }, &corpus);
    world.run_for(Duration::from_secs(30));
    let before = world.stored().len();
    world.run_for(Duration::from_secs(600));
    let world = syncs(world, &corpus, Duration::from_secs(60));
    assert!(world.stored().len() > before + 40);
}

#[test]
fn a_restart_resumes_from_the_ledger_and_ends_complete() {
    let corpus = Corpus::generate(options());
    let mut world = World::of_corpus(Setup::default(), &corpus);
    // In the middle of the first pass, and once everything is proven.
    world.after(Duration::from_millis(400), Action::Restart);
    world.after(Duration::from_secs(60), Action::Restart);
    world.run_for(Duration::from_secs(90));
    syncs(world, &corpus, Duration::from_secs(120));
}

#[test]
fn drawn_scenarios_hold() {
    for seed in [1, 2, 3, 4, 5, 7, 10, 11, 12, 15, 17, 25] {
        let outcome = Scenario::draw(seed).play(false);
        let sound = matches!(outcome, Outcome::Sound { .. });
        assert!(sound, "{outcome:?}\ncargo run -p sync-tests --bin vopr -- {seed} --trace");
    }
}
