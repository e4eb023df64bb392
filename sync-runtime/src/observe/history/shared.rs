//! History beside the runtime: written by a task, read by whoever asks, always on blocking threads.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::window::Window;
use super::{History, HistoryError};
use crate::api::{Entry, WallMs};

/// How often entries of the journal are written.
const TICK: Duration = Duration::from_secs(2);

/// A history that tasks share.
#[derive(Clone, Debug)]
pub struct SharedHistory(Arc<Mutex<History>>);

impl SharedHistory {
    /// Shares a history.
    pub fn new(history: History) -> Self {
        Self(Arc::new(Mutex::new(history)))
    }

    /// Writes until `stop`, and once more then: entries as they come, the rest at each full
    /// minute. A failure is logged and tried again.
    pub async fn run(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            let ending = tokio::select! {
                _ = tick.tick() => false,
                () = stop.cancelled() => true,
            };
            let written = self.with(move |history| history.write_due(ending)).await;
            if let Err(error) = &written
                && !failing
            {
                tracing::warn!(%error, "history is not being written");
            }
            failing = written.is_err();
            if ending {
                return;
            }
        }
    }

    /// What changed within a window.
    pub async fn window(&self, since: WallMs, until: WallMs) -> Result<Window, HistoryError> {
        self.with(move |history| history.window(since, until)).await
    }

    /// The latest entries within a time, as [`History::journal`] says.
    pub async fn journal(
        &self,
        since: WallMs,
        until: WallMs,
        max: usize,
        keep: impl Fn(&Entry) -> bool + Send + 'static,
    ) -> Result<(Vec<Entry>, bool), HistoryError> {
        self.with(move |history| history.journal(since, until, max, keep)).await
    }

    async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut History) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let history = self.0.clone();
        let task = tokio::task::spawn_blocking(move || {
            act(&mut history.lock().unwrap_or_else(PoisonError::into_inner))
        });
        task.await.expect("history does not panic")
    }
}

impl History {
    fn write_due(&mut self, ending: bool) -> Result<(), HistoryError> {
        let now = self.registry.now();
        if ending || now.0 / 60_000 > self.flushed.0 / 60_000 {
            self.flush(now)
        } else {
            self.flush_journal().map(drop)
        }
    }
}
