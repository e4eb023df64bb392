//! The meter by itself: verdicts, flushes, budgets, and that nothing makes it panic.

use std::time::Duration;

use nostr::event::Kind;
use nostr::filter::Filter;
use nostr::types::Timestamp;
use proptest::prelude::{any, proptest};
use proptest::{collection, option};
use sync_core::admit::meter::{Breach, EventHead, Meter, Verdict};
use sync_core::command::{Purpose, Source};
use sync_core::config::LimitsConfig;
use sync_core::id::{ConnId, RelayId, SubId, WalkId};
use sync_core::tally::{EventTally, PageTally};
use sync_core::time::Instant;
use sync_tests::paging_relay::{author, event_id};

const CONN: ConnId = ConnId { relay: RelayId(3), epoch: 2 };
const SUB: SubId = SubId(5);
const BODY: &str = r#"{"tags":[["t","0"]]}"#;

fn meter() -> Meter {
    Meter::new(CONN, &LimitsConfig::default())
}

fn secs(at: u64) -> Timestamp {
    Timestamp::from_secs(at)
}

fn head(id: u64, at: u64, kind: u16) -> EventHead {
    EventHead {
        id: event_id(id),
        author: Some(author(1)),
        created_at: secs(at),
        kind: Kind::from_u16(kind),
    }
}

fn page_of(walk: u32, oldest: Option<u64>) -> Purpose {
    let oldest = oldest.map(secs);
    Purpose::Page { walk: WalkId(walk), split: None, oldest, source: Source::Startup }
}

fn kind_1() -> Filter {
    Filter::new().kind(Kind::from_u16(1)).until(secs(100)).limit(500)
}

fn receive(meter: &mut Meter, sub: SubId, event: &EventHead) -> Verdict {
    meter.on_event(Instant::ZERO, Some(sub), event, BODY).verdict
}

fn flushed(meter: &mut Meter) -> Vec<EventTally> {
    let mut out = Vec::new();
    meter.flush(&mut out);
    out
}

fn eose(meter: &mut Meter, sub: SubId) -> Vec<EventTally> {
    let mut out = Vec::new();
    meter.on_eose(sub, &mut out);
    out
}

#[test]
fn events_of_no_subscription_are_counted_and_too_many_of_them_end_the_connection() {
    let mut meter = meter();
    for n in 0..100 {
        let sub = (n % 2 == 0).then_some(SUB);
        let judged = meter.on_event(Instant::ZERO, sub, &head(n, 1, 1), BODY);
        assert_eq!((judged.verdict, judged.breach), (Verdict::Unsolicited, None));
    }
    let late = Instant::ZERO + Duration::from_secs(59);
    let judged = meter.on_event(late, None, &head(7, 1, 1), BODY);
    assert_eq!(judged.breach, Some(Breach::Flood));
    let next_minute = Instant::ZERO + Duration::from_secs(60);
    assert_eq!(meter.on_event(next_minute, None, &head(7, 1, 1), BODY).breach, None);
    let expected = EventTally { conn: Some(CONN), unsolicited: 102, ..EventTally::default() };
    assert_eq!(flushed(&mut meter), [expected]);
    assert_eq!(flushed(&mut meter), []);
}

#[test]
fn what_cannot_match_is_off_filter_and_dates_speak_only_against_live_events() {
    let mut meter = meter();
    let live = SubId(6);
    meter.on_subscribe(SUB, &[kind_1().since(secs(50))], page_of(1, None));
    meter.on_subscribe(
        live,
        &[kind_1().since(secs(50)), Filter::new().kind(Kind::from_u16(2))],
        Purpose::Live,
    );
    assert_eq!(receive(&mut meter, SUB, &head(1, 60, 2)), Verdict::OffFilter);
    assert_eq!(receive(&mut meter, SUB, &head(2, 40, 1)), Verdict::New);
    assert_eq!(receive(&mut meter, live, &head(2, 40, 1)), Verdict::OffFilter);
    assert_eq!(receive(&mut meter, live, &head(3, 40, 2)), Verdict::New);
    let stranger = Filter::new().author(author(9));
    meter.on_subscribe(SubId(7), &[stranger], Purpose::Live);
    assert_eq!(receive(&mut meter, SubId(7), &head(4, 1, 1)), Verdict::OffFilter);
    let unread = EventHead { author: None, ..head(4, 1, 1) };
    assert_eq!(receive(&mut meter, SubId(7), &unread), Verdict::New);
    // Off-filter events are received: they are settled as such.
    let received: Vec<u32> = flushed(&mut meter).iter().map(|tally| tally.received).collect();
    assert_eq!(received, [2, 2, 2]);
    assert_eq!(meter.on_off_filter(Instant::ZERO, 97), None);
    assert_eq!(meter.on_off_filter(Instant::ZERO, 1), Some(Breach::Flood));
}

#[test]
fn what_comes_after_our_close_is_excused_and_tallied() {
    let mut meter = meter();
    meter.on_subscribe(SUB, &[kind_1()], page_of(1, None));
    receive(&mut meter, SUB, &head(1, 60, 1));
    assert_eq!(eose(&mut meter, SUB).len(), 1);
    let mut out = Vec::new();
    meter.on_unsubscribe(SUB, &mut out);
    assert_eq!(out, []);
    for n in 0..300 {
        let judged = meter.on_event(Instant::ZERO, Some(SUB), &head(n, 50, 2), BODY);
        assert_eq!((judged.verdict, judged.breach), (Verdict::OffFilter, None));
    }
    assert_eq!(receive(&mut meter, SUB, &head(1, 60, 1)), Verdict::Duplicate);
    assert_eq!(receive(&mut meter, SUB, &head(900, 60, 1)), Verdict::New);
    let tally = &flushed(&mut meter)[0];
    assert_eq!((tally.sub, tally.received, tally.after_eose), (Some(SUB), 302, 302));
    // What was not flushed is not lost when the subscription leaves the ring.
    receive(&mut meter, SUB, &head(901, 60, 1));
    for n in 0..Meter::MAX_CLOSED as u32 {
        meter.on_subscribe(SubId(100 + n), &[kind_1()], Purpose::Live);
        meter.on_unsubscribe(SubId(100 + n), &mut out);
    }
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].sub, out[0].received), (Some(SUB), 1));
    assert_eq!(receive(&mut meter, SUB, &head(902, 60, 1)), Verdict::Unsolicited);
}

#[test]
fn a_flush_is_due_after_256_events_and_carries_their_span() {
    let mut meter = meter();
    meter.on_subscribe(SUB, &[kind_1()], page_of(1, None));
    assert!(!meter.has_pending());
    for n in 0..256_u64 {
        assert!(!meter.wants_flush());
        receive(&mut meter, SUB, &head(n, 10 + n % 50, 1));
        assert!(meter.has_pending());
    }
    assert!(meter.wants_flush());
    let expected = EventTally {
        conn: Some(CONN),
        sub: Some(SUB),
        received: 256,
        bytes: 256 * BODY.len() as u64,
        oldest: Some(secs(10)),
        newest: Some(secs(59)),
        ..EventTally::default()
    };
    assert_eq!(flushed(&mut meter), [expected]);
    assert!(!meter.wants_flush() && !meter.has_pending());
}

#[test]
fn a_page_is_measured_against_what_the_walk_saw_and_what_came_live() {
    let mut meter = meter();
    let live = SubId(1);
    meter.on_subscribe(live, &[Filter::new()], Purpose::Live);
    receive(&mut meter, live, &head(50, 30, 1));
    assert!(!meter.is_live(live));
    eose(&mut meter, live);
    assert!(meter.is_live(live));
    receive(&mut meter, live, &head(51, 30, 1));

    meter.on_subscribe(SUB, &[kind_1()], page_of(1, None));
    for (id, at) in [(1, 90), (2, 60), (3, 40), (4, 40)] {
        assert_eq!(receive(&mut meter, SUB, &head(id, at, 1)), Verdict::New);
    }
    assert_eq!(receive(&mut meter, SUB, &head(2, 60, 1)), Verdict::Duplicate);
    let first = eose(&mut meter, SUB).pop().and_then(|tally| tally.page);
    let expected = PageTally {
        frames: 5,
        distinct: 4,
        oldest: Some(secs(40)),
        newest: Some(secs(90)),
        middle: Some(secs(60)),
        three_quarters: Some(secs(40)),
        new: 4,
        ..PageTally::default()
    };
    assert_eq!(first, Some(expected));
    assert_eq!(eose(&mut meter, SUB), [], "another EOSE measures nothing");

    meter.on_subscribe(SubId(6), &[kind_1().until(secs(60))], page_of(1, Some(40)));
    assert_eq!(receive(&mut meter, SubId(6), &head(2, 60, 1)), Verdict::Duplicate);
    for (id, at) in [(5, 60), (3, 40), (6, 40), (50, 30), (51, 30), (8, 70)] {
        assert!(receive(&mut meter, SubId(6), &head(id, at, 1)) != Verdict::OffFilter);
    }
    meter.on_malformed(Some(SubId(6)), 9);
    meter.on_oversize(Some(SubId(6)), 9);
    let tally = eose(&mut meter, SubId(6)).pop().expect("a tally");
    assert_eq!((tally.received, tally.oversize), (7, 1));
    let expected = PageTally {
        frames: 9,
        malformed: 1,
        oversize: 1,
        distinct: 7,
        oldest: Some(secs(30)),
        newest: Some(secs(70)),
        middle: Some(secs(40)),
        three_quarters: Some(secs(30)),
        above_until: 1,
        at_until: 2,
        known_at_until: 1,
        // 5, 6 and 50, which came before the EOSE of the live REQ; 8 lies above `until`.
        new: 3,
        new_at_until: 1,
        new_at_known_oldest: 1,
        new_above_known_oldest: 2,
        new_up_to_known_oldest: 2,
        missing_at_known_oldest: 1,
        ..PageTally::default()
    };
    assert_eq!(tally.page, Some(expected));
}

#[test]
fn what_a_page_without_eose_brought_is_not_known_to_its_walk() {
    let mut meter = meter();
    meter.on_subscribe(SUB, &[kind_1()], page_of(1, None));
    receive(&mut meter, SUB, &head(1, 60, 1));
    meter.on_unsubscribe(SUB, &mut Vec::new());
    meter.on_subscribe(SubId(6), &[kind_1()], page_of(1, None));
    assert_eq!(receive(&mut meter, SubId(6), &head(1, 60, 1)), Verdict::New);
    eose(&mut meter, SubId(6));
    for sub in [7, 8] {
        meter.on_subscribe(SubId(sub), &[kind_1()], page_of(1, Some(60)));
        assert_eq!(receive(&mut meter, SubId(sub), &head(2, 60, 1)), Verdict::New);
        meter.on_unsubscribe(SubId(sub), &mut Vec::new());
    }
    meter.on_subscribe(SubId(9), &[kind_1()], page_of(1, Some(60)));
    receive(&mut meter, SubId(9), &head(2, 60, 1));
    let page = eose(&mut meter, SubId(9)).pop().and_then(|tally| tally.page).expect("a page");
    assert_eq!((page.new_at_known_oldest, page.missing_at_known_oldest), (1, 1));
}

#[test]
fn parts_of_a_split_are_held_against_what_is_known_of_the_second() {
    let mut meter = meter();
    let tags = |values: &[&str]| Filter::new().hashtags(values.iter().copied()).until(secs(40));
    let body = |values: &str| format!(r#"{{"tags":[["d"],[],["t"],{values}],"content":7}}"#);
    let both = body(r#"["t","a","x"],["t","b"]"#);
    let (a, b, c) = (body(r#"["t","a"]"#), body(r#"["t","b"]"#), body(r#"["T","a"],["t","c"]"#));
    let give = |meter: &mut Meter, sub: u32, id, at, body: &str| {
        meter.on_event(Instant::ZERO, Some(SubId(sub)), &head(id, at, 1), body);
    };
    let part = |oldest, split: Option<u64>| Purpose::Page {
        walk: WalkId(1),
        split: split.map(secs),
        oldest,
        source: Source::Daily,
    };
    meter.on_subscribe(SubId(1), &[tags(&["a", "b", "c"])], part(None, None));
    for (id, body) in [(1, &both), (2, &a), (3, &b), (4, &c)] {
        give(&mut meter, 1, id, 40, body);
    }
    eose(&mut meter, SubId(1));
    let at = Some(secs(40));
    meter.on_subscribe(SubId(2), &[tags(&["a"]).since(secs(40))], part(at, at.map(|_| 40)));
    give(&mut meter, 2, 1, 40, &both);
    give(&mut meter, 2, 9, 40, &a);
    let page = eose(&mut meter, SubId(2)).pop().and_then(|tally| tally.page).expect("a page");
    // 2 carries `a` and did not come; 2, 3 and 4 came in no part yet.
    assert_eq!((page.missing_in_part, page.unrepeated), (1, 3));
    assert_eq!(page.authors, [author(1)]);
    meter.on_subscribe(SubId(3), &[tags(&["b", "c"]).since(secs(40))], part(at, Some(40)));
    give(&mut meter, 3, 3, 40, &b);
    give(&mut meter, 3, 4, 40, &c);
    let page = eose(&mut meter, SubId(3)).pop().and_then(|tally| tally.page).expect("a page");
    // 1 carries `b` as well.
    assert_eq!((page.missing_in_part, page.unrepeated), (1, 1));
    assert_eq!(page.authors, [], "this part can be halved");
}

#[test]
fn a_request_has_a_budget_and_live_events_have_none() {
    let limits = LimitsConfig { req_events: 3, ..LimitsConfig::default() };
    let mut meter = Meter::new(CONN, &limits);
    meter.on_subscribe(SUB, &[kind_1()], page_of(1, None));
    let breaches: Vec<Option<Breach>> = (0..6)
        .map(|n| meter.on_event(Instant::ZERO, Some(SUB), &head(n, 60, 1), BODY).breach)
        .collect();
    let once = Some(Breach::RequestBudget);
    assert_eq!(breaches, [None, None, None, once, None, None]);
    let page = eose(&mut meter, SUB).pop().and_then(|tally| tally.page).expect("a page");
    assert!(page.forgotten, "a page above its budget proves nothing");

    let bytes = LimitsConfig { req_bytes: "50".parse().expect("a size"), ..limits };
    let mut meter = Meter::new(CONN, &bytes);
    meter.on_subscribe(SUB, &[kind_1()], Purpose::Ids { source: Source::Daily });
    assert_eq!(meter.on_malformed(Some(SUB), 50), None);
    assert_eq!(meter.on_oversize(Some(SUB), 1), once);

    meter.on_subscribe(SubId(6), &[Filter::new()], Purpose::Live);
    eose(&mut meter, SubId(6));
    let mut live =
        (0..9).map(|n| meter.on_event(Instant::ZERO, Some(SubId(6)), &head(n, 1, 1), BODY));
    assert!(live.all(|judged| judged.breach.is_none()));
}

#[test]
fn requests_by_id_carry_their_ids_sorted() {
    let mut meter = meter();
    let wanted = Filter::new().ids([event_id(1), event_id(2), event_id(3)]);
    meter.on_subscribe(SUB, &[wanted], Purpose::Ids { source: Source::Reconnect });
    for id in [3, 1, 3, 2, 1] {
        assert_eq!(receive(&mut meter, SUB, &head(id, 7, 1)), Verdict::New);
    }
    assert_eq!(receive(&mut meter, SUB, &head(4, 7, 1)), Verdict::OffFilter);
    let mut expected = vec![event_id(1), event_id(2), event_id(3)];
    expected.sort_unstable();
    let tally = eose(&mut meter, SUB).pop().expect("a tally");
    assert_eq!((tally.received, tally.page), (6, None));
    assert_eq!(tally.ids, expected);
}

proptest! {
    /// T20.
    #[test]
    fn nothing_makes_the_meter_panic_and_every_received_event_is_tallied_once(
        steps in collection::vec(
            (0_u8..10, 0_u32..6, any::<u64>(), option::of(0_u64..50), any::<[bool; 2]>()), 0..300,
        ),
    ) {
        let mut meter = meter();
        let (mut out, mut sent) = (Vec::new(), 0);
        for (step, sub, n, at, [one, other]) in steps {
            let sub = SubId(sub);
            let event = head(n % 40, at.unwrap_or(n), (n % 3) as u16);
            let split = at.filter(|_| other).map(secs);
            let purpose = match step {
                0 => Purpose::Live,
                1 => Purpose::Ids { source: Source::Live },
                _ => Purpose::Page {
                    walk: WalkId(sub.0 % 2), split, oldest: at.map(secs), source: Source::Live,
                },
            };
            let filter = if one { kind_1() } else { Filter::new().hashtags(["a", "b"]) };
            match step {
                0..=2 => {
                    meter.on_unsubscribe(sub, &mut out);
                    meter.on_subscribe(sub, &[filter], purpose);
                }
                3 => meter.on_eose(sub, &mut out),
                4 => meter.on_unsubscribe(sub, &mut out),
                5 => meter.flush(&mut out),
                6 => drop(meter.on_malformed(one.then_some(sub), n)),
                7 => drop(meter.on_oversize(one.then_some(sub), n)),
                _ => {
                    sent += 1;
                    let body = if one { r#"{"tags":[["t","a"]]}"# } else { "{]" };
                    meter.on_event(Instant::from_micros(n), other.then_some(sub), &event, body);
                }
            }
        }
        meter.flush(&mut out);
        let tallied: u32 = out.iter().map(|tally| tally.received + tally.unsolicited).sum();
        assert_eq!(tallied, sent);
    }
}

#[test]
fn a_page_that_is_on_its_way_is_not_forgotten_for_any_number_of_quick_ones() {
    let mut meter = meter();
    let slow = SubId(1);
    meter.on_subscribe(slow, &[kind_1()], page_of(0, None));
    for n in 2..3 * Meter::MAX_WALKS as u32 {
        meter.on_subscribe(SubId(n), &[kind_1()], page_of(n, None));
        eose(&mut meter, SubId(n));
        meter.on_unsubscribe(SubId(n), &mut Vec::new());
    }
    receive(&mut meter, slow, &head(1, 50, 1));
    let page = eose(&mut meter, slow).into_iter().find_map(|tally| tally.page);
    let page = page.expect("the page is whole");
    assert_eq!((page.forgotten, page.distinct), (false, 1));
    // Its answer counts as use: the next ask of the walk still knows it.
    meter.on_unsubscribe(slow, &mut Vec::new());
    let next = SubId(999);
    meter.on_subscribe(next, &[kind_1()], page_of(0, Some(50)));
    receive(&mut meter, next, &head(1, 50, 1));
    let page = eose(&mut meter, next).into_iter().find_map(|tally| tally.page);
    assert_eq!(page.map(|page| (page.forgotten, page.new)), Some((false, 0)));
}
