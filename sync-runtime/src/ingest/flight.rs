//! Ids between intake and store. Copies of an id in flight wait for the first one (T8), and the
//! bytes under way are bounded.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use nostr::event::EventId;

use crate::connection::Arrival;

/// What is under way.
#[derive(Debug)]
pub(super) struct InFlight {
    bytes_max: u64,
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: u64,
    closed: bool,
    /// By claimed id: the copies that wait for the first.
    copies: HashMap<EventId, Vec<Arrival>>,
}

impl InFlight {
    /// Nothing under way yet; at most `bytes_max` of JSON, or one batch.
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, state: Mutex::default(), released: Condvar::new() }
    }

    /// Waits until `bytes` have room; `false` when the writer is gone.
    pub(super) fn enter(&self, bytes: u64) -> bool {
        let mut state = self.lock();
        while !state.closed && state.bytes > 0 && state.bytes + bytes > self.bytes_max {
            state = self.released.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.bytes += bytes;
        !state.closed
    }

    /// Gives room back.
    pub(super) fn leave(&self, bytes: u64) {
        self.lock().bytes -= bytes;
        self.released.notify_one();
    }

    /// The writer ends: nobody waits any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.released.notify_all();
    }

    /// Whether the writer has ended, or is asked to.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Keeps copies of ids in flight aside; gives the others back, in order, as the first of theirs.
    pub(super) fn first(&self, arrivals: Vec<Arrival>) -> Vec<Arrival> {
        let mut state = self.lock();
        let mut first = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            match state.copies.entry(arrival.envelope.id) {
                Entry::Occupied(mut copies) => copies.get_mut().push(arrival),
                Entry::Vacant(free) => {
                    free.insert(Vec::new());
                    first.push(arrival);
                }
            }
        }
        first
    }

    /// The first copy of `id` proved forged or off-filter: the next one takes its place.
    pub(super) fn next(&self, id: &EventId) -> Option<Arrival> {
        let mut state = self.lock();
        let copies = state.copies.get_mut(id)?;
        if copies.is_empty() {
            state.copies.remove(id);
            return None;
        }
        Some(copies.remove(0))
    }

    /// The fate of these ids is durable, or failed: their copies share it.
    pub(super) fn done(&self, ids: &[EventId]) -> Vec<Arrival> {
        let mut state = self.lock();
        ids.iter().filter_map(|id| state.copies.remove(id)).flatten().collect()
    }

    /// Looks at the copies that wait for `id`.
    pub(super) fn peek(&self, id: &EventId, mut see: impl FnMut(&Arrival)) {
        if let Some(copies) = self.lock().copies.get(id) {
            copies.iter().for_each(&mut see);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
