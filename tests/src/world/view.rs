//! What can be asked of a world: statuses, contents, what is under way, what did not hold.

use std::collections::BTreeSet;

use nostr::event::{Event, EventId};
use sync_core::id::RelayId;
use sync_core::status::RelayStatus;

use super::{Happening, World};
use crate::check::{Ledger, Violation, items_match};

impl World {
    /// What the store holds.
    pub fn stored(&self) -> BTreeSet<EventId> {
        self.plane.store.ids()
    }

    /// Whether every relay that the core dials is past its pass, and nothing is under way.
    pub fn is_converged(&self) -> bool {
        let statuses: Vec<(RelayId, RelayStatus)> = self.core.relays().collect();
        let settled = |status: &RelayStatus| {
            matches!(status, RelayStatus::Connected | RelayStatus::ConnectedDegraded)
        };
        !statuses.is_empty()
            && statuses.iter().all(|(_, status)| settled(status))
            && self.is_quiet()
    }

    /// Whether nothing is under way but what the scenario plans.
    pub fn is_quiet(&self) -> bool {
        self.pipeline.is_empty()
            && self.queue.values().all(|happening| matches!(happening, Happening::Scenario(_)))
    }

    /// Whether nothing is under way and no request is open but live ones.
    pub fn is_idle(&self) -> bool {
        self.is_quiet() && self.links.values().all(|link| link.negs.is_empty())
    }

    /// What is still under way, for people.
    pub fn describe(&self) -> String {
        let next: Vec<_> = self.queue.values().take(3).collect();
        let negs: Vec<_> = self
            .links
            .iter()
            .filter(|(_, link)| !link.negs.is_empty())
            .map(|(conn, link)| (*conn, link.negs.keys().copied().collect::<Vec<_>>()))
            .collect();
        let deadline = self.core.next_deadline();
        format!("deadline {deadline:?}, next {next:?}, open reconciliations {negs:?}")
    }

    /// Whether a gap of the ledger covers this event.
    pub fn is_named_by_gap(&self, event: &Event) -> bool {
        let filters = &self.setup.config.accept.filters;
        self.relays.iter().any(|relay| {
            self.ledger().gaps(&relay.url).any(|gap| {
                gap.range.contains(event.created_at) && items_match(&gap.items, filters)(event)
            })
        })
    }

    /// Whether the core said that it ended (L5).
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The status of a relay, by its index here; `None` while the core does not know it.
    pub fn status(&self, relay: usize) -> Option<RelayStatus> {
        self.core.status(self.core.relay_id(&self.relays[relay].url)?)
    }

    /// What the ledger holds.
    pub fn ledger(&self) -> &Ledger {
        self.watch.ledger()
    }

    /// A digest of all commands so far (D1), and how many they were.
    pub fn digest(&self) -> (u64, u64) {
        (self.digest, self.commands)
    }

    /// Subscriptions and reconciliations that are open.
    pub fn open(&self) -> usize {
        self.watch.open()
    }

    /// The first thing that did not hold.
    pub fn violation(&self) -> Option<&Violation> {
        self.watch.first()
    }

    /// # Panics
    ///
    /// When something did not hold, with the seed that shows it again.
    pub fn expect_sound(&self) {
        if let Some(violation) = self.violation() {
            panic!("{violation}\nseed {}, {:?} into the run", self.setup.seed, self.elapsed());
        }
    }
}
