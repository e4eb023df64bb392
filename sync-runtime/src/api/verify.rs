//! What `verify` and `sync --dry-run` found: relays were reconciled, nothing was fetched.

use nostr::event::EventId;
use serde::{Deserialize, Serialize};
use sync_core::url::RelayUrl;

use super::Schema;
use super::relay::GapView;
use super::time::{Seconds, WallMs};

/// The whole of a verification.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// Every relay that was looked at, by URL.
    pub relays: Vec<RelayVerification>,
    /// How long it took.
    pub took_s: Seconds,
}

impl Verification {
    /// Whether nothing is missing, as far as the relays can say.
    pub fn is_complete(&self) -> bool {
        self.relays.iter().all(|relay| relay.status <= VerifyStatus::Proven)
    }
}

impl Schema for Verification {
    const NAME: &'static str = "verify";
}

/// How a relay compares with the store; the worse the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifyStatus {
    /// Reconciled: it has nothing that is wanted and not here, and no gap stands.
    Same,
    /// It does not speak NIP-77; the ledger says that everything wanted was proven, without a gap.
    Proven,
    /// It does not speak NIP-77, and something wanted was never proven.
    Unproven,
    /// It has events that are wanted and not here, or a gap stands.
    Missing,
    /// It was cut before it was through.
    Unfinished,
    /// It could not be reached.
    Unreachable,
}

impl VerifyStatus {
    /// The name in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Proven => "proven",
            Self::Unproven => "unproven",
            Self::Missing => "missing",
            Self::Unfinished => "unfinished",
            Self::Unreachable => "unreachable",
        }
    }
}

/// One relay compared with the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelayVerification {
    /// The relay.
    pub url: RelayUrl,
    /// How it compares.
    pub status: VerifyStatus,
    /// Why it could not be compared, when it could not.
    pub explained: Option<String>,
    /// Whether it was reconciled by NIP-77. Without that nothing is known of `need` and `have`.
    pub reconciled: bool,
    /// Events that it has, that are wanted, and that are not here.
    pub need: u64,
    /// Their ids: the first [`Self::IDS`], in order.
    pub ids: Vec<EventId>,
    /// Events here that it lacks; one that several filters match counts for each.
    pub have: u64,
    /// Sessions, one a filter.
    pub sessions: u64,
    /// Payload bytes received.
    pub bytes_in: u64,
    /// Payload bytes sent.
    pub bytes_out: u64,
    /// Items wanted from it.
    pub items: u32,
    /// Of them, proven at some time.
    pub items_proven: u32,
    /// The newest `created_at` that is proven for all of them; `None` while one is not proven.
    pub proven_until_ms: Option<WallMs>,
    /// When all history of them was last proven, of the oldest; `None` while one is not proven.
    pub proven_at_ms: Option<WallMs>,
    /// The `created_at` from which a sync would ask for pages, where it does not reconcile.
    pub pages_since_ms: Option<WallMs>,
    /// What is missing and named.
    pub gaps: Vec<GapView>,
}

impl RelayVerification {
    /// Ids of needed events that are named.
    pub const IDS: usize = 100;
}
