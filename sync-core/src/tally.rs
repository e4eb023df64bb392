//! Counts that cross from the data plane into the control plane (flush rules F1 to F4).

use alloc::vec::Vec;

use nostr::event::EventId;
use nostr::key::PublicKey;
use nostr::types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{ConnId, SubId};

/// What a subscription received since its last tally (F1 to F3). `received` counts every event
/// that will be settled: duplicates of this walk and off-filter events included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTally {
    /// The connection.
    pub conn: Option<ConnId>,
    /// The subscription; `None` for events of none (T15).
    pub sub: Option<SubId>,
    /// Events that a [`SettleTally`] will answer.
    pub received: u32,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Events of no open subscription; they are not settled.
    pub unsolicited: u32,
    /// Frames above their limit; they are not settled, and leave a gap (TALK-5).
    pub oversize: u32,
    /// The oldest `created_at`.
    pub oldest: Option<Timestamp>,
    /// The newest `created_at`.
    pub newest: Option<Timestamp>,
    /// The ids, when the subscription tracks them (requests by id), sorted.
    pub ids: Vec<EventId>,
    /// The whole page, in the last tally before its EOSE, when the subscription is a page.
    pub page: Option<PageTally>,
    /// Events that came for a page after its EOSE.
    pub after_eose: u32,
}

/// A whole page as its walk needs it (`spec/paging.md`), measured by `admit::meter`.
///
/// "Known" are the events that the walk saw before this page; "distinct" counts ids; "new" are
/// events that fit the walk's filter, are not known and did not come live. "The known oldest" is
/// the second that [`crate::command::Purpose::Page`] names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PageTally {
    /// Every EVENT frame: duplicate, foreign or broken.
    pub frames: u32,
    /// Frames whose event could not be read.
    pub malformed: u32,
    /// Frames above their limit, skipped (TALK-5).
    pub oversize: u32,
    /// Distinct ids of the frames that could be read.
    pub distinct: u32,
    /// The oldest second.
    pub oldest: Option<Timestamp>,
    /// The newest second.
    pub newest: Option<Timestamp>,
    /// The second of the middle frame, newest first.
    pub middle: Option<Timestamp>,
    /// The second of the frame at three quarters, newest first.
    pub three_quarters: Option<Timestamp>,
    /// Frames newer than the page's `until`, before the filter drops them.
    pub above_until: u32,
    /// Distinct events at exactly the page's `until`.
    pub at_until: u32,
    /// Known events at the page's `until`.
    pub known_at_until: u32,
    /// New events within the page's own `since` and `until`.
    pub new: u32,
    /// New events at exactly the page's `until`.
    pub new_at_until: u32,
    /// New events at the known oldest second.
    pub new_at_known_oldest: u32,
    /// New events newer than the known oldest second.
    pub new_above_known_oldest: u32,
    /// New events older than, or at, the known oldest second.
    pub new_up_to_known_oldest: u32,
    /// Known events of that second that this page did not repeat.
    pub missing_at_known_oldest: u32,
    /// Known events of the second that is split that belong to this part, as far as their tags
    /// were read, and are not in it.
    pub missing_in_part: u32,
    /// Known events of the second that is split that no part of the split repeated so far.
    pub unrepeated: u32,
    /// Authors of the second, known ones and those of this page, when the whole page lies in one
    /// second and its filter cannot be halved; sorted, at most [`PageTally::MAX_AUTHORS`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<PublicKey>,
    /// What the walk saw before is not known any more: the tally proves nothing.
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    pub forgotten: bool,
}

impl PageTally {
    /// Authors in one tally.
    pub const MAX_AUTHORS: usize = 256;

    /// Frames whose event could be read.
    pub fn readable(&self) -> u32 {
        self.frames.saturating_sub(self.malformed).saturating_sub(self.oversize)
    }
}

/// What became of received events (F4). The sum of the counts answers as many of `received`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettleTally {
    /// The connection.
    pub conn: Option<ConnId>,
    /// The subscription.
    pub sub: Option<SubId>,
    /// New in the store.
    pub stored: u32,
    /// Known already, durable.
    pub duplicate: u32,
    /// Recorded as rejected, durable.
    pub rejected: u32,
    /// Held by the embedder.
    pub held: u32,
    /// A wrong id or signature; nothing is remembered of it.
    pub invalid: u32,
    /// Does not match the subscription.
    pub off_filter: u32,
    /// The store could not take it; fails the batch (S6).
    pub failed: u32,
    /// Ids that ended stored, duplicate, rejected or held, when the subscription tracks ids.
    pub ids: Vec<EventId>,
    /// Ids that the store could not take, when the subscription tracks ids.
    pub failed_ids: Vec<EventId>,
    /// Of those stored, how many are gap events (HIST-11).
    pub gap_events: u32,
}

impl SettleTally {
    /// How many received events this answers.
    pub fn total(&self) -> u64 {
        [
            self.stored,
            self.duplicate,
            self.rejected,
            self.held,
            self.invalid,
            self.off_filter,
            self.failed,
        ]
        .iter()
        .map(|n| u64::from(*n))
        .sum()
    }
}
