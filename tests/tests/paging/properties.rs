//! What must hold of every walk (`spec/paging.md`, "What tests assert"), as properties.

use std::collections::BTreeSet;

use nostr::filter::Filter;
use nostr::types::Timestamp;
use proptest::prelude::{ProptestConfig, Strategy, any, proptest};
use proptest::{option, prop_assert, prop_assert_eq, prop_assume, sample};
use sync_core::config::PageConfig;
use sync_core::input::EoseHints;
use sync_core::item::{GapReason, Range};
use sync_core::relay::page::{PageMemory, Step};
use sync_core::rng::Rng;
use sync_tests::paging_relay::{
    Answer, Early, Habits, Hints, Order, PagingRelay, Pick, Row, filter, shuffle,
};

use crate::drive::{Answers, Class, Drive, Walked, judge, oracle, walk};

const END: u64 = 10_000;

/// Rows close together, so that seconds are shared and dense ones occur.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (0_u64..40, 0_u128..8, 1_u16..4, 0_u8..4);
    proptest::collection::vec(row, 0..160).prop_map(|rows| {
        let row = |(id, (at, values, kind, author))| {
            let values = if values == 0 { 1 } else { values };
            Row { at, id, kind, values, author }
        };
        (0_u64..).zip(rows).map(row).collect()
    })
}

fn filters() -> impl Strategy<Value = Filter> {
    (option::of(1_u32..4), any::<bool>(), any::<bool>()).prop_map(|(values, kinds, authors)| {
        let kinds: Option<&[u16]> = kinds.then_some(&[1, 2]);
        let authors: Option<&[u8]> = authors.then_some(&[0, 1, 2]);
        filter(values, kinds, authors)
    })
}

/// Habits within the assumption.
fn honest() -> impl Strategy<Value = Habits> {
    let order = sample::select(vec![Order::Newest, Order::Oldest, Order::Shuffled]);
    let hints = sample::select(vec![Hints::None, Hints::Finish, Hints::Both]);
    let doubles = sample::select(vec![0, 0, 30, 100]);
    let changes = sample::select(vec![0, 0, 20]);
    (order, hints, doubles, changes.clone(), changes, any::<[bool; 3]>()).prop_map(
        |(order, hints, doubles, late, deletes, [ties_random, ignores_since, eat])| Habits {
            order,
            hints,
            doubles,
            late,
            deletes,
            ties_random,
            ignores_since,
            doubles_eat_cap: eat && doubles == 100,
            ..Habits::default()
        },
    )
}

fn range(since: u64) -> Range {
    Range { since: Timestamp::from_secs(since), until: Timestamp::from_secs(END) }
}

fn fresh(relay: &mut PagingRelay, filter: &Filter, since: u64) -> Walked {
    let mut memory = PageMemory::default();
    walk(relay, filter, range(since), &mut memory, &PageConfig::default())
}

fn seconds_of(rows: &[Row]) -> BTreeSet<u64> {
    rows.iter().map(|row| row.at).collect()
}

/// Answers anything at all.
struct Anything {
    rng: Rng,
    rows: Vec<Row>,
    /// How much of it is nonsense, in percent.
    nonsense: u64,
}

impl Anything {
    fn row(&mut self) -> Row {
        let stored = self.rows[self.rng.below(self.rows.len() as u64) as usize];
        if self.rng.below(100) >= self.nonsense {
            return stored;
        }
        let at = match self.rng.below(4) {
            0 => self.rng.next() >> 1,
            1 => self.rng.below(END + 5),
            _ => self.rng.below(40),
        };
        Row { at, id: self.rng.below(300), ..stored }
    }
}

impl Answers for Anything {
    fn answer(&mut self, filter: &Filter) -> Answer {
        let mut answer = Answer::default();
        let until = filter.until.expect("an until").as_secs();
        let honest = self.rng.below(3) > 0;
        for _ in 0..self.rng.below(30) {
            let row = self.row();
            if !honest || row.at <= until {
                answer.frames.push(row);
            }
        }
        if self.rng.below(100) < self.nonsense {
            answer.malformed = self.rng.below(3) as u32;
            answer.late = (0..self.rng.below(2)).map(|_| self.row()).collect();
            let finish = self.rng.below(20) == 0;
            answer.hints = EoseHints { finish, more: self.rng.below(4) == 0 };
        }
        answer
    }
}

/// Cases of each property; `PAGING_CASES` sets another number.
fn config() -> ProptestConfig {
    let cases = std::env::var("PAGING_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// Assertions 1 and 7.
    #[test]
    fn within_the_assumption_every_event_came_or_lies_inside_a_gap(
        rows in rows(), filter in filters(), habits in honest(),
        cap in option::of(1_usize..40), since in 0_u64..20, seed in any::<u64>(),
    ) {
        let expected = oracle(&rows, &filter, range(since));
        let mut relay = PagingRelay::new(rows, cap, habits, Rng::new(seed));
        let walked = fresh(&mut relay, &filter, since);
        let small = cap.is_some_and(|cap| cap < 10) && seconds_of(&expected).len() <= 1;
        prop_assert!(walked.class != Class::Silent || small, "{walked:?}");
    }

    /// Assertion 2: with `t` events a second every overlap repeats `t` of a page.
    #[test]
    fn a_plain_relay_leaves_no_gap_and_costs_few_requests(
        steps in proptest::collection::vec(1_u64..50, 0..400), filter in filters(),
        cap in 10_usize..120, seed in any::<u64>(),
    ) {
        let mut at = 0;
        let rows = (0_u64..).zip(steps).map(|(id, step)| {
            at += step;
            Row { at, id, kind: 1, values: 1, author: 0 }
        });
        let rows: Vec<Row> = rows.collect();
        let n = rows.len();
        let mut relay = PagingRelay::new(rows, Some(cap), Habits::default(), Rng::new(seed));
        let walked = walk(
            &mut relay, &filter, range(0), &mut PageMemory::default(), &PageConfig::default(),
        );
        prop_assert_eq!((walked.class, walked.missing), (Class::Complete, 0));
        let pages = if n <= 3 * cap { n.div_ceil(cap) } else { n.div_ceil(cap - 1) };
        prop_assert!(walked.requests as usize <= pages + 3, "{n} by {cap}: {}", walked.requests);
    }

    /// Assertion 3; `Drive` checks S12, the bounds of every REQ and the splits.
    #[test]
    fn whatever_is_answered_a_walk_decreases_and_ends(
        rows in rows(), filter in filters(), seed in any::<u64>(), nonsense in 0_u64..100,
        since in 0_u64..30, max in 3_u32..300, splits in 0_u32..20, floor in 0_u32..12,
    ) {
        prop_assume!(!rows.is_empty());
        let config = PageConfig { max, splits, floor, ..PageConfig::default() };
        let mut relay = Anything { rng: Rng::new(seed), rows, nonsense };
        let mut memory = PageMemory::default();
        for _ in 0..2 {
            let mut drive = Drive::new(&filter, range(since), &config);
            while drive.turn(&mut relay, &mut memory) == Step::Ask {
                prop_assert!(drive.walk.requests() < max);
            }
            prop_assert!(drive.walk.requests() <= max);
            for (gap, _) in drive.walk.gaps() {
                prop_assert!(range(since).since <= gap.since && gap.since <= gap.until);
            }
        }
    }

    /// Assertion 4.
    #[test]
    fn parts_by_author_never_prove_a_second(
        n in 31_u64..120, others in 0_u64..30, seed in any::<u64>(), cap in 10_usize..30,
    ) {
        let row = |id| Row { at: 500, id, kind: 1, values: 1, author: (id % 12) as u8 };
        let mut rows: Vec<Row> = (0..n).map(row).collect();
        rows.extend((0..others).map(|i| Row { at: 400 + 7 * i, ..row(n + i) }));
        let mut relay = PagingRelay::new(rows, Some(cap), Habits::default(), Rng::new(seed));
        let walked = fresh(&mut relay, &filter(None, Some(&[1]), None), 0);
        prop_assert!(walked.gaps.iter().any(|(gap, reason)| {
            *reason == GapReason::DenseSecond && gap.contains(Timestamp::from_secs(500))
        }), "{walked:?}");
    }

    /// Assertion 5, where caps are at least the floor and the answer is more than a second.
    #[test]
    fn a_quirk_yields_its_gap_or_the_full_set(
        rows in rows(), filter in filters(), cap in 10_usize..40, seed in any::<u64>(),
        quirk in 0_usize..6,
    ) {
        let h = Habits::default;
        let (habits, reasons): (Habits, &[GapReason]) = match quirk {
            0 => (Habits { ignores_until: true, ..h() }, &[GapReason::UntilIgnored]),
            1 => (Habits { exclusive: true, ..h() }, &[]),
            2 => (Habits { early: Early::RestFollows, ..h() }, &[GapReason::EarlyEose]),
            3 => (Habits { pick: Pick::OldBogus, ..h() }, &[GapReason::PagesNotNewest]),
            4 => (Habits { malformed: 5, ..h() }, &[GapReason::Malformed]),
            _ => (Habits { tag_cap: Some(12), ..h() }, &[]),
        };
        let expected = oracle(&rows, &filter, range(0));
        prop_assume!(seconds_of(&expected).len() > 1);
        let mut relay = PagingRelay::new(rows, Some(cap), habits, Rng::new(seed));
        let walked = fresh(&mut relay, &filter, 0);
        prop_assert!(walked.class != Class::Silent, "{walked:?}");
        let dense = BTreeSet::from([GapReason::DenseSecond]);
        if walked.missing > 0 && walked.reasons() != dense && !reasons.is_empty() {
            let named = walked.reasons().into_iter().any(|reason| reasons.contains(&reason));
            prop_assert!(named, "{walked:?}");
        }
    }

    /// Assertion 6, the order of a page.
    #[test]
    fn shuffling_a_page_changes_nothing(
        rows in rows(), filter in filters(), cap in option::of(1_usize..40), since in 0_u64..20,
    ) {
        let walk = |order| {
            let habits = Habits { order, ..Habits::default() };
            let walked = fresh(
                &mut PagingRelay::new(rows.clone(), cap, habits, Rng::new(3)), &filter, since,
            );
            (walked.requests, walked.gaps, walked.received)
        };
        let plain = walk(Order::Newest);
        prop_assert_eq!(&walk(Order::Shuffled), &plain);
        prop_assert_eq!(&walk(Order::Oldest), &plain);
    }

    /// Assertion 6, doubled frames.
    #[test]
    fn a_doubled_frame_never_turns_a_gap_into_a_proof(
        rows in rows(), filter in filters(), cap in 1_usize..40, places in any::<u64>(),
    ) {
        struct Doubled(PagingRelay, Rng);
        impl Answers for Doubled {
            fn answer(&mut self, filter: &Filter) -> Answer {
                let mut answer = self.0.req(filter);
                for row in answer.frames.clone() {
                    if self.1.below(4) == 0 {
                        answer.frames.push(row);
                    }
                }
                shuffle(&mut answer.frames, &mut self.1);
                answer
            }
        }
        let expected = oracle(&rows, &filter, range(0));
        let relay = PagingRelay::new(rows, Some(cap), Habits::default(), Rng::new(3));
        let plain = fresh(&mut relay.clone(), &filter, 0);
        let mut relay = Doubled(relay, Rng::new(places));
        let mut drive = Drive::new(&filter, range(0), &PageConfig::default());
        let mut memory = PageMemory::default();
        while drive.turn(&mut relay, &mut memory) == Step::Ask {}
        let doubled = judge(&drive, &expected, &BTreeSet::new());
        let silent = doubled.class == Class::Silent;
        prop_assert!(!silent || plain.class == Class::Silent, "{plain:?} {doubled:?}");
    }
}
