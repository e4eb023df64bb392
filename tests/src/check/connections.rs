//! S2, S3, S5, S9, S11: connections and what is open on them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sync_core::command::Command;
use sync_core::config::Config;
use sync_core::event::Event;
use sync_core::id::{ConnId, RelayId};
use sync_core::input::{Frame, Input};
use sync_core::time::Instant;
use sync_core::url::RelayUrl;

use super::Findings;

/// Open subscriptions that no relay's budget grows to within a run: a leak shows.
const OPEN_MAX: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Dialing,
    Online,
    HungUp(Instant),
    Ended,
}

#[derive(Debug)]
struct Connection {
    url: RelayUrl,
    phase: Phase,
    /// Numbers of subscriptions and reconciliations that are open.
    open: BTreeSet<u32>,
    /// All that were ever used (FILT-4).
    used: BTreeSet<u32>,
}

#[derive(Debug)]
pub(super) struct Connections {
    own_urls: BTreeSet<String>,
    drain: Duration,
    known: BTreeMap<ConnId, Connection>,
    cooling: BTreeMap<RelayId, Instant>,
    /// The input that is being handled names a connection that was over before.
    stale: Option<ConnId>,
}

impl Connections {
    pub(super) fn new(config: &Config) -> Self {
        let urls = config.identity.urls.iter();
        Self {
            own_urls: urls
                .filter_map(|url| RelayUrl::parse(url).ok())
                .map(|url| url.as_str().to_owned())
                .collect(),
            drain: *config.dial.drain,
            known: BTreeMap::new(),
            cooling: BTreeMap::new(),
            stale: None,
        }
    }

    pub(super) fn open(&self) -> usize {
        self.known.values().map(|connection| connection.open.len()).sum()
    }

    pub(super) fn on_input(&mut self, input: &Input) {
        let conn = conn_of(input);
        self.stale = conn.filter(|conn| {
            self.known.get(conn).is_none_or(|connection| connection.phase == Phase::Ended)
        });
        let Some(connection) = conn.and_then(|conn| self.known.get_mut(&conn)) else { return };
        match input {
            Input::Dialed { result: Ok(()), .. } if connection.phase == Phase::Dialing => {
                connection.phase = Phase::Online;
            }
            Input::Dialed { result: Err(_), .. } | Input::Closed { .. } => {
                connection.phase = Phase::Ended;
                connection.open.clear();
            }
            Input::Frame { frame: Frame::Closed { sub, .. }, .. } => {
                connection.open.remove(&sub.0);
            }
            Input::Frame { frame: Frame::NegErr { neg, .. }, .. }
            | Input::Reconciled { neg, .. } => {
                connection.open.remove(&neg.0);
            }
            _ => {}
        }
    }

    pub(super) fn on_command(&mut self, command: &Command, findings: &mut Findings) {
        if let Some(conn) = self.stale {
            findings.check(matches!(command, Command::Emit(_)), "S9", || {
                format!("an input of {conn}, which is over, led to {command:?}")
            });
        }
        match command {
            Command::Dial { conn, url, .. } => self.on_dial(*conn, url, findings),
            Command::Hangup { conn } => {
                let now = findings.now;
                let Some(connection) = self.alive(*conn, findings) else { return };
                connection.phase = Phase::HungUp(now);
                connection.open.clear();
            }
            Command::Subscribe { conn, sub, .. } => self.on_open(*conn, sub.0, findings),
            Command::Reconcile { conn, neg, .. } => self.on_open(*conn, neg.0, findings),
            Command::Unsubscribe { conn, sub } => self.on_close(*conn, sub.0, findings),
            Command::StopReconcile { conn, neg } => self.on_close(*conn, neg.0, findings),
            Command::Authenticate { conn, .. } => drop(self.online(*conn, findings)),
            Command::Publish { conn, .. } => {
                self.warm(*conn, findings);
                self.online(*conn, findings);
            }
            Command::Emit(Event::RateLimited { relay, cooldown_ms, .. }) => {
                let until = findings.now + Duration::from_millis(*cooldown_ms);
                self.cooling.insert(*relay, until);
            }
            Command::Persist(_) | Command::Emit(_) => {}
        }
    }

    fn on_dial(&mut self, conn: ConnId, url: &RelayUrl, findings: &mut Findings) {
        self.warm(conn, findings);
        findings.check(!self.own_urls.contains(url.as_str()), "S2", || {
            format!("{conn} dials ourselves at {url}")
        });
        for (other, connection) in self.known.iter().filter(|(_, c)| c.url == *url) {
            let over = match connection.phase {
                Phase::Ended => true,
                Phase::HungUp(at) => findings.now >= at + self.drain,
                Phase::Dialing | Phase::Online => false,
            };
            findings.check(over, "S2", || format!("{conn} dials {url} while {other} lives"));
            findings.check(other.relay == conn.relay && other.epoch < conn.epoch, "S2", || {
                format!("{conn} follows {other} at {url}")
            });
        }
        let phase = Phase::Dialing;
        let (open, used) = (BTreeSet::new(), BTreeSet::new());
        self.known.insert(conn, Connection { url: url.clone(), phase, open, used });
    }

    fn on_open(&mut self, conn: ConnId, number: u32, findings: &mut Findings) {
        self.warm(conn, findings);
        let Some(connection) = self.online(conn, findings) else { return };
        let first = connection.used.insert(number);
        connection.open.insert(number);
        let open = connection.open.len();
        findings.check(first, "S3", || format!("{number} was used before on {conn}"));
        findings.check(open <= OPEN_MAX, "S4", || format!("{number} of {conn} is one of {open}"));
    }

    fn on_close(&mut self, conn: ConnId, number: u32, findings: &mut Findings) {
        let Some(connection) = self.online(conn, findings) else { return };
        let was_open = connection.open.remove(&number);
        findings.check(was_open, "S3", || format!("{number} of {conn} is ended a second time"));
    }

    fn warm(&self, conn: ConnId, findings: &mut Findings) {
        let until = self.cooling.get(&conn.relay).copied().unwrap_or(Instant::ZERO);
        let now = findings.now;
        findings.check(now >= until, "S11", || format!("{conn} is to be left alone until {until}"));
    }

    fn alive(&mut self, conn: ConnId, findings: &mut Findings) -> Option<&mut Connection> {
        let connection = self.known.get_mut(&conn);
        let phase = connection.as_ref().map(|connection| connection.phase);
        let alive = matches!(phase, Some(Phase::Dialing | Phase::Online));
        findings.check(alive, "S5", || format!("{conn} is named while it is {phase:?}"));
        connection.filter(|_| alive)
    }

    fn online(&mut self, conn: ConnId, findings: &mut Findings) -> Option<&mut Connection> {
        let connection = self.known.get_mut(&conn);
        let phase = connection.as_ref().map(|connection| connection.phase);
        let online = phase == Some(Phase::Online);
        findings.check(online, "S5", || format!("{conn} is named while it is {phase:?}"));
        connection.filter(|_| online)
    }
}

/// The connection that an input names.
fn conn_of(input: &Input) -> Option<ConnId> {
    match input {
        Input::Dialed { conn, .. }
        | Input::Closed { conn, .. }
        | Input::Stalled { conn }
        | Input::Flowing { conn }
        | Input::Frame { conn, .. }
        | Input::NegRound { conn, .. }
        | Input::Reconciled { conn, .. }
        | Input::RelayInfo { conn, .. } => Some(*conn),
        Input::Events(tally) => tally.conn,
        Input::Settled(tally) => tally.conn,
        // Facts of an ended connection are as good as any: their events are stored.
        Input::Facts { .. }
        | Input::Tick
        | Input::WallClock(_)
        | Input::Load(_)
        | Input::Ledger(_)
        | Input::Booted
        | Input::Operator(_) => None,
    }
}
