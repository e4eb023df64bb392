//! Our side of a connection, as the shell's task keeps it: the meter, reconciliations, and the
//! order of frames in both directions.

use std::collections::BTreeMap;

use sync_core::admit::meter::Meter;
use sync_core::admit::reconcile::Reconciler;
use sync_core::id::{NegId, SubId};
use sync_core::time::Instant;

/// A connection that is open.
#[derive(Debug)]
pub(super) struct Link {
    /// Index of the relay.
    pub(super) relay: usize,
    pub(super) meter: Meter,
    pub(super) negs: BTreeMap<NegId, Negotiation>,
    /// Frames arrive in the order they were sent: not before these moments.
    pub(super) up: Instant,
    pub(super) down: Instant,
    /// Whether a flush is due (F2).
    pub(super) flushing: bool,
    /// Subscriptions whose events are asked for by id.
    pub(super) by_id: Vec<SubId>,
}

/// A reconciliation of ours.
#[derive(Debug)]
pub(super) struct Negotiation {
    pub(super) reconciler: Reconciler,
    /// Bytes of NEG frames, both directions.
    pub(super) bytes: u64,
}

impl Link {
    pub(super) fn new(relay: usize, meter: Meter, now: Instant) -> Self {
        Self {
            relay,
            meter,
            negs: BTreeMap::new(),
            up: now,
            down: now,
            flushing: false,
            by_id: Vec::new(),
        }
    }
}
