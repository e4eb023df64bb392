//! The daemon in this process: the one place that knows how `sync-runtime` is started, watched and
//! ended.

use std::error::Error;
use std::time::Duration;

use sync_core::url::RelayUrl;
use sync_runtime::api::{Status, SyncOutcome, Verification};
use sync_runtime::service::{Handle, SyncService};
use sync_runtime::settings::Settings;
use sync_runtime::store::{EventStore, StoreError};

use crate::exit::Exit;
use crate::failure::Failure;

/// A driver that takes longer to answer is stuck.
const ALIVE: Duration = Duration::from_secs(2);

/// How long it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Until it is told to end.
    Daemon,
    /// Until everything is there, or explained (DISC-10).
    Once,
    /// Until these relays, or all, were compared; nothing is fetched.
    Probe(Vec<RelayUrl>),
}

/// A running service.
pub(crate) struct Service {
    inner: SyncService,
    handle: Handle,
}

impl Service {
    /// Opens the store and begins to dial.
    pub(crate) async fn start(settings: Settings, mode: Mode) -> Result<Self, Failure> {
        let builder = SyncService::builder(settings);
        let builder = match mode {
            Mode::Daemon => builder,
            Mode::Once => builder.once(true),
            Mode::Probe(only) => builder.probe(only),
        };
        let inner = builder.start().await.map_err(|error| {
            Failure::new(exit_of(&error), "cannot start syncing").caused_by(&error)
        })?;
        let handle = inner.handle();
        Ok(Self { inner, handle })
    }

    /// How things stand.
    pub(crate) fn status(&self) -> Status {
        self.handle.status()
    }

    /// Whether its driver answers in time.
    pub(crate) async fn is_alive(&self) -> bool {
        let answer = tokio::time::timeout(ALIVE, self.handle.wanted_counts()).await;
        matches!(answer, Ok(Some(_)))
    }

    /// Waits for the end of [`Mode::Once`] or [`Mode::Probe`]; true when nothing that is wanted is missing.
    pub(crate) async fn finished(&self) -> bool {
        self.inner.finished().await.is_complete()
    }

    /// What was done so far.
    pub(crate) fn outcome(&self) -> SyncOutcome {
        self.handle.outcome()
    }

    /// What [`Mode::Probe`] found; before the shutdown.
    pub(crate) async fn verification(&self) -> Verification {
        self.handle.verification().await
    }

    /// How many events are durable.
    pub(crate) fn stored(&self) -> Result<u64, Failure> {
        let stats = tokio::task::block_in_place(|| self.inner.store().stats());
        stats.map(|stats| stats.events).map_err(|error| {
            Failure::new(Exit::from(&error), "cannot read the store").caused_by(&error)
        })
    }

    /// Closes everything in order.
    pub(crate) async fn shutdown(self) {
        self.inner.shutdown().await;
    }
}

/// The code for what an error is at its root.
fn exit_of(error: &(dyn Error + 'static)) -> Exit {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<StoreError>() {
            return error.into();
        }
        source = error.source();
    }
    Exit::Failed
}
