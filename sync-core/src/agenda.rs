//! Deadlines of the whole core: absolute, with a reason, fired in the order of (time, relay,
//! reason) (T1 to T3).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::{NegId, RelayId, SubId};
use crate::time::Instant;

/// What a deadline is for. The order is the order in which timers of one moment fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timer {
    /// Collected facts become targets (DISC-6).
    DiscoveryWindow,
    /// An id may be asked for that could not be before (ACPT-8).
    Later,
    /// The live watermark of a relay is written (§2).
    LiveWrite,
    /// The next dial.
    Retry,
    /// The shell must have answered a dial.
    Dial,
    /// The shell must have closed a connection.
    Drain,
    /// The connection is stable: the streak ends (HLTH-1).
    Stable,
    /// The cooldown ends (TALK-2).
    Cooldown,
    /// A settling pass is reported as slow (HIST-8).
    Settle,
    /// Failed batches are tried again (HIST-9).
    Refetch,
    /// A recent part is reconciled (HIST-11).
    Audit,
    /// Everything is reconciled (CONN-5).
    Daily,
    /// History starts although the live request has not answered (FILT-3).
    LiveWait(SubId),
    /// A request has made no progress for too long.
    Eose(SubId),
    /// A negentropy session has made no progress for too long (HIST-4).
    Neg(NegId),
}

/// The next thing that time alone brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// Of which relay; `None` for the core's own.
    pub relay: Option<RelayId>,
    /// What for.
    pub reason: Timer,
}

/// Every armed timer. A timer of a relay is armed at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Agenda {
    order: BTreeSet<Deadline>,
    armed: BTreeMap<(Option<RelayId>, Timer), Instant>,
}

impl Agenda {
    /// Arms a timer, replacing its earlier deadline.
    pub(crate) fn arm(&mut self, relay: Option<RelayId>, reason: Timer, at: Instant) {
        self.cancel(relay, reason);
        self.armed.insert((relay, reason), at);
        self.order.insert(Deadline { at, relay, reason });
    }

    /// Disarms a timer, if it is armed.
    pub(crate) fn cancel(&mut self, relay: Option<RelayId>, reason: Timer) {
        if let Some(at) = self.armed.remove(&(relay, reason)) {
            self.order.remove(&Deadline { at, relay, reason });
        }
    }

    /// Disarms every timer of a relay that `which` names.
    pub(crate) fn cancel_where(&mut self, relay: RelayId, which: impl Fn(Timer) -> bool) {
        let first = (Some(relay), Timer::DiscoveryWindow);
        let last = (Some(relay), Timer::Neg(NegId(u32::MAX)));
        let gone: Vec<Timer> =
            self.armed.range(first..=last).map(|((_, t), _)| *t).filter(|t| which(*t)).collect();
        for timer in gone {
            self.cancel(Some(relay), timer);
        }
    }

    /// When a timer fires, if it is armed.
    pub(crate) fn at(&self, relay: Option<RelayId>, reason: Timer) -> Option<Instant> {
        self.armed.get(&(relay, reason)).copied()
    }

    /// The next deadline.
    pub(crate) fn next(&self) -> Option<Deadline> {
        self.order.first().copied()
    }

    /// The next deadline of one relay.
    pub(crate) fn next_of(&self, relay: RelayId) -> Option<Deadline> {
        let first = (Some(relay), Timer::DiscoveryWindow);
        let last = (Some(relay), Timer::Neg(NegId(u32::MAX)));
        self.armed
            .range(first..=last)
            .map(|((relay, reason), at)| Deadline { at: *at, relay: *relay, reason: *reason })
            .min()
    }

    /// The timers due at `now`, in order; each stays armed until [`Self::take`].
    pub(crate) fn due(&self, now: Instant) -> Vec<Deadline> {
        self.order.iter().take_while(|deadline| deadline.at <= now).copied().collect()
    }

    /// Disarms `deadline` and says whether it was still armed for that time: an earlier timer of
    /// the same moment may have cancelled or moved it.
    pub(crate) fn take(&mut self, deadline: Deadline) -> bool {
        let armed = self.at(deadline.relay, deadline.reason) == Some(deadline.at);
        if armed {
            self.cancel(deadline.relay, deadline.reason);
        }
        armed
    }

    /// How many timers are armed.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_timers_come_in_order_of_time_relay_and_reason() {
        let mut agenda = Agenda::default();
        let at = Instant::from_micros;
        agenda.arm(Some(RelayId(1)), Timer::Audit, at(5));
        agenda.arm(Some(RelayId(0)), Timer::Daily, at(5));
        agenda.arm(Some(RelayId(1)), Timer::Retry, at(5));
        agenda.arm(None, Timer::DiscoveryWindow, at(5));
        agenda.arm(Some(RelayId(9)), Timer::Drain, at(4));
        agenda.arm(Some(RelayId(9)), Timer::Retry, at(6));
        let due: Vec<_> = agenda.due(at(5)).iter().map(|d| (d.relay, d.reason)).collect();
        assert_eq!(
            due,
            [
                (Some(RelayId(9)), Timer::Drain),
                (None, Timer::DiscoveryWindow),
                (Some(RelayId(0)), Timer::Daily),
                (Some(RelayId(1)), Timer::Retry),
                (Some(RelayId(1)), Timer::Audit),
            ]
        );
    }

    #[test]
    fn a_timer_that_was_moved_is_not_taken() {
        let mut agenda = Agenda::default();
        agenda.arm(None, Timer::DiscoveryWindow, Instant::from_micros(1));
        let due = agenda.next().expect("armed above");
        agenda.arm(None, Timer::DiscoveryWindow, Instant::from_micros(9));
        assert!(!agenda.take(due));
        assert_eq!(agenda.len(), 1);
    }

    #[test]
    fn cancelling_of_one_relay_leaves_the_others() {
        let mut agenda = Agenda::default();
        for relay in 0..3 {
            agenda.arm(Some(RelayId(relay)), Timer::Eose(SubId(7)), Instant::from_micros(1));
            agenda.arm(Some(RelayId(relay)), Timer::Retry, Instant::from_micros(1));
        }
        agenda.cancel_where(RelayId(1), |timer| matches!(timer, Timer::Eose(_)));
        assert_eq!(agenda.len(), 5);
        assert_eq!(agenda.at(Some(RelayId(1)), Timer::Eose(SubId(7))), None);
    }
}
