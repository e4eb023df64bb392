//! A shell without sockets: it keeps the books of what is open, and checks every command.

mod heal;
mod inputs;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nostr::event::{EventId, Kind};
use nostr::key::PublicKey;
use nostr::nips::nip01::Coordinate;
use nostr::types::Timestamp;
use sync_core::agenda::Timer;
use sync_core::command::{Command, Purpose};
use sync_core::event::{Event, PassResult};
use sync_core::id::{ChallengeId, ConnId, NegId, RelayId, SubId};
use sync_core::input::{
    CloseReason, DialError, DialErrorKind, EoseHints, Fact, FactSource, Frame, GitOutcome,
    InfoLimits, Input, NegOutcome, Operator,
};
use sync_core::item::{Item, Range, RelayText, SyncLevel};
use sync_core::ledger::LedgerRow;
use sync_core::status::RelayStatus;
use sync_core::tally::{EventTally, PageTally, SettleTally};
use sync_core::time::Instant;
use sync_core::url::RelayUrl;
use sync_core::{Config, SyncCore, step};

const WALL: u64 = 1_700_000_000;
const URLS: [&str; 3] = ["wss://a.example", "wss://b.example", "wss://c.example"];
const CLOSED: [&str; 9] = [
    "error: shutting down",
    "",
    "rate-limited: slow down",
    "error: too many subscriptions",
    "unsupported: no such filter",
    "blocked: no",
    "auth-required: members only",
    "invalid: too long",
    "restricted: paid",
];
const NOTICES: [&str; 4] =
    ["welcome", "you are being rate limited", "too many concurrent REQs", "ERROR: bad msg"];

/// One step of chaos; the numbers choose among what is possible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub(crate) kind: u8,
    pub(crate) a: u16,
    pub(crate) b: u16,
    pub(crate) c: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Dialing,
    Online,
    HungUp,
}

#[derive(Clone, Debug)]
struct Sub {
    live: bool,
    page: bool,
    open: bool,
    eose: bool,
    received: u64,
    historic: u64,
    settled: u64,
}

impl Sub {
    /// Events that count as history and are not settled.
    fn unsettled(&self) -> u64 {
        self.historic.saturating_sub(self.settled)
    }
}

#[derive(Debug)]
struct Conn {
    id: ConnId,
    link: Link,
    stalled: bool,
    used: BTreeSet<u32>,
    subs: BTreeMap<SubId, Sub>,
    negs: BTreeSet<NegId>,
    answers: u32,
}

pub(crate) struct Shell {
    core: SyncCore,
    now: Instant,
    conns: BTreeMap<RelayId, Conn>,
    cooling: BTreeMap<RelayId, Instant>,
    pub(crate) log: Vec<Command>,
    ended: bool,
}

fn url(n: u16) -> RelayUrl {
    RelayUrl::parse(URLS[usize::from(n) % URLS.len()]).expect("they are valid")
}

fn repo(n: u16) -> Coordinate {
    Coordinate {
        kind: Kind::from(30617),
        public_key: PublicKey::from_byte_array([7; 32]),
        identifier: format!("r{}", n % 3),
    }
}

fn event_id(n: u16) -> EventId {
    EventId::from_byte_array([(n % 5) as u8 + 1; 32])
}

fn pick<T: Copy>(from: &[T], n: u16) -> Option<T> {
    if from.is_empty() { None } else { Some(from[usize::from(n) % from.len()]) }
}

impl Shell {
    pub(crate) fn new(negentropy: bool) -> Self {
        let mut config = Config::default();
        config.sync.relays.push(URLS[0].into());
        config.sync.relays.push(URLS[1].into());
        config.sync.negentropy = negentropy;
        config.sync.refetch_max = "1h".parse().expect("a span");
        config.sync.live_write = "1h".parse().expect("a span");
        config.health.backoff_max = "10m".parse().expect("a span");
        config.health.dead_retry = "10m".parse().expect("a span");
        config.live.consolidate_at = 12;
        let mut shell = Self {
            core: SyncCore::new(config, 5, Timestamp::from_secs(WALL)),
            now: Instant::ZERO,
            conns: BTreeMap::new(),
            cooling: BTreeMap::new(),
            log: Vec::new(),
            ended: false,
        };
        shell.step(Input::Booted);
        shell
    }

    fn step(&mut self, input: Input) {
        for command in step(&mut self.core, self.now, input) {
            self.check(&command);
            self.log.push(command);
        }
        let next = self.core.next_deadline();
        assert!(next.is_none_or(|next| next.at > self.now), "T1: {next:?} at {}", self.now);
        for (relay, status) in self.core.relays() {
            let Some(known) = self.core.explain(relay) else { continue };
            if status == RelayStatus::Connected {
                assert!(known.gaps.iter().all(|(_, gap)| gap.accepted), "S1: {:?}", known.gaps);
            }
        }
    }

    fn check(&mut self, command: &Command) {
        assert!(!self.ended, "L5: {command:?}");
        match command {
            Command::Dial { conn, .. } => self.on_dial(*conn),
            Command::Hangup { conn } => {
                let open = self.conns.get_mut(&conn.relay).expect("S5: a hangup of nothing");
                assert_eq!(open.id, *conn, "S5");
                assert_ne!(open.link, Link::HungUp, "S5: hung up twice");
                assert!(open.subs.values().all(|sub| !sub.open), "S3: {:?}", open.subs);
                assert!(open.negs.is_empty(), "{:?}", open.negs);
                open.link = Link::HungUp;
            }
            Command::Subscribe { conn, sub, filters, purpose } => {
                self.assert_may_send(*conn);
                let open = self.online(*conn);
                assert!(open.used.insert(sub.0), "FILT-4: {sub} is used twice");
                assert!(!filters.is_empty(), "FILT-1");
                let live = *purpose == Purpose::Live;
                assert!(!live || filters.len() <= 12, "FILT-2: {} filters", filters.len());
                let page = matches!(purpose, Purpose::Page { .. });
                let (received, historic, settled) = (0, 0, 0);
                let new = Sub { live, page, open: true, eose: false, received, historic, settled };
                open.subs.insert(*sub, new);
                self.assert_within_budget(conn.relay);
            }
            Command::Unsubscribe { conn, sub } => {
                let open = self.online(*conn).subs.get_mut(sub).expect("S3: it was opened");
                assert!(open.open, "S3: {sub} ends twice");
                open.open = false;
            }
            Command::Reconcile { conn, neg, range, .. } => {
                self.assert_may_send(*conn);
                assert!(range.since <= range.until);
                let open = self.online(*conn);
                assert!(open.used.insert(neg.0), "FILT-4: {neg} is used twice");
                open.negs.insert(*neg);
                self.assert_within_budget(conn.relay);
            }
            Command::StopReconcile { conn, neg } => {
                assert!(self.online(*conn).negs.remove(neg), "S3: {neg} ends twice");
            }
            Command::Authenticate { conn, .. } | Command::Publish { conn, .. } => {
                self.online(*conn);
            }
            Command::Persist(_) => {}
            Command::Emit(event) => self.on_event(event),
        }
    }

    fn on_dial(&mut self, conn: ConnId) {
        let until = self.cooling.get(&conn.relay);
        assert!(until.is_none_or(|until| *until <= self.now), "S11: a dial while it cools down");
        let old = self.conns.get(&conn.relay);
        assert!(old.is_none_or(|old| old.link == Link::HungUp), "S2: {old:?}");
        assert!(old.is_none_or(|old| old.id.epoch < conn.epoch), "S9: {old:?}");
        self.conns.insert(
            conn.relay,
            Conn {
                id: conn,
                link: Link::Dialing,
                stalled: false,
                used: BTreeSet::new(),
                subs: BTreeMap::new(),
                negs: BTreeSet::new(),
                answers: 0,
            },
        );
    }

    fn on_event(&mut self, event: &Event) {
        match event {
            Event::RateLimited { relay, cooldown_ms, .. } => {
                self.cooling.insert(*relay, self.now + Duration::from_millis(*cooldown_ms));
            }
            Event::PassEnded { relay, result, .. } if *result != PassResult::Cancelled => {
                let open = &self.conns[relay];
                let unsettled: u64 = open.subs.values().map(Sub::unsettled).sum();
                assert_eq!(unsettled, 0, "S1: {:?}", open.subs);
            }
            Event::Ended => self.ended = true,
            _ => {}
        }
    }

    fn online(&mut self, conn: ConnId) -> &mut Conn {
        let open = self.conns.get_mut(&conn.relay).expect("S5: no connection");
        assert_eq!((open.id, open.link), (conn, Link::Online), "S5");
        open
    }

    fn assert_may_send(&self, conn: ConnId) {
        let until = self.cooling.get(&conn.relay);
        assert!(until.is_none_or(|until| *until <= self.now), "S11: a request in a cooldown");
    }

    fn assert_within_budget(&self, relay: RelayId) {
        let conn = &self.conns[&relay];
        let open = conn.subs.values().filter(|sub| sub.open).count() + conn.negs.len();
        assert!(open <= 200, "S4: {open} open");
    }
}
