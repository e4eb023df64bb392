//! Section 4: paging, filters, subscriptions.

use std::collections::BTreeSet;
use std::time::Duration;

use sync_core::command::Command;
use sync_core::event::Event;
use sync_tests::corpus::{Corpus, Options};
use sync_tests::sim::faults::{Faults, LimitedBy, Nature, Negentropy};
use sync_tests::world::{Action, World};

use super::bench::*;

fn paging(cap: usize) -> Nature {
    Nature { cap: Some(cap), negentropy: Negentropy::Error, ..Nature::default() }
}

#[test]
fn h_29_a_history_around_a_multiple_of_the_cap_is_complete() {
    for cap in [75, 100] {
        for count in [cap - 1, cap, cap + 1, 2 * cap, 5 * cap + 3] {
            let mut world = world(setup(), &[paging(cap)], 1);
            let home = repo(1, "home");
            put(&mut world, 0, &announcement(1, "home", START - 1_000_000, &[0], &[]));
            for n in 0..count as u64 {
                put(&mut world, 0, &issue(2, &home, START - 900_000 + 60 * n, &format!("{n}")));
            }
            world.boot();
            converge(&mut world, 600);
            assert!(is_connected(&world, 0), "cap {cap}, {count} issues");
            assert_eq!(world.stored().len(), count + 1, "cap {cap}, {count} issues");
        }
    }
}

#[test]
fn h_30_states_are_asked_for_by_identifier_only() {
    for negentropy in [Negentropy::Speaks, Negentropy::Notice] {
        let nature = Nature { negentropy, ..Nature::default() };
        let mut world = world(setup(), &[nature], 1);
        put(&mut world, 0, &announcement(1, "home", START - 1_000, &[0], &[]));
        put(&mut world, 0, &state(1, "home", START - 900));
        for n in 0..1_000 {
            put(&mut world, 0, &state(2 + n % 50, &format!("foreign {n}"), START - 800));
        }
        world.boot();
        converge(&mut world, 600);
        assert_eq!(world.stored().len(), 2);
        let since = world.elapsed();
        for n in 0..200 {
            let at = world.wall().as_secs();
            publish(&mut world, 0, &state(2 + n % 50, &format!("foreign {n}"), at));
        }
        run(&mut world, 60);
        let relay = id(&world, 0);
        assert!(world.journal().received(relay, Duration::ZERO) <= 8, "no foreign state comes");
        assert_eq!(world.journal().received(relay, since), 0);
    }
}

#[test]
fn h_31_open_requests_are_counted_and_not_estimated() {
    // The relay closes nothing and says that nine are the most: what is open there is the truth.
    let natures = [Nature { subscriptions: Some(9), ..Nature::default() }];
    let corpus = Corpus::generate(Options { repositories: 40, ..options(1, 400) });
    let mut world = synced(setup(), &corpus, &natures);
    for n in 0..60 {
        let at = world.wall().as_secs();
        let home = corpus.repositories[n % 40].coordinate();
        publish(&mut world, 0, &issue(60, &home, at, &format!("live {n}")));
        run(&mut world, 3);
    }
    run(&mut world, 120);
    let relay = id(&world, 0);
    let (live, historic) = world.journal().open(relay);
    assert_eq!((live, historic), (world.open(), 0));
    assert!(live <= 9, "{live}");
    let roots = |entry: &&sync_tests::corpus::Entry| {
        matches!(entry.event.kind.as_u16(), 1617 | 1618 | 1621)
    };
    let known = corpus.entries.iter().filter(roots).count();
    let standing = values(world.journal().live(relay), 'E');
    assert!(standing.len() >= known + 60, "{} of {}", standing.len(), known + 60);
    expect_live(&mut world, &corpus, 0, "probe");
}

/// What layer 3 is asked for, over a whole run.
fn threads(world: &World) -> BTreeSet<String> {
    let relay = id(world, 0);
    let requests = world.journal().requests(relay, Duration::ZERO);
    let all: Vec<_> = requests.flat_map(|(_, _, filters)| filters).collect();
    let mut asked = values(all.iter().copied(), 'e');
    asked.extend(values(all, 'E'));
    for (_, command) in world.journal().commands(Duration::ZERO) {
        if let Command::Reconcile { filter, .. } = command {
            asked.extend(values([filter], 'e'));
            asked.extend(values([filter], 'E'));
        }
    }
    asked
}

#[test]
fn h_32_only_what_replies_hang_on_is_a_thread() {
    for replies_carry_root in [true, false] {
        let corpus = Corpus::generate(Options { replies_carry_root, ..options(1, 400) });
        let world = synced(setup(), &corpus, &[Nature::default()]);
        let ids = |kinds: &[u16]| -> BTreeSet<String> {
            let of = corpus.entries.iter().filter(|e| kinds.contains(&e.event.kind.as_u16()));
            of.map(|entry| entry.event.id.to_hex()).collect()
        };
        // Reactions, statuses and states never are (ACPT-6).
        assert_eq!(threads(&world), ids(&[1617, 1618, 1621, 1111, 1619]));
    }
}

#[test]
fn h_33_an_announcement_is_no_root() {
    let corpus = Corpus::generate(options(1, 300));
    let world = synced(setup(), &corpus, &[Nature::default()]);
    let asked = threads(&world);
    let announcements = corpus.entries.iter().filter(|e| e.event.kind.as_u16() == 30617);
    let wrong = announcements.filter(|entry| asked.contains(&entry.event.id.to_hex()));
    assert_eq!(wrong.count(), 0);
    assert!(asked.len() > 20);
}

#[test]
fn h_34_a_comment_from_before_its_roots_filter_is_fetched() {
    for negentropy in [Negentropy::Speaks, Negentropy::Notice] {
        for delay in [0, 10, 50, 150, 300, 2_000] {
            let nature = Nature { negentropy, ..Nature::default() };
            let mut world = world(setup(), &[nature], 1);
            let home = announcement(1, "home", START - 1_000, &[0], &[]);
            put(&mut world, 0, &home);
            world.boot();
            converge(&mut world, 60);
            run(&mut world, 5);
            // A root and its comment come live; the comment names nothing that is asked for yet,
            // and its clock is behind.
            let at = world.wall().as_secs();
            let root = issue(2, &repo(1, "home"), at, "root");
            let reply = comment(3, &root, &root, at - 300, "reply");
            let answer = comment(4, &root, &reply, at - 299, "answer");
            publish(&mut world, 0, &root);
            let later = Duration::from_millis(delay);
            for event in [&reply, &answer] {
                world.after(later, Action::Publish(0, event.clone()));
            }
            run(&mut world, 15);
            for event in [&root, &reply, &answer] {
                assert!(has(&world, event), "{negentropy:?}, {delay} ms: {}", event.content);
            }
            assert!(is_connected(&world, 0), "{:?}", (negentropy, delay, world.status(0), world.ledger().gaps(&world.relays[0].url).collect::<Vec<_>>()));
        }
    }
}

#[test]
fn h_35_a_rate_limit_is_followed_by_a_minute_of_silence_and_then_all_goes_on() {
    let corpus = Corpus::generate(options(1, 300));
    for by in [LimitedBy::Notice, LimitedBy::Closed] {
        let mut world = World::of_corpus(setup(), &corpus);
        world.relays[0].misbehave(Faults { limited: Some((7, by)), ..Faults::default() });
        run(&mut world, 30);
        let limits = |world: &World| -> Vec<Duration> {
            let events = world.journal().events(Duration::ZERO);
            let limits = events.filter(|(_, event)| matches!(event, Event::RateLimited { .. }));
            limits.map(|(at, _)| at).collect()
        };
        let first = limits(&world)[0];
        run(&mut world, 50);
        let cooldown = *world.setup.config.health.cooldown;
        assert_eq!(cooldown, secs(65));
        let quiet = world.journal().commands(first).filter(|(at, command)| {
            *at < first + cooldown
                && matches!(command, Command::Subscribe { .. } | Command::Reconcile { .. })
        });
        // What is said in the moment of the limit was on its way before it.
        assert_eq!(quiet.filter(|(at, _)| *at > first).count(), 0);
        // Requests that were on their way may meet it as well.
        assert!(limits(&world).into_iter().all(|at| at < first + secs(1)), "{by:?}");
        world.after(secs(0), Action::Heal(0));
        converge(&mut world, 600);
        assert_eq!(missing(&world, &corpus), 0);
        assert!(is_connected(&world, 0));
        let dials = world.journal().commands(secs(0));
        assert_eq!(dials.filter(|(_, c)| matches!(c, Command::Dial { .. })).count(), 1);
    }
}
