//! Samples what no event tells: the size of the store and the depth of queues, every few seconds.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::connection::Arrival;
use crate::observe::{Queue, Sampled};
use crate::service::Handle;
use crate::store::{EventStore, Store};

/// How often.
const EVERY: Duration = Duration::from_secs(2);

/// The sampling task.
#[derive(Clone)]
pub(crate) struct Sampler {
    pub(crate) handle: Handle,
    pub(crate) store: Store,
    pub(crate) queue: mpsc::Sender<Arrival>,
}

impl Sampler {
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => self.sample().await,
            }
        }
    }

    /// Takes one sample now.
    pub(crate) async fn sample(&self) {
        let store = self.store.clone();
        let Ok(Ok(stats)) = tokio::task::spawn_blocking(move || store.stats()).await else {
            return; // the next sample may come through; the last one stands until then
        };
        let wanted = self.handle.wanted_counts().await;
        let capacity = self.queue.max_capacity();
        let depth = capacity - self.queue.capacity();
        self.handle.registry().sample(Sampled {
            store_kinds: Some(stats.kinds.iter().map(|(k, n)| (k.as_u16(), *n)).collect()),
            store_size_bytes: Some(stats.disk),
            repositories: wanted.map(|(repos, _)| repos as u64),
            roots: wanted.map(|(_, roots)| roots as u64),
            queues: vec![(Queue::Ingest, depth as u64, capacity as u64)],
            outbox: Some(stats.outbox),
            ..self.handle.registry().sampled()
        });
    }
}
