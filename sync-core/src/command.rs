//! What the core tells the shell: imperatives, in order. Exhaustive, so that a new effect breaks
//! the shell at compile time.

use alloc::vec::Vec;

use nostr::event::EventId;
use nostr::filter::Filter;
use nostr::types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::id::{ChallengeId, ConnId, NegId, SubId, WalkId};
use crate::item::Range;
use crate::ledger::LedgerChange;
use crate::url::RelayUrl;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Connect; answer with `Dialed`.
    Dial {
        /// The connection that it becomes.
        conn: ConnId,
        /// Where to.
        url: RelayUrl,
        /// Whether the relay was configured: such a one is exempt from the dial guard (T1).
        trusted: bool,
    },
    /// Close; answer with `Closed`. The core forgets nothing before that or the drain deadline.
    Hangup {
        /// The connection.
        conn: ConnId,
    },
    /// Send a REQ and meter its events.
    Subscribe {
        /// The connection.
        conn: ConnId,
        /// The subscription.
        sub: SubId,
        /// Its filters, complete with `since`, `until` and `limit`.
        filters: Vec<Filter>,
        /// What it is for.
        purpose: Purpose,
    },
    /// Send a CLOSE.
    Unsubscribe {
        /// The connection.
        conn: ConnId,
        /// The subscription.
        sub: SubId,
    },
    /// Seal the have-set of this filter and range, and send NEG-OPEN; answer with `NegRound`s and
    /// one `Reconciled`, unless a NEG-ERR, CLOSED or `StopReconcile` ends it.
    Reconcile {
        /// The connection.
        conn: ConnId,
        /// The session.
        neg: NegId,
        /// What is reconciled, without `since`, `until` and `limit`.
        filter: Filter,
        /// Over which seconds.
        range: Range,
        /// Caps of the session (T11).
        limits: NegLimits,
    },
    /// Send NEG-CLOSE and forget the session.
    StopReconcile {
        /// The connection.
        conn: ConnId,
        /// The session.
        neg: NegId,
    },
    /// Answer a challenge with the key that is configured for this relay (TALK-4).
    Authenticate {
        /// The connection.
        conn: ConnId,
        /// The challenge.
        challenge: ChallengeId,
    },
    /// Send stored events to the own relay (OWN-2).
    Publish {
        /// The connection.
        conn: ConnId,
        /// Which, in order.
        ids: Vec<EventId>,
    },
    /// Write to the ledger, in a commit that is not before those of events settled so far.
    Persist(LedgerChange),
    /// Tell whoever watches.
    Emit(Event),
}

/// What a subscription is for; decides how the shell meters it and labels its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Stands for what comes now.
    Live,
    /// A page of a walk (HIST-5): its tally carries a [`crate::tally::PageTally`].
    Page {
        /// The walk; its pages share what was seen.
        walk: WalkId,
        /// The second that is split, when this is a part of a dense second.
        split: Option<Timestamp>,
        /// The oldest second that the walk knows: what the tally is measured against. `None`
        /// begins the walk anew: the meter forgets what an earlier walk of this id saw.
        oldest: Option<Timestamp>,
        /// Where its events count (HIST-12).
        source: Source,
    },
    /// Events by id: its tallies carry ids.
    Ids {
        /// Where its events count (HIST-12).
        source: Source,
    },
}

/// Where a stored event came from (HIST-12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A live request after its EOSE.
    Live,
    /// The first pass since the process began.
    Startup,
    /// A later pass.
    Reconnect,
    /// Maintenance.
    Daily,
}

impl Source {
    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Startup => "startup",
            Self::Reconnect => "reconnect",
            Self::Daily => "daily",
        }
    }
}

/// Caps of a negentropy session (T11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NegLimits {
    /// Rounds.
    pub rounds: u32,
    /// Needed ids; more of them end the session as a split.
    pub need: u32,
    /// Characters of a frame of ours.
    pub frame: u32,
}
