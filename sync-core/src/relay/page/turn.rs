//! One answer of a walk outside splits: what it proves, and where the walk goes from it.

use alloc::boxed::Box;

use super::split::{AfterSplit, page_fault};
use super::{Asked, LastPage, PageMemory, Size, Stage, Step, Walk};
use crate::input::EoseHints;
use crate::item::GapReason;
use crate::tally::PageTally;

/// An answer together with what was known when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    page: PageTally,
    hints: EoseHints,
    asked: Asked,
    /// The largest page before this one.
    largest: u32,
    /// The bound before this page.
    bound: u32,
}

impl Turn {
    /// The relay says that there is more.
    fn more(&self) -> bool {
        self.hints.more && !self.hints.finish
    }

    /// The oldest second, not below the walk's range.
    fn oldest(&self, floor: u64) -> u64 {
        self.page.oldest.map_or(floor, |oldest| oldest.as_secs().max(floor))
    }

    /// The answer reaches below the range, so its oldest second is whole.
    fn reaches_below(&self, floor: u64) -> bool {
        self.page.oldest.is_some_and(|oldest| oldest.as_secs() < floor)
    }
}

impl Walk {
    pub(super) fn on_main(
        &mut self,
        page: &PageTally,
        hints: EoseHints,
        asked: Asked,
        learned: &mut PageMemory,
    ) -> Step {
        self.asks += 1;
        let top = self.known_or_start();
        self.answered(asked.number, None, top);
        if page.forgotten {
            self.gap(self.floor(), top, GapReason::Unproven);
            return self.finish();
        }
        self.unread = page_fault(page);
        match self.unread {
            Some(GapReason::UntilIgnored) => {
                self.unread = None;
                self.gap(self.floor(), top, GapReason::UntilIgnored);
                self.absorb(page, learned);
                return self.finish();
            }
            Some(reason) if page.distinct == 0 => {
                self.gap(self.floor(), top, reason);
                return self.finish();
            }
            Some(reason) => {
                let oldest = page.oldest.map_or(self.floor(), |at| at.as_secs());
                self.gap(oldest, self.until, reason);
            }
            None => {}
        }
        if asked.exclusive && page.at_until > 0 {
            learned.set_exclusive(self.shape, false);
            if page.oldest.is_some_and(|oldest| oldest.as_secs() > self.until) {
                // Nothing but the second beyond: the same again, without it.
                return Step::Ask;
            }
        }
        let turn = Turn {
            page: page.clone(),
            hints,
            asked,
            largest: learned.largest(self.shape),
            bound: learned.bound_of(self.shape, &self.config),
        };
        match self.claimed.take_if(|_| page.distinct > 0) {
            // The second judged complete was cut after all.
            Some(second) => {
                self.learn_cut(learned);
                self.begin_split(second, AfterSplit::Resume(Box::new(turn)), learned)
            }
            None => self.take_turn(&turn, learned),
        }
    }

    pub(super) fn take_turn(&mut self, turn: &Turn, learned: &mut PageMemory) -> Step {
        if turn.hints.finish && !turn.hints.more {
            self.absorb(&turn.page, learned);
            self.finished = true;
            return self.finish();
        }
        if turn.page.distinct == 0 {
            return self.on_empty(turn, learned);
        }
        if self.excludes_until(turn, learned) {
            learned.set_exclusive(self.shape, true);
            self.absorb(&turn.page, learned);
            return Step::Ask;
        }
        self.empties = 0;
        let oldest = turn.oldest(self.floor());
        self.look_for_cuts(turn, oldest, learned);
        self.absorb(&turn.page, learned);
        self.saw_bound |= turn.page.frames >= turn.bound;
        if self.known.is_none_or(|known| oldest < known) {
            return self.descend(turn, oldest, learned);
        }
        self.on_overlap(turn, oldest, learned)
    }

    fn on_empty(&mut self, turn: &Turn, learned: &PageMemory) -> Step {
        if turn.more() {
            self.gap(self.floor(), self.until, GapReason::Unproven);
            return self.finish();
        }
        let Some(known) = self.known.filter(|known| self.until >= *known) else {
            // Nothing is known to be there: emptiness has to do.
            if learned.is_short(self.shape) && self.empties == 0 {
                self.empties = 1;
                return Step::Ask;
            }
            return self.finish();
        };
        self.empties += 1;
        match self.empties {
            1 => {}
            2 => self.until = self.last.second_below_newest(self.last.middle, self.floor()),
            _ => {
                self.gap(self.floor(), known, GapReason::EmptyPage);
                return self.finish();
            }
        }
        Step::Ask
    }

    /// Whether the answer lacks the known second that its `until` names.
    fn excludes_until(&self, turn: &Turn, learned: &PageMemory) -> bool {
        self.known.is_some_and(|known| self.until >= known)
            && !turn.asked.exclusive
            && !learned.is_exclusive(self.shape)
            && turn.page.known_at_until > 0
            && turn.page.at_until == 0
    }

    /// What this answer tells of the pages before it.
    fn look_for_cuts(&mut self, turn: &Turn, oldest: u64, learned: &mut PageMemory) {
        let Some(known) = self.known else { return };
        let page = &turn.page;
        // With an exclusive `until` the second above belongs to what was read before.
        let beyond = if turn.asked.exclusive { page.new_at_until } else { 0 };
        self.not_newest |= page.new_above_known_oldest > beyond;
        if let Some(size) = self.size.filter(|_| oldest < known || page.new_at_known_oldest > 0) {
            self.learn_cut(learned);
            let smaller = size.distinct < self.most.distinct && size.frames < self.most.frames;
            self.short |= smaller && page.new_up_to_known_oldest > 0;
        }
    }

    /// The answer reaches an older second than any before.
    fn descend(&mut self, turn: &Turn, oldest: u64, learned: &mut PageMemory) -> Step {
        let first = self.known.is_none();
        let floor = self.floor();
        self.known = Some(oldest);
        self.descents += 1;
        self.asks = 0;
        self.size = Some(Size::of(&turn.page));
        self.last = LastPage::of(&turn.page);
        self.confirms = 0;
        self.redone = 0;
        self.until = if (first || turn.page.frames < turn.bound) && !turn.more() {
            self.last.second_below_newest(self.last.middle, floor)
        } else {
            oldest
        };
        if self.last.newest > oldest || oldest <= floor {
            return self.next_ask();
        }
        // The whole page is one second: `until = s` would ask the same again.
        if turn.page.frames < learned.bound_of(self.shape, &self.config) && !turn.more() {
            self.claimed = Some(oldest);
            self.until = oldest - 1;
            return self.next_ask();
        }
        self.until = oldest;
        self.on_overlap(turn, oldest, learned)
    }

    /// The answer brings nothing older.
    fn on_overlap(&mut self, turn: &Turn, oldest: u64, learned: &mut PageMemory) -> Step {
        let known = self.known.unwrap_or(oldest);
        let page = &turn.page;
        if oldest > known {
            // It did not even come down to what is known: shorter than before.
            learned.cut(self.shape, page.distinct, &self.config);
            self.short = true;
            return self.redo(known, 3, GapReason::NoProgress);
        }
        let bound = learned.bound_of(self.shape, &self.config);
        let whole = turn.reaches_below(self.floor());
        if (page.frames >= bound || turn.more()) && !whole {
            if self.until > known {
                return self.ask_at(known);
            }
            if self.closed == Some(known) {
                self.gap(self.floor(), known, GapReason::NoProgress);
                return self.finish();
            }
            self.closed = Some(known);
            return self.begin_split(known, AfterSplit::Below(Size::of(page)), learned);
        }
        let missing = known <= self.until && page.missing_at_known_oldest > 0;
        if page.new_at_known_oldest > 0 || missing {
            let frames = self.size.map_or(page.frames, |size| size.frames);
            self.size = Some(Size { distinct: page.distinct, frames });
            return self.redo(known, 2, GapReason::Unproven);
        }
        let proof = learned.smallest_cut(self.shape).unwrap_or(turn.largest);
        if page.frames >= proof && known > self.floor() && !whole {
            // Below the floor only, which is no page that was seen: is there anything older?
            if self.until > known {
                return self.ask_at(known);
            }
            self.size = Some(Size::of(page));
            self.claimed = Some(known);
            return self.ask_at(known - 1);
        }
        self.confirm(known, learned)
    }

    /// The answer confirms the end; a relay with short pages is asked once more.
    fn confirm(&mut self, known: u64, learned: &PageMemory) -> Step {
        self.confirms += 1;
        if self.until < known {
            self.size = None;
        }
        if learned.is_short(self.shape) && self.confirms < 2 {
            let below = self.last.second_below_newest(self.last.three_quarters, self.floor());
            return self.ask_at(if self.until == below { known } else { below });
        }
        self.finish()
    }

    /// Asks at the known oldest second again, so many times at most.
    fn redo(&mut self, known: u64, times: u32, reason: GapReason) -> Step {
        self.redone += 1;
        if self.redone > times {
            self.gap(self.floor(), known, reason);
            return self.finish();
        }
        self.ask_at(known)
    }

    /// The second was split: goes on below it.
    pub(super) fn go_below(&mut self, size: Size) -> Step {
        let Some(known) = self.known.filter(|known| *known > self.floor()) else {
            return self.finish();
        };
        self.size = Some(size);
        self.ask_at(known - 1)
    }

    fn ask_at(&mut self, until: u64) -> Step {
        self.until = until;
        self.next_ask()
    }

    fn next_ask(&mut self) -> Step {
        self.stage = Stage::Walking;
        Step::Ask
    }

    fn learn_cut(&mut self, learned: &mut PageMemory) {
        if let Some(size) = self.size {
            learned.cut(self.shape, size.distinct, &self.config);
        }
    }
}
