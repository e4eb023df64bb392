//! What went into the core and came out of it, for scenarios that ask how something came about
//! and not only what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nostr::filter::Filter;
use sync_core::command::{Command, Purpose};
use sync_core::event::Event;
use sync_core::id::{ConnId, RelayId, SubId};
use sync_core::input::{Frame, Input};

use super::World;

/// One line.
#[derive(Clone, Debug)]
pub enum Line {
    /// An input.
    Heard(Input),
    /// A command.
    Said(Command),
}

/// Lines with the time since the world began, in order.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    lines: Vec<(Duration, Line)>,
}

impl World {
    /// What went in and came out, while `Setup::journal` asks for it.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }
}

impl Journal {
    pub(super) fn heard(&mut self, at: Duration, input: &Input) {
        self.lines.push((at, Line::Heard(input.clone())));
    }

    pub(super) fn said(&mut self, at: Duration, command: &Command) {
        self.lines.push((at, Line::Said(command.clone())));
    }

    /// Every line since a moment.
    pub fn lines(&self, since: Duration) -> impl Iterator<Item = &(Duration, Line)> {
        self.lines.iter().skip_while(move |(at, _)| *at < since)
    }

    /// Every command since a moment.
    pub fn commands(&self, since: Duration) -> impl Iterator<Item = (Duration, &Command)> {
        self.lines(since).filter_map(|(at, line)| match line {
            Line::Said(command) => Some((*at, command)),
            Line::Heard(_) => None,
        })
    }

    /// Every input since a moment.
    pub fn inputs(&self, since: Duration) -> impl Iterator<Item = (Duration, &Input)> {
        self.lines(since).filter_map(|(at, line)| match line {
            Line::Heard(input) => Some((*at, input)),
            Line::Said(_) => None,
        })
    }

    /// What the core told whoever watches, since a moment.
    pub fn events(&self, since: Duration) -> impl Iterator<Item = (Duration, &Event)> {
        self.commands(since).filter_map(|(at, command)| match command {
            Command::Emit(event) => Some((at, event)),
            _ => None,
        })
    }

    /// Filters of the requests to a relay since a moment, with what each is for.
    pub fn requests(
        &self,
        relay: RelayId,
        since: Duration,
    ) -> impl Iterator<Item = (Duration, Purpose, &[Filter])> {
        self.commands(since).filter_map(move |(at, command)| match command {
            Command::Subscribe { conn, filters, purpose, .. } if conn.relay == relay => {
                Some((at, *purpose, filters.as_slice()))
            }
            _ => None,
        })
    }

    /// Reconciliations that were opened with a relay since a moment.
    pub fn reconciliations(&self, relay: RelayId, since: Duration) -> usize {
        self.commands(since)
            .filter(|(_, c)| matches!(c, Command::Reconcile { conn, .. } if conn.relay == relay))
            .count()
    }

    /// Events that a relay sent on open subscriptions since a moment.
    pub fn received(&self, relay: RelayId, since: Duration) -> u64 {
        let tallies = self.inputs(since).filter_map(|(_, input)| match input {
            Input::Events(tally) if tally.conn.is_some_and(|conn| conn.relay == relay) => {
                Some(u64::from(tally.received))
            }
            _ => None,
        });
        tallies.sum()
    }

    /// Filters of the live requests that stand on the newest connection of a relay.
    pub fn live(&self, relay: RelayId) -> Vec<&Filter> {
        let open = self.standing(relay);
        open.into_values().filter(|(live, _)| *live).flat_map(|(_, filters)| filters).collect()
    }

    /// How many subscriptions stand on the newest connection of a relay: live ones, others.
    pub fn open(&self, relay: RelayId) -> (usize, usize) {
        let open = self.standing(relay);
        let live = open.values().filter(|(live, _)| *live).count();
        (live, open.len() - live)
    }

    fn standing(&self, relay: RelayId) -> BTreeMap<(ConnId, SubId), (bool, &[Filter])> {
        let mut open = BTreeMap::new();
        for (_, line) in &self.lines {
            match line {
                Line::Said(Command::Dial { conn, .. }) if conn.relay == relay => open.clear(),
                Line::Heard(Input::Closed { conn, .. }) if conn.relay == relay => open.clear(),
                Line::Said(Command::Subscribe { conn, sub, filters, purpose })
                    if conn.relay == relay =>
                {
                    let live = matches!(purpose, Purpose::Live);
                    open.insert((*conn, *sub), (live, filters.as_slice()));
                }
                Line::Said(Command::Unsubscribe { conn, sub })
                | Line::Heard(Input::Frame { conn, frame: Frame::Closed { sub, .. } }) => {
                    open.remove(&(*conn, *sub));
                }
                Line::Said(_) | Line::Heard(_) => {}
            }
        }
        open
    }

    /// Relays that the core dialed.
    pub fn dialed(&self) -> BTreeSet<RelayId> {
        let dials = self.commands(Duration::ZERO).filter_map(|(_, command)| match command {
            Command::Dial { conn, .. } => Some(conn.relay),
            _ => None,
        });
        dials.collect()
    }
}
