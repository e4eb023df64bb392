//! nostr-relay-builder's `LocalRelay`: a relay written by others, with NIP-77, in process.
//!
//! It runs on a thread and runtime of its own. Stopping ends that runtime, so every socket is
//! gone and the port is free when `stop` returns.

use std::sync::mpsc;
use std::thread::JoinHandle;

use nostr_relay_builder::builder::{RateLimit, RelayBuilder};
use nostr_relay_builder::prelude::{MemoryDatabase, MemoryDatabaseOptions, NostrDatabase};
use nostr_v44::filter::Filter;
use nostr_v44::util::JsonUtil;
use tokio::sync::oneshot;

use super::free_port;

/// What differs from relay to relay.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shape {
    /// Events of one filter at most; 500 without a `limit` and none with one when absent.
    pub(crate) cap: Option<usize>,
}

/// A relay that keeps its events while it is stopped.
pub(crate) struct LocalRelay {
    port: u16,
    shape: Shape,
    database: MemoryDatabase,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl LocalRelay {
    /// Starts a relay that holds these events, given as JSON.
    pub(crate) fn start<'a>(events: impl IntoIterator<Item = &'a str>) -> Self {
        Self::start_shaped(Shape::default(), events)
    }

    pub(crate) fn start_shaped<'a>(
        shape: Shape,
        events: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut relay = Self::stopped(shape);
        relay.insert(events);
        relay.resume();
        relay
    }

    /// A relay that does not run yet; its URL is settled.
    pub(crate) fn stopped(shape: Shape) -> Self {
        let options = MemoryDatabaseOptions { events: true, max_events: None };
        let database = MemoryDatabase::with_opts(options);
        Self { port: free_port(), shape, database, running: None }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Writes into the database; open subscriptions are not told. Returns how many are stored.
    pub(crate) fn insert<'a>(&self, events: impl IntoIterator<Item = &'a str>) -> usize {
        let events: Vec<nostr_v44::Event> = events
            .into_iter()
            .map(|json| nostr_v44::Event::from_json(json).expect("an event that nostr 0.44 reads"))
            .collect();
        let database = self.database.clone();
        on_its_own_thread(move || async move {
            let mut stored = 0;
            for event in &events {
                let status = database.save_event(event).await.expect("memory does not fail");
                stored += usize::from(status.is_success());
            }
            stored
        })
    }

    /// Ids that it holds, as hex.
    pub(crate) fn ids(&self) -> std::collections::BTreeSet<String> {
        let database = self.database.clone();
        on_its_own_thread(move || async move {
            let events = database.query(Filter::new()).await.expect("memory does not fail");
            events.into_iter().map(|event| event.id.to_hex()).collect()
        })
    }

    /// Ends every connection and the listener.
    pub(crate) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = running.stop.send(());
            running.thread.join().expect("the relay's thread ends without a panic");
        }
    }

    /// Listens again on the same port with the same events.
    pub(crate) fn resume(&mut self) {
        assert!(self.running.is_none(), "the relay runs already");
        let builder = RelayBuilder::default()
            .port(self.port)
            .database(self.database.clone())
            .rate_limit(RateLimit { max_reqs: 500, notes_per_minute: u32::MAX });
        let builder = match self.shape.cap {
            Some(cap) => builder.max_filter_limit(cap).default_filter_limit(cap),
            None => builder,
        };
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            runtime().block_on(async move {
                let relay = nostr_relay_builder::LocalRelay::new(builder);
                let _ = ready.send(relay.run().await.map_err(|error| error.to_string()));
                let _ = stopped.await;
            });
        });
        is_ready.recv().expect("the relay's thread lives").expect("the port can be bound");
        self.running = Some(Running { stop, thread });
    }
}

impl Drop for LocalRelay {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = running.stop.send(());
            let _ = running.thread.join();
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime can be made")
}

/// Runs a future to its end from wherever the caller is, inside a runtime or not.
fn on_its_own_thread<T, F>(work: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let thread = std::thread::spawn(move || runtime().block_on(work()));
    thread.join().expect("the database does not panic")
}
