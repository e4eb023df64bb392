//! Section 5: discovery and the index.

use std::collections::BTreeSet;

use sync_tests::corpus::{Corpus, Options};
use sync_tests::sim::faults::Nature;
use sync_tests::world::Action;

use super::bench::*;

#[test]
fn h_36_an_announcement_that_was_synced_leads_to_its_relays() {
    let mut world = world(setup(), &[Nature::default(), Nature::default()], 1);
    let home = announcement(1, "home", START - 1_000, &[0, 1], &[]);
    let root = issue(2, &repo(1, "home"), START - 900, "elsewhere");
    put(&mut world, 0, &home);
    put(&mut world, 1, &root);
    world.boot();
    converge(&mut world, 120);
    assert!(has(&world, &root) && is_connected(&world, 1));
    // And one that comes live, within a second.
    let at = world.wall().as_secs();
    let next = announcement(3, "next", at, &[1], &[]);
    let known = issue(2, &repo(3, "next"), at - 5_000, "was there");
    world.relays[1].publish(&known, nostr::types::Timestamp::from_secs(0));
    publish(&mut world, 0, &next);
    run(&mut world, 5);
    assert!(has(&world, &next) && has(&world, &known));
}

#[test]
fn h_37_h_38_a_restart_with_many_stored_repositories_wants_all_of_them() {
    let corpus = Corpus::generate(Options { repositories: 600, ..options(1, 1_400) });
    let mut world = synced(setup(), &corpus, &[Nature::default()]);
    let restarted = world.elapsed();
    world.after(secs(0), Action::Restart);
    // What is known comes from the store: the relay says nothing for now.
    run(&mut world, 1);
    converge(&mut world, 600);
    let relay = id(&world, 0);
    let wanted: BTreeSet<String> =
        corpus.repositories.iter().map(|repo| repo.coordinate().to_string()).collect();
    assert!(wanted.len() >= 600);
    assert_eq!(values(world.journal().live(relay), 'a'), wanted);
    assert!(world.journal().received(relay, restarted) < 20, "differences only");
}

#[test]
fn h_39_one_policy_decides_what_is_stored_and_what_is_followed() {
    for (archive, domains) in [(true, false), (false, true), (true, true)] {
        let mut setup = setup();
        setup.config.accept.archive = if archive { vec!["all".into()] } else { vec![] };
        setup.config.accept.domains = if domains { vec!["r0.example".into()] } else { vec![] };
        let mut world = world(setup, &[Nature::default(), Nature::default()], 1);
        // One lists us, one does not.
        let ours = announcement(1, "ours", START - 1_000, &[0], &[]);
        let other = announcement(2, "other", START - 1_000, &[1], &[]);
        let elsewhere = issue(3, &repo(2, "other"), START - 900, "elsewhere");
        put(&mut world, 0, &ours);
        put(&mut world, 0, &other);
        put(&mut world, 1, &elsewhere);
        world.boot();
        converge(&mut world, 120);
        assert!(has(&world, &ours));
        assert_eq!(has(&world, &other), archive);
        assert_eq!(has(&world, &elsewhere), archive, "what is accepted is followed");
        assert_eq!(world.status(1).is_some(), archive, "and what is not is not dialed");
    }
}
