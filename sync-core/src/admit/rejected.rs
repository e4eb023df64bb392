//! What is remembered of rejected events (spec §10): rows, what they wait for, and the hot tier
//! that keeps whole events for a short while. The cold rows live in the store.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use nostr::event::{EventId, Kind};
use nostr::key::PublicKey;
use nostr::nips::nip01::Coordinate;
use nostr::types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::admit::kinds;
use crate::config::RejectedConfig;
use crate::item::Item;
use crate::time::Instant;
use crate::url::RelayUrl;

/// Why an event was rejected: a label in metrics, a code in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RejectReason {
    /// Its author is on the block list.
    BlockedAuthor,
    /// Its repository is on the block list.
    BlockedRepository,
    /// Further ahead than `accept.future_max` (ACPT-8); waits for its time.
    Future,
    /// An ephemeral kind: never stored.
    Ephemeral,
    /// An announcement or state whose `d` is missing or not path-safe (ACPT-2).
    Identifier,
    /// An announcement that no mode takes, by nobody's maintainer (ACPT-3); waits for an edge.
    NotListed,
    /// A state event by somebody without authority (ACPT-4); waits for an edge.
    NoAuthority,
    /// References nothing that is accepted (ACPT-5); waits for what it references.
    NoReference,
    /// A deletion, vanish request or grasp list by somebody whose events we do not hold; waits
    /// for the author.
    UnknownAuthor,
    /// A vanish request that names other relays (NIP-62).
    OtherRelay,
    /// A newer version of its address is known (NIP-01).
    Superseded,
    /// Its author deleted it (NIP-09).
    Deleted,
    /// Its author vanished (NIP-62).
    Vanished,
    /// It is expired (NIP-40).
    Expired,
    /// The own relay refused it (OWN-2).
    OwnRelay,
}

impl RejectReason {
    /// Every reason, in the order of its codes.
    pub const ALL: [Self; 15] = [
        Self::BlockedAuthor,
        Self::BlockedRepository,
        Self::Future,
        Self::Ephemeral,
        Self::Identifier,
        Self::NotListed,
        Self::NoAuthority,
        Self::NoReference,
        Self::UnknownAuthor,
        Self::OtherRelay,
        Self::Superseded,
        Self::Deleted,
        Self::Vanished,
        Self::Expired,
        Self::OwnRelay,
    ];

    /// The label in metrics and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BlockedAuthor => "blocked_author",
            Self::BlockedRepository => "blocked_repository",
            Self::Future => "future",
            Self::Ephemeral => "ephemeral",
            Self::Identifier => "identifier",
            Self::NotListed => "not_listed",
            Self::NoAuthority => "no_authority",
            Self::NoReference => "no_reference",
            Self::UnknownAuthor => "unknown_author",
            Self::OtherRelay => "other_relay",
            Self::Superseded => "superseded",
            Self::Deleted => "deleted",
            Self::Vanished => "vanished",
            Self::Expired => "expired",
            Self::OwnRelay => "own_relay",
        }
    }

    /// The stable number in the store, from 1.
    pub const fn code(self) -> u8 {
        self as u8 + 1
    }

    /// The reason of a stable number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }
}

/// What a rejected event waits for; any one of a row's dependencies suffices (REJ-1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dependency {
    /// What stands under this address is accepted: an announcement, or a state.
    Announcement(Coordinate),
    /// The author of this announcement address gains authority over its identifier: by an
    /// accepted announcement of their own, or by one that names them a maintainer (ACPT-3).
    MaintainerEdge(Coordinate),
    /// This event is accepted, other than only for being referenced.
    Parent(EventId),
    /// An event of this author is stored.
    Author(PublicKey),
    /// The wall clock reaches this second (ACPT-8).
    Time(Timestamp),
}

/// Whether a row still keeps its event away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectionState {
    /// A tombstone: in have-sets, dropped on arrival.
    Cold,
    /// A dependency was satisfied (REJ-3): asked for by id, no tombstone.
    Wanted,
}

/// What is remembered of one rejected event (REJ-1); written in the commit that settles it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The event.
    pub id: EventId,
    /// Its author.
    pub pubkey: PublicKey,
    /// Its `created_at`.
    pub created_at: Timestamp,
    /// Its kind.
    pub kind: Kind,
    /// The items it may be served for, at most [`Rejection::MAX_ITEMS`].
    pub items: Vec<Item>,
    /// The first relays that served it, at most [`Rejection::MAX_RELAYS`].
    pub relays: Vec<RelayUrl>,
    /// Why.
    pub reason: RejectReason,
    /// What it waits for, at most [`Rejection::MAX_DEPENDENCIES`].
    pub depends_on: Vec<Dependency>,
    /// The policy revision that judged it.
    pub revision: u64,
    /// Whether it still stands.
    pub state: RejectionState,
    /// When it was rejected, wall time.
    pub rejected_at: Timestamp,
}

impl Rejection {
    /// Relays of a row.
    pub const MAX_RELAYS: usize = 4;
    /// Dependencies of a row.
    pub const MAX_DEPENDENCIES: usize = 32;
    /// Items of a row.
    pub const MAX_ITEMS: usize = 64;
}

/// The two classes that the metrics of rejections know, and the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// Kind 30617.
    Announcement,
    /// Kind 30618.
    State,
    /// Any other kind.
    Other,
}

impl EventType {
    /// The class of a kind.
    pub fn of(kind: Kind) -> Self {
        match kind.as_u16() {
            kinds::ANNOUNCEMENT => Self::Announcement,
            kinds::STATE => Self::State,
            _ => Self::Other,
        }
    }

    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Announcement => "announcement",
            Self::State => "state",
            Self::Other => "other",
        }
    }
}

/// What the hot tier counts, by class of event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HotCounts {
    /// Events held.
    pub current: u64,
    /// A dependency was satisfied while the event was held.
    pub hits: u64,
    /// A dependency was satisfied and only the cold row was left (REJ-4).
    pub misses: u64,
    /// Removed by age.
    pub expired: u64,
    /// Removed because a dependency was satisfied.
    pub invalidated: u64,
    /// Removed early because the tier was full.
    pub evicted: u64,
}

/// Whole rejected events, for as long as `rejected.hot`, within `rejected.hot_bytes` (REJ-2).
///
/// A body is whatever its owner needs to process the event again.
#[derive(Debug)]
pub struct HotTier<B> {
    held: BTreeMap<EventId, Held<B>>,
    by_age: BTreeSet<(Instant, EventId)>,
    waiting: BTreeMap<Dependency, BTreeSet<EventId>>,
    bytes: u64,
    counts: [HotCounts; 3],
}

/// A rejected event on its way into the hot tier.
#[derive(Clone, Debug)]
pub struct Waiting<B> {
    /// The event.
    pub id: EventId,
    /// Its kind.
    pub kind: Kind,
    /// Its `created_at`.
    pub created_at: Timestamp,
    /// What it counts against the tier's size.
    pub bytes: u64,
    /// What it waits for.
    pub depends_on: Vec<Dependency>,
    /// Handed out when one of them is satisfied.
    pub body: B,
}

/// A rejected event that can be processed again without asking for it.
#[derive(Debug)]
struct Held<B> {
    body: B,
    class: EventType,
    created_at: Timestamp,
    depends_on: Vec<Dependency>,
    bytes: u64,
    at: Instant,
}

impl<B> Default for HotTier<B> {
    fn default() -> Self {
        Self {
            held: BTreeMap::new(),
            by_age: BTreeSet::new(),
            waiting: BTreeMap::new(),
            bytes: 0,
            counts: [HotCounts::default(); 3],
        }
    }
}

impl<B> HotTier<B> {
    /// Keeps a rejected event. The oldest go when `limits.hot_bytes` is exceeded.
    pub fn hold(&mut self, waiting: Waiting<B>, now: Instant, limits: &RejectedConfig) {
        let Waiting { id, kind, created_at, bytes, depends_on, body } = waiting;
        if bytes > limits.hot_bytes.0 {
            return;
        }
        self.take(&id);
        for dependency in &depends_on {
            self.waiting.entry(dependency.clone()).or_default().insert(id);
        }
        self.by_age.insert((now, id));
        self.bytes += bytes;
        let class = EventType::of(kind);
        self.count(class).current += 1;
        self.held.insert(id, Held { body, class, created_at, depends_on, bytes, at: now });
        while self.bytes > limits.hot_bytes.0 {
            let Some((_, oldest)) = self.by_age.first().copied() else { break };
            let Some(held) = self.take(&oldest) else { break };
            self.count(held.class).evicted += 1;
        }
    }

    /// Hands out the events that wait for one of `dependencies`, and those of `referenced`
    /// (ACPT-5); oldest `created_at` first, then by id. They are no longer held.
    pub fn satisfied(&mut self, dependencies: &[Dependency], referenced: &[EventId]) -> Vec<B> {
        if self.held.is_empty() {
            return Vec::new();
        }
        let mut ids: BTreeSet<EventId> =
            referenced.iter().filter(|id| self.held.contains_key(id)).copied().collect();
        for dependency in dependencies {
            ids.extend(self.waiting.get(dependency).into_iter().flatten().copied());
        }
        // The sort is stable and the ids ascend.
        let mut found: Vec<Held<B>> = ids.iter().filter_map(|id| self.take(id)).collect();
        found.sort_by_key(|held| held.created_at);
        for held in &found {
            let counts = self.count(held.class);
            counts.hits += 1;
            counts.invalidated += 1;
        }
        found.into_iter().map(|held| held.body).collect()
    }

    /// Counts rows that were marked wanted and whose events were not held any more (REJ-4).
    pub fn missed(&mut self, kind: Kind) {
        let counts = self.count(EventType::of(kind));
        counts.misses += 1;
        counts.invalidated += 1;
    }

    /// Forgets events older than `limits.hot`; answers how many.
    pub fn sweep(&mut self, now: Instant, limits: &RejectedConfig) -> usize {
        let mut swept = 0;
        while let Some((at, id)) = self.by_age.first().copied() {
            if now.since(at) < *limits.hot {
                break;
            }
            let Some(held) = self.take(&id) else { break };
            self.count(held.class).expired += 1;
            swept += 1;
        }
        swept
    }

    /// Forgets one event, because it was stored or rejected for good.
    pub fn forget(&mut self, id: &EventId) -> Option<B> {
        self.take(id).map(|held| held.body)
    }

    /// Whether the event is held.
    pub fn contains(&self, id: &EventId) -> bool {
        self.held.contains_key(id)
    }

    /// Events held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Bytes held.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The counters of a class.
    pub fn counts(&self, class: EventType) -> HotCounts {
        self.counts[class as usize]
    }

    fn count(&mut self, class: EventType) -> &mut HotCounts {
        &mut self.counts[class as usize]
    }

    fn take(&mut self, id: &EventId) -> Option<Held<B>> {
        let held = self.held.remove(id)?;
        self.by_age.remove(&(held.at, *id));
        self.bytes -= held.bytes;
        for dependency in &held.depends_on {
            if let Some(ids) = self.waiting.get_mut(dependency) {
                ids.remove(id);
                if ids.is_empty() {
                    self.waiting.remove(dependency);
                }
            }
        }
        self.count(held.class).current -= 1;
        Some(held)
    }
}
