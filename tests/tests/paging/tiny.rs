//! Exhaustive small cases: relays with a constant cap, and an adversary that cuts every answer
//! where it likes.

use std::collections::BTreeMap;

use nostr::filter::Filter;
use nostr::types::Timestamp;
use sync_core::config::PageConfig;
use sync_core::input::EoseHints;
use sync_core::item::Range;
use sync_core::relay::page::{PageMemory, Step};
use sync_core::rng::Rng;
use sync_tests::paging_relay::{Answer, Habits, Hints, PagingRelay, Query, Row, filter};

use crate::drive::{Answers, Class, Drive, judge, teach, walk};

/// Every multiset of at most `n` seconds below `t`.
fn histories(n: usize, t: u64) -> Vec<Vec<u64>> {
    let mut all = vec![Vec::new()];
    let mut begin = 0;
    for _ in 0..n {
        let end = all.len();
        for place in begin..end {
            let from = all[place].last().copied().unwrap_or(0);
            for second in from..t {
                let mut longer = all[place].clone();
                longer.push(second);
                all.push(longer);
            }
        }
        begin = end;
    }
    all
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    None,
    Values,
    Kinds,
}

impl Form {
    fn filter(self) -> Filter {
        match self {
            Self::None => filter(None, None, None),
            Self::Values => filter(Some(3), None, None),
            Self::Kinds => filter(Some(1), Some(&[0, 1]), None),
        }
    }

    fn rows(self, seconds: &[u64], offset: u64) -> Vec<Row> {
        let row = |(i, at): (usize, &u64)| {
            let values = match self {
                Self::Values if i % 4 == 0 => 0b011,
                Self::Values => 1 << (i % 3),
                Self::None | Self::Kinds => 1,
            };
            let kind = if self == Self::Kinds { (i % 2) as u16 } else { 1 };
            Row { at: at + offset, id: i as u64, kind, values, author: (i % 2) as u8 }
        };
        seconds.iter().enumerate().map(row).collect()
    }
}

fn range() -> Range {
    Range::up_to(Timestamp::from_secs(50))
}

fn config(floor: u32) -> PageConfig {
    PageConfig { floor, ..PageConfig::default() }
}

/// Walks every history against every constant cap, and says how each class was met; silence is
/// handed to `excuse` with its history and cap.
fn constant_caps(
    config: &PageConfig,
    warm: bool,
    excuse: impl Fn(&[u64], usize) -> bool,
) -> BTreeMap<Class, usize> {
    let mut classes = BTreeMap::new();
    let histories = histories(5, 4);
    let caps = [Some(1), Some(2), Some(3), Some(4), Some(5), None];
    for form in [Form::None, Form::Values, Form::Kinds] {
        for (cap, ties_random, hints, offset) in caps.iter().flat_map(|cap| {
            let hints = [Hints::None, Hints::Finish, Hints::Both];
            hints.map(|hints| {
                (*cap, hints == Hints::None, hints, u64::from(hints != Hints::Both) * 3)
            })
        }) {
            for seconds in &histories {
                let habits = Habits { ties_random, hints, ..Habits::default() };
                let rng = Rng::new(seconds.iter().sum::<u64>() + seconds.len() as u64 * 7);
                let mut relay = PagingRelay::new(form.rows(seconds, offset), cap, habits, rng);
                let mut memory = PageMemory::default();
                if warm {
                    teach(&mut memory, &form.filter(), cap.unwrap_or(6).min(6) as u32, config);
                }
                let walked = walk(&mut relay, &form.filter(), range(), &mut memory, config);
                let excused = cap.is_some_and(|cap| excuse(seconds, cap));
                assert!(
                    walked.class != Class::Silent || excused,
                    "{form:?} cap {cap:?} {hints:?} {seconds:?} +{offset}: {walked:?}"
                );
                *classes.entry(walked.class).or_default() += 1;
            }
        }
    }
    classes
}

#[test]
fn a_constant_cap_without_a_floor_never_loses_silently_what_was_seen_before() {
    let fresh_or_warm = constant_caps(&config(1), true, |_, _| false);
    assert_eq!(fresh_or_warm.get(&Class::Silent), None);
}

#[test]
fn caps_below_the_floor_lose_silently_only_an_answer_of_one_second() {
    // Assertion 7: the whole answer in one second, larger than a page that was never seen cut.
    let one_second = |seconds: &[u64], cap: usize| {
        seconds.len() > cap && seconds.iter().all(|second| *second == seconds[0])
    };
    for warm in [false, true] {
        let classes = constant_caps(&config(10), warm, one_second);
        let silent = classes.get(&Class::Silent).copied().unwrap_or(0);
        assert!(silent > 0, "the exception is real: {classes:?}");
    }
}

/// Cuts each answer by the next of its choices, and notes how many there were.
struct Adversary {
    rows: Vec<Row>,
    choices: Vec<usize>,
    asked: usize,
    /// Answers open to choice, from the first beyond `choices`.
    widths: Vec<usize>,
    least: usize,
}

impl Answers for Adversary {
    fn answer(&mut self, filter: &Filter) -> Answer {
        let query = Query::of(filter);
        let since = filter.since.unwrap_or(Timestamp::from_secs(0)).as_secs();
        let until = filter.until.expect("an until").as_secs();
        let inside = |row: &&Row| query.matches(row) && since <= row.at && row.at <= until;
        let mut frames: Vec<Row> = self.rows.iter().filter(inside).copied().collect();
        frames.sort_by_key(|row| (std::cmp::Reverse(row.at), row.id));
        let width = frames.len() - self.least.min(frames.len()) + 1;
        let cut = self.choices.get(self.asked).copied().unwrap_or_else(|| {
            self.widths.push(width);
            0
        });
        self.asked += 1;
        frames.truncate(frames.len() - cut);
        Answer { frames, hints: EoseHints::default(), ..Answer::default() }
    }
}

/// All games of an adversary that decides over the first `depth` answers; the classes and the
/// most requests of a walk.
fn games(least: usize, depth: usize) -> (BTreeMap<Class, usize>, u32) {
    let config = config(1);
    let mut classes = BTreeMap::new();
    let mut most = 0;
    for seconds in histories(4, 3) {
        let rows = Form::None.rows(&seconds, 3);
        let mut open = vec![Vec::new()];
        while let Some(choices) = open.pop() {
            let mut relay =
                Adversary { rows: rows.clone(), choices, asked: 0, widths: Vec::new(), least };
            let mut memory = PageMemory::default();
            let mut drive = Drive::new(&Form::None.filter(), range(), &config);
            while drive.turn(&mut relay, &mut memory) == Step::Ask {
                assert!(drive.walk.requests() < 200, "{seconds:?} {:?}", relay.choices);
            }
            let walked = judge(&drive, &rows, &Default::default());
            most = most.max(walked.requests);
            *classes.entry(walked.class).or_default() += 1;
            for (place, width) in relay.widths.iter().enumerate() {
                if relay.choices.len() + place >= depth {
                    break;
                }
                for cut in 1..*width {
                    let mut longer = relay.choices.clone();
                    longer.extend(std::iter::repeat_n(0, place));
                    longer.push(cut);
                    open.push(longer);
                }
            }
        }
    }
    (classes, most)
}

fn in_all(classes: &BTreeMap<Class, usize>) -> [usize; 4] {
    let of = |class| classes.get(&class).copied().unwrap_or(0);
    [of(Class::Complete), of(Class::Gap), of(Class::FalseGap), of(Class::Silent)]
}

#[test]
fn an_adversary_that_cuts_each_answer_at_will_meets_an_end_and_the_classes_of_the_model() {
    // Most silent ones are a first page cut within the only second: nothing can show it.
    let (classes, most) = games(1, 5);
    assert_eq!((in_all(&classes), most), ([94, 104, 297, 34], 10));
}

#[test]
fn an_adversary_that_may_answer_nothing_meets_an_end_and_the_classes_of_the_model() {
    let (classes, most) = games(0, 4);
    assert_eq!((in_all(&classes), most), ([384, 202, 615, 314], 11));
}
