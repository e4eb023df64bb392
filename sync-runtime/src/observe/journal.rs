//! Events of the core as entries of the journal, the rings that keep the latest, and the bus that
//! whoever watches reads from.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sync_core::event::Event;
use sync_core::url::RelayUrl;
use tokio::sync::watch;

use super::Registry;
use super::error::Code;
use super::events::{close_text, gap_text, relay_of};
use crate::api::{Entry, Phase, WallMs, What};

/// Entries that the bus keeps for readers that come back or are slow.
const BUS_MAX: usize = 4096;
/// Changes of state that a relay keeps.
const TRANSITIONS_MAX: usize = 64;
/// Errors that a relay keeps.
const ERRORS_MAX: usize = 16;

/// The latest entries, numbered without a gap. Readers hold a position and never a queue, so a
/// slow one costs nothing and knows what it missed.
#[derive(Debug)]
pub(crate) struct Bus {
    ring: Mutex<VecDeque<Arc<Entry>>>,
    latest: watch::Sender<u64>,
}

/// What a reader finds beyond its position.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Entries, the oldest first.
    pub entries: Vec<Arc<Entry>>,
    /// Entries that were lost to it.
    pub missed: u64,
}

/// A reader's place in the entries.
#[derive(Debug)]
pub struct Position {
    seq: u64,
    latest: watch::Receiver<u64>,
}

impl Position {
    /// The number of the last entry read.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Waits until there is an entry beyond it; false when there never will be.
    pub async fn wait(&mut self) -> bool {
        let seq = self.seq;
        self.latest.wait_for(|latest| *latest > seq).await.is_ok()
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self { ring: Mutex::default(), latest: watch::Sender::new(0) }
    }
}

impl Bus {
    fn ring(&self) -> MutexGuard<'_, VecDeque<Arc<Entry>>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, at_ms: WallMs, relay: Option<RelayUrl>, what: What) -> Arc<Entry> {
        let mut ring = self.ring();
        let seq = ring.back().map_or(0, |last| last.seq) + 1;
        let entry = Arc::new(Entry { seq, at_ms, relay, what });
        if ring.len() == BUS_MAX {
            ring.pop_front();
        }
        ring.push_back(entry.clone());
        self.latest.send_replace(seq);
        entry
    }
}

/// The latest entries of one relay.
#[derive(Debug, Default)]
pub(crate) struct Rings {
    pub(crate) transitions: VecDeque<Arc<Entry>>,
    pub(crate) errors: VecDeque<Arc<Entry>>,
}

impl Rings {
    fn push(&mut self, entry: &Arc<Entry>) {
        let (ring, max) = match entry.what {
            What::Transition { .. } | What::Health { .. } => {
                (&mut self.transitions, TRANSITIONS_MAX)
            }
            What::Error { count, .. } => {
                if count > 1 {
                    self.errors.pop_back();
                }
                (&mut self.errors, ERRORS_MAX)
            }
            _ => return,
        };
        if ring.len() == max {
            ring.pop_front();
        }
        ring.push_back(entry.clone());
    }

    /// How often the same error came last, in a row.
    fn repeated(&self, code: &str, message: &str) -> u64 {
        match self.errors.back().map(|entry| &entry.what) {
            Some(What::Error { code: c, message: m, count, .. }) if c == code && m == message => {
                *count
            }
            _ => 0,
        }
    }
}

impl Registry {
    /// A place after entry `seq`; after the latest when there is none.
    pub fn position(&self, seq: Option<u64>) -> Position {
        let latest = self.bus().latest.subscribe();
        let newest = *latest.borrow();
        Position { seq: seq.unwrap_or(newest).min(newest), latest }
    }

    /// Reads up to `max` entries beyond a position and moves it.
    pub fn read(&self, position: &mut Position, max: usize) -> Found {
        let ring = self.bus().ring();
        let oldest = ring.front().map_or(position.seq + 1, |first| first.seq);
        let missed = oldest.saturating_sub(position.seq + 1);
        position.seq += missed;
        let skip = usize::try_from(position.seq + 1 - oldest).unwrap_or(usize::MAX);
        let entries: Vec<_> = ring.iter().skip(skip).take(max).cloned().collect();
        position.seq += entries.len() as u64;
        Found { entries, missed }
    }

    /// The latest entries, the oldest first, as many as `max` of those that `keep` keeps.
    pub fn latest(&self, max: usize, keep: impl Fn(&Entry) -> bool) -> (Vec<Entry>, bool) {
        let ring = self.bus().ring();
        let mut found = ring.iter().rev().filter(|entry| keep(entry));
        let mut entries: Vec<Entry> = found.by_ref().take(max).map(|e| Entry::clone(e)).collect();
        entries.reverse();
        (entries, found.next().is_some())
    }

    /// Writes an entry that no event of the core tells.
    pub fn note(&self, relay: Option<RelayUrl>, what: What, at: WallMs) {
        self.bus().push(at, relay, what);
    }

    pub(crate) fn phase_entry(&self, from: Phase, to: Phase, reason: &str, at: WallMs) {
        self.note(None, What::Phase { from, to, reason: reason.into() }, at);
    }

    /// Writes the entry of an event, after it was counted. For a forgotten relay, before it goes.
    pub(crate) fn log(&self, event: &Event, at: WallMs) {
        let Some(relay) = relay_of(event).and_then(|id| self.relay(id)) else {
            if let Event::LimitReached { limit } = event {
                let message = format!("a limit was reached: {limit}");
                self.note(None, What::Notice { message }, at);
            }
            return;
        };
        let Some(mut what) = what(event) else { return };
        let mut state = relay.state();
        if let What::Error { code, message, count, .. } = &mut what {
            *count = state.rings.repeated(code, message) + 1;
        }
        let entry = self.bus().push(at, Some(relay.url().clone()), what);
        state.rings.push(&entry);
    }
}

/// The entry of an event of a relay, when it is worth one.
fn what(event: &Event) -> Option<What> {
    Some(match event {
        Event::RelayTracked { bootstrap, .. } => What::Tracked { bootstrap: *bootstrap },
        Event::RelayForgotten { .. } => What::Forgotten,
        Event::StatusChanged { from, to, reason, .. } => {
            What::Transition { from: *from, to: *to, reason: reason.as_str().into() }
        }
        Event::HealthChanged { from, to, reason, .. } => {
            What::Health { from: *from, to: *to, reason: reason.as_str().into() }
        }
        Event::DialEnded { result: Err(error), .. } => {
            failure(Code::of_dial(error.kind), error.to_string())
        }
        Event::ConnectionEnded { reason, .. } => {
            failure(Code::of_close(reason)?, close_text(reason))
        }
        Event::PassStarted { trigger, .. } => {
            What::Session { trigger: *trigger, result: None, took_s: None }
        }
        Event::PassEnded { trigger, result, took_ms, .. } => {
            let took = std::time::Duration::from_millis(*took_ms);
            What::Session { trigger: *trigger, result: Some(*result), took_s: Some(took.into()) }
        }
        Event::GapOpened { row, reason, detail, items, .. } => What::Gap {
            row: *row,
            open: true,
            reason: reason.as_str().into(),
            detail: detail.to_string(),
            items: *items,
        },
        Event::GapClosed { row, .. } => What::Gap {
            row: *row,
            open: false,
            reason: String::new(),
            detail: String::new(),
            items: 0,
        },
        Event::RateLimited { text, .. } => failure(Code("E204"), format!("asked for less: {text}")),
        Event::LiveParked { reason, text, .. } => {
            failure(Code::of_gap(*reason)?, gap_text(*reason, text.as_str()))
        }
        Event::Notice { text, .. } => What::Notice { message: text.to_string() },
        Event::SettleSlow { unsettled, .. } => {
            What::Notice { message: format!("{unsettled} events are not settled yet") }
        }
        _ => return None,
    })
}

fn failure(code: Code, message: String) -> What {
    let error = code.kind().as_str().into();
    What::Error { code: code.0.into(), error, message, count: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(bus: &Bus, n: u64) {
        bus.push(WallMs(n), None, What::Notice { message: n.to_string() });
    }

    #[test]
    fn a_slow_reader_is_told_how_much_it_missed() {
        let registry = Registry::system(crate::observe::Build { version: "0", commit: "0" });
        let mut position = registry.position(Some(0));
        let boot = registry.position(None).seq();
        (0..BUS_MAX as u64 + 10).for_each(|n| notice(registry.bus(), n));
        let found = registry.read(&mut position, 3);
        assert_eq!((found.missed, found.entries.len()), (boot + 10, 3));
        assert_eq!(found.entries[0].seq, boot + 11);
        assert_eq!(position.seq(), boot + 13);
        let found = registry.read(&mut position, BUS_MAX);
        assert_eq!((found.missed, found.entries.len()), (0, BUS_MAX - 3));
        assert_eq!(registry.read(&mut position, 1).entries, []);
    }

    #[test]
    fn a_position_beyond_the_latest_begins_at_the_latest() {
        let registry = Registry::system(crate::observe::Build { version: "0", commit: "0" });
        let newest = registry.position(None).seq();
        assert_eq!(registry.position(Some(900)).seq(), newest);
    }
}
