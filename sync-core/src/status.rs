//! Derived states of connection and health, and the closed list of reasons for their changes.

use serde::{Deserialize, Serialize};

/// The five states of a connection, derived (CONN-1). The discriminants are the values of
/// `ngit_sync_relay_connected`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum RelayStatus {
    /// Idle, waiting or draining.
    Disconnected = 0,
    /// Dialing.
    Connecting = 1,
    /// Online, the pass is not finished.
    Syncing = 2,
    /// Online, the pass is finished, no gap stands.
    Connected = 3,
    /// Online, the pass is finished, something is missing and named.
    ConnectedDegraded = 4,
}

impl RelayStatus {
    /// Whether what comes now arrives.
    pub const fn is_live_sync_active(self) -> bool {
        matches!(self, Self::Syncing | Self::Connected | Self::ConnectedDegraded)
    }

    /// The name in documents and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Connecting => "connecting",
            Self::Syncing => "syncing",
            Self::Connected => "connected",
            Self::ConnectedDegraded => "connected_degraded",
        }
    }
}

/// The health of a relay (spec §8). The discriminants are the values of `ngit_sync_relay_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum HealthStatus {
    /// Online and stable.
    Healthy = 1,
    /// Not connected, no streak of a day.
    Disconnected = 2,
    /// Online within a streak.
    Degraded = 3,
    /// Failing for 24 h.
    Dead = 4,
    /// Cooling down.
    RateLimited = 5,
}

impl HealthStatus {
    /// The name in documents and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Disconnected => "disconnected",
            Self::Degraded => "degraded",
            Self::Dead => "dead",
            Self::RateLimited => "rate_limited",
        }
    }
}

/// Why a status changed (observability spec §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The first dial after start.
    Startup,
    /// An announcement named the relay.
    Discovered,
    /// A backoff or dial budget ended.
    RetryDue,
    /// The dial succeeded.
    ConnectOk,
    /// Name resolution failed.
    DnsError,
    /// TLS failed.
    TlsError,
    /// Nobody listens.
    Refused,
    /// A stage of the dial timed out.
    ConnectTimeout,
    /// The upgrade or proxy failed.
    HttpError,
    /// The address is not dialed.
    Guarded,
    /// The pass is finished and nothing is missing.
    HistoricComplete,
    /// A batch failed; something is missing and named.
    BatchFailed,
    /// Everything is proven again.
    Resync,
    /// The last gap closed.
    GapClosed,
    /// The socket failed.
    ConnectionLost,
    /// The relay closed the connection.
    ClosedByRelay,
    /// Nothing came for too long.
    PingTimeout,
    /// Nothing wants the relay.
    Idle,
    /// A person removed it.
    Removed,
    /// A person paused it.
    Paused,
    /// The relay asked for less.
    RateLimited,
    /// The cooldown ended.
    CooldownElapsed,
    /// It failed for a day.
    DeadThreshold,
    /// It came back.
    Recovered,
    /// It was stable for long enough.
    StabilityElapsed,
    /// The daemon ends.
    Shutdown,
}

impl Reason {
    /// The label in metrics and the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Discovered => "discovered",
            Self::RetryDue => "retry_due",
            Self::ConnectOk => "connect_ok",
            Self::DnsError => "dns_error",
            Self::TlsError => "tls_error",
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::HttpError => "http_error",
            Self::Guarded => "guarded",
            Self::HistoricComplete => "historic_complete",
            Self::BatchFailed => "batch_failed",
            Self::Resync => "resync",
            Self::GapClosed => "gap_closed",
            Self::ConnectionLost => "connection_lost",
            Self::ClosedByRelay => "closed_by_relay",
            Self::PingTimeout => "ping_timeout",
            Self::Idle => "idle",
            Self::Removed => "removed",
            Self::Paused => "paused",
            Self::RateLimited => "rate_limited",
            Self::CooldownElapsed => "cooldown_elapsed",
            Self::DeadThreshold => "dead_threshold",
            Self::Recovered => "recovered",
            Self::StabilityElapsed => "stability_elapsed",
            Self::Shutdown => "shutdown",
        }
    }
}
