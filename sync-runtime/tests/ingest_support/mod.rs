//! A pipeline over a real store, signed events, and a store that can be made to fail.
#![allow(unreachable_pub, reason = "shared by the modules of a test crate")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nostr::event::{Event, EventBuilder, EventId, FinalizeEvent, Kind, Tag};
use nostr::filter::Filter;
use nostr::key::{Keys, PublicKey, SecretKey};
use nostr::types::Timestamp;
use sync_core::admit::policy::Policy;
use sync_core::command::{Purpose, Source};
use sync_core::config::Config;
use sync_core::id::{ConnId, RelayId, SubId};
use sync_core::input::{Fact, Input};
use sync_core::item::Range;
use sync_core::ledger::LedgerRow;
use sync_core::tally::SettleTally;
use sync_core::url::RelayUrl;
use sync_core::wire::Envelope;
use sync_runtime::connection::Arrival;
use sync_runtime::ingest::{Ingest, IngestOptions, boot};
use sync_runtime::store::{
    Commit, CommitReport, Dependency, EventStore, Known, Rejection, Removed, Store, StoreError,
    StoreOptions, StoreStats, Swept, Visit,
};
use tokio::sync::mpsc;

pub const NOW: u64 = 1_800_000_000;

pub fn keys(n: u8) -> Keys {
    Keys::new(SecretKey::from_slice(&[n; 32]).expect("a secret key"))
}

pub fn event(author: u8, kind: u16, at: u64, tags: &[&[&str]]) -> Event {
    let tags = tags.iter().map(|tag| Tag::parse(tag.iter().copied()).expect("a tag"));
    EventBuilder::new(Kind::from_u16(kind), "text")
        .tags(tags)
        .custom_created_at(Timestamp::from_secs(at))
        .finalize(&keys(author))
        .expect("signed")
}

pub fn repo(author: u8, identifier: &str) -> String {
    format!("30617:{}:{identifier}", keys(author).public_key().to_hex())
}

pub fn announcement(author: u8, identifier: &str, at: u64, host: &str, named: &[u8]) -> Event {
    let clone = format!("https://{host}/x/y.git");
    let relay = format!("wss://{host}");
    let named: Vec<String> = named.iter().map(|n| keys(*n).public_key().to_hex()).collect();
    let mut last = vec!["maintainers"];
    last.extend(named.iter().map(String::as_str));
    event(author, 30617, at, &[&["d", identifier], &["clone", &clone], &["relays", &relay], &last])
}

pub fn config() -> Config {
    let mut config = Config::default();
    config.accept.domains = vec!["git.example".into()];
    config
}

pub fn conn(relay: u32) -> ConnId {
    ConnId { relay: RelayId(relay), epoch: 1 }
}

pub fn arrival(conn: ConnId, sub: u32, event: &Event) -> Arrival {
    Arrival {
        conn,
        sub: SubId(sub),
        purpose: Purpose::Ids { source: Source::Startup },
        live: false,
        filters: Arc::from([Filter::new()]),
        envelope: Envelope {
            id: event.id,
            pubkey: event.pubkey,
            created_at: event.created_at,
            kind: event.kind,
        },
        json: event.as_json().into(),
        at: tokio::time::Instant::now(),
        wall: Timestamp::from_secs(NOW),
        standing: None,
        place: None,
        feedback: None,
    }
}

pub fn open(dir: &tempfile::TempDir) -> Store {
    let options =
        StoreOptions { map_size: 64 << 20, map_size_max: 1 << 30, ..StoreOptions::default() };
    Store::open(dir.path(), options).expect("a store")
}

/// A pipeline and what it told the driver.
pub struct Bench {
    pub ingest: Option<Ingest>,
    pub store: Arc<dyn EventStore>,
    pub facts: Vec<Fact>,
    pub tallies: BTreeMap<(u32, u32), SettleTally>,
    inputs: mpsc::Receiver<Input>,
    owed: u64,
}

impl Bench {
    pub fn start(store: Arc<dyn EventStore>) -> Self {
        Self::with(store, IngestOptions::new(config()))
    }

    pub fn with(store: Arc<dyn EventStore>, options: IngestOptions) -> Self {
        Self::with_clock(store, options, Arc::new(Mutex::new(NOW)))
    }

    pub fn with_clock(
        store: Arc<dyn EventStore>,
        options: IngestOptions,
        clock: Arc<Mutex<u64>>,
    ) -> Self {
        let mut policy = Policy::new(&options.config).expect("a policy");
        let mut facts = Vec::new();
        boot(&*store, &mut policy, false, &mut |chunk| facts.extend(chunk)).expect("booted");
        let (sender, inputs) = mpsc::channel(4_096);
        let options = IngestOptions {
            threads: 2,
            wall: Arc::new(move || Timestamp::from_secs(*clock.lock().expect("a clock"))),
            relay: Arc::new(|relay| RelayUrl::parse(&format!("wss://r{relay}.example")).ok()),
            ..options
        };
        let ingest = Ingest::start(options, Arc::clone(&store), policy, sender).expect("started");
        let (tallies, owed) = (BTreeMap::new(), 0);
        Self { ingest: Some(ingest), store, facts, tallies, inputs, owed }
    }

    pub fn running(&self) -> &Ingest {
        self.ingest.as_ref().expect("it runs")
    }

    /// Hands arrivals over without waiting for their fate.
    pub fn offer(&mut self, arrivals: impl IntoIterator<Item = Arrival>) {
        let sender = self.running().arrivals();
        for arrival in arrivals {
            self.owed += 1;
            sender.blocking_send(arrival).expect("the intake runs");
        }
    }

    /// Takes inputs until every arrival is settled.
    pub fn settle(&mut self) {
        while self.owed > 0 {
            let input = self.inputs.blocking_recv().expect("the writer runs");
            self.on_input(input);
        }
    }

    /// Takes inputs until `until` holds.
    pub fn wait(&mut self, until: impl Fn(&Self) -> bool) {
        while !until(self) {
            let input = self.inputs.blocking_recv().expect("the writer runs");
            self.on_input(input);
        }
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Facts { facts, .. } => self.facts.extend(facts),
            Input::Settled(tally) => {
                self.owed -= tally.total();
                let key = (tally.conn.expect("a connection").relay.0, tally.sub.expect("one").0);
                let sum = self.tallies.entry(key).or_default();
                sum.stored += tally.stored;
                sum.duplicate += tally.duplicate;
                sum.rejected += tally.rejected;
                sum.invalid += tally.invalid;
                sum.off_filter += tally.off_filter;
                sum.failed += tally.failed;
                sum.gap_events += tally.gap_events;
                sum.ids.extend(tally.ids);
                sum.failed_ids.extend(tally.failed_ids);
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    pub fn take<'e>(&mut self, conn: ConnId, events: impl IntoIterator<Item = &'e Event>) {
        self.offer(events.into_iter().map(|event| arrival(conn, 1, event)));
        self.settle();
    }

    pub fn tally(&self, relay: u32) -> SettleTally {
        self.tallies.get(&(relay, 1)).cloned().unwrap_or_default()
    }

    pub fn stop(&mut self) {
        self.ingest.take().expect("it runs").stop();
    }
}

pub fn stored(store: &dyn EventStore) -> BTreeSet<EventId> {
    let mut ids = BTreeSet::new();
    let all = &mut |found: sync_runtime::store::Found<'_>| {
        ids.insert(found.id);
        std::ops::ControlFlow::Continue(())
    };
    store.query(&Filter::new(), all).expect("a query");
    ids
}

/// What the next commit does.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    Full,
    Broken,
}

/// A store whose commits fail as planned.
pub struct Fragile {
    pub inner: Store,
    pub plan: Mutex<VecDeque<Failure>>,
    pub commits: AtomicUsize,
}

impl Fragile {
    pub fn new(inner: Store) -> Arc<Self> {
        Arc::new(Self { inner, plan: Mutex::default(), commits: AtomicUsize::new(0) })
    }

    pub fn plan(&self, failures: impl IntoIterator<Item = Failure>) {
        self.plan.lock().expect("a plan").extend(failures);
    }
}

impl EventStore for Fragile {
    fn commit(&self, batch: &Commit) -> Result<CommitReport, StoreError> {
        let next = self.plan.lock().expect("a plan").pop_front();
        match next {
            Some(Failure::Full) => Err(StoreError::Full { cause: "the test says so" }),
            Some(Failure::Broken) => Err(StoreError::Io(std::io::Error::other("broken"))),
            None => {
                self.commits.fetch_add(1, Ordering::SeqCst);
                self.inner.commit(batch)
            }
        }
    }

    fn has(&self, ids: &[EventId]) -> Result<Vec<Known>, StoreError> {
        self.inner.has(ids)
    }

    fn by_ids(&self, ids: &[EventId]) -> Result<Vec<Option<Arc<str>>>, StoreError> {
        self.inner.by_ids(ids)
    }

    fn query(&self, filter: &Filter, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.inner.query(filter, visit)
    }

    fn count(&self, filter: &Filter) -> Result<u64, StoreError> {
        self.inner.count(filter)
    }

    fn have_set(
        &self,
        filter: &Filter,
        range: Range,
        visit: &mut dyn FnMut(Timestamp, EventId),
    ) -> Result<(), StoreError> {
        self.inner.have_set(filter, range, visit)
    }

    fn scan_kinds(&self, kinds: &[Kind], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.inner.scan_kinds(kinds, visit)
    }

    fn authors(&self, visit: &mut dyn FnMut(PublicKey)) -> Result<(), StoreError> {
        self.inner.authors(visit)
    }

    fn ledger(&self) -> Result<Vec<LedgerRow>, StoreError> {
        self.inner.ledger()
    }

    fn dependents(&self, on: &Dependency) -> Result<Vec<Rejection>, StoreError> {
        self.inner.dependents(on)
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Rejection>, StoreError> {
        self.inner.due(now, limit)
    }

    fn wanted(&self) -> Result<Vec<Rejection>, StoreError> {
        self.inner.wanted()
    }

    fn rejection(&self, id: EventId) -> Result<Option<Rejection>, StoreError> {
        self.inner.rejection(id)
    }

    fn outbox(&self, limit: usize) -> Result<Vec<EventId>, StoreError> {
        self.inner.outbox(limit)
    }

    fn expire(&self, now: Timestamp) -> Result<Vec<Removed>, StoreError> {
        self.inner.expire(now)
    }

    fn sweep(&self, older_than: Timestamp) -> Result<Swept, StoreError> {
        self.inner.sweep(older_than)
    }

    fn retire_rejections(&self, revision: u64) -> Result<u64, StoreError> {
        self.inner.retire_rejections(revision)
    }

    fn stats(&self) -> Result<StoreStats, StoreError> {
        self.inner.stats()
    }
}
