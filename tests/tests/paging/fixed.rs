//! Fixed cases of the rule: what a plain relay costs, dense seconds, edges of the range, walks
//! that are cut, what is learned and forgotten.

use std::collections::BTreeSet;
use std::time::Duration;

use nostr::filter::Filter;
use nostr::types::Timestamp;
use sync_core::admit::meter::Meter;
use sync_core::config::{PageConfig, Span};
use sync_core::input::EoseHints;
use sync_core::item::{GapReason, Range};
use sync_core::relay::page::{PageMemory, Step, Walk};
use sync_core::rng::Rng;
use sync_core::tally::PageTally;
use sync_tests::paging_relay::{Answer, Habits, PagingRelay, Row, filter};

use crate::drive::{Answers, Class, Drive, Walked, judge, oracle, walk};

const END: u64 = 2_000_000;

fn secs(at: u64) -> Timestamp {
    Timestamp::from_secs(at)
}

fn range(since: u64) -> Range {
    Range { since: secs(since), until: secs(END) }
}

fn second(at: u64) -> Range {
    Range { since: secs(at), until: secs(at) }
}

/// Rows at these seconds, of values 0 to 7 and authors 0 to 11 in turn.
fn rows(seconds: impl IntoIterator<Item = u64>) -> Vec<Row> {
    let row = |(id, at): (usize, u64)| Row {
        at,
        id: id as u64,
        kind: 1,
        values: 1 << (id % 8),
        author: (id % 12) as u8,
    };
    seconds.into_iter().enumerate().map(row).collect()
}

fn relay(rows: Vec<Row>, cap: usize, habits: Habits) -> PagingRelay {
    PagingRelay::new(rows, Some(cap), habits, Rng::new(1))
}

fn fresh(relay: &mut PagingRelay, filter: &Filter, since: u64) -> Walked {
    let mut memory = PageMemory::default();
    walk(relay, filter, range(since), &mut memory, &PageConfig::default())
}

#[test]
fn a_fresh_relay_costs_as_many_requests_as_the_model_says() {
    for (events, requests) in [(0, 1), (1, 2), (30, 3), (500, 3), (501, 4), (1000, 5), (3000, 9)] {
        let mut relay = relay(rows((0..events).map(|i| 1000 + i)), 500, Habits::default());
        let walked = fresh(&mut relay, &filter(None, Some(&[1]), None), 0);
        assert_eq!(walked.requests, requests, "{events} events");
        assert_eq!(walked.gaps, [], "{events} events");
        assert_eq!(walked.received.len() as u64, events);
    }
}

#[test]
fn the_epoch_and_the_first_second_of_the_range_are_proven_like_any_other() {
    for (since, seconds) in [
        (0, vec![0]),
        (0, vec![0, 0, 0, 5]),
        (0, vec![0, 1]),
        (7, vec![7]),
        (7, vec![7, 7, 7, 9]),
        (7, vec![3, 7, 9]),
    ] {
        let mut relay = relay(rows(seconds.clone()), 500, Habits::default());
        let walked = fresh(&mut relay, &filter(None, Some(&[1]), None), since);
        let inside = seconds.iter().filter(|at| **at >= since).count();
        assert_eq!((walked.class, walked.received.len()), (Class::Complete, inside), "{seconds:?}");
    }
}

#[test]
fn a_cap_one_more_and_twice_the_cap_are_complete_without_a_gap() {
    for cap in [10, 50, 100, 500_u64] {
        for events in [cap - 1, cap, cap + 1, 2 * cap, 2 * cap + 1] {
            let stored = rows((0..events).map(|i| 1000 + 3 * i));
            let mut relay = relay(stored, cap as usize, Habits::default());
            let walked = fresh(&mut relay, &filter(Some(8), None, None), 0);
            assert_eq!((walked.class, walked.missing), (Class::Complete, 0), "{events} of {cap}");
            assert!(u64::from(walked.requests) <= events.div_ceil(cap) + 3, "{events} of {cap}");
        }
    }
}

fn with_dense_second(at: u64) -> Vec<Row> {
    let dense = std::iter::repeat_n(at, 120);
    rows(dense.chain((0..120).map(|i| 1_000 + i * 10)))
}

#[test]
fn a_dense_second_is_proven_by_the_halves_of_the_filter_wherever_it_lies() {
    for at in [500, 1_605, 900_000] {
        let mut relay = relay(with_dense_second(at), 50, Habits::default());
        let walked = fresh(&mut relay, &filter(Some(8), None, None), 0);
        assert_eq!((walked.class, walked.received.len()), (Class::Complete, 240), "{at}");
        assert!(walked.splits > 0, "{at}");
    }
}

#[test]
fn a_dense_second_that_cannot_be_halved_is_read_by_authors_and_stays_a_gap() {
    for at in [500, 1_605, 900_000] {
        let mut relay = relay(with_dense_second(at), 50, Habits::default());
        let walked = fresh(&mut relay, &filter(None, Some(&[1]), None), 0);
        // Assertion 4: all of it was read, author by author, and yet it is not proven.
        assert_eq!(walked.received.len(), 240, "{at}");
        assert_eq!(walked.gaps, [(second(at), GapReason::DenseSecond)]);
    }
}

#[test]
fn splits_and_requests_keep_to_their_limits() {
    let config = PageConfig { splits: 3, ..PageConfig::default() };
    let mut dense = relay(with_dense_second(1_605), 20, Habits::default());
    let filter = filter(Some(8), None, None);
    let walked = walk(&mut dense, &filter, range(0), &mut PageMemory::default(), &config);
    assert_eq!(walked.splits, 3);
    assert_eq!(walked.gaps, [(second(1_605), GapReason::DenseSecond)]);

    let config = PageConfig { max: 4, ..PageConfig::default() };
    let mut long = relay(rows(1000..1200), 20, Habits::default());
    let mut drive = Drive::new(&filter, range(0), &config);
    let mut memory = PageMemory::default();
    while drive.turn(&mut long, &mut memory) == Step::Ask {}
    assert_eq!(drive.walk.requests(), 4);
    let reasons: BTreeSet<_> = drive.walk.gaps().iter().map(|(_, reason)| *reason).collect();
    assert!(reasons.contains(&GapReason::TooLong), "{reasons:?}");
}

#[test]
fn a_walk_that_is_cut_after_any_page_goes_on_from_where_it_was_proven() {
    let filter = filter(Some(8), None, None);
    for stored in [rows((0..300).map(|i| 1000 + i / 3)), with_dense_second(1_605)] {
        for cut_after in 1..12 {
            let mut relay = relay(stored.clone(), 50, Habits::default());
            let config = PageConfig::default();
            let mut memory = PageMemory::default();
            let mut first = Drive::new(&filter, range(0), &config);
            let mut steps = (0..cut_after).map(|_| first.turn(&mut relay, &mut memory));
            if steps.any(|step| step == Step::End) {
                continue;
            }
            let proven = first.walk.proven_down_to().unwrap_or(secs(END));
            let rest = Range { since: secs(0), until: proven };
            let above = stored.iter().filter(|row| secs(row.at) > proven);
            assert!(above.clone().all(|row| first.received.contains_key(&row.id)), "{proven}");
            let second = walk(&mut relay, &filter, rest, &mut memory, &config);
            assert_eq!(second.class, Class::Complete, "cut after {cut_after}: {second:?}");
            let all: BTreeSet<u64> =
                first.received.keys().copied().chain(second.received).collect();
            assert_eq!(all.len(), stored.len(), "cut after {cut_after}");
        }
    }
}

#[test]
fn a_dense_second_that_was_split_is_not_walked_again_after_a_cut() {
    let mut relay = relay(with_dense_second(1_605), 50, Habits::default());
    let mut memory = PageMemory::default();
    let mut drive = Drive::new(&filter(Some(8), None, None), range(0), &PageConfig::default());
    let mut proven = BTreeSet::new();
    while drive.turn(&mut relay, &mut memory) == Step::Ask {
        let splitting = drive.walk.ask(&memory).split.is_some();
        proven.extend(drive.walk.proven_down_to().map(|at| (at, splitting)));
    }
    assert!(proven.contains(&(secs(1_605), true)), "{proven:?}");
    assert!(proven.contains(&(secs(1_604), false)), "{proven:?}");
    assert!(!proven.contains(&(secs(1_604), true)), "{proven:?}");
}

#[test]
fn a_page_without_its_eose_proves_nothing_and_is_asked_again() {
    let filter = filter(None, Some(&[1]), None);
    let stored = rows((0..200).map(|i| 1000 + i));
    let mut relay = relay(stored.clone(), 50, Habits::default());
    let mut memory = PageMemory::default();
    let mut drive = Drive::new(&filter, range(0), &PageConfig::default());
    loop {
        // Half of each page comes, then the request times out and is closed.
        let ask = drive.walk.ask(&memory);
        let half = relay.clone().req(&ask.filter).frames;
        let sub = drive.subscribe(&ask);
        drive.feed(sub, &half[..half.len() / 2], &mut Vec::new());
        drive.meter.on_unsubscribe(sub, &mut Vec::new());
        assert_eq!(drive.walk.ask(&memory), ask);
        if drive.turn(&mut relay, &mut memory) == Step::End {
            break;
        }
    }
    let walked = judge(&drive, &stored, &BTreeSet::new());
    let uncut = fresh(&mut relay, &filter, 0);
    assert_eq!((walked.class, walked.requests), (Class::Complete, uncut.requests));
}

#[test]
fn events_after_the_eose_leave_a_gap_up_to_what_was_known_before() {
    struct Early(PagingRelay, u32);
    impl Answers for Early {
        fn answer(&mut self, filter: &Filter) -> Answer {
            self.1 += 1;
            let mut answer = self.0.req(filter);
            if self.1 == 3 {
                answer.late = answer.frames.split_off(answer.frames.len() / 2);
            }
            answer
        }
    }
    let stored = rows((0..300).map(|i| 1000 + i));
    let filter = filter(None, Some(&[1]), None);
    let mut early = Early(relay(stored.clone(), 50, Habits::default()), 0);
    let mut memory = PageMemory::default();
    let mut drive = Drive::new(&filter, range(0), &PageConfig::default());
    while drive.turn(&mut early, &mut memory) == Step::Ask {}
    // 50 from 1299 down to 1250, then 50 from the middle, 1274, down to 1225.
    let gap = Range { since: secs(0), until: secs(1225) };
    assert_eq!(drive.walk.gaps(), [(gap, GapReason::EarlyEose)]);
    assert_eq!(judge(&drive, &stored, &BTreeSet::new()).class, Class::Gap);
    // Of a request that is not remembered the whole walk is in doubt.
    assert_eq!(drive.walk.on_late(99), Step::End);
    assert_eq!(drive.walk.gaps()[1].0, range(0));
}

#[test]
fn frames_that_cannot_be_read_leave_the_seconds_they_may_have_come_from() {
    let filter = filter(None, Some(&[1]), None);
    let mut walk = Walk::new(filter, range(10), &PageConfig::default());
    let mut memory = PageMemory::default();
    walk.ask(&memory);
    let at = Some(secs(100));
    let page = PageTally { frames: 2, oversize: 1, distinct: 1, oldest: at, newest: at, ..page() };
    assert_eq!(walk.on_page(&page, EoseHints::default(), &mut memory), Step::Ask);
    let from = Range { since: secs(100), until: secs(END) };
    assert_eq!(walk.gaps(), [(from, GapReason::Oversize)]);
    // A page of nothing else is no empty page.
    walk.ask(&memory);
    let page = PageTally { frames: 1, malformed: 1, ..page };
    let page = PageTally { oversize: 0, distinct: 0, oldest: None, newest: None, ..page };
    assert_eq!(walk.on_page(&page, EoseHints::default(), &mut memory), Step::End);
    let below = Range { since: secs(10), until: secs(100) };
    assert_eq!(walk.gaps()[1], (below, GapReason::Malformed));
}

#[test]
fn the_oldest_event_of_all_leaves_a_gap_when_it_can_never_be_read() {
    struct BrokenFirst(PagingRelay);
    impl Answers for BrokenFirst {
        fn answer(&mut self, filter: &Filter) -> Answer {
            let mut answer = self.0.req(filter);
            let sent = answer.frames.len();
            answer.frames.retain(|row| row.at > 1000);
            answer.malformed = (sent - answer.frames.len()) as u32;
            answer
        }
    }
    let stored = rows([1000].into_iter().chain(1500..1520));
    let filter = filter(None, Some(&[1]), None);
    let mut relay = BrokenFirst(relay(stored.clone(), 50, Habits::default()));
    let mut drive = Drive::new(&filter, range(0), &PageConfig::default());
    let mut memory = PageMemory::default();
    while drive.turn(&mut relay, &mut memory) == Step::Ask {}
    assert_eq!(judge(&drive, &stored, &BTreeSet::new()).class, Class::Gap);
    let below = Range { since: secs(0), until: secs(1500) };
    assert!(drive.walk.gaps().contains(&(below, GapReason::Malformed)));
}

fn page() -> PageTally {
    PageTally::default()
}

#[test]
fn what_is_learned_ages() {
    let config = PageConfig::default();
    let filter = filter(Some(8), None, None);
    let ttl = Span(Duration::from_secs(86_400));
    let mut memory = PageMemory::default();
    memory.age(secs(1_000), ttl);
    assert_eq!(memory.bound(&filter, &config), 10);
    let mut relay = relay(rows((0..40).map(|i| 1000 + i)), 5, Habits::default());
    let walked = walk(&mut relay, &filter, range(0), &mut memory, &config);
    assert_eq!(walked.class, Class::Complete);
    // A page of 5 was cut: below the floor, which is void for every shape of filter.
    assert_eq!(memory.bound(&filter, &config), 5);
    let other = Filter::new();
    assert_eq!(memory.bound(&other, &config), 0);
    memory.age(secs(1_000 + 86_399), ttl);
    assert_eq!(memory.bound(&filter, &config), 5);
    memory.age(secs(1_000 + 86_400), ttl);
    assert_eq!(memory.bound(&filter, &config), 10);
    assert_eq!(memory.bound(&other, &config), 10);
    assert_eq!(memory, {
        let mut new = PageMemory::default();
        new.age(secs(87_400), ttl);
        new
    });
}

#[test]
fn a_refused_limit_is_halved_and_a_page_as_large_may_be_cut() {
    let config = PageConfig::default();
    let filter = filter(None, Some(&[1]), None);
    let mut memory = PageMemory::default();
    let mut relay = relay(rows((0..900).map(|i| 1000 + i)), 500, Habits::default());
    walk(&mut relay, &filter, range(0), &mut memory, &config);
    assert_eq!((memory.limit(&config), memory.bound(&filter, &config)), (500, 500));
    memory.refuse_limit(&config);
    memory.refuse_limit(&config);
    assert_eq!((memory.limit(&config), memory.bound(&filter, &config)), (125, 125));
    let walked = walk(&mut relay, &filter, range(0), &mut memory, &config);
    assert_eq!((walked.class, walked.received.len()), (Class::Complete, 900));
    for _ in 0..20 {
        memory.refuse_limit(&config);
    }
    assert_eq!(memory.limit(&config), 1);
}

#[test]
fn an_empty_first_page_ends_the_walk_and_says_so() {
    let mut relay = relay(Vec::new(), 500, Habits::default());
    let mut memory = PageMemory::default();
    let mut drive = Drive::new(&filter(None, Some(&[1]), None), range(0), &PageConfig::default());
    assert!(!drive.walk.ended_empty());
    assert_eq!(drive.turn(&mut relay, &mut memory), Step::End);
    assert!(drive.walk.ended_empty());
    assert_eq!(drive.walk.proven_down_to(), None);
}

#[test]
fn a_relay_that_ignores_kinds_is_read_whole() {
    struct Unfiltered(PagingRelay);
    impl Answers for Unfiltered {
        fn answer(&mut self, filter: &Filter) -> Answer {
            let mut all = filter.clone();
            all.kinds = None;
            self.0.req(&all)
        }
    }
    let mut stored = rows((0..400).map(|i| 1000 + i));
    stored.iter_mut().filter(|row| row.id % 5 != 0).for_each(|row| row.kind = 7);
    let mut relay = Unfiltered(relay(stored.clone(), 50, Habits::default()));
    let filter = filter(None, Some(&[1]), None);
    let mut drive = Drive::new(&filter, range(0), &PageConfig::default());
    let mut memory = PageMemory::default();
    while drive.turn(&mut relay, &mut memory) == Step::Ask {}
    let walked = judge(&drive, &oracle(&stored, &filter, range(0)), &BTreeSet::new());
    assert_eq!((walked.class, walked.received.len()), (Class::Complete, 80));
}

#[test]
fn a_walk_whose_memory_had_to_go_ends_with_a_gap_and_without_a_proof() {
    let filter = filter(None, Some(&[1]), None);
    let stored = rows((0..300).map(|i| 1000 + i));
    let mut relay = relay(stored.clone(), 50, Habits::default());
    let mut memory = PageMemory::default();
    let mut drive = Drive::new(&filter, range(0), &PageConfig::default());
    for _ in 0..3 {
        assert_eq!(drive.turn(&mut relay, &mut memory), Step::Ask);
    }
    drive.crowd_out(Meter::MAX_WALKS as u32);
    assert_eq!(drive.turn(&mut relay, &mut memory), Step::Ask, "the newest second is asked for");
    while drive.turn(&mut relay, &mut memory) == Step::Ask {}
    let below = (Range { since: secs(0), until: secs(1176) }, GapReason::Unproven);
    assert!(drive.walk.gaps().contains(&below), "{:?}", drive.walk.gaps());
}
