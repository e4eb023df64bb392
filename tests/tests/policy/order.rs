//! Arrival order changes neither what is stored nor what is wanted (REJ-3, S14).

use nostr::event::Event;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any};
use proptest::test_runner::Config as Cases;
use proptest::{prop_assert_eq, proptest};
use sync_core::admit::policy::Verdict;

use crate::model::{Pipeline, SERVICE, announcement, config, event, key, repo, wants_of};

const AUTHORS: u8 = 5;
const IDENTIFIERS: [&str; 2] = ["one", "two:2"];

/// What becomes one event; numbers are taken modulo what there is.
type Seed = (u8, u8, u8, u8, [u8; 3]);

/// Events of which each references only ones before it.
fn build(seeds: &[Seed], replacing: bool) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for (n, (what, author, name, time, other)) in seeds.iter().enumerate() {
        let (author, name) = (author % AUTHORS, IDENTIFIERS[usize::from(*name) % 2]);
        let at = if replacing { 100 + u64::from(time % 3) } else { 100 };
        let nth = n.to_string();
        let to = |i: usize| match events.len() {
            0 => "00".repeat(32),
            len => events[usize::from(other[i]) % len].id.to_hex(),
        };
        let address = |i: usize| {
            let address = repo(other[i] % AUTHORS, IDENTIFIERS[usize::from(other[i] / 8) % 2]);
            if other[i] >= 224 { address.replacen("30617", "30618", 1) } else { address }
        };
        let (a, b, x) = (to(0), to(1), address(2));
        let made = match what % if replacing { 12 } else { 10 } {
            0..=2 => {
                let named: Vec<u8> =
                    (0..AUTHORS).filter(|n| other[0] >> n & 1 == 1 && *n != author).collect();
                announcement(author, name, at, what >= &200, &named)
            }
            3 => event(author, 30618, at, &[&["d", name], &["refs/heads/main", &nth]]),
            4 => event(author, 1621, 100, &[&["a", &x], &["n", &nth]]),
            5 => event(author, 1617, 100, &[&["e", &a], &["a", &address(1)], &["n", &nth]]),
            6 => event(author, 1111, 100, &[&["E", &a], &["e", &b], &["n", &nth]]),
            7 => event(author, 1, 100, &[&["e", &a], &["q", &b], &["n", &nth]]),
            8 => event(author, 7, 100, &[&["e", &a], &["n", &nth]]),
            9 => event(author, 1619, 100, &[&["E", &a], &["a", &x], &["n", &nth]]),
            10 => event(author, 5, 100 + u64::from(time % 3), &[&["e", &a], &["e", &b]]),
            _ => event(author, 5, 100 + u64::from(time % 3), &[&["a", &repo(author, name)]]),
        };
        // Without replacements an address has one version.
        let twice = |old: &Event| {
            made.kind.is_addressable()
                && !replacing
                && (old.kind, old.pubkey, old.tags.identifier())
                    == (made.kind, made.pubkey, made.tags.identifier())
        };
        if !events.iter().any(|old| twice(old) || old.id == made.id) {
            events.push(made);
        }
    }
    events
}

fn run(events: impl IntoIterator<Item = Event>) -> Pipeline {
    let mut pipeline = Pipeline::new(&config(&[SERVICE], &[]));
    for event in events {
        pipeline.take(event);
    }
    pipeline
}

fn grounded(event: &Event) -> bool {
    event.tags.iter().any(|tag| tag.as_slice() == ["relays", &format!("wss://{SERVICE}")])
}

fn shuffled() -> impl Strategy<Value = (Vec<Seed>, Vec<usize>)> {
    vec(any::<Seed>(), 1..40).prop_flat_map(|seeds| {
        let order: Vec<usize> = (0..seeds.len()).collect();
        (Just(seeds), Just(order).prop_shuffle())
    })
}

/// `events` in the order of `order`, as far as they were built.
fn permuted(events: &[Event], order: &[usize]) -> Vec<Event> {
    order.iter().filter_map(|n| events.get(*n).cloned()).collect()
}

proptest! {
    #![proptest_config(Cases { cases: 2_000, failure_persistence: None, ..Cases::default() })]

    #[test]
    fn without_removals_any_order_stores_the_fixed_point((seeds, order) in shuffled()) {
        let events = build(&seeds, false);
        let straight = run(events.clone());
        let mixed = run(permuted(&events, &order));
        prop_assert_eq!(&straight.stored, &mixed.stored);
        prop_assert_eq!(&straight.wants, &mixed.wants);
        prop_assert_eq!(&straight.wants, &wants_of(&straight.stored, grounded));
        for event in &events {
            let accepted = matches!(straight.judge(event), Verdict::Accept(_));
            prop_assert_eq!(accepted, straight.stored.contains_key(&event.id), "{:?}", event);
        }
    }

    #[test]
    fn with_replacements_and_deletions_any_order_wants_the_same((seeds, order) in shuffled()) {
        let events = build(&seeds, true);
        let straight = run(events.clone());
        let mixed = run(permuted(&events, &order));
        prop_assert_eq!(&straight.wants, &wants_of(&straight.stored, grounded));
        prop_assert_eq!(&mixed.wants, &wants_of(&mixed.stored, grounded));
        prop_assert_eq!(&straight.wants, &mixed.wants);
        for event in &events {
            let verdicts = (straight.judge(event), mixed.judge(event));
            let personal = event.kind.as_u16() == 5;
            prop_assert_eq!(personal || verdicts.0 == verdicts.1, true, "{:?}", verdicts);
        }
    }

    #[test]
    fn a_policy_fed_with_the_store_in_any_order_is_the_same((seeds, order) in shuffled()) {
        let events = build(&seeds, true);
        let grown = run(events.clone());
        let mut fed = Pipeline::new(&config(&[SERVICE], &[]));
        let stored: Vec<Event> = grown.stored.values().cloned().collect();
        for event in permuted(&stored, &order) {
            let facts = fed.policy.apply(&event, None).facts;
            fed.wants.take(&facts);
        }
        for event in stored.iter().skip(order.len()) {
            let facts = fed.policy.apply(event, None).facts;
            fed.wants.take(&facts);
        }
        prop_assert_eq!(&grown.wants, &fed.wants);
        for event in &events {
            prop_assert_eq!(grown.judge(event), fed.judge(event));
        }
    }
}

#[test]
fn the_generator_reaches_maintainers_states_and_threads() {
    let mut seeds = Vec::new();
    for n in 0..200_u32 {
        let byte = |m: u32| (n.wrapping_mul(m) >> 3) as u8;
        seeds.push((byte(2_654_435), byte(97), byte(13), byte(7), [byte(31), byte(57), byte(71)]));
    }
    let pipeline = run(build(&seeds, false));
    let kinds = |kind: u16| pipeline.stored.values().filter(|e| e.kind.as_u16() == kind).count();
    assert!(pipeline.wants.repos.len() > 2, "{:?}", pipeline.wants.repos);
    assert!(pipeline.wants.threads.values().any(|(_, depth)| *depth > 2));
    assert!(kinds(30618) > 0 && kinds(7) > 0 && kinds(1621) > 0);
    assert!(pipeline.stored.values().any(|e| e.pubkey != key(0)));
}
