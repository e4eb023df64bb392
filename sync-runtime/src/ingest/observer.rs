//! What the pipeline tells metrics, and nothing else: no decision depends on it.

use std::time::Duration;

use nostr::event::Kind;
use nostr::types::Timestamp;
use sync_core::admit::policy::PolicyCounts;
use sync_core::admit::rejected::{EventType, HotCounts, RejectReason};
use sync_core::command::Source;
use sync_core::id::RelayId;

use crate::store::Swept;

/// How an arrival ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventOutcome {
    /// New in the store.
    Stored,
    /// Known already.
    Duplicate,
    /// Refused by policy, or by a rule of the store.
    Rejected,
    /// A wrong id or signature.
    Invalid,
    /// Off-filter.
    Dropped,
    /// The store could not take it.
    Failed,
}

impl EventOutcome {
    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Rejected => "rejected",
            Self::Invalid => "invalid",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
        }
    }
}

/// An arrival whose fate is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettledEvent {
    /// The relay; `None` for what a client or the embedder wrote.
    pub relay: Option<RelayId>,
    /// Its kind, claimed for what is a duplicate or invalid.
    pub kind: Kind,
    /// Its `created_at`, as its kind.
    pub created_at: Timestamp,
    /// How it ended.
    pub outcome: EventOutcome,
    /// Why it was rejected.
    pub reason: Option<RejectReason>,
    /// Where it counts when it is stored (HIST-12).
    pub source: Source,
    /// When it came.
    pub wall: Timestamp,
}

/// How two versions of one address were resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// The newer one stays.
    NewerCreatedAt,
    /// Of one second, the one with the lower id stays (NIP-01).
    LowestIdTiebreak,
    /// A deletion removed it.
    Deleted,
}

impl Resolution {
    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NewerCreatedAt => "newer_created_at",
            Self::LowestIdTiebreak => "lowest_id_tiebreak",
            Self::Deleted => "deleted",
        }
    }
}

/// Where time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Asking the store what is known.
    Known,
    /// Waiting for filter, id and signature checks.
    Verify,
    /// Policy.
    Judge,
    /// The commit.
    Commit,
}

impl Stage {
    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Verify => "verify",
            Self::Judge => "judge",
            Self::Commit => "commit",
        }
    }
}

/// Hears what the pipeline does; called from its threads, so it must not block.
pub trait Observer: Send + Sync {
    /// An arrival's fate is durable.
    fn settled(&self, event: &SettledEvent) {
        let _ = event;
    }

    /// An event that had been rejected was stored after all (REJ-3); no arrival goes with it.
    fn revived(&self, event: &SettledEvent) {
        let _ = event;
    }

    /// Two versions of one address, or a version and its deletion, met.
    fn conflict(&self, kind: Kind, resolution: Resolution) {
        let _ = (kind, resolution);
    }

    /// A batch of `events` passed a stage.
    fn stage(&self, stage: Stage, took: Duration, events: usize) {
        let _ = (stage, took, events);
    }

    /// A commit failed; whether because nothing can be stored until there is space.
    fn store_failed(&self, full: bool) {
        let _ = full;
    }

    /// The counters of the hot tier by class, after a commit (REJ-4).
    fn hot(&self, class: EventType, counts: HotCounts) {
        let _ = (class, counts);
    }

    /// What a sweep removed by age (REJ-4).
    fn cold_expired(&self, swept: &Swept) {
        let _ = swept;
    }

    /// The counters of the policy, after a commit.
    fn policy(&self, counts: PolicyCounts) {
        let _ = counts;
    }
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}
