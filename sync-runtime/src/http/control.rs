//! What the interface asks of the daemon behind it.

use std::future::Future;
use std::pin::Pin;

use sync_core::input::Operator;
use sync_core::url::RelayUrl;

use crate::api::{Explain, Ready, Status};

/// An answer that is on its way.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ControlError>> + Send + 'a>>;

/// The daemon, as the interface sees it; the driver implements it. No call may block.
pub trait Control: Send + Sync + 'static {
    /// The state of everything.
    fn status(&self) -> Answer<'_, Status>;

    /// Why a relay is in its state, and what comes next.
    fn explain(&self, relay: RelayUrl) -> Answer<'_, Explain>;

    /// Takes a request; the answer comes when the core has taken it, not when it is done.
    fn operator(&self, operator: Operator) -> Answer<'_, ()>;

    /// Whether boot is over and relays are dialed.
    fn ready(&self) -> Answer<'_, Ready>;
}

/// Why the daemon has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No such relay is known.
    #[error("no such relay")]
    UnknownRelay,
    /// The daemon is shutting down.
    #[error("the daemon is stopping")]
    Stopping,
    /// The daemon does not answer; ask again later.
    #[error("the daemon is busy")]
    Busy,
}
