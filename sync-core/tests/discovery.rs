//! What facts make wanted, and of whom (DISC-6, DISC-7, REJ-1, REJ-3).

mod support;

use std::collections::BTreeSet;

use support::*;
use sync_core::command::Command;
use sync_core::event::Event;
use sync_core::id::RelayId;
use sync_core::input::{CloseReason, Fact, FactSource, Input, Operator};
use sync_core::item::{Item, SyncLevel};
use sync_core::ledger::LedgerChange;
use sync_core::status::RelayStatus;

const B: &str = "wss://b.example";

fn on(name: &str, relays: &[&str]) -> Fact {
    let relays = relays.iter().map(|relay| url(relay)).collect();
    Fact::Repo { repo: repo(name), relays, level: SyncLevel::Full }
}

#[test]
fn an_item_that_is_unproven_while_an_audit_runs_is_proven_again() {
    // REJ-1: the end of the audit does not stand for the proof.
    let mut script = Script::proven(|_| {}, Vec::new());
    let audit = script.wait(secs(15 * 60));
    let more = script.want(vec![Fact::Unproven { items: vec![Item::Layer1] }]);
    let full: Vec<String> = pages(&more).iter().flat_map(|sub| filters(&more, *sub)).collect();
    assert!(full.iter().any(|filter| !filter.contains("since")), "{full:?}");
    script.answer_all(audit);
    script.answer_all(more);
    assert!(script.cohort(&Item::Layer1).is_some());
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn what_is_unproven_of_one_relay_says_nothing_to_the_others() {
    let mut script = Script::proven(|_| {}, vec![on("r", &[A])]);
    script.want(vec![on("s", &[B])]);
    script.log.clear();
    script.want(vec![Fact::Unproven { items: vec![Item::Repo(repo("s"))] }]);
    let of_a = script.log.iter().filter(|command| match command {
        Command::Subscribe { conn, .. } => conn.relay == RelayId(0),
        _ => false,
    });
    // The configured relay is asked for every repository, so it is unproven there too.
    assert!(of_a.count() > 0);
    assert!(script.cohort(&Item::Repo(repo("r"))).is_some());
}

#[test]
fn a_relay_that_no_wanted_item_needs_is_disconnected_and_its_coverage_forgotten() {
    // DISC-7.
    let mut script = Script::proven(|_| {}, Vec::new());
    let dialed = script.want(vec![on("r", &[B])]);
    let conn = dialed
        .iter()
        .find_map(|command| match command {
            Command::Dial { conn, .. } => Some(*conn),
            _ => None,
        })
        .expect("it is a target");
    script.step(Input::Dialed { conn, result: Ok(()) });
    let gone = script.want(vec![Fact::RepoGone { repo: repo("r") }]);
    assert!(gone.contains(&Command::Hangup { conn }));
    assert_eq!(script.core.status(conn.relay), Some(RelayStatus::Disconnected));
    // Wanted again while it drains: dialed after it.
    let wanted = script.want(vec![on("r", &[B])]);
    let again = script.step(Input::Closed { conn, reason: CloseReason::Local });
    let dials = wanted.iter().chain(&again).filter(|c| matches!(c, Command::Dial { .. })).count();
    assert_eq!(dials, 1);
}

#[test]
fn a_thread_that_goes_and_comes_back_while_it_is_fetched_is_proven_anew() {
    let mut script = Script::proven(|_| {}, vec![on("r", &[A])]);
    let first = script.want(vec![root_fact(3, "r")]);
    let gone = script.want(vec![Fact::ThreadGone { id: id(3) }]);
    assert_eq!(unsubscribed(&gone).len(), 1, "its live request stands for nothing");
    let second = script.want(vec![root_fact(3, "r")]);
    assert_eq!(live(&second).len(), 1);
    script.answer_all(first);
    assert!(script.cohort(&Item::Thread(id(3))).is_none(), "the first batch proves nothing");
    script.answer_all(second);
    assert!(script.cohort(&Item::Thread(id(3))).is_some());
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn gaps_of_items_that_are_not_wanted_any_more_are_closed_and_told() {
    let facts = vec![on("r", &[A])];
    let (mut script, begun) = Script::online(|_| {}, facts);
    let requests = live(&begun);
    script.closed(requests[1], "blocked: no");
    script.answer_all(begun);
    assert_eq!(script.status(), RelayStatus::ConnectedDegraded);
    let gone = script.want(vec![Fact::RepoGone { repo: repo("r") }]);
    assert!(events(&gone).iter().any(|event| matches!(event, Event::GapClosed { .. })));
    assert!(ledger(&gone).iter().any(|change| matches!(change, LedgerChange::DropGap { .. })));
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn a_configured_relay_that_is_removed_goes_when_nothing_wants_it() {
    let mut script = Script::proven(|_| {}, Vec::new());
    let gone = script.operator(Operator::RemoveRelay(url(A)));
    assert!(gone.iter().any(|c| matches!(c, Command::Hangup { .. })));
    let mut script = Script::proven(|_| {}, vec![on("r", &[A])]);
    let stays = script.operator(Operator::RemoveRelay(url(A)));
    assert!(!stays.iter().any(|c| matches!(c, Command::Hangup { .. })));
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn a_root_that_history_brings_belongs_to_the_pass() {
    // H-34, HIST-8.
    let (mut script, begun) = Script::online(|_| {}, vec![on("r", &[A])]);
    let mut asked = Vec::new();
    for sub in live(&begun) {
        asked.extend(script.eose(sub));
    }
    let page = pages(&asked)[1];
    let conn = script.conn;
    script.received(page, 1);
    let from = FactSource::Stored { conn, sub: page };
    script.step(Input::Facts { from, facts: vec![root_fact(1, "r")] });
    script.stored(page, 1);
    script.answer_all(asked);
    assert_eq!(script.status(), RelayStatus::Syncing, "the window holds its fact");
    let found = script.wait(secs(1));
    assert_eq!(live(&found).len(), 1);
    assert_eq!(script.status(), RelayStatus::Syncing);
    script.answer_all(found);
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn an_id_that_another_relay_served_is_not_asked_for_again() {
    let mut script = Script::proven(|_| {}, vec![on("r", &[A])]);
    let wanted = Fact::WantId { id: id(5), relays: vec![url(A), url(B)], not_before: None };
    let asked = script.want(vec![wanted]);
    assert_eq!(script.core.status(RelayId(1)), Some(RelayStatus::Connecting));
    let sub = by_ids(&asked)[0];
    script.received(sub, 1);
    let done = script.stored_ids(sub, vec![id(5)]);
    // Nothing else is wanted of the other one.
    assert!(done.iter().any(|c| matches!(c, Command::Hangup { conn } if conn.relay == RelayId(1))));
}

#[test]
fn the_window_fires_early_when_nothing_is_pending_and_late_otherwise() {
    // DISC-6.
    let mut script = Script::proven(|_| {}, Vec::new());
    script.facts(vec![on("r", &[A])]);
    let next = script.core.next_deadline().expect("the window is open");
    assert_eq!(next.at.since(script.now).as_millis(), 200);
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    script.eose(live(&begun)[0]);
    script.facts(vec![on("r", &[A])]);
    let opened = script.now;
    let quiet = script.wait(secs(4));
    assert_eq!(live(&quiet), []);
    let fired = script.wait(secs(1));
    assert_eq!(live(&fired).len(), 1);
    assert_eq!(script.now.since(opened), secs(5));
}

#[test]
fn a_repository_known_at_two_levels_is_asked_for_once() {
    let mut script = Script::proven(|_| {}, Vec::new());
    let found =
        script.want(vec![repo_fact("r", SyncLevel::StateOnly), repo_fact("r", SyncLevel::Full)]);
    assert_eq!(live(&found).len(), 1);
    let seen: BTreeSet<String> =
        pages(&found).iter().flat_map(|sub| filters(&found, *sub)).collect();
    assert_eq!((seen.len(), pages(&found).len()), (4, 4));
    script.answer_all(found);
    let cohort = script.cohort(&Item::Repo(repo("r"))).expect("it is proven");
    assert_eq!(cohort.items, [Item::Repo(repo("r"))]);
}

#[test]
fn ourselves_are_never_dialed() {
    // DISC-5, S2.
    let mut script = Script::proven(|c| c.identity.urls.push(B.into()), Vec::new());
    let found = script.want(vec![on("r", &[A, B, "wss://B.example:443/"])]);
    assert!(!found.iter().any(|c| matches!(c, Command::Dial { .. })));
    assert_eq!(script.core.relay_id(&url(B)), None);
}

#[test]
fn the_limit_of_relays_counts_those_that_are_wanted() {
    // DISC-4: relays that nothing wants any more make room.
    let mut script = Script::proven(|c| c.limits.relays = 2, Vec::new());
    for n in 0..6 {
        let name = format!("r{n}");
        let relay = format!("wss://r{n}.example");
        let found = script.want(vec![on(&name, &[relay.as_str()])]);
        let dials = found.iter().filter(|c| matches!(c, Command::Dial { .. })).count();
        assert_eq!(dials, 1, "{relay}");
        script.want(vec![Fact::RepoGone { repo: repo(&name) }]);
    }
    let all = ["wss://x.example", "wss://y.example", "wss://z.example"];
    let found = script.want(vec![on("many", &all)]);
    assert_eq!(found.iter().filter(|c| matches!(c, Command::Dial { .. })).count(), 2);
    assert!(events(&found).iter().any(|event| matches!(event, Event::LimitReached { .. })));
}
