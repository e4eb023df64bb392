//! The relays of the registry: who is tracked, who has a label (T17), and their samples.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use sync_core::id::RelayId;
use sync_core::url::RelayUrl;

use super::Registry;
use super::gather::{Rows, STATES, Text};
use super::labels::{OTHER, RELAYS_MAX};
use super::relay::{EMPTY, RelayObs, Row, STRIPS, outcomes_only};
use crate::api::{RelayCounts, WallMs};

/// The label of outcomes of relays that were forgotten; they stay so that the sum over relays
/// equals the sum over kinds.
pub(crate) const FORGOTTEN: &str = "forgotten";

impl Registry {
    /// The measures of a relay that is tracked, for the task that works on it.
    pub fn relay(&self, id: RelayId) -> Option<Arc<RelayObs>> {
        let relays = self.relays().read().unwrap_or_else(PoisonError::into_inner);
        relays.get(&id).cloned()
    }

    pub(crate) fn track(&self, id: RelayId, url: RelayUrl, bootstrap: bool, at: WallMs) {
        let mut relays = self.relays().write().unwrap_or_else(PoisonError::into_inner);
        if relays.contains_key(&id) {
            return;
        }
        let labelled = relays.values().filter(|relay| relay.is_labelled()).count() < RELAYS_MAX;
        if !labelled {
            self.totals().overflow.add(0, 1);
        }
        relays.insert(id, Arc::new(RelayObs::new(url, bootstrap, labelled, at)));
    }

    pub(crate) fn forget(&self, id: RelayId) {
        let removed = {
            let mut relays = self.relays().write().unwrap_or_else(PoisonError::into_inner);
            relays.remove(&id)
        };
        let Some(relay) = removed else { return };
        let mut state = self.state();
        if relay.is_labelled() {
            add(&mut state.forgotten, &outcomes_only(&relay.row()));
        } else {
            add(&mut state.other, &relay.row());
        }
    }

    /// What `look` sees of every relay, in the order of their ids.
    pub(crate) fn each_relay<T>(&self, look: impl Fn(&RelayObs) -> T) -> Vec<T> {
        let relays = self.relays().read().unwrap_or_else(PoisonError::into_inner);
        relays.values().map(|relay| look(relay)).collect()
    }

    /// Relays by state, derived from it at this moment.
    pub fn counts(&self) -> RelayCounts {
        let mut counts = RelayCounts::default();
        for (connection, health) in self.each_relay(|relay| {
            let state = relay.state();
            (state.connection, state.health)
        }) {
            counts.add(connection, health);
        }
        counts
    }

    pub(crate) fn relay_rows(&self, rows: &mut Rows, at: WallMs) {
        let mut other = self.state().other;
        let mut overflown = other != EMPTY;
        self.each_relay_mut(|relay| {
            if relay.is_labelled() {
                let label: Text = relay.url().as_str().to_owned().into();
                counter_rows(rows, &label, &relay.row());
                gauge_rows(rows, &label, relay, at);
            } else {
                overflown = true;
                add(&mut other, &relay.row());
            }
        });
        if overflown {
            counter_rows(rows, &OTHER.into(), &other);
        }
        let forgotten = self.state().forgotten;
        if forgotten != EMPTY {
            outcome_rows(rows, &FORGOTTEN.into(), &forgotten);
        }
        self.aggregate_rows(rows);
    }

    fn each_relay_mut(&self, mut look: impl FnMut(&RelayObs)) {
        let relays = self.relays().read().unwrap_or_else(PoisonError::into_inner);
        relays.values().for_each(|relay| look(relay));
    }

    fn aggregate_rows(&self, rows: &mut Rows) {
        let counts = self.counts();
        rows.count("ngit_sync_relays_tracked_total", [], counts.tracked);
        rows.count("ngit_sync_relays_connected_total", [], counts.connected);
        rows.count("ngit_sync_relays_dead_total", [], counts.dead);
        let active = self.each_relay(|relay| relay.state().pass.is_some());
        let active = active.into_iter().filter(|pass| *pass).count();
        rows.count("ngit_sync_historic_syncs_active", [], active as u64);
        let waiting = self.each_relay(|relay| relay.state().retry_at.is_some());
        let waiting = waiting.into_iter().filter(|waits| *waits).count();
        rows.count("ngit_sync_retry_queue_depth", ["connect".into()], waiting as u64);
    }
}

fn add(sum: &mut Row, row: &Row) {
    sum.iter_mut().zip(row).for_each(|(sum, count)| *sum += count);
}

fn counter_rows(rows: &mut Rows, relay: &Text, row: &Row) {
    for strip in STRIPS {
        for (at, value) in strip.values.iter().enumerate() {
            let count = row[strip.at + at];
            if strip.label.is_empty() {
                rows.count(strip.family, [relay.clone()], count);
            } else {
                rows.count(strip.family, [relay.clone(), (*value).into()], count);
            }
        }
    }
}

fn outcome_rows(rows: &mut Rows, relay: &Text, row: &Row) {
    for strip in STRIPS.iter().filter(|strip| strip.label == "outcome") {
        for (at, value) in strip.values.iter().enumerate() {
            rows.count(strip.family, [relay.clone(), (*value).into()], row[strip.at + at]);
        }
    }
}

fn gauge_rows(rows: &mut Rows, relay: &Text, obs: &RelayObs, at: WallMs) {
    let label = || [relay.clone()];
    let state = obs.state();
    rows.count("ngit_sync_relay_connected", label(), state.connection as u64);
    rows.count("ngit_sync_relay_status", label(), state.health as u64);
    rows.count("ngit_sync_relay_failures", label(), u64::from(state.failures));
    let since = Some(state.connection_since);
    rows.seconds("ngit_sync_relay_state_entered_timestamp_seconds", label(), since);
    rows.seconds("ngit_sync_relay_next_retry_timestamp_seconds", label(), state.retry_at);
    rows.seconds("ngit_sync_relay_last_sync_timestamp_seconds", label(), state.last_sync);
    for (status, ms) in STATES.into_iter().zip(state.spent(at)) {
        let labels = [relay.clone(), status.as_str().into()];
        rows.number("ngit_sync_relay_state_seconds_total", labels, ms as f64 / 1000.0);
    }
    let mut gaps = BTreeMap::<&str, u64>::new();
    for gap in state.gaps.values() {
        *gaps.entry(gap.reason.as_str()).or_default() += 1;
    }
    for (reason, count) in gaps {
        rows.count("ngit_sync_gaps", [relay.clone(), reason.to_owned().into()], count);
    }
    rows.seconds("ngit_sync_relay_last_seen_timestamp_seconds", label(), obs.last_seen());
    rows.seconds("ngit_sync_relay_last_event_timestamp_seconds", label(), obs.last_event());
    if let Some(rtt) = obs.rtt() {
        rows.number("ngit_sync_relay_rtt_seconds", label(), rtt.as_secs_f64());
    }
    let (subscriptions, filters) = obs.opened();
    rows.count("ngit_sync_subscriptions_active", label(), subscriptions);
    rows.count("ngit_sync_filters_active", label(), filters);
}
