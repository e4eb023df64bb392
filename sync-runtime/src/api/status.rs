//! The daemon as a whole, at a glance.

use serde::{Deserialize, Serialize};
use sync_core::status::{HealthStatus, RelayStatus};
use sync_core::url::RelayUrl;

use super::Schema;
use super::relay::{ErrorCategory, RelayView};
use super::time::{Seconds, WallMs};

/// What the process is doing, derived from its relays. The discriminants are the values of
/// `ngit_sync_phase`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Phase {
    /// No relay was dialed yet.
    #[default]
    Starting = 0,
    /// A relay is catching up.
    Syncing = 1,
    /// Every connected relay is complete and live.
    Live = 2,
    /// Live, and something is missing and named.
    Partial = 3,
    /// No relay is connected.
    Offline = 4,
    /// Every relay is paused.
    Paused = 5,
    /// Shutting down.
    Stopping = 6,
}

impl Phase {
    /// Every phase, in the order of its values.
    pub const ALL: [Self; 7] = [
        Self::Starting,
        Self::Syncing,
        Self::Live,
        Self::Partial,
        Self::Offline,
        Self::Paused,
        Self::Stopping,
    ];

    /// The name in documents and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Syncing => "syncing",
            Self::Live => "live",
            Self::Partial => "partial",
            Self::Offline => "offline",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
        }
    }
}

/// `GET /v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// What the process is doing.
    pub phase: Phase,
    /// When that began.
    pub phase_since_ms: WallMs,
    /// Relays by state.
    pub counts: RelayCounts,
    /// The relays, by URL.
    pub relays: Vec<RelayView>,
    /// Relays by category of their last error (HLTH-5).
    #[serde(default)]
    pub problems: Vec<Problem>,
    /// Repositories that are followed.
    pub repos: u64,
    /// Roots (patches, pull requests, issues) that are followed.
    pub roots: u64,
    /// The own store.
    pub store: StoreView,
    /// Events stored since the process began.
    pub events_synced: u64,
    /// Events that catch-up brought though live sync should have.
    pub gap_events: u64,
    /// When an event was last stored.
    pub last_event_ms: Option<WallMs>,
    /// Bounded queues.
    #[serde(default)]
    pub queues: Vec<QueueView>,
    /// Events that wait for the own relay.
    pub outbox: Option<u64>,
    /// What is remembered of rejected events.
    pub rejected: RejectedView,
}

impl Schema for Status {
    const NAME: &'static str = "status";
}

/// Relays by state of connection and by health; `connected` counts those with live sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RelayCounts {
    /// All of them.
    pub tracked: u64,
    /// With live sync: `live`, `syncing` and `partial` together.
    pub connected: u64,
    /// Complete and live.
    pub live: u64,
    /// Catching up.
    pub syncing: u64,
    /// Live, and something is missing and named.
    pub partial: u64,
    /// Being dialed.
    pub connecting: u64,
    /// Not connected.
    pub disconnected: u64,
    /// Healthy.
    pub healthy: u64,
    /// Within a streak of failures.
    pub degraded: u64,
    /// Cooling down.
    pub rate_limited: u64,
    /// Failing for a day.
    pub dead: u64,
}

impl RelayCounts {
    /// Counts one relay.
    pub fn add(&mut self, connection: RelayStatus, health: HealthStatus) {
        self.tracked += 1;
        self.connected += u64::from(connection.is_live_sync_active());
        *match connection {
            RelayStatus::Disconnected => &mut self.disconnected,
            RelayStatus::Connecting => &mut self.connecting,
            RelayStatus::Syncing => &mut self.syncing,
            RelayStatus::Connected => &mut self.live,
            RelayStatus::ConnectedDegraded => &mut self.partial,
        } += 1;
        match health {
            HealthStatus::Healthy => self.healthy += 1,
            HealthStatus::Degraded => self.degraded += 1,
            HealthStatus::Dead => self.dead += 1,
            HealthStatus::RateLimited => self.rate_limited += 1,
            // Counted by its connection.
            HealthStatus::Disconnected => {}
        }
    }
}

/// A relay whose last error lies less than 12 hours back and needs a person (HLTH-5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The relay.
    pub relay: RelayUrl,
    /// What it is about.
    pub category: ErrorCategory,
    /// In words.
    pub message: String,
    /// When it last happened.
    pub at_ms: WallMs,
}

/// The own store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreView {
    /// Events in it.
    pub events: u64,
    /// Its size on disk.
    pub size_bytes: u64,
}

/// A bounded queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueView {
    /// `ingest`, `verify`, `store`, `discovery` or `publish`.
    pub name: String,
    /// Items in it.
    pub depth: u64,
    /// Items that fit.
    pub capacity: u64,
}

/// What is remembered of rejected events, by tier and class of event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RejectedView {
    /// Whole announcements.
    pub hot_announcements: u64,
    /// Whole state events.
    pub hot_states: u64,
    /// Rows of announcements.
    pub cold_announcements: u64,
    /// Rows of state events.
    pub cold_states: u64,
}

/// `GET /v1/relays`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Relays {
    /// The relays, by URL.
    pub relays: Vec<RelayView>,
}

impl Schema for Relays {
    const NAME: &'static str = "relays";
}

/// `GET /v1/explain/{relay}`: why it is in this state and what comes next, for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Explain {
    /// What is explained.
    pub subject: String,
    /// One sentence: its state.
    pub summary: String,
    /// Causes, the most important first.
    pub because: Vec<String>,
    /// What it means for the data.
    pub effect: String,
    /// What happens next and when, and what a person can do.
    pub next: String,
    /// Its health and what would change it.
    pub health: String,
    /// Until the next step, when one is due.
    pub next_in_s: Option<Seconds>,
}

impl Schema for Explain {
    const NAME: &'static str = "explain";
}

/// `GET /readyz`: ready when the store is open, the facts of boot are in and relays are dialed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether it is.
    pub ready: bool,
    /// What is waited for.
    #[serde(default)]
    pub waiting_for: Vec<String>,
}

impl Schema for Ready {
    const NAME: &'static str = "ready";
}
