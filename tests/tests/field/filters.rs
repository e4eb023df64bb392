//! Section 4: paging, filters, subscriptions.

use std::collections::BTreeSet;
use std::time::Duration;

use sync_core::command::Command;
use sync_tests::corpus::{Corpus, Options};
use sync_tests::sim::faults::{Nature, Negentropy};
use sync_tests::world::World;

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
