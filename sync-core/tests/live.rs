//! Live requests: what stands, what was lost, and what is reconciled because of it (FILT-2,
//! FILT-3, TALK-1).

mod support;

use nostr::types::Timestamp;
use support::*;
use sync_core::command::Command;
use sync_core::event::Event;
use sync_core::input::{Fact, FactSource, Input};
use sync_core::item::{GapReason, Item, SyncLevel};
use sync_core::status::RelayStatus;
use sync_core::tally::{EventTally, SettleTally};

fn repo_and_root() -> Vec<Fact> {
    vec![repo_fact("r", SyncLevel::Full), root_fact(1, "r")]
}

/// Layer 1, a repository and a thread in one live request.
fn consolidated() -> (Script, sync_core::id::SubId) {
    let mut script = Script::proven(|c| c.live.consolidate_at = 6, repo_and_root());
    let mut merged = live(&script.log.clone()).pop().expect("live requests were opened");
    // The last of the merges is the one that is not closed.
    for sub in live(&script.log.clone()) {
        if !unsubscribed(&script.log).contains(&sub) {
            merged = sub;
        }
    }
    script.log.clear();
    (script, merged)
}

#[test]
fn items_of_every_layer_of_a_lost_live_request_are_asked_for_again() {
    // TALK-1: a merged live request holds items of several layers; each gets its gap, and each
    // gap its retry.
    let (mut script, merged) = consolidated();
    script.closed(merged, "error: overloaded");
    assert_eq!(script.status(), RelayStatus::ConnectedDegraded);
    let layers: Vec<_> = script.gaps().iter().map(|gap| gap.items[0].layer()).collect();
    assert_eq!(layers.len(), 3, "one a layer");
    let again = script.wait(secs(31));
    script.answer_all(again);
    assert_eq!(script.gaps(), []);
    assert_eq!(script.status(), RelayStatus::Connected);
    let live_items = script.core.explain(sync_core::id::RelayId(0)).map(|e| e.items_live);
    assert_eq!(live_items, Some(3));
}

#[test]
fn a_live_request_that_is_refused_again_and_again_is_one_gap_that_backs_off() {
    // CONN-9: retries back off to once a day; the number of gaps does not grow (S10).
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    script.closed(live(&begun)[0], "blocked: no");
    let mut asked = 0;
    for _ in 0..3600 {
        let commands = script.wait(secs(1));
        for sub in live(&commands) {
            asked += 1;
            script.closed(sub, "blocked: no");
        }
    }
    assert_eq!(script.gaps().len(), 1);
    assert_eq!(script.gaps()[0].reason, GapReason::Refused);
    assert!((5..=8).contains(&asked), "{asked} in an hour");
}

#[test]
fn a_gap_is_not_looked_at_each_second_while_its_retry_runs() {
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    script.closed(live(&begun)[0], "error: no");
    let again = script.wait(secs(31));
    let asked = script.eose(live(&again)[0]);
    // A page that goes on and on keeps the batch alive.
    let mut fired = 0;
    for _ in 0..20 {
        script.received(pages(&asked)[0], 1);
        let end = script.now + secs(20);
        while let Some(next) = script.core.next_deadline().filter(|next| next.at <= end) {
            script.now = next.at;
            script.step(Input::Tick);
            fired += 1;
        }
        script.now = end;
    }
    assert!(fired < 40, "{fired} timers in 400 seconds");
}

#[test]
fn the_live_watermark_does_not_pass_a_hole_before_it_is_reconciled() {
    // S8, TALK-1: a rate limit closes the live request; until its items are reconciled from that
    // second the watermark stays.
    let mut script = Script::proven(|_| {}, Vec::new());
    script.wait(secs(60));
    let before = script.cohort(&Item::Layer1).and_then(|c| c.live_until);
    assert_eq!(before, Some(at(WALL + 60)));
    let standing = live(&script.log.clone())[0];
    script.closed(standing, "rate-limited: slow down");
    let after = script.wait(secs(66));
    let asked = script.eose(live(&after)[0]);
    assert_eq!(pages(&asked).len(), 1);
    script.received(pages(&asked)[0], 1);
    script.stored(pages(&asked)[0], 1);
    script.wait(secs(20));
    let held = script.cohort(&Item::Layer1).and_then(|c| c.live_until);
    assert_eq!(held, Some(at(WALL + 60)), "the hole is not reconciled yet");
    assert!(filters(&asked, pages(&asked)[0])[0].contains(&format!("\"since\":{}", WALL + 60)));
    let rest = script.eose(pages(&asked)[0]);
    script.answer_all(rest);
    script.wait(secs(60));
    let moved = script.cohort(&Item::Layer1).and_then(|c| c.live_until);
    assert!(moved > Some(at(WALL + 100)), "{moved:?}");
}

#[test]
fn what_is_newly_wanted_waits_for_a_slot_while_history_uses_all_of_them() {
    // FILT-3: the live request comes first, however busy history is.
    let facts = vec![repo_fact("r", SyncLevel::Full)];
    let (mut script, begun) = Script::online(|c| c.learn.subscriptions = 5, facts);
    let mut open = Vec::new();
    for sub in live(&begun) {
        open.extend(script.eose(sub));
    }
    assert_eq!(pages(&open).len(), 3, "two live requests leave three slots of five");
    let more = script.want(vec![root_fact(9, "r")]);
    assert_eq!(pages(&more).len(), 0, "no history of an item without its live request");
    let freed = script.eose(pages(&open)[0]);
    let asked: Vec<String> = live(&freed).iter().flat_map(|sub| filters(&freed, *sub)).collect();
    assert!(asked.iter().any(|filter| filter.contains("#e")), "{asked:?}");
}

#[test]
fn a_live_request_that_stands_for_nothing_any_more_is_closed() {
    // A repository that is raised to full leaves the request of its lower level empty.
    let mut script = Script::proven(|_| {}, vec![repo_fact("r", SyncLevel::StateOnly)]);
    let old = live(&script.log.clone())[1];
    script.log.clear();
    let raised = script.want(vec![repo_fact("r", SyncLevel::Full)]);
    assert_eq!(unsubscribed(&raised), [old]);
    assert_eq!(live(&raised).len(), 1);
    assert_eq!(filters(&raised, live(&raised)[0]).len(), 4);
}

#[test]
fn a_repository_is_raised_to_full_although_a_gap_of_it_stands() {
    // H-41: the upgrade is never lost.
    let mut script = Script::proven(|_| {}, vec![repo_fact("r", SyncLevel::StateOnly)]);
    let standing = live(&script.log.clone())[1];
    script.closed(standing, "blocked: no");
    assert_eq!(script.status(), RelayStatus::ConnectedDegraded);
    let raised = script.want(vec![repo_fact("r", SyncLevel::Full)]);
    assert_eq!(live(&raised).len(), 1, "it is asked for at once");
    script.answer_all(raised);
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn a_request_with_limit_0_that_is_never_answered_is_asked_for_by_time() {
    // FILT-3: a relay that ignores `limit: 0`.
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    assert!(filters(&begun, live(&begun)[0])[0].contains("\"limit\":0"));
    let late = script.wait(secs(31));
    let again = live(&late);
    assert_eq!(again.len(), 1);
    let filter = &filters(&late, again[0])[0];
    assert!(filter.contains("since") && !filter.contains("limit"), "{filter}");
}

#[test]
fn a_request_with_limit_0_that_brings_old_events_is_not_sent_again() {
    // FILT-3: a relay that takes `limit: 0` for none; PyPI's nostr-relay sends 6,000 events.
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    let first = live(&begun)[0];
    let old = EventTally { oldest: Some(Timestamp::from_secs(1)), ..script.tally(first, 3) };
    script.step(Input::Events(old));
    let settled = SettleTally { duplicate: 3, ..script.settle(first) };
    script.step(Input::Settled(settled));
    script.answer_all(begun);
    let wanted = script.want(vec![repo_fact("r", SyncLevel::Full)]);
    let filter = &filters(&wanted, live(&wanted)[0])[0];
    assert!(filter.contains("since") && !filter.contains("limit"), "{filter}");
}

#[test]
fn what_works_once_and_ends_opens_no_live_request() {
    let (script, begun) = Script::online(|config| config.once = true, Vec::new());
    assert_eq!(live(&begun), []);
    assert!(script.log.iter().any(|c| matches!(c, Command::Subscribe { .. })), "history begins");
}

#[test]
fn a_live_event_that_the_store_could_not_take_leaves_a_gap() {
    // S6, S7: what an honest relay served is stored, or named.
    let mut script = Script::proven(|_| {}, Vec::new());
    let standing = live(&script.log.clone())[0];
    script.received(standing, 2);
    let tally = SettleTally { stored: 1, failed: 1, ..script.settle(standing) };
    script.step(Input::Settled(tally));
    assert_eq!(script.status(), RelayStatus::ConnectedDegraded);
    assert_eq!(script.gaps()[0].reason, GapReason::StoreFailed);
    let again = script.wait(secs(31));
    script.answer_all(again);
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn a_live_event_above_its_limit_leaves_a_gap() {
    // TALK-5: `oversize` on its subscription.
    let mut script = Script::proven(|_| {}, Vec::new());
    let standing = live(&script.log.clone())[0];
    let tally = EventTally { oversize: 1, ..script.tally(standing, 0) };
    script.step(Input::Events(tally));
    assert_eq!(script.gaps()[0].reason, GapReason::Oversize);
}

#[test]
fn facts_of_events_before_a_live_eose_hold_the_pass() {
    // HIST-8, FILT-3: events before a live EOSE count as historic, also when they are settled
    // after it.
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    let standing = live(&begun)[0];
    script.received(standing, 1);
    let asked = script.eose(standing);
    let looks = script.eose(pages(&asked)[0]);
    script.eose(by_ids(&looks)[0]);
    let from = FactSource::Stored { conn: script.conn, sub: standing };
    script.step(Input::Facts { from, facts: vec![repo_fact("r", SyncLevel::Full)] });
    script.stored(standing, 1);
    assert_eq!(script.status(), RelayStatus::Syncing, "its fact is in the window");
    let found = script.wait(secs(1));
    assert_eq!(script.status(), RelayStatus::Syncing, "the repository is fetched");
    script.answer_all(found);
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn what_a_merged_request_had_not_settled_still_holds_the_pass() {
    let facts = repo_and_root();
    let (mut script, begun) = Script::online(|c| c.live.consolidate_at = 6, facts);
    let first = live(&begun)[0];
    script.received(first, 1);
    script.answer_all(begun);
    assert!(unsubscribed(&script.log).contains(&first));
    assert_eq!(script.status(), RelayStatus::Syncing);
    script.stored(first, 1);
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn gap_events_are_told() {
    // HIST-11.
    let mut script = Script::proven(|_| {}, Vec::new());
    let audit = script.wait(secs(15 * 60));
    let page = pages(&audit)[0];
    script.received(page, 1);
    let tally = SettleTally { stored: 1, gap_events: 1, ..script.settle(page) };
    let told = script.step(Input::Settled(tally));
    assert!(events(&told).iter().any(|e| matches!(e, Event::GapEvents { count: 1, .. })));
    assert!(told.iter().any(|c| matches!(c, Command::Unsubscribe { .. })), "it is renewed");
}
