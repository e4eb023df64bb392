//! The own store: events, what became of refused ones, and the ledger, in one environment (LMDB).
//!
//! One commit covers an event, what became of it, and coverage; it is on the disk when
//! [`EventStore::commit`] returns. There is one writer, in one process; readers see snapshots and
//! never wait, also in other processes ([`Store::open_read_only`]). The directory must be on a
//! local file system. Visitors run inside a snapshot: they should be short, since old pages cannot
//! be used again meanwhile, and must not commit.
//!
//! # What is stored in the end
//!
//! The same events give the same store in any order and any grouping into commits (S15), at a
//! given time. Every rule only looks at which events ever came, refused ones included:
//!
//! - NIP-62: a vanish request that names `ALL_RELAYS` or one of [`StoreOptions::relay_urls`]
//!   removes all events of its author up to its time. Vanish requests themselves stay.
//! - NIP-09: a deletion removes its author's events that it names by id, and versions up to its
//!   own time of addresses that it names. Deletions and vanish requests cannot be deleted. A
//!   vanished deletion still covers what it named.
//! - NIP-40: an expired event is removed by [`EventStore::expire`] or refused. Deletions and vanish
//!   requests do not expire.
//! - NIP-01: of an address only the newest version can be stored; of two versions of the same
//!   second the lower id. A version that was deleted or expired does not bring older ones back.
//!   Ephemeral kinds are refused.
//!
//! Every removed and every refused event leaves a tombstone: its id, time, kind, author and hashes
//! of its indexed tags, so that reconciliation does not bring it again.
//!
//! # Layout
//!
//! Bodies are raw JSON behind an envelope of 74 bytes, under a growing sequence number, so that
//! they are appended. Indexes lead from (kind, time, id), (author, kind, time) and (letter, hash of
//! the value, time) to sequence numbers, in order from new to old; a whole-range scan merges the
//! kinds. The same three indexes exist once more for tombstones. Keys of a commit are sorted before
//! they are written.

mod commit;
#[cfg(feature = "nostr-database")]
mod database;
mod decide;
mod environment;
mod error;
mod gate;
mod have;
mod key;
mod ledger;
mod outcome;
mod plan;
mod query;
mod record;
mod rejected;
mod report;
mod tables;
mod write;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nostr::event::{Event, EventId, Kind};
use nostr::filter::Filter;
use nostr::key::PublicKey;
use nostr::types::Timestamp;
pub use sync_core::admit::rejected::{Dependency, RejectReason, Rejection, RejectionState};
use sync_core::item::Range;
use sync_core::ledger::{LedgerChange, LedgerRow};
use sync_core::url::RelayUrl;

use self::environment::Environment;
pub use self::error::StoreError;
pub use self::outcome::{Gone, NewRejection};
pub use self::report::{CommitReport, Dropped, Removed, Swept};

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Bytes of the memory map at first: address space, not disk. It grows when it is full.
    pub map_size: u64,
    /// The map never grows above this; then commits fail with [`StoreError::Full`].
    pub map_size_max: u64,
    /// Rejections that are kept; the oldest go first (REJ-2).
    pub rejections_max: u64,
    /// Tombstones of superseded, deleted, vanished and expired events that are kept; the oldest go
    /// first. What made them stays, so an event whose tombstone went is downloaded once more and
    /// refused again.
    pub tombstones_max: u64,
    /// Our own URLs, for vanish requests that name one relay (NIP-62).
    pub relay_urls: Vec<RelayUrl>,
    /// Letters of the tag index.
    pub index: TagIndex,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            map_size: 4 << 30,
            map_size_max: 16 << 40,
            rejections_max: 1_000_000,
            tombstones_max: 4_000_000,
            relay_urls: Vec::new(),
            index: TagIndex::Sync,
        }
    }
}

/// Which tags are indexed; a filter on others falls back to authors, kinds or time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagIndex {
    /// a, A, q, e, E, d: what the three layers ask for.
    Sync,
    /// Every single letter, for a store that is served. A store opened so for the first time is
    /// indexed anew once, and stays so.
    EveryLetter,
}

/// An event to be stored. Its id and signature were verified, and policy accepted it.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The event.
    pub event: Arc<Event>,
    /// Its JSON, given back by every read byte for byte.
    pub raw: Arc<str>,
    /// Whether the own relay should get it (OWN-2).
    pub outbox: bool,
}

/// Everything that becomes durable together. Applied in the order of its fields.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Wall time.
    pub now: Timestamp,
    /// Events to store, at most some 10,000.
    pub events: Vec<NewEvent>,
    /// Events that policy refused. Of one that is known otherwise nothing is recorded.
    pub rejections: Vec<NewRejection>,
    /// Dependencies that are satisfied: rejections that wait for them become wanted (REJ-3).
    pub satisfied: Vec<Dependency>,
    /// Rejections that become wanted for another reason.
    pub wanted: Vec<EventId>,
    /// Rejections that are forgotten: each relay of the row refused to serve the event.
    pub forgotten: Vec<EventId>,
    /// Events that the own relay has got, or refused for good.
    pub sent: Vec<EventId>,
    /// Changes of the ledger.
    pub ledger: Vec<LedgerChange>,
}

/// What became of an event of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// New in the store.
    Stored,
    /// It was stored before.
    Duplicate,
    /// Not stored, for this reason, durable as a tombstone; possibly one of long ago.
    Gone(Gone),
}

/// Whether an id needs to be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Known {
    /// Never seen, or a rejection that is wanted again.
    No,
    /// Stored.
    Stored,
    /// Not stored, and not to be fetched.
    Gone(Gone),
}

/// A stored event as a read shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// Its id.
    pub id: EventId,
    /// Its author.
    pub pubkey: PublicKey,
    /// Its time.
    pub created_at: Timestamp,
    /// Its kind.
    pub kind: Kind,
    /// Its JSON as it was committed.
    pub raw: &'a str,
}

/// Sizes of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Stored events.
    pub events: u64,
    /// Stored events by kind.
    pub kinds: Vec<(Kind, u64)>,
    /// Tombstones and rejections.
    pub tombstones: u64,
    /// Rejections that are tombstones, and tombstones of ephemeral events: what sweeps remove.
    pub aging: u64,
    /// Tombstones dropped because there were more than [`StoreOptions::tombstones_max`], since the
    /// store was opened.
    pub tombstones_dropped: u64,
    /// Rejections that are wanted.
    pub wanted: u64,
    /// Events that the own relay has not got.
    pub outbox: u64,
    /// Rows of the ledger.
    pub ledger: u64,
    /// Bytes of the data file.
    pub disk: u64,
    /// Bytes of the memory map.
    pub map: u64,
}

/// Calls back for each event, newest first, until told to stop.
pub type Visit<'v> = dyn FnMut(Found<'_>) -> ControlFlow<()> + 'v;

/// The store as ingest, reconciliation and the served relay see it. Calls block on the disk.
pub trait EventStore: Send + Sync {
    /// Makes everything in `batch` durable, or nothing.
    fn commit(&self, batch: &Commit) -> Result<CommitReport, StoreError>;

    /// What is known of each id, in order.
    fn has(&self, ids: &[EventId]) -> Result<Vec<Known>, StoreError>;

    /// The JSON of each id, in order; `None` where it is not stored.
    fn by_ids(&self, ids: &[EventId]) -> Result<Vec<Option<Arc<str>>>, StoreError>;

    /// Stored events that match, newest first, of one second by ascending id; at most
    /// `filter.limit`.
    fn query(&self, filter: &Filter, visit: &mut Visit<'_>) -> Result<(), StoreError>;

    /// How many stored events match; the limit plays no part (NIP-45).
    fn count(&self, filter: &Filter) -> Result<u64, StoreError>;

    /// The have-set of a reconciliation (HIST-2): stored ids and tombstones that match the filter
    /// within the range, each once, in no order. `since`, `until` of the filter narrow the range;
    /// its limit plays no part. A tombstone is judged by its row and may be one too many, which
    /// loses nothing. Wanted rejections are left out.
    fn have_set(
        &self,
        filter: &Filter,
        range: Range,
        visit: &mut dyn FnMut(Timestamp, EventId),
    ) -> Result<(), StoreError>;

    /// Stored events of these kinds, oldest first within each kind; kinds in the order given.
    fn scan_kinds(&self, kinds: &[Kind], visit: &mut Visit<'_>) -> Result<(), StoreError>;

    /// The authors of stored events, each once (FILT-6).
    fn authors(&self, visit: &mut dyn FnMut(PublicKey)) -> Result<(), StoreError>;

    /// The rows of the ledger, by relay: its row, cohorts, gaps.
    fn ledger(&self) -> Result<Vec<LedgerRow>, StoreError>;

    /// Rejections that wait for this.
    fn dependents(&self, on: &Dependency) -> Result<Vec<Rejection>, StoreError>;

    /// Rejections whose time has come (ACPT-8), at most `limit`.
    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Rejection>, StoreError>;

    /// Rejections that are marked wanted (DISC-9).
    fn wanted(&self) -> Result<Vec<Rejection>, StoreError>;

    /// The rejection of an id, when there is one.
    fn rejection(&self, id: EventId) -> Result<Option<Rejection>, StoreError>;

    /// The oldest events that the own relay has not got, at most `limit`, in the order they were
    /// stored.
    fn outbox(&self, limit: usize) -> Result<Vec<EventId>, StoreError>;

    /// Removes stored events that expired by `now` (NIP-40).
    fn expire(&self, now: Timestamp) -> Result<Vec<Removed>, StoreError>;

    /// Forgets rejections and tombstones of ephemeral events recorded before `older_than`
    /// (REJ-2). Wanted rejections stay.
    fn sweep(&self, older_than: Timestamp) -> Result<Swept, StoreError>;

    /// Forgets rejections of every other policy than this one, since its passes bring the events
    /// again (REJ-1); wanted ones too. Returns how many.
    fn retire_rejections(&self, revision: u64) -> Result<u64, StoreError>;

    /// Sizes.
    fn stats(&self) -> Result<StoreStats, StoreError>;
}

/// The store on disk. Clones share it; it closes with the last.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    environment: Environment,
    options: StoreOptions,
    tombstones_dropped: AtomicU64,
    #[cfg(feature = "nostr-database")]
    saves: database::Saves,
}

impl Shared {
    fn new(environment: Environment, options: StoreOptions) -> Self {
        Self {
            environment,
            options,
            tombstones_dropped: AtomicU64::new(0),
            #[cfg(feature = "nostr-database")]
            saves: database::Saves::default(),
        }
    }
}

impl Store {
    /// Opens the store in `dir` for reading and writing; creates both when they are not there.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let letters = match options.index {
            TagIndex::Sync => tables::LETTERS.iter().copied().collect(),
            TagIndex::EveryLetter => (b'a'..=b'z').chain(b'A'..=b'Z').collect(),
        };
        let mut environment = Environment::open(dir, &options, BTreeSet::clone(&letters))?;
        write::index_letters(&mut environment, letters)?;
        Ok(Self { shared: Arc::new(Shared::new(environment, options)) })
    }

    /// Opens an existing store for reading, also while another process writes to it. Commits
    /// through it fail with [`StoreError::ReadOnly`].
    pub fn open_read_only(dir: &Path) -> Result<Self, StoreError> {
        let environment = Environment::open_read_only(dir)?;
        Ok(Self { shared: Arc::new(Shared::new(environment, StoreOptions::default())) })
    }

    /// Takes stored events that match out without a trace, at most `filter.limit`, the newest
    /// first; returns how many. A relay may bring them again: to keep an event away store its
    /// author's deletion. Not for a store whose events a running pipeline has judged by.
    pub fn erase(&self, filter: &Filter) -> Result<u64, StoreError> {
        let environment = &self.shared.environment;
        environment.write(|txn| commit::erase(environment, txn, filter))
    }

    /// Empties the store: events, outcomes and the ledger, since coverage speaks of the events.
    /// Not for a store that a running pipeline writes to.
    pub fn clear(&self) -> Result<(), StoreError> {
        let environment = &self.shared.environment;
        environment.write(|txn| environment.tables.clear(txn))
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl EventStore for Store {
    fn commit(&self, batch: &Commit) -> Result<CommitReport, StoreError> {
        let Shared { environment, options, tombstones_dropped, .. } = &*self.shared;
        let report = environment.write(|txn| commit::apply(environment, options, txn, batch))?;
        tombstones_dropped.fetch_add(report.tombstones_dropped, Ordering::Relaxed);
        Ok(report)
    }

    fn has(&self, ids: &[EventId]) -> Result<Vec<Known>, StoreError> {
        let environment = &self.shared.environment;
        environment.read(|txn| query::has(environment, txn, ids))
    }

    fn by_ids(&self, ids: &[EventId]) -> Result<Vec<Option<Arc<str>>>, StoreError> {
        let environment = &self.shared.environment;
        environment.read(|txn| query::by_ids(environment, txn, ids))
    }

    fn query(&self, filter: &Filter, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let environment = &self.shared.environment;
        environment.read(|txn| query::query(environment, txn, filter, visit))
    }

    fn count(&self, filter: &Filter) -> Result<u64, StoreError> {
        let environment = &self.shared.environment;
        environment.read(|txn| have::count(environment, txn, filter))
    }

    fn have_set(
        &self,
        filter: &Filter,
        range: Range,
        visit: &mut dyn FnMut(Timestamp, EventId),
    ) -> Result<(), StoreError> {
        let environment = &self.shared.environment;
        environment.read(|txn| have::have_set(environment, txn, filter, range, visit))
    }

    fn scan_kinds(&self, kinds: &[Kind], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let environment = &self.shared.environment;
        environment.read(|txn| query::scan_kinds(environment, txn, kinds, visit))
    }

    fn authors(&self, visit: &mut dyn FnMut(PublicKey)) -> Result<(), StoreError> {
        let environment = &self.shared.environment;
        environment.read(|txn| query::authors(environment, txn, visit))
    }

    fn ledger(&self) -> Result<Vec<LedgerRow>, StoreError> {
        let environment = &self.shared.environment;
        environment.read(|txn| ledger::rows(&environment.tables, txn))
    }

    fn dependents(&self, on: &Dependency) -> Result<Vec<Rejection>, StoreError> {
        let environment = &self.shared.environment;
        environment.read(|txn| rejected::dependents(&environment.tables, txn, on))
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Rejection>, StoreError> {
        let environment = &self.shared.environment;
        environment.read(|txn| rejected::due(&environment.tables, txn, now, limit))
    }

    fn wanted(&self) -> Result<Vec<Rejection>, StoreError> {
        let environment = &self.shared.environment;
        environment.read(|txn| rejected::wanted(&environment.tables, txn))
    }

    fn rejection(&self, id: EventId) -> Result<Option<Rejection>, StoreError> {
        let environment = &self.shared.environment;
        environment.read(|txn| rejected::by_id(&environment.tables, txn, id))
    }

    fn outbox(&self, limit: usize) -> Result<Vec<EventId>, StoreError> {
        let environment = &self.shared.environment;
        environment.read(|txn| query::outbox(environment, txn, limit))
    }

    fn expire(&self, now: Timestamp) -> Result<Vec<Removed>, StoreError> {
        let environment = &self.shared.environment;
        environment.write(|txn| commit::expire(environment, txn, now))
    }

    fn sweep(&self, older_than: Timestamp) -> Result<Swept, StoreError> {
        let environment = &self.shared.environment;
        environment.write(|txn| rejected::sweep(environment, txn, older_than))
    }

    fn retire_rejections(&self, revision: u64) -> Result<u64, StoreError> {
        let environment = &self.shared.environment;
        environment.write(|txn| rejected::retire(environment, txn, revision))
    }

    fn stats(&self) -> Result<StoreStats, StoreError> {
        let environment = &self.shared.environment;
        let tombstones_dropped = self.shared.tombstones_dropped.load(Ordering::Relaxed);
        let stats = environment.read(|txn| query::stats(environment, txn))?;
        Ok(StoreStats { tombstones_dropped, ..stats })
    }
}
