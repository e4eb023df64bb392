//! Events, stores and questions of the store's tests.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use nostr::event::{Event, EventId, Kind, Signature, Tag, Tags};
use nostr::filter::Filter;
use nostr::key::PublicKey;
use nostr::types::Timestamp;
use sync_core::item::Range;
use sync_runtime::store::{
    Commit, CommitReport, EventStore, Gone, NewEvent, NewRejection, Outcome, Store, StoreOptions,
};

/// Wall time of commits unless a test says otherwise.
pub const NOW: u64 = 1_000_000;

pub fn key(n: u8) -> PublicKey {
    PublicKey::from_byte_array([n; 32])
}

pub fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// An event with a true id and a signature of zeros.
pub fn event(author: u8, kind: u16, secs: u64, tags: &[&[&str]]) -> Arc<Event> {
    event_with(author, kind, secs, tags, "")
}

pub fn event_with(author: u8, kind: u16, secs: u64, tags: &[&[&str]], content: &str) -> Arc<Event> {
    let tags = Tags::parse(tags.iter().map(|tag| tag.iter().copied())).unwrap();
    let (author, kind, secs) = (key(author), Kind::from_u16(kind), at(secs));
    let id = EventId::compute(&author, &secs, &kind, &tags, content);
    let sig = Signature::from_byte_array([0; 64]);
    let tags: Vec<Tag> = tags.to_vec();
    Arc::new(Event::new(id, author, secs, kind, tags, content, sig))
}

pub fn new(event: &Arc<Event>) -> NewEvent {
    NewEvent { event: event.clone(), raw: event.as_json().into(), outbox: false }
}

pub fn open(dir: &Path) -> Store {
    let options = StoreOptions { map_size: 64 << 20, ..StoreOptions::default() };
    Store::open(dir, options).unwrap()
}

/// A directory that costs no waiting for the disk, where the platform has one.
pub fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A store in a directory of its own, which goes with the guard.
pub fn fresh() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    (dir, store)
}

pub fn batch<'e>(events: impl IntoIterator<Item = &'e Arc<Event>>) -> Commit {
    Commit { now: at(NOW), events: events.into_iter().map(new).collect(), ..Commit::default() }
}

pub fn save<'e>(store: &Store, events: impl IntoIterator<Item = &'e Arc<Event>>) -> Vec<Outcome> {
    commit(store, &batch(events)).outcomes
}

pub fn commit(store: &Store, batch: &Commit) -> CommitReport {
    store.commit(batch).unwrap()
}

pub fn reject(store: &Store, rejections: Vec<NewRejection>) -> CommitReport {
    commit(store, &Commit { now: at(NOW), rejections, ..Commit::default() })
}

pub const fn gone(why: Gone) -> Outcome {
    Outcome::Gone(why)
}

/// Ids that a query gives, in its order.
pub fn query(store: &Store, filter: &Filter) -> Vec<EventId> {
    let mut ids = Vec::new();
    store
        .query(filter, &mut |found| {
            ids.push(found.id);
            ControlFlow::Continue(())
        })
        .unwrap();
    ids
}

pub fn everything() -> Range {
    Range::up_to(Timestamp::max())
}

/// The have-set, as a set; panics when an id comes twice.
pub fn have(store: &Store, filter: &Filter) -> BTreeSet<(Timestamp, EventId)> {
    have_within(store, filter, everything())
}

pub fn have_within(store: &Store, filter: &Filter, range: Range) -> BTreeSet<(Timestamp, EventId)> {
    let mut set = BTreeSet::new();
    store
        .have_set(filter, range, &mut |at, id| assert!(set.insert((at, id)), "{id} came twice"))
        .unwrap();
    set
}

/// Ids as a set.
pub fn ids<'e>(events: impl IntoIterator<Item = &'e Arc<Event>>) -> BTreeSet<EventId> {
    events.into_iter().map(|event| event.id).collect()
}

pub fn pairs<'e>(
    events: impl IntoIterator<Item = &'e Arc<Event>>,
) -> BTreeSet<(Timestamp, EventId)> {
    events.into_iter().map(|event| (event.created_at, event.id)).collect()
}

pub fn stored(store: &Store) -> BTreeSet<EventId> {
    query(store, &Filter::new()).into_iter().collect()
}
