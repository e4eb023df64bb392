//! One walk through the pages of a relay (HIST-5, `spec/paging.md`): pure, one request at a time.
//!
//! The walk sees no event, only the [`PageTally`] of each answer. [`Walk::ask`] is what to send,
//! [`Walk::on_page`] takes the answer in, until it says [`Step::End`]; then [`Walk::gaps`] names
//! what is not proven, and everything else of the range is.

mod memory;
mod split;
mod turn;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use nostr::filter::Filter;
use nostr::key::PublicKey;
use nostr::types::Timestamp;

pub use self::memory::PageMemory;
use self::memory::Shape;
use self::split::Split;
use crate::command::{Purpose, Source};
use crate::config::PageConfig;
use crate::id::WalkId;
use crate::input::EoseHints;
use crate::item::{GapReason, Range};
use crate::tally::PageTally;

/// The request that a walk waits for, complete with `since`, `until` and `limit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What is sent.
    pub filter: Filter,
    /// The second that is split, when this is a part of a dense second.
    pub split: Option<Timestamp>,
    /// The oldest second that the walk knows.
    pub oldest: Option<Timestamp>,
    /// Its number within the walk, from 1; [`Walk::on_late`] takes it.
    pub number: u32,
}

impl Ask {
    /// What the subscription of this request is for.
    pub fn purpose(&self, walk: WalkId, source: Source) -> Purpose {
        Purpose::Page { walk, split: self.split, oldest: self.oldest, source }
    }
}

/// What a walk does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send [`Walk::ask`].
    Ask,
    /// The walk is over; [`Walk::gaps`] names what it could not prove.
    End,
}

/// A request that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    number: u32,
    /// `until` is one more than meant, for a relay that excludes it.
    exclusive: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Walking,
    /// A dense second is read in parts.
    Splitting(Box<Split>),
    /// Whether something newer than all that came was held back is asked once.
    Checking,
    Over,
}

/// Size of a page: ids learn, frames count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    distinct: u32,
    frames: u32,
}

impl Size {
    fn of(page: &PageTally) -> Self {
        Self { distinct: page.distinct, frames: page.frames }
    }
}

/// The seconds of the page that reached furthest down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LastPage {
    newest: u64,
    oldest: u64,
    middle: u64,
    three_quarters: u64,
}

impl LastPage {
    fn of(page: &PageTally) -> Self {
        let secs = |at: Option<Timestamp>| at.map_or(0, |at| at.as_secs());
        Self {
            newest: secs(page.newest),
            oldest: secs(page.oldest),
            middle: secs(page.middle),
            three_quarters: secs(page.three_quarters),
        }
    }

    /// `second`, but below the newest unless the page is all one second; not below `floor`.
    fn second_below_newest(&self, second: u64, floor: u64) -> u64 {
        let below = if second < self.newest || self.newest == self.oldest {
            second
        } else {
            self.newest - 1
        };
        below.max(floor)
    }
}

/// An answered request, for what comes after its EOSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answered {
    number: u32,
    part: bool,
    /// Up to which second late events leave a gap.
    top: u64,
}

/// A walk over one filter and range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    filter: Filter,
    shape: Shape,
    range: Range,
    config: PageConfig,
    gaps: Vec<(Range, GapReason)>,
    stage: Stage,
    asked: Option<Asked>,
    requests: u32,
    splits: u32,
    answers: Vec<Answered>,
    /// The newest second that is asked for next.
    until: u64,
    /// `s`: the oldest second seen.
    known: Option<u64>,
    /// The newest second seen.
    newest: Option<u64>,
    /// Size of the page that reached `s`, or of the last answer at it.
    size: Option<Size>,
    /// Largest answers of the walk.
    most: Size,
    last: LastPage,
    /// Authors seen in a second that was a whole page.
    authors: (u64, Vec<PublicKey>),
    /// `s` is taken for whole if `until = s − 1` brings nothing.
    claimed: Option<u64>,
    /// The second that was split last.
    closed: Option<u64>,
    /// Answers since `s` was reached.
    asks: u32,
    /// How often `s` moved.
    descents: u32,
    empties: u32,
    redone: u32,
    confirms: u32,
    /// The last page held frames that could not be read.
    unread: Option<GapReason>,
    /// A page was at the bound.
    saw_bound: bool,
    /// Something new came above `s`.
    not_newest: bool,
    /// A cut page was smaller than another.
    short: bool,
    /// The relay said `finish`.
    finished: bool,
}

impl Walk {
    /// Answers that may leave the oldest known second where it is. No honest relay needs half
    /// of them; it makes S12 bounded whatever comes.
    const ASKS_MAX: u32 = 40;
    /// Answered requests that [`Walk::on_late`] knows by number.
    pub(crate) const ANSWERS: usize = 8;

    /// A walk over `range` of `filter`, which has neither `since`, `until` nor `limit`. The end
    /// of the range is the start of the walk, or the `s` where a walk that was cut stopped.
    pub fn new(filter: Filter, range: Range, config: &PageConfig) -> Self {
        Self {
            shape: Shape::of(&filter),
            filter,
            range,
            config: config.clone(),
            gaps: Vec::new(),
            stage: Stage::Walking,
            asked: None,
            requests: 0,
            splits: 0,
            answers: Vec::new(),
            until: range.until.max(range.since).as_secs(),
            known: None,
            newest: None,
            size: None,
            most: Size::default(),
            last: LastPage::default(),
            authors: (0, Vec::new()),
            claimed: None,
            closed: None,
            asks: 0,
            descents: 0,
            empties: 0,
            redone: 0,
            confirms: 0,
            unread: None,
            saw_bound: false,
            not_newest: false,
            short: false,
            finished: false,
        }
    }

    /// The request to send now; the same until it is answered, so that a page that was cut is
    /// asked again with the same `until`. Only its `limit` follows what is learned.
    pub fn ask(&mut self, learned: &PageMemory) -> Ask {
        let number = self.requests + 1;
        let exclusive = match &self.stage {
            Stage::Walking => learned.is_exclusive(self.shape),
            Stage::Splitting(split) => split.exclusive,
            Stage::Checking | Stage::Over => false,
        };
        let asked = *self.asked.get_or_insert(Asked { number, exclusive });
        let until = |second: u64| second.saturating_add(u64::from(asked.exclusive));
        let (filter, since, until, split) = match &self.stage {
            Stage::Walking => (&self.filter, self.floor(), until(self.until), None),
            Stage::Splitting(split) => {
                let part = split.parts.last().unwrap_or(&self.filter);
                (part, split.second, until(split.second), Some(split.second))
            }
            Stage::Checking | Stage::Over => {
                let top = self.newest.unwrap_or(0).clamp(self.floor(), self.ceiling());
                (&self.filter, top, self.ceiling(), None)
            }
        };
        let mut filter = filter.clone();
        filter.since = (since > 0).then(|| Timestamp::from_secs(since));
        filter.until = Some(Timestamp::from_secs(until));
        filter.limit = Some(learned.limit(&self.config) as usize);
        Ask {
            filter,
            split: split.map(Timestamp::from_secs),
            oldest: self.known.map(Timestamp::from_secs),
            number,
        }
    }

    /// Takes the answer to [`Walk::ask`] in: the page that ended with EOSE. An answer to nothing
    /// changes nothing.
    pub fn on_page(
        &mut self,
        page: &PageTally,
        hints: EoseHints,
        learned: &mut PageMemory,
    ) -> Step {
        let Some(asked) = self.asked.take() else { return self.step() };
        self.requests += 1;
        let step = match mem::take(&mut self.stage) {
            Stage::Walking => self.on_main(page, hints, asked, learned),
            Stage::Splitting(split) => self.on_part(*split, page, hints, asked, learned),
            Stage::Checking => self.on_check(page, asked),
            Stage::Over => self.end(),
        };
        self.within_bounds(step)
    }

    /// Events came after the EOSE of the request of this [`Ask::number`], or for a subscription
    /// of it after our CLOSE. The request that is out, if any, goes on only when this says so.
    pub fn on_late(&mut self, number: u32) -> Step {
        let answered = self.answers.iter().find(|answered| answered.number == number).copied();
        let whole = Answered { number, part: false, top: self.ceiling() };
        let late = answered.unwrap_or(whole);
        if late.part {
            self.gap(late.top, late.top, GapReason::EarlyEose);
            return self.step();
        }
        self.gap(self.floor(), late.top, GapReason::EarlyEose);
        self.asked = None;
        self.end()
    }

    /// The second `s` of HIST-6: everything newer is proven, and a walk that is cut here goes on
    /// as a walk over `0..=s`. `None` while nothing is.
    pub fn proven_down_to(&self) -> Option<Timestamp> {
        let known = self.known?;
        // A relay whose pages do not hold the newest events shows it in the first overlap.
        if self.not_newest || (self.saw_bound && self.descents < 2) {
            return None;
        }
        let split = self.closed == Some(known) && !matches!(self.stage, Stage::Splitting(_));
        let second = if split { known.saturating_sub(1) } else { known };
        Some(Timestamp::from_secs(second.max(self.floor())))
    }

    /// What the walk could not prove.
    pub fn gaps(&self) -> &[(Range, GapReason)] {
        &self.gaps
    }

    /// Requests that were answered.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// Whether the walk ended because its first page was empty: the relay is asked for such
    /// filters once more, in one REQ of several at the end of the batch.
    pub fn ended_empty(&self) -> bool {
        self.stage == Stage::Over && self.known.is_none() && self.gaps.is_empty() && !self.finished
    }

    /// What decreases with every page, lexicographically: the oldest second known, the splits
    /// left, the asks left at that second (S12).
    pub fn measure(&self) -> (Timestamp, u32, u32) {
        let start = self.ceiling().saturating_add(2);
        (
            Timestamp::from_secs(self.known.unwrap_or(start)),
            self.config.splits.saturating_sub(self.splits),
            (Self::ASKS_MAX + 1).saturating_sub(self.asks),
        )
    }

    fn on_check(&mut self, page: &PageTally, asked: Asked) -> Step {
        self.asks += 1;
        self.answered(asked.number, None, self.ceiling());
        self.not_newest |= page.new > 0 || page.forgotten;
        self.end()
    }

    /// The pages are through. After a page at the bound the newest second is asked for once.
    fn finish(&mut self) -> Step {
        // What could not be read may be older than all that could; a later page would show it.
        if let (Some(reason), Some(known)) = (self.unread.take(), self.known)
            && known > self.floor()
        {
            self.gap(self.floor(), known, reason);
        }
        let told = |(_, reason): &(Range, GapReason)| {
            matches!(reason, GapReason::UntilIgnored | GapReason::EarlyEose)
        };
        let check = self.saw_bound && !self.not_newest && !self.gaps.iter().any(told);
        if check && self.newest.is_some_and(|newest| newest <= self.ceiling()) {
            self.stage = Stage::Checking;
            return Step::Ask;
        }
        self.end()
    }

    fn end(&mut self) -> Step {
        self.stage = Stage::Over;
        if self.short && !self.finished {
            self.gap(self.floor(), self.known_or_start(), GapReason::ShortPages);
        }
        if self.not_newest {
            self.gap(self.floor(), self.ceiling(), GapReason::PagesNotNewest);
        }
        Step::End
    }

    /// Ends a walk that used up its requests, or its asks at one second.
    fn within_bounds(&mut self, step: Step) -> Step {
        let spent = self.requests >= self.config.max;
        let stuck = self.asks >= Self::ASKS_MAX;
        match (&self.stage, step) {
            (Stage::Walking | Stage::Checking, Step::Ask) if spent => {
                self.gap(self.floor(), self.known_or_start(), GapReason::TooLong);
                // Without its last question the walk proves nothing of the newest.
                self.not_newest |= self.saw_bound;
                self.end()
            }
            (Stage::Walking, Step::Ask) if stuck => {
                self.gap(self.floor(), self.known_or_start(), GapReason::NoProgress);
                self.finish()
            }
            _ => step,
        }
    }

    fn step(&self) -> Step {
        if self.stage == Stage::Over { Step::End } else { Step::Ask }
    }

    fn absorb(&mut self, page: &PageTally, learned: &mut PageMemory) {
        learned.delivered(self.shape, page.distinct);
        self.most.distinct = self.most.distinct.max(page.distinct);
        self.most.frames = self.most.frames.max(page.frames);
        self.newest = self.newest.max(page.newest.map(|at| at.as_secs()));
        if let Some(second) = page.oldest.filter(|_| !page.authors.is_empty()) {
            self.authors = (second.as_secs(), page.authors.clone());
        }
    }

    fn answered(&mut self, number: u32, part: Option<u64>, top: u64) {
        if self.answers.len() == Self::ANSWERS {
            self.answers.remove(0);
        }
        self.answers.push(Answered { number, part: part.is_some(), top });
    }

    fn gap(&mut self, since: u64, until: u64, reason: GapReason) {
        let since = since.max(self.floor());
        let range = Range {
            since: Timestamp::from_secs(since),
            until: Timestamp::from_secs(until.max(since)),
        };
        // Repeats follow each other closely; a long list is not searched.
        if !self.gaps.iter().rev().take(8).any(|gap| *gap == (range, reason)) {
            self.gaps.push((range, reason));
        }
    }

    fn floor(&self) -> u64 {
        self.range.since.as_secs()
    }

    fn ceiling(&self) -> u64 {
        self.range.until.max(self.range.since).as_secs()
    }

    fn known_or_start(&self) -> u64 {
        self.known.unwrap_or(self.ceiling())
    }
}
