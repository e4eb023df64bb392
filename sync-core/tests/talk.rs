//! What a relay says and what follows from it: limits, refusals, cooldowns (TALK-1, TALK-2,
//! HIST-2 to HIST-4).

mod support;

use support::*;
use sync_core::command::Command;
use sync_core::id::{ChallengeId, NegId, SubId};
use sync_core::input::{Frame, Input, NegOutcome};
use sync_core::item::{GapReason, Item, RelayText, SyncLevel};
use sync_core::status::RelayStatus;
use sync_core::tally::{EventTally, PageTally};

/// Connected again to a relay that reconciles, at its first NEG-OPEN.
fn reconciling(facts: Vec<sync_core::input::Fact>) -> (Script, Vec<Command>) {
    let mut script = Script::proven(|c| c.sync.negentropy = true, facts);
    script.close();
    let begun = script.connect();
    let mut asked = Vec::new();
    for sub in live(&begun) {
        asked.extend(script.eose(sub));
    }
    (script, asked)
}

fn neg_err(script: &mut Script, neg: NegId, text: &str, limit: Option<u64>) -> Vec<Command> {
    script.frame(Frame::NegErr { neg, text: RelayText::new(text), limit })
}

#[test]
fn a_rate_limit_in_a_request_for_ids_asks_them_again_after_the_cooldown() {
    // TALK-2: it says nothing of the relay's negentropy.
    let (mut script, asked) = reconciling(Vec::new());
    let fetching = script.reconciled(negs(&asked)[0], vec![id(1), id(2)], NegOutcome::Done);
    let first = by_ids(&fetching)[0];
    script.closed(first, "rate-limited: slow down");
    assert_eq!(script.gaps(), []);
    let after = script.wait(secs(66));
    let again = by_ids(&after);
    assert_eq!(again.len(), 1);
    let filter = filters(&after, again[0]).concat();
    assert!(filter.contains(&id(2).to_hex()) && filter.contains(&id(1).to_hex()), "{filter}");
    script.received(again[0], 2);
    script.stored_ids(again[0], vec![id(1), id(2)]);
    script.eose(again[0]);
    assert_eq!(script.gaps(), []);
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn a_request_for_ids_that_times_out_is_a_gap_and_no_lie() {
    // HIST-6: a timeout is a gap with that reason; HIST-3 is about rounds that were answered.
    let (mut script, asked) = reconciling(Vec::new());
    script.reconciled(negs(&asked)[0], vec![id(1)], NegOutcome::Done);
    script.wait(secs(31));
    let reasons: Vec<GapReason> = script.gaps().iter().map(|gap| gap.reason).collect();
    assert_eq!(reasons, [GapReason::Timeout]);
    let again = script.wait(secs(40));
    assert_eq!(negs(&again).len(), 1, "its negentropy is trusted still");
}

#[test]
fn a_single_id_that_was_not_answered_is_asked_for_again() {
    // HIST-6, REJ-3: silence is no refusal.
    let mut script = Script::proven(|_| {}, Vec::new());
    let wanted =
        sync_core::input::Fact::WantId { id: id(5), relays: vec![url(A)], not_before: None };
    let asked = script.want(vec![wanted]);
    assert_eq!(by_ids(&asked).len(), 1);
    script.wait(secs(25));
    assert_eq!(script.status(), RelayStatus::ConnectedDegraded);
    let again = script.wait(secs(40));
    let sub = by_ids(&again)[0];
    script.received(sub, 1);
    script.stored_ids(sub, vec![id(5)]);
    script.eose(sub);
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn a_single_id_that_its_relays_refuse_is_wanted_no_more() {
    // REJ-3: "refused by each relay of the row".
    let mut script = Script::proven(|_| {}, Vec::new());
    let wanted =
        sync_core::input::Fact::WantId { id: id(5), relays: vec![url(A)], not_before: None };
    let asked = script.want(vec![wanted]);
    script.eose(by_ids(&asked)[0]);
    let known = script.core.explain(sync_core::id::RelayId(0)).expect("it is configured");
    assert_eq!((known.items_wanted, known.items_proven), (1, 1));
    script.close();
    let again = script.connect();
    assert_eq!(by_ids(&again), []);
}

#[test]
fn a_blocked_session_without_a_size_is_a_refusal() {
    // HIST-4: only a refusal for size becomes windows.
    let (mut script, asked) = reconciling(Vec::new());
    let next = neg_err(&mut script, negs(&asked)[0], "blocked: negentropy is not for you", None);
    assert_eq!(negs(&next), []);
    assert_eq!(pages(&next).len(), 1);
}

#[test]
fn a_session_refused_for_size_becomes_two_windows() {
    let (mut script, asked) = reconciling(Vec::new());
    let next =
        neg_err(&mut script, negs(&asked)[0], "blocked: this query is too big", Some(100_000));
    assert_eq!(negs(&next).len(), 2);
}

#[test]
fn a_notice_is_no_refusal_of_a_session_that_answered() {
    // HIST-4: "while only NEG-OPENs are outstanding".
    let (mut script, asked) = reconciling(Vec::new());
    let neg = negs(&asked)[0];
    let conn = script.conn;
    script.step(Input::NegRound { conn, neg, round: 1, bytes: 100, need: 0 });
    let next = script.notice("we restart at noon");
    assert_eq!(pages(&next), []);
    script.reconciled(neg, Vec::new(), NegOutcome::Done);
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn a_notice_while_only_a_first_neg_open_is_outstanding_refuses_it() {
    let (mut script, asked) = reconciling(Vec::new());
    assert_eq!(negs(&asked).len(), 1);
    let next = script.notice("ERROR: bad msg: unknown cmd");
    assert_eq!(pages(&next).len(), 1);
}

#[test]
fn the_first_round_of_the_probe_lets_the_other_sessions_begin() {
    let facts = vec![repo_fact("r", SyncLevel::Full)];
    let known = Script::proven(|c| c.sync.negentropy = true, facts.clone());
    // After a restart nothing is known of the relay's negentropy.
    let mut script = known.restart(|c| c.sync.negentropy = true, facts);
    let begun = script.connect();
    let mut asked = Vec::new();
    for sub in live(&begun) {
        asked.extend(script.eose(sub));
    }
    let probe = negs(&asked);
    assert_eq!(probe.len(), 1, "one bounded probe (H-21)");
    let conn = script.conn;
    let next = script.step(Input::NegRound { conn, neg: probe[0], round: 1, bytes: 100, need: 0 });
    assert_eq!(negs(&next).len(), 4);
}

#[test]
fn pages_that_a_reconciliation_makes_good_leave_no_gap() {
    // HIST-1: fresh items come by pages, one reconciliation proves them.
    let (mut script, begun) = Script::online(|c| c.sync.negentropy = true, Vec::new());
    let asked = script.eose(live(&begun)[0]);
    let page = pages(&asked)[0];
    let broken = PageTally { frames: 1, malformed: 1, ..PageTally::default() };
    script.page_of(page, 0, broken);
    let next = script.eose(page);
    assert_eq!(negs(&next).len(), 1);
    script.reconciled(negs(&next)[0], Vec::new(), NegOutcome::Done);
    assert_eq!(script.gaps(), []);
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn a_relay_that_lets_nothing_be_open_is_not_asked_in_a_loop() {
    // TALK-2: at the floor of the budget a subscription limit is an error with a backoff.
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    let mut asked = live(&begun);
    let mut requests = 0;
    while let Some(sub) = asked.pop() {
        requests += 1;
        assert!(requests < 20, "it is asked for ever");
        let next = script.closed(sub, "error: too many subscriptions");
        asked.extend(live(&next));
    }
    assert_eq!(script.status(), RelayStatus::ConnectedDegraded);
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    let mut asked = live(&begun);
    let mut requests = 0;
    while asked.pop().is_some() {
        requests += 1;
        assert!(requests < 20, "it is asked for ever");
        let next = script.notice("too many concurrent REQs");
        asked.extend(live(&next));
    }
}

#[test]
fn a_cooldown_closes_what_has_no_eose_and_asks_with_the_same_until() {
    // TALK-2, S11.
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    let asked = script.eose(live(&begun)[0]);
    let page = pages(&asked)[0];
    let quiet = script.notice("rate limit exceeded");
    assert!(!quiet.iter().any(|c| matches!(c, Command::Subscribe { .. })));
    let during = script.wait(secs(64));
    assert_eq!((unsubscribed(&during), pages(&during)), (vec![], vec![]));
    let after = script.wait(secs(2));
    assert_eq!(unsubscribed(&after), [page]);
    assert_eq!(filters(&after, pages(&after)[0]), filters(&asked, page));
    script.answer_all(after);
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn a_cooldown_belongs_to_the_relay_and_outlives_connection_and_process() {
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    script.answer_all(begun);
    script.notice("rate limit exceeded");
    script.close();
    assert_eq!(
        script.wait(secs(64)).iter().filter(|c| matches!(c, Command::Dial { .. })).count(),
        0
    );
    let mut next = script.restart(|_| {}, Vec::new());
    assert!(!next.log.iter().any(|c| matches!(c, Command::Dial { .. })));
    let dialed = next.wait(secs(3));
    assert!(dialed.iter().any(|c| matches!(c, Command::Dial { .. })));
}

#[test]
fn a_challenge_is_answered_and_what_waited_for_it_is_asked_again() {
    // TALK-1, TALK-4; the shell has the key, or none.
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    let challenge = ChallengeId(1);
    let answer = script.frame(Frame::Auth { challenge });
    assert!(
        answer.iter().any(|c| matches!(c, Command::Authenticate { challenge: ChallengeId(1), .. }))
    );
    script.closed(live(&begun)[0], "auth-required: members only");
    assert_eq!(script.gaps()[0].reason, GapReason::AuthRequired);
    let ok = Frame::Ok { id: id(1), accepted: true, text: RelayText::default() };
    let again = script.frame(ok);
    assert_eq!(live(&again).len(), 1, "it does not wait for its backoff");
    script.answer_all(again);
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn a_closed_page_is_a_gap_and_does_not_touch_what_is_live() {
    // H-01.
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    let asked = script.eose(live(&begun)[0]);
    let closed = script.closed(pages(&asked)[0], "error: shutting down");
    assert_eq!(unsubscribed(&closed), []);
    assert_eq!(script.status(), RelayStatus::ConnectedDegraded);
    assert!(script.cohort(&Item::Layer1).is_none());
    let again = script.wait(secs(31));
    script.answer_all(again);
    assert_eq!(script.status(), RelayStatus::Connected);
    assert!(script.cohort(&Item::Layer1).is_some());
}

#[test]
fn time_stands_still_for_a_socket_that_we_do_not_read() {
    // CONN-7.
    let (mut script, begun) = Script::online(|_| {}, Vec::new());
    let asked = script.eose(live(&begun)[0]);
    script.step(Input::Stalled { conn: script.conn });
    script.wait(secs(600));
    assert_eq!(script.gaps(), []);
    script.step(Input::Flowing { conn: script.conn });
    let next = script.eose(pages(&asked)[0]);
    script.answer_all(next);
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn an_input_for_a_subscription_that_is_gone_only_counts() {
    // H-64, T15.
    let mut script = Script::proven(|_| {}, Vec::new());
    let before = script.core.durable();
    let sub = SubId(999);
    for input in [
        Input::Events(EventTally { received: 7, ..script.tally(sub, 7) }),
        Input::Settled(script.settle(sub)),
    ] {
        let told = script.step(input);
        assert_eq!(told.len(), 1);
        assert!(matches!(told[0], Command::Emit(sync_core::event::Event::StaleInput { .. })));
    }
    assert_eq!(script.eose(sub).len(), 1);
    assert_eq!(script.core.durable(), before);
}
