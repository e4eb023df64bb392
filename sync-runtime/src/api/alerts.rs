//! Alerts as documents show them.

use serde::{Deserialize, Serialize};

use super::Schema;
use super::time::{Seconds, WallMs};

/// `GET /v1/alerts`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alerts {
    /// Every rule that the daemon evaluates.
    pub alerts: Vec<AlertView>,
}

impl Schema for Alerts {
    const NAME: &'static str = "alerts";
}

/// A rule and where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertView {
    /// Its name, as in the rules for Prometheus.
    pub name: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// How long its condition must hold.
    pub for_s: Seconds,
    /// What it is about: the relay, queue or type where the condition holds, empty for all.
    pub instances: Vec<AlertInstance>,
    /// What it means.
    pub summary: String,
}

/// Where the condition of a rule holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertInstance {
    /// The relay, queue or type; empty for the process as a whole.
    pub subject: String,
    /// Since when.
    pub since_ms: WallMs,
    /// Whether it held for long enough.
    pub firing: bool,
    /// The value that was compared.
    pub value: f64,
}
