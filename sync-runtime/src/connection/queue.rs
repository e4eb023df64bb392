//! The queue of commands of one connection: bounded in frames and bytes. The driver never waits for
//! it; one that is full means a relay that does not read, and ends the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use nostr::filter::Filter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ConnCommand;

/// Commands that wait.
const MAX_COMMANDS: usize = 1024;
/// Bytes of the frames that they become, about.
const MAX_BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
struct Shared {
    bytes: AtomicUsize,
    off_filter: AtomicU32,
    overflow: CancellationToken,
}

/// The driver's end of a connection. Dropping it closes the connection.
#[derive(Debug)]
pub struct ConnHandle {
    commands: mpsc::Sender<(ConnCommand, usize)>,
    shared: Arc<Shared>,
}

impl ConnHandle {
    /// Queues a command, never waiting. If the queue is full the connection ends, with the reason
    /// `SendQueueFull`; if it has ended already nothing happens.
    pub fn send(&self, command: ConnCommand) {
        let weight = weight(&command);
        let before = self.shared.bytes.fetch_add(weight, Ordering::AcqRel);
        // A single command above the limit is the caller's to avoid; it still goes out alone.
        let mut full = before > 0 && before + weight > MAX_BYTES;
        if !full {
            let queued = self.commands.try_send((command, weight));
            full = matches!(queued, Err(mpsc::error::TrySendError::Full(_)));
        }
        if full {
            self.shared.overflow.cancel();
        }
    }
}

/// Tells a connection what the pipeline found of its events.
#[derive(Clone, Debug)]
pub struct Feedback {
    shared: Arc<Shared>,
}

impl Feedback {
    /// An event turned out not to match by its tags, which counts towards a flood (T6).
    pub fn off_filter(&self) {
        self.shared.off_filter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The task's end.
pub(super) struct Commands {
    commands: mpsc::Receiver<(ConnCommand, usize)>,
    shared: Arc<Shared>,
}

impl Commands {
    /// The next command; `Close` when the driver's end is gone. Cancel safe.
    pub(super) async fn next(&mut self) -> ConnCommand {
        let Some((command, weight)) = self.commands.recv().await else {
            return ConnCommand::Close;
        };
        self.shared.bytes.fetch_sub(weight, Ordering::AcqRel);
        command
    }

    /// Is cancelled when a command did not fit.
    pub(super) fn overflow(&self) -> CancellationToken {
        self.shared.overflow.clone()
    }

    /// What goes with the events of the connection.
    pub(super) fn feedback(&self) -> Feedback {
        Feedback { shared: Arc::clone(&self.shared) }
    }

    /// Events that did not match by their tags, since the last call.
    pub(super) fn take_off_filter(&self) -> u32 {
        self.shared.off_filter.swap(0, Ordering::Relaxed)
    }
}

pub(super) fn queue() -> (ConnHandle, Commands) {
    let (sender, receiver) = mpsc::channel(MAX_COMMANDS);
    let shared = Arc::new(Shared::default());
    let handle = ConnHandle { commands: sender, shared: Arc::clone(&shared) };
    (handle, Commands { commands: receiver, shared })
}

/// About the bytes of the frame that a command becomes; the driver does not serialise.
fn weight(command: &ConnCommand) -> usize {
    const FRAME: usize = 32;
    FRAME
        + match command {
            ConnCommand::Subscribe { filters, .. } => filters.iter().map(filter_weight).sum(),
            ConnCommand::Reconcile { filter, .. } => filter_weight(filter),
            ConnCommand::Publish { ids } => ids.len() * 32,
            ConnCommand::Unsubscribe { .. }
            | ConnCommand::StopReconcile { .. }
            | ConnCommand::Authenticate { .. }
            | ConnCommand::Close => 0,
        }
}

fn filter_weight(filter: &Filter) -> usize {
    const HEX: usize = 67;
    let tags: usize = filter.generic_tags.values().flatten().map(|value| value.len() + 3).sum();
    64 + tags
        + HEX * filter.ids.as_ref().map_or(0, |ids| ids.len())
        + HEX * filter.authors.as_ref().map_or(0, |authors| authors.len())
        + 6 * filter.kinds.as_ref().map_or(0, |kinds| kinds.len())
}

#[cfg(test)]
mod tests {
    use nostr::event::EventId;
    use sync_core::command::{Purpose, Source};
    use sync_core::id::SubId;
    use sync_core::wire;

    use super::*;

    fn ids(count: u64) -> ConnCommand {
        let id = |n: u64| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            EventId::from_byte_array(bytes)
        };
        ConnCommand::Subscribe {
            sub: SubId(1),
            filters: vec![Filter::new().ids((0..count).map(id))],
            purpose: Purpose::Ids { source: Source::Startup },
        }
    }

    #[tokio::test]
    async fn commands_come_out_in_order_and_free_their_room() {
        let (handle, mut commands) = queue();
        for _ in 0..3 {
            for n in 1..=100 {
                handle.send(ids(n));
            }
            for n in 1..=100 {
                assert_eq!(commands.next().await, ids(n));
            }
        }
        assert!(!handle.shared.overflow.is_cancelled());
        assert_eq!(handle.shared.bytes.load(Ordering::Relaxed), 0);
        drop(handle);
        assert_eq!(commands.next().await, ConnCommand::Close);
    }

    #[tokio::test]
    async fn too_many_commands_or_bytes_overflow_it() {
        let (handle, commands) = queue();
        for _ in 0..MAX_COMMANDS {
            handle.send(ConnCommand::Unsubscribe { sub: SubId(1) });
        }
        assert!(!handle.shared.overflow.is_cancelled());
        handle.send(ConnCommand::Unsubscribe { sub: SubId(1) });
        commands.overflow().cancelled().await;

        let (handle, commands) = queue();
        for _ in 0..15 {
            handle.send(ids(1000));
        }
        assert!(!handle.shared.overflow.is_cancelled());
        handle.send(ids(1000));
        commands.overflow().cancelled().await;
    }

    #[test]
    fn the_weight_of_a_request_is_about_its_size() {
        let command = ids(500);
        let ConnCommand::Subscribe { sub, filters, .. } = &command else { return };
        let size = wire::req(*sub, filters).len();
        let weight = weight(&command);
        assert!((size..size + 128).contains(&weight), "{weight} for {size}");
    }
}
