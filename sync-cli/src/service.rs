//! The daemon in this process: the one place that knows how `sync-runtime` is started, watched and
//! ended.

use std::error::Error;

use sync_core::input::Operator;
use sync_runtime::api::{Status, SyncOutcome};
use sync_runtime::settings::Settings;
use sync_runtime::store::StoreError;
use sync_runtime::{Handle, SyncService};

use crate::exit::Exit;
use crate::failure::Failure;

/// How long it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Until it is told to end.
    Daemon,
    /// Until everything is there, or explained (DISC-10).
    Once,
}

/// A running service.
pub(crate) struct Service {
    inner: SyncService,
    handle: Handle,
}

impl Service {
    /// Opens the store and begins to dial.
    pub(crate) async fn start(settings: Settings, mode: Mode) -> Result<Self, Failure> {
        let builder = SyncService::builder(settings).once(mode == Mode::Once);
        let inner = builder.start().await.map_err(|error| {
            Failure::new(exit_of(&error), "cannot start syncing").caused_by(&error)
        })?;
        let handle = inner.handle();
        Ok(Self { inner, handle })
    }

    /// How things stand.
    pub(crate) async fn status(&self) -> Status {
        self.handle.status().await
    }

    /// Whether nothing is pending.
    pub(crate) fn is_complete(&self) -> bool {
        self.handle.progress().complete
    }

    /// Asks for the end; [`Self::finished`] then says how far it came.
    pub(crate) async fn stop(&self) {
        self.handle.operator(Operator::Shutdown).await;
    }

    /// Waits for the end of [`Mode::Once`].
    pub(crate) async fn finished(&self) -> SyncOutcome {
        self.inner.finished().await
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
