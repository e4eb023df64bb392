//! Section 6: events that depend on each other, in any order (S14, S15).

use std::collections::BTreeSet;
use std::sync::Arc;

use nostr::event::{Event, EventId};
use sync_tests::sim::faults::{Nature, Negentropy};
use sync_tests::world::World;

use super::bench::*;

fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for n in 0..items.len() {
        let mut rest = items.to_vec();
        let first = rest.remove(n);
        for mut tail in permutations(&rest) {
            tail.insert(0, first.clone());
            all.push(tail);
        }
    }
    all
}

fn service(relays: usize) -> World {
    let mut setup = setup();
    setup.config.accept.archive = vec![];
    setup.config.accept.domains = vec!["r0.example".into()];
    let mut world = world(setup, &vec![Nature::default(); relays], relays);
    world.boot();
    converge(&mut world, 60);
    world
}

/// Publishes events one by one, so many seconds apart, on relays in turn; what is stored then.
fn play(events: &[Arc<Event>], gap: u64, relays: usize) -> BTreeSet<EventId> {
    let mut world = service(relays);
    for (n, event) in events.iter().enumerate() {
        publish(&mut world, n % relays, event);
        run(&mut world, gap);
    }
    run(&mut world, 30);
    world.stored()
}

fn ids(events: &[Arc<Event>]) -> BTreeSet<EventId> {
    events.iter().map(|event| event.id).collect()
}

#[test]
fn h_44_h_46_maintainers_are_accepted_before_and_after_those_who_name_them() {
    // Owner 1 lists us and names 2, who names 3, who names 1; none but the owner lists us.
    let chain = [
        announcement(1, "home", START - 30, &[0], &[2]),
        announcement(2, "home", START - 29, &[7], &[3]),
        announcement(3, "home", START - 28, &[7], &[1]),
    ];
    let stranger = announcement(4, "home", START - 27, &[7], &[1]);
    let all: Vec<_> = chain.iter().cloned().chain([stranger]).collect();
    for order in permutations(&all) {
        assert_eq!(play(&order, 1, 1), ids(&chain), "hot");
    }
    for order in permutations(&chain) {
        // Longer than bodies are kept: they come again by id.
        assert_eq!(play(&order, 400, 1), ids(&chain), "cold");
    }
}

#[test]
fn h_44_h_45_what_waited_is_taken_within_a_second() {
    let mut world = service(1);
    let maintainer = announcement(2, "home", START - 29, &[7], &[]);
    let early = state(2, "home", START - 20);
    for event in [&maintainer, &early] {
        publish(&mut world, 0, event);
    }
    run(&mut world, 20);
    assert!(!has(&world, &maintainer) && !has(&world, &early));
    publish(&mut world, 0, &announcement(1, "home", START - 30, &[0], &[2]));
    run(&mut world, 1);
    assert!(has(&world, &maintainer), "its body was at hand");
    run(&mut world, 9);
    assert!(has(&world, &early));
}

#[test]
fn h_45_h_47_a_state_is_authorised_by_an_announcement_of_any_moment() {
    let events = [
        announcement(1, "home", START - 30, &[0], &[2]),
        announcement(2, "home", START - 29, &[7], &[]),
        state(2, "home", START - 20),
    ];
    for order in permutations(&events) {
        // 0: all in one batch of the store.
        for gap in [0, 1, 200] {
            assert_eq!(play(&order, gap, 1), ids(&events), "{gap} s apart");
        }
    }
    // And over subscriptions of history, whose order nobody chooses.
    for negentropy in Negentropy::ALL {
        let nature = Nature { negentropy, shuffled: true, ..Nature::default() };
        let mut world = world(setup(), &[nature], 1);
        for event in &events {
            put(&mut world, 0, event);
        }
        world.boot();
        run(&mut world, 120);
        assert!(is_connected(&world, 0));
        assert_eq!(world.stored(), ids(&events), "{negentropy:?}");
    }
}

#[test]
fn h_49_the_same_events_from_many_relays_are_stored_once() {
    let home = repo(1, "home");
    let root = issue(5, &home, START - 10, "issue");
    let reply = comment(6, &root, &root, START - 9, "reply");
    let state = state(1, "home", START - 8);
    let announced = announcement(1, "home", START - 30, &[0, 1, 2, 3], &[]);
    let events = [announced, root, reply, state];
    let mut many = Vec::new();
    for event in &events {
        many.extend(std::iter::repeat_n(event.clone(), 4));
    }
    assert_eq!(play(&many, 0, 4), ids(&events));
    assert_eq!(play(&many, 1, 4), ids(&events));
    let backwards: Vec<_> = many.into_iter().rev().collect();
    assert_eq!(play(&backwards, 0, 4), ids(&events));
    assert_eq!(play(&backwards, 50, 4), ids(&events));
}

#[test]
fn h_50_an_older_version_never_replaces_a_newer_one() {
    let versions: Vec<_> =
        (0..3).map(|n| announcement(1, "home", START - 30 + n, &[0], &[])).collect();
    let states: Vec<_> = (0..3).map(|n| state(1, "home", START - 20 + n)).collect();
    for (versions, states) in permutations(&versions).into_iter().zip(permutations(&states)) {
        let newest: BTreeSet<_> = versions
            .iter()
            .max_by_key(|event| event.created_at)
            .into_iter()
            .chain(states.iter().max_by_key(|event| event.created_at))
            .map(|event| event.id)
            .collect();
        let mixed: Vec<_> =
            states.iter().zip(&versions).flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
        for relays in [1, 2] {
            assert_eq!(play(&mixed, 1, relays), newest);
            assert_eq!(play(&mixed, 150, relays), newest);
        }
    }
}

#[test]
fn h_51_forks_of_one_identifier_do_not_touch_each_other() {
    let a = announcement(1, "home", START - 30, &[0], &[]);
    let b = announcement(2, "home", START - 29, &[0], &[]);
    let (state_a, state_b) = (state(1, "home", START - 20), state(2, "home", START - 19));
    let issue_b = issue(3, &repo(2, "home"), START - 18, "of the fork");
    let gone = event(1, 5, START - 10, vec![tag("a", [repo(1, "home").to_string()])], "");
    let all = [a, b.clone(), state_a.clone(), state_b.clone(), issue_b.clone(), gone.clone()];
    let mut ends = BTreeSet::new();
    for order in permutations(&all).into_iter().step_by(37) {
        let end = play(&order, 1, 1);
        for event in [&b, &state_b, &issue_b] {
            assert!(end.contains(&event.id), "kind {} of the fork", event.kind.as_u16());
        }
        assert!(!end.contains(&all[0].id), "the deleted announcement is gone");
        ends.insert(end);
    }
    assert!(ends.iter().all(|end| end.is_subset(&ids(&[
        b.clone(),
        state_a.clone(),
        state_b.clone(),
        issue_b.clone(),
        gone.clone()
    ]))));
}
