//! What happened, entry by entry: the journal, the rings of a relay, and the event stream.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sync_core::event::{PassResult, Trigger};
use sync_core::id::RowId;
use sync_core::status::{HealthStatus, RelayStatus};
use sync_core::url::RelayUrl;

use super::Schema;
use super::relay::RelayView;
use super::status::{Phase, RelayCounts};
use super::time::{Seconds, WallMs};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number since the process began, from 1.
    pub seq: u64,
    /// When.
    pub at_ms: WallMs,
    /// The relay it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayUrl>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened; `type` in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// The process began.
    Boot {
        /// Its version.
        version: String,
    },
    /// The phase of the process changed.
    Phase {
        /// Before.
        from: Phase,
        /// Now.
        to: Phase,
        /// Why.
        reason: String,
    },
    /// A relay is known.
    Tracked {
        /// Whether it was configured.
        bootstrap: bool,
    },
    /// A relay is forgotten.
    Forgotten,
    /// A connection's state changed.
    Transition {
        /// Before.
        from: RelayStatus,
        /// Now.
        to: RelayStatus,
        /// Why.
        reason: String,
    },
    /// A relay's health changed.
    Health {
        /// Before.
        from: HealthStatus,
        /// Now.
        to: HealthStatus,
        /// Why.
        reason: String,
    },
    /// A pass began, or ended when there is a result.
    Session {
        /// Why it began.
        trigger: Trigger,
        /// How it ended.
        result: Option<PassResult>,
        /// How long it took.
        took_s: Option<Seconds>,
    },
    /// A gap opened or closed.
    Gap {
        /// Its row.
        row: RowId,
        /// Whether it stands.
        open: bool,
        /// Why it opened.
        #[serde(default)]
        reason: String,
        /// The relay's words.
        #[serde(default)]
        detail: String,
        /// How many items.
        #[serde(default)]
        items: u32,
    },
    /// Something failed.
    Error {
        /// Stable code.
        code: String,
        /// What it is counted as.
        error: String,
        /// In words.
        message: String,
        /// How often in a row, this one included.
        count: u64,
    },
    /// Words of a relay, or a fact worth a line.
    Notice {
        /// In words.
        message: String,
    },
    /// An alert began or ceased to fire.
    Alert {
        /// Its name.
        name: String,
        /// Its severity.
        severity: String,
        /// Whether it fires.
        firing: bool,
        /// In words.
        summary: String,
    },
}

/// How much an entry matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Info,
    /// Something is missing or slow.
    Warn,
    /// Something failed.
    Error,
}

impl What {
    /// The value of `type`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Boot { .. } => "boot",
            Self::Phase { .. } => "phase",
            Self::Tracked { .. } => "tracked",
            Self::Forgotten => "forgotten",
            Self::Transition { .. } => "transition",
            Self::Health { .. } => "health",
            Self::Session { .. } => "session",
            Self::Gap { .. } => "gap",
            Self::Error { .. } => "error",
            Self::Notice { .. } => "notice",
            Self::Alert { .. } => "alert",
        }
    }

    /// How much it matters.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Error { .. } | Self::Health { to: HealthStatus::Dead, .. } => Severity::Error,
            Self::Gap { open: true, .. }
            | Self::Alert { firing: true, .. }
            | Self::Transition { to: RelayStatus::ConnectedDegraded, .. }
            | Self::Session { result: Some(PassResult::Partial), .. }
            | Self::Health { to: HealthStatus::Degraded | HealthStatus::RateLimited, .. } => {
                Severity::Warn
            }
            _ => Severity::Info,
        }
    }
}

/// `GET /v1/journal`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    /// Entries, the oldest first.
    pub entries: Vec<Entry>,
    /// Whether older ones match that are not here.
    pub truncated: bool,
}

impl Schema for Journal {
    const NAME: &'static str = "journal";
}

/// `GET /v1/relays/{id}`: a relay with its recent past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelayDetail {
    /// The relay.
    #[serde(flatten)]
    pub relay: RelayView,
    /// Seconds in each state of its connection, by name.
    #[serde(default)]
    pub time_in_state_s: BTreeMap<String, Seconds>,
    /// Its last changes of state and health, the oldest first.
    #[serde(default)]
    pub transitions: Vec<Entry>,
    /// Its last errors, the oldest first; the same error in a row is one entry.
    #[serde(default)]
    pub errors: Vec<Entry>,
}

impl Schema for RelayDetail {
    const NAME: &'static str = "relay";
}

/// What changed within a second; the data of `counters` in the event stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// When.
    pub at_ms: WallMs,
    /// What the process is doing.
    pub phase: Phase,
    /// Relays by state.
    pub counts: RelayCounts,
    /// Events stored since the process began.
    pub events_synced: u64,
    /// Events in the store.
    pub store_events: u64,
    /// Items in queues.
    pub queued: u64,
    /// Relays that changed.
    pub relays: Vec<RelayView>,
    /// Relays that are no longer known.
    pub gone: Vec<RelayUrl>,
}

impl fmt::Display for What {
    /// The entry in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot { version } => write!(f, "ngit-sync {version} began"),
            Self::Phase { from, to, reason } => {
                write!(f, "all: {} → {} ({reason})", from.as_str(), to.as_str())
            }
            Self::Tracked { .. } => f.write_str("relay is known"),
            Self::Forgotten => f.write_str("relay is forgotten"),
            Self::Transition { from, to, reason } => {
                write!(f, "{} → {} ({reason})", from.as_str(), to.as_str())
            }
            Self::Health { from, to, reason } => {
                write!(f, "{} → {} ({reason})", from.as_str(), to.as_str())
            }
            Self::Session { trigger, result: None, .. } => {
                write!(f, "{} sync began", trigger_str(*trigger))
            }
            Self::Session { trigger, result: Some(result), took_s } => {
                let took = took_s.unwrap_or_default().0;
                let result = match result {
                    PassResult::Ok => "ok",
                    PassResult::Partial => "partial",
                    PassResult::Cancelled => "cancelled",
                };
                write!(f, "{} sync: {result} after {took:.1} s", trigger_str(*trigger))
            }
            Self::Gap { row, open: false, .. } => write!(f, "gap {row} closed"),
            Self::Gap { reason, detail, .. } if detail.is_empty() => write!(f, "missing: {reason}"),
            Self::Gap { reason, detail, .. } => write!(f, "missing: {reason}: {detail}"),
            Self::Error { code, message, count: 1, .. } => write!(f, "{code} {message}"),
            Self::Error { code, message, count, .. } => {
                write!(f, "{code} {message} ({count} times)")
            }
            Self::Notice { message } => f.write_str(message),
            Self::Alert { name, firing: true, summary, .. } => write!(f, "{name} fires: {summary}"),
            Self::Alert { name, summary, .. } => write!(f, "{name} ended: {summary}"),
        }
    }
}

fn trigger_str(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Startup => "startup",
        Trigger::Reconnect => "reconnect",
        Trigger::Repository => "repository",
        Trigger::Daily => "daily",
        Trigger::Manual => "manual",
    }
}
