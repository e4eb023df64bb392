//! SIGINT and SIGTERM: the first asks for an orderly end, the second ends at once.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;
use crate::failure::Failure;

/// Both signals, from now on.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From here on neither ends the process by itself.
    pub(crate) fn catch() -> Result<Self, Failure> {
        let catch = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(Exit::Internal, "cannot catch signals").caused_by(&error)
            })
        };
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
        })
    }

    /// The exit code of the next one, for work that it cuts short.
    pub(crate) async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }

    /// Finishes this, unless another signal comes: then the process ends at once.
    pub(crate) async fn unless_again<T>(&mut self, last: impl Future<Output = T>) -> T {
        tokio::select! {
            done = last => done,
            exit = self.next() => std::process::exit(i32::from(exit.code())),
        }
    }
}
