//! The admission pipeline over the real store, with real signatures.

mod ingest_support;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use ingest_support::{
    Bench, Failure, Fragile, NOW, announcement, arrival, config, conn, event, open, repo, stored,
};
use nostr::event::{Event, EventId};
use nostr::filter::{Filter, SingleLetterTag};
use nostr::types::Timestamp;
use proptest::prelude::{Just, Strategy, any};
use proptest::{prop_assert_eq, proptest};
use sync_core::admit::rejected::RejectReason;
use sync_core::config::{Config, Span};
use sync_core::input::Fact;
use sync_core::ledger::{LedgerChange, LedgerRow, RelayRow};
use sync_core::url::RelayUrl;
use sync_runtime::connection::{Arrival, Standing};
use sync_runtime::ingest::{IngestOptions, Submitted};
use sync_runtime::store::Known;

/// An announcement with two maintainers in a row, a state of the last, and a thread.
fn family() -> Vec<Event> {
    let root = event(4, 1621, NOW - 40, &[&["a", &repo(1, "x")]]);
    let id = root.id.to_hex();
    let comment = event(5, 1111, NOW - 30, &[&["E", &id], &["e", &id]]);
    let reply = event(6, 1111, NOW - 20, &[&["e", &comment.id.to_hex()]]);
    vec![
        announcement(1, "x", NOW - 60, "git.example", &[2]),
        announcement(2, "x", NOW - 59, "other.example", &[3]),
        announcement(3, "x", NOW - 58, "third.example", &[]),
        event(3, 30618, NOW - 50, &[&["d", "x"]]),
        root,
        event(7, 7, NOW - 10, &[&["e", &reply.id.to_hex()]]),
        comment,
        reply,
    ]
}

fn ids(events: &[Event]) -> BTreeSet<EventId> {
    events.iter().map(|event| event.id).collect()
}

#[test]
fn events_are_stored_and_their_facts_precede_what_settles_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut bench = Bench::start(Arc::new(open(&dir)));
    let events = family();
    bench.take(conn(1), &events);
    assert_eq!(stored(&*bench.store), ids(&events));
    let tally = bench.tally(1);
    assert_eq!((tally.total(), tally.failed, tally.duplicate), (8, 0, 0));
    assert_eq!(tally.ids.len(), 8);
    let repos = bench.facts.iter().filter(|fact| matches!(fact, Fact::Repo { .. })).count();
    let threads = bench.facts.iter().filter(|fact| matches!(fact, Fact::Thread { .. })).count();
    assert_eq!((repos, threads), (3, 2));
    bench.stop();
}

#[test]
fn every_order_of_arrival_stores_the_same_and_at_once() {
    let events = family();
    for rotated in 0..events.len() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut bench = Bench::start(Arc::new(open(&dir)));
        let mut order = events.clone();
        order.reverse();
        order.rotate_left(rotated);
        for event in &order {
            bench.take(conn(1), [event]);
        }
        assert_eq!(stored(&*bench.store), ids(&events), "rotated by {rotated}");
        assert!(bench.store.wanted().expect("rows").is_empty());
        bench.stop();
    }
}

#[test]
fn a_forged_copy_in_flight_does_not_keep_the_genuine_event_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut bench = Bench::start(Arc::new(open(&dir)));
    let genuine = announcement(1, "x", NOW - 60, "git.example", &[]);
    let other = announcement(2, "x", NOW - 60, "git.example", &[]);
    let mut wrong_signature = arrival(conn(1), 1, &genuine);
    let sigs = (genuine.sig.to_hex(), other.sig.to_hex());
    wrong_signature.json = wrong_signature.json.replace(&sigs.0, &sigs.1).into();
    let mut other_body = arrival(conn(1), 1, &genuine);
    other_body.json = other_body.json.replace("text", "test").into();
    let mut off_filter = arrival(conn(2), 1, &genuine);
    off_filter.filters = Arc::from([Filter::new().identifier("y")]);
    let mut garbage = arrival(conn(1), 1, &genuine);
    garbage.json = "{".into();
    let copies = [arrival(conn(3), 1, &genuine), arrival(conn(3), 1, &genuine)];
    bench.offer([wrong_signature, other_body, off_filter, garbage].into_iter().chain(copies));
    bench.settle();
    assert_eq!(stored(&*bench.store), BTreeSet::from([genuine.id]));
    assert_eq!(bench.tally(1).invalid, 3);
    assert_eq!(bench.tally(2).off_filter, 1);
    let tally = bench.tally(3);
    assert_eq!((tally.stored, tally.duplicate), (1, 1));
    assert_eq!(tally.ids, [genuine.id], "two tallies of one id at most");
    bench.stop();
}

#[test]
fn nothing_is_remembered_of_a_forgery() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut bench = Bench::start(Arc::new(open(&dir)));
    let rejected = event(9, 1, NOW - 60, &[&["e", &"00".repeat(32)]]);
    let mut forged = arrival(conn(1), 1, &rejected);
    forged.json = forged.json.replace("text", "test").into();
    bench.offer([forged.clone()]);
    bench.settle();
    assert_eq!(bench.store.has(&[rejected.id]).expect("known"), [Known::No]);
    assert!(bench.store.rejection(rejected.id).expect("a row").is_none());
    bench.take(conn(2), [&rejected]);
    assert_eq!(bench.tally(2).rejected, 1);
    // A copy with the id of something known is dropped unread, whatever it says.
    bench.offer([forged]);
    bench.settle();
    assert_eq!((bench.tally(1).invalid, bench.tally(1).duplicate), (1, 1));
    let row = bench.store.rejection(rejected.id).expect("a row").expect("it is there");
    assert_eq!(row.reason, RejectReason::NoReference);
    assert_eq!(row.relays, [RelayUrl::parse("wss://r2.example").expect("a relay")]);
    bench.stop();
}

#[test]
fn a_satisfied_row_of_an_earlier_process_is_asked_for_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let state = event(3, 30618, NOW - 50, &[&["d", "x"]]);
    {
        let mut bench = Bench::start(Arc::new(open(&dir)));
        bench.take(conn(4), [&state]);
        assert_eq!(bench.tally(4).rejected, 1);
        bench.stop();
    }
    let want = Fact::WantId {
        id: state.id,
        relays: vec![RelayUrl::parse("wss://r4.example").expect("a relay")],
        not_before: None,
    };
    {
        let mut bench = Bench::start(Arc::new(open(&dir)));
        assert!(!bench.facts.contains(&want));
        bench.take(conn(1), [&announcement(1, "x", NOW - 60, "git.example", &[3])]);
        assert!(bench.facts.contains(&want), "{:?}", bench.facts);
        bench.stop();
    }
    let mut bench = Bench::start(Arc::new(open(&dir)));
    assert!(bench.facts.contains(&want), "marked rows are handed in at start");
    bench.take(conn(4), [&state]);
    assert_eq!(bench.tally(4).stored, 1);
    assert!(bench.store.wanted().expect("rows").is_empty());
    bench.stop();
}

#[test]
fn a_restart_finds_what_is_wanted_and_another_policy_looks_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let foreign = announcement(8, "y", NOW - 60, "other.example", &[]);
    {
        let mut bench = Bench::start(Arc::new(open(&dir)));
        bench.take(conn(1), family().iter().chain([&foreign]));
        bench.stop();
    }
    let count = |facts: &[Fact], want: fn(&Fact) -> bool| facts.iter().filter(|f| want(f)).count();
    let mut bench = Bench::start(Arc::new(open(&dir)));
    assert_eq!(count(&bench.facts, |fact| matches!(fact, Fact::Repo { .. })), 3);
    assert_eq!(count(&bench.facts, |fact| matches!(fact, Fact::Root { .. })), 1);
    assert_eq!(count(&bench.facts, |fact| matches!(fact, Fact::Thread { .. })), 2);
    assert_eq!(count(&bench.facts, |fact| matches!(fact, Fact::Author { .. })), 7);
    assert_eq!(count(&bench.facts, |fact| matches!(fact, Fact::WantId { .. })), 0);
    bench.stop();
    drop(bench);
    let mut wider = config();
    wider.accept.archive = vec!["y".into()];
    let mut bench = Bench::with(Arc::new(open(&dir)), IngestOptions::new(wider));
    assert_eq!(count(&bench.facts, |fact| matches!(fact, Fact::PolicyChanged { .. })), 1);
    bench.take(conn(1), [&foreign]);
    assert_eq!(bench.tally(1).stored, 1);
    bench.stop();
}

#[test]
fn a_full_disk_stops_intake_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let fragile = Fragile::new(open(&dir));
    let mut bench = Bench::start(fragile.clone());
    fragile.plan([Failure::Full, Failure::Full]);
    let events = family();
    bench.take(conn(1), &events);
    assert_eq!(bench.tally(1).failed, 0);
    assert_eq!(stored(&*bench.store), ids(&events));
    bench.stop();
}

#[test]
fn a_commit_that_fails_is_told_and_the_policy_is_not_ahead_of_the_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let fragile = Fragile::new(open(&dir));
    let mut bench = Bench::start(fragile.clone());
    let events = family();
    fragile.plan([Failure::Broken; 3]);
    bench.take(conn(1), [&events[0]]);
    assert_eq!((bench.tally(1).failed, bench.tally(1).stored), (1, 0));
    assert_eq!(bench.tally(1).failed_ids, [events[0].id]);
    assert!(bench.facts.is_empty(), "{:?}", bench.facts);
    // The announcement is not there, so its issue has nothing to hang on.
    bench.take(conn(2), [&events[4]]);
    assert_eq!(bench.tally(2).rejected, 1);
    bench.take(conn(1), [&events[0]]);
    assert_eq!(bench.tally(1).stored, 1);
    assert_eq!(stored(&*bench.store), BTreeSet::from([events[0].id, events[4].id]));
    bench.stop();
}

#[test]
fn a_ledger_row_survives_a_failed_commit_and_follows_the_events() {
    let dir = tempfile::tempdir().expect("a directory");
    let fragile = Fragile::new(open(&dir));
    let mut bench = Bench::start(fragile.clone());
    let events = family();
    bench.take(conn(1), &events);
    fragile.plan([Failure::Broken; 3]);
    let row = LedgerRow::Relay(RelayRow {
        url: RelayUrl::parse("wss://r1.example").expect("a relay"),
        last_connected: Some(Timestamp::from_secs(NOW)),
        disconnected_at: None,
        pass_finished_at: None,
        failures: 0,
        failing_since: None,
        cooldown_until: None,
        neg_refused_at: None,
        paused: false,
    });
    bench.running().persist(LedgerChange::Put(row.clone()));
    bench.stop();
    assert_eq!(bench.store.ledger().expect("rows"), [row]);
}

#[test]
fn many_events_share_a_commit() {
    let dir = tempfile::tempdir().expect("a directory");
    let fragile = Fragile::new(open(&dir));
    let mut bench = Bench::start(fragile.clone());
    let id = repo(1, "x");
    let mut events = vec![announcement(1, "x", NOW - 60, "git.example", &[])];
    events.extend((0..600).map(|n| event(2, 1621, NOW - n, &[&["a", &id]])));
    bench.take(conn(1), &events);
    assert_eq!(bench.tally(1).stored, 601);
    let commits = fragile.commits.load(Ordering::SeqCst);
    assert!(commits < 100, "{commits} commits for 601 events");
    bench.stop();
}

#[test]
fn what_is_deleted_is_no_longer_wanted() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut bench = Bench::start(Arc::new(open(&dir)));
    let events = family();
    bench.take(conn(1), &events);
    let comment = event(5, 5, NOW - 5, &[&["e", &events[6].id.to_hex()]]);
    bench.take(conn(1), [&comment]);
    assert!(bench.facts.contains(&Fact::ThreadGone { id: events[6].id }));
    assert!(bench.facts.contains(&Fact::ThreadGone { id: events[7].id }));
    bench.take(conn(2), [&events[6]]);
    assert_eq!(bench.tally(2).duplicate, 1, "its tombstone is known");
    let whole = event(1, 5, NOW - 5, &[&["a", &repo(1, "x")]]);
    bench.take(conn(1), [&whole]);
    let gone = bench.facts.iter().filter(|fact| matches!(fact, Fact::RepoGone { .. })).count();
    assert_eq!(gone, 3);
    bench.stop();
}

#[test]
fn a_deletion_before_its_target_holds() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut bench = Bench::start(Arc::new(open(&dir)));
    let events = family();
    let deletion = event(5, 5, NOW - 5, &[&["e", &events[6].id.to_hex()]]);
    let other = event(5, 7, NOW - 5, &[&["e", &events[4].id.to_hex()]]);
    bench.take(conn(1), [&deletion]);
    assert_eq!(bench.tally(1).rejected, 1, "nobody knows its author");
    bench.take(conn(2), [&events[0], &events[4], &other]);
    bench.take(conn(3), [&events[6]]);
    assert_eq!((bench.tally(3).rejected, bench.tally(3).stored), (1, 0));
    let kept = stored(&*bench.store);
    assert!(kept.contains(&deletion.id) && !kept.contains(&events[6].id));
    assert!(!bench.facts.contains(&Fact::ThreadGone { id: events[4].id }));
    bench.stop();
}

#[test]
fn an_event_of_the_future_is_asked_for_when_its_time_comes() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(Mutex::new(NOW));
    let mut options = IngestOptions::new(config());
    options.config.rejected.hot_bytes = sync_core::config::Size(0);
    let early = announcement(1, "x", NOW + 1_000, "git.example", &[]);
    let mut bench = Bench::with_clock(Arc::new(open(&dir)), options, Arc::clone(&clock));
    bench.take(conn(1), [&early]);
    assert_eq!(bench.tally(1).rejected, 1);
    bench.take(conn(2), [&early]);
    assert_eq!(bench.tally(2).duplicate, 1);
    *clock.lock().expect("a clock") = NOW + 100;
    let id = early.id;
    bench.wait(|bench| {
        bench.facts.iter().any(|fact| matches!(fact, Fact::WantId { id: w, .. } if *w == id))
    });
    bench.take(conn(2), [&early]);
    assert_eq!(bench.tally(2).stored, 1);
    bench.stop();
}

#[test]
fn what_live_sync_should_have_brought_is_counted_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut bench = Bench::start(Arc::new(open(&dir)));
    let announced = announcement(1, "x", NOW - 300, "git.example", &[]);
    bench.take(conn(1), [&announced]);
    let address = repo(1, "x");
    let issue = |at| event(2, 1621, at, &[&["a", &address]]);
    let live = |since| {
        let filters = Arc::from([Filter::new().custom_tag(SingleLetterTag::LOWERCASE_A, &address)]);
        Some(Arc::from([Standing { since: Timestamp::from_secs(since), filters }]))
    };
    let (missed, early, foreign) = (issue(NOW - 100), issue(NOW - 200), event(2, 7, NOW - 90, &[]));
    let by_page = |event: &Event, standing| Arrival { standing, ..arrival(conn(2), 1, event) };
    bench.offer([by_page(&missed, live(NOW - 170)), by_page(&early, live(NOW - 170))]);
    bench.offer([by_page(&foreign, live(NOW - 170))]);
    bench.settle();
    let tally = bench.tally(2);
    assert_eq!((tally.stored, tally.rejected, tally.gap_events), (2, 1, 1));
    // The next relay brings it again: it was missed of the first only.
    bench.offer([Arrival { conn: conn(3), ..by_page(&missed, live(NOW - 170)) }]);
    bench.settle();
    assert_eq!((bench.tally(3).duplicate, bench.tally(3).gap_events), (1, 0));
    bench.stop();
}

#[test]
fn what_expires_and_what_is_too_old_goes_while_the_pipeline_is_idle() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(Mutex::new(NOW));
    let mut options = IngestOptions::new(config());
    let millis = std::time::Duration::from_millis;
    options.config.rejected.hot_sweep = Span(millis(20));
    options.config.rejected.cold_sweep = Span(millis(20));
    let mut bench = Bench::with_clock(Arc::new(open(&dir)), options, Arc::clone(&clock));
    let announced = announcement(1, "x", NOW - 60, "git.example", &[]);
    let soon = (NOW + 100).to_string();
    let passing = event(2, 1621, NOW, &[&["a", &repo(1, "x")], &["expiration", &soon]]);
    let rejected = event(9, 1, NOW - 60, &[&["e", &"00".repeat(32)]]);
    bench.take(conn(1), [&announced, &passing, &rejected]);
    assert_eq!((bench.tally(1).stored, bench.tally(1).rejected), (2, 1));
    *clock.lock().expect("a clock") = NOW + 101;
    // Its root is not wanted any more, and nothing had to arrive for that.
    let gone = Fact::ThreadGone { id: passing.id };
    bench.wait(|bench| bench.facts.contains(&gone));
    assert_eq!(stored(&*bench.store), BTreeSet::from([announced.id]));
    assert!(bench.store.rejection(rejected.id).expect("a row").is_some());
    *clock.lock().expect("a clock") = NOW + 8 * 86_400;
    while bench.store.rejection(rejected.id).expect("a row").is_some() {
        std::thread::yield_now();
    }
    assert_eq!(bench.store.has(&[rejected.id]).expect("known"), [Known::No]);
    bench.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_hears_what_became_of_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(open(&dir));
    let mut bench = tokio::task::block_in_place(|| Bench::start(store));
    let submitter = bench.running().submitter();
    let repo = announcement(1, "x", NOW - 60, "git.example", &[]);
    let foreign = announcement(2, "x", NOW - 60, "other.example", &[]);
    let mut forged = announcement(1, "y", NOW - 60, "git.example", &[]);
    forged.sig = repo.sig;
    assert_eq!(submitter.submit(repo.clone()).await, Submitted::Stored);
    assert_eq!(submitter.submit(repo).await, Submitted::Duplicate);
    let answer = submitter.submit(foreign).await;
    assert_eq!(answer, Submitted::Rejected(RejectReason::NotListed));
    assert!(matches!(submitter.submit(forged).await, Submitted::Invalid(_)));
    tokio::task::block_in_place(|| bench.stop());
    let late = announcement(1, "z", NOW - 60, "git.example", &[]);
    assert_eq!(submitter.submit(late).await, Submitted::Failed);
}

#[test]
fn real_events_are_taken_by_an_archive_and_seen_by_the_hook() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut archive = Config::default();
    archive.accept.archive = vec!["all".into()];
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let mut options = IngestOptions::new(archive);
    let sink = Arc::clone(&seen);
    options.on_stored = Some(Arc::new(move |event: &Event, from| {
        assert_eq!(from, Some(conn(1)));
        sink.lock().expect("a set").insert(event.id);
    }));
    let mut bench = Bench::with(Arc::new(open(&dir)), options);
    let text = include_str!("../../tests/data/nip34-real.jsonl");
    let events: Vec<Event> =
        text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    bench.take(conn(1), &events);
    assert_eq!((bench.tally(1).stored, events.len()), (25, 25));
    assert_eq!(stored(&*bench.store), ids(&events));
    assert_eq!(*seen.lock().expect("a set"), ids(&events));
    bench.stop();
}

proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 24, failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn any_order_over_any_relays_gives_the_same_store(
        order in Just((0..16).collect::<Vec<usize>>()).prop_shuffle(),
        from in proptest::collection::vec(any::<u8>().prop_map(|n| u32::from(n % 3)), 16),
        cuts in proptest::collection::vec(any::<bool>(), 16),
    ) {
        let events = family();
        let dir = tempfile::tempdir().expect("a directory");
        let mut bench = Bench::start(Arc::new(open(&dir)));
        for (n, at) in order.into_iter().enumerate() {
            bench.offer([arrival(conn(from[n]), 1, &events[at % events.len()])]);
            if cuts[n] {
                bench.settle();
            }
        }
        bench.settle();
        prop_assert_eq!(stored(&*bench.store), ids(&events));
        bench.stop();
    }
}
