//! What was measured within a window of time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sync_core::url::RelayUrl;

use super::Schema;
use super::journal::Entry;
use super::relay::OutcomeCounts;
use super::status::{Phase, RelayCounts};
use super::time::{Seconds, WallMs};

/// `GET /v1/metrics`. Sections that were not asked for are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// What the figures cover.
    pub window: WindowView,
    /// States and time in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateSection>,
    /// What was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<Operations>,
    /// How much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
    /// How fast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance: Option<Performance>,
    /// What failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Errors>,
}

impl Schema for Metrics {
    const NAME: &'static str = "metrics";
}

/// What figures cover, so that "no data" never looks like zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WindowView {
    /// What was asked for.
    pub since_requested_ms: WallMs,
    /// From when the figures count.
    pub since_ms: WallMs,
    /// Until when.
    pub until_ms: WallMs,
    /// Length of the coarsest row.
    pub resolution_s: Seconds,
    /// The part that was watched, from 0 to 1.
    pub coverage: f64,
    /// Times that nobody watched, as pairs of beginning and end.
    pub gaps: Vec<(WallMs, WallMs)>,
}

/// States and time in them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateSection {
    /// What the process is doing.
    pub phase: Phase,
    /// When that began.
    pub phase_since_ms: WallMs,
    /// Since the process began.
    pub uptime_s: Seconds,
    /// Time in each phase within the window.
    pub phase_s: BTreeMap<String, Seconds>,
    /// Relays by state, at this moment.
    pub relays: RelayCounts,
    /// Time of all relays in each state of their connection within the window.
    pub connection_s: BTreeMap<String, Seconds>,
    /// Changes of connections within the window.
    pub transitions: Vec<TransitionCount>,
    /// The last entries, the oldest first.
    pub recent: Vec<Entry>,
}

/// How often a change of state happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransitionCount {
    /// Before.
    pub from: String,
    /// After.
    pub to: String,
    /// Why.
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// What was done within the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Operations {
    /// Messages sent, by type.
    pub sent: BTreeMap<String, u64>,
    /// Messages received, by type.
    pub received: BTreeMap<String, u64>,
    /// Messages that could not be sent.
    pub send_failures: u64,
    /// Events by outcome; `received` is their sum.
    pub events: OutcomeCounts,
    /// Events in queues, at this moment.
    pub queued: u64,
    /// Batches begun, by layer.
    pub batches_started: BTreeMap<String, u64>,
    /// Batches ended, by result.
    pub batches: BTreeMap<String, u64>,
    /// Passes ended, by result.
    pub passes: BTreeMap<String, u64>,
    /// Rounds of negentropy.
    pub negentropy_rounds: u64,
    /// Pages asked for.
    pub pages: u64,
    /// Negentropy given up, by reason.
    pub fallbacks: BTreeMap<String, u64>,
    /// Dials, by result.
    pub dials: BTreeMap<String, u64>,
    /// Things tried again, by result.
    pub retries: BTreeMap<String, u64>,
    /// Relays that wait to be dialed again, at this moment.
    pub waiting: u64,
    /// Events that catch-up brought though live sync should have.
    pub gap_events: u64,
}

/// How much within the window, and in all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Events in the store, at this moment.
    pub store_events: u64,
    /// Size of the store on disk, at this moment.
    pub store_size_bytes: u64,
    /// Events stored.
    pub stored: u64,
    /// Events stored by kind, the most first; `other` is the sum of kinds without a label.
    pub by_kind: Vec<(String, u64)>,
    /// Events stored by relay, the most first.
    pub by_relay: Vec<(String, u64)>,
    /// Events stored by source.
    pub by_source: BTreeMap<String, u64>,
    /// Payload bytes received.
    pub bytes_in: u64,
    /// Payload bytes sent.
    pub bytes_out: u64,
}

/// How fast within the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Performance {
    /// Distributions by name: `apply_total`, `connect_tls`, `batch`, `store_put`, …
    pub spans: BTreeMap<String, Spans>,
    /// How far relays lie behind, at this moment; those that are known.
    pub lag_s: BTreeMap<RelayUrl, Seconds>,
    /// Round trips of pings, at this moment.
    pub rtt_s: BTreeMap<RelayUrl, Seconds>,
}

/// A distribution of spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spans {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum_s: Seconds,
    /// The smallest.
    pub min_s: Option<Seconds>,
    /// The largest.
    pub max_s: Option<Seconds>,
    /// Half lie below.
    pub p50_s: Option<Seconds>,
    /// Nine tenths lie below.
    pub p90_s: Option<Seconds>,
    /// 99 of 100 lie below.
    pub p99_s: Option<Seconds>,
}

/// What failed within the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Errors {
    /// Errors in all.
    pub total: u64,
    /// By type.
    pub by_type: BTreeMap<String, u64>,
    /// By code.
    pub by_code: BTreeMap<String, u64>,
    /// Rejections by reason.
    pub rejections: BTreeMap<String, u64>,
    /// Versions of one address that met, by how it was decided.
    pub conflicts: BTreeMap<String, u64>,
    /// The last errors, the oldest first.
    pub recent: Vec<Entry>,
}
