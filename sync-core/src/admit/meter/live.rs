//! Ids that came live on a connection, the last few thousand.

use alloc::vec::Vec;

use nostr::event::EventId;

/// A ring of ids.
#[derive(Debug, Default)]
pub(super) struct LiveIds {
    ids: Vec<EventId>,
    next: usize,
}

impl LiveIds {
    /// Ids that are kept: 128 KiB.
    const MAX: usize = 4096;

    pub(super) fn push(&mut self, id: EventId) {
        if self.ids.len() < Self::MAX {
            self.ids.push(id);
        } else {
            self.ids[self.next] = id;
        }
        self.next = (self.next + 1) % Self::MAX;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = EventId> {
        self.ids.iter().copied()
    }
}
