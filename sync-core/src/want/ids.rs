//! Single events that are wanted by id (REJ-3, ACPT-5, ACPT-8): until one relay served them, or
//! each that may have them answered without them.

use nostr::event::EventId;
use nostr::types::Timestamp;

use super::{Deltas, Want};
use crate::id::RelayId;
use crate::item::Item;
use crate::url::RelayUrl;

impl Want {
    /// The second from which the next id may be asked for that may not yet (ACPT-8).
    pub fn next_later(&self) -> Option<Timestamp> {
        self.later.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn want_id(
        &mut self,
        id: EventId,
        relays: &[RelayUrl],
        historic: bool,
        resolve: &mut impl FnMut(&RelayUrl) -> Option<RelayId>,
        deltas: &mut Deltas,
    ) {
        // Configured relays may have it as well as those of the row.
        let mut asked = self.bootstrap.clone();
        if self.discover {
            asked.extend(relays.iter().filter_map(resolve));
        }
        let relays = self.admit(asked);
        if relays.is_empty() {
            return; // nobody to ask; the row stays marked (REJ-3)
        }
        self.ids.entry(id).or_default().extend(relays);
        self.settle_item(&Item::Id(id), historic, deltas);
    }

    /// An id was settled: no relay is asked for it any longer.
    pub fn mark_done(&mut self, id: EventId) {
        if self.ids.contains_key(&id) {
            self.ids_done.push(id);
        }
    }

    /// A relay was asked for an id and answered without it: it is not asked again (REJ-3).
    pub fn mark_refused(&mut self, id: EventId, relay: RelayId) {
        if self.ids.contains_key(&id) {
            self.ids_refused.push((id, relay));
        }
    }

    /// What the next settled id changes, if there is one.
    pub fn take_done(&mut self) -> Option<Deltas> {
        let mut deltas = Deltas::new();
        let id = match (self.ids_done.pop(), self.ids_refused.pop()) {
            (None, None) => return None,
            (Some(id), refused) => {
                self.ids_refused.extend(refused);
                self.ids.remove(&id);
                id
            }
            (None, Some((id, relay))) => {
                let relays = self.ids.get_mut(&id);
                let left = relays.is_some_and(|relays| {
                    relays.remove(&relay);
                    !relays.is_empty()
                });
                if !left {
                    self.ids.remove(&id);
                }
                id
            }
        };
        self.settle_item(&Item::Id(id), false, &mut deltas);
        Some(deltas)
    }
}
