//! What the core tells whoever watches: the one source of journal and metrics.

use alloc::string::String;
use alloc::vec::Vec;

use nostr::event::EventId;
use serde::{Deserialize, Serialize};

use crate::id::{BatchId, RelayId, RowId};
use crate::input::{CloseReason, DialError};
use crate::item::{GapReason, Layer, Range, RelayText};
use crate::ledger::Method;
use crate::status::{HealthStatus, Reason, RelayStatus};
use crate::url::RelayUrl;

/// What a person would log. The shell counts from these and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A relay is known from now on under this id.
    RelayTracked {
        /// The id.
        relay: RelayId,
        /// Its URL.
        url: RelayUrl,
        /// Whether it was configured.
        bootstrap: bool,
    },
    /// A relay is forgotten.
    RelayForgotten {
        /// The id.
        relay: RelayId,
    },
    /// The derived status differs from the last emitted one.
    StatusChanged {
        /// The relay.
        relay: RelayId,
        /// Before.
        from: RelayStatus,
        /// Now.
        to: RelayStatus,
        /// Why.
        reason: Reason,
    },
    /// The derived health differs from the last emitted one.
    HealthChanged {
        /// The relay.
        relay: RelayId,
        /// Before.
        from: HealthStatus,
        /// Now.
        to: HealthStatus,
        /// Why.
        reason: Reason,
    },
    /// A dial ended.
    DialEnded {
        /// The relay.
        relay: RelayId,
        /// How.
        result: Result<(), DialError>,
        /// Consecutive failures now.
        failures: u32,
        /// Backoff until the next dial, in milliseconds, when one is due.
        retry_in_ms: Option<u64>,
    },
    /// A connection ended.
    ConnectionEnded {
        /// The relay.
        relay: RelayId,
        /// Why.
        reason: CloseReason,
        /// Consecutive failures now; a connection that ended early is one.
        failures: u32,
        /// Backoff until the next dial, in milliseconds, when one is due.
        retry_in_ms: Option<u64>,
    },
    /// A pass began.
    PassStarted {
        /// The relay.
        relay: RelayId,
        /// Why.
        trigger: Trigger,
    },
    /// A pass ended by the double-check (HIST-8) or with its connection.
    PassEnded {
        /// The relay.
        relay: RelayId,
        /// Why it began.
        trigger: Trigger,
        /// How.
        result: PassResult,
        /// How long it took, in milliseconds.
        took_ms: u64,
    },
    /// A settling pass waits longer than `sync.settle_fallback` (HIST-8).
    SettleSlow {
        /// The relay.
        relay: RelayId,
        /// Received events that are not settled.
        unsettled: u64,
        /// Whether the discovery window holds facts of this pass.
        window: bool,
    },
    /// A batch began.
    BatchStarted {
        /// The relay.
        relay: RelayId,
        /// The batch.
        batch: BatchId,
        /// Its layer.
        layer: Layer,
        /// How.
        method: Method,
        /// Its items.
        items: u32,
        /// Whether it belongs to a pass.
        pass: bool,
    },
    /// A batch ended.
    BatchEnded {
        /// The relay.
        relay: RelayId,
        /// The batch.
        batch: BatchId,
        /// Its layer.
        layer: Layer,
        /// How it was done in the end.
        method: Method,
        /// How it ended.
        result: BatchResult,
        /// Events received.
        received: u64,
        /// How long it took, in milliseconds.
        took_ms: u64,
    },
    /// A negentropy session ended; a batch has one for each filter, and more where they split.
    Reconciled {
        /// The relay.
        relay: RelayId,
        /// The batch.
        batch: BatchId,
        /// Its layer.
        layer: Layer,
        /// How many ids the relay has and we lack.
        need: u32,
        /// How many ids we have and the relay lacks.
        have: u32,
        /// Bytes of NEG frames, both directions.
        bytes: u64,
        /// The needed ids, where the core only looks and nothing else will name them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ids: Vec<EventId>,
    },
    /// Something is missing and named.
    GapOpened {
        /// The relay.
        relay: RelayId,
        /// The row.
        row: RowId,
        /// How many items.
        items: u32,
        /// Which seconds.
        range: Range,
        /// Why.
        reason: GapReason,
        /// The relay's words.
        detail: RelayText,
    },
    /// A gap was closed by proof.
    GapClosed {
        /// The relay.
        relay: RelayId,
        /// The row.
        row: RowId,
    },
    /// Negentropy was given up for this connection or longer.
    NegentropyFallback {
        /// The relay.
        relay: RelayId,
        /// Why.
        reason: NegFallback,
    },
    /// A page was asked for.
    PageAsked {
        /// The relay.
        relay: RelayId,
    },
    /// The relay asked for less; nothing is sent to it until the cooldown ends.
    RateLimited {
        /// The relay.
        relay: RelayId,
        /// Its words.
        text: RelayText,
        /// Length of the cooldown in milliseconds.
        cooldown_ms: u64,
    },
    /// A NOTICE that means nothing to us (TALK-2 (4)).
    Notice {
        /// The relay.
        relay: RelayId,
        /// Its words.
        text: RelayText,
    },
    /// A live subscription was refused and waits or is parked (TALK-1).
    LiveParked {
        /// The relay.
        relay: RelayId,
        /// Why.
        reason: GapReason,
        /// The relay's words.
        text: RelayText,
    },
    /// Live requests were merged into one (FILT-2).
    Consolidated {
        /// The relay.
        relay: RelayId,
        /// How many.
        requests: u32,
    },
    /// Work was put off (§11).
    Deferred {
        /// The relay.
        relay: RelayId,
        /// Why.
        reason: DeferReason,
    },
    /// Events of catch-up that live sync should have brought (HIST-11).
    GapEvents {
        /// The relay.
        relay: RelayId,
        /// How many.
        count: u32,
    },
    /// An input that changes nothing: an old epoch, a retired subscription (S9, H-64).
    StaleInput {
        /// The relay.
        relay: RelayId,
        /// What.
        what: Stale,
    },
    /// A limit refused something (DISC-4, S10).
    LimitReached {
        /// Which key.
        limit: String,
    },
    /// Everything is closed; no command follows (L5).
    Ended,
}

/// Why a pass began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The first connection since the process began.
    Startup,
    /// A later connection.
    Reconnect,
    /// A repository is newly wanted from this relay.
    Repository,
    /// Daily reconciliation.
    Daily,
    /// An operator asked.
    Manual,
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassResult {
    /// No gap stands.
    Ok,
    /// Something is missing and named.
    Partial,
    /// The connection ended first.
    Cancelled,
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchResult {
    /// Confirmed.
    Ok,
    /// Confirmed but for named gaps.
    Partial,
    /// Nothing was proven.
    Failed,
    /// The connection ended first.
    Cancelled,
}

/// Why negentropy was given up (HIST-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NegFallback {
    /// NEG-ERR.
    Refused,
    /// CLOSED.
    Closed,
    /// A NOTICE while only NEG-OPENs were outstanding.
    Notice,
    /// No progress in time.
    Timeout,
    /// A truncated reply.
    Truncated,
    /// A reply that could not be read, or no progress.
    Garbage,
    /// Ids named and not served (HIST-3).
    Distrust,
}

/// Why work was put off (§11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeferReason {
    /// A queue is nearly full.
    Queue,
    /// The CPU is busy.
    Cpu,
    /// Many clients are served.
    Clients,
    /// The memory budget is used up.
    Memory,
}

/// What a stale input was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stale {
    /// Of an old epoch.
    Epoch,
    /// Of a subscription or session that is not open.
    Subscription,
}
