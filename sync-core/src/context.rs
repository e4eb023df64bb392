//! What every transition gets: the time, the configuration, and the sinks that it writes to. No
//! child owns a queue, so nothing can get stuck in one.

use alloc::collections::VecDeque;
use core::time::Duration;

use nostr::types::Timestamp;

use crate::agenda::Agenda;
use crate::command::Command;
use crate::config::Config;
use crate::event::Event;
use crate::id::BatchId;
use crate::ledger::LedgerChange;
use crate::time::Instant;
use crate::want::Want;

/// State of the core that transitions of one relay share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) agenda: Agenda,
    pub(crate) want: Want,
    pub(crate) out: VecDeque<Command>,
    pub(crate) dials: DialBudget,
    pub(crate) next_batch: u32,
    pub(crate) booted: bool,
    pub(crate) shutdown: bool,
}

/// The arguments of a transition.
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) wall: Timestamp,
    pub(crate) config: &'a Config,
    pub(crate) shared: &'a mut Shared,
}

impl Context<'_> {
    pub(crate) fn command(&mut self, command: Command) {
        self.shared.out.push_back(command);
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.command(Command::Emit(event));
    }

    /// Writes to the ledger; a core that only looks leaves it as it is.
    pub(crate) fn persist(&mut self, changes: impl IntoIterator<Item = LedgerChange>) {
        if !self.is_probe() {
            self.shared.out.extend(changes.into_iter().map(Command::Persist));
        }
    }

    /// Whether this core only looks.
    pub(crate) fn is_probe(&self) -> bool {
        self.config.probe.is_some()
    }

    pub(crate) fn batch_id(&mut self) -> BatchId {
        self.shared.next_batch += 1;
        BatchId(self.shared.next_batch)
    }

    /// The newest second that requests reach: events up to `accept.future_max` ahead are taken.
    pub(crate) fn top(&self) -> Timestamp {
        Timestamp::from_secs(self.wall.as_secs() + self.config.accept.future_max.as_secs())
    }

    /// The instant of a wall time; now, when it has passed.
    pub(crate) fn instant_of(&self, wall: Timestamp) -> Instant {
        self.now + Duration::from_secs(wall.as_secs().saturating_sub(self.wall.as_secs()))
    }
}

/// Dials a second over all relays (CONN-8), as one theoretical arrival time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DialBudget {
    next: Instant,
}

impl DialBudget {
    /// Reserves the next free slot and says when it is: each waiting relay has one of its own, so
    /// that they do not wake each other.
    pub(crate) fn reserve(&mut self, now: Instant, per_second: u32) -> Instant {
        let burst = Duration::from_secs(1);
        let cost = burst / per_second.max(1);
        self.next = self.next.max(now) + cost;
        now.max(self.next - burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_admits_as_many_dials_as_configured() {
        let mut budget = DialBudget::default();
        let now = Instant::from_micros(7);
        let taken = (0..20).filter(|_| budget.reserve(now, 20) == now).count();
        assert_eq!(taken, 20);
        let waits = [(); 3].map(|()| budget.reserve(now, 20).since(now).as_millis());
        assert_eq!(waits, [50, 100, 150]);
    }
}
