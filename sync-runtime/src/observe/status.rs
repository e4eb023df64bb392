//! The documents that follow from the registry alone: status and its relays, outcomes of a
//! one-shot sync.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError};

use nostr::event::EventId;
use sync_core::status::RelayStatus;
use sync_core::url::RelayUrl;

use super::Registry;
use super::gather::STATES;
use super::relay::{RelayObs, RelayState};
use crate::api::{
    DaemonView, Entry, OutcomeStatus, Problem, RelayDetail, RelayOutcome, RelayView, Seconds,
    Status, SyncOutcome, SyncProgress, WallMs,
};

/// Gaps that a relay's view holds.
const GAPS_SHOWN: usize = 100;

/// What the reconciliations with one relay found.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) was_online: bool,
    /// Everything that was to be reconciled is.
    pub(crate) is_through: bool,
    /// Why it could not be reached.
    pub(crate) explained: Option<String>,
    pub(crate) need: BTreeSet<EventId>,
    pub(crate) have: u64,
    pub(crate) sessions: u64,
    /// In and out.
    pub(crate) bytes: (u64, u64),
}

impl Registry {
    /// The process, for the envelope of documents.
    pub fn daemon(&self, at: WallMs, data_dir: Option<String>) -> DaemonView {
        DaemonView {
            version: self.build().version.into(),
            pid: std::process::id(),
            uptime_s: at.since(self.started()).into(),
            started_ms: self.started(),
            data_dir,
        }
    }

    /// What is known here of the daemon's state. Whoever knows the core may add what only it
    /// knows: `lag_s`, and `tries`, `retry_at_ms` and `accepted` of gaps.
    pub fn status(&self, at: WallMs) -> Status {
        let mut relays = self.each_relay(|relay| view(relay, at));
        relays.sort_by(|a, b| a.url.cmp(&b.url));
        let problems = relays.iter().filter_map(|relay| problem(relay, at)).collect();
        let sampled = self.sampled();
        let (phase, phase_since_ms) = {
            let state = self.state();
            (state.phase.phase(), state.phase.since())
        };
        let last_ms = self.totals().kind_last_ms.read().into_iter().max();
        Status {
            phase,
            phase_since_ms,
            counts: self.counts(),
            problems,
            repos: sampled.repositories.unwrap_or_default(),
            roots: sampled.roots.unwrap_or_default(),
            store: sampled.store(),
            events_synced: self.totals().sources.sum(),
            gap_events: self.each_relay(RelayObs::gap_event_count).into_iter().sum(),
            last_event_ms: last_ms.filter(|ms| *ms > 0).map(WallMs),
            queues: sampled.queue_views(),
            outbox: sampled.outbox,
            rejected: self.rejected_view(),
            relays,
        }
    }

    /// A relay's recent past, with the view of it that the daemon gave.
    pub fn relay_detail(&self, view: RelayView, at: WallMs) -> RelayDetail {
        let relays = self.relays().read().unwrap_or_else(PoisonError::into_inner);
        let Some(relay) = relays.values().find(|relay| *relay.url() == view.url) else {
            let (transitions, errors) = (Vec::new(), Vec::new());
            let time_in_state_s = BTreeMap::new();
            return RelayDetail { relay: view, time_in_state_s, transitions, errors };
        };
        let state = relay.state();
        let spent = STATES.into_iter().zip(state.spent(at));
        let entries = |ring: &VecDeque<Arc<Entry>>| ring.iter().map(|e| Entry::clone(e)).collect();
        RelayDetail {
            relay: view,
            time_in_state_s: spent
                .map(|(status, ms)| (status.as_str().into(), Seconds(ms as f64 / 1000.0)))
                .collect(),
            transitions: entries(&state.rings.transitions),
            errors: entries(&state.rings.errors),
        }
    }

    /// What a one-shot sync did so far.
    pub fn outcome_of_sync(&self, at: WallMs) -> SyncOutcome {
        let started = self.started();
        let mut relays = self.each_relay(|relay| outcome(relay, at.since(started).into()));
        relays.sort_by(|a, b| a.url.cmp(&b.url));
        SyncOutcome {
            relays,
            stored: self.totals().sources.sum(),
            store_events: self.sampled().store().events,
            took_s: at.since(started).into(),
            cut: None,
        }
    }

    /// What a service that only looks found at a relay; `None` for one that was never tracked.
    pub(crate) fn compared(&self, url: &RelayUrl) -> Option<Compared> {
        let relays = self.relays().read().unwrap_or_else(PoisonError::into_inner);
        let relay = relays.values().find(|relay| relay.url() == url)?;
        let state = relay.state();
        let words = match &state.last_error {
            Some(error) if state.note.is_empty() => Some(error.message.clone()),
            Some(_) | None => Some(note(&state)),
        };
        Some(Compared {
            was_online: state.was_online,
            is_through: state.last_sync.is_some() && state.pass.is_none(),
            explained: words.filter(|words| !words.is_empty()),
            need: state.reconciled.need.clone(),
            have: state.reconciled.have,
            sessions: state.reconciled.sessions,
            bytes: relay.bytes(),
        })
    }

    /// How a one-shot sync comes along, relay by relay.
    pub fn progress(&self) -> Vec<SyncProgress> {
        self.each_relay(|relay| {
            let state = relay.state();
            let events = relay.outcomes();
            let pass = state.pass.as_ref();
            SyncProgress {
                url: relay.url().clone(),
                connection: state.connection,
                layer: pass.and_then(|pass| pass.layer.clone()),
                batches_done: pass.map_or(state.batches_done, |pass| pass.batches_done),
                batches: pass.map_or(state.batches_done, |pass| pass.batches),
                received: events.received,
                stored: events.stored,
                note: state.note.clone(),
            }
        })
    }
}

fn view(relay: &RelayObs, at: WallMs) -> RelayView {
    let state = relay.state();
    let (bytes_in, bytes_out) = relay.bytes();
    RelayView {
        url: relay.url().clone(),
        connection: state.connection,
        connection_since_ms: state.connection_since,
        health: state.health,
        health_since_ms: state.health_since,
        reason: state.reason.as_str().into(),
        bootstrap: relay.is_bootstrap(),
        paused: state.is_paused(),
        events: relay.outcomes(),
        bytes_in,
        bytes_out,
        lag_s: None,
        rtt_s: relay.rtt().map(Seconds::from),
        last_seen_ms: relay.last_seen(),
        last_event_ms: relay.last_event(),
        last_sync_ms: state.last_sync,
        retry_in_s: state.retry_at.map(|due| due.since(at).into()),
        failures: state.failures,
        pass: state.pass.clone(),
        gap_count: state.gaps.len() as u64,
        gaps: state.gaps.values().take(GAPS_SHOWN).cloned().collect(),
        last_error: state.last_error.clone(),
        note: note(&state),
    }
}

fn note(state: &RelayState) -> String {
    match state.connection {
        RelayStatus::Syncing => state.pass.as_ref().map_or_else(String::new, |pass| {
            let method = pass.method.as_deref().unwrap_or("waiting for live subscriptions");
            let layer = pass.layer.as_deref().unwrap_or("-");
            format!("layer {layer}, {method}, batch {}/{}", pass.batches_done, pass.batches)
        }),
        RelayStatus::ConnectedDegraded if !state.gaps.is_empty() => {
            let mut reasons: Vec<_> = state.gaps.values().map(|gap| gap.reason.as_str()).collect();
            reasons.sort_unstable();
            reasons.dedup();
            let s = if state.gaps.len() == 1 { "" } else { "s" };
            format!("{} gap{s}: {}", state.gaps.len(), reasons.join(", "))
        }
        RelayStatus::Disconnected if state.is_paused() => "paused".into(),
        _ => state.note.clone(),
    }
}

fn problem(relay: &RelayView, at: WallMs) -> Option<Problem> {
    let error = relay.last_error.as_ref().filter(|error| error.is_listed(at))?;
    Some(Problem {
        relay: relay.url.clone(),
        category: error.category,
        message: error.message.clone(),
        at_ms: error.at_ms,
    })
}

fn outcome(relay: &RelayObs, took_s: Seconds) -> RelayOutcome {
    let state = relay.state();
    let events = relay.outcomes();
    let (bytes_in, bytes_out) = relay.bytes();
    let (rounds, pages) = relay.rounds_and_pages();
    let status = outcome_status(&state);
    let words = if state.note.is_empty() {
        state.last_error.as_ref().map(|error| error.message.clone())
    } else {
        Some(note(&state))
    };
    RelayOutcome {
        url: relay.url().clone(),
        status,
        explained: words.filter(|_| status != OutcomeStatus::Synced),
        bootstrap: relay.is_bootstrap(),
        received: events.received,
        stored: events.stored,
        known: events.duplicate,
        rejected: events.rejected,
        held: events.held,
        invalid: events.invalid,
        dropped: events.dropped,
        methods: state.methods.iter().copied().collect(),
        rounds,
        pages,
        batches: state.batches_done,
        bytes_in,
        bytes_out,
        took_s,
        gaps: state.gaps.values().cloned().collect(),
    }
}

fn outcome_status(state: &RelayState) -> OutcomeStatus {
    // A finished pass stays the answer when the connection is closed after it.
    match (state.last_sync.is_some() && state.pass.is_none(), state.gaps.is_empty()) {
        (true, true) => OutcomeStatus::Synced,
        (true, false) => OutcomeStatus::Partial,
        (false, _) if state.was_online => OutcomeStatus::Unfinished,
        (false, _) => OutcomeStatus::Unreachable,
    }
}
