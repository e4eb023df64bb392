//! Section 5: discovery and the index.

use std::collections::BTreeSet;
use std::time::Duration;

use sync_core::input::{Fact, GitOutcome};
use sync_core::item::SyncLevel;
use sync_core::url::RelayUrl;
use sync_tests::corpus::{Corpus, Options};
use sync_tests::sim::faults::{Faults, LimitedBy, Nature, Negentropy};
use sync_tests::world::{Action, World};

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

fn told(level: SyncLevel) -> Action {
    let relays = vec![RelayUrl::parse(&url(0)).expect("a URL")];
    Action::Facts(vec![Fact::Repo { repo: repo(1, "held"), relays, level }])
}

/// A relay with a state, an issue and its comment of a repository whose announcement waits for
/// git data at an embedder.
fn held(nature: Nature) -> (World, Vec<std::sync::Arc<nostr::event::Event>>) {
    let mut world = world(setup(), &[nature], 1);
    let root = issue(2, &repo(1, "held"), START - 900, "issue");
    let reply = comment(3, &root, &root, START - 800, "reply");
    let announced = announcement(1, "held", START - 1_000, &[0], &[]);
    let events = vec![state(1, "held", START - 950), root, reply, announced];
    for event in &events[..3] {
        put(&mut world, 0, event);
    }
    world.boot();
    converge(&mut world, 60);
    (world, events)
}

#[test]
fn h_40_h_42_what_waits_for_git_is_followed_for_its_state_only_and_at_once() {
    let (mut world, _) = held(Nature::default());
    world.after(secs(0), told(SyncLevel::StateOnly));
    // No scan: the discovery window is what it takes (H-42).
    run(&mut world, 1);
    let relay = id(&world, 0);
    let live = world.journal().live(relay);
    assert_eq!(values(live.clone(), 'd'), ["held".to_owned()].into());
    assert_eq!(values(live, 'a'), BTreeSet::new());
    run(&mut world, 600);
    let asked = world.journal().requests(relay, Duration::ZERO).flat_map(|(_, _, f)| f);
    assert_eq!(values(asked, 'a'), BTreeSet::new(), "nothing but states is asked for");
}

#[test]
fn h_41_readiness_raises_the_level_at_once_and_is_never_lost() {
    for negentropy in [Negentropy::Speaks, Negentropy::Error] {
        for trouble in 0..5 {
            let nature = Nature { negentropy, ..Nature::default() };
            let (mut world, events) = held(nature);
            world.after(secs(0), told(SyncLevel::StateOnly));
            match trouble {
                // While its batch is in flight, while disconnected, while cooling, over a cut.
                1 => run(&mut world, 0),
                2 => world.after(secs(1), Action::Cut(0)),
                3 => {
                    let limited = Some((1, LimitedBy::Notice));
                    let faults = Faults { limited, ..Faults::default() };
                    world.after(secs(0), Action::Misbehave(0, faults));
                    world.after(secs(3), Action::Heal(0));
                    run(&mut world, 2);
                }
                4 => {
                    run(&mut world, 30);
                    world.after(secs(0), Action::Cut(0));
                    world.after(Duration::from_millis(250), Action::Cut(0));
                }
                _ => run(&mut world, 30),
            }
            world.after(
                secs(1),
                Action::Facts(vec![Fact::Git {
                    repo: repo(1, "held"),
                    outcome: GitOutcome::Ready,
                }]),
            );
            // The embedder puts the announcement in where it is served.
            world.after(secs(1), Action::Publish(0, events[3].clone()));
            run(&mut world, 120);
            let relay = id(&world, 0);
            let live = values(world.journal().live(relay), 'a');
            assert!(live.contains(&repo(1, "held").to_string()), "{negentropy:?}, {trouble}");
            for event in &events {
                assert!(has(&world, event), "{negentropy:?}, {trouble}: {}", event.kind.as_u16());
            }
        }
    }
}
