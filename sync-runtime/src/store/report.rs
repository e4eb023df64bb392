//! What commits and sweeps tell of what they did.

use std::collections::BTreeSet;

use nostr::event::{EventId, Kind};
use nostr::key::PublicKey;
use nostr::nips::nip01::Coordinate;
use nostr::types::Timestamp;
use sync_core::item::Item;

use super::{Gone, Outcome, Rejection};

/// A stored event that a commit or a sweep removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The event.
    pub id: EventId,
    /// Its kind.
    pub kind: Kind,
    /// Its author.
    pub pubkey: PublicKey,
    /// Its time.
    pub created_at: Timestamp,
    /// The address that it was the newest version of.
    pub address: Option<Coordinate>,
    /// Why.
    pub why: Gone,
    /// The event that did it; none for expiry.
    pub by: Option<EventId>,
}

/// What a commit did.
#[derive(Clone, Debug, Default)]
pub struct CommitReport {
    /// What became of each event, in the order of [`Commit::events`](super::Commit::events).
    pub outcomes: Vec<Outcome>,
    /// Events that were stored before and are not any more.
    pub removed: Vec<Removed>,
    /// Rejections recorded, or recorded anew.
    pub rejected: u64,
    /// Rejections that became wanted.
    pub wanted: Vec<Rejection>,
    /// Rejections dropped early because there were too many (REJ-1).
    pub dropped: Dropped,
    /// Other tombstones dropped because there were more than [`StoreOptions::tombstones_max`](super::StoreOptions::tombstones_max).
    pub tombstones_dropped: u64,
}

/// Rejections that were dropped before their time: the items are unproven now (REJ-1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// How many.
    pub rows: u64,
    /// What they had come for.
    pub items: BTreeSet<Item>,
}

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Rejections that were old enough (REJ-4).
    pub rejections: u64,
    /// Announcements among them.
    pub announcements: u64,
    /// State events among them.
    pub states: u64,
    /// Tombstones of ephemeral events.
    pub ephemeral: u64,
}
