//! A rejection as the world's store remembers it (REJ-1).

use nostr::event::{EventId, Kind};
use nostr::filter::Filter;
use nostr::key::PublicKey;
use nostr::types::Timestamp;
use sync_core::admit::rejected::{Dependency, RejectReason};
use sync_core::item::Item;
use sync_core::url::RelayUrl;

/// Whether a row still keeps its event away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionState {
    /// A tombstone: in have-sets, dropped on arrival.
    Cold,
    /// A dependency was satisfied (REJ-3): asked for by id, no tombstone.
    Wanted,
}

/// What is remembered of one rejected event.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// The event.
    pub id: EventId,
    /// Its author.
    pub pubkey: PublicKey,
    /// Its `created_at`.
    pub created_at: Timestamp,
    /// Its kind.
    pub kind: Kind,
    /// The items it may be served for.
    pub items: Vec<Item>,
    /// The first relays that served it, at most [`Rejection::MAX_RELAYS`].
    pub relays: Vec<RelayUrl>,
    /// Why.
    pub reason: RejectReason,
    /// What it waits for.
    pub depends_on: Vec<Dependency>,
    /// The policy revision that judged it.
    pub revision: u64,
    /// Whether it still stands.
    pub state: RejectionState,
}

impl Rejection {
    /// Relays of a row.
    pub const MAX_RELAYS: usize = 4;

    /// Whether it keeps its event away: it stands, by this policy, and the time it waits for has
    /// not come.
    pub fn is_tombstone(&self, now: Timestamp, revision: u64) -> bool {
        self.state == RejectionState::Cold
            && self.revision == revision
            && !self.depends_on.iter().any(|d| matches!(d, Dependency::Time(at) if *at <= now))
    }

    /// Whether the event may match `filter`, as far as the row's items tell of its tags.
    pub fn may_match(&self, filter: &Filter) -> bool {
        filter.ids.as_ref().is_none_or(|ids| ids.contains(&self.id))
            && filter.authors.as_ref().is_none_or(|a| a.contains(&self.pubkey))
            && filter.kinds.as_ref().is_none_or(|k| k.contains(&self.kind))
            && filter.since.is_none_or(|since| self.created_at >= since)
            && filter.until.is_none_or(|until| self.created_at <= until)
            && filter.generic_tags.iter().all(|(letter, values)| {
                self.items.iter().any(|item| match (item, letter.as_char()) {
                    (Item::Repo(repo), 'a' | 'A' | 'q') => values.contains(&repo.to_string()),
                    (Item::Repo(repo), 'd') => values.contains(&repo.identifier),
                    (Item::Thread(id), 'e' | 'E' | 'q') => values.contains(&id.to_hex()),
                    _ => false,
                })
            })
    }
}
