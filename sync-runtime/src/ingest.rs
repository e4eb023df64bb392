//! The admission pipeline: what connections received becomes stored or rejected, durably, and the
//! control plane hears of it.
//!
//! ```text
//! Arrival ─▶ intake: known? in flight? ─▶ pool: filter, id, signature ─▶ writer: policy, commit
//!                                                                Facts, then SettleTally ─▶ driver
//! ```
//!
//! - Order: the writer judges in the order of arrival, and one commit holds many events: as many as
//!   came while the last one was written, at most [`IngestOptions::group_events`].
//! - F4: the facts of a commit are sent before the tallies that it settles; both only once it is
//!   durable. Ledger rows go through the same writer, so none is durable before the events that
//!   were settled when it was decided.
//! - T8: only a stored or rejected id stops a copy unread. Copies of an id that is still in flight
//!   wait for the first; when that one proves forged, the next is looked at.
//! - A full disk stops intake until there is space. Another failure of the store settles the
//!   events of its commit as failed, and the policy is read anew from the store.

mod boot;
mod flight;
mod group;
mod intake;
mod missed;
mod observer;
mod outgoing;
mod report;
mod rounds;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::Sender as WorkSender;
use std::thread::JoinHandle;
use std::time::Duration;

use nostr::event::{Event, EventId};
use nostr::types::Timestamp;
use sync_core::admit::order::BodyError;
use sync_core::admit::policy::Policy;
use sync_core::admit::rejected::RejectReason;
use sync_core::config::Config;
use sync_core::id::{ConnId, RelayId};
use sync_core::input::Input;
use sync_core::ledger::LedgerChange;
use sync_core::url::RelayUrl;
use sync_core::wire::Envelope;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use self::boot::boot;
use self::flight::InFlight;
pub use self::observer::{EventOutcome, NoObserver, Observer, Resolution, SettledEvent, Stage};
use self::writer::{Work, Writer};
use crate::connection::Arrival;
use crate::store::{EventStore, Gone};
use crate::verify::{Body, KeyCache, VerifyPool, check};

/// How the pipeline is set up.
#[derive(Clone)]
pub struct IngestOptions {
    /// The configuration of the core: acceptance, rejections, limits.
    pub config: Config,
    /// Threads that verify.
    pub threads: usize,
    /// Arrivals that wait; a full queue makes connections stop reading.
    pub queue: usize,
    /// Bytes of arrivals between queue and store.
    pub bytes: u64,
    /// Events of one commit.
    pub group_events: usize,
    /// How long a commit is collected while more arrives.
    pub group_age: Duration,
    /// The own relay: its events pass the policy unasked and never go back to it (OWN-2).
    pub own_relay: Option<RelayUrl>,
    /// Wall time.
    pub wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// The relay behind an id, for rows of rejections.
    pub relay: Arc<dyn Fn(RelayId) -> Option<RelayUrl> + Send + Sync>,
    /// Called for every event that was stored, once it is durable; short, from the writer's thread.
    pub on_stored: Option<OnStored>,
    /// Metrics.
    pub observer: Arc<dyn Observer>,
}

/// Called for every stored event, with the connection that brought it.
pub type OnStored = Arc<dyn Fn(&Event, Option<ConnId>) + Send + Sync>;

impl IngestOptions {
    /// Defaults for this configuration: as many threads as cores.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            queue: 8_192,
            bytes: 64 << 20,
            group_events: 10_000,
            group_age: Duration::from_millis(20),
            own_relay: None,
            wall: Arc::new(Timestamp::now),
            relay: Arc::new(|_| None),
            on_stored: None,
            observer: Arc::new(NoObserver),
        }
    }
}

impl fmt::Debug for IngestOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IngestOptions")
            .field("threads", &self.threads)
            .field("queue", &self.queue)
            .field("own_relay", &self.own_relay)
            .finish_non_exhaustive()
    }
}

/// What became of an event that a client or the embedder wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// New in the store.
    Stored,
    /// It was there.
    Duplicate,
    /// Policy refused it.
    Rejected(RejectReason),
    /// It is deleted, superseded, expired or vanished.
    Gone(Gone),
    /// Its id or signature is wrong, or it cannot be read.
    Invalid(BodyError),
    /// The store could not take it, or the pipeline is ending.
    Failed,
}

/// A running pipeline; it ends with [`Ingest::stop`].
#[derive(Debug)]
pub struct Ingest {
    arrivals: mpsc::Sender<Arrival>,
    work: WorkSender<Work>,
    flight: Arc<InFlight>,
    stop: CancellationToken,
    intake: JoinHandle<()>,
    writer: JoinHandle<()>,
}

impl Ingest {
    /// Starts the threads. `policy` holds what is stored ([`boot`]); `inputs` leads to the driver.
    pub fn start(
        options: IngestOptions,
        store: Arc<dyn EventStore>,
        policy: Policy,
        inputs: mpsc::Sender<Input>,
    ) -> std::io::Result<Self> {
        let (arrivals, received) = mpsc::channel(options.queue);
        let (work, queue) = std::sync::mpsc::channel();
        let pool = Arc::new(VerifyPool::start(options.threads)?);
        let flight = Arc::new(InFlight::new(options.bytes));
        let intake = intake::Intake {
            store: Arc::clone(&store),
            pool: Arc::clone(&pool),
            flight: Arc::clone(&flight),
            observer: Arc::clone(&options.observer),
            work: work.clone(),
            stop: CancellationToken::new(),
        };
        let stop = intake.stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let writer = Writer::new(options, store, policy, inputs, pool, Arc::clone(&flight));
        let writer = std::thread::Builder::new()
            .name("ingest-writer".into())
            .spawn(move || writer.run(&queue))?;
        let intake = std::thread::Builder::new()
            .name("ingest-intake".into())
            .spawn(move || intake.run(&runtime, received))?;
        Ok(Self { arrivals, work, flight, stop, intake, writer })
    }

    /// Where connections send what they receive; its capacity is the queue that makes them stop
    /// reading.
    pub fn arrivals(&self) -> mpsc::Sender<Arrival> {
        self.arrivals.clone()
    }

    /// Arrivals that wait, and how many may.
    pub fn queue(&self) -> (usize, usize) {
        let most = self.arrivals.max_capacity();
        (most - self.arrivals.capacity(), most)
    }

    /// Writes to the ledger, not before the events that were settled so far.
    pub fn persist(&self, change: LedgerChange) {
        self.send(Work::Ledger(change));
    }

    /// A handle that only writes to the ledger.
    pub fn ledger(&self) -> LedgerWriter {
        LedgerWriter { work: self.work.clone() }
    }

    /// Forgets rejections whose relays all refused to serve the event (REJ-3).
    pub fn forget(&self, ids: Vec<EventId>) {
        self.send(Work::Forget(ids));
    }

    /// Takes events from the outbox that the own relay has, or refused for good.
    pub fn sent(&self, ids: Vec<EventId>) {
        self.send(Work::Sent(ids));
    }

    /// A handle that only submits, for servers and embedders.
    pub fn submitter(&self) -> Submitter {
        Submitter { work: self.work.clone() }
    }

    /// Commits what is under way and ends; arrivals that still wait are asked for again by the next
    /// process. Does not wait for space on a full disk. Blocks; the store is let go before it ends.
    pub fn stop(self) {
        let Self { arrivals, work, flight, stop, intake, writer } = self;
        drop(arrivals);
        stop.cancel();
        flight.close();
        // A thread that panicked has been reported by the panic hook.
        let _ = intake.join();
        let _ = work.send(Work::Stop);
        let _ = writer.join();
    }

    fn send(&self, work: Work) {
        // The writer is gone only while the process ends; what is lost then is asked for again.
        let _ = self.work.send(work);
    }
}

/// Writes to the ledger through the pipeline.
#[derive(Clone, Debug)]
pub struct LedgerWriter {
    work: WorkSender<Work>,
}

impl LedgerWriter {
    /// Writes to the ledger, not before the events that were settled so far.
    pub fn persist(&self, change: LedgerChange) {
        // The writer is gone only while the process ends; what is lost then is proven again.
        let _ = self.work.send(Work::Ledger(change));
    }
}

/// Submits events that did not come from a relay.
#[derive(Clone, Debug)]
pub struct Submitter {
    work: WorkSender<Work>,
}

impl Submitter {
    /// Verifies the event, has it judged, and answers once its fate is durable.
    pub async fn submit(&self, event: Event) -> Submitted {
        let claim = Envelope {
            id: event.id,
            pubkey: event.pubkey,
            created_at: event.created_at,
            kind: event.kind,
        };
        let body = Body { json: event.as_json().into(), claim, filters: None };
        let checked = tokio::task::spawn_blocking(move || check(&body, &mut KeyCache::default()));
        let verified = match checked.await {
            Ok(Ok(verified)) => verified,
            Ok(Err(error)) => return Submitted::Invalid(error),
            Err(_) => return Submitted::Failed,
        };
        let (reply, answer) = oneshot::channel();
        if self.work.send(Work::Submit { verified, reply }).is_err() {
            return Submitted::Failed;
        }
        answer.await.unwrap_or(Submitted::Failed)
    }
}
