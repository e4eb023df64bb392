//! What any event database must do: save, replace, delete, expire, query by every field.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod store_support;

use std::sync::Arc;

use nostr::event::{Event, Kind};
use nostr::filter::{Filter, SingleLetterTag};
use sync_runtime::store::{Commit, EventStore, Gone, Known, NewEvent, Outcome, Removed};

use store_support::*;

const STORED: Outcome = Outcome::Stored;

fn ids_of(events: &[&Arc<Event>]) -> Vec<nostr::event::EventId> {
    events.iter().map(|event| event.id).collect()
}

#[test]
fn an_event_is_stored_once_and_read_back_byte_for_byte() {
    let (_dir, store) = fresh();
    let note = event_with(1, 1, 100, &[&["t", "é\"\\\n"]], "a \u{1f600} note");
    // Spaces that a serialiser would not write.
    let raw: Arc<str> = note.as_json().replacen(',', " , ", 1).into();
    let new = NewEvent { event: note.clone(), raw: raw.clone(), outbox: false };
    let batch = Commit { now: at(NOW), events: vec![new], ..Commit::default() };
    assert_eq!(commit(&store, &batch).outcomes, [STORED]);
    assert_eq!(commit(&store, &batch).outcomes, [Outcome::Duplicate]);
    assert_eq!(store.by_ids(&[note.id]).unwrap(), [Some(raw)]);
    assert_eq!(store.has(&[note.id]).unwrap(), [Known::Stored]);
    assert_eq!(store.count(&Filter::new()).unwrap(), 1);
}

#[test]
fn copies_within_one_commit_share_the_outcome_of_the_first() {
    let (_dir, store) = fresh();
    let note = event(1, 1, 100, &[]);
    let old = event(1, 1, 100, &[&["expiration", "100"]]);
    assert_eq!(
        save(&store, [&note, &old, &note, &old]),
        [STORED, gone(Gone::Expired), Outcome::Duplicate, gone(Gone::Expired)]
    );
}

#[test]
fn unknown_ids_are_not_known() {
    let (_dir, store) = fresh();
    let note = event(1, 1, 100, &[]);
    assert_eq!(store.has(&[note.id]).unwrap(), [Known::No]);
    assert_eq!(store.by_ids(&[note.id]).unwrap(), [None]);
}

#[test]
fn a_newer_replaceable_event_replaces_and_an_older_one_is_superseded() {
    let (_dir, store) = fresh();
    for kind in [0, 3, 10_002, 19_999] {
        let old = event(1, kind, 100, &[]);
        let new = event(1, kind, 200, &[]);
        let other = event(2, kind, 150, &[]);
        assert_eq!(save(&store, [&old]), [STORED]);
        let report = commit(&store, &batch([&new, &other]));
        assert_eq!(report.outcomes, [STORED, STORED]);
        let removed: Vec<_> = report.removed.iter().map(|gone| (gone.id, gone.why)).collect();
        assert_eq!(removed, [(old.id, Gone::Superseded)]);
        assert_eq!(report.removed[0].by, Some(new.id));
        let older = event(1, kind, 50, &[]);
        assert_eq!(save(&store, [&older, &old]), [gone(Gone::Superseded); 2]);
        let filter = Filter::new().kind(Kind::from_u16(kind));
        assert_eq!(query(&store, &filter), ids_of(&[&new, &other]));
        assert_eq!(have(&store, &filter), pairs([&old, &new, &other, &older]));
    }
}

#[test]
fn of_two_versions_of_one_second_the_lower_id_stays() {
    for reverse in [false, true] {
        let (_dir, store) = fresh();
        let mut versions: Vec<_> =
            (0..6).map(|n| event_with(1, 30_617, 100, &[&["d", "x"]], &n.to_string())).collect();
        versions.sort_by_key(|version| version.id);
        let lowest = versions[0].id;
        if reverse {
            versions.reverse();
        }
        for version in &versions {
            save(&store, [version]);
        }
        assert_eq!(query(&store, &Filter::new()), [lowest]);
    }
}

#[test]
fn addressable_events_replace_by_their_first_identifier() {
    let (_dir, store) = fresh();
    let a = event(1, 30_617, 100, &[&["d", "a"], &["d", "b"]]);
    let b = event(1, 30_617, 100, &[&["d", "b"]]);
    let none = event(1, 30_617, 100, &[]);
    let empty = event(1, 30_617, 200, &[&["d"]]);
    assert_eq!(save(&store, [&a, &b, &none]), [STORED; 3]);
    assert_eq!(save(&store, [&empty]), [STORED]);
    assert_eq!(stored(&store), ids([&a, &b, &empty]));
    let a2 = event(1, 30_617, 101, &[&["d", "a"]]);
    let report = commit(&store, &batch([&a2]));
    let expected = Removed {
        id: a.id,
        kind: a.kind,
        pubkey: a.pubkey,
        created_at: a.created_at,
        address: a.coordinate(),
        why: Gone::Superseded,
        by: Some(a2.id),
    };
    assert_eq!(report.removed, [expected]);
    assert_eq!(stored(&store), ids([&a2, &b, &empty]));
}

#[test]
fn identifiers_with_colons_and_of_any_length_are_told_apart() {
    let (_dir, store) = fresh();
    let long = "x".repeat(600);
    let longer = format!("{long}y");
    let names = ["", "a", "a:b", "a:b:c", "\u{1f600} x", &long, &longer];
    let versions: Vec<_> = names.map(|name| event(1, 30_617, 100, &[&["d", name]])).into();
    assert_eq!(save(&store, &versions), [STORED; 7]);
    for (name, version) in names.iter().zip(&versions) {
        let address = format!("30617:{}:{name}", key(1));
        let report = commit(&store, &batch([&event(1, 5, 100, &[&["a", &address]])]));
        let removed: Vec<_> = report.removed.iter().map(|gone| gone.id).collect();
        assert_eq!(removed, [version.id], "{name}");
    }
}

#[test]
fn kind_41_and_regular_kinds_are_not_replaced() {
    let (_dir, store) = fresh();
    let events: Vec<_> =
        [1, 41, 1617].iter().flat_map(|k| [event(1, *k, 1, &[]), event(1, *k, 2, &[])]).collect();
    assert_eq!(save(&store, &events), [STORED; 6]);
}

#[test]
fn ephemeral_events_are_refused_until_a_sweep() {
    let (_dir, store) = fresh();
    let ephemeral = event(1, 20_001, 100, &[]);
    assert_eq!(save(&store, [&ephemeral]), [gone(Gone::Ephemeral)]);
    assert_eq!(store.has(&[ephemeral.id]).unwrap(), [Known::Gone(Gone::Ephemeral)]);
    assert_eq!(store.sweep(at(NOW)).unwrap().ephemeral, 0);
    assert_eq!(store.sweep(at(NOW + 1)).unwrap().ephemeral, 1);
    assert_eq!(store.has(&[ephemeral.id]).unwrap(), [Known::No]);
    assert_eq!(store.stats().unwrap().tombstones, 0);
    assert_eq!(store.stats().unwrap().aging, 0);
}

#[test]
fn a_deletion_by_id_removes_its_authors_events_only() {
    let (_dir, store) = fresh();
    let (mine, foreign) = (event(1, 1, 100, &[]), event(2, 1, 100, &[]));
    save(&store, [&mine, &foreign]);
    let tags: [&[&str]; 3] =
        [&["e", "nonsense"], &["e", &foreign.id.to_hex()], &["e", &mine.id.to_hex()]];
    let deletion = event(1, 5, 200, &tags);
    let report = commit(&store, &batch([&deletion]));
    assert_eq!(report.outcomes, [STORED]);
    let removed: Vec<_> = report.removed.iter().map(|gone| (gone.id, gone.why, gone.by)).collect();
    assert_eq!(removed, [(mine.id, Gone::Deleted, Some(deletion.id))]);
    assert_eq!(stored(&store), ids([&foreign, &deletion]));
    assert_eq!(save(&store, [&mine]), [gone(Gone::Deleted)]);
}

#[test]
fn a_deletion_covers_what_comes_after_it() {
    let (_dir, store) = fresh();
    let (mine, foreign) = (event(1, 1, 100, &[]), event(2, 1, 100, &[]));
    let tags: [&[&str]; 2] = [&["e", &foreign.id.to_hex()], &["e", &mine.id.to_hex()]];
    let deletion = event(1, 5, 50, &tags);
    save(&store, [&deletion]);
    assert_eq!(save(&store, [&mine, &foreign]), [gone(Gone::Deleted), STORED]);
    assert_eq!(store.has(&[mine.id]).unwrap(), [Known::Gone(Gone::Deleted)]);
    assert_eq!(have(&store, &Filter::new()), pairs([&mine, &foreign, &deletion]));
}

#[test]
fn a_deletion_by_address_covers_versions_up_to_its_own_time() {
    let (_dir, store) = fresh();
    let address = format!("30617:{}:x", key(1));
    let version = |secs| event(1, 30_617, secs, &[&["d", "x"]]);
    save(&store, [&version(100)]);
    save(&store, [&event(2, 5, 300, &[&["a", &address]])]);
    assert_eq!(store.count(&Filter::new().kind(Kind::from_u16(30_617))).unwrap(), 1);
    let report = commit(&store, &batch([&event(1, 5, 200, &[&["a", &address]])]));
    assert_eq!(report.removed.len(), 1);
    assert_eq!(save(&store, [&version(150), &version(200)]), [gone(Gone::Deleted); 2]);
    assert_eq!(save(&store, [&version(201)]), [STORED]);
    // An earlier deletion that comes later takes nothing back.
    save(&store, [&event(1, 5, 120, &[&["a", &address]])]);
    assert_eq!(save(&store, [&version(199)]), [gone(Gone::Deleted)]);
}

#[test]
fn a_deletion_by_address_works_for_replaceable_kinds() {
    let (_dir, store) = fresh();
    let list = event(1, 10_002, 100, &[&["d", "ignored"]]);
    save(&store, [&list]);
    save(&store, [&event(1, 5, 100, &[&["a", &format!("10002:{}:", key(1))]])]);
    assert_eq!(store.has(&[list.id]).unwrap(), [Known::Gone(Gone::Deleted)]);
    let profile = event(1, 0, 100, &[]);
    save(&store, [&event(1, 5, 100, &[&["a", &format!("0:{}", key(1))]])]);
    assert_eq!(save(&store, [&profile]), [gone(Gone::Deleted)]);
}

#[test]
fn deletions_and_vanish_requests_cannot_be_deleted() {
    let (_dir, store) = fresh();
    let first = event(1, 5, 100, &[&["e", &event(1, 1, 1, &[]).id.to_hex()]]);
    let vanish = event(1, 62, 10, &[&["relay", "ALL_RELAYS"]]);
    save(&store, [&first, &vanish]);
    let tags: [&[&str]; 2] = [&["e", &first.id.to_hex()], &["e", &vanish.id.to_hex()]];
    let second = event(1, 5, 200, &tags);
    assert_eq!(commit(&store, &batch([&second])).removed, []);
    assert_eq!(stored(&store), ids([&first, &second, &vanish]));
}

#[test]
fn a_deleted_version_does_not_bring_older_ones_back() {
    let (_dir, store) = fresh();
    let (old, new) = (event(1, 30_617, 1, &[&["d", "x"]]), event(1, 30_617, 2, &[&["d", "x"]]));
    let deletion = event(1, 5, 3, &[&["e", &new.id.to_hex()]]);
    save(&store, [&deletion]);
    save(&store, [&new]);
    assert_eq!(save(&store, [&old]), [gone(Gone::Superseded)]);
}

#[test]
fn an_expired_event_is_refused_and_a_stored_one_goes_in_its_second() {
    let (_dir, store) = fresh();
    let expires = |secs: u64| event(1, 1, 100, &[&["expiration", &secs.to_string()]]);
    let (past, next, later) = (expires(NOW), expires(NOW + 1), expires(NOW + 2));
    let odd = event(1, 1, 100, &[&["expiration", "soon"]]);
    assert_eq!(
        save(&store, [&past, &next, &later, &odd]),
        [gone(Gone::Expired), STORED, STORED, STORED]
    );
    assert_eq!(store.expire(at(NOW)).unwrap(), []);
    let removed = store.expire(at(NOW + 1)).unwrap();
    assert_eq!(removed.iter().map(|gone| gone.id).collect::<Vec<_>>(), [next.id]);
    assert_eq!((removed[0].why, removed[0].by), (Gone::Expired, None));
    assert_eq!(stored(&store), ids([&later, &odd]));
    assert_eq!(store.has(&[past.id, next.id]).unwrap(), [Known::Gone(Gone::Expired); 2]);
    assert_eq!(have(&store, &Filter::new()), pairs([&past, &next, &later, &odd]));
}

#[test]
fn every_field_of_a_filter_restricts_and_order_is_new_to_old_then_by_id() {
    let (_dir, store) = fresh();
    let mut notes: Vec<_> = (0..20u64)
        .map(|n| {
            let repo = format!("30617:{}:r{}", key(9), n % 3);
            let tags: [&[&str]; 2] = [&["a", &repo], &["t", "topic"]];
            event_with(1 + (n % 2) as u8, 1617 + (n % 4) as u16, 100 + n / 4, &tags, &n.to_string())
        })
        .collect();
    save(&store, &notes);
    notes.sort_by_key(|note| (std::cmp::Reverse(note.created_at), note.id));
    let repo = |n: u8| format!("30617:{}:r{n}", key(9));
    let tag = |letter, values: &[String]| {
        Filter::new().custom_tags(SingleLetterTag::from_char(letter).unwrap(), values)
    };
    let one = notes[3].id;
    let filters = [
        Filter::new(),
        Filter::new().ids([one, notes[7].id]),
        Filter::new().author(key(1)),
        Filter::new().authors([key(1), key(2), key(3)]),
        Filter::new().kind(Kind::from_u16(1618)),
        Filter::new().kinds([1617, 1620, 7].map(Kind::from_u16)),
        Filter::new().author(key(2)).kinds([1618, 1619].map(Kind::from_u16)),
        tag('a', &[repo(0)]),
        tag('a', &[repo(0), repo(2), "none".into()]),
        tag('a', &[repo(1)]).author(key(1)),
        tag('a', &[repo(1)]).kind(Kind::from_u16(1617)).since(at(102)),
        tag('t', &["topic".into()]).custom_tags(SingleLetterTag::LOWERCASE_A, [repo(1)]),
        tag('t', &["topic".into()]),
        tag('t', &["other".into()]),
        tag('e', &["none".into()]),
        Filter::new().since(at(102)),
        Filter::new().until(at(102)),
        Filter::new().since(at(101)).until(at(103)).author(key(1)),
        Filter::new().since(at(104)).until(at(103)),
        Filter::new().search("7"),
        Filter::new().id(one).author(notes[3].pubkey),
        Filter::new().id(one).until(at(1)),
    ];
    for filter in filters {
        let options = nostr::filter::MatchEventOptions::new();
        let matching: Vec<_> = notes.iter().filter(|n| filter.match_event(n, options)).collect();
        assert_eq!(query(&store, &filter), ids_of(&matching), "{filter:?}");
        assert_eq!(store.count(&filter).unwrap(), matching.len() as u64, "{filter:?}");
        assert_eq!(have(&store, &filter), pairs(matching.iter().copied()), "{filter:?}");
        for limit in [0, 1, 3, 100] {
            let first: Vec<_> = matching.iter().take(limit).copied().collect();
            let limited = filter.clone().limit(limit);
            assert_eq!(query(&store, &limited), ids_of(&first), "{limited:?}");
        }
    }
}

#[test]
fn empty_lists_mean_what_nostr_says() {
    let (_dir, store) = fresh();
    let note = event(1, 1, 100, &[&["e", "x"]]);
    save(&store, [&note]);
    let none: [&str; 0] = [];
    assert_eq!(query(&store, &Filter::new().ids([]).authors([]).kinds([])), [note.id]);
    assert_eq!(query(&store, &Filter::new().custom_tags(SingleLetterTag::LOWERCASE_E, none)), []);
}

#[test]
fn a_visitor_can_stop() {
    let (_dir, store) = fresh();
    let notes: Vec<_> = (0..10).map(|n| event(1, 1, n, &[])).collect();
    save(&store, &notes);
    let mut seen = 0;
    let visit = &mut |_: sync_runtime::store::Found<'_>| {
        seen += 1;
        if seen == 4 {
            std::ops::ControlFlow::Break(())
        } else {
            std::ops::ControlFlow::Continue(())
        }
    };
    store.query(&Filter::new(), visit).unwrap();
    assert_eq!(seen, 4);
}

#[test]
fn kinds_are_scanned_from_old_to_new() {
    let (_dir, store) = fresh();
    let [a, b, c] = [(30_617, 5), (1621, 9), (1621, 3)].map(|(k, t)| event(1, k, t, &[]));
    save(&store, [&a, &b, &c, &event(1, 1, 1, &[])]);
    let mut seen = Vec::new();
    let kinds = [30_617, 1621, 1618].map(Kind::from_u16);
    store
        .scan_kinds(&kinds, &mut |found| {
            seen.push((found.id, found.raw.to_owned()));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, [&a, &c, &b].map(|event| (event.id, event.as_json())));
}

#[test]
fn authors_are_listed_once() {
    let (_dir, store) = fresh();
    let events: Vec<_> =
        [(3, 1), (1, 1), (3, 7), (0xff, 1)].map(|(a, k)| event(a, k, 1, &[])).into();
    save(&store, &events);
    let mut authors = Vec::new();
    store.authors(&mut |author| authors.push(author)).unwrap();
    assert_eq!(authors, [key(1), key(3), key(0xff)]);
}
