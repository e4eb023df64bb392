//! All samples of one moment, from counters and state: what a scrape, a document and the history
//! have in common.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sync_core::event::{BatchResult, DeferReason, NegFallback, PassResult, Trigger};
use sync_core::item::Layer;
use sync_core::ledger::Method;
use sync_core::status::RelayStatus;

use super::Registry;
use super::catalog::{FAMILIES, Family};
use super::error::CODES;
use super::events::{State, defer_label};
use super::histogram::HistogramCopy;
use super::labels::{
    ApplyStage, DialStage, ErrorType, KIND_LABELS, Outcome, Queue, RejectedClass, StoreOp,
};
use super::process;
use super::totals::{Counts, Totals};
use crate::api::{Phase, WallMs};

/// A label's value.
pub(crate) type Text = Cow<'static, str>;

/// The samples of one family.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// The family.
    pub family: &'static Family,
    /// One row a series.
    pub rows: Vec<Sample>,
}

/// One series at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Values of the family's labels, in their order.
    pub labels: Vec<Cow<'static, str>>,
    /// The value.
    pub value: Value,
}

/// The value of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number of things, or of bytes.
    Count(u64),
    /// A moment, a span, a ratio.
    Number(f64),
    /// A distribution: microseconds, or items.
    Histogram(HistogramCopy),
}

/// Samples under construction, by family.
#[derive(Default)]
pub(crate) struct Rows(BTreeMap<&'static str, Vec<Sample>>);

impl Rows {
    pub(crate) fn count<const N: usize>(
        &mut self,
        family: &'static str,
        labels: [Text; N],
        value: u64,
    ) {
        self.push(family, labels.into(), Value::Count(value));
    }

    pub(crate) fn number<const N: usize>(
        &mut self,
        family: &'static str,
        labels: [Text; N],
        value: f64,
    ) {
        self.push(family, labels.into(), Value::Number(value));
    }

    pub(crate) fn seconds<const N: usize>(
        &mut self,
        family: &'static str,
        labels: [Text; N],
        at: Option<WallMs>,
    ) {
        if let Some(at) = at {
            self.number(family, labels, at.as_secs_f64());
        }
    }

    fn histogram<const N: usize>(
        &mut self,
        family: &'static str,
        labels: [Text; N],
        copy: HistogramCopy,
    ) {
        self.push(family, labels.into(), Value::Histogram(copy));
    }

    /// One row for each value of a closed list.
    fn list<const N: usize>(
        &mut self,
        family: &'static str,
        labels: &[&'static str; N],
        counts: &Counts<N>,
    ) {
        for (label, count) in labels.iter().zip(counts.read()) {
            self.count(family, [(*label).into()], count);
        }
    }

    fn push(&mut self, family: &'static str, labels: Vec<Text>, value: Value) {
        self.0.entry(family).or_default().push(Sample { labels, value });
    }

    fn finish(mut self) -> Vec<Samples> {
        let rows = FAMILIES
            .iter()
            .filter_map(|family| Some(Samples { family, rows: self.0.remove(family.name)? }))
            .collect();
        debug_assert!(self.0.is_empty(), "not in the catalogue: {:?}", self.0.keys());
        rows
    }
}

impl Registry {
    /// All samples of this moment, in the order of the catalogue.
    pub fn gather(&self, at: WallMs) -> Vec<Samples> {
        let mut rows = Rows::default();
        self.build_rows(&mut rows, at);
        self.relay_rows(&mut rows, at);
        {
            let state = self.state();
            state_rows(&mut rows, &state, at);
            historic_rows(&mut rows, &state);
            error_rows(&mut rows, &state);
        }
        let totals = self.totals();
        event_rows(&mut rows, totals);
        latency_rows(&mut rows, totals);
        rejected_rows(&mut rows, totals);
        self.sample_rows(&mut rows);
        self.client_rows(&mut rows);
        self.alert_rows(&mut rows);
        process::rows(&mut rows);
        rows.finish()
    }

    fn build_rows(&self, rows: &mut Rows, _at: WallMs) {
        let build = self.build();
        let labels = [build.version.into(), build.commit.into()];
        rows.count("ngit_sync_build_info", labels, 1);
        rows.seconds("ngit_sync_start_time_seconds", [], Some(self.started()));
    }
}

fn state_rows(rows: &mut Rows, state: &State, at: WallMs) {
    let phase = &state.phase;
    rows.count("ngit_sync_phase", [], phase.phase() as u64);
    rows.seconds("ngit_sync_phase_entered_timestamp_seconds", [], Some(phase.since()));
    for (label, ms) in Phase::ALL.into_iter().zip(phase.spent(at)) {
        let labels = [label.as_str().into()];
        rows.number("ngit_sync_phase_seconds_total", labels, ms as f64 / 1000.0);
    }
    for ((from, to, reason), count) in &phase.transitions {
        let labels = [from.as_str().into(), to.as_str().into(), (*reason).into()];
        rows.count("ngit_sync_phase_transitions_total", labels, *count);
    }
    for ((from, to, reason), count) in &state.relay_transitions {
        let labels = [from.as_str().into(), to.as_str().into(), reason.as_str().into()];
        rows.count("ngit_sync_relay_transitions_total", labels, *count);
    }
    for ((from, to, reason), count) in &state.health_transitions {
        let labels = [from.as_str().into(), to.as_str().into(), reason.as_str().into()];
        rows.count("ngit_sync_relay_health_transitions_total", labels, *count);
    }
    for (label, count) in ["ok", "failed"].into_iter().zip(state.connect_retries) {
        rows.count("ngit_sync_retries_total", ["connect".into(), label.into()], count);
    }
}

const LAYERS: [Layer; 5] = [Layer::One, Layer::Two, Layer::Three, Layer::Filter, Layer::Id];
const METHODS: [Method; 3] = [Method::Negentropy, Method::Pages, Method::Ids];

fn historic_rows(rows: &mut Rows, state: &State) {
    for layer in LAYERS {
        let label: Text = layer.as_str().into();
        let pending = state.pending.get(&layer).copied().unwrap_or_default();
        rows.count("ngit_sync_batches_pending", [label.clone()], pending);
        if let Some(items) = state.batch_items.get(&layer) {
            rows.histogram("ngit_sync_batch_items", [label.clone()], items.copy());
        }
        for method in METHODS {
            batch_rows(rows, state, layer, method);
        }
    }
    for trigger in TRIGGERS {
        for (result, label) in PASS_RESULTS {
            let count = state.passes.get(&(trigger, result)).copied().unwrap_or_default();
            let labels = [trigger_label(trigger).into(), label.into()];
            rows.count("ngit_sync_historic_syncs_total", labels, count);
        }
    }
    for (reason, label) in FALLBACKS {
        let count = state.fallbacks.get(&reason).copied().unwrap_or_default();
        rows.count("ngit_sync_negentropy_fallbacks_total", [label.into()], count);
    }
    for reason in DEFERRED {
        let count = state.deferred.get(&reason).copied().unwrap_or_default();
        rows.count("ngit_sync_deferred_total", [defer_label(reason).into()], count);
    }
}

fn batch_rows(rows: &mut Rows, state: &State, layer: Layer, method: Method) {
    let label = || [Text::from(layer.as_str()), Text::from(method.as_str())];
    let key = (layer, method);
    let started = state.batches_started.get(&key).copied().unwrap_or_default();
    rows.count("ngit_sync_batches_started_total", label(), started);
    let ended = state.batches.get(&key);
    for (result, word) in BATCH_RESULTS {
        let count = ended.and_then(|e| e.results.get(&result)).copied().unwrap_or_default();
        let [layer, method] = label();
        rows.count("ngit_sync_batches_completed_total", [layer, method, word.into()], count);
    }
    if let Some(ended) = ended {
        rows.histogram("ngit_sync_batch_duration_seconds", label(), ended.took.copy());
    }
}

const TRIGGERS: [Trigger; 5] =
    [Trigger::Startup, Trigger::Reconnect, Trigger::Repository, Trigger::Daily, Trigger::Manual];
const PASS_RESULTS: [(PassResult, &str); 3] = [
    (PassResult::Ok, "ok"),
    (PassResult::Partial, "partial"),
    (PassResult::Cancelled, "cancelled"),
];
const BATCH_RESULTS: [(BatchResult, &str); 4] = [
    (BatchResult::Ok, "ok"),
    (BatchResult::Partial, "partial"),
    (BatchResult::Failed, "failed"),
    (BatchResult::Cancelled, "cancelled"),
];
const FALLBACKS: [(NegFallback, &str); 7] = [
    (NegFallback::Refused, "refused"),
    (NegFallback::Closed, "closed"),
    (NegFallback::Notice, "notice"),
    (NegFallback::Timeout, "timeout"),
    (NegFallback::Truncated, "truncated"),
    (NegFallback::Garbage, "garbage"),
    (NegFallback::Distrust, "distrust"),
];
const DEFERRED: [DeferReason; 4] =
    [DeferReason::Queue, DeferReason::Cpu, DeferReason::Clients, DeferReason::Memory];

/// The label of a trigger.
pub(crate) fn trigger_label(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Startup => "startup",
        Trigger::Reconnect => "reconnect",
        Trigger::Repository => "repository",
        Trigger::Daily => "daily",
        Trigger::Manual => "manual",
    }
}

fn error_rows(rows: &mut Rows, state: &State) {
    for text in CODES {
        let count = state.errors.get(&(text.kind, text.code)).copied().unwrap_or_default();
        let labels = [text.kind.as_str().into(), text.code.0.into()];
        rows.count("ngit_sync_errors_total", labels, count);
    }
    for kind in ErrorType::ALL {
        let at = state.last_error_at.get(&kind).copied();
        rows.seconds("ngit_sync_last_error_timestamp_seconds", [kind.as_str().into()], at);
    }
}

fn event_rows(rows: &mut Rows, totals: &Totals) {
    rows.count("ngit_sync_events_synced_total", [], totals.sources.sum());
    let sources = ["live", "startup", "reconnect", "daily"];
    rows.list("ngit_sync_events_total", &sources, &totals.sources);
    for (kind, counts) in KIND_LABELS.into_iter().zip(&totals.kinds) {
        for (outcome, count) in Outcome::LABELS.into_iter().zip(counts.read()) {
            rows.count("ngit_sync_kind_events_total", [kind.into(), outcome.into()], count);
        }
    }
    for (kind, ms) in KIND_LABELS.into_iter().zip(totals.kind_last_ms.read()) {
        let at = Some(WallMs(ms)).filter(|at| at.0 > 0);
        rows.seconds("ngit_sync_kind_last_event_timestamp_seconds", [kind.into()], at);
    }
    for ((kind, reason), count) in totals.rejections.read() {
        let labels = [KIND_LABELS[kind].into(), reason.into()];
        rows.count("ngit_sync_rejections_total", labels, count);
    }
    for ((kind, resolution), count) in totals.conflicts.read() {
        let labels = [KIND_LABELS[kind].into(), resolution.as_str().into()];
        rows.count("ngit_sync_conflicts_total", labels, count);
    }
    for ((route, code), count) in totals.requests.read() {
        let labels = [route.into(), code.to_string().into()];
        rows.count("ngit_sync_api_requests_total", labels, count);
    }
    let [flushed] = totals.history_ms.read();
    let at = Some(WallMs(flushed)).filter(|at| at.0 > 0);
    rows.seconds("ngit_sync_snapshot_last_success_timestamp_seconds", [], at);
    rows.list("ngit_sync_queue_dropped_total", &Queue::LABELS, &totals.queue_dropped);
    rows.list("ngit_sync_label_overflow_total", &["relay"], &totals.overflow);
}

fn latency_rows(rows: &mut Rows, totals: &Totals) {
    for (stage, histogram) in DialStage::LABELS.into_iter().zip(&totals.connect) {
        rows.histogram("ngit_sync_connect_duration_seconds", [stage.into()], histogram.copy());
    }
    for (method, histogram) in ["negentropy", "pages"].into_iter().zip(&totals.first_event) {
        let labels = [method.into()];
        rows.histogram("ngit_sync_first_event_duration_seconds", labels, histogram.copy());
    }
    for (stage, histogram) in ApplyStage::LABELS.into_iter().zip(&totals.apply) {
        rows.histogram("ngit_sync_apply_duration_seconds", [stage.into()], histogram.copy());
    }
    rows.histogram("ngit_sync_live_delay_seconds", [], totals.live_delay.copy());
    for (op, histogram) in StoreOp::LABELS.into_iter().zip(&totals.store_ops) {
        let labels = [op.into()];
        rows.histogram("ngit_sync_store_operation_duration_seconds", labels, histogram.copy());
    }
}

fn rejected_rows(rows: &mut Rows, totals: &Totals) {
    let labels = &RejectedClass::LABELS;
    for (class, count) in labels.iter().zip(totals.hot_current.read()) {
        rows.count("ngit_rejected_hot_cache_current", [(*class).into()], count);
    }
    rows.list("ngit_rejected_hot_cache_hits_total", labels, &totals.hot_hits);
    rows.list("ngit_rejected_hot_cache_misses_total", labels, &totals.hot_misses);
    rows.list("ngit_rejected_hot_cache_expired_total", labels, &totals.hot_expired);
    rows.list("ngit_rejected_cold_index_expired_total", labels, &totals.cold_expired);
    rows.list("ngit_rejected_invalidated_total", labels, &totals.invalidated);
}

/// The states of a connection in the order of their values.
pub(crate) const STATES: [RelayStatus; 5] = [
    RelayStatus::Disconnected,
    RelayStatus::Connecting,
    RelayStatus::Syncing,
    RelayStatus::Connected,
    RelayStatus::ConnectedDegraded,
];
