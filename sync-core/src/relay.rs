//! One relay: its phases, what is known of it over connections, and its derived status. What
//! belongs to a connection lives in `session` and dies with it.

use alloc::boxed::Box;

use nostr::types::Timestamp;

use crate::agenda::Timer;
use crate::command::Command;
use crate::context::Context;
use crate::coverage::Coverage;
use crate::event::{Event, PassResult, Trigger};
use crate::health::Health;
use crate::id::{ConnId, RelayId};
use crate::input::{CloseReason, DialError, DialErrorKind};
use crate::item::Item;
use crate::ledger::{Cohort, LedgerChange, LedgerRow, RelayRow};
use crate::relay::limits::Limits;
use crate::relay::negentropy::Negentropy;
use crate::relay::page::PageMemory;
use crate::relay::session::Session;
use crate::rng::Rng;
use crate::status::{HealthStatus, Reason, RelayStatus};
use crate::url::RelayUrl;

pub mod batch;
mod claim;
pub mod closed;
mod dial;
mod frames;
mod gaps;
mod inputs;
pub mod limits;
mod live;
mod maintain;
pub mod negentropy;
pub mod page;
mod pending;
mod recheck;
mod run;
mod session;
mod settle;
mod timers;

/// Where a relay is in the life of a connection.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// Nothing wants it, or it is paused.
    Idle,
    /// The next dial is armed; granted when its slot of the global budget is reserved (CONN-8).
    Waiting { granted: bool },
    /// The shell dials.
    Dialing { conn: ConnId },
    /// The connection is open.
    Online(Box<Session>),
    /// We hung up; the shell closes.
    Draining { conn: ConnId },
}

/// What is known of a relay over its connections.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    pub(crate) id: RelayId,
    pub(crate) url: RelayUrl,
    pub(crate) rng: Rng,
    pub(crate) health: Health,
    pub(crate) coverage: Coverage,
    pub(crate) limits: Limits,
    pub(crate) pages: PageMemory,
    pub(crate) negentropy: Negentropy,
    pub(crate) announces_negentropy: Option<bool>,
    pub(crate) paused: bool,
    /// Found to be ourselves (DISC-5).
    pub(crate) is_self: bool,
    pub(crate) last_connected: Option<Timestamp>,
    pub(crate) disconnected_at: Option<Timestamp>,
    pub(crate) pass_finished_at: Option<Timestamp>,
    /// Whether a pass finished since the process began (HIST-12).
    pub(crate) pass_finished_here: bool,
    /// Why the status changes with the next look.
    pub(crate) why: Reason,
    shown: (RelayStatus, HealthStatus),
    epoch: u32,
    dialed: bool,
    /// Failures since the process began or a pass finished (DISC-10).
    pub(crate) failures_here: u32,
    /// Of them, dials that failed since the relay was last online.
    pub(crate) failed_dials: u32,
    /// Everything is to be proven in full with the next pass that finishes.
    pub(crate) resync_due: bool,
}

/// A relay and its phase.
#[derive(Clone, Debug)]
pub(crate) struct RelayMachine {
    pub(crate) relay: Relay,
    pub(crate) phase: Phase,
}

impl Relay {
    /// Whether nothing may be sent (S11).
    pub(crate) fn is_cooling(&self, now: crate::time::Instant) -> bool {
        self.health.cooldown_until.is_some_and(|until| now < until)
    }

    /// The second from which history is resumed: the oldest proven or live watermark of the items
    /// minus the overlap; 0 when one of them was never proven (S8).
    pub(crate) fn resume_since(&self, items: &[Item], ctx: &Context<'_>) -> Timestamp {
        self.resume_from(items, ctx.config)
    }

    /// See [`Self::resume_since`].
    pub(crate) fn resume_from<'a>(
        &self,
        items: impl IntoIterator<Item = &'a Item>,
        config: &crate::Config,
    ) -> Timestamp {
        let overlap = config.sync.reconnect_overlap.as_secs();
        let watermark = |item: &Item| self.coverage.cohort(item).map(Cohort::watermark);
        let oldest = items.into_iter().map(|item| watermark(item).unwrap_or_default()).min();
        Timestamp::from_secs(oldest.unwrap_or_default().as_secs().saturating_sub(overlap))
    }

    /// Counts a failed dial or a short connection (HLTH-1).
    fn fail(&mut self, wall: Timestamp) {
        self.health.on_failure(wall);
        self.failures_here += 1;
    }

    /// Whether a connection that begins now is a fresh start (CONN-4). After a crash, which wrote
    /// no disconnect, the clock runs from the last watermark.
    fn is_fresh(&self, ctx: &Context<'_>) -> bool {
        let away_since = match (self.disconnected_at, self.last_connected) {
            (Some(lost), connected) if connected.is_none_or(|connected| connected <= lost) => {
                Some(lost)
            }
            _ => self.coverage.cohorts().map(|(_, cohort)| cohort.watermark()).max(),
        };
        let quick = ctx.config.sync.quick_reconnect.as_secs();
        self.coverage.is_empty()
            || away_since.is_none_or(|since| ctx.wall.as_secs() > since.as_secs() + quick)
    }

    /// The row of the ledger.
    pub(crate) fn row(&self, wall: Timestamp, now: crate::time::Instant) -> RelayRow {
        let cooldown = self.health.cooldown_until.filter(|until| now < *until);
        RelayRow {
            url: self.url.clone(),
            last_connected: self.last_connected,
            disconnected_at: self.disconnected_at,
            pass_finished_at: self.pass_finished_at,
            failures: self.health.failures,
            failing_since: self.health.failing_since,
            cooldown_until: cooldown
                .map(|until| Timestamp::from_secs(wall.as_secs() + until.since(now).as_secs() + 1)),
            neg_refused_at: match self.negentropy {
                Negentropy::Refused(at) => Some(at),
                Negentropy::Unknown | Negentropy::Spoken => None,
            },
            paused: self.paused,
        }
    }

    pub(crate) fn persist(&self, ctx: &mut Context<'_>) {
        let row = LedgerRow::Relay(self.row(ctx.wall, ctx.now));
        ctx.persist([LedgerChange::Put(row)]);
    }
}

impl RelayMachine {
    /// A relay that was never dialed.
    pub(crate) fn new(id: RelayId, url: RelayUrl, seed: u64, config: &crate::Config) -> Self {
        Self {
            relay: Relay {
                id,
                rng: Rng::fork(seed, url.as_str()),
                health: Health::default(),
                coverage: Coverage::new(url.clone()),
                limits: Limits::new(config),
                pages: PageMemory::default(),
                negentropy: Negentropy::Unknown,
                announces_negentropy: None,
                paused: false,
                is_self: false,
                last_connected: None,
                disconnected_at: None,
                pass_finished_at: None,
                pass_finished_here: false,
                why: Reason::Startup,
                shown: (RelayStatus::Disconnected, HealthStatus::Disconnected),
                epoch: 0,
                dialed: false,
                failures_here: 0,
                failed_dials: 0,
                resync_due: false,
                url,
            },
            phase: Phase::Idle,
        }
    }

    /// Takes a row of the ledger in.
    pub(crate) fn load(&mut self, row: LedgerRow, ctx: &mut Context<'_>) {
        let LedgerRow::Relay(row) = row else {
            if let LedgerRow::Cohort { cohort, .. } = &row {
                ctx.shared.want.prove(&cohort.items);
            }
            return self.relay.coverage.load(row);
        };
        let relay = &mut self.relay;
        relay.last_connected = row.last_connected;
        relay.disconnected_at = row.disconnected_at;
        relay.pass_finished_at = row.pass_finished_at;
        relay.health.failures = row.failures;
        relay.health.failing_since = row.failing_since;
        relay.health.cooldown_until = row.cooldown_until.map(|at| ctx.instant_of(at));
        if let Some(until) = relay.health.cooldown_until.filter(|until| *until > ctx.now) {
            ctx.shared.agenda.arm(Some(relay.id), Timer::Cooldown, until);
        }
        relay.negentropy = row.neg_refused_at.map_or(Negentropy::Unknown, Negentropy::Refused);
        relay.paused = row.paused;
    }

    /// The derived status (CONN-1).
    pub(crate) fn status(&self) -> RelayStatus {
        match &self.phase {
            Phase::Idle | Phase::Waiting { .. } | Phase::Draining { .. } => {
                RelayStatus::Disconnected
            }
            Phase::Dialing { .. } => RelayStatus::Connecting,
            Phase::Online(session) if session.pass.is_some() => RelayStatus::Syncing,
            Phase::Online(_) if self.relay.coverage.is_degraded() => RelayStatus::ConnectedDegraded,
            Phase::Online(_) => RelayStatus::Connected,
        }
    }

    /// The derived health (spec §8).
    pub(crate) fn health(&self, ctx: &Context<'_>) -> HealthStatus {
        let online = matches!(self.phase, Phase::Online(_));
        self.relay.health.status(ctx.now, ctx.wall, online, &ctx.config.health)
    }

    /// The connection that inputs may name.
    pub(crate) fn conn(&self) -> Option<ConnId> {
        match &self.phase {
            Phase::Idle | Phase::Waiting { .. } => None,
            Phase::Dialing { conn } | Phase::Draining { conn } => Some(*conn),
            Phase::Online(session) => Some(session.conn),
        }
    }

    /// The open session and the relay that it is of.
    pub(crate) fn session(&mut self) -> Option<(&mut Session, &mut Relay)> {
        match &mut self.phase {
            Phase::Online(session) => Some((session, &mut self.relay)),
            Phase::Idle
            | Phase::Waiting { .. }
            | Phase::Dialing { .. }
            | Phase::Draining { .. } => None,
        }
    }

    /// Compares the derived states with the last emitted ones (CONN-1).
    pub(crate) fn show(&mut self, ctx: &mut Context<'_>) {
        if let Some((session, relay)) = self.session() {
            session.check_pass(relay, ctx);
        }
        let (status, health) = (self.status(), self.health(ctx));
        let (id, reason) = (self.relay.id, self.relay.why);
        let from = core::mem::replace(&mut self.relay.shown, (status, health));
        if from.0 != status {
            ctx.emit(Event::StatusChanged { relay: id, from: from.0, to: status, reason });
        }
        if from.1 != health {
            ctx.emit(Event::HealthChanged { relay: id, from: from.1, to: health, reason });
        }
    }

    fn is_wanted(&self, ctx: &Context<'_>) -> bool {
        ctx.shared.want.is_target(self.relay.id)
            && !self.relay.paused
            && !self.relay.is_self
            && ctx.config.looks_at(&self.relay.url)
            && !ctx.shared.shutdown
    }

    fn go_online(&mut self, conn: ConnId, ctx: &mut Context<'_>) {
        let relay = &mut self.relay;
        relay.why = Reason::ConnectOk;
        // Read before it is written: the first contact is a start, not a reconnect (H-02).
        let trigger = match relay.pass_finished_here {
            true => Trigger::Reconnect,
            false => Trigger::Startup,
        };
        let fresh = relay.is_fresh(ctx);
        relay.last_connected = Some(ctx.wall);
        relay.failed_dials = 0;
        relay.limits.age(ctx.wall, ctx.config);
        let agenda = &mut ctx.shared.agenda;
        agenda.arm(Some(relay.id), Timer::Stable, ctx.now + ctx.config.health.stable_after);
        agenda.arm(Some(relay.id), Timer::LiveWrite, ctx.now + ctx.config.sync.live_write);
        let failures = relay.health.failures;
        ctx.emit(Event::DialEnded { relay: relay.id, result: Ok(()), failures, retry_in_ms: None });
        relay.persist(ctx);
        let mut session = Box::new(Session::new(conn, ctx.now));
        session.fresh = fresh;
        session.begin_pass(trigger, relay, ctx);
        session.plan_all(relay, ctx, true);
        session.retry_gaps(true, relay, ctx);
        self.phase = Phase::Online(session);
    }

    /// A connection ended (CONN-3): everything of it goes, coverage stays.
    pub(crate) fn on_closed(&mut self, reason: CloseReason, ctx: &mut Context<'_>) {
        let id = self.relay.id;
        match core::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle | Phase::Waiting { .. } => {}
            Phase::Dialing { .. } => {
                // A socket that ended before its dial was answered is a failed dial.
                let detail = crate::item::RelayText::default();
                let error = DialError { kind: DialErrorKind::Io, detail };
                self.phase = Phase::Dialing { conn: ConnId { relay: id, epoch: self.relay.epoch } };
                self.on_dialed(Err(error), ctx);
            }
            Phase::Draining { .. } => {
                ctx.shared.agenda.cancel_where(id, ends_with_connection);
                let failures = self.relay.health.failures;
                let ended =
                    Event::ConnectionEnded { relay: id, reason, failures, retry_in_ms: None };
                ctx.emit(ended);
                self.follow_want(Reason::Discovered, ctx);
            }
            Phase::Online(session) => self.lose(&session, reason, ctx),
        }
    }

    fn lose(&mut self, session: &Session, reason: CloseReason, ctx: &mut Context<'_>) {
        let relay = &mut self.relay;
        relay.why = match &reason {
            CloseReason::Remote(_) => Reason::ClosedByRelay,
            CloseReason::Silence => Reason::PingTimeout,
            CloseReason::Local
            | CloseReason::Io(_)
            | CloseReason::Oversize
            | CloseReason::Protocol(_)
            | CloseReason::SendQueueFull
            | CloseReason::Flood => Reason::ConnectionLost,
        };
        self.end_session(session, ctx);
        let relay = &mut self.relay;
        let stable = ctx.now.since(session.since) >= *ctx.config.health.stable_after;
        if !stable {
            relay.fail(ctx.wall);
        }
        relay.persist(ctx);
        let retry_in_ms = self.is_wanted(ctx).then(|| {
            let relay = &mut self.relay;
            let backoff = relay.health.backoff(ctx.wall, &ctx.config.health, &mut relay.rng);
            let delay = backoff.max(*ctx.config.sync.reconnect_delay);
            self.wait(delay, ctx);
            delay.as_millis() as u64
        });
        let (relay, failures) = (self.relay.id, self.relay.health.failures);
        ctx.emit(Event::ConnectionEnded { relay, reason, failures, retry_in_ms });
    }

    /// What of a connection outlives it: the history that its walks finished (HIST-6).
    fn end_session(&mut self, session: &Session, ctx: &mut Context<'_>) {
        let relay = &mut self.relay;
        relay.disconnected_at = Some(ctx.wall);
        for batch in session.batches.values() {
            ctx.shared.want.discovering -= u32::from(batch.discovers());
            relay.keep_cut(batch, ctx);
        }
        // Last: naming a gap arms its retry.
        ctx.shared.agenda.cancel_where(relay.id, ends_with_connection);
        if let Some(pass) = session.pass {
            ctx.emit(Event::PassEnded {
                relay: relay.id,
                trigger: pass.trigger,
                result: PassResult::Cancelled,
                took_ms: ctx.now.since(pass.began).as_millis() as u64,
            });
        }
    }

    /// Closes on purpose, in every phase.
    pub(crate) fn hang_up(&mut self, reason: Reason, ctx: &mut Context<'_>) {
        let id = self.relay.id;
        let conn = match core::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Dialing { conn } => conn,
            Phase::Online(session) => {
                let conn = session.conn;
                self.end_session(&session, ctx);
                self.close_all(&session, ctx);
                conn
            }
            other @ (Phase::Idle | Phase::Waiting { .. } | Phase::Draining { .. }) => {
                self.phase = other;
                return;
            }
        };
        self.relay.why = reason;
        ctx.shared.agenda.cancel_where(id, ends_with_connection);
        ctx.command(Command::Hangup { conn });
        ctx.shared.agenda.arm(Some(id), Timer::Drain, ctx.now + ctx.config.dial.drain);
        self.phase = Phase::Draining { conn };
        self.relay.persist(ctx);
    }

    fn close_all(&self, session: &Session, ctx: &mut Context<'_>) {
        for (sub, state) in &session.subs {
            if !state.closed {
                ctx.command(Command::Unsubscribe { conn: session.conn, sub: *sub });
            }
        }
        for neg in session.negs.keys() {
            ctx.command(Command::StopReconcile { conn: session.conn, neg: *neg });
        }
    }
}

/// A cooldown belongs to the relay, every other timer to its connection (TALK-2).
fn ends_with_connection(timer: Timer) -> bool {
    timer != Timer::Cooldown
}
