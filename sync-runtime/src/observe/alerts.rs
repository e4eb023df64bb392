//! The alert rules, evaluated here over the same samples that Prometheus scrapes, for those who
//! run none. `docs/alerts` has the same rules for Prometheus; a test holds both together.

mod condition;
mod rules;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use rules::{RULES, Rule};

use super::Registry;
use super::gather::{Rows, Samples};
use crate::api::{AlertInstance, AlertView, Alerts, WallMs, What};
use condition::Seen;

/// How far back increases look.
const BACK: Duration = Duration::from_secs(3600);

/// How often rules are evaluated.
pub const EVERY: Duration = Duration::from_secs(30);

/// Where rules hold, and the samples that increases are taken from.
#[derive(Debug, Default)]
pub(crate) struct Evaluator(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    past: VecDeque<(WallMs, Seen)>,
    holding: BTreeMap<(usize, String), Holding>,
}

#[derive(Clone, Copy, Debug)]
struct Holding {
    since: WallMs,
    firing: bool,
    value: f64,
}

impl Registry {
    /// Evaluates every rule at this moment; whoever calls it does so every [`EVERY`].
    pub fn evaluate(&self, at: WallMs) {
        let now = Seen::new(self.gather(at));
        let mut state = self.alerts_slot().0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let mut changed = Vec::new();
        for (index, rule) in RULES.iter().enumerate() {
            let found = rule.condition.found(&now, &state.past, at);
            state.holding.retain(|(of, subject), held| {
                let holds = *of != index || found.contains_key(subject);
                if !holds && held.firing {
                    changed.push((rule, subject.clone(), held.value, false));
                }
                holds
            });
            for (subject, value) in found {
                let key = (index, subject.clone());
                let fresh = Holding { since: at, firing: false, value };
                let held = state.holding.entry(key).or_insert(fresh);
                held.value = value;
                if !held.firing && at.since(held.since) >= rule.lasts {
                    held.firing = true;
                    changed.push((rule, subject, value, true));
                }
            }
        }
        state.past.push_back((at, now));
        while state.past.front().is_some_and(|(then, _)| at.since(*then) > BACK) {
            state.past.pop_front();
        }
        for (rule, subject, value, firing) in changed {
            self.alert_entry(rule, &subject, value, firing, at);
        }
    }

    /// Evaluates the rules every [`EVERY`] until `stop`.
    pub async fn watch_alerts(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.evaluate(self.now()),
                () = stop.cancelled() => return,
            }
        }
    }

    fn alert_entry(&self, rule: &Rule, subject: &str, value: f64, firing: bool, at: WallMs) {
        let what = What::Alert {
            name: rule.name.into(),
            severity: rule.severity.into(),
            firing,
            summary: rule.text(subject, value),
        };
        self.note(subject.parse().ok(), what, at);
    }

    /// Every rule and where it stands.
    pub fn alerts(&self) -> Alerts {
        let state = self.alerts_slot().0.lock().unwrap_or_else(PoisonError::into_inner);
        let view = |(index, rule): (usize, &Rule)| AlertView {
            name: rule.name.into(),
            severity: rule.severity.into(),
            for_s: rule.lasts.into(),
            summary: rule.summary.into(),
            instances: state
                .holding
                .iter()
                .filter(|((of, _), _)| *of == index)
                .map(|((_, subject), held)| AlertInstance {
                    subject: subject.clone(),
                    since_ms: held.since,
                    firing: held.firing,
                    value: held.value,
                })
                .collect(),
        };
        Alerts { alerts: RULES.iter().enumerate().map(view).collect() }
    }

    pub(crate) fn alert_rows(&self, rows: &mut Rows) {
        let alerts = self.alerts().alerts;
        for (rule, view) in RULES.iter().zip(alerts) {
            let firing = view.instances.iter().filter(|instance| instance.firing).count();
            let labels = [rule.name.into(), rule.severity.into()];
            rows.count("ngit_sync_alerts_firing", labels, firing as u64);
        }
    }
}
