//! What is worth persisting: the rows of `SyncCore::durable()` and their changes.

use alloc::vec::Vec;

use nostr::event::EventId;
use nostr::types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::RowId;
use crate::item::{GapReason, Item, Range, RelayText};
use crate::url::RelayUrl;

/// A row of what is worth persisting: coverage and health of one relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerRow {
    /// What is known of a relay.
    Relay(RelayRow),
    /// Items proven together.
    Cohort {
        /// The relay.
        relay: RelayUrl,
        /// The row.
        row: RowId,
        /// The claim.
        cohort: Cohort,
    },
    /// A part of history that is not proven.
    Gap {
        /// The relay.
        relay: RelayUrl,
        /// The row.
        row: RowId,
        /// What and why.
        gap: Gap,
    },
}

/// A change of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerChange {
    /// Write or replace a row.
    Put(LedgerRow),
    /// A cohort is superseded.
    DropCohort {
        /// The relay.
        relay: RelayUrl,
        /// The row.
        row: RowId,
    },
    /// A gap is closed.
    DropGap {
        /// The relay.
        relay: RelayUrl,
        /// The row.
        row: RowId,
    },
    /// A relay is forgotten with all its rows (DISC-7).
    DropRelay {
        /// The relay.
        relay: RelayUrl,
    },
}

/// What is known of a relay over restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayRow {
    /// Canonical URL.
    pub url: RelayUrl,
    /// When it was last connected, wall time.
    pub last_connected: Option<Timestamp>,
    /// When the connection was lost, wall time (CONN-4).
    pub disconnected_at: Option<Timestamp>,
    /// When the last pass finished, wall time.
    pub pass_finished_at: Option<Timestamp>,
    /// Consecutive failures (HLTH-1).
    pub failures: u32,
    /// When the streak began, wall time (HLTH-2).
    pub failing_since: Option<Timestamp>,
    /// No dial before, wall time (TALK-2).
    pub cooldown_until: Option<Timestamp>,
    /// When its negentropy was last found missing or untrue, wall time (HIST-3, HIST-4).
    pub neg_refused_at: Option<Timestamp>,
    /// Whether a person paused it.
    pub paused: bool,
}

/// Items proven together (spec §2): at wall time `as_of`, every event with `created_at` ≤ `until`
/// that the relay served for them was settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cohort {
    /// The items.
    pub items: Vec<Item>,
    /// Proven up to this `created_at`.
    pub until: Timestamp,
    /// Wall time of the claim.
    pub as_of: Timestamp,
    /// When all history was last walked or reconciled; older than `as_of` when only the recent
    /// part was since.
    pub full_as_of: Timestamp,
    /// How.
    pub method: Method,
    /// Marked live up to here, never proven.
    pub live_until: Option<Timestamp>,
}

impl Cohort {
    /// The second up to which its items are proven, or were live.
    pub fn watermark(&self) -> Timestamp {
        self.live_until.map_or(self.until, |live| live.max(self.until))
    }
}

/// A part of history that is not proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The items.
    pub items: Vec<Item>,
    /// Which seconds.
    pub range: Range,
    /// Why.
    pub reason: GapReason,
    /// Wall time of its first appearance.
    pub since: Timestamp,
    /// Tries so far.
    pub tries: u32,
    /// Wall time of the next try.
    pub retry_at: Timestamp,
    /// Accepted by a person (CONN-9).
    pub accepted: bool,
    /// The relay's words, where it had any.
    pub detail: RelayText,
    /// Ids that the relay named and does not serve, at most 100 (HIST-2).
    pub ids: Vec<EventId>,
}

/// How history is caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// NIP-77.
    Negentropy,
    /// REQ pages.
    Pages,
    /// Requests by id.
    Ids,
}

impl Method {
    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Negentropy => "negentropy",
            Self::Pages => "pages",
            Self::Ids => "ids",
        }
    }
}
