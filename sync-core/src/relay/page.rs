//! One walk through the pages of a relay (HIST-5, `spec/paging.md`): pure, one request at a time.

use alloc::vec::Vec;

use nostr::filter::Filter;
use nostr::types::Timestamp;

use crate::config::PageConfig;
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
}

/// What a walk does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send [`Walk::ask`].
    Ask,
    /// The walk is over; [`Walk::gaps`] names what it could not prove.
    End,
}

/// What is learned of one relay and one shape of filter: the bound of its pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageMemory {}

/// A walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    filter: Filter,
    range: Range,
    config: PageConfig,
    gaps: Vec<(Range, GapReason)>,
}

impl Walk {
    /// A walk over `range` of `filter`, which has neither `since`, `until` nor `limit`.
    pub fn new(filter: Filter, range: Range, config: &PageConfig) -> Self {
        Self { filter, range, config: config.clone(), gaps: Vec::new() }
    }

    /// The request to send now; the same until it is answered, so that a page that was cut is
    /// asked again with the same `until`.
    pub fn ask(&self, _learned: &PageMemory) -> Ask {
        let filter = self
            .filter
            .clone()
            .since(self.range.since)
            .until(self.range.until)
            .limit(self.config.limit as usize);
        Ask { filter, split: None }
    }

    /// Takes the answer in: the page that ended with EOSE.
    pub fn on_page(&mut self, _p: &PageTally, _hints: EoseHints, _l: &mut PageMemory) -> Step {
        Step::End
    }

    /// Events came for the last page after its EOSE.
    pub fn on_late(&mut self) {}

    /// The oldest second `s` down to which everything is proven so far: what a cut walk keeps
    /// (HIST-6). `None` while nothing is.
    pub fn proven_down_to(&self) -> Option<Timestamp> {
        None
    }

    /// What the walk could not prove.
    pub fn gaps(&self) -> &[(Range, GapReason)] {
        &self.gaps
    }
}
