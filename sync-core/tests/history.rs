//! History: what a batch proves, what it names as missing, and that it always ends.

mod support;

use support::*;
use sync_core::command::Command;
use sync_core::input::Input;
use sync_core::input::NegOutcome;
use sync_core::item::{GapReason, Item, Range};
use sync_core::status::RelayStatus;
use sync_core::tally::{EventTally, PageTally};

#[test]
fn ids_found_before_a_session_splits_are_fetched() {
    // HIST-2: a split leaves out what the session had settled before; its needs stand.
    let mut script = Script::proven(|c| c.sync.negentropy = true, Vec::new());
    script.close();
    let begun = script.connect();
    let begun = script.eose(live(&begun)[0]);
    let window = Range { since: at(100), until: at(200) };
    let split =
        script.reconciled(negs(&begun)[0], vec![id(1), id(2)], NegOutcome::Split(vec![window]));
    assert_eq!(negs(&split).len(), 1);
    let asked = by_ids(&split);
    assert_eq!(asked.len(), 1, "the ids that were found are asked for");
    script.received(asked[0], 2);
    script.stored_ids(asked[0], vec![id(1), id(2)]);
    script.reconciled(negs(&split)[0], Vec::new(), NegOutcome::Done);
    assert_eq!(script.status(), RelayStatus::Syncing);
    script.eose(asked[0]);
    assert_eq!(script.status(), RelayStatus::Connected);
}

/// A page of 20 events, one frame of which is broken; it overlaps what is known.
fn broken_page(oldest: u64, newest: u64) -> PageTally {
    PageTally {
        frames: 20,
        distinct: 20,
        oldest: Some(at(oldest)),
        newest: Some(at(newest)),
        middle: Some(at(oldest.midpoint(newest))),
        three_quarters: Some(at(oldest)),
        at_until: 1,
        known_at_until: 1,
        new: 20,
        malformed: 1,
        ..PageTally::default()
    }
}

/// Answers two pages that reach down to second 800; returns what follows.
fn two_pages(script: &mut Script, begun: Vec<Command>) -> Vec<Command> {
    let first = script.eose(live(&begun)[0]);
    script.page_of(pages(&first)[0], 20, broken_page(900, 1000));
    let second = script.eose(pages(&first)[0]);
    script.page_of(pages(&second)[0], 20, broken_page(800, 950));
    script.eose(pages(&second)[0])
}

#[test]
fn a_walk_that_times_out_keeps_the_gaps_it_had_found() {
    // HIST-6: a page with a broken frame leaves a gap; the timeout of a later page does not
    // lose it.
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    let third = two_pages(&mut script, begun);
    assert_eq!(pages(&third).len(), 1);
    script.wait(secs(31));
    let reasons: Vec<GapReason> = script.gaps().iter().map(|gap| gap.reason).collect();
    assert!(reasons.contains(&GapReason::Malformed), "{reasons:?}");
    assert!(reasons.contains(&GapReason::Timeout), "{reasons:?}");
}

#[test]
fn a_walk_that_the_connection_cuts_keeps_the_gaps_it_had_found() {
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    two_pages(&mut script, begun);
    script.close();
    let reasons: Vec<GapReason> = script.gaps().iter().map(|gap| gap.reason).collect();
    assert!(script.cohort(&Item::Layer1).is_some());
    assert!(reasons.contains(&GapReason::Malformed), "{reasons:?}");
    assert!(reasons.contains(&GapReason::Cut), "{reasons:?}");
}

#[test]
fn a_second_look_that_a_rate_limit_closed_is_taken_after_the_cooldown() {
    // HIST-5, TALK-2: the batch must not wait for ever.
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    let first = script.eose(live(&begun)[0]);
    let second = script.eose(pages(&first)[0]);
    let recheck = by_ids(&second)[0];
    script.closed(recheck, "rate-limited: slow down");
    let after = script.wait(secs(70));
    let again = by_ids(&after);
    assert_eq!(again.len(), 1);
    script.eose(again[0]);
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn a_second_look_without_an_answer_leaves_every_empty_filter_unproven() {
    let facts = vec![repo_fact("r", sync_core::item::SyncLevel::Full)];
    let (mut script, begun) = Script::online(|_| {}, facts);
    let mut asked = Vec::new();
    for sub in live(&begun) {
        asked.extend(script.eose(sub));
    }
    let mut looks = Vec::new();
    for sub in pages(&asked) {
        looks.extend(script.eose(sub));
    }
    assert_eq!(by_ids(&looks).len(), 2, "one a batch");
    script.wait(secs(31));
    assert_eq!(script.status(), RelayStatus::ConnectedDegraded);
    assert!(script.cohort(&Item::Repo(repo("r"))).is_none());
    assert!(script.cohort(&Item::Layer1).is_none());
}

#[test]
fn events_after_the_eose_of_an_empty_page_leave_a_gap() {
    // HIST-5: `early_eose`, also when nothing of the page was left to settle.
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    let first = script.eose(live(&begun)[0]);
    let page = pages(&first)[0];
    let second = script.eose(page);
    let late = EventTally { after_eose: 3, ..script.tally(page, 3) };
    script.step(Input::Events(late));
    script.stored(page, 3);
    let third = script.eose(by_ids(&second)[0]);
    script.answer_all(third);
    let reasons: Vec<GapReason> = script.gaps().iter().map(|gap| gap.reason).collect();
    assert_eq!(reasons, [GapReason::EarlyEose]);
    assert_eq!(script.status(), RelayStatus::ConnectedDegraded);
}

#[test]
fn a_walk_that_was_cut_goes_on_where_it_stopped() {
    // HIST-6: on the next connection the rest is asked for, not the whole again.
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    two_pages(&mut script, begun);
    script.close();
    let cut: Vec<Range> = script
        .gaps()
        .iter()
        .filter(|gap| gap.reason == GapReason::Cut)
        .map(|gap| gap.range)
        .collect();
    assert_eq!(cut, [Range { since: at(0), until: at(800) }]);
    let again = script.connect();
    let asked = script.eose(live(&again)[0]);
    let tops: Vec<String> =
        pages(&asked).iter().map(|sub| filters(&asked, *sub)[0].clone()).collect();
    assert_eq!(tops.len(), 2, "the recent part, and the rest of the walk");
    assert!(tops.iter().any(|f| f.contains(r#""until":800"#) && !f.contains("since")), "{tops:?}");
    assert!(tops.iter().any(|f| f.contains("since")), "{tops:?}");
}

#[test]
fn a_gap_is_persisted_before_the_claim_that_it_is_an_exception_of() {
    // A crash between both commits must not leave a claim without its gap (§14).
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    two_pages(&mut script, begun);
    let ended = script.wait(secs(31));
    let order: Vec<&str> = ledger(&ended)
        .iter()
        .filter_map(|change| match change {
            sync_core::ledger::LedgerChange::Put(sync_core::ledger::LedgerRow::Cohort {
                ..
            }) => Some("cohort"),
            sync_core::ledger::LedgerChange::Put(sync_core::ledger::LedgerRow::Gap { .. }) => {
                Some("gap")
            }
            _ => None,
        })
        .collect();
    assert_eq!(order, ["gap", "gap", "cohort"]);
    assert!(ended.iter().any(|c| matches!(c, Command::Unsubscribe { .. })));
}
