//! What the daemon measures of itself: one registry, made once and handed to whoever measures.
//!
//! States, transitions, batches, passes and gaps come from the core's events by
//! [`Registry::on_event`] and from nowhere else; tasks move counters of their own through the
//! [`RelayObs`] they hold; sizes and depths come as [`Sampled`]. Samples, documents and history are
//! all made from [`Registry::gather`] and the same state.

pub mod alerts;
mod catalog;
mod clients;
mod error;
mod events;
mod gather;
mod histogram;
pub mod history;
mod journal;
mod labels;
mod meters;
mod phase;
mod process;
mod relay;
mod relays;
mod sampled;
mod status;
mod text;
mod totals;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use sync_core::admit::rejected::HotCounts;
use sync_core::command::Source;
use sync_core::id::RelayId;

pub use catalog::{FAMILIES, Family, Kind, family};
pub use clients::StreamClient;
pub use error::{CODES, Code, CodeText};
pub use gather::{Sample, Samples, Value};
pub use histogram::{Histogram, HistogramCopy};
pub use journal::{Found, Position};
pub use labels::{
    ApplyStage, DialStage, ErrorType, KIND_LABELS, KINDS, OTHER, Outcome, Published, Queue,
    RELAYS_MAX, Received, RejectedClass, Resolution, Sent, StoreOp,
};
pub use process::resident;
pub use relay::RelayObs;
pub use sampled::Sampled;
pub(crate) use status::Compared;
pub use text::Format;

use crate::api::{WallMs, What};
use alerts::Evaluator;
use clients::Clients;
use events::State;
use journal::Bus;
use labels::kind_at;
use totals::Totals;

/// Tells the wall clock; a test hands in its own.
pub type WallClock = Arc<dyn Fn() -> WallMs + Send + Sync>;

/// The build that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// Version of the program.
    pub version: &'static str,
    /// Commit, when it is known.
    pub commit: &'static str,
}

/// The registry; clones share it.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    clock: WallClock,
    build: Build,
    started: WallMs,
    totals: Totals,
    state: Mutex<State>,
    relays: RwLock<BTreeMap<RelayId, Arc<RelayObs>>>,
    sampled: Mutex<Sampled>,
    bus: Bus,
    clients: Clients,
    alerts: Evaluator,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("started", &self.0.started).finish_non_exhaustive()
    }
}

impl Registry {
    /// A registry that reads this clock; the process began when it is made.
    pub fn new(build: Build, clock: WallClock) -> Self {
        let started = clock();
        let registry = Self(Arc::new(Shared {
            clock,
            build,
            started,
            totals: Totals::default(),
            state: Mutex::new(State::new(started)),
            relays: RwLock::default(),
            sampled: Mutex::default(),
            bus: Bus::default(),
            clients: Clients::default(),
            alerts: Evaluator::default(),
        }));
        registry.note(None, What::Boot { version: build.version.into() }, started);
        registry
    }

    /// A registry on the system's clock.
    pub fn system(build: Build) -> Self {
        Self::new(build, Arc::new(|| WallMs::from(SystemTime::now())))
    }

    /// The moment.
    pub fn now(&self) -> WallMs {
        (self.0.clock)()
    }

    /// When the process began.
    pub fn started(&self) -> WallMs {
        self.0.started
    }

    /// The build.
    pub fn build(&self) -> Build {
        self.0.build
    }

    /// `/metrics` in that format, of this moment.
    pub fn expose(&self, format: Format) -> String {
        format.write(self.gather(self.now()))
    }

    /// A received event ended so. `kind` is unknown for what could not be read.
    pub fn outcome(&self, relay: Option<&RelayObs>, kind: Option<u16>, outcome: Outcome) {
        let at = kind.map_or(labels::KINDS.len(), kind_at);
        self.0.totals.kinds[at].add(outcome as usize, 1);
        if let Some(relay) = relay {
            relay.outcome(outcome, 1);
        }
    }

    /// An event was newly saved: counts its source and its outcome.
    pub fn stored(&self, relay: Option<&RelayObs>, kind: u16, source: Source, at: WallMs) {
        self.outcome(relay, Some(kind), Outcome::Stored);
        self.0.totals.sources.add(source as usize, 1);
        self.0.totals.kind_last_ms.max(kind_at(kind), at.0);
        if let Some(relay) = relay {
            relay.stored_at(at);
        }
    }

    /// Policy refused an event; `reason` is of a closed list. Its outcome is counted apart.
    pub fn rejection(&self, kind: u16, reason: &'static str) {
        self.0.totals.rejections.add((kind_at(kind), reason), 1);
    }

    /// Two versions of one address were seen and decided.
    pub fn conflict(&self, kind: u16, resolution: Resolution) {
        self.0.totals.conflicts.add((kind_at(kind), resolution), 1);
    }

    /// A stage of a dial took so long.
    pub fn dial_stage(&self, stage: DialStage, took: Duration) {
        self.0.totals.connect[stage as usize].span(took);
    }

    /// The first answer to a NEG-OPEN, or to a REQ, came after so long.
    pub fn first_event(&self, negentropy: bool, took: Duration) {
        self.0.totals.first_event[usize::from(!negentropy)].span(took);
    }

    /// A stage between frame and commit took so long.
    pub fn apply_stage(&self, stage: ApplyStage, took: Duration) {
        self.0.totals.apply[stage as usize].span(took);
    }

    /// A live event came so long after its `created_at`.
    pub fn live_delay(&self, delay: Duration) {
        self.0.totals.live_delay.span(delay);
    }

    /// An operation of the store took so long.
    pub fn store_op(&self, op: StoreOp, took: Duration) {
        self.0.totals.store_ops[op as usize].span(took);
    }

    /// A queue dropped items.
    pub fn queue_dropped(&self, queue: Queue, count: u64) {
        self.0.totals.queue_dropped.add(queue as usize, count);
    }

    /// What the tier of whole rejected events counts so far, of one class.
    pub fn rejected_hot(&self, class: RejectedClass, counts: HotCounts) {
        let totals = &self.0.totals;
        for (tier, count) in [
            (&totals.hot_current, counts.current),
            (&totals.hot_hits, counts.hits),
            (&totals.hot_misses, counts.misses),
            (&totals.hot_expired, counts.expired),
            (&totals.invalidated, counts.invalidated),
        ] {
            tier.set(class as usize, count);
        }
    }

    /// Rows of rejected events were removed by time.
    pub fn rejected_cold_expired(&self, class: RejectedClass, count: u64) {
        self.0.totals.cold_expired.add(class as usize, count);
    }

    /// Something failed that is of no relay.
    pub fn error(&self, code: Code, at: WallMs) {
        self.state().count_error(code, at);
        let message = code.text().map_or("", |text| text.what).into();
        let (error, code) = (code.kind().as_str().into(), code.0.into());
        self.note(None, What::Error { code, error, message, count: 1 }, at);
    }

    /// A request to the HTTP interface was answered; `route` is of a closed list.
    pub fn request(&self, route: &'static str, code: u16) {
        self.0.totals.requests.add((route, code), 1);
    }

    pub(crate) fn history_flushed(&self, at: WallMs) {
        self.0.totals.history_ms.set(0, at.0);
    }

    fn totals(&self) -> &Totals {
        &self.0.totals
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn relays(&self) -> &RwLock<BTreeMap<RelayId, Arc<RelayObs>>> {
        &self.0.relays
    }

    fn alerts_slot(&self) -> &Evaluator {
        &self.0.alerts
    }

    fn clients(&self) -> &Clients {
        &self.0.clients
    }

    fn bus(&self) -> &Bus {
        &self.0.bus
    }

    fn sampled_slot(&self) -> &Mutex<Sampled> {
        &self.0.sampled
    }
}
