//! Negentropy sessions of one connection: sealed sets and messages stay in the data plane. Sealing
//! and the arithmetic run on blocking threads, so that a large set never holds up the socket.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use nostr::filter::Filter;
use sync_core::admit::reconcile::{Found, Reconciler, Step};
use sync_core::command::NegLimits;
use sync_core::id::{ConnId, NegId};
use sync_core::input::{Input, NegOutcome};
use sync_core::item::Range;
use sync_core::wire;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::HaveSet;

/// What a blocking thread finished.
pub(super) enum Worked {
    /// The set is sealed; the first message in hex.
    Opened(NegId, io::Result<(Box<Reconciler>, String)>),
    /// A message was answered.
    Stepped(NegId, Box<Reconciler>, Step),
}

/// A session.
struct Session {
    filter: Filter,
    /// Bytes of NEG frames so far, both directions.
    bytes: u64,
    /// `None` while a blocking thread has it.
    side: Option<Box<Reconciler>>,
    /// When NEG-OPEN was sent, until its first answer.
    asked_at: Option<Instant>,
}

/// The open sessions.
pub(super) struct Sessions {
    conn: ConnId,
    open: BTreeMap<NegId, Session>,
    done: mpsc::Sender<Worked>,
}

/// What is to be sent and told.
#[derive(Default)]
pub(super) struct Outcome {
    /// Type and text of frames.
    pub(super) frames: Vec<(&'static str, String)>,
    /// For the core.
    pub(super) input: Option<Input>,
}

impl Sessions {
    /// No sessions; what blocking threads finish comes out of the receiver.
    pub(super) fn new(conn: ConnId) -> (Self, mpsc::Receiver<Worked>) {
        let (done, finished) = mpsc::channel(64);
        (Self { conn, open: BTreeMap::new(), done }, finished)
    }

    /// Begins a session: seals the have-set.
    pub(super) fn begin(
        &mut self,
        neg: NegId,
        filter: Filter,
        range: Range,
        limits: NegLimits,
        have: &Arc<dyn HaveSet>,
    ) {
        let bounded = bounded(filter.clone(), range);
        let overhead = wire::neg_open(neg, &bounded, "").len();
        let (have, done) = (Arc::clone(have), self.done.clone());
        let session = Session { filter: bounded, bytes: 0, side: None, asked_at: None };
        self.open.insert(neg, session);
        tokio::task::spawn_blocking(move || {
            let sealed = have.have_set(&filter, range).map(|items| {
                let mut side = Box::new(Reconciler::new(items, range, limits, overhead));
                let message = side.open();
                (side, message)
            });
            // The connection may have ended meanwhile.
            let _ = done.blocking_send(Worked::Opened(neg, sealed));
        });
    }

    /// Whether the session is open.
    pub(super) fn contains(&self, neg: NegId) -> bool {
        self.open.contains_key(&neg)
    }

    /// Forgets a session; whether there was one.
    pub(super) fn remove(&mut self, neg: NegId) -> bool {
        self.open.remove(&neg).is_some()
    }

    /// A message of the relay; false when no session waits for it.
    pub(super) fn on_message(&mut self, neg: NegId, hex: &str, bytes: usize) -> bool {
        let Some(session) = self.open.get_mut(&neg) else { return false };
        let Some(mut side) = session.side.take() else { return false };
        session.bytes += bytes as u64;
        let (hex, done) = (hex.to_owned(), self.done.clone());
        tokio::task::spawn_blocking(move || {
            let step = side.on_message(&hex);
            let _ = done.blocking_send(Worked::Stepped(neg, side, step));
        });
        true
    }

    /// The time since NEG-OPEN, at its first answer.
    pub(super) fn first_answer(&mut self, neg: NegId) -> Option<std::time::Duration> {
        self.open.get_mut(&neg)?.asked_at.take().map(|asked| asked.elapsed())
    }

    /// A message above its limit: what is not read cannot be answered.
    pub(super) fn on_oversize(&mut self, neg: NegId) -> Option<Outcome> {
        let session = self.open.remove(&neg)?;
        let found = session.side.map_or_else(Found::default, |side| side.into_found());
        Some(self.end(neg, session.bytes, found, NegOutcome::Garbage))
    }

    /// Goes on after a blocking thread. The error is one of the store.
    pub(super) fn on_worked(&mut self, worked: Worked) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        match worked {
            Worked::Opened(neg, sealed) => {
                let (side, message) = sealed?;
                if let Some(session) = self.open.get_mut(&neg) {
                    let frame = wire::neg_open(neg, &session.filter, &message);
                    session.bytes += frame.len() as u64;
                    session.side = Some(side);
                    session.asked_at = Some(Instant::now());
                    outcome.frames.push(("NEG-OPEN", frame));
                }
            }
            Worked::Stepped(neg, side, Step::Send(message)) => {
                if let Some(session) = self.open.get_mut(&neg) {
                    let frame = wire::neg_msg(neg, &message);
                    session.bytes += frame.len() as u64;
                    outcome.input = Some(Input::NegRound {
                        conn: self.conn,
                        neg,
                        round: side.rounds(),
                        bytes: session.bytes,
                        need: side.need(),
                    });
                    session.side = Some(side);
                    outcome.frames.push(("NEG-MSG", frame));
                }
            }
            Worked::Stepped(neg, side, Step::End(how)) => {
                if let Some(session) = self.open.remove(&neg) {
                    outcome = self.end(neg, session.bytes, side.into_found(), how);
                }
            }
        }
        Ok(outcome)
    }

    fn end(&self, neg: NegId, bytes: u64, found: Found, outcome: NegOutcome) -> Outcome {
        let Found { need, have } = found;
        let input = Input::Reconciled { conn: self.conn, neg, need, have, bytes, outcome };
        Outcome { frames: vec![("NEG-CLOSE", wire::neg_close(neg))], input: Some(input) }
    }
}

/// The filter as the relay gets it.
fn bounded(filter: Filter, range: Range) -> Filter {
    let filter = filter.until(range.until);
    if range.since.is_zero() { filter } else { filter.since(range.since) }
}
