//! Clients of the event stream: how many, and what they missed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Registry;
use super::gather::Rows;

/// Clients at a time.
const CLIENTS_MAX: u64 = 32;

#[derive(Debug, Default)]
pub(crate) struct Clients {
    current: AtomicU64,
    dropped: AtomicU64,
}

/// A client of the stream, counted while this lives.
#[derive(Debug)]
pub struct StreamClient(Registry);

impl Registry {
    /// Counts one more client of the stream, unless there are too many.
    pub fn stream_client(&self) -> Option<StreamClient> {
        let one_more = |current| (current < CLIENTS_MAX).then_some(current + 1);
        let counted = self.clients().current.fetch_update(Relaxed, Relaxed, one_more);
        counted.ok().map(|_| StreamClient(self.clone()))
    }

    pub(crate) fn client_rows(&self, rows: &mut Rows) {
        let clients = self.clients();
        rows.count("ngit_sync_stream_clients", [], clients.current.load(Relaxed));
        rows.count("ngit_sync_stream_dropped_total", [], clients.dropped.load(Relaxed));
    }
}

impl StreamClient {
    /// So many entries were lost to it.
    pub fn dropped(&self, count: u64) {
        self.0.clients().dropped.fetch_add(count, Relaxed);
    }
}

impl Drop for StreamClient {
    fn drop(&mut self) {
        self.0.clients().current.fetch_sub(1, Relaxed);
    }
}
