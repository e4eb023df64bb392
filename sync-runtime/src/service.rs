//! The whole daemon as a library: built, started, asked, and shut down by whoever embeds it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use nostr::event::EventId;
use nostr::filter::Filter;
use nostr::key::Keys;
use nostr::types::Timestamp;
use sync_core::Config;
use sync_core::admit::policy::{Policy, PolicyError};
use sync_core::config::Probe;
use sync_core::event::Event;
use sync_core::explain::{Explanation, Progress};
use sync_core::input::{Fact, FactSource, Input, Operator};
use sync_core::item::Range;
use sync_core::url::{RelayUrl, RelayUrlError};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::api::{Status, SyncOutcome, SyncProgress, WallMs};
use crate::clock::Clock;
use crate::connection::{ConnContext, EventBodies, HaveSet};
use crate::dial::{Dialer, DialerError, Resolve, SystemResolver, TlsRoots};
use crate::driver::{Driver, Ends, Request};
use crate::http;
use crate::ingest::{self, Ingest, IngestOptions, OnStored, Submitter};
use crate::observe::history::{History, HistoryError, Keep, SharedHistory};
use crate::observe::{Build, Registry};
use crate::recorder::{RecordError, Recording};
use crate::sampler::Sampler;
use crate::settings::Settings;
use crate::store::{EventStore, Store, StoreError, StoreOptions};

/// Inputs that wait for the driver.
const INPUTS: usize = 8192;
/// Requests that wait for the driver.
const REQUESTS: usize = 64;
/// Events that a slow subscriber of [`Handle::subscribe`] may lag behind.
const EVENTS: usize = 4096;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A relay of the configuration is no relay URL.
    #[error("`{text}` is no relay URL")]
    Relay {
        /// As it was configured.
        text: String,
        /// Why.
        source: RelayUrlError,
    },
    /// The data directory cannot be made.
    #[error("cannot make the data directory {path}")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The history of metrics cannot be opened.
    #[error("cannot open the history of metrics")]
    History(#[from] HistoryError),
    /// The store cannot be read.
    #[error("cannot read the store")]
    Read(#[source] StoreError),
    /// No directory for the store was named.
    #[error("no data directory is configured")]
    NoDataDir,
    /// The store cannot be opened.
    #[error("cannot open the store in {path}")]
    Store {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// The rules of acceptance cannot be read.
    #[error("the rules of `accept` cannot be used")]
    Policy(#[from] PolicyError),
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The interface cannot listen.
    #[error("the interface cannot listen")]
    Bind(#[from] http::BindError),
    /// The dialer's configuration is wrong.
    #[error("the dialer cannot be set up")]
    Dialer(#[from] DialerError),
    /// The recording cannot be begun.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A key file cannot be read.
    #[error("cannot read the key in {path}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Builds a [`SyncService`].
pub struct Builder {
    settings: Settings,
    resolver: Arc<dyn Resolve>,
    roots: Option<TlsRoots>,
    build: Build,
    seed: Option<u64>,
    on_stored: Option<OnStored>,
}

impl Builder {
    /// Called for every event that was stored, once it is durable; short, from the writer's
    /// thread.
    pub fn on_stored(mut self, call: OnStored) -> Self {
        self.on_stored = Some(call);
        self
    }

    /// Another resolver than the system's.
    pub fn resolver(mut self, resolver: Arc<dyn Resolve>) -> Self {
        self.resolver = resolver;
        self
    }

    /// Other certificate roots than the platform's.
    pub fn roots(mut self, roots: TlsRoots) -> Self {
        self.roots = Some(roots);
        self
    }

    /// Works once: no jitter, and [`SyncService::finished`] resolves when every wanted item is
    /// complete or explained (DISC-10).
    pub fn once(mut self, once: bool) -> Self {
        self.settings.core.once = once;
        self
    }

    /// Works once like [`Self::once`] and only looks: wanted items of these relays, or of all, are
    /// reconciled; nothing is fetched, claimed or written. [`Handle::verification`] says what was
    /// found.
    pub fn probe(mut self, only: Vec<RelayUrl>) -> Self {
        self.settings.core.probe = Some(Probe { only });
        self.once(true)
    }

    /// Version and commit that metrics and documents name.
    pub fn build(mut self, build: Build) -> Self {
        self.build = build;
        self
    }

    /// The seed of the core's random stream; drawn from the clock unless given.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Binds the interface, opens the store, hands ledger and facts in, and begins to dial.
    pub async fn start(self) -> Result<SyncService, StartError> {
        let settings = &self.settings;
        check_relays(&settings.core)?;
        let keys = read_keys(&settings.auth)?;
        let registry = Registry::system(self.build);
        let history = open_history(settings, &registry)?;
        let options = http::Options {
            listen: settings.http.0,
            socket: settings.socket.0.clone(),
            metrics: settings.metrics.enabled,
            data_dir: settings.data_dir.clone(),
            history: history.clone(),
            ..http::Options::default()
        };
        let server = http::Server::bind(options, registry.clone()).await?;
        let store = open_store(settings).await?;
        self.start_tasks(keys, registry, server, history, store).await
    }

    async fn start_tasks(
        self,
        keys: BTreeMap<RelayUrl, Keys>,
        registry: Registry,
        server: http::Server,
        history: Option<SharedHistory>,
        store: Store,
    ) -> Result<SyncService, StartError> {
        let config = self.settings.core.clone();
        let (inputs, inputs_end) = mpsc::channel(INPUTS);
        let (requests, requests_end) = mpsc::channel(REQUESTS);
        let (events, _) = broadcast::channel(EVENTS);
        let (ready, ready_end) = watch::channel(false);
        let (progress, progress_end) =
            watch::channel(Progress { collecting: true, ..Progress::default() });
        let (policy, facts) = boot(&store, &config).await?;
        let names = registry.clone();
        let options = IngestOptions {
            relay: Arc::new(move |relay| names.relay(relay).map(|relay| relay.url().clone())),
            on_stored: self.on_stored,
            observer: Arc::new(registry.clone()),
            ..IngestOptions::new(config.clone())
        };
        let ingest = Ingest::start(options, Arc::new(store.clone()), policy, inputs.clone())
            .map_err(StartError::Thread)?;
        let roots = self.roots.unwrap_or_else(TlsRoots::platform);
        let context = Arc::new(ConnContext {
            dialer: Arc::new(Dialer::new(&config.dial, self.resolver, &roots)?),
            config: Arc::new(config.clone()),
            inputs: inputs.clone(),
            intake: ingest.arrivals(),
            have: Arc::new(StoreView(store.clone())),
            bodies: Arc::new(StoreView(store.clone())),
            keys,
        });
        let wall = Clock::wall();
        let seed = self.seed.unwrap_or_else(seed_of_clock);
        let recording = match &self.settings.record.file.0 {
            Some(path) => Some(Recording::begin(path, &config, seed, wall)?),
            None => None,
        };
        let ends = Ends {
            inputs: inputs_end,
            requests: requests_end,
            events: events.clone(),
            progress,
            ledger: ingest.ledger(),
            ready,
        };
        let driver = Driver::new(config, seed, wall, recording, context, registry.clone(), ends);
        let handle =
            Handle { requests, events, registry, progress: progress_end, ready: ready_end };
        let address = server.address();
        let stop = CancellationToken::new();
        let control = Arc::new(handle.clone());
        let mut watchers = JoinSet::new();
        watchers.spawn(server.serve(control, stop.clone()));
        if let Some(history) = history {
            watchers.spawn(history.run(stop.clone()));
            watchers.spawn(handle.registry.clone().watch_alerts(stop.clone()));
        }
        let driver = tokio::spawn(driver.run());
        hand_in(&store, facts, &inputs).await?;
        let sampler =
            Sampler { handle: handle.clone(), store: store.clone(), queue: ingest.arrivals() };
        watchers.spawn(sampler.clone().run(stop.clone()));
        Ok(SyncService { handle, address, driver, watchers, sampler, stop, ingest, store })
    }
}

/// The running daemon. Dropping it stops reading and writing at once; [`Self::shutdown`] closes
/// what is open first.
pub struct SyncService {
    handle: Handle,
    address: Option<SocketAddr>,
    driver: JoinHandle<()>,
    /// Interface, sampler, history and alerts.
    watchers: JoinSet<()>,
    sampler: Sampler,
    stop: CancellationToken,
    ingest: Ingest,
    store: Store,
}

impl SyncService {
    /// A builder with the system's resolver and roots.
    pub fn builder(settings: Settings) -> Builder {
        Builder {
            settings,
            resolver: Arc::new(SystemResolver),
            roots: None,
            build: Build { version: env!("CARGO_PKG_VERSION"), commit: "unknown" },
            seed: None,
            on_stored: None,
        }
    }

    /// What may be shared with other tasks.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Where the interface listens, with the port that was taken.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Takes events that did not come from a relay, by the same rules.
    pub fn submitter(&self) -> Submitter {
        self.ingest.submitter()
    }

    /// Waits until every wanted item is complete or explained; only for a service that was built
    /// with [`Builder::once`].
    pub async fn finished(&self) -> Progress {
        let mut progress = self.handle.progress.clone();
        let over = progress.wait_for(Progress::is_over).await.map(|over| over.clone());
        // What is told of the store at the end is what it holds at the end.
        self.sampler.sample().await;
        over.unwrap_or_default()
    }

    /// Closes subscriptions and connections, writes what is settled, and ends (L5).
    pub async fn shutdown(self) {
        self.handle.registry().stopping(WallMs::from(std::time::SystemTime::now()));
        self.handle.operator(Operator::Shutdown).await;
        // A task that panicked has said so on stderr; the rest still ends.
        let _ = self.driver.await;
        self.stop.cancel();
        let mut watchers = self.watchers;
        while watchers.join_next().await.is_some() {}
        // The intake ends when every sender of arrivals is gone.
        drop(self.sampler);
        let ingest = self.ingest;
        let _ = tokio::task::spawn_blocking(move || ingest.stop()).await;
    }
}

/// Asks the running daemon.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    events: broadcast::Sender<Event>,
    pub(crate) registry: Registry,
    progress: watch::Receiver<Progress>,
    ready: watch::Receiver<bool>,
}

impl Handle {
    /// Whether boot is over and relays are dialed.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Everything that the core emits from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// The metrics.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Asks for something; `false` when the relay is not known or the daemon is stopping.
    pub async fn operator(&self, operator: Operator) -> bool {
        self.ask(|reply| Request::Operator(operator, reply)).await.unwrap_or(false)
    }

    /// Why a relay is in its state; `None` when it is not known.
    pub async fn explain(&self, relay: RelayUrl) -> Option<Explanation> {
        self.ask(|reply| Request::Explain(relay, reply)).await.flatten()
    }

    /// Why each relay is in its state.
    pub async fn explain_all(&self) -> Vec<Explanation> {
        self.ask(Request::ExplainAll).await.unwrap_or_default()
    }

    /// Wanted repositories, and root and thread events.
    pub async fn wanted_counts(&self) -> Option<(usize, usize)> {
        self.ask(Request::Counts).await
    }

    /// The state of everything.
    pub fn status(&self) -> Status {
        self.registry.status(WallMs::from(std::time::SystemTime::now()))
    }

    /// What a single run did so far.
    pub fn outcome(&self) -> SyncOutcome {
        self.registry.outcome_of_sync(WallMs::from(std::time::SystemTime::now()))
    }

    /// How a single run comes along, relay by relay.
    pub fn progress(&self) -> Vec<SyncProgress> {
        self.registry.progress()
    }

    /// Where a single run stands.
    pub fn stand(&self) -> Progress {
        self.progress.borrow().clone()
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// Reads the policy's view and the facts of the own store.
async fn boot(store: &Store, config: &Config) -> Result<(Policy, Vec<Vec<Fact>>), StartError> {
    let mut policy = Policy::new(config)?;
    let store = store.clone();
    let read = tokio::task::spawn_blocking(move || {
        let mut chunks = Vec::new();
        ingest::boot(&store, &mut policy, false, &mut |facts| chunks.push(facts))
            .map(|()| (policy, chunks))
    });
    read.await.expect("reading a store does not panic").map_err(StartError::Read)
}

/// Hands the ledger and the facts of the own store in; nothing is dialed before (DISC-9).
async fn hand_in(
    store: &Store,
    facts: Vec<Vec<Fact>>,
    inputs: &mpsc::Sender<Input>,
) -> Result<(), StartError> {
    let rows = store.ledger().map_err(StartError::Read)?.into_iter().map(Input::Ledger);
    let facts = facts.into_iter().map(|facts| Input::Facts { from: FactSource::Boot, facts });
    for input in rows.chain(facts).chain([Input::Booted]) {
        // The driver is gone only when it panicked; its task says so.
        let _ = inputs.send(input).await;
    }
    Ok(())
}

/// The store as connections need it.
struct StoreView(Store);

impl HaveSet for StoreView {
    fn have_set(&self, filter: &Filter, range: Range) -> io::Result<Vec<(Timestamp, EventId)>> {
        let mut items = Vec::new();
        self.0
            .have_set(filter, range, &mut |at, id| items.push((at, id)))
            .map_err(io::Error::other)?;
        Ok(items)
    }
}

impl EventBodies for StoreView {
    fn event_json(&self, id: &EventId) -> io::Result<Option<String>> {
        let found = self.0.by_ids(&[*id]).map_err(io::Error::other)?;
        Ok(found.into_iter().next().flatten().map(|json| json.to_string()))
    }
}

fn check_relays(config: &Config) -> Result<(), StartError> {
    for text in config.sync.relays.iter().chain(&config.identity.urls) {
        RelayUrl::parse(text).map_err(|source| StartError::Relay { text: text.clone(), source })?;
    }
    Ok(())
}

fn read_keys(files: &BTreeMap<RelayUrl, PathBuf>) -> Result<BTreeMap<RelayUrl, Keys>, StartError> {
    let mut keys = BTreeMap::new();
    for (relay, path) in files {
        let wrong = |source| StartError::Key { path: path.clone(), source };
        let text = std::fs::read_to_string(path).map_err(wrong)?;
        let key = Keys::parse(text.trim())
            .map_err(|_| wrong(io::Error::new(io::ErrorKind::InvalidData, "no secret key")))?;
        keys.insert(relay.clone(), key);
    }
    Ok(keys)
}

/// The history of metrics, for a daemon that keeps them; a single run has none.
fn open_history(
    settings: &Settings,
    registry: &Registry,
) -> Result<Option<SharedHistory>, StartError> {
    if settings.core.once || !settings.metrics.enabled {
        return Ok(None);
    }
    let dir = settings.data_dir.as_ref().ok_or(StartError::NoDataDir)?;
    std::fs::create_dir_all(dir)
        .map_err(|source| StartError::DataDir { path: dir.clone(), source })?;
    let history = History::open(&dir.join("history.sqlite"), registry.clone(), Keep::default())?;
    Ok(Some(SharedHistory::new(history)))
}

async fn open_store(settings: &Settings) -> Result<Store, StartError> {
    let path = settings.data_dir.clone().ok_or(StartError::NoDataDir)?;
    let dir = path.clone();
    let ours = settings.core.identity.urls.iter();
    let relay_urls = ours.filter_map(|url| RelayUrl::parse(url).ok()).collect();
    let options = StoreOptions { relay_urls, ..StoreOptions::default() };
    let opened = tokio::task::spawn_blocking(move || Store::open(&dir, options)).await;
    opened
        .expect("opening a store does not panic")
        .map_err(|source| StartError::Store { path, source })
}

fn seed_of_clock() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map(|since| since.as_nanos() as u64).unwrap_or_default()
}
