//! What the machine says of itself: why a relay is in its state, what is missing, what comes
//! next; and whether a single run has nothing left to do (DISC-10).

use alloc::vec::Vec;

use nostr::types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::agenda::Deadline;
use crate::core::SyncCore;
use crate::id::{RelayId, RowId};
use crate::ledger::Gap;
use crate::relay::{Phase, RelayMachine};
use crate::status::{HealthStatus, Reason, RelayStatus};
use crate::url::RelayUrl;

/// Why a relay is in its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Its URL.
    pub url: RelayUrl,
    /// Whether it was configured.
    pub bootstrap: bool,
    /// The derived status.
    pub status: RelayStatus,
    /// The derived health.
    pub health: HealthStatus,
    /// Why the status last changed.
    pub reason: Reason,
    /// Consecutive failures.
    pub failures: u32,
    /// Wall time of the first of them.
    pub failing_since: Option<Timestamp>,
    /// Whether a person paused it.
    pub paused: bool,
    /// Whether anything is wanted from it.
    pub wanted: bool,
    /// Items wanted.
    pub items_wanted: u32,
    /// Of them, proven at some time.
    pub items_proven: u32,
    /// Of them, live now.
    pub items_live: u32,
    /// Batches that are pending.
    pub batches: u32,
    /// Open subscriptions and sessions.
    pub subscriptions: u32,
    /// Events that history brought and that are not settled.
    pub unsettled: u64,
    /// The oldest proven watermark of its items; `None` while one is not proven.
    pub watermark: Option<Timestamp>,
    /// When all history of its items was last proven, of the oldest; `None` while one is not.
    pub proven_at: Option<Timestamp>,
    /// The second from which pages would go on (HIST-1).
    pub resume_since: Timestamp,
    /// Whether its history is reconciled: NIP-77 is allowed, and nothing says that it refuses.
    pub reconciles: bool,
    /// Wall time at which the last pass finished.
    pub pass_finished_at: Option<Timestamp>,
    /// Wall time at which the connection was lost.
    pub disconnected_at: Option<Timestamp>,
    /// What is missing and named.
    pub gaps: Vec<(RowId, Gap)>,
    /// What time alone brings next.
    pub next: Option<Deadline>,
    /// Milliseconds until then.
    pub next_in_ms: u64,
}

/// Where a single run stands (DISC-10).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Relays that still have work to do.
    pub busy: Vec<RelayId>,
    /// Relays of which everything wanted is proven.
    pub complete: Vec<RelayId>,
    /// Relays of which something is missing, and named: gaps, or they cannot be reached.
    pub explained: Vec<RelayId>,
    /// Whether facts wait in the discovery window.
    pub collecting: bool,
}

impl Progress {
    /// Whether nothing is left to wait for.
    pub fn is_over(&self) -> bool {
        self.busy.is_empty() && !self.collecting
    }

    /// Whether everything wanted is proven.
    pub fn is_complete(&self) -> bool {
        self.is_over() && self.explained.is_empty()
    }
}

/// Where one relay stands in a single run.
enum Stand {
    Idle,
    Busy,
    Complete,
    Explained,
}

impl SyncCore {
    /// Why a relay is in its state, what is missing, what comes next and when.
    pub fn explain(&self, relay: RelayId) -> Option<Explanation> {
        let machine = self.machines().get(relay.0 as usize)?;
        let known = &machine.relay;
        let wanted = self.want().needed(relay);
        let items = || wanted.into_iter().flatten();
        let proven = items().filter(|item| known.coverage.cohort(item).is_some()).count();
        let session = match &machine.phase {
            Phase::Online(session) => Some(session),
            Phase::Idle
            | Phase::Waiting { .. }
            | Phase::Dialing { .. }
            | Phase::Draining { .. } => None,
        };
        let live = session.map_or(0, |s| items().filter(|item| s.is_live(item)).count());
        let watermark = items().map(|item| known.coverage.cohort(item).map(|c| c.until));
        let proven_at = items().map(|item| known.coverage.cohort(item).map(|c| c.full_as_of));
        let health = known.health.status(
            self.now(),
            self.wall_now(),
            session.is_some(),
            &self.config().health,
        );
        let next = self.agenda().next_of(relay);
        Some(Explanation {
            url: known.url.clone(),
            bootstrap: self.want().is_bootstrap(relay),
            status: machine.status(),
            health,
            reason: known.why,
            failures: known.health.failures,
            failing_since: known.health.failing_since,
            paused: known.paused,
            wanted: self.want().is_target(relay) && self.config().looks_at(&known.url),
            items_wanted: items().count() as u32,
            items_proven: proven as u32,
            items_live: live as u32,
            batches: session.map_or(0, |s| s.batches.len() as u32),
            subscriptions: session.map_or(0, |s| s.open_count()),
            unsettled: session.map_or(0, |s| s.unsettled()),
            watermark: watermark.min().flatten(),
            proven_at: proven_at.min().flatten(),
            resume_since: known.resume_from(items(), self.config()),
            reconciles: known.reconciles(self.config(), self.wall_now()),
            pass_finished_at: known.pass_finished_at,
            disconnected_at: known.disconnected_at,
            gaps: known.coverage.gaps().map(|(row, gap)| (row, gap.clone())).collect(),
            next,
            next_in_ms: next.map_or(0, |next| next.at.since(self.now()).as_millis() as u64),
        })
    }

    /// Wanted repositories, and root and thread events.
    pub fn wanted_counts(&self) -> (usize, usize) {
        self.want().counts()
    }

    /// Where a single run stands (DISC-10).
    pub fn progress(&self) -> Progress {
        let collecting = !self.is_booted() || self.want().opened().is_some();
        let mut progress = Progress { collecting, ..Progress::default() };
        for machine in self.machines() {
            let id = machine.relay.id;
            match self.stand(machine) {
                Stand::Idle => {}
                Stand::Busy => progress.busy.push(id),
                Stand::Complete => progress.complete.push(id),
                Stand::Explained => progress.explained.push(id),
            }
        }
        progress
    }

    fn stand(&self, machine: &RelayMachine) -> Stand {
        let known = &machine.relay;
        let looks = self.config().looks_at(&known.url);
        if !self.want().is_target(known.id) || known.is_self || !looks {
            return Stand::Idle;
        }
        let sync = &self.config().sync;
        let enough = match self.want().is_bootstrap(known.id) {
            true => sync.explained_after,
            false => sync.explained_after_discovered,
        };
        match &machine.phase {
            Phase::Online(session) if !session.is_idle() => Stand::Busy,
            Phase::Online(_) if machine.has_named_gaps() => Stand::Explained,
            Phase::Online(_) => Stand::Complete,
            Phase::Idle
            | Phase::Waiting { .. }
            | Phase::Dialing { .. }
            | Phase::Draining { .. }
                if known.paused || known.failures_here >= enough =>
            {
                Stand::Explained
            }
            Phase::Idle
            | Phase::Waiting { .. }
            | Phase::Dialing { .. }
            | Phase::Draining { .. } => Stand::Busy,
        }
    }
}
