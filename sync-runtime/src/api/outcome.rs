//! What a one-shot `sync` did, and how it comes along.

use serde::{Deserialize, Serialize};
use sync_core::ledger::Method;
use sync_core::status::RelayStatus;
use sync_core::url::RelayUrl;

use super::Schema;
use super::relay::GapView;
use super::time::Seconds;

/// The whole of a one-shot sync.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SyncOutcome {
    /// Every relay that was tried, by URL.
    pub relays: Vec<RelayOutcome>,
    /// Events newly saved.
    pub stored: u64,
    /// Events in the store at its end.
    pub store_events: u64,
    /// How long it took.
    pub took_s: Seconds,
    /// Why it ended before everything was explained: a limit or a signal.
    #[serde(default)]
    pub cut: Option<String>,
}

impl SyncOutcome {
    /// The worst status of its relays; [`OutcomeStatus::Synced`] for none.
    pub fn status(&self) -> OutcomeStatus {
        self.relays.iter().map(|relay| relay.status).max().unwrap_or(OutcomeStatus::Synced)
    }
}

impl Schema for SyncOutcome {
    const NAME: &'static str = "sync";
}

/// How a relay ended; the worse the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeStatus {
    /// Everything that it serves is settled.
    Synced,
    /// Something is missing and named in its gaps.
    Partial,
    /// It was cut before it was through.
    Unfinished,
    /// It could not be reached (DISC-10).
    Unreachable,
}

impl OutcomeStatus {
    /// The name in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Partial => "partial",
            Self::Unfinished => "unfinished",
            Self::Unreachable => "unreachable",
        }
    }
}

/// What one relay brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelayOutcome {
    /// The relay.
    pub url: RelayUrl,
    /// How it ended.
    pub status: OutcomeStatus,
    /// Why, when it is not synced.
    pub explained: Option<String>,
    /// Whether it was given rather than discovered.
    pub bootstrap: bool,
    /// Events received.
    pub received: u64,
    /// Newly saved.
    pub stored: u64,
    /// Known already.
    pub known: u64,
    /// Refused by policy.
    pub rejected: u64,
    /// Held for git data.
    pub held: u64,
    /// A wrong id or signature.
    pub invalid: u64,
    /// Off-filter, unsolicited or oversize.
    pub dropped: u64,
    /// How history was caught up.
    pub methods: Vec<Method>,
    /// Rounds of negentropy.
    pub rounds: u64,
    /// Pages asked for.
    pub pages: u64,
    /// Batches that ended.
    pub batches: u64,
    /// Payload bytes received.
    pub bytes_in: u64,
    /// Payload bytes sent.
    pub bytes_out: u64,
    /// From its first dial to its end.
    pub took_s: Seconds,
    /// What is missing.
    pub gaps: Vec<GapView>,
}

/// One line of progress of a one-shot sync, a relay at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncProgress {
    /// The relay.
    pub url: RelayUrl,
    /// State of its connection.
    pub connection: RelayStatus,
    /// The layer of the batch that began last: `1`, `2`, `3`, `filter` or `id`.
    pub layer: Option<String>,
    /// Batches that ended.
    pub batches_done: u64,
    /// Batches so far.
    pub batches: u64,
    /// Events received.
    pub received: u64,
    /// Events newly saved.
    pub stored: u64,
    /// Why it failed or waits, when it does.
    pub note: String,
}
