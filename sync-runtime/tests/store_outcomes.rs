//! Vanish requests, rejections and what they wait for, tombstones in have-sets, outbox, ledger.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod store_support;

use std::sync::Arc;

use nostr::event::{Event, Kind};
use nostr::filter::{Filter, SingleLetterTag};
use nostr::nips::nip01::Coordinate;
use sync_core::id::RowId;
use sync_core::item::{GapReason, Item, Range, RelayText};
use sync_core::ledger::{Cohort, Gap, LedgerChange, LedgerRow, Method, RelayRow};
use sync_core::url::RelayUrl;
use sync_runtime::store::{
    Commit, Dependency, Dropped, EventStore, Gone, Known, NewEvent, NewRejection, Outcome,
    RejectReason, RejectionState, Store, StoreOptions, TagIndex,
};

use store_support::*;

const REJECTED: Known = Known::Gone(Gone::Rejected);

fn url(text: &str) -> RelayUrl {
    text.parse().unwrap()
}

fn rejection(event: &Arc<Event>, depends_on: Vec<Dependency>) -> NewRejection {
    NewRejection {
        event: event.clone(),
        reason: RejectReason::NoReference,
        depends_on,
        items: vec![Item::Layer1],
        relays: vec![url("wss://a/")],
        revision: 7,
    }
}

#[test]
fn a_vanish_request_removes_and_refuses_its_authors_past() {
    let (_dir, store) = fresh();
    let address = format!("30617:{}:x", key(1));
    let past = event(1, 1, 100, &[]);
    let repo = event(1, 30_617, 90, &[&["d", "x"]]);
    let deletion = event(1, 5, 80, &[&["a", &address]]);
    let (future, foreign) = (event(1, 1, 101, &[]), event(2, 1, 50, &[]));
    save(&store, [&past, &repo, &deletion, &future, &foreign]);
    let vanish = event(1, 62, 100, &[&["relay", "wss://them/"], &["relay", "ALL_RELAYS"]]);
    let report = commit(&store, &batch([&vanish]));
    assert_eq!(report.outcomes, [Outcome::Stored]);
    assert!(report.removed.iter().all(|gone| gone.why == Gone::Vanished));
    assert_eq!(report.removed.len(), 3);
    assert_eq!(stored(&store), ids([&future, &foreign, &vanish]));
    let older = event(1, 1, 99, &[]);
    assert_eq!(save(&store, [&older, &past]), [gone(Gone::Vanished); 2]);
    let all = [&past, &repo, &deletion, &future, &foreign, &vanish, &older];
    assert_eq!(have(&store, &Filter::new()), pairs(all));
}

#[test]
fn a_vanish_request_for_other_relays_is_only_stored() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { relay_urls: vec![url("wss://us/")], ..StoreOptions::default() };
    let store = Store::open(dir.path(), options).unwrap();
    let note = event(1, 1, 1, &[]);
    let them = event(1, 62, 2, &[&["relay", "wss://them/"], &["alt", "ALL_RELAYS"]]);
    let us = event(1, 62, 3, &[&["relay", "wss://us/"]]);
    save(&store, [&note, &them]);
    assert_eq!(stored(&store), ids([&note, &them]));
    save(&store, [&us]);
    assert_eq!(stored(&store), ids([&them, &us]));
}

#[test]
fn a_rejection_is_a_tombstone_until_it_is_wanted_and_goes_when_it_is_stored() {
    let (_dir, store) = fresh();
    let issue = event(1, 1621, 100, &[&["a", "30617:x:y"]]);
    let repo = Coordinate::new(Kind::from_u16(30_617), key(9)).identifier("a:b");
    let waits = Dependency::Announcement(repo.clone());
    let others = [
        Dependency::MaintainerEdge(repo),
        Dependency::Parent(issue.id),
        Dependency::Author(key(1)),
    ];
    let report = reject(&store, vec![rejection(&issue, vec![waits.clone()])]);
    assert_eq!(report.rejected, 1);
    assert_eq!(store.has(&[issue.id]).unwrap(), [REJECTED]);
    assert_eq!(have(&store, &Filter::new()), pairs([&issue]));
    assert_eq!(query(&store, &Filter::new()), []);
    let waiting = store.dependents(&waits).unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!((waiting[0].id, waiting[0].state), (issue.id, RejectionState::Cold));
    assert_eq!((waiting[0].rejected_at, waiting[0].revision), (at(NOW), 7));
    for other in &others {
        assert_eq!(store.dependents(other).unwrap(), []);
    }

    let satisfied = Commit { satisfied: vec![waits.clone()], ..Commit::default() };
    let marked = commit(&store, &satisfied).wanted;
    assert_eq!((marked[0].id, marked[0].state), (issue.id, RejectionState::Wanted));
    assert_eq!(commit(&store, &satisfied).wanted, []);
    assert_eq!(store.wanted().unwrap(), marked);
    assert_eq!(store.rejection(issue.id).unwrap().as_ref(), Some(&marked[0]));
    assert_eq!(store.has(&[issue.id]).unwrap(), [Known::No]);
    for filter in [Filter::new(), Filter::new().id(issue.id), Filter::new().author(key(1))] {
        assert_eq!(have(&store, &filter), pairs([]));
    }
    assert_eq!(store.sweep(at(u64::MAX)).unwrap().rejections, 0);

    assert_eq!(save(&store, [&issue]), [Outcome::Stored]);
    assert_eq!(store.wanted().unwrap(), []);
    assert_eq!(store.rejection(issue.id).unwrap(), None);
    assert_eq!(store.stats().unwrap().wanted, 0);
    assert_eq!(have(&store, &Filter::new()), pairs([&issue]));
}

#[test]
fn a_rejection_and_what_satisfies_it_may_come_in_one_commit() {
    let (_dir, store) = fresh();
    let parent = event(1, 1621, 100, &[]);
    let reply = event(2, 1111, 101, &[&["e", &parent.id.to_hex()]]);
    let waits = Dependency::Parent(parent.id);
    let both = Commit {
        rejections: vec![rejection(&reply, vec![waits.clone()])],
        satisfied: vec![waits],
        ..batch([&parent])
    };
    let report = commit(&store, &both);
    assert_eq!((report.outcomes.as_slice(), report.rejected), (&[Outcome::Stored][..], 1));
    assert_eq!(report.wanted.len(), 1);
    assert_eq!(have(&store, &Filter::new()), pairs([&parent]));
}

#[test]
fn a_wanted_event_can_be_rejected_anew_or_forgotten() {
    let (_dir, store) = fresh();
    let note = event(1, 1, 100, &[]);
    reject(&store, vec![rejection(&note, vec![])]);
    let want = Commit { wanted: vec![note.id], ..Commit::default() };
    assert_eq!(commit(&store, &want).wanted.len(), 1);
    let waits = Dependency::Author(key(3));
    let anew = NewRejection {
        relays: vec![url("wss://b/"), url("wss://a/"), url("wss://c/")],
        ..rejection(&note, vec![waits.clone()])
    };
    assert_eq!(reject(&store, vec![anew]).rejected, 1);
    assert_eq!(store.has(&[note.id]).unwrap(), [REJECTED]);
    let row = store.rejection(note.id).unwrap().unwrap();
    assert_eq!(row.relays, ["wss://a/", "wss://b/", "wss://c/"].map(url));
    assert_eq!(store.dependents(&waits).unwrap(), [row]);
    commit(&store, &Commit { forgotten: vec![note.id], ..Commit::default() });
    assert_eq!(store.has(&[note.id]).unwrap(), [Known::No]);
    assert_eq!(store.dependents(&waits).unwrap(), []);
    let stats = store.stats().unwrap();
    assert_eq!((stats.tombstones, stats.aging, stats.wanted), (0, 0, 0));
}

#[test]
fn a_rejection_of_a_known_event_records_nothing() {
    let (_dir, store) = fresh();
    let note = event(1, 1, 100, &[]);
    let expired = event(1, 1, 100, &[&["expiration", "1"]]);
    save(&store, [&note, &expired]);
    let report = reject(&store, vec![rejection(&note, vec![]), rejection(&expired, vec![])]);
    assert_eq!(report.rejected, 0);
    let known = [Known::Stored, Known::Gone(Gone::Expired)];
    assert_eq!(store.has(&[note.id, expired.id]).unwrap(), known);
}

#[test]
fn times_come_due_in_order() {
    let (_dir, store) = fresh();
    let events: Vec<_> = [30, 10, 20].iter().map(|secs| event(1, 1, *secs, &[])).collect();
    let held = |event: &Arc<Event>| rejection(event, vec![Dependency::Time(event.created_at)]);
    reject(&store, events.iter().map(held).collect());
    let due = |now| store.due(at(now), 10).unwrap().iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(due(9), []);
    assert_eq!(due(20), [events[1].id, events[2].id]);
    assert_eq!(store.due(at(99), 1).unwrap().len(), 1);
    let satisfied = vec![Dependency::Time(at(20))];
    let report = commit(&store, &Commit { satisfied, ..Commit::default() });
    assert_eq!(report.wanted.len(), 2);
    assert_eq!(due(99), [events[0].id]);
}

#[test]
fn sweeps_and_the_cap_forget_the_oldest_rows() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { rejections_max: 3, ..StoreOptions::default() };
    let store = Store::open(dir.path(), options).unwrap();
    let events: Vec<_> = (0..5).map(|secs| event(1, 1, secs, &[])).collect();
    for (event, now) in events.iter().zip(100..) {
        let rejections = vec![rejection(event, vec![Dependency::Author(key(1))])];
        let report = commit(&store, &Commit { now: at(now), rejections, ..Commit::default() });
        let dropped = if now < 103 {
            Dropped::default()
        } else {
            Dropped { rows: 1, items: [Item::Layer1].into() }
        };
        assert_eq!(report.dropped, dropped, "{now}");
    }
    let known = |store: &Store| {
        let ids: Vec<_> = events.iter().map(|event| event.id).collect();
        store.has(&ids).unwrap()
    };
    assert_eq!(known(&store), [Known::No, Known::No, REJECTED, REJECTED, REJECTED]);
    assert_eq!(store.sweep(at(104)).unwrap().rejections, 2);
    assert_eq!(known(&store), [Known::No, Known::No, Known::No, Known::No, REJECTED]);
    assert_eq!(store.dependents(&Dependency::Author(key(1))).unwrap().len(), 1);
    assert_eq!(have(&store, &Filter::new()), pairs([&events[4]]));
}

#[test]
fn other_tombstones_have_a_limit_of_their_own_and_what_made_them_stays() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { tombstones_max: 2, ..StoreOptions::default() };
    let store = Store::open(dir.path(), options).unwrap();
    let versions: Vec<_> = (0..5).map(|secs| event(1, 0, secs, &[])).collect();
    let held = event(2, 1, 1, &[]);
    reject(&store, vec![rejection(&held, vec![])]);
    for version in &versions {
        save(&store, [version]);
    }
    let known = |n: usize| store.has(&[versions[n].id]).unwrap()[0];
    let superseded = Known::Gone(Gone::Superseded);
    assert_eq!(
        [0, 1, 2, 3, 4].map(known),
        [Known::No, Known::No, superseded, superseded, Known::Stored]
    );
    assert_eq!(store.has(&[held.id]).unwrap(), [REJECTED], "rejections have their own limit");
    let stats = store.stats().unwrap();
    assert_eq!((stats.tombstones, stats.aging, stats.tombstones_dropped), (3, 1, 2));
    let report = commit(&store, &batch([&versions[0]]));
    assert_eq!(report.outcomes, [gone(Gone::Superseded)], "it is refused again");
    assert_eq!(report.tombstones_dropped, 1);
    assert_eq!([0, 2, 3].map(known), [superseded, Known::No, superseded]);
    assert_eq!(
        have(&store, &Filter::new()),
        pairs([&versions[0], &versions[3], &versions[4], &held])
    );
}

#[test]
fn rejections_of_another_policy_are_retired() {
    let (_dir, store) = fresh();
    let (old, new) = (event(1, 1, 1, &[]), event(1, 1, 2, &[]));
    let newer = NewRejection { revision: 8, ..rejection(&new, vec![]) };
    reject(&store, vec![rejection(&old, vec![]), newer]);
    assert_eq!(store.retire_rejections(8).unwrap(), 1);
    assert_eq!(store.has(&[old.id, new.id]).unwrap(), [Known::No, REJECTED]);
}

#[test]
fn tombstones_answer_filters_by_every_field_that_have_sets_use() {
    let (_dir, store) = fresh();
    let repo = format!("30617:{}:x", key(9));
    let tags: [&[&str]; 2] = [&["a", &repo], &["p", "someone"]];
    let (near, far) = (event(1, 1621, 100, &tags), event(2, 1617, 200, &[&["q", "z"]]));
    reject(&store, vec![rejection(&near, vec![]), rejection(&far, vec![])]);
    let tag = |letter: char, value: &str| {
        Filter::new().custom_tag(SingleLetterTag::from_char(letter).unwrap(), value)
    };
    let cases = [
        (Filter::new(), pairs([&near, &far])),
        (tag('a', &repo), pairs([&near])),
        (tag('A', &repo), pairs([])),
        (tag('q', "z"), pairs([&far])),
        (tag('q', "z").kind(Kind::from_u16(1621)), pairs([])),
        // A row knows nothing of `p`: one too many does no harm.
        (tag('p', "nobody").kind(Kind::from_u16(1621)), pairs([&near])),
        (tag('a', &repo).author(key(2)), pairs([])),
        (Filter::new().author(key(1)), pairs([&near])),
        (Filter::new().authors([key(1), key(2)]).kind(Kind::from_u16(1617)), pairs([&far])),
        (Filter::new().ids([near.id]), pairs([&near])),
    ];
    for (filter, expected) in cases {
        assert_eq!(have(&store, &filter), expected, "{filter:?}");
    }
    let range = Range { since: at(100), until: at(199) };
    assert_eq!(have_within(&store, &Filter::new(), range), pairs([&near]));
    assert_eq!(have_within(&store, &Filter::new().since(at(101)), range), pairs([]));
}

#[test]
fn a_row_keeps_64_tags_and_counts_as_matching_beyond() {
    let (_dir, store) = fresh();
    let values: Vec<_> = (0..65).map(|n| n.to_string()).collect();
    let tags: Vec<[&str; 2]> = values.iter().map(|value| ["e", value.as_str()]).collect();
    let slices: Vec<&[&str]> = tags.iter().map(<[&str; 2]>::as_slice).collect();
    let (full, over) = (event(1, 1, 1, &slices[..64]), event(1, 1, 2, &slices));
    reject(&store, vec![rejection(&full, vec![]), rejection(&over, vec![])]);
    let none = Filter::new().custom_tag(SingleLetterTag::LOWERCASE_E, "none");
    assert_eq!(have(&store, &none.clone()), pairs([]));
    assert_eq!(have(&store, &none.identifier("none").author(key(1))), pairs([]));
    let p = Filter::new().custom_tag(SingleLetterTag::LOWERCASE_P, "x").author(key(1));
    assert_eq!(have(&store, &p), pairs([&full, &over]));
}

#[test]
fn every_letter_is_indexed_when_asked_for_and_events_of_before_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let tagged = event(1, 1, 1, &[&["p", "someone"], &["t", "x"]]);
    let filter = Filter::new().custom_tag(SingleLetterTag::LOWERCASE_P, "someone");
    let store = open(dir.path());
    save(&store, [&tagged]);
    assert_eq!(query(&store, &filter), [tagged.id]);
    drop(store);
    let options = StoreOptions { index: TagIndex::EveryLetter, ..StoreOptions::default() };
    let store = Store::open(dir.path(), options).unwrap();
    assert_eq!(query(&store, &filter), [tagged.id]);
    let later = event(1, 1, 2, &[&["p", "someone"]]);
    save(&store, [&later]);
    drop(store);
    // It stays so.
    let store = open(dir.path());
    assert_eq!(query(&store, &filter), [later.id, tagged.id]);
    let address = event(1, 5, 3, &[&["e", &tagged.id.to_hex()]]);
    save(&store, [&address]);
    assert_eq!(query(&store, &filter), [later.id]);
}

#[test]
fn the_outbox_holds_stored_events_until_they_are_sent_or_removed() {
    let (_dir, store) = fresh();
    let events: Vec<_> = [3, 2, 1].iter().map(|secs| event(1, 1, *secs, &[])).collect();
    let expired = event(1, 1, 1, &[&["expiration", "1"]]);
    let out = |event: &Arc<Event>| NewEvent { outbox: true, ..new(event) };
    let mut first = batch([]);
    first.events = events.iter().chain([&expired]).map(out).collect();
    commit(&store, &first);
    let all: Vec<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(store.outbox(10).unwrap(), all);
    assert_eq!(store.outbox(1).unwrap(), all[..1]);
    save(&store, [&event(1, 5, 9, &[&["e", &all[1].to_hex()]])]);
    commit(&store, &Commit { sent: vec![all[0], all[1]], ..Commit::default() });
    assert_eq!(store.outbox(10).unwrap(), [all[2]]);
    assert_eq!(store.stats().unwrap().outbox, 1);
}

#[test]
fn the_ledger_comes_back_by_relay_and_changes_by_row() {
    let (dir, store) = fresh();
    let long = url(&format!("wss://{}/", "x".repeat(500)));
    let relay = |url: &RelayUrl, failures| {
        LedgerRow::Relay(RelayRow {
            url: url.clone(),
            last_connected: Some(at(5)),
            disconnected_at: None,
            pass_finished_at: None,
            failures,
            failing_since: None,
            cooldown_until: None,
            neg_refused_at: None,
            paused: false,
        })
    };
    let cohort = |url: &RelayUrl, row| LedgerRow::Cohort {
        relay: url.clone(),
        row: RowId(row),
        cohort: Cohort {
            items: vec![Item::Layer1, Item::Id(event(1, 1, 1, &[]).id)],
            until: at(9),
            as_of: at(9),
            full_as_of: at(9),
            method: Method::Pages,
            live_until: None,
        },
    };
    let gap = LedgerRow::Gap {
        relay: long.clone(),
        row: RowId(7),
        gap: Gap {
            items: vec![Item::Repo(
                Coordinate::new(Kind::from_u16(30_617), key(1)).identifier("a:b"),
            )],
            range: Range::up_to(at(4)),
            reason: GapReason::Cut,
            since: at(1),
            tries: 2,
            retry_at: at(3),
            accepted: true,
            detail: RelayText::new("text"),
            ids: Vec::new(),
        },
    };
    let (a, put) = (url("wss://a/"), LedgerChange::Put);
    let change = |ledger| Commit { ledger, ..Commit::default() };
    let changes = change(vec![
        put(gap.clone()),
        put(cohort(&long, 300)),
        put(relay(&long, 1)),
        put(cohort(&a, 2)),
        put(relay(&a, 0)),
        put(relay(&long, 2)),
        put(cohort(&long, 4)),
    ]);
    commit(&store, &changes);
    drop(store);
    let store = open(dir.path());
    let rows =
        [relay(&a, 0), cohort(&a, 2), relay(&long, 2), cohort(&long, 4), cohort(&long, 300), gap];
    assert_eq!(store.ledger().unwrap(), rows);
    let changes = change(vec![
        LedgerChange::DropCohort { relay: long.clone(), row: RowId(4) },
        LedgerChange::DropGap { relay: long.clone(), row: RowId(7) },
        LedgerChange::DropRelay { relay: a },
    ]);
    commit(&store, &changes);
    assert_eq!(store.ledger().unwrap(), [relay(&long, 2), cohort(&long, 300)]);
}
