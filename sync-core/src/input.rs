//! What the shell tells the core: facts in the past tense. The core never asks.

use alloc::vec::Vec;

use nostr::event::EventId;
use nostr::key::PublicKey;
use nostr::nips::nip01::Coordinate;
use nostr::types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{ChallengeId, ConnId, NegId, RowId, SubId};
use crate::item::{Item, Range, RelayText, SyncLevel};
use crate::ledger::LedgerRow;
use crate::tally::{EventTally, SettleTally};
use crate::url::RelayUrl;

/// One thing that happened. Inputs of an old epoch change nothing but a counter (S9).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Time passed; due timers fire.
    Tick,
    /// The wall clock, when its second is first seen or it jumped.
    WallClock(Timestamp),
    /// Load of the process (§11).
    Load(LoadSample),
    /// A row of `durable()`, at start, before the facts of boot (DISC-9).
    Ledger(LedgerRow),
    /// Facts of events that are durable in the store. At most [`Input::MAX_FACTS`] an input.
    Facts {
        /// Where they come from.
        from: FactSource,
        /// The facts, in the order of their events.
        facts: Vec<Fact>,
    },
    /// Ledger and facts of the own store were handed in; dialing may begin (DISC-9).
    Booted,
    /// A person or the embedder asks for something.
    Operator(Operator),
    /// A dial ended.
    Dialed {
        /// The connection.
        conn: ConnId,
        /// How.
        result: Result<(), DialError>,
    },
    /// A connection ended; nothing of it follows.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
    /// The shell stopped reading this socket because a queue is full (CONN-7).
    Stalled {
        /// The connection.
        conn: ConnId,
    },
    /// The shell reads this socket again (CONN-7).
    Flowing {
        /// The connection.
        conn: ConnId,
    },
    /// A frame without an event body and without a NEG-MSG payload.
    Frame {
        /// The connection.
        conn: ConnId,
        /// The frame.
        frame: Frame,
    },
    /// What a subscription received since its last tally; precedes any later frame (F1).
    Events(EventTally),
    /// What became of received events; the facts of those stored precede it (F4).
    Settled(SettleTally),
    /// A negentropy round ended.
    NegRound {
        /// The connection.
        conn: ConnId,
        /// The session.
        neg: NegId,
        /// Rounds so far.
        round: u32,
        /// Bytes of NEG frames so far, both directions.
        bytes: u64,
        /// Needed ids so far.
        need: u32,
    },
    /// A negentropy session ended.
    Reconciled {
        /// The connection.
        conn: ConnId,
        /// The session.
        neg: NegId,
        /// Ids that the relay has and we lack, sorted.
        need: Vec<EventId>,
        /// How many ids we have and the relay lacks.
        have: u32,
        /// Bytes of NEG frames, both directions.
        bytes: u64,
        /// How it ended.
        outcome: NegOutcome,
    },
    /// NIP-11 was read (TALK-6).
    RelayInfo {
        /// The connection.
        conn: ConnId,
        /// Hints, never trusted for correctness.
        limits: InfoLimits,
        /// `self` of the document (DISC-5).
        self_key: Option<PublicKey>,
    },
}

impl Input {
    /// Facts in one input.
    pub const MAX_FACTS: usize = 10_000;
}

/// Load of the process (§11), sampled by the shell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadSample {
    /// The fullest queue, in percent of its capacity.
    pub queue_percent: u32,
    /// CPU over the last minute, in percent of all cores.
    pub cpu_percent: u32,
    /// Clients of the served relay.
    pub clients: u32,
    /// Resident memory in bytes.
    pub memory: u64,
}

/// Where facts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactSource {
    /// The own store at start.
    Boot,
    /// Events that a subscription of this connection brought.
    Stored {
        /// The connection and subscription that brought them.
        conn: ConnId,
        /// The subscription.
        sub: SubId,
    },
    /// The own relay.
    OwnRelay,
    /// The embedder.
    Embedder,
}

/// What an accepted event means for what is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// A repository is wanted from these relays at this level; replaces what was known of it.
    Repo {
        /// Coordinate of the announcement.
        repo: Coordinate,
        /// Relays of its announcement (DISC-2), already capped and canonical.
        relays: Vec<RelayUrl>,
        /// How much of it.
        level: SyncLevel,
    },
    /// The announcement is gone or no longer qualifies.
    RepoGone {
        /// Coordinate of the announcement.
        repo: Coordinate,
    },
    /// An accepted 1617, 1618 or 1621.
    Root {
        /// The event.
        id: EventId,
        /// The repositories it belongs to.
        repos: Vec<Coordinate>,
    },
    /// An accepted event below a root that replies can hang on (ACPT-6).
    Thread {
        /// The event.
        id: EventId,
        /// Its root.
        root: EventId,
        /// Depth below the root, from 1.
        depth: u32,
    },
    /// A root or thread event is gone.
    ThreadGone {
        /// The event.
        id: EventId,
    },
    /// The author of a stored event (FILT-6).
    Author {
        /// The key.
        key: PublicKey,
    },
    /// One event is wanted by id (REJ-3, ACPT-5, ACPT-8).
    WantId {
        /// The event.
        id: EventId,
        /// Relays that may have it.
        relays: Vec<RelayUrl>,
        /// Not to be asked for before this second.
        not_before: Option<Timestamp>,
    },
    /// Coverage of these items no longer holds: outcomes were dropped early (REJ-1).
    Unproven {
        /// The items.
        items: Vec<Item>,
    },
    /// The policy changed: every relay gets a new pass (REJ-1).
    PolicyChanged {
        /// Hash of `accept.*`.
        revision: u64,
    },
    /// Git data of a repository came or was given up (spec §10).
    Git {
        /// The repository.
        repo: Coordinate,
        /// Which.
        outcome: GitOutcome,
    },
}

/// What became of a repository that waited for git data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GitOutcome {
    /// It is served now: upgraded to full at once.
    Ready,
    /// It is no longer waited for.
    GivenUp,
}

/// What a person or the embedder asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// Sync from this relay always.
    AddRelay(RelayUrl),
    /// Forget that it was configured; it goes when nothing wants it.
    RemoveRelay(RelayUrl),
    /// Disconnect and stay so.
    Pause(RelayUrl),
    /// Undo [`Operator::Pause`].
    Resume(RelayUrl),
    /// Dial now.
    Retry(RelayUrl),
    /// Prove every item again now.
    Resync(RelayUrl),
    /// Mark gaps as accepted by a person (CONN-9); all of the relay without a row.
    AcceptGap {
        /// The relay.
        relay: RelayUrl,
        /// One gap, or all.
        gap: Option<RowId>,
    },
    /// Prove every item of every relay again now.
    SyncNow,
    /// Close everything and end (L5).
    Shutdown,
}

/// A dial that failed: the stage and its cause by type, never by text (HLTH-5).
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error,
)]
#[error("{kind}{}{detail}", if detail.as_str().is_empty() { "" } else { ": " })]
pub struct DialError {
    /// What failed.
    pub kind: DialErrorKind,
    /// The cause as the system words it, for people.
    pub detail: RelayText,
}

/// What failed in a dial.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    thiserror::Error,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DialErrorKind {
    /// The name does not exist or has no address.
    #[error("name not found")]
    Dns,
    /// The resolver did not answer in time or cannot be reached.
    #[error("name resolution failed")]
    Resolver,
    /// Every address is one that we do not dial (T1).
    #[error("address refused by the dial guard")]
    Guard,
    /// Nobody listens.
    #[error("connection refused")]
    Refused,
    /// No route, network or host unreachable: the error is local (HLTH-4).
    #[error("network unreachable")]
    Unreachable,
    /// A stage ran into its deadline.
    #[error("timed out")]
    Timeout,
    /// The certificate is not accepted.
    #[error("certificate not accepted")]
    Certificate,
    /// Another TLS failure.
    #[error("tls failed")]
    Tls,
    /// The server answered the upgrade with something else.
    #[error("websocket upgrade failed")]
    Upgrade,
    /// The proxy failed.
    #[error("proxy failed")]
    Proxy,
    /// Another failure of the socket.
    #[error("socket failed")]
    Io,
}

impl DialErrorKind {
    /// Whether it tells of our side rather than theirs (HLTH-4).
    pub const fn is_local(self) -> bool {
        matches!(self, Self::Unreachable | Self::Resolver)
    }
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CloseReason {
    /// We asked for it (`Hangup`).
    Local,
    /// The relay closed it.
    Remote(RelayText),
    /// The socket failed.
    Io(RelayText),
    /// No byte within `dial.dead_after_silence` (CONN-6).
    Silence,
    /// A message above the socket's maximum (TALK-5).
    Oversize,
    /// Broken framing.
    Protocol(RelayText),
    /// Our queue to it is full: it does not read.
    SendQueueFull,
    /// Too many off-filter or unsolicited events (T6).
    Flood,
}

/// A control frame of a relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// Stored events of a subscription are through.
    Eose {
        /// The subscription.
        sub: SubId,
        /// NIP-67 hints.
        hints: EoseHints,
    },
    /// A subscription, or a negentropy session of the same number, was closed.
    Closed {
        /// The subscription.
        sub: SubId,
        /// Prefix and text.
        text: RelayText,
    },
    /// Text for people that may mean a limit (TALK-2).
    Notice {
        /// The text.
        text: RelayText,
    },
    /// The answer to an EVENT or AUTH.
    Ok {
        /// The event.
        id: EventId,
        /// Whether it was taken.
        accepted: bool,
        /// Prefix and text.
        text: RelayText,
    },
    /// A challenge; the shell keeps the newest.
    Auth {
        /// Its number.
        challenge: ChallengeId,
    },
    /// A negentropy session was refused or ended by the relay.
    NegErr {
        /// The session.
        neg: NegId,
        /// Prefix and text.
        text: RelayText,
        /// The 4th element: the largest number of items that it reconciles.
        limit: Option<u64>,
    },
}

/// NIP-67: what an EOSE says of completeness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EoseHints {
    /// Everything that matches was sent.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub finish: bool,
    /// There is more.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub more: bool,
}

/// How a negentropy session ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NegOutcome {
    /// The relay's side is finished and every list of ours was answered (HIST-4).
    Done,
    /// Sub-ranges differ and hold more than a window: each becomes a session of its own.
    Split(Vec<Range>),
    /// The reply left out a list of ours (HIST-4).
    Truncated,
    /// The reply could not be read, or the rounds made no progress (T11).
    Garbage,
}

/// Limits that a relay announces (NIP-11): hints only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfoLimits {
    /// `max_subscriptions`.
    pub max_subscriptions: Option<u32>,
    /// `max_filters`.
    pub max_filters: Option<u32>,
    /// `max_message_length`.
    pub max_message_length: Option<u32>,
    /// `max_limit`.
    pub max_limit: Option<u32>,
    /// Whether 77 is among `supported_nips`; `None` when there is no list.
    pub negentropy: Option<bool>,
}
