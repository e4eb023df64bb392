//! The face of the machine: one input in, ordered commands out, one next deadline.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use nostr::types::Timestamp;

use crate::agenda::{Agenda, Deadline, Timer};
use crate::command::Command;
use crate::config::Config;
use crate::context::{Context, DialBudget, Shared};
use crate::event::{Event, Stale, Trigger};
use crate::id::{ConnId, RelayId};
use crate::input::{Fact, FactSource, Input, Operator};
use crate::ledger::LedgerRow;
use crate::relay::{Phase, RelayMachine};
use crate::status::{Reason, RelayStatus};
use crate::time::Instant;
use crate::url::RelayUrl;
use crate::want::{Deltas, Want};

/// Relays that are remembered for each that may be a target at a time: 10,000 for 2,000.
const KNOWN_PER_TARGET: usize = 5;

/// The sync machine. See the crate's documentation for the loop that drives it.
#[derive(Debug)]
pub struct SyncCore {
    config: Config,
    seed: u64,
    now: Instant,
    /// Wall time, and when it was told.
    wall: (Timestamp, Instant),
    relays: Vec<RelayMachine>,
    by_url: BTreeMap<RelayUrl, RelayId>,
    own: Vec<RelayUrl>,
    shared: Shared,
    ended: bool,
}

impl SyncCore {
    /// A core that knows nothing but its configuration. Relays of `sync.relays` that are no URL
    /// are the caller's bug: the shell checks them first.
    pub fn new(config: Config, seed: u64, wall: Timestamp) -> Self {
        let own = config.identity.urls.iter().filter_map(|url| RelayUrl::parse(url).ok()).collect();
        let mut core = Self {
            seed,
            now: Instant::ZERO,
            wall: (wall, Instant::ZERO),
            relays: Vec::new(),
            by_url: BTreeMap::new(),
            own,
            shared: Shared {
                agenda: Agenda::default(),
                want: Want::new(&config),
                out: VecDeque::new(),
                dials: DialBudget::default(),
                next_batch: 0,
                booted: false,
                shutdown: false,
            },
            config,
            ended: false,
        };
        for url in core.config.sync.relays.clone() {
            match RelayUrl::parse(&url) {
                Ok(url) => core.add_bootstrap(&url),
                Err(error) => debug_assert!(false, "sync.relays holds {url}: {error}"),
            }
        }
        core
    }

    /// The configuration that this core was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes one input at a time that never goes back (an earlier `now` counts as the last one).
    /// Due timers fire first. Drain [`Self::poll_command`] before the
    /// next call; what the configuration alone brings comes with the first one.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        if self.ended {
            return; // L5
        }
        self.fire_due();
        self.on_input(input);
        self.fire_window();
        self.check_ended();
        debug_assert!(self.shared.agenda.next().is_none_or(|d| d.at > self.now), "T1");
    }

    /// The next command, in order.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.shared.out.pop_front()
    }

    /// When [`Input::Tick`] is due; strictly after the last `now` (T1).
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.shared.agenda.next()
    }

    /// The derived status of a relay.
    pub fn status(&self, relay: RelayId) -> Option<RelayStatus> {
        self.relays.get(relay.0 as usize).map(RelayMachine::status)
    }

    /// Every relay that is known, with its status.
    pub fn relays(&self) -> impl Iterator<Item = (RelayId, RelayStatus)> + '_ {
        self.relays.iter().map(|machine| (machine.relay.id, machine.status()))
    }

    /// The id of a relay.
    pub fn relay_id(&self, url: &RelayUrl) -> Option<RelayId> {
        self.by_url.get(url).copied()
    }

    /// The URL of a relay.
    pub fn relay_url(&self, relay: RelayId) -> Option<&RelayUrl> {
        self.relays.get(relay.0 as usize).map(|machine| &machine.relay.url)
    }

    /// The rows worth persisting: all that a restart needs.
    pub fn durable(&self) -> Vec<LedgerRow> {
        let wall = self.wall_now();
        let mut rows = Vec::new();
        for machine in &self.relays {
            rows.push(LedgerRow::Relay(machine.relay.row(wall, self.now)));
            rows.extend(machine.relay.coverage.rows());
        }
        rows
    }

    pub(crate) fn machines(&self) -> &[RelayMachine] {
        &self.relays
    }

    pub(crate) fn want(&self) -> &Want {
        &self.shared.want
    }

    pub(crate) fn agenda(&self) -> &Agenda {
        &self.shared.agenda
    }

    pub(crate) fn is_booted(&self) -> bool {
        self.shared.booted
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Wall time by the last [`Input::WallClock`] and what passed since.
    pub fn wall_now(&self) -> Timestamp {
        let (wall, at) = self.wall;
        Timestamp::from_secs(wall.as_secs().saturating_add(self.now.since(at).as_secs()))
    }

    /// Runs a transition of one relay and shows what it changed.
    fn with<R>(
        &mut self,
        relay: RelayId,
        transition: impl FnOnce(&mut RelayMachine, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let wall = self.wall_now();
        let machine = self.relays.get_mut(relay.0 as usize)?;
        let mut ctx =
            Context { now: self.now, wall, config: &self.config, shared: &mut self.shared };
        let result = transition(machine, &mut ctx);
        machine.show(&mut ctx);
        Some(result)
    }

    /// T3: every timer that was due at the start fires once, in order, with the real `now`.
    fn fire_due(&mut self) {
        for deadline in self.shared.agenda.due(self.now) {
            if !self.shared.agenda.take(deadline) {
                continue;
            }
            match deadline.relay {
                Some(relay) => {
                    self.with(relay, |machine, ctx| machine.on_timer(deadline.reason, ctx));
                }
                None => self.fire_facts(),
            }
        }
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Tick | Input::Load(_) => {}
            Input::WallClock(wall) => self.wall = (wall, self.now),
            Input::Ledger(row) => self.on_ledger(row),
            Input::Facts { from, facts } => self.on_facts(from, facts),
            Input::Booted => self.on_booted(),
            Input::Operator(operator) => self.on_operator(operator),
            input => self.on_relay_input(input),
        }
    }

    fn on_relay_input(&mut self, input: Input) {
        let Some(conn) = conn_of(&input) else { return };
        let known = self.relays.get(conn.relay.0 as usize);
        if known.and_then(RelayMachine::conn) != Some(conn) {
            let what = Stale::Epoch; // S9
            return self.emit(Event::StaleInput { relay: conn.relay, what });
        }
        let fresh = self.with(conn.relay, |machine, ctx| machine.on_input(input, ctx));
        if fresh == Some(false) {
            let what = Stale::Subscription;
            self.emit(Event::StaleInput { relay: conn.relay, what });
        }
        self.drop_done_ids();
    }

    fn emit(&mut self, event: Event) {
        self.shared.out.push_back(Command::Emit(event));
    }

    fn on_ledger(&mut self, row: LedgerRow) {
        let url = match &row {
            LedgerRow::Relay(row) => row.url.clone(),
            LedgerRow::Cohort { relay, .. } | LedgerRow::Gap { relay, .. } => relay.clone(),
        };
        if let Some(relay) = self.resolve(&url) {
            self.with(relay, |machine, ctx| machine.load(row, ctx));
        }
    }

    fn on_facts(&mut self, from: FactSource, facts: Vec<Fact>) {
        let (pass, historic) = match from {
            FactSource::Boot => (None, true),
            FactSource::OwnRelay | FactSource::Embedder => (None, false),
            FactSource::Stored { conn, sub } => {
                let machine = self.relays.get_mut(conn.relay.0 as usize);
                let session = machine.filter(|m| m.conn() == Some(conn));
                match session.and_then(RelayMachine::session) {
                    Some((session, _)) => {
                        let historic = !session.is_standing(sub);
                        let pass = (historic && session.pass.is_some()).then_some(conn);
                        (pass, historic)
                    }
                    None => (None, true),
                }
            }
        };
        for fact in facts {
            if let Fact::PolicyChanged { .. } = fact {
                for relay in 0..self.relays.len() {
                    let relay = RelayId(relay as u32);
                    self.with(relay, |machine, ctx| machine.on_policy_changed(ctx));
                }
            }
            self.shared.want.collect(fact, pass, historic, self.now);
        }
    }

    fn on_booted(&mut self) {
        self.shared.booted = true;
        self.fire_facts();
        for url in self.config.probe.iter().flat_map(|probe| probe.only.clone()).collect::<Vec<_>>()
        {
            if self.relay_id(&url).is_none_or(|relay| !self.shared.want.is_target(relay)) {
                self.add_bootstrap(&url);
            }
        }
        for relay in 0..self.relays.len() {
            let relay = RelayId(relay as u32);
            self.with(relay, |machine, ctx| machine.follow_want(Reason::Startup, ctx));
        }
    }

    /// The id of a relay, made on first mention; `None` when it is ourselves or above the limit
    /// (DISC-4, DISC-5).
    fn resolve(&mut self, url: &RelayUrl) -> Option<RelayId> {
        if let Some(id) = self.by_url.get(url) {
            return Some(*id);
        }
        if self.own.contains(url) {
            return None;
        }
        // Those that nothing wants any more are known still, as rows of the ledger (DISC-7).
        let bootstrap = self.config.sync.relays.len();
        let known = self.config.limits.relays as usize * KNOWN_PER_TARGET + bootstrap;
        if self.relays.len() >= known {
            self.emit(Event::LimitReached { limit: "limits.relays".into() });
            return None;
        }
        let id = RelayId(self.relays.len() as u32);
        self.relays.push(RelayMachine::new(id, url.clone(), self.seed, &self.config));
        self.by_url.insert(url.clone(), id);
        let bootstrap = self
            .config
            .sync
            .relays
            .iter()
            .any(|own| RelayUrl::parse(own).is_ok_and(|own| own == *url));
        self.emit(Event::RelayTracked { relay: id, url: url.clone(), bootstrap });
        Some(id)
    }

    fn add_bootstrap(&mut self, url: &RelayUrl) {
        if let Some(relay) = self.resolve(url) {
            let deltas = self.shared.want.add_bootstrap(relay);
            self.apply(deltas, Reason::Startup);
        }
    }

    /// Fires the discovery window when it is full, or when nothing pending could add to it.
    fn fire_window(&mut self) {
        let Some(opened) = self.shared.want.opened() else { return };
        if !self.shared.booted {
            return;
        }
        let sync = &self.config.sync;
        let quiet = opened + sync.discovery_quiet;
        let at = match self.shared.want.discovering {
            0 => quiet,
            _ => opened + sync.discovery_window,
        };
        if at <= self.now {
            self.fire_facts();
        } else {
            self.shared.agenda.arm(None, Timer::DiscoveryWindow, at);
        }
    }

    fn fire_facts(&mut self) {
        self.shared.agenda.cancel(None, Timer::DiscoveryWindow);
        let wall = self.wall_now();
        let held = self.shared.want.holders();
        let mut want = core::mem::take(&mut self.shared.want);
        let deltas = want.fire(wall, |url| self.resolve(url));
        if let Some(at) = want.next_later() {
            let wait = Duration::from_secs(at.as_secs().saturating_sub(wall.as_secs()));
            self.shared.agenda.arm(None, Timer::Later, self.now + wait);
        }
        if want.take_refused() {
            self.emit(Event::LimitReached { limit: "limits.relays".into() });
        }
        self.shared.want = want;
        self.apply(deltas, Reason::Discovered);
        // The second look of the double-check: passes that the window held may end now.
        for conn in held {
            self.with(conn.relay, |_, _| {});
        }
    }

    fn apply(&mut self, deltas: Deltas, reason: Reason) {
        for (relay, delta) in deltas {
            self.with(relay, |machine, ctx| {
                machine.on_delta(&delta, ctx);
                machine.follow_want(reason, ctx);
            });
        }
    }

    /// Ids that a relay served are not asked for elsewhere.
    fn drop_done_ids(&mut self) {
        while let Some(deltas) = self.shared.want.take_done() {
            self.apply(deltas, Reason::Idle);
        }
    }

    fn resync_all(&mut self, trigger: Trigger) {
        for relay in 0..self.relays.len() {
            self.with(RelayId(relay as u32), |machine, ctx| machine.resync(trigger, ctx));
        }
    }

    fn on_operator(&mut self, operator: Operator) {
        match operator {
            Operator::AddRelay(url) => self.add_bootstrap(&url),
            Operator::RemoveRelay(url) => {
                if let Some(relay) = self.relay_id(&url) {
                    let deltas = self.shared.want.remove_bootstrap(relay);
                    self.apply(deltas, Reason::Removed);
                    self.with(relay, |machine, ctx| machine.follow_want(Reason::Removed, ctx));
                }
            }
            Operator::Pause(url) => self.with_url(&url, |machine, ctx| machine.pause(true, ctx)),
            Operator::Resume(url) => self.with_url(&url, |machine, ctx| machine.pause(false, ctx)),
            Operator::Retry(url) => self.with_url(&url, RelayMachine::retry_now),
            Operator::Resync(url) => {
                self.with_url(&url, |machine, ctx| machine.resync(Trigger::Manual, ctx));
            }
            Operator::AcceptGap { relay, gap } => {
                self.with_url(&relay, |machine, ctx| machine.accept_gap(gap, ctx));
            }
            Operator::SyncNow => self.resync_all(Trigger::Manual),
            Operator::Shutdown => {
                self.shared.shutdown = true;
                for relay in 0..self.relays.len() {
                    let relay = RelayId(relay as u32);
                    self.with(relay, |machine, ctx| machine.follow_want(Reason::Shutdown, ctx));
                }
                self.shared.agenda.cancel(None, Timer::DiscoveryWindow);
            }
        }
    }

    fn with_url(
        &mut self,
        url: &RelayUrl,
        transition: impl FnOnce(&mut RelayMachine, &mut Context<'_>),
    ) {
        if let Some(relay) = self.relay_id(url) {
            self.with(relay, transition);
        }
    }

    /// L5: after a shutdown the last closed connection ends the core.
    fn check_ended(&mut self) {
        let over = self.shared.shutdown
            && !self.ended
            && self.relays.iter().all(|machine| matches!(machine.phase, Phase::Idle));
        if over {
            self.ended = true;
            self.shared.agenda = Agenda::default();
            self.emit(Event::Ended);
        }
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
        Input::Tick
        | Input::WallClock(_)
        | Input::Load(_)
        | Input::Ledger(_)
        | Input::Facts { .. }
        | Input::Booted
        | Input::Operator(_) => None,
    }
}
