//! The three relays of the demo.

use std::net::SocketAddr;
use std::sync::Arc;

use nostr_relay_builder::builder::{RateLimit, RelayBuilder};
use nostr_relay_builder::local::LocalRelay;
use nostr_relay_builder::prelude::{MemoryDatabase, MemoryDatabaseOptions, NostrDatabase};
use nostr_v44::event::Event;

use super::Corpus;
use super::proxy::Proxy;
use crate::exit::Exit;
use crate::failure::Failure;

/// Bytes of a relay's answers after which its connection is cut.
const CUT_AFTER: u64 = 4 * 1024;
/// Requests that the third relay takes at a time.
const FEW_REQUESTS: usize = 6;

/// Running relays; they end when dropped.
pub(crate) struct Relays {
    relays: Vec<(LocalRelay, Arc<MemoryDatabase>)>,
    proxy: Proxy,
    urls: Vec<String>,
}

impl Relays {
    /// Starts them, empty.
    pub(crate) async fn start() -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::Failed, "cannot start a relay on loopback")
                .because(error.to_string())
        };
        let mut relays = Vec::new();
        let mut urls = Vec::new();
        let mut ports = Vec::new();
        for max_reqs in [500, 500, FEW_REQUESTS] {
            let options = MemoryDatabaseOptions { events: true, max_events: None };
            let store = Arc::new(MemoryDatabase::with_opts(options));
            let relay = LocalRelay::new(
                RelayBuilder::default()
                    .database(Arc::clone(&store))
                    .rate_limit(RateLimit { max_reqs, ..RateLimit::default() }),
            );
            relay.run().await.map_err(|error| failed(&error))?;
            let url = relay.url().await;
            ports.push(
                url.as_str()
                    .rsplit(':')
                    .next()
                    .and_then(|port| port.trim_end_matches('/').parse::<u16>().ok()),
            );
            urls.push(url.to_string());
            relays.push((relay, store));
        }
        let port = ports.get(1).copied().flatten().ok_or_else(|| failed(&"it has no port"))?;
        let upstream = SocketAddr::from(([127, 0, 0, 1], port));
        let proxy = Proxy::start(upstream, CUT_AFTER).await.map_err(|error| failed(&error))?;
        urls[1] = format!("ws://{}", proxy.address);
        Ok(Self { relays, proxy, urls })
    }

    /// Their URLs: the second leads through the proxy.
    pub(crate) fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Whether the proxy has cut its connection.
    pub(crate) fn has_cut(&self) -> bool {
        self.proxy.has_cut()
    }

    /// Gives every relay its part of the corpus.
    pub(crate) async fn fill(&self, corpus: &Corpus) -> Result<(), Failure> {
        for (at, (_, store)) in self.relays.iter().enumerate() {
            for event in corpus.of_relay(at) {
                save(store, event).await?;
            }
        }
        Ok(())
    }

    /// Publishes an event on the first relay, as a client of it would.
    pub(crate) async fn publish(&self, event: &Event) -> Result<(), Failure> {
        let Some((relay, store)) = self.relays.first() else { return Ok(()) };
        save(store, event).await?;
        relay.notify_event(event.clone());
        Ok(())
    }
}

async fn save(store: &MemoryDatabase, event: &Event) -> Result<(), Failure> {
    let saved = store.save_event(event).await.map_err(|error| error.to_string());
    match saved {
        Ok(status) if status.is_success() => Ok(()),
        Ok(_) => Err(Failure::new(Exit::Internal, "a relay of the demo refused an event")),
        Err(error) => {
            Err(Failure::new(Exit::Internal, "a relay of the demo failed").because(error))
        }
    }
}
