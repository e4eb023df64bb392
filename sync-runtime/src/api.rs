//! Request and response types of the daemon's control API: what it serves, the command line reads
//! and an embedder may reuse. No transport and no rendering.
//!
//! Every answer is a [`Document`]. Seconds are floats, sizes bytes, moments milliseconds since the
//! epoch; unknown is `null`. Changes within version 1 only add fields and values.

mod alerts;
mod journal;
mod metrics;
mod outcome;
mod relay;
mod request;
mod status;
mod time;
mod verify;

use serde::{Deserialize, Serialize};

pub use alerts::{AlertInstance, AlertView, Alerts};
pub use journal::{Changes, Entry, Journal, RelayDetail, Severity, What};
pub use metrics::{
    Errors, Metrics, Operations, Performance, Spans, StateSection, TransitionCount, Volume,
    WindowView,
};
pub use outcome::{OutcomeStatus, RelayOutcome, SyncOutcome, SyncProgress};
pub use relay::{ErrorCategory, GapView, LastError, OutcomeCounts, PassView, RelayView};
pub use request::{Accepted, RelayAction, SyncRequest};
pub use status::{
    Explain, Phase, Problem, QueueView, Ready, RejectedView, RelayCounts, Relays, Status, StoreView,
};
pub use time::{MomentError, Seconds, WallMs};
pub use verify::{RelayVerification, Verification, VerifyStatus};

/// Version of the API, in the header [`VERSION_HEADER`] of every answer and request.
pub const VERSION: u32 = 1;

/// The header that carries [`VERSION`]; a request without it is taken as of this version.
pub const VERSION_HEADER: &str = "X-Ngit-Sync-Api";

/// What an answer's `data` is, for the `schema` of its document.
pub trait Schema {
    /// The middle part of `ngit-sync/<name>/1`.
    const NAME: &'static str;
}

/// The envelope of every answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document<T> {
    /// `ngit-sync/<name>/1`.
    pub schema: String,
    /// When it was made, RFC 3339 in UTC.
    pub generated_at: String,
    /// Who made it.
    pub daemon: DaemonView,
    /// The answer.
    pub data: T,
    /// What the reader should know about it, for people.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl<T: Schema> Document<T> {
    /// Wraps an answer.
    pub fn new(at: WallMs, daemon: DaemonView, data: T) -> Self {
        Self {
            schema: format!("ngit-sync/{}/{VERSION}", T::NAME),
            generated_at: at.to_string(),
            daemon,
            data,
            warnings: Vec::new(),
        }
    }
}

/// The process that answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DaemonView {
    /// Version of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Since the process began.
    pub uptime_s: Seconds,
    /// When the process began.
    pub started_ms: WallMs,
    /// Where its store is.
    #[serde(default)]
    pub data_dir: Option<String>,
}

/// Why a request was not answered; the `data` of an answer whose HTTP status is no success.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorView {
    /// Stable id for scripts: `not_found`, `bad_request`, `forbidden`, `unavailable`, `version`.
    pub id: String,
    /// What failed, on what.
    pub message: String,
    /// What to do.
    #[serde(default)]
    pub hint: Option<String>,
    /// Names that are like the one that was not found.
    #[serde(default)]
    pub nearest: Vec<String>,
}

impl Schema for ErrorView {
    const NAME: &'static str = "error";
}
