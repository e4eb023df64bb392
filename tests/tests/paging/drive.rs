//! Drives the real meter and the real walk against a model relay, and judges the outcome.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use nostr::filter::Filter;
use nostr::types::Timestamp;
use sync_core::admit::meter::{Meter, Verdict};
use sync_core::command::{Purpose, Source};
use sync_core::config::{LimitsConfig, PageConfig};
use sync_core::id::{ConnId, RelayId, SubId, WalkId};
use sync_core::input::EoseHints;
use sync_core::item::{GapReason, Range};
use sync_core::relay::page::{Ask, PageMemory, Step, Walk};
use sync_core::tally::{EventTally, PageTally};
use sync_core::time::Instant;
use sync_tests::paging_relay::{Answer, PagingRelay, Query, Row};

/// Whatever answers REQs.
pub(crate) trait Answers {
    fn answer(&mut self, filter: &Filter) -> Answer;
}

impl Answers for PagingRelay {
    fn answer(&mut self, filter: &Filter) -> Answer {
        self.req(filter)
    }
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Everything came, no gap.
    Complete,
    /// Something is missing, and inside a gap.
    Gap,
    /// Everything came, and a gap stands.
    FalseGap,
    /// Something is missing outside of every gap.
    Silent,
}

/// A walk that is over.
#[derive(Clone, Debug)]
pub(crate) struct Walked {
    pub(crate) class: Class,
    pub(crate) requests: u32,
    pub(crate) splits: u32,
    pub(crate) gaps: Vec<(Range, GapReason)>,
    pub(crate) received: BTreeSet<u64>,
    pub(crate) missing: usize,
}

impl Walked {
    pub(crate) fn reasons(&self) -> BTreeSet<GapReason> {
        self.gaps.iter().map(|(_, reason)| *reason).collect()
    }
}

const LIVE: SubId = SubId(1);
const WALK: WalkId = WalkId(7);

/// One walk on one connection.
pub(crate) struct Drive {
    pub(crate) meter: Meter,
    pub(crate) walk: Walk,
    config: PageConfig,
    sub: u32,
    query: Query,
    /// Bodies by the tags of their rows.
    bodies: HashMap<u128, String>,
    pub(crate) received: BTreeMap<u64, Row>,
    pub(crate) live: BTreeSet<u64>,
    pub(crate) splits: u32,
    /// The seconds that were split, in order.
    pub(crate) split_seconds: Vec<Timestamp>,
}

impl Drive {
    pub(crate) fn new(filter: &Filter, range: Range, config: &PageConfig) -> Self {
        let conn = ConnId { relay: RelayId(0), epoch: 1 };
        let mut meter = Meter::new(conn, &LimitsConfig::default());
        meter.on_subscribe(LIVE, &[Filter::new()], Purpose::Live);
        meter.on_eose(LIVE, &mut Vec::new());
        Self {
            meter,
            walk: Walk::new(filter.clone(), range, config),
            config: config.clone(),
            sub: LIVE.0,
            query: Query::of(filter),
            bodies: HashMap::new(),
            received: BTreeMap::new(),
            live: BTreeSet::new(),
            splits: 0,
            split_seconds: Vec::new(),
        }
    }

    /// Asks once and takes the answer in; every promise of S12 is checked.
    pub(crate) fn turn(&mut self, relay: &mut dyn Answers, memory: &mut PageMemory) -> Step {
        let ask = self.walk.ask(memory);
        assert_eq!(ask, self.walk.ask(memory), "the same until it is answered");
        self.check_ask(&ask);
        let answer = relay.answer(&ask.filter);
        let sub = self.subscribe(&ask);
        self.come_live(&answer.live);
        let page = self.receive(sub, &answer);
        let before = self.walk.measure();
        let mut step = self.walk.on_page(&page, answer.hints, memory);
        assert!(self.walk.measure() < before, "S12: {before:?} then {:?}", self.walk.measure());
        if self.receive_late(sub, &answer) {
            step = self.walk.on_late(ask.number);
        }
        step
    }

    fn check_ask(&mut self, ask: &Ask) {
        let until = ask.filter.until.expect("every REQ has an until");
        let since = ask.filter.since.unwrap_or(Timestamp::from_secs(0));
        assert!(since <= until, "since {since} above until {until}");
        assert!(ask.filter.limit.is_some_and(|limit| limit > 0), "every REQ has a limit");
        if let Some(second) = ask.split {
            self.splits += 1;
            if self.split_seconds.last() != Some(&second) {
                assert!(!self.split_seconds.contains(&second), "S12: {second} is split once");
                self.split_seconds.push(second);
            }
        }
        assert!(self.splits <= self.config.splits, "splits within page.splits");
    }

    pub(crate) fn subscribe(&mut self, ask: &Ask) -> SubId {
        self.sub += 1;
        let sub = SubId(self.sub);
        let purpose = ask.purpose(WALK, Source::Startup);
        self.meter.on_subscribe(sub, std::slice::from_ref(&ask.filter), purpose);
        sub
    }

    /// Other walks ask, so many that this one is forgotten.
    pub(crate) fn crowd_out(&mut self, walks: u32) {
        for other in 0..walks {
            self.sub += 1;
            let purpose = Purpose::Page {
                walk: WalkId(1000 + other),
                split: None,
                oldest: None,
                source: Source::Startup,
            };
            self.meter.on_subscribe(SubId(self.sub), &[Filter::new()], purpose);
        }
    }

    fn come_live(&mut self, rows: &[Row]) {
        for row in rows {
            self.live.insert(row.id);
            let judged = self.meter.on_event(Instant::ZERO, Some(LIVE), &row.head(), &row.json());
            assert_eq!(judged.verdict, Verdict::New);
        }
    }

    /// Feeds the frames of a page, and its EOSE; gives the tally of the page.
    fn receive(&mut self, sub: SubId, answer: &Answer) -> PageTally {
        let mut tallies = Vec::new();
        self.feed(sub, &answer.frames, &mut tallies);
        for _ in 0..answer.malformed {
            self.meter.on_malformed(Some(sub), 500);
        }
        self.meter.on_eose(sub, &mut tallies);
        let own: Vec<EventTally> = tallies.into_iter().filter(|t| t.sub == Some(sub)).collect();
        let received: u32 = own.iter().map(|tally| tally.received).sum();
        assert_eq!(received as usize, answer.frames.len(), "F2: nothing is counted twice");
        assert!(own.iter().rev().skip(1).all(|tally| tally.page.is_none()));
        let last = own.into_iter().next_back().expect("a page ends with a tally");
        last.page.expect("the last tally has the page")
    }

    fn receive_late(&mut self, sub: SubId, answer: &Answer) -> bool {
        let mut tallies = Vec::new();
        self.meter.on_unsubscribe(sub, &mut tallies);
        assert_eq!(tallies, []);
        self.feed(sub, &answer.late, &mut tallies);
        self.meter.flush(&mut tallies);
        let late: u32 = tallies.iter().map(|tally| tally.after_eose).sum();
        assert_eq!(late as usize, answer.late.len());
        late > 0
    }

    pub(crate) fn feed(&mut self, sub: SubId, rows: &[Row], tallies: &mut Vec<EventTally>) {
        for row in rows {
            let body = self.bodies.entry(row.values).or_insert_with(|| row.json());
            let judged = self.meter.on_event(Instant::ZERO, Some(sub), &row.head(), body);
            if matches!(judged.verdict, Verdict::New | Verdict::Duplicate)
                && self.query.matches(row)
            {
                self.received.insert(row.id, *row);
            }
            if self.meter.wants_flush() {
                self.meter.flush(tallies);
            }
        }
    }
}

/// What a range of the relay holds for a filter.
pub(crate) fn oracle(rows: &[Row], filter: &Filter, range: Range) -> Vec<Row> {
    let query = Query::of(filter);
    let inside = |row: &Row| range.contains(Timestamp::from_secs(row.at)) && query.matches(row);
    rows.iter().filter(|row| inside(row)).copied().collect()
}

/// Walks to the end and judges what came against what the relay held at the start, without what
/// was deleted since or came live.
pub(crate) fn walk(
    relay: &mut PagingRelay,
    filter: &Filter,
    range: Range,
    memory: &mut PageMemory,
    config: &PageConfig,
) -> Walked {
    let oracle = oracle(&relay.rows, filter, range);
    let mut drive = Drive::new(filter, range, config);
    while drive.turn(relay, memory) == Step::Ask {
        assert!(drive.walk.requests() < config.max, "an endless walk");
    }
    drive.live.extend(relay.take_coming().iter().map(|row| row.id));
    judge(&drive, &oracle, &relay.deleted)
}

pub(crate) fn judge(drive: &Drive, oracle: &[Row], deleted: &BTreeSet<u64>) -> Walked {
    let got = |row: &&Row| drive.received.contains_key(&row.id) || drive.live.contains(&row.id);
    let missing = oracle.iter().filter(|row| !got(row) && !deleted.contains(&row.id));
    let missing: Vec<&Row> = missing.collect();
    let gaps = drive.walk.gaps();
    let covered =
        |row: &&Row| gaps.iter().any(|(range, _)| range.contains(Timestamp::from_secs(row.at)));
    let class = match (missing.is_empty(), gaps.is_empty()) {
        (true, true) => Class::Complete,
        (true, false) => Class::FalseGap,
        (false, _) if missing.iter().all(covered) => Class::Gap,
        (false, _) => Class::Silent,
    };
    Walked {
        class,
        requests: drive.walk.requests(),
        splits: drive.splits,
        gaps: gaps.to_vec(),
        received: drive.received.keys().copied().collect(),
        missing: missing.len(),
    }
}

/// Lets a relay be known to deliver pages of this size for the shape of this filter.
pub(crate) fn teach(memory: &mut PageMemory, filter: &Filter, size: u32, config: &PageConfig) {
    let mut walk = Walk::new(filter.clone(), Range::up_to(Timestamp::from_secs(1)), config);
    walk.ask(memory);
    let page = PageTally { frames: size, distinct: size, ..PageTally::default() };
    walk.on_page(&page, EoseHints { finish: true, more: false }, memory);
}
