//! Phases of a relay, passes, and what outlives a connection (CONN, HLTH, L5).

mod support;

use support::*;
use sync_core::agenda::Timer;
use sync_core::command::{Command, Purpose, Source};
use sync_core::event::{Event, Trigger};
use sync_core::id::RelayId;
use sync_core::input::{
    CloseReason, DialError, DialErrorKind, Fact, FactSource, Input, NegOutcome, Operator,
};
use sync_core::item::{Item, RelayText, SyncLevel};
use sync_core::status::RelayStatus;

fn dials(commands: &[Command]) -> usize {
    commands.iter().filter(|command| matches!(command, Command::Dial { .. })).count()
}

fn since_of(commands: &[Command]) -> Vec<bool> {
    pages(commands).iter().map(|sub| filters(commands, *sub)[0].contains("since")).collect()
}

#[test]
fn a_new_policy_at_start_makes_every_relay_prove_its_items_in_full() {
    // REJ-1: what was rejected under the old one is older than the watermark.
    let proven = Script::proven(|_| {}, Vec::new());
    let changed = vec![Fact::PolicyChanged { revision: 2 }];
    let mut script = proven.restart(|_| {}, changed);
    assert!(script.cohort(&Item::Layer1).is_none());
    let begun = script.connect();
    let asked = script.eose(live(&begun)[0]);
    assert_eq!(since_of(&asked), [false]);
}

#[test]
fn a_new_policy_reaches_a_relay_that_is_offline() {
    let mut script = Script::proven(|_| {}, Vec::new());
    script.close();
    script.facts(vec![Fact::PolicyChanged { revision: 2 }]);
    let begun = script.connect();
    let asked = script.eose(live(&begun)[0]);
    assert_eq!(since_of(&asked), [false]);
}

#[test]
fn a_resync_proves_what_is_pending_again_in_full() {
    // An audit that runs when the operator asks does not stand for the proof.
    let mut script = Script::proven(|_| {}, Vec::new());
    let audit = script.wait(secs(15 * 60));
    assert_eq!(since_of(&audit), [true]);
    script.operator(Operator::Resync(url(A)));
    assert_eq!(script.status(), RelayStatus::Syncing);
    let looked = script.eose(pages(&audit)[0]);
    let full = script.eose(by_ids(&looked)[0]);
    assert_eq!(script.status(), RelayStatus::Syncing);
    assert_eq!(since_of(&full), [false]);
    script.answer_all(full);
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn a_resync_of_a_relay_that_is_offline_is_kept_for_its_next_connection() {
    let mut script = Script::proven(|_| {}, Vec::new());
    script.close();
    script.operator(Operator::Resync(url(A)));
    let begun = script.connect();
    let asked = script.eose(live(&begun)[0]);
    assert_eq!(since_of(&asked), [false]);
}

#[test]
fn passes_of_new_repositories_do_not_put_off_audit_and_daily_reconciliation() {
    // CONN-5, HIST-11.
    let mut script = Script::proven(|_| {}, Vec::new());
    let (mut full, mut recent) = (0, 0);
    for n in 0..(26 * 6) {
        let mut commands = script.wait(secs(600));
        let name = format!("r{n}");
        commands.extend(script.want(vec![repo_fact(&name, SyncLevel::StateOnly)]));
        for sub in pages(&commands) {
            let filter = &filters(&commands, sub)[0];
            if filter.contains("30617") {
                *(if filter.contains("since") { &mut recent } else { &mut full }) += 1;
            }
        }
        script.answer_all(commands);
    }
    assert!(recent > 90, "{recent} audits in 26 hours");
    assert_eq!(full, 1, "one daily reconciliation in 26 hours");
}

#[test]
fn a_daily_reconciliation_that_meets_an_audit_follows_it() {
    // T3: a suspended machine wakes with both due.
    let mut script = Script::proven(|_| {}, Vec::new());
    script.now += secs(26 * 3600);
    let woken = script.step(Input::Tick);
    let asked = pages(&woken);
    assert_eq!(asked.len(), 1);
    let looked = script.eose(asked[0]);
    let looks = by_ids(&looked);
    let full = script.eose(looks[0]);
    let mut seen = since_of(&woken);
    seen.extend(since_of(&full));
    assert!(seen.contains(&false), "the daily one is made: {seen:?}");
}

#[test]
fn a_relay_that_was_away_for_long_is_walked_in_full_after_its_pass() {
    // CONN-4: a fresh start; the walk back to the watermark, and the full walk as maintenance.
    let mut script = Script::proven(|_| {}, Vec::new());
    script.close();
    script.wait(secs(1));
    script.close();
    script.operator(Operator::Pause(url(A)));
    script.step(Input::Closed { conn: script.conn, reason: CloseReason::Local });
    script.wait(secs(20 * 60));
    script.operator(Operator::Resume(url(A)));
    let begun = script.connect();
    let asked = script.eose(live(&begun)[0]);
    assert_eq!(since_of(&asked), [true]);
    let looked = script.eose(pages(&asked)[0]);
    let full = script.eose(by_ids(&looked)[0]);
    assert_eq!(script.status(), RelayStatus::Connected);
    assert_eq!(since_of(&full), [false]);
}

#[test]
fn a_quick_reconnect_asks_for_the_recent_part_only() {
    // HIST-1, H-17.
    let mut script = Script::proven(|_| {}, Vec::new());
    script.wait(secs(600));
    script.close();
    let begun = script.connect();
    let asked = script.eose(live(&begun)[0]);
    let filter = &filters(&asked, pages(&asked)[0])[0];
    let watermark = script.cohort(&Item::Layer1).expect("it is proven").watermark();
    let since = watermark.as_secs() - 3600;
    assert!(filter.contains(&format!("\"since\":{since}")), "{filter}");
    let looked = script.eose(pages(&asked)[0]);
    let next = script.eose(by_ids(&looked)[0]);
    assert_eq!(pages(&next), [], "the last full proof is young");
}

#[test]
fn later_passes_count_as_reconnects() {
    // HIST-12.
    let mut script = Script::proven(|_| {}, Vec::new());
    script.close();
    let begun = script.connect();
    let started = events(&begun).into_iter().find_map(|event| match event {
        Event::PassStarted { trigger, .. } => Some(*trigger),
        _ => None,
    });
    assert_eq!(started, Some(Trigger::Reconnect));
    let asked = script.eose(live(&begun)[0]);
    let source = asked.iter().find_map(|command| match command {
        Command::Subscribe { purpose: Purpose::Page { source, .. }, .. } => Some(*source),
        _ => None,
    });
    assert_eq!(source, Some(Source::Reconnect));
}

#[test]
fn a_single_run_dials_before_it_calls_a_failing_relay_explained() {
    // DISC-10: two failed dials of this run, not of the ledger.
    let mut failing = Script::new(|_| {});
    failing.step(Input::Booted);
    for _ in 0..3 {
        while failing.core.status(RelayId(0)) != Some(RelayStatus::Connecting) {
            failing.now = failing.core.next_deadline().expect("a retry is armed").at;
            failing.step(Input::Tick);
        }
        failing.refuse_dial();
    }
    let mut script = failing.restart(|_| {}, Vec::new());
    assert_eq!(script.core.progress().busy, [RelayId(0)]);
    for n in 0..2 {
        while script.core.status(RelayId(0)) != Some(RelayStatus::Connecting) {
            script.now = script.core.next_deadline().expect("a retry is armed").at;
            script.step(Input::Tick);
        }
        script.refuse_dial();
        assert_eq!(script.core.progress().is_over(), n == 1);
    }
}

#[test]
fn nothing_follows_the_end() {
    // L5.
    let mut script = Script::proven(|_| {}, Vec::new());
    let closing = script.operator(Operator::Shutdown);
    let order: Vec<bool> = closing
        .iter()
        .filter_map(|command| match command {
            Command::Unsubscribe { .. } => Some(false),
            Command::Hangup { .. } => Some(true),
            _ => None,
        })
        .collect();
    assert_eq!(order, [false, true]);
    let ended = script.step(Input::Closed { conn: script.conn, reason: CloseReason::Local });
    assert!(events(&ended).contains(&&Event::Ended));
    assert_eq!(script.core.next_deadline(), None);
    assert_eq!(script.facts(vec![repo_fact("r", SyncLevel::Full)]), []);
    assert_eq!(script.wait(secs(60)), []);
    assert_eq!(script.operator(Operator::AddRelay(url("wss://b.example"))), []);
    assert_eq!(script.step(Input::Closed { conn: script.conn, reason: CloseReason::Local }), []);
}

#[test]
fn a_shutdown_ends_from_every_phase() {
    let idle = |_: &mut Script| {};
    let waiting = |script: &mut Script| {
        script.step(Input::Booted);
        script.refuse_dial();
    };
    let dialing = |script: &mut Script| {
        script.step(Input::Booted);
    };
    let draining = |script: &mut Script| {
        script.step(Input::Booted);
        script.connect();
        script.operator(Operator::Pause(url(A)));
    };
    let phases: [&dyn Fn(&mut Script); 4] = [&idle, &waiting, &dialing, &draining];
    for phase in phases {
        let mut script = Script::new(|_| {});
        phase(&mut script);
        let mut told = script.operator(Operator::Shutdown);
        told.extend(script.wait(secs(6)));
        assert!(events(&told).contains(&&Event::Ended));
        assert_eq!(script.core.next_deadline(), None);
    }
}

#[test]
fn a_retry_by_hand_leaves_no_timer_behind() {
    // L4.
    let mut script = Script::new(|_| {});
    script.step(Input::Booted);
    script.refuse_dial();
    let dialed = script.operator(Operator::Retry(url(A)));
    assert_eq!(dials(&dialed), 1);
    assert_eq!(script.core.next_deadline().map(|next| next.reason), Some(Timer::Dial));
    let begun = script.step(Input::Dialed { conn: script.conn, result: Ok(()) });
    script.answer_all(begun);
    for _ in 0..20 {
        let next = script.core.next_deadline().expect("maintenance is armed");
        assert_ne!(next.reason, Timer::Retry);
        script.now = next.at;
        let due = script.step(Input::Tick);
        script.answer_all(due);
    }
}

#[test]
fn no_timer_of_a_connection_outlives_it() {
    let (mut script, begun) = Script::online(|_| {}, vec![repo_fact("r", SyncLevel::Full)]);
    script.closed(live(&begun)[0], "error: no");
    script.close();
    let mut reasons = Vec::new();
    for _ in 0..5 {
        if let Some(next) = script.core.next_deadline() {
            reasons.push(next.reason);
            if next.reason == Timer::Retry {
                break;
            }
            script.now = next.at;
            script.step(Input::Tick);
        }
    }
    assert_eq!(reasons, [Timer::Retry]);
}

#[test]
fn a_dial_that_fails_after_its_hangup_is_its_end() {
    let mut script = Script::new(|_| {});
    script.step(Input::Booted);
    let hung = script.operator(Operator::Pause(url(A)));
    assert!(hung.iter().any(|c| matches!(c, Command::Hangup { .. })));
    let detail = RelayText::default();
    let result = Err(DialError { kind: DialErrorKind::Refused, detail });
    script.step(Input::Dialed { conn: script.conn, result });
    assert_eq!(script.core.next_deadline(), None, "nobody waits for its drain");
    let resumed = script.operator(Operator::Resume(url(A)));
    assert_eq!(dials(&resumed), 1);
}

#[test]
fn a_connection_that_ends_at_once_is_not_dialed_in_a_loop() {
    // HLTH-1: it ended before five minutes.
    let mut script = Script::new(|_| {});
    script.step(Input::Booted);
    let mut dialed = 0;
    for _ in 0..20 {
        if script.core.status(RelayId(0)) == Some(RelayStatus::Connecting) {
            dialed += 1;
            script.step(Input::Dialed { conn: script.conn, result: Ok(()) });
            script.step(Input::Closed { conn: script.conn, reason: CloseReason::Local });
        }
        script.wait(secs(1));
    }
    assert!(dialed <= 4, "{dialed} dials in 20 seconds");
}

#[test]
fn waiting_dials_do_not_wake_each_other() {
    // CONN-8: each of many waiting relays has a slot of its own.
    let mut script = Script::new(|config| {
        for n in 0..300 {
            config.sync.relays.push(format!("wss://r{n}.example"));
        }
    });
    let mut dialed = dials(&script.step(Input::Booted));
    assert_eq!(dialed, 20);
    let next = (0..301).filter_map(|n| script.core.explain(RelayId(n))?.next);
    let waits = next.filter(|next| next.reason == Timer::Retry).map(|next| next.at);
    let slots: std::collections::BTreeSet<_> = waits.collect();
    assert_eq!(slots.len(), 281);
    while dialed < 301 {
        script.now = script.core.next_deadline().expect("dials wait").at;
        dialed += dials(&script.step(Input::Tick));
    }
    assert!(script.now.since(sync_core::time::Instant::ZERO) <= secs(15));
}

#[test]
fn a_relay_that_reconciles_closes_its_gaps_with_its_plan() {
    // A gap of the last connection is not retried beside the plan that covers it.
    let configure = |c: &mut sync_core::Config| c.sync.negentropy = true;
    let mut script = Script::proven(configure, Vec::new());
    script.close();
    let begun = script.connect();
    let asked = script.eose(live(&begun)[0]);
    script.reconciled(negs(&asked)[0], vec![id(1)], NegOutcome::Done);
    script.wait(secs(31));
    assert_eq!(script.gaps().len(), 1);
    script.close();
    let begun = script.connect();
    let asked = script.eose(live(&begun)[0]);
    assert_eq!(negs(&asked).len(), 1);
    script.answer_all(asked);
    assert_eq!(script.gaps(), []);
    assert_eq!(script.status(), RelayStatus::Connected);
}

#[test]
fn a_crash_while_connected_counts_from_the_last_live_watermark() {
    // CONN-4: no disconnect was written.
    let mut script = Script::proven(|_| {}, Vec::new());
    script.wait(secs(120));
    let mut next = script.restart(|_| {}, Vec::new());
    next.wait(secs(1));
    let begun = next.connect();
    let asked = next.eose(live(&begun)[0]);
    let looked = next.eose(pages(&asked)[0]);
    let after = next.eose(by_ids(&looked)[0]);
    assert_eq!(pages(&after), [], "a minute is quick");
    let mut late = script.restart(|_| {}, Vec::new());
    late.step(Input::WallClock(at(WALL + 7200)));
    let begun = late.connect();
    let asked = late.eose(live(&begun)[0]);
    let looked = late.eose(pages(&asked)[0]);
    let after = late.eose(by_ids(&looked)[0]);
    assert_eq!(since_of(&after), [false], "two hours are not");
}

#[test]
fn facts_of_an_old_connection_are_facts_still() {
    let mut script = Script::proven(|_| {}, Vec::new());
    let old = FactSource::Stored { conn: script.conn, sub: sync_core::id::SubId(1) };
    script.close();
    script.step(Input::Facts { from: old, facts: vec![repo_fact("r", SyncLevel::Full)] });
    script.wait(secs(1));
    assert_eq!(script.core.wanted_counts().0, 1);
}
