//! A relay as documents show it.

use serde::{Deserialize, Serialize};
use sync_core::config::Span;
use sync_core::event::Trigger;
use sync_core::id::RowId;
use sync_core::item::{GapReason, Range};
use sync_core::status::{HealthStatus, RelayStatus};
use sync_core::url::RelayUrl;

use super::time::{Seconds, WallMs};

/// One relay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelayView {
    /// Canonical URL.
    pub url: RelayUrl,
    /// State of its connection.
    pub connection: RelayStatus,
    /// When that state began.
    pub connection_since_ms: WallMs,
    /// Its health.
    pub health: HealthStatus,
    /// When that health began.
    pub health_since_ms: WallMs,
    /// Why the state is what it is: a value of the closed list of reasons.
    pub reason: String,
    /// Whether it was configured.
    pub bootstrap: bool,
    /// Whether a person paused it.
    #[serde(default)]
    pub paused: bool,
    /// What became of its events since the process began.
    pub events: OutcomeCounts,
    /// Payload bytes received since the process began.
    pub bytes_in: u64,
    /// Payload bytes sent since the process began.
    pub bytes_out: u64,
    /// How far what is proven lies behind what is known to exist.
    pub lag_s: Option<Seconds>,
    /// The last round trip of a ping.
    pub rtt_s: Option<Seconds>,
    /// The last message of any kind.
    pub last_seen_ms: Option<WallMs>,
    /// The last event that was stored.
    pub last_event_ms: Option<WallMs>,
    /// The end of the last finished pass.
    pub last_sync_ms: Option<WallMs>,
    /// Until the next dial, when one is due.
    pub retry_in_s: Option<Seconds>,
    /// Consecutive failures.
    pub failures: u32,
    /// The unfinished pass.
    pub pass: Option<PassView>,
    /// How many gaps stand; `gaps` may hold fewer.
    pub gap_count: u64,
    /// Gaps, the oldest first.
    #[serde(default)]
    pub gaps: Vec<GapView>,
    /// The last error by category (HLTH-5).
    pub last_error: Option<LastError>,
    /// One line for people: what it is doing or waiting for.
    #[serde(default)]
    pub note: String,
}

/// Terminal outcomes of received events, each counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutcomeCounts {
    /// Events received.
    pub received: u64,
    /// Newly saved.
    pub stored: u64,
    /// Known already.
    pub duplicate: u64,
    /// Refused by policy and remembered.
    pub rejected: u64,
    /// Held for git data.
    pub held: u64,
    /// A wrong id or signature.
    pub invalid: u64,
    /// Off-filter, unsolicited or oversize.
    pub dropped: u64,
}

/// An unfinished pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassView {
    /// Why it began.
    pub trigger: Trigger,
    /// When it began.
    pub since_ms: WallMs,
    /// Batches that ended.
    pub batches_done: u64,
    /// Batches so far.
    pub batches: u64,
    /// The layer of the batch that began last: `1`, `2`, `3`, `filter` or `id`.
    pub layer: Option<String>,
    /// How it is done: `negentropy`, `pages` or `ids`.
    pub method: Option<String>,
}

/// A part of history that is not proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapView {
    /// Its row, for `relays accept-gap`.
    pub row: RowId,
    /// Why.
    pub reason: String,
    /// How many items it concerns.
    pub items: u32,
    /// Which seconds of `created_at`.
    pub range: Range,
    /// When it first appeared.
    pub since_ms: WallMs,
    /// Tries so far.
    #[serde(default)]
    pub tries: u32,
    /// The next try.
    #[serde(default)]
    pub retry_at_ms: Option<WallMs>,
    /// Accepted by a person (CONN-9).
    #[serde(default)]
    pub accepted: bool,
    /// The relay's words.
    #[serde(default)]
    pub detail: String,
}

impl GapView {
    /// A gap that was just opened.
    pub fn new(row: RowId, reason: GapReason, items: u32, range: Range, since_ms: WallMs) -> Self {
        Self {
            row,
            reason: reason.as_str().into(),
            items,
            range,
            since_ms,
            tries: 0,
            retry_at_ms: None,
            accepted: false,
            detail: String::new(),
        }
    }
}

/// What an error of a relay was about, from the type of the error (HLTH-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCategory {
    /// The name could not be resolved.
    Dns,
    /// The certificate was not accepted, or TLS failed.
    Certificate,
    /// It does not speak as NIP-01 asks.
    Protocol,
    /// It could not be reached or the connection was lost.
    Network,
    /// The address is not one that we dial (T1).
    Guard,
}

impl ErrorCategory {
    /// How long `status` lists a relay by this category without another such error (HLTH-5).
    pub const LISTED: Span = Span(std::time::Duration::from_secs(12 * 3600));

    /// The name in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Certificate => "certificate",
            Self::Protocol => "protocol",
            Self::Network => "network",
            Self::Guard => "guard",
        }
    }

    /// Whether `status` lists relays by it (HLTH-5).
    pub const fn is_listed(self) -> bool {
        matches!(self, Self::Dns | Self::Certificate | Self::Protocol)
    }
}

/// The last error of a relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// What it was about.
    pub category: ErrorCategory,
    /// Stable code: `E1xx` network, `E2xx` protocol.
    pub code: String,
    /// In words.
    pub message: String,
    /// When.
    pub at_ms: WallMs,
}

impl LastError {
    /// Whether `status` lists the relay by it at that moment (HLTH-5).
    pub fn is_listed(&self, at: WallMs) -> bool {
        self.category.is_listed() && at.since(self.at_ms) < ErrorCategory::LISTED.0
    }
}
