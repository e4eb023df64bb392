//! What is measured of one relay: counters that tasks move through a handle they hold, and the
//! state that follows from the core's events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nostr::event::EventId;
use sync_core::id::{BatchId, RowId};
use sync_core::item::Layer;
use sync_core::ledger::Method;
use sync_core::status::{HealthStatus, Reason, RelayStatus};
use sync_core::url::RelayUrl;

use super::error::Code;
use super::journal::Rings;
use super::labels::{ErrorType, Outcome, Published, Received, Sent};
use crate::api::{GapView, LastError, OutcomeCounts, PassView, WallMs};

/// Counters of one family within the row of a relay.
pub(crate) struct Strip {
    /// The family, as scraped.
    pub(crate) family: &'static str,
    /// The label beside `relay`; empty for none.
    pub(crate) label: &'static str,
    /// Its values.
    pub(crate) values: &'static [&'static str],
    /// The place of the first.
    pub(crate) at: usize,
}

macro_rules! strips {
    ($($name:ident $family:literal $label:literal $values:expr;)*) => {
        /// The counters of a relay.
        pub(crate) const STRIPS: &[Strip] = &{
            let mut at = 0;
            let strips = [$(Strip {
                family: $family,
                label: $label,
                values: $values,
                at: { let first = at; at += $values.len(); first },
            },)*];
            assert!(at == WIDTH);
            strips
        };
        const WIDTH: usize = 0 $(+ $values.len())*;
        #[derive(Clone, Copy)]
        enum Family { $($name,)* }
    };
}

strips! {
    Attempts "ngit_sync_connection_attempts_total" "result" &["success", "failure"];
    GapEvents "ngit_sync_gap_events_total" "" &[""];
    MessagesSent "ngit_sync_messages_sent_total" "type" &Sent::LABELS;
    MessagesReceived "ngit_sync_messages_received_total" "type" &Received::LABELS;
    SendFailures "ngit_sync_send_failures_total" "" &[""];
    SentBytes "ngit_sync_sent_bytes_total" "" &[""];
    ReceivedBytes "ngit_sync_received_bytes_total" "" &[""];
    RateLimited "ngit_sync_rate_limited_total" "" &[""];
    NegRounds "ngit_sync_negentropy_rounds_total" "" &[""];
    NegIds "ngit_sync_negentropy_ids_total" "side" &["need", "have"];
    Pages "ngit_sync_req_pages_total" "" &[""];
    Outcomes "ngit_sync_relay_events_total" "outcome" &Outcome::LABELS;
    Errors "ngit_sync_relay_errors_total" "type" &ErrorType::LABELS;
    Publishes "ngit_sync_events_published_total" "result" &Published::LABELS;
}

/// A copy of a relay's counters.
pub(crate) type Row = [u64; WIDTH];

/// Nothing counted.
pub(crate) const EMPTY: Row = [0; WIDTH];

/// Keeps of a row only what counts events by outcome.
pub(crate) fn outcomes_only(row: &Row) -> Row {
    let strip = &STRIPS[Family::Outcomes as usize];
    let mut kept = EMPTY;
    let range = strip.at..strip.at + strip.values.len();
    kept[range.clone()].copy_from_slice(&row[range]);
    kept
}

/// The measures of one relay. A task gets the `Arc` when it begins and holds it; nothing is looked
/// up by name while it works.
#[derive(Debug)]
pub struct RelayObs {
    url: RelayUrl,
    bootstrap: bool,
    labelled: bool,
    counts: [AtomicU64; WIDTH],
    received: AtomicU64,
    rtt_us: AtomicU64,
    seen_ms: AtomicU64,
    event_ms: AtomicU64,
    subscriptions: AtomicU64,
    filters: AtomicU64,
    state: Mutex<RelayState>,
}

impl RelayObs {
    pub(crate) fn new(url: RelayUrl, bootstrap: bool, labelled: bool, at: WallMs) -> Self {
        Self {
            url,
            bootstrap,
            labelled,
            counts: [const { AtomicU64::new(0) }; WIDTH],
            received: AtomicU64::new(0),
            rtt_us: AtomicU64::new(0),
            seen_ms: AtomicU64::new(0),
            event_ms: AtomicU64::new(0),
            subscriptions: AtomicU64::new(0),
            filters: AtomicU64::new(0),
            state: Mutex::new(RelayState::new(at)),
        }
    }

    /// Its canonical URL.
    pub fn url(&self) -> &RelayUrl {
        &self.url
    }

    /// Whether it was configured.
    pub fn is_bootstrap(&self) -> bool {
        self.bootstrap
    }

    /// Whether it has series of its own (T17).
    pub(crate) fn is_labelled(&self) -> bool {
        self.labelled
    }

    /// A message of that many payload bytes was written to the socket.
    pub fn sent(&self, what: Sent, bytes: usize) {
        self.add(Family::MessagesSent, what as usize, 1);
        self.add(Family::SentBytes, 0, bytes as u64);
    }

    /// A message of that many payload bytes came.
    pub fn received(&self, what: Received, bytes: usize, at: WallMs) {
        self.add(Family::MessagesReceived, what as usize, 1);
        self.add(Family::ReceivedBytes, 0, bytes as u64);
        self.seen_ms.fetch_max(at.0, Relaxed);
    }

    /// A message could not be written.
    pub fn send_failed(&self) {
        self.add(Family::SendFailures, 0, 1);
    }

    /// A ping was answered after so long.
    pub fn round_trip(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.rtt_us.store(us.max(1), Relaxed);
    }

    /// A round of negentropy ended.
    pub fn negentropy_round(&self) {
        self.add(Family::NegRounds, 0, 1);
    }

    /// A negentropy session named ids that we need and ids that only we have.
    pub fn negentropy_ids(&self, need: u64, have: u64) {
        self.add(Family::NegIds, 0, need);
        self.add(Family::NegIds, 1, have);
    }

    /// So many subscriptions with so many filters are open.
    pub fn open(&self, subscriptions: u64, filters: u64) {
        self.subscriptions.store(subscriptions, Relaxed);
        self.filters.store(filters, Relaxed);
    }

    /// So many events were received that will have an outcome.
    pub fn events_received(&self, count: u64) {
        self.received.fetch_add(count, Relaxed);
    }

    /// What became of received events.
    pub(crate) fn outcome(&self, outcome: Outcome, count: u64) {
        self.add(Family::Outcomes, outcome as usize, count);
    }

    /// An event of it was stored.
    pub(crate) fn stored_at(&self, at: WallMs) {
        self.event_ms.fetch_max(at.0, Relaxed);
    }

    /// The relay answered to an event that was published to it.
    pub fn published(&self, result: Published) {
        self.add(Family::Publishes, result as usize, 1);
    }

    pub(crate) fn attempt(&self, success: bool) {
        self.add(Family::Attempts, usize::from(!success), 1);
    }

    pub(crate) fn gap_events(&self, count: u64) {
        self.add(Family::GapEvents, 0, count);
    }

    pub(crate) fn gap_event_count(&self) -> u64 {
        self.count(Family::GapEvents, 0)
    }

    pub(crate) fn rate_limited(&self) {
        self.add(Family::RateLimited, 0, 1);
    }

    pub(crate) fn page_asked(&self) {
        self.add(Family::Pages, 0, 1);
    }

    pub(crate) fn error(&self, kind: ErrorType) {
        self.add(Family::Errors, kind as usize, 1);
    }

    fn add(&self, family: Family, value: usize, count: u64) {
        self.counts[STRIPS[family as usize].at + value].fetch_add(count, Relaxed);
    }

    fn count(&self, family: Family, value: usize) -> u64 {
        self.counts[STRIPS[family as usize].at + value].load(Relaxed)
    }

    /// A copy of its counters.
    pub(crate) fn row(&self) -> Row {
        std::array::from_fn(|at| self.counts[at].load(Relaxed))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, RelayState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What became of its events.
    pub fn outcomes(&self) -> OutcomeCounts {
        let of = |outcome| self.count(Family::Outcomes, outcome as usize);
        OutcomeCounts {
            received: self.received.load(Relaxed),
            stored: of(Outcome::Stored),
            duplicate: of(Outcome::Duplicate),
            rejected: of(Outcome::Rejected),
            held: of(Outcome::Held),
            invalid: of(Outcome::Invalid),
            dropped: of(Outcome::Dropped),
        }
    }

    /// Payload bytes received and sent.
    pub fn bytes(&self) -> (u64, u64) {
        (self.count(Family::ReceivedBytes, 0), self.count(Family::SentBytes, 0))
    }

    /// Rounds of negentropy and pages.
    pub fn rounds_and_pages(&self) -> (u64, u64) {
        (self.count(Family::NegRounds, 0), self.count(Family::Pages, 0))
    }

    /// The last round trip of a ping.
    pub fn rtt(&self) -> Option<Duration> {
        Some(self.rtt_us.load(Relaxed)).filter(|us| *us > 0).map(Duration::from_micros)
    }

    /// When its last message came.
    pub fn last_seen(&self) -> Option<WallMs> {
        Some(WallMs(self.seen_ms.load(Relaxed))).filter(|at| at.0 > 0)
    }

    /// When an event of it was last stored.
    pub fn last_event(&self) -> Option<WallMs> {
        Some(WallMs(self.event_ms.load(Relaxed))).filter(|at| at.0 > 0)
    }

    /// Open subscriptions and their filters.
    pub(crate) fn opened(&self) -> (u64, u64) {
        (self.subscriptions.load(Relaxed), self.filters.load(Relaxed))
    }
}

/// What follows from the core's events of one relay.
#[derive(Debug)]
pub(crate) struct RelayState {
    pub(crate) connection: RelayStatus,
    pub(crate) connection_since: WallMs,
    pub(crate) health: HealthStatus,
    pub(crate) health_since: WallMs,
    pub(crate) reason: Reason,
    /// Milliseconds in each connection state, the running one excepted.
    pub(crate) spent_ms: [u64; 5],
    pub(crate) failures: u32,
    pub(crate) retry_at: Option<WallMs>,
    pub(crate) pass: Option<PassView>,
    /// Running batches that belong to the pass.
    pub(crate) pass_batches: BTreeSet<BatchId>,
    pub(crate) last_sync: Option<WallMs>,
    pub(crate) gaps: BTreeMap<RowId, GapView>,
    pub(crate) last_error: Option<LastError>,
    pub(crate) methods: BTreeSet<Method>,
    pub(crate) batches_done: u64,
    pub(crate) note: String,
    /// Whether it was ever connected.
    pub(crate) was_online: bool,
    /// What reconciliations found.
    pub(crate) reconciled: Reconciled,
    /// Its latest entries.
    pub(crate) rings: Rings,
}

/// What the reconciliations with one relay found.
#[derive(Debug, Default)]
pub(crate) struct Reconciled {
    pub(crate) sessions: u64,
    /// Ids that only we have; one that several filters match counts for each.
    pub(crate) have: u64,
    /// Ids that we lack; filled only by a service that only looks.
    pub(crate) need: BTreeSet<EventId>,
}

impl RelayState {
    fn new(at: WallMs) -> Self {
        Self {
            connection: RelayStatus::Disconnected,
            connection_since: at,
            health: HealthStatus::Disconnected,
            health_since: at,
            reason: Reason::Startup,
            spent_ms: [0; 5],
            failures: 0,
            retry_at: None,
            pass: None,
            pass_batches: BTreeSet::new(),
            last_sync: None,
            gaps: BTreeMap::new(),
            last_error: None,
            methods: BTreeSet::new(),
            batches_done: 0,
            note: String::new(),
            was_online: false,
            reconciled: Reconciled::default(),
            rings: Rings::default(),
        }
    }

    /// Enters a connection state.
    pub(crate) fn enter(&mut self, to: RelayStatus, reason: Reason, at: WallMs) {
        self.spent_ms = self.spent(at);
        self.connection = to;
        self.connection_since = at;
        self.reason = reason;
        self.was_online |= to.is_live_sync_active();
        if to != RelayStatus::Disconnected {
            self.retry_at = None;
        }
    }

    /// Milliseconds in each connection state, with the running one.
    pub(crate) fn spent(&self, at: WallMs) -> [u64; 5] {
        let mut spent = self.spent_ms;
        spent[self.connection as usize] += at.0.saturating_sub(self.connection_since.0);
        spent
    }

    /// A batch of the pass began.
    pub(crate) fn pass_batch(&mut self, (batch, layer, method): (BatchId, Layer, Method)) {
        if let Some(pass) = &mut self.pass {
            pass.batches += 1;
            pass.layer = Some(layer.as_str().into());
            pass.method = Some(method.as_str().into());
            self.pass_batches.insert(batch);
        }
    }

    /// Remembers an error.
    pub(crate) fn fail(&mut self, code: Code, message: String, at: WallMs) {
        let category = code.category();
        self.last_error = Some(LastError { category, code: code.0.into(), message, at_ms: at });
    }

    /// Whether a person paused it.
    pub(crate) fn is_paused(&self) -> bool {
        self.connection == RelayStatus::Disconnected && self.reason == Reason::Paused
    }
}
