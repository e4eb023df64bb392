//! The phase of the process, derived from its relays, and the time spent in each.

use std::collections::BTreeMap;

use sync_core::event::Event;
use sync_core::status::{Reason, RelayStatus};

use super::Registry;
use crate::api::{Phase, WallMs};

/// The current phase and how long each lasted.
#[derive(Debug)]
pub(crate) struct PhaseClock {
    phase: Phase,
    since: WallMs,
    spent_ms: [u64; Phase::ALL.len()],
    stopping: bool,
    dialed: bool,
    pub(crate) transitions: BTreeMap<(Phase, Phase, &'static str), u64>,
}

impl PhaseClock {
    pub(crate) fn new(at: WallMs) -> Self {
        Self {
            phase: Phase::Starting,
            since: at,
            spent_ms: [0; Phase::ALL.len()],
            stopping: false,
            dialed: false,
            transitions: BTreeMap::new(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn since(&self) -> WallMs {
        self.since
    }

    /// The daemon ends; every later phase is Stopping.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// A first dial ended, well or not.
    fn dialed(&mut self) {
        self.dialed = true;
    }

    /// Enters a phase; the one before when it is another.
    fn enter(&mut self, to: Phase, reason: &'static str, at: WallMs) -> Option<Phase> {
        let from = self.phase;
        if from == to {
            return None;
        }
        self.spent_ms = self.spent(at);
        *self.transitions.entry((from, to, reason)).or_default() += 1;
        self.phase = to;
        self.since = at;
        Some(from)
    }

    /// Milliseconds in each phase, with the running one.
    pub(crate) fn spent(&self, at: WallMs) -> [u64; Phase::ALL.len()] {
        let mut spent = self.spent_ms;
        spent[self.phase as usize] += at.0.saturating_sub(self.since.0);
        spent
    }
}

impl Registry {
    /// The daemon begins to end.
    pub fn stopping(&self, at: WallMs) {
        self.state().phase.stop();
        self.enter_phase(Phase::Stopping, Reason::Shutdown.as_str(), at);
    }

    fn enter_phase(&self, to: Phase, reason: &'static str, at: WallMs) {
        let from = self.state().phase.enter(to, reason, at);
        if let Some(from) = from {
            self.phase_entry(from, to, reason, at);
        }
    }

    /// Derives the phase anew after an event that may change it.
    pub(crate) fn update_phase(&self, event: &Event, at: WallMs) {
        let reason = match event {
            Event::StatusChanged { reason, .. } => reason.as_str(),
            Event::DialEnded { result, .. } => {
                self.state().phase.dialed();
                if result.is_ok() { "connect_ok" } else { "connect_failed" }
            }
            Event::RelayTracked { .. } => "discovered",
            Event::RelayForgotten { .. } => "removed",
            Event::Ended => "shutdown",
            _ => return,
        };
        let states = self.each_relay(|relay| {
            let state = relay.state();
            (state.connection, state.reason)
        });
        let (stopping, dialed) = {
            let clock = &self.state().phase;
            (clock.stopping, clock.dialed)
        };
        self.enter_phase(derive(&states, stopping, dialed), reason, at);
    }
}

fn derive(relays: &[(RelayStatus, Reason)], stopping: bool, dialed: bool) -> Phase {
    let any = |status| relays.iter().any(|(connection, _)| *connection == status);
    let paused = |(connection, reason): &(RelayStatus, Reason)| {
        *connection == RelayStatus::Disconnected && *reason == Reason::Paused
    };
    if stopping {
        Phase::Stopping
    } else if any(RelayStatus::Syncing) {
        Phase::Syncing
    } else if any(RelayStatus::ConnectedDegraded) {
        Phase::Partial
    } else if any(RelayStatus::Connected) {
        Phase::Live
    } else if !relays.is_empty() && relays.iter().all(paused) {
        Phase::Paused
    } else if dialed {
        Phase::Offline
    } else {
        Phase::Starting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phase_follows_from_the_relays() {
        use RelayStatus as S;
        let of = |states: &[S]| {
            let relays: Vec<_> = states.iter().map(|s| (*s, Reason::Startup)).collect();
            derive(&relays, false, true)
        };
        assert_eq!(of(&[]), Phase::Offline);
        assert_eq!(derive(&[], false, false), Phase::Starting);
        assert_eq!(of(&[S::Disconnected, S::Connecting]), Phase::Offline);
        assert_eq!(of(&[S::Connected, S::Connecting]), Phase::Live);
        assert_eq!(of(&[S::Connected, S::ConnectedDegraded]), Phase::Partial);
        assert_eq!(of(&[S::Syncing, S::ConnectedDegraded]), Phase::Syncing);
        assert_eq!(derive(&[(S::Disconnected, Reason::Paused)], false, true), Phase::Paused);
        assert_eq!(derive(&[(S::Syncing, Reason::ConnectOk)], true, true), Phase::Stopping);
    }

    #[test]
    fn time_in_a_phase_is_exact_and_the_running_one_counts() {
        let mut clock = PhaseClock::new(WallMs(1000));
        clock.enter(Phase::Syncing, "connect_ok", WallMs(1500));
        clock.enter(Phase::Syncing, "connect_ok", WallMs(1700));
        clock.enter(Phase::Live, "historic_complete", WallMs(4000));
        assert_eq!(clock.spent(WallMs(9000)), [500, 2500, 5000, 0, 0, 0, 0]);
        assert_eq!(clock.since(), WallMs(4000));
        assert_eq!(clock.transitions.len(), 2);
    }
}
