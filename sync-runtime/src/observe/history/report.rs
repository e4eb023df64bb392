//! A window as the document that `GET /v1/metrics` answers with.

use std::collections::{BTreeMap, BTreeSet};

use super::delta::Delta;
use super::window::Window;
use crate::api::{
    Entry, Errors, Metrics, Operations, OutcomeCounts, Performance, Seconds, Spans, StateSection,
    Status, TransitionCount, Volume, WindowView,
};
use crate::observe::{Kind, family};

/// What of a window is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Sections by name; all when empty.
    pub sections: BTreeSet<String>,
    /// Canonical URLs of relays; all when empty.
    pub relays: BTreeSet<String>,
    /// Kinds as labels; all when empty.
    pub kinds: BTreeSet<String>,
}

/// The names of the sections.
pub const SECTIONS: [&str; 5] = ["state", "operations", "volume", "performance", "errors"];

/// The document of a window. `status` is the state at this moment, `recent` the entries of the
/// window that fit.
pub fn metrics(
    window: &Window,
    status: &Status,
    recent: Vec<Entry>,
    selection: &Selection,
) -> Metrics {
    let report = Report { window, status, selection };
    let wants = |name: &str| selection.sections.is_empty() || selection.sections.contains(name);
    let (errors, rest): (Vec<_>, Vec<_>) =
        recent.into_iter().partition(|entry| entry.what.kind() == "error");
    Metrics {
        window: WindowView {
            since_requested_ms: window.since_requested,
            since_ms: window.since,
            until_ms: window.until,
            resolution_s: window.resolution.into(),
            coverage: window.coverage(),
            gaps: window.gaps.clone(),
        },
        state: wants("state").then(|| report.state(rest)),
        operations: wants("operations").then(|| report.operations()),
        volume: wants("volume").then(|| report.volume()),
        performance: wants("performance").then(|| report.performance()),
        errors: wants("errors").then(|| report.errors(errors)),
    }
}

struct Report<'a> {
    window: &'a Window,
    status: &'a Status,
    selection: &'a Selection,
}

impl Report<'_> {
    /// The value of a label of a series, when the selection has the series.
    fn label<'b>(&self, name: &str, labels: &'b [String], wanted: &str) -> Option<&'b str> {
        let names = family(name)?.labels;
        let of = |label: &str| names.iter().position(|n| *n == label).and_then(|at| labels.get(at));
        let fits = |label: &str, chosen: &BTreeSet<String>| {
            chosen.is_empty() || of(label).is_none_or(|value| chosen.contains(value))
        };
        let fits = fits("relay", &self.selection.relays) && fits("kind", &self.selection.kinds);
        if wanted.is_empty() {
            fits.then_some("")
        } else {
            of(wanted).filter(|_| fits).map(|v| &**v)
        }
    }

    /// Sums of a counter by one of its labels.
    fn sums(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for (labels, delta) in self.window.of(name) {
            if let (Some(value), Delta::Count(n)) = (self.label(name, labels, label), delta) {
                *sums.entry(value.to_owned()).or_insert(0.0) += n;
            }
        }
        sums
    }

    fn by(&self, name: &str, label: &str) -> BTreeMap<String, u64> {
        self.sums(name, label).into_iter().map(|(value, n)| (value, n as u64)).collect()
    }

    fn seconds(&self, name: &str, label: &str) -> BTreeMap<String, Seconds> {
        self.sums(name, label).into_iter().map(|(value, n)| (value, Seconds(n))).collect()
    }

    fn total(&self, name: &str) -> u64 {
        self.sums(name, "").into_values().sum::<f64>() as u64
    }

    /// The family that counts events by what is selected: kinds, else relays.
    fn events(&self) -> &'static str {
        if self.selection.kinds.is_empty() {
            "ngit_sync_relay_events_total"
        } else {
            "ngit_sync_kind_events_total"
        }
    }

    fn state(&self, recent: Vec<Entry>) -> StateSection {
        let mut transitions = Vec::new();
        let name = "ngit_sync_relay_transitions_total";
        for (labels, delta) in self.window.of(name) {
            if let ([from, to, reason], Delta::Count(n)) = (labels, delta) {
                let (from, to, reason) = (from.clone(), to.clone(), reason.clone());
                transitions.push(TransitionCount { from, to, reason, count: *n as u64 });
            }
        }
        transitions.sort_by_key(|transition| std::cmp::Reverse(transition.count));
        StateSection {
            phase: self.status.phase,
            phase_since_ms: self.status.phase_since_ms,
            uptime_s: Seconds::default(),
            phase_s: self.seconds("ngit_sync_phase_seconds_total", "phase"),
            relays: self.status.counts,
            connection_s: self.seconds("ngit_sync_relay_state_seconds_total", "state"),
            transitions,
            recent,
        }
    }

    fn operations(&self) -> Operations {
        let events = self.by(self.events(), "outcome");
        let of = |outcome: &str| events.get(outcome).copied().unwrap_or_default();
        Operations {
            sent: self.by("ngit_sync_messages_sent_total", "type"),
            received: self.by("ngit_sync_messages_received_total", "type"),
            send_failures: self.total("ngit_sync_send_failures_total"),
            events: OutcomeCounts {
                received: events.values().sum(),
                stored: of("stored"),
                duplicate: of("duplicate"),
                rejected: of("rejected"),
                held: of("held"),
                invalid: of("invalid"),
                dropped: of("dropped"),
            },
            queued: self.status.queues.iter().map(|queue| queue.depth).sum(),
            batches_started: self.by("ngit_sync_batches_started_total", "layer"),
            batches: self.by("ngit_sync_batches_completed_total", "result"),
            passes: self.by("ngit_sync_historic_syncs_total", "result"),
            negentropy_rounds: self.total("ngit_sync_negentropy_rounds_total"),
            pages: self.total("ngit_sync_req_pages_total"),
            fallbacks: self.by("ngit_sync_negentropy_fallbacks_total", "reason"),
            dials: self.by("ngit_sync_connection_attempts_total", "result"),
            retries: self.by("ngit_sync_retries_total", "result"),
            waiting: self.status.relays.iter().filter(|r| r.retry_in_s.is_some()).count() as u64,
            gap_events: self.total("ngit_sync_gap_events_total"),
        }
    }

    fn volume(&self) -> Volume {
        Volume {
            store_events: self.status.store.events,
            store_size_bytes: self.status.store.size_bytes,
            stored: self.stored(self.events(), "").first().map_or(0, |(_, n)| *n),
            by_kind: self.stored("ngit_sync_kind_events_total", "kind"),
            by_relay: self.stored("ngit_sync_relay_events_total", "relay"),
            by_source: self.by("ngit_sync_events_total", "source"),
            bytes_in: self.total("ngit_sync_received_bytes_total"),
            bytes_out: self.total("ngit_sync_sent_bytes_total"),
        }
    }

    /// Stored events by a label, the most first.
    fn stored(&self, name: &str, label: &str) -> Vec<(String, u64)> {
        let mut sums = BTreeMap::<String, u64>::new();
        for (labels, delta) in self.window.of(name) {
            let stored = self.label(name, labels, "outcome") == Some("stored");
            if let (true, Some(value), Delta::Count(n)) =
                (stored, self.label(name, labels, label), delta)
            {
                *sums.entry(value.to_owned()).or_default() += *n as u64;
            }
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(value, n)| (std::cmp::Reverse(*n), value.clone()));
        sums
    }

    fn performance(&self) -> Performance {
        let mut spans = BTreeMap::new();
        for (key, delta) in &self.window.deltas {
            let Delta::Histogram(copy) = delta else { continue };
            let is_spans = family(&key.family).is_some_and(|family| family.kind == Kind::Spans);
            let name = key.family.strip_prefix("ngit_sync_").unwrap_or(&key.family);
            let name = name.strip_suffix("_seconds").unwrap_or(name);
            let name = name.strip_suffix("_duration").unwrap_or(name);
            let name = name.strip_suffix("_operation").unwrap_or(name);
            let parts = std::iter::once(name).chain(key.labels.iter().map(String::as_str));
            let seconds = |us: u64| Seconds(us as f64 / 1e6);
            let quantile = |percent| copy.quantile(percent, 100).map(seconds);
            if is_spans {
                let view = Spans {
                    count: copy.count,
                    sum_s: seconds(copy.sum),
                    min_s: copy.min.map(seconds),
                    max_s: copy.max.map(seconds),
                    p50_s: quantile(50),
                    p90_s: quantile(90),
                    p99_s: quantile(99),
                };
                spans.insert(parts.collect::<Vec<_>>().join("_"), view);
            }
        }
        let chosen = &self.selection.relays;
        let relays = self.status.relays.iter();
        let relays = relays.filter(|r| chosen.is_empty() || chosen.contains(r.url.as_str()));
        Performance {
            spans,
            lag_s: relays.clone().filter_map(|r| Some((r.url.clone(), r.lag_s?))).collect(),
            rtt_s: relays.filter_map(|r| Some((r.url.clone(), r.rtt_s?))).collect(),
        }
    }

    fn errors(&self, recent: Vec<Entry>) -> Errors {
        let name = match self.selection.relays.is_empty() {
            true => "ngit_sync_errors_total",
            false => "ngit_sync_relay_errors_total",
        };
        Errors {
            total: self.total(name),
            by_type: self.by(name, "type"),
            by_code: self.by("ngit_sync_errors_total", "code"),
            rejections: self.by("ngit_sync_rejections_total", "reason"),
            conflicts: self.by("ngit_sync_conflicts_total", "resolution"),
            recent,
        }
    }
}
