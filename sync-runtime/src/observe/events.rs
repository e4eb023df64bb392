//! The one observer of the core's events: states, transitions, batches, passes and gaps are
//! counted here and nowhere else.

use std::collections::BTreeMap;

use sync_core::event::{BatchResult, DeferReason, Event, NegFallback, PassResult, Trigger};
use sync_core::id::RelayId;
use sync_core::input::CloseReason;
use sync_core::item::Layer;
use sync_core::ledger::Method;
use sync_core::status::{HealthStatus, Reason, RelayStatus};

use super::Registry;
use super::error::Code;
use super::histogram::Histogram;
use super::labels::ErrorType;
use super::phase::PhaseClock;
use super::relay::{EMPTY, RelayObs, Row};
use crate::api::{GapView, PassView, WallMs};

/// What follows from the core's events, beyond single relays. Moved by the driver's task only.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) phase: PhaseClock,
    pub(crate) relay_transitions: BTreeMap<(RelayStatus, RelayStatus, Reason), u64>,
    pub(crate) health_transitions: BTreeMap<(HealthStatus, HealthStatus, Reason), u64>,
    pub(crate) batches: BTreeMap<(Layer, Method), Batches>,
    pub(crate) batches_started: BTreeMap<(Layer, Method), u64>,
    pub(crate) pending: BTreeMap<Layer, u64>,
    pub(crate) batch_items: BTreeMap<Layer, Histogram>,
    pub(crate) passes: BTreeMap<(Trigger, PassResult), u64>,
    pub(crate) fallbacks: BTreeMap<NegFallback, u64>,
    pub(crate) deferred: BTreeMap<DeferReason, u64>,
    pub(crate) connect_retries: [u64; 2],
    pub(crate) errors: BTreeMap<(ErrorType, Code), u64>,
    pub(crate) last_error_at: BTreeMap<ErrorType, WallMs>,
    /// Counters of relays without a label that were forgotten.
    pub(crate) other: Row,
    /// Outcomes of labelled relays that were forgotten, so that events stay accounted for.
    pub(crate) forgotten: Row,
    /// Limits that refused something, by key.
    pub(crate) limits: BTreeMap<String, u64>,
}

/// Batches of one layer and method that ended.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    pub(crate) results: BTreeMap<BatchResult, u64>,
    pub(crate) took: Histogram,
}

impl State {
    pub(crate) fn new(at: WallMs) -> Self {
        Self {
            phase: PhaseClock::new(at),
            relay_transitions: BTreeMap::new(),
            health_transitions: BTreeMap::new(),
            batches: BTreeMap::new(),
            batches_started: BTreeMap::new(),
            pending: BTreeMap::new(),
            batch_items: BTreeMap::new(),
            passes: BTreeMap::new(),
            fallbacks: BTreeMap::new(),
            deferred: BTreeMap::new(),
            connect_retries: [0; 2],
            errors: BTreeMap::new(),
            last_error_at: BTreeMap::new(),
            other: EMPTY,
            forgotten: EMPTY,
            limits: BTreeMap::new(),
        }
    }

    fn error(&mut self, relay: &RelayObs, code: Code, at: WallMs) {
        self.count_error(code, at);
        relay.error(code.kind());
    }

    pub(crate) fn count_error(&mut self, code: Code, at: WallMs) {
        let kind = code.kind();
        *self.errors.entry((kind, code)).or_default() += 1;
        self.last_error_at.insert(kind, at);
    }
}

impl Registry {
    /// Observes one event of the core, emitted at that moment of the wall clock. Events of a relay
    /// that was never tracked are ignored.
    pub fn on_event(&self, event: &Event, at: WallMs) {
        match event {
            Event::RelayTracked { relay, url, bootstrap } => {
                self.track(*relay, url.clone(), *bootstrap, at);
            }
            Event::RelayForgotten { relay } => {
                self.log(event, at);
                self.forget(*relay);
            }
            Event::LimitReached { limit } => {
                *self.state().limits.entry(limit.clone()).or_default() += 1;
            }
            Event::Ended => self.state().phase.stop(),
            _ => self.on_relay_event(event, at),
        }
        if !matches!(event, Event::RelayForgotten { .. }) {
            self.log(event, at);
        }
        self.update_phase(event, at);
    }

    fn on_relay_event(&self, event: &Event, at: WallMs) {
        let Some(relay) = relay_of(event).and_then(|id| self.relay(id)) else { return };
        let mut state = self.state();
        on_status(&mut state, &relay, event, at);
        on_connection(&mut state, &relay, event, at);
        on_history(&mut state, &relay, event, at);
        on_text(&mut state, &relay, event, at);
    }
}

/// The relay an event is about.
pub(crate) fn relay_of(event: &Event) -> Option<RelayId> {
    match event {
        Event::RelayTracked { relay, .. }
        | Event::RelayForgotten { relay }
        | Event::StatusChanged { relay, .. }
        | Event::HealthChanged { relay, .. }
        | Event::DialEnded { relay, .. }
        | Event::ConnectionEnded { relay, .. }
        | Event::PassStarted { relay, .. }
        | Event::PassEnded { relay, .. }
        | Event::SettleSlow { relay, .. }
        | Event::BatchStarted { relay, .. }
        | Event::BatchEnded { relay, .. }
        | Event::Reconciled { relay, .. }
        | Event::GapOpened { relay, .. }
        | Event::GapClosed { relay, .. }
        | Event::NegentropyFallback { relay, .. }
        | Event::PageAsked { relay }
        | Event::RateLimited { relay, .. }
        | Event::Notice { relay, .. }
        | Event::LiveParked { relay, .. }
        | Event::Deferred { relay, .. }
        | Event::GapEvents { relay, .. }
        | Event::StaleInput { relay, .. } => Some(*relay),
        _ => None,
    }
}

fn on_status(state: &mut State, relay: &RelayObs, event: &Event, at: WallMs) {
    match event {
        Event::StatusChanged { from, to, reason, .. } => {
            *state.relay_transitions.entry((*from, *to, *reason)).or_default() += 1;
            relay.state().enter(*to, *reason, at);
        }
        Event::HealthChanged { from, to, reason, .. } => {
            *state.health_transitions.entry((*from, *to, *reason)).or_default() += 1;
            let mut own = relay.state();
            own.health = *to;
            own.health_since = at;
            if *to == HealthStatus::Healthy {
                own.failures = 0;
            }
        }
        _ => {}
    }
}

fn on_connection(state: &mut State, relay: &RelayObs, event: &Event, at: WallMs) {
    match event {
        Event::DialEnded { result, failures, retry_in_ms, .. } => {
            relay.attempt(result.is_ok());
            let mut own = relay.state();
            if own.failures > 0 {
                state.connect_retries[usize::from(result.is_err())] += 1;
            }
            own.failures = *failures;
            own.retry_at = retry_in_ms.map(|ms| WallMs(at.0 + ms));
            if let Err(error) = result {
                let code = Code::of_dial(error.kind);
                own.fail(code, error.to_string(), at);
                own.note = error.kind.to_string();
                state.error(relay, code, at);
            } else {
                own.note.clear();
            }
        }
        Event::ConnectionEnded { reason, failures, retry_in_ms, .. } => {
            let mut own = relay.state();
            own.failures = *failures;
            own.retry_at = retry_in_ms.map(|ms| WallMs(at.0 + ms));
            own.note = close_text(reason);
            relay.open(0, 0);
            if let Some(code) = Code::of_close(reason) {
                let message = own.note.clone();
                own.fail(code, message, at);
                state.error(relay, code, at);
            }
        }
        Event::RateLimited { text, cooldown_ms, .. } => {
            relay.rate_limited();
            let mut own = relay.state();
            own.retry_at = Some(WallMs(at.0 + cooldown_ms));
            own.note = format!("asked for less: {text}");
            state.error(relay, Code("E204"), at);
        }
        _ => {}
    }
}

fn on_history(state: &mut State, relay: &RelayObs, event: &Event, at: WallMs) {
    let mut own = relay.state();
    match event {
        Event::PassStarted { trigger, .. } => {
            own.pass = Some(PassView {
                trigger: *trigger,
                since_ms: at,
                batches_done: 0,
                batches: 0,
                layer: None,
                method: None,
            });
        }
        Event::PassEnded { trigger, result, .. } => {
            *state.passes.entry((*trigger, *result)).or_default() += 1;
            own.pass = None;
            own.pass_batches.clear();
            if *result != PassResult::Cancelled {
                own.last_sync = Some(at);
            }
        }
        Event::BatchStarted { batch, layer, method, items, pass, .. } => {
            batch_started(state, (*layer, *method), *items);
            if *pass {
                own.pass_batch((*batch, *layer, *method));
            }
        }
        Event::BatchEnded { batch, layer, method, result, took_ms, .. } => {
            batch_ended(state, (*layer, *method), *result, *took_ms);
            own.methods.insert(*method);
            own.batches_done += 1;
            if own.pass_batches.remove(batch)
                && let Some(pass) = &mut own.pass
            {
                pass.batches_done += 1;
            }
        }
        Event::GapOpened { row, items, range, reason, detail, .. } => {
            let gap = own
                .gaps
                .entry(*row)
                .or_insert_with(|| GapView::new(*row, *reason, *items, *range, at));
            (gap.items, gap.range) = (*items, *range);
            gap.reason = reason.as_str().into();
            gap.detail = detail.to_string();
            gap.tries += 1;
            if let Some(code) = Code::of_gap(*reason) {
                own.fail(code, gap_text(*reason, detail.as_str()), at);
                state.error(relay, code, at);
            }
        }
        Event::GapClosed { row, .. } => {
            own.gaps.remove(row);
        }
        Event::Reconciled { need, have, ids, .. } => {
            relay.negentropy_ids(u64::from(*need), u64::from(*have));
            own.reconciled.sessions += 1;
            own.reconciled.have += u64::from(*have);
            own.reconciled.need.extend(ids);
        }
        Event::GapEvents { count, .. } => relay.gap_events(u64::from(*count)),
        Event::PageAsked { .. } => relay.page_asked(),
        _ => {}
    }
}

fn on_text(state: &mut State, relay: &RelayObs, event: &Event, at: WallMs) {
    match event {
        Event::NegentropyFallback { reason, .. } => {
            *state.fallbacks.entry(*reason).or_default() += 1;
        }
        Event::Deferred { reason, .. } => {
            *state.deferred.entry(*reason).or_default() += 1;
            relay.state().note = format!("deferred: {} busy", defer_label(*reason));
        }
        Event::SettleSlow { unsettled, window, .. } => {
            let what = if *window { "the discovery window" } else { "the store" };
            relay.state().note = format!("{unsettled} events not settled, waiting for {what}");
        }
        Event::LiveParked { reason, text, .. } => {
            let mut own = relay.state();
            own.note = gap_text(*reason, text.as_str());
            if let Some(code) = Code::of_gap(*reason) {
                let message = own.note.clone();
                own.fail(code, message, at);
                state.error(relay, code, at);
            }
        }
        _ => {}
    }
}

fn batch_started(state: &mut State, (layer, method): (Layer, Method), items: u32) {
    *state.batches_started.entry((layer, method)).or_default() += 1;
    *state.pending.entry(layer).or_default() += 1;
    state.batch_items.entry(layer).or_default().record(u64::from(items));
}

fn batch_ended(
    state: &mut State,
    (layer, method): (Layer, Method),
    result: BatchResult,
    took_ms: u64,
) {
    let ended = state.batches.entry((layer, method)).or_default();
    *ended.results.entry(result).or_default() += 1;
    ended.took.span(std::time::Duration::from_millis(took_ms));
    if let Some(pending) = state.pending.get_mut(&layer) {
        *pending = pending.saturating_sub(1);
    }
}

/// A gap's reason with the relay's words.
pub(crate) fn gap_text(reason: sync_core::item::GapReason, words: &str) -> String {
    if words.is_empty() { reason.to_string() } else { format!("{reason}: {words}") }
}

/// The end of a connection in words.
pub(crate) fn close_text(reason: &CloseReason) -> String {
    match reason {
        CloseReason::Local => "closed by us".into(),
        CloseReason::Remote(text) if text.as_str().is_empty() => "closed by the relay".into(),
        CloseReason::Remote(text) => format!("closed by the relay: {text}"),
        CloseReason::Io(text) => format!("connection lost: {text}"),
        CloseReason::Silence => "nothing came for too long".into(),
        CloseReason::Oversize => "a message above the socket's maximum".into(),
        CloseReason::Protocol(text) => format!("broken framing: {text}"),
        CloseReason::SendQueueFull => "it does not read".into(),
        CloseReason::Flood => "too many events that were not asked for".into(),
        _ => "connection ended".into(),
    }
}

/// The label of a reason for deferral.
pub(crate) fn defer_label(reason: DeferReason) -> &'static str {
    match reason {
        DeferReason::Queue => "queue",
        DeferReason::Cpu => "cpu",
        DeferReason::Clients => "clients",
        DeferReason::Memory => "memory",
    }
}
