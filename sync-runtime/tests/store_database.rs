//! The store as the database of other programs: what the nostr family's own suite asks of one, and
//! the same store for every order of arrival.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod store_support;

use std::collections::BTreeSet;
use std::sync::Arc;

use nostr::event::{Event, EventId, Kind};
use nostr::filter::Filter;
use nostr::types::Timestamp;
use nostr_database::{DatabaseEventStatus, NostrDatabase, RejectedReason, SaveEventStatus};
use sync_runtime::store::Store;

use store_support::{at, event, event_with, fresh, in_memory, key, open};

const SAVED: SaveEventStatus = SaveEventStatus::Success;

const fn refused(reason: RejectedReason) -> SaveEventStatus {
    SaveEventStatus::Rejected(reason)
}

/// Behind the trait's object, as its users hold it.
fn database() -> (tempfile::TempDir, Arc<dyn NostrDatabase>) {
    let dir = in_memory();
    let store = open(dir.path());
    (dir, Arc::new(store))
}

async fn save(store: &dyn NostrDatabase, event: &Event) -> SaveEventStatus {
    store.save_event(event).await.unwrap()
}

async fn ids(store: &dyn NostrDatabase, filter: Filter) -> Vec<EventId> {
    store.query(filter).await.unwrap().iter().map(|event| event.id).collect()
}

fn address(author: u8, kind: u16, identifier: &str) -> String {
    format!("{kind}:{}:{identifier}", key(author))
}

/// Notes, versions, deletions of own and of foreign events; and what is left, newest first.
fn history() -> (Vec<Arc<Event>>, Vec<EventId>) {
    let note = event_with(1, 1, 100, &[], "a note");
    let profile = event_with(1, 0, 200, &[], "newer");
    let events = vec![
        note.clone(),
        event(1, 32_121, 105, &[&["d", "1"]]),
        event_with(1, 32_122, 110, &[&["d", "1"]], "older"),
        event(1, 32_122, 115, &[&["d", "2"]]),
        event(2, 32_122, 120, &[&["d", "3"]]),
        event(2, 32_122, 125, &[&["d", "1"]]),
        event_with(1, 32_122, 130, &[&["d", "1"]], "newer"),
        event(2, 5, 135, &[&["a", &address(1, 32_122, "")]]),
        event(1, 5, 140, &[&["a", &address(1, 32_122, "2")]]),
        event_with(1, 0, 190, &[], "older"),
        profile.clone(),
        event(2, 5, 210, &[&["e", &profile.id.to_hex()]]),
        event(1, 5, 220, &[&["e", &profile.id.to_hex()]]),
        event(2, 30_333, 230, &[&["d", "multi"], &["p", &key(1).to_hex()]]),
    ];
    let left = [13, 12, 8, 6, 5, 4, 1, 0].map(|place: usize| events[place].id);
    (events, left.to_vec())
}

async fn save_history(store: &dyn NostrDatabase) -> (Vec<Arc<Event>>, Vec<EventId>) {
    let (events, left) = history();
    for (place, event) in events.iter().enumerate() {
        let expected =
            if matches!(place, 7 | 11) { refused(RejectedReason::InvalidDelete) } else { SAVED };
        assert_eq!(save(store, event).await, expected, "event {place}");
    }
    (events, left)
}

#[tokio::test]
async fn a_history_is_saved_and_what_is_left_comes_newest_first() {
    let (_dir, store) = database();
    let (events, left) = save_history(&*store).await;
    assert_eq!(ids(&*store, Filter::new()).await, left);
    assert_eq!(store.count(Filter::new()).await.unwrap(), left.len());
    assert_eq!(save(&*store, &events[0]).await, refused(RejectedReason::Duplicate));
    assert_eq!(store.event_by_id(&left[0]).await.unwrap().as_ref(), Some(&*events[13]));
    assert_eq!(store.event_by_id(&events[10].id).await.unwrap(), None);
}

#[tokio::test]
async fn every_field_of_a_filter_and_the_limit_restrict_queries_counts_and_items() {
    let (_dir, store) = database();
    let (_, left) = save_history(&*store).await;
    let (multi, kind) = (left[0], Kind::from_u16(32_122));
    let cases = [
        (Filter::new().author(key(2)), vec![multi, left[4], left[5]]),
        (Filter::new().kind(kind), vec![left[3], left[4], left[5]]),
        (Filter::new().author(key(1)).kind(kind), vec![left[3]]),
        (Filter::new().since(at(120)).until(at(130)), vec![left[3], left[4], left[5]]),
        (Filter::new().pubkey(key(1)), vec![multi]),
        (Filter::new().identifier("1"), vec![left[3], left[4], left[6]]),
        (Filter::new().ids([left[7], left[2]]), vec![left[2], left[7]]),
        (Filter::new().limit(2), vec![left[0], left[1]]),
        (Filter::new().limit(0), vec![]),
        (Filter::new().search("A NOTE"), vec![left[7]]),
        (Filter::new().search("notes"), vec![]),
    ];
    for (filter, expected) in cases {
        assert_eq!(ids(&*store, filter.clone()).await, expected, "{filter:?}");
        assert_eq!(store.count(filter.clone()).await.unwrap(), expected.len(), "{filter:?}");
        let items = store.negentropy_items(filter.clone()).await.unwrap();
        let items: Vec<EventId> = items.into_iter().map(|(id, _)| id).collect();
        assert_eq!(items, expected, "{filter:?}");
    }
}

#[tokio::test]
async fn versions_of_an_address_replace_each_other_by_time_then_by_id() {
    let (_dir, store) = database();
    for (kind, tags) in [(0, &[][..]), (10_002, &[][..]), (33_333, &[&["d", "x"][..]][..])] {
        let [old, new] = [100, 200].map(|secs| event(1, kind, secs, tags));
        let mut twins = [event_with(1, kind, 300, tags, "a"), event_with(1, kind, 300, tags, "b")];
        twins.sort_by_key(|event| event.id);
        let filter = || Filter::new().author(key(1)).kind(Kind::from_u16(kind));
        assert_eq!(save(&*store, &old).await, SAVED);
        assert_eq!(save(&*store, &new).await, SAVED);
        assert_eq!(ids(&*store, filter()).await, [new.id]);
        assert_eq!(save(&*store, &old).await, refused(RejectedReason::Replaced));
        assert_eq!(store.check_id(&old.id).await.unwrap(), DatabaseEventStatus::Deleted);
        assert_eq!(save(&*store, &twins[1]).await, SAVED);
        assert_eq!(save(&*store, &twins[0]).await, SAVED);
        assert_eq!(save(&*store, &twins[1]).await, refused(RejectedReason::Replaced));
        assert_eq!(ids(&*store, filter()).await, [twins[0].id]);
    }
}

#[tokio::test]
async fn a_deletion_marks_its_authors_events_and_stays_itself() {
    let (_dir, store) = database();
    let notes = [event(1, 1, 100, &[]), event_with(1, 1, 101, &[], "b")];
    let replaceable = event(1, 11_111, 102, &[]);
    let foreign = event(2, 1, 103, &[]);
    for event in notes.iter().chain([&replaceable, &foreign]) {
        assert_eq!(save(&*store, event).await, SAVED);
    }
    let [a, b, c] = [&notes[0], &notes[1], &foreign].map(|event| event.id.to_hex());
    let all = address(1, 11_111, "");
    let deletion = event(1, 5, 200, &[&["e", &a], &["e", &b], &["e", &c], &["a", &all]]);
    assert_eq!(save(&*store, &deletion).await, SAVED, "one foreign target harms nobody");
    for gone in notes.iter().chain([&replaceable]) {
        assert_eq!(store.check_id(&gone.id).await.unwrap(), DatabaseEventStatus::Deleted);
        assert_eq!(save(&*store, gone).await, refused(RejectedReason::Deleted));
    }
    assert_eq!(store.check_id(&foreign.id).await.unwrap(), DatabaseEventStatus::Saved);
    assert_eq!(ids(&*store, Filter::new()).await, [deletion.id, foreign.id]);
    let unknown = event(1, 1, 1, &[]);
    assert_eq!(store.check_id(&unknown.id).await.unwrap(), DatabaseEventStatus::NotExistent);
}

#[tokio::test]
async fn deleting_by_a_filter_leaves_no_trace_and_wiping_leaves_nothing() {
    let (_dir, store) = database();
    let (events, left) = save_history(&*store).await;
    store.delete(Filter::new().kind(Kind::TextNote)).await.unwrap();
    assert_eq!(ids(&*store, Filter::new()).await, left[..7]);
    store.delete(Filter::new().kind(Kind::from_u16(32_122)).limit(1)).await.unwrap();
    assert_eq!(store.check_id(&left[3]).await.unwrap(), DatabaseEventStatus::NotExistent);
    assert_eq!(save(&*store, &events[0]).await, SAVED);
    assert_eq!(save(&*store, &events[6]).await, SAVED);
    assert_eq!(ids(&*store, Filter::new()).await, left);

    store.wipe().await.unwrap();
    assert_eq!(store.count(Filter::new()).await.unwrap(), 0);
    assert_eq!(store.negentropy_items(Filter::new()).await.unwrap(), []);
    save_history(&*store).await;
    assert_eq!(ids(&*store, Filter::new()).await, left);
}

#[tokio::test]
async fn a_vanished_author_is_gone_and_stays_away() {
    let (_dir, store) = database();
    let gone =
        [event(1, 1, 100, &[]), event(1, 3, 101, &[]), event(1, 30_023, 102, &[&["d", "lorem"]])];
    let other = event(2, 1, 100, &[]);
    for event in gone.iter().chain([&other]) {
        assert_eq!(save(&*store, event).await, SAVED);
    }
    let vanish = event(1, 62, 200, &[&["relay", "ALL_RELAYS"]]);
    assert_eq!(save(&*store, &vanish).await, SAVED);
    assert_eq!(ids(&*store, Filter::new()).await, [vanish.id, other.id]);
    for event in &gone {
        assert_eq!(save(&*store, event).await, refused(RejectedReason::Vanished));
    }
    assert!(store.features().request_to_vanish && store.features().persistent);
}

#[tokio::test]
async fn ephemeral_and_expired_events_are_refused_and_expired_ones_are_not_shown() {
    let (_dir, store) = fresh();
    let expires = (Timestamp::now().as_secs() - 10).to_string();
    let ephemeral = event(1, 20_001, 100, &[]);
    let expired = event(1, 1, 100, &[&["expiration", &expires]]);
    let note = event(1, 1, 101, &[]);
    assert_eq!(save(&store, &ephemeral).await, refused(RejectedReason::Ephemeral));
    assert_eq!(save(&store, &expired).await, refused(RejectedReason::Expired));
    assert_eq!(save(&store, &note).await, SAVED);
    // A commit of long ago took one that has expired since, and nobody removed it.
    let aged = event(1, 1, 102, &[&["expiration", &expires]]);
    store_support::save(&store, [&aged]);
    assert_eq!(store_support::stored(&store), BTreeSet::from([note.id, aged.id]));
    assert_eq!(ids(&store, Filter::new()).await, [note.id]);
    assert_eq!(NostrDatabase::count(&store, Filter::new()).await.unwrap(), 1);
    assert_eq!(store.negentropy_items(Filter::new()).await.unwrap(), [(note.id, at(101))]);
    assert_eq!(store.event_by_id(&aged.id).await.unwrap(), None);
    assert_eq!(ids(&store, Filter::new().limit(1)).await, [note.id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn saves_at_once_each_hear_of_their_own_event() {
    let (_dir, store) = database();
    let mut tasks = Vec::new();
    for n in 0..200_u64 {
        // Every event comes twice.
        let (store, event) = (Arc::clone(&store), event(1, 1, n / 2, &[]));
        tasks.push(tokio::spawn(async move { store.save_event(&event).await.unwrap() }));
    }
    let mut saved = 0;
    for task in tasks {
        match task.await.unwrap() {
            SaveEventStatus::Success => saved += 1,
            status => assert_eq!(status, refused(RejectedReason::Duplicate)),
        }
    }
    assert_eq!((saved, store.count(Filter::new()).await.unwrap()), (100, 100));
}

#[tokio::test]
async fn every_order_of_arrival_shows_the_same_events() {
    let note = event(1, 1, 100, &[]);
    let deletion = event(1, 5, 150, &[&["e", &note.id.to_hex()]]);
    let versions = [event(1, 30_617, 100, &[&["d", "x"]]), event(1, 30_617, 120, &[&["d", "x"]])];
    let vanish = event(2, 62, 150, &[&["relay", "ALL_RELAYS"]]);
    let events = [
        note,
        deletion.clone(),
        versions[0].clone(),
        versions[1].clone(),
        event(2, 1, 100, &[]),
        vanish.clone(),
    ];
    let left = BTreeSet::from([deletion.id, versions[1].id, vanish.id]);
    let dir = in_memory();
    let store: Store = open(dir.path());
    let mut orders = 0;
    let mut order: Vec<usize> = (0..events.len()).collect();
    loop {
        for place in &order {
            save(&store, &events[*place]).await;
        }
        let seen: BTreeSet<EventId> = ids(&store, Filter::new()).await.into_iter().collect();
        assert_eq!(seen, left, "{order:?}");
        store.wipe().await.unwrap();
        orders += 1;
        if !next_permutation(&mut order) {
            break;
        }
    }
    assert_eq!(orders, 720);
}

/// The next one in lexicographic order.
fn next_permutation(order: &mut [usize]) -> bool {
    let Some(turn) = order.windows(2).rposition(|pair| pair[0] < pair[1]) else { return false };
    let above = order.iter().rposition(|n| *n > order[turn]).unwrap();
    order.swap(turn, above);
    order[turn + 1..].reverse();
    true
}
