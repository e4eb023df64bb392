//! S15: the same events give the same store in any order and any grouping into commits, and that
//! store is the one of a model that knows no order.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod store_support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nostr::event::{Event, EventId};
use nostr::filter::Filter;
use nostr::nips::nip01::Coordinate;
use nostr::types::Timestamp;
use proptest::prelude::*;
use sync_runtime::store::{EventStore, Known, Outcome, StoreOptions};

use store_support::*;

/// Which of these events are stored in the end: read off the rules, all events at once.
fn model(events: &[Arc<Event>]) -> BTreeSet<EventId> {
    let kind = |event: &Event| event.kind.as_u16();
    let removes = |event: &Event| matches!(kind(event), 5 | 62);
    let refers = |event: &Event, name: &str, value: &str| {
        event.tags.iter().any(|tag| tag.kind() == name && tag.content() == Some(value))
    };
    let address = |event: &Event| {
        let identifier = event.tags.iter().find(|tag| tag.kind() == "d");
        let identifier = identifier.and_then(|tag| tag.content()).unwrap_or_default();
        match kind(event) {
            0 | 3 | 10_000..=19_999 => Some(format!("{}:{}:", kind(event), event.pubkey)),
            30_000..=39_999 => Some(format!("{}:{}:{identifier}", kind(event), event.pubkey)),
            _ => None,
        }
    };
    let vanished = |event: &Event| {
        kind(event) != 62
            && events.iter().any(|by| {
                kind(by) == 62
                    && by.pubkey == event.pubkey
                    && by.created_at >= event.created_at
                    && (refers(by, "relay", "ALL_RELAYS") || refers(by, "relay", "wss://us/"))
            })
    };
    let deleted = |event: &Event| {
        !removes(event)
            && events.iter().any(|by| {
                let by_address = address(event).is_some_and(|address| refers(by, "a", &address));
                kind(by) == 5
                    && by.pubkey == event.pubkey
                    && (refers(by, "e", &event.id.to_hex())
                        || (by_address && event.created_at <= by.created_at))
            })
    };
    let expired = |event: &Event| {
        let tag = event.tags.iter().find(|tag| tag.kind() == "expiration");
        let expires = tag.and_then(|tag| tag.content()?.parse::<u64>().ok());
        !removes(event) && expires.is_some_and(|expires| expires <= NOW)
    };
    let mut newest: BTreeMap<String, &Event> = BTreeMap::new();
    for event in events {
        if let Some(address) = address(event) {
            let best = newest.entry(address).or_insert(event);
            // Event's own order: newer first, then the lower id.
            *best = (*best).min(event);
        }
    }
    let superseded =
        |event: &Event| address(event).is_some_and(|address| newest[&address].id != event.id);
    events
        .iter()
        .filter(|event| {
            !vanished(event)
                && !deleted(event)
                && !expired(event)
                && !superseded(event)
                && !(20_000..30_000).contains(&kind(event))
        })
        .map(|event| event.id)
        .collect()
}

/// Few authors, seconds and names, so that events meet.
fn plain_event() -> impl Strategy<Value = Arc<Event>> {
    let kinds = prop::sample::select(vec![0u16, 1, 3, 1617, 10_002, 20_001, 30_617, 30_618]);
    let expiration = prop::option::weighted(0.2, prop::sample::select(vec![NOW, NOW + 1]));
    (1u8..3, kinds, 1u64..5, 0u8..2, expiration, 0u8..2).prop_map(
        |(author, kind, secs, name, expiration, content)| {
            let (name, at) = (name.to_string(), expiration.unwrap_or_default().to_string());
            let mut tags: Vec<&[&str]> = Vec::new();
            let (d, expires) = (["d", &name], ["expiration", &at]);
            tags.push(&d);
            if expiration.is_some() {
                tags.push(&expires);
            }
            event_with(author, kind, secs, &tags, &content.to_string())
        },
    )
}

/// Plain events, and deletions and vanish requests of any of them.
fn history() -> impl Strategy<Value = Vec<Arc<Event>>> {
    let plain = prop::collection::vec(plain_event(), 2..16);
    let picks = prop::collection::vec(
        (1u8..3, 1u64..5, prop::collection::vec(any::<prop::sample::Index>(), 1..3), any::<bool>()),
        0..4,
    );
    let relays = prop::sample::select(vec!["ALL_RELAYS", "wss://us/", "wss://them/"]);
    let vanish = prop::option::weighted(0.4, (1u8..3, 1u64..4, relays));
    (plain, picks, vanish).prop_map(|(mut events, deletions, vanish)| {
        for (author, secs, targets, by_address) in deletions {
            let target = |pick: &prop::sample::Index| {
                let target = &events[pick.index(events.len())];
                match target.coordinate() {
                    Some(address) if by_address && target.kind.is_replaceable() => {
                        ["a".into(), Coordinate::new(address.kind, address.public_key).to_string()]
                    }
                    Some(address) if by_address => ["a".into(), address.to_string()],
                    _ => ["e".into(), target.id.to_hex()],
                }
            };
            let tags: Vec<[String; 2]> = targets.iter().map(target).collect();
            let tags: Vec<Vec<&str>> =
                tags.iter().map(|tag| tag.iter().map(String::as_str).collect()).collect();
            let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
            events.push(event(author, 5, secs, &tags));
        }
        if let Some((author, secs, relay)) = vanish {
            events.push(event(author, 62, secs, &[&["relay", relay]]));
        }
        events
    })
}

/// A history, an order, and the sizes of the commits.
fn arrival() -> impl Strategy<Value = (Vec<Arc<Event>>, Vec<Arc<Event>>, Vec<usize>)> {
    history().prop_flat_map(|events| {
        let order = Just(events.clone()).prop_shuffle();
        (Just(events), order, prop::collection::vec(1usize..6, 20))
    })
}

/// What can be seen of a store: stored ids, and what every question about have-sets gives.
type Seen = (BTreeSet<EventId>, Vec<BTreeSet<(Timestamp, EventId)>>);

fn arrive(order: &[Arc<Event>], sizes: &[usize]) -> (Seen, BTreeMap<EventId, Outcome>) {
    let dir = in_memory();
    let options = StoreOptions {
        map_size: 16 << 20,
        relay_urls: vec!["wss://us/".parse().unwrap()],
        ..StoreOptions::default()
    };
    let store = sync_runtime::store::Store::open(dir.path(), options).unwrap();
    let mut outcomes = BTreeMap::new();
    let (mut rest, mut stored_now) = (order, BTreeSet::new());
    for size in sizes.iter().cycle() {
        let (now, later) = rest.split_at((*size).min(rest.len()));
        let report = commit(&store, &batch(now));
        for (event, outcome) in now.iter().zip(report.outcomes) {
            outcomes.entry(event.id).or_insert(outcome);
            if outcome == Outcome::Stored {
                assert!(stored_now.insert(event.id), "stored twice");
            }
        }
        for gone in &report.removed {
            assert!(stored_now.remove(&gone.id), "removed what was not stored");
        }
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    let filters = [
        Filter::new(),
        Filter::new().author(key(1)),
        Filter::new().kind(30_617.into()),
        Filter::new().kinds([1.into(), 5.into()]).author(key(2)),
        Filter::new().identifier("1"),
        Filter::new().identifier("0").kind(30_618.into()).author(key(1)),
        Filter::new().since(at(2)).until(at(3)),
    ];
    let seen = stored(&store);
    assert_eq!(seen, stored_now, "reports tell what is stored");
    let known: Vec<_> = order.iter().map(|event| event.id).collect();
    let known = store.has(&known).unwrap();
    assert!(known.iter().all(|known| *known != Known::No), "every id stays known");
    ((seen, filters.iter().map(|filter| have(&store, filter)).collect()), outcomes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_grouping_gives_the_store_of_the_model(
        (events, order, sizes) in arrival()
    ) {
        let (seen, _) = arrive(&order, &sizes);
        prop_assert_eq!(&seen.0, &model(&events));
        prop_assert_eq!(&seen.1[0], &pairs(&events), "the have-set holds every event");
        let (straight, _) = arrive(&events, &[1]);
        prop_assert_eq!(seen, straight);
    }
}

#[test]
fn every_permutation_of_a_tangle_gives_the_same_store() {
    let (old, new) = (event(1, 30_617, 1, &[&["d", "x"]]), event(1, 30_617, 2, &[&["d", "x"]]));
    let by_id = event(1, 5, 1, &[&["e", &new.id.to_hex()]]);
    let address = format!("30617:{}:x", key(1));
    let by_address = event(1, 5, 1, &[&["a", &address]]);
    let vanish = event(1, 62, 1, &[&["relay", "ALL_RELAYS"]]);
    let events = [old, new, by_id, by_address, vanish];
    let expected = model(&events);
    assert_eq!(expected, ids([&events[4]]));
    let mut order = [0usize, 1, 2, 3, 4];
    permute(&mut order, 0, &mut |order| {
        let order: Vec<_> = order.iter().map(|n| events[*n].clone()).collect();
        for sizes in [[1, 1, 1], [2, 3, 2], [5, 5, 5]] {
            assert_eq!(arrive(&order, &sizes).0.0, expected, "{order:?} {sizes:?}");
        }
    });
}

fn permute(order: &mut [usize; 5], from: usize, each: &mut impl FnMut(&[usize; 5])) {
    if from == order.len() {
        each(order);
    }
    for at in from..order.len() {
        order.swap(from, at);
        permute(order, from + 1, each);
        order.swap(from, at);
    }
}
