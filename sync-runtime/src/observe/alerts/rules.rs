//! The rules: names, severities and durations are those of `docs/alerts/ngit-sync.rules.yml`.

use std::time::Duration;

use super::condition::Compare::{Above, Is};
use super::condition::Condition::{
    self, Differ, Fill, Gauge, Increase, Many, NoneConnected, Share, Silent, Slow,
};

/// A rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// `info`, `warning` or `critical`.
    pub severity: &'static str,
    /// How long the condition must hold.
    pub lasts: Duration,
    /// What it looks for.
    pub condition: Condition,
    /// What it means; `{}` is the subject.
    pub summary: &'static str,
}

impl Rule {
    /// What it means for a subject, with the value that was compared.
    pub(super) fn text(&self, subject: &str, value: f64) -> String {
        let value = (value * 1000.0).round() / 1000.0;
        format!("{} ({value})", self.summary.replace("{}", subject))
    }
}

const fn mins(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

macro_rules! rules {
    ($($name:ident $severity:ident $lasts:literal $condition:expr, $summary:literal;)*) => {
        /// Every rule that is evaluated here. That no daemon is scraped and that it restarts, only
        /// somebody else can tell; lag and skew have no measure here.
        pub const RULES: &[Rule] = &[$(Rule {
            name: stringify!($name),
            severity: stringify!($severity),
            lasts: mins($lasts),
            condition: $condition,
            summary: $summary,
        },)*];
    };
}

const INVALID: Option<(&str, &str)> = Some(("outcome", "invalid"));

rules! {
    SyncRelayDead warning 1440
        Gauge("ngit_sync_relay_status", "relay", Is(4.0)),
        "{} is dead: it fails for a day and more";
    SyncRelaySlow info 60
        Gauge("ngit_sync_relay_connected", "relay", Is(2.0)),
        "{} takes more than an hour to catch up";
    SyncManyDegraded warning 15
        Many("ngit_sync_relay_status", Is(3.0), 5),
        "many relays are degraded";
    RejectedEventsCacheMissRate warning 15
        Share(
            "ngit_rejected_hot_cache_misses_total",
            "ngit_rejected_hot_cache_hits_total",
            mins(5),
            0.8,
        ),
        "most rejected events expire before their dependency comes";
    RejectedEventsColdIndexSize info 60
        Gauge("ngit_rejected_cold_index_current", "event_type", Above(10_000.0)),
        "many rejected events of type {} are remembered";
    SyncNoRelaysConnected critical 5
        NoneConnected,
        "no relay is connected although relays are tracked";
    SyncRelayPartialHistory warning 30
        Gauge("ngit_sync_relay_connected", "relay", Is(4.0)),
        "{} is live but its history is incomplete";
    SyncGapEvents warning 10
        Increase("ngit_sync_gap_events_total", "relay", None, mins(60), 0.0),
        "live sync missed events that catch-up then found on {}";
    SyncRelaySilent warning 5
        Silent("ngit_sync_relay_last_seen_timestamp_seconds", "relay", 300.0),
        "{} is connected and sends nothing, not even a pong";
    SyncRelayFlapping info 15
        Increase("ngit_sync_connection_attempts_total", "relay", None, mins(15), 10.0),
        "{} is dialed again and again";
    SyncInvalidEvents warning 0
        Increase("ngit_sync_relay_events_total", "relay", INVALID, mins(15), 0.0),
        "{} sent events with a wrong id or signature";
    SyncQueueSaturated warning 5
        Fill(0.8),
        "queue {} is nearly full";
    SyncQueueDropping critical 0
        Increase("ngit_sync_queue_dropped_total", "queue", None, mins(5), 0.0),
        "queue {} dropped items";
    SyncErrorBurst warning 5
        Increase("ngit_sync_errors_total", "type", None, mins(10), 50.0),
        "many errors of type {}";
    SyncStoreSlow warning 10
        Slow("ngit_sync_store_operation_duration_seconds", "op", mins(5), 0.25),
        "operation {} of the store is slow";
    SyncAccountingBroken info 15
        Differ("ngit_sync_relay_events_total", "ngit_sync_kind_events_total", 100.0),
        "sums over relays and over kinds disagree: an instrumentation bug";
    SyncSnapshotsFailing warning 5
        Silent("ngit_sync_snapshot_last_success_timestamp_seconds", "", 600.0),
        "history is not being written";
}
