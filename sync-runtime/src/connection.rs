//! One task per connection: it owns the socket, turns commands into frames and frames into inputs,
//! and hands event bodies to the intake. It decides nothing: when to dial, what to ask and what an
//! answer means is the core's.
//!
//! ```text
//! driver ──ConnCommand──▶ queue ─▶ task ─▶ socket
//! driver ◀──Input──────────────── task ◀─ socket
//! ingest ◀──Arrival────────────── task
//! ```
//!
//! Nothing is dropped between the socket and the intake: a full intake stops the reading of the
//! socket (`Stalled`, `Flowing`). A tally precedes any later frame (F1), comes at 256 events or
//! 20 ms (F2), and before `Closed` (F3).

mod auth;
mod info;
mod link;
mod observe;
mod pulse;
mod queue;
mod receive;
mod sessions;
mod task;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use nostr::event::EventId;
use nostr::filter::Filter;
use nostr::key::Keys;
use nostr::types::Timestamp;
use sync_core::command::{NegLimits, Purpose};
use sync_core::config::Config;
use sync_core::id::{ChallengeId, ConnId, NegId, SubId};
use sync_core::input::Input;
use sync_core::item::Range;
use sync_core::url::RelayUrl;
use sync_core::wire::Envelope;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

pub use self::info::{RelayInfo, parse_info};
pub use self::observe::{ConnObserver, NoObserver};
pub use self::queue::{ConnHandle, Feedback};
use crate::dial::Dialer;

/// An event as it came from a relay, let through by its subscription's fields without tags. Nothing
/// of it is verified.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The connection.
    pub conn: ConnId,
    /// The subscription.
    pub sub: SubId,
    /// What the subscription is for.
    pub purpose: Purpose,
    /// Whether it came on a live subscription after its EOSE (HIST-12).
    pub live: bool,
    /// The subscription's filters: the tags are held against them later (ACPT-1).
    pub filters: Arc<[Filter]>,
    /// What the event claims of itself.
    pub envelope: Envelope,
    /// The event as it was sent.
    pub json: Box<str>,
    /// When its frame was read.
    pub at: tokio::time::Instant,
    /// The same moment by the wall clock.
    pub wall: Timestamp,
    /// The live requests of the connection that stood when it came by a page or by id (HIST-11).
    pub standing: Option<Arc<[Standing]>>,
    /// Its place in the intake, given back when it leaves that (T9).
    pub place: Option<Arc<OwnedSemaphorePermit>>,
    /// Who hears that it did not match by its tags.
    pub feedback: Option<Feedback>,
}

/// A live request that stands: what the relay should have sent by it, it should not bring later.
#[derive(Clone, Debug)]
pub struct Standing {
    /// When its EOSE came, by the wall clock.
    pub since: Timestamp,
    /// Its filters.
    pub filters: Arc<[Filter]>,
}

/// What the connections need of the store to reconcile. Called on blocking threads.
pub trait HaveSet: Send + Sync {
    /// Stored ids and tombstones of this filter within the range (HIST-2), in any order.
    fn have_set(&self, filter: &Filter, range: Range) -> io::Result<Vec<(Timestamp, EventId)>>;
}

/// What a connection to the own relay needs of the store to publish. Called on blocking threads.
pub trait EventBodies: Send + Sync {
    /// A stored event as JSON; `None` when it is gone since.
    fn event_json(&self, id: &EventId) -> io::Result<Option<String>>;
}

/// What all connections of the process share.
pub struct ConnContext {
    /// The configuration.
    pub config: Arc<Config>,
    /// Dials.
    pub dialer: Arc<Dialer>,
    /// Where inputs of the core go.
    pub inputs: mpsc::Sender<Input>,
    /// Where events go.
    pub intake: mpsc::Sender<Arrival>,
    /// Have-sets.
    pub have: Arc<dyn HaveSet>,
    /// Stored events.
    pub bodies: Arc<dyn EventBodies>,
    /// Keys for NIP-42, by relay (TALK-4).
    pub keys: BTreeMap<RelayUrl, Keys>,
}

/// A command of the core for one connection.
#[derive(Clone, Debug, PartialEq)]
pub enum ConnCommand {
    /// Send a REQ and meter its events.
    Subscribe {
        /// The subscription.
        sub: SubId,
        /// Its filters.
        filters: Vec<Filter>,
        /// What it is for.
        purpose: Purpose,
    },
    /// Send a CLOSE.
    Unsubscribe {
        /// The subscription.
        sub: SubId,
    },
    /// Seal the have-set and begin a negentropy session.
    Reconcile {
        /// The session.
        neg: NegId,
        /// Without `since`, `until` and `limit`.
        filter: Filter,
        /// Over which seconds.
        range: Range,
        /// Its caps.
        limits: NegLimits,
    },
    /// Send NEG-CLOSE and forget the session.
    StopReconcile {
        /// The session.
        neg: NegId,
    },
    /// Answer a challenge with the relay's key.
    Authenticate {
        /// The challenge.
        challenge: ChallengeId,
    },
    /// Send stored events, in order.
    Publish {
        /// Which.
        ids: Vec<EventId>,
    },
    /// Close the connection, or give up its dial.
    Close,
}

impl ConnContext {
    /// Dials a relay, in a task of its own. `Dialed` follows, and after a `Dialed` without error
    /// exactly one `Closed`; closing it while it dials gives a `Closed` alone.
    pub fn open(
        self: &Arc<Self>,
        conn: ConnId,
        url: RelayUrl,
        trusted: bool,
        observer: Arc<dyn ConnObserver>,
    ) -> ConnHandle {
        let (handle, commands) = queue::queue();
        let context = Arc::clone(self);
        tokio::spawn(task::run(task::Start { context, conn, url, trusted, observer, commands }));
        handle
    }
}
