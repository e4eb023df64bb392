//! A script of inputs for one core and the relay `wss://a.example`: what tests of the control
//! plane share.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses a part of it")]

use std::time::Duration;

use nostr::event::{EventId, Kind};
use nostr::key::PublicKey;
use nostr::nips::nip01::Coordinate;
use nostr::types::Timestamp;
use sync_core::command::{Command, Purpose};
use sync_core::config::Span;
use sync_core::event::Event;
use sync_core::id::{ConnId, NegId, RelayId, SubId};
use sync_core::input::{
    CloseReason, DialError, DialErrorKind, EoseHints, Fact, FactSource, Frame, Input, NegOutcome,
    Operator,
};
use sync_core::item::{Item, RelayText, SyncLevel};
use sync_core::ledger::{Cohort, Gap, LedgerChange, LedgerRow};
use sync_core::status::RelayStatus;
use sync_core::tally::{EventTally, PageTally, SettleTally};
use sync_core::time::Instant;
use sync_core::url::RelayUrl;
use sync_core::{Config, SyncCore, step};

/// Wall time at which every script begins.
pub const WALL: u64 = 1_700_000_000;
/// The relay of every script.
pub const A: &str = "wss://a.example";

pub fn url(text: &str) -> RelayUrl {
    RelayUrl::parse(text).expect("tests write valid URLs")
}

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn at(n: u64) -> Timestamp {
    Timestamp::from_secs(n)
}

pub fn id(n: u16) -> EventId {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    EventId::from_byte_array(bytes)
}

pub fn repo(name: &str) -> Coordinate {
    Coordinate {
        kind: Kind::from(30617),
        public_key: PublicKey::from_byte_array([7; 32]),
        identifier: name.into(),
    }
}

pub fn repo_fact(name: &str, level: SyncLevel) -> Fact {
    Fact::Repo { repo: repo(name), relays: vec![url(A)], level }
}

pub fn root_fact(n: u16, name: &str) -> Fact {
    Fact::Root { id: id(n), repos: vec![repo(name)] }
}

/// A core, its time, and what it said.
pub struct Script {
    pub core: SyncCore,
    pub now: Instant,
    pub conn: ConnId,
    pub log: Vec<Command>,
}

impl Script {
    /// A core with one configured relay that does not reconcile; `configure` changes that.
    pub fn new(configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.sync.relays.push(A.into());
        config.sync.negentropy = false;
        // No jitter before the first dial.
        config.sync.bootstrap_jitter = Span(Duration::ZERO);
        config.sync.startup_jitter = Span(Duration::ZERO);
        configure(&mut config);
        let core = SyncCore::new(config, 1, at(WALL));
        let conn = ConnId { relay: RelayId(0), epoch: 0 };
        Self { core, now: Instant::ZERO, conn, log: Vec::new() }
    }

    /// As [`Script::new`], booted with these facts, and connected.
    pub fn online(configure: impl FnOnce(&mut Config), facts: Vec<Fact>) -> (Self, Vec<Command>) {
        let mut script = Self::new(configure);
        script.step(Input::Facts { from: FactSource::Boot, facts });
        script.step(Input::Booted);
        let commands = script.connect();
        (script, commands)
    }

    /// As [`Script::online`], with everything proven empty.
    pub fn proven(configure: impl FnOnce(&mut Config), facts: Vec<Fact>) -> Self {
        let (mut script, commands) = Self::online(configure, facts);
        script.answer_all(commands);
        assert_eq!(script.status(), RelayStatus::Connected);
        script
    }

    pub fn step(&mut self, input: Input) -> Vec<Command> {
        let commands = step(&mut self.core, self.now, input);
        let next = self.core.next_deadline();
        assert!(next.is_none_or(|next| next.at > self.now), "T1: {next:?} at {}", self.now);
        for command in &commands {
            if let Command::Dial { conn, .. } = command
                && conn.relay == RelayId(0)
            {
                self.conn = *conn;
            }
        }
        self.log.extend(commands.iter().cloned());
        commands
    }

    /// Lets time pass, one deadline after the other.
    pub fn wait(&mut self, span: Duration) -> Vec<Command> {
        let end = self.now + span;
        let mut commands = Vec::new();
        while let Some(next) = self.core.next_deadline().filter(|next| next.at <= end) {
            self.now = next.at;
            commands.extend(self.step(Input::Tick));
        }
        self.now = end;
        commands.extend(self.step(Input::Tick));
        commands
    }

    /// Lets time pass until the relay is dialed, and lets the dial succeed.
    pub fn connect(&mut self) -> Vec<Command> {
        let before = self.conn.epoch;
        let dialed = self
            .log
            .iter()
            .any(|c| matches!(c, Command::Dial { conn, .. } if conn.epoch == before));
        if !dialed || self.core.status(RelayId(0)) != Some(RelayStatus::Connecting) {
            for _ in 0..100 {
                if self.core.status(RelayId(0)) == Some(RelayStatus::Connecting) {
                    break;
                }
                let next = self.core.next_deadline().expect("a dial is armed");
                self.now = next.at;
                self.step(Input::Tick);
            }
        }
        self.step(Input::Dialed { conn: self.conn, result: Ok(()) })
    }

    pub fn close(&mut self) -> Vec<Command> {
        let reason = CloseReason::Remote(RelayText::default());
        self.step(Input::Closed { conn: self.conn, reason })
    }

    pub fn refuse_dial(&mut self) -> Vec<Command> {
        let error = DialError { kind: DialErrorKind::Refused, detail: RelayText::default() };
        self.step(Input::Dialed { conn: self.conn, result: Err(error) })
    }

    pub fn frame(&mut self, frame: Frame) -> Vec<Command> {
        self.step(Input::Frame { conn: self.conn, frame })
    }

    pub fn eose(&mut self, sub: SubId) -> Vec<Command> {
        self.frame(Frame::Eose { sub, hints: EoseHints::default() })
    }

    pub fn closed(&mut self, sub: SubId, text: &str) -> Vec<Command> {
        self.frame(Frame::Closed { sub, text: RelayText::new(text) })
    }

    pub fn notice(&mut self, text: &str) -> Vec<Command> {
        self.frame(Frame::Notice { text: RelayText::new(text) })
    }

    pub fn facts(&mut self, facts: Vec<Fact>) -> Vec<Command> {
        self.step(Input::Facts { from: FactSource::Embedder, facts })
    }

    /// Facts, and the discovery window after them.
    pub fn want(&mut self, facts: Vec<Fact>) -> Vec<Command> {
        let mut commands = self.facts(facts);
        commands.extend(self.wait(secs(6)));
        commands
    }

    pub fn operator(&mut self, operator: Operator) -> Vec<Command> {
        self.step(Input::Operator(operator))
    }

    pub fn tally(&self, sub: SubId, received: u32) -> EventTally {
        EventTally { conn: Some(self.conn), sub: Some(sub), received, ..EventTally::default() }
    }

    pub fn received(&mut self, sub: SubId, received: u32) -> Vec<Command> {
        let tally = self.tally(sub, received);
        self.step(Input::Events(tally))
    }

    pub fn settle(&self, sub: SubId) -> SettleTally {
        SettleTally { conn: Some(self.conn), sub: Some(sub), ..SettleTally::default() }
    }

    pub fn stored(&mut self, sub: SubId, stored: u32) -> Vec<Command> {
        let tally = SettleTally { stored, ..self.settle(sub) };
        self.step(Input::Settled(tally))
    }

    pub fn stored_ids(&mut self, sub: SubId, ids: Vec<EventId>) -> Vec<Command> {
        let tally = SettleTally { stored: ids.len() as u32, ids, ..self.settle(sub) };
        self.step(Input::Settled(tally))
    }

    /// A page of `n` new events from `oldest` to `newest`, received and stored, without its EOSE.
    pub fn page(&mut self, sub: SubId, n: u32, oldest: u64, newest: u64) -> Vec<Command> {
        let page = PageTally {
            frames: n,
            distinct: n,
            oldest: Some(at(oldest)),
            newest: Some(at(newest)),
            middle: Some(at(oldest.midpoint(newest))),
            three_quarters: Some(at(oldest)),
            new: n,
            ..PageTally::default()
        };
        self.page_of(sub, n, page)
    }

    pub fn page_of(&mut self, sub: SubId, n: u32, page: PageTally) -> Vec<Command> {
        let tally = EventTally { page: Some(page), ..self.tally(sub, n) };
        let mut commands = self.step(Input::Events(tally));
        if n > 0 {
            commands.extend(self.stored(sub, n));
        }
        commands
    }

    pub fn reconciled(
        &mut self,
        neg: NegId,
        need: Vec<EventId>,
        outcome: NegOutcome,
    ) -> Vec<Command> {
        let conn = self.conn;
        self.step(Input::Reconciled { conn, neg, need, have: 0, bytes: 1, outcome })
    }

    /// Answers every request, and those that follow from the answers, with nothing.
    pub fn answer_all(&mut self, commands: Vec<Command>) {
        let mut queue = commands;
        while !queue.is_empty() {
            let mut next = Vec::new();
            for command in queue {
                match command {
                    Command::Subscribe { conn, sub, .. } if conn == self.conn => {
                        next.extend(self.eose(sub));
                    }
                    Command::Reconcile { conn, neg, .. } if conn == self.conn => {
                        next.extend(self.reconciled(neg, Vec::new(), NegOutcome::Done));
                    }
                    _ => {}
                }
            }
            queue = next;
        }
    }

    pub fn status(&self) -> RelayStatus {
        self.core.status(RelayId(0)).expect("the relay is configured")
    }

    pub fn gaps(&self) -> Vec<Gap> {
        self.core.explain(RelayId(0)).expect("it is known").gaps.into_iter().map(|g| g.1).collect()
    }

    pub fn cohort(&self, item: &Item) -> Option<Cohort> {
        self.core.durable().into_iter().find_map(|row| match row {
            LedgerRow::Cohort { cohort, .. } if cohort.items.contains(item) => Some(cohort),
            _ => None,
        })
    }

    /// A second core that begins with what the first one would have persisted.
    pub fn restart(&self, configure: impl FnOnce(&mut Config), facts: Vec<Fact>) -> Self {
        let mut next = Self::new(configure);
        next.step(Input::WallClock(self.core.wall_now()));
        for row in self.core.durable() {
            next.step(Input::Ledger(row));
        }
        next.step(Input::Facts { from: FactSource::Boot, facts });
        next.step(Input::Booted);
        next
    }
}

/// Requests of one kind among commands.
pub fn subs(commands: &[Command], which: impl Fn(&Purpose) -> bool) -> Vec<SubId> {
    let found = commands.iter().filter_map(|command| match command {
        Command::Subscribe { sub, purpose, .. } if which(purpose) => Some(*sub),
        _ => None,
    });
    found.collect()
}

pub fn live(commands: &[Command]) -> Vec<SubId> {
    subs(commands, |purpose| *purpose == Purpose::Live)
}

pub fn pages(commands: &[Command]) -> Vec<SubId> {
    subs(commands, |purpose| matches!(purpose, Purpose::Page { .. }))
}

pub fn by_ids(commands: &[Command]) -> Vec<SubId> {
    subs(commands, |purpose| matches!(purpose, Purpose::Ids { .. }))
}

pub fn negs(commands: &[Command]) -> Vec<NegId> {
    let found = commands.iter().filter_map(|command| match command {
        Command::Reconcile { neg, .. } => Some(*neg),
        _ => None,
    });
    found.collect()
}

pub fn unsubscribed(commands: &[Command]) -> Vec<SubId> {
    let found = commands.iter().filter_map(|command| match command {
        Command::Unsubscribe { sub, .. } => Some(*sub),
        _ => None,
    });
    found.collect()
}

/// The filters of a request, as JSON.
pub fn filters(commands: &[Command], wanted: SubId) -> Vec<String> {
    commands
        .iter()
        .find_map(|command| match command {
            Command::Subscribe { sub, filters, .. } if *sub == wanted => Some(
                filters
                    .iter()
                    .map(|f| serde_json::to_string(f).expect("filters serialise"))
                    .collect(),
            ),
            _ => None,
        })
        .unwrap_or_default()
}

pub fn events(commands: &[Command]) -> Vec<&Event> {
    let found = commands.iter().filter_map(|command| match command {
        Command::Emit(event) => Some(event),
        _ => None,
    });
    found.collect()
}

pub fn ledger(commands: &[Command]) -> Vec<&LedgerChange> {
    let found = commands.iter().filter_map(|command| match command {
        Command::Persist(change) => Some(change),
        _ => None,
    });
    found.collect()
}
