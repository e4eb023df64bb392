//! Splitting a dense second: its parts are read one by one, and prove it together or not at all.

use alloc::boxed::Box;
use alloc::vec::Vec;

use nostr::filter::Filter;
use nostr::key::PublicKey;
use nostr::types::Timestamp;

use super::turn::Turn;
use super::{Asked, PageMemory, Size, Stage, Step, Walk};
use crate::input::EoseHints;
use crate::item::GapReason;
use crate::tally::PageTally;

/// A second that is being split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// The second.
    pub(super) second: u64,
    /// Whether `until` is one more, for a relay that excludes it.
    pub(super) exclusive: bool,
    /// Parts still to be read, the next one last.
    pub(super) parts: Vec<Filter>,
    /// Whether the parts so far can still prove the second.
    exact: bool,
    /// What follows.
    then: AfterSplit,
}

/// What follows a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AfterSplit {
    /// The page that refuted the proof of this second is still to be taken in.
    Resume(Box<Turn>),
    /// The walk goes on below the second; the size of the last page at it.
    Below(Size),
}

/// The first list of the filter that holds more than one value, in halves: tag values, then
/// kinds, then authors.
pub(super) fn halves(filter: &Filter) -> Option<[Filter; 2]> {
    let mut parts = [filter.clone(), filter.clone()];
    let long = filter.generic_tags.iter().find(|(_, values)| values.len() > 1);
    if let Some((tag, values)) = long {
        let middle = values.len() / 2;
        parts[0].generic_tags.insert(*tag, values.iter().take(middle).cloned().collect());
        parts[1].generic_tags.insert(*tag, values.iter().skip(middle).cloned().collect());
        return Some(parts);
    }
    if let Some(kinds) = filter.kinds.as_ref().filter(|kinds| kinds.len() > 1) {
        let middle = kinds.len() / 2;
        parts[0].kinds = Some(kinds.iter().take(middle).copied().collect());
        parts[1].kinds = Some(kinds.iter().skip(middle).copied().collect());
        return Some(parts);
    }
    let authors = filter.authors.as_ref().filter(|authors| authors.len() > 1)?;
    let middle = authors.len() / 2;
    parts[0].authors = Some(authors.iter().take(middle).copied().collect());
    parts[1].authors = Some(authors.iter().skip(middle).copied().collect());
    Some(parts)
}

/// One part for each author: events are found so, nothing is proven.
fn by_author(filter: &Filter, authors: &[PublicKey]) -> Vec<Filter> {
    if filter.authors.is_some() {
        return Vec::new();
    }
    authors.iter().map(|author| filter.clone().author(*author)).collect()
}

impl Walk {
    pub(super) fn begin_split(
        &mut self,
        second: u64,
        then: AfterSplit,
        learned: &mut PageMemory,
    ) -> Step {
        let mut split = Split {
            second,
            exclusive: learned.is_exclusive(self.shape),
            parts: Vec::new(),
            exact: true,
            then,
        };
        match halves(&self.filter) {
            Some(parts) => split.parts.extend(parts),
            None => {
                split.exact = false;
                self.gap(second, second, GapReason::DenseSecond);
                if self.authors.0 == second {
                    split.parts = by_author(&self.filter, &self.authors.1);
                }
            }
        }
        self.next_part(split, learned)
    }

    /// Goes on with the next part, or with what follows the split.
    fn next_part(&mut self, split: Split, learned: &mut PageMemory) -> Step {
        let spent = self.splits >= self.config.splits || self.requests >= self.config.max;
        if !split.parts.is_empty() && !spent {
            self.stage = Stage::Splitting(Box::new(split));
            return Step::Ask;
        }
        if !split.parts.is_empty() {
            self.gap(split.second, split.second, GapReason::DenseSecond);
        }
        match split.then {
            AfterSplit::Resume(turn) => self.take_turn(&turn, learned),
            AfterSplit::Below(size) => self.go_below(size),
        }
    }

    pub(super) fn on_part(
        &mut self,
        mut split: Split,
        page: &PageTally,
        hints: EoseHints,
        asked: Asked,
        learned: &mut PageMemory,
    ) -> Step {
        self.splits += 1;
        let second = split.second;
        let part = split.parts.pop().unwrap_or_else(|| self.filter.clone());
        self.answered(asked.number, Some(second), second);
        if let Some(reason) = page_fault(page) {
            self.gap(second, second, reason);
        }
        if page.forgotten && split.exact {
            split.exact = false;
            self.gap(second, second, GapReason::Unproven);
        }
        let below = page.oldest.is_some_and(|oldest| oldest < Timestamp::from_secs(second));
        let frames = page.readable();
        let cut = frames >= learned.bound_of(self.shape, &self.config);
        if split.exact && page.missing_in_part > 0 && !cut {
            split.exact = false;
            self.gap(second, second, GapReason::Unproven);
        }
        self.absorb(page, learned);
        let bound = learned.bound_of(self.shape, &self.config);
        let whole = frames < bound || below || hints.finish;
        if whole && !hints.more {
            // Only the last part can tell what all of them together did not repeat.
            if split.exact && split.parts.is_empty() && page.unrepeated > 0 {
                split.exact = false;
                self.gap(second, second, GapReason::Unproven);
            }
        } else if let Some(parts) = halves(&part) {
            split.parts.extend(parts);
        } else {
            if split.exact {
                split.exact = false;
                self.gap(second, second, GapReason::DenseSecond);
            }
            split.parts.extend(by_author(&part, &page.authors));
        }
        self.next_part(split, learned)
    }
}

/// The gap that a page leaves by its frames alone.
pub(super) fn page_fault(page: &PageTally) -> Option<GapReason> {
    if page.above_until > 0 {
        Some(GapReason::UntilIgnored)
    } else if page.malformed > 0 {
        Some(GapReason::Malformed)
    } else if page.oversize > 0 {
        Some(GapReason::Oversize)
    } else {
        None
    }
}
