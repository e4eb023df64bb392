//! Negentropy sessions over sealed sets (NIP-77): pure, driven by the shell, which owns the
//! sockets. When, over what range, and what becomes of needed ids is the core's affair.
//!
//! The `negentropy` crate does the arithmetic. Ours are the guards: messages are read strictly
//! before it sees them, every list of ids that we sent must be answered (HIST-4), every round
//! makes progress (S12), and a session that grows beyond a window ends as a split (HIST-2).

mod message;
mod windows;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use nostr::event::EventId;
use nostr::types::Timestamp;

use self::message::{Bound, Mode, Part, decode};
use crate::command::NegLimits;
use crate::input::NegOutcome;
use crate::item::Range;

/// The smallest frame that the protocol works with, in bytes before hex.
const FRAME_MIN: u64 = 4096;
/// The largest frame that every relay takes, in bytes before hex (FILT-1).
const FRAME_MAX: u64 = 60_000;

/// One session, from its sealed set to its outcome.
#[derive(Debug)]
pub struct Reconciler {
    items: NegentropyStorageVector,
    times: Vec<u64>,
    range: Range,
    limits: NegLimits,
    frame_bytes: u64,
    sent: Vec<Part>,
    rounds: u32,
    need: Vec<EventId>,
    have: Vec<EventId>,
}

/// What follows a message of the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this message, in hex.
    Send(String),
    /// The session is over; [`Reconciler::into_found`] holds what it found until then.
    End(NegOutcome),
}

/// What a session found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Ids that the relay has and we lack, sorted. May exceed the cap by those of one message.
    pub need: Vec<EventId>,
    /// How many ids we have and the relay lacks.
    pub have: u32,
}

impl Reconciler {
    /// Seals `items`: the have-set of the filter within `range`. `overhead` is what the longest
    /// frame of the session has around the message, in characters.
    pub fn new(
        mut items: Vec<(Timestamp, EventId)>,
        range: Range,
        limits: NegLimits,
        overhead: usize,
    ) -> Self {
        items.retain(|(at, _)| at.as_secs() < 1 << 63);
        items.sort_unstable();
        items.dedup();
        let mut storage = NegentropyStorageVector::with_capacity(items.len());
        for (at, id) in &items {
            let id = Id::from_byte_array(id.to_bytes());
            storage.insert(at.as_secs(), id).expect("the set is not sealed yet");
        }
        storage.seal().expect("the set is sealed once");
        let frame = u64::from(limits.frame).saturating_sub(overhead as u64) / 2;
        Self {
            items: storage,
            times: items.iter().map(|(at, _)| at.as_secs()).collect(),
            range,
            limits,
            frame_bytes: frame.clamp(FRAME_MIN, FRAME_MAX),
            sent: Vec::new(),
            rounds: 0,
            need: Vec::new(),
            have: Vec::new(),
        }
    }

    /// The message of NEG-OPEN, in hex. Call it once, before the first message of the relay.
    pub fn open(&mut self) -> String {
        let message = Negentropy::borrowed(&self.items, self.frame_bytes)
            .and_then(|mut side| side.initiate())
            .expect("the set is sealed and the frame is large enough");
        self.sent = decode(&message).expect("our own messages are well-formed");
        faster_hex::hex_string(&message)
    }

    /// Takes a message of the relay in, as hex of either case.
    pub fn on_message(&mut self, hex: &str) -> Step {
        self.rounds += 1;
        let mut message = vec![0; hex.len() / 2];
        if faster_hex::hex_decode(hex.as_bytes(), &mut message).is_err() {
            return Step::End(NegOutcome::Garbage);
        }
        let Some(reply) = decode(&message) else {
            return Step::End(NegOutcome::Garbage);
        };
        if !answers_every_list(&self.sent, &reply) {
            return Step::End(NegOutcome::Truncated);
        }
        let Some(answer) = self.reconcile(&message) else {
            return Step::End(NegOutcome::Garbage);
        };
        self.follow(answer)
    }

    /// Rounds so far.
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Needed ids so far.
    pub fn need(&self) -> u32 {
        u32::try_from(self.need.len()).unwrap_or(u32::MAX)
    }

    /// What was found until the session ended.
    pub fn into_found(mut self) -> Found {
        self.need.sort_unstable();
        self.need.dedup();
        self.have.sort_unstable();
        self.have.dedup();
        Found { need: self.need, have: u32::try_from(self.have.len()).unwrap_or(u32::MAX) }
    }

    /// One step of the protocol; our next message, empty of ranges when all is said. `None` when
    /// the crate cannot read what we could.
    fn reconcile(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let mut side =
            Negentropy::borrowed(&self.items, self.frame_bytes).expect("the frame is large enough");
        side.set_initiator();
        let answer = side.reconcile_with_ids(message, &mut have, &mut need).ok()?;
        let known = self.need.len();
        self.need.extend(need.iter().map(|id| EventId::from_byte_array(id.to_bytes())));
        self.have.extend(have.iter().map(|id| EventId::from_byte_array(id.to_bytes())));
        // A range cut by a frame limit is said again, and its ids with it.
        if known < self.need.len() {
            self.need.sort_unstable();
            self.need.dedup();
        }
        if self.have.len() > self.times.len() {
            self.have.sort_unstable();
            self.have.dedup();
        }
        Some(answer.unwrap_or_default())
    }

    /// Decides whether our next message is sent, or the session ends.
    fn follow(&mut self, answer: Vec<u8>) -> Step {
        if answer.is_empty() {
            return Step::End(NegOutcome::Done);
        }
        let parts = decode(&answer).expect("our own messages are well-formed");
        // S12: an honest relay works from the left, and splits what it cannot list.
        let progressed = match (first_open(&self.sent), first_open(&parts)) {
            (Some(before), Some(after)) => {
                after.lower > before.lower
                    || (after.lower == before.lower && after.upper < before.upper)
            }
            (None, Some(_)) => false,
            (_, None) => return Step::End(NegOutcome::Done),
        };
        if !progressed {
            return Step::End(NegOutcome::Garbage);
        }
        match self.split(&parts) {
            Some(outcome) => Step::End(outcome),
            None => {
                self.sent = parts;
                Step::Send(faster_hex::hex_string(&answer))
            }
        }
    }

    /// Ends the session when its rest is too large for it, or it has lasted too long (HIST-2).
    fn split(&self, parts: &[Part]) -> Option<NegOutcome> {
        let size = self.limits.need.max(1) as usize;
        let windows = windows::windows(parts, &self.times, self.range, size);
        // As large as the session: to split it would be to begin again.
        let whole = windows.ranges == [self.range];
        if windows.ranges.is_empty() {
            // What differs lies outside of what was asked for.
            Some(NegOutcome::Done)
        } else if self.need.len() >= size || (windows.larger && !whole) {
            Some(NegOutcome::Split(windows.ranges))
        } else if self.rounds >= self.limits.rounds {
            Some(if whole { NegOutcome::Garbage } else { NegOutcome::Split(windows.ranges) })
        } else {
            None
        }
    }
}

/// The leftmost range that still differs or is not known to be equal.
fn first_open(parts: &[Part]) -> Option<&Part> {
    parts.iter().find(|part| part.mode != Mode::Skip && part.lower < part.upper)
}

/// HIST-4: every range that we sent as a list is covered by lists and fingerprints. What lies
/// behind the last bound of a reply is skipped by it, as a range of that mode is.
fn answers_every_list(sent: &[Part], reply: &[Part]) -> bool {
    let mut answers = reply.iter().filter(|part| part.mode != Mode::Skip).peekable();
    sent.iter().filter(|part| part.mode == Mode::Ids && part.lower < part.upper).all(|list| {
        let mut covered = list.lower;
        while covered < list.upper {
            match answers.peek() {
                Some(answer) if answer.lower > covered => return false,
                Some(answer) if answer.upper > covered => covered = answer.upper,
                Some(_) => {
                    answers.next();
                }
                None => return false,
            }
        }
        true
    })
}

/// How many of the sorted `times` lie below a bound, counted by second: the id of a bound inside
/// a second is not looked at.
fn below(times: &[u64], bound: Bound) -> usize {
    times.partition_point(|at| *at < bound.at)
}

#[cfg(test)]
mod tests;
