//! The end of a process and the start of the next: in order, or by a kill that takes with it
//! everything after the last commit.

use sync_core::core::SyncCore;
use sync_core::input::{FactSource, Input};
use sync_core::ledger::LedgerChange;

use super::{Happening, World};
use crate::check::{Ledger, Violation, Watch};
use crate::sim::relay::SimRelay;

impl World {
    /// What the ledger holds, written or not.
    pub fn ledger(&self) -> &Ledger {
        self.watch.ledger()
    }

    /// What a kill now would leave of the ledger.
    pub fn durable(&self) -> &Ledger {
        &self.durable
    }

    /// A row is written with the next commit of events, or with one of its own.
    pub(super) fn persist(&mut self, change: LedgerChange) {
        if self.unwritten.is_empty() {
            self.schedule(self.now + self.store_delay, Happening::Commit);
        }
        self.unwritten.push(change);
    }

    pub(super) fn commit(&mut self) {
        for change in std::mem::take(&mut self.unwritten) {
            self.durable.apply(&change);
        }
    }

    /// The process ends after it wrote what it had to.
    pub(super) fn restart(&mut self) {
        self.commit();
        self.begin_anew(self.watch.ledger().clone());
    }

    /// The process ends at once: events in the pipeline are lost, and rows since the last commit.
    pub(super) fn kill(&mut self) {
        self.unwritten.clear();
        self.begin_anew(self.durable.clone());
    }

    fn begin_anew(&mut self, ledger: Ledger) {
        self.restarts += 1;
        self.links.clear();
        self.pipeline.clear();
        self.inbox.clear();
        self.settling = false;
        self.queue.retain(|_, happening| matches!(happening, Happening::Scenario(_)));
        self.relays.iter_mut().for_each(SimRelay::close_all);
        let rows = ledger.rows();
        let first = self.watch.first().cloned();
        self.began = self.now;
        self.told_wall = Some(self.wall());
        let seed = self.setup.seed.wrapping_add(self.restarts);
        self.core = SyncCore::new(self.setup.config.clone(), seed, self.wall());
        self.watch = Watch::new(&self.setup.config, ledger);
        if let Some(Violation { id, text, .. }) = first {
            self.watch.fail(id, text);
        }
        self.drain();
        for row in rows {
            self.deliver(Input::Ledger(row));
        }
        let facts = self.plane.restart();
        for facts in facts.chunks(Input::MAX_FACTS) {
            let facts = facts.to_vec();
            self.deliver(Input::Facts { from: FactSource::Boot, facts });
        }
        self.boot();
    }
}
