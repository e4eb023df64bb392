//! From wanted to dialed: jitter, backoff, the global budget (CONN-8, HLTH-1, DISC-7).

use core::time::Duration;

use crate::agenda::Timer;
use crate::command::Command;
use crate::context::Context;
use crate::event::Event;
use crate::id::ConnId;
use crate::input::{CloseReason, DialError, DialErrorKind};
use crate::relay::{Phase, RelayMachine};
use crate::status::Reason;

impl RelayMachine {
    /// Dials what is wanted and idle; hangs up what is not wanted any more (DISC-7).
    pub(crate) fn follow_want(&mut self, reason: Reason, ctx: &mut Context<'_>) {
        let wanted = self.is_wanted(ctx);
        match (&self.phase, wanted) {
            (Phase::Idle, true) if ctx.shared.booted => {
                self.relay.why = reason;
                let delay = self.first_delay(reason, ctx);
                self.wait(delay, ctx);
            }
            (Phase::Waiting { .. }, false) => {
                self.relay.why = reason;
                ctx.shared.agenda.cancel(Some(self.relay.id), Timer::Retry);
                self.phase = Phase::Idle;
            }
            (Phase::Dialing { .. } | Phase::Online(_), false) => self.hang_up(reason, ctx),
            (Phase::Idle | Phase::Draining { .. }, _)
            | (Phase::Waiting { .. } | Phase::Dialing { .. } | Phase::Online(_), true) => {}
        }
    }

    /// Jitter before the first dial (CONN-8); the backoff of a relay that failed already and is
    /// wanted anew.
    fn first_delay(&mut self, reason: Reason, ctx: &Context<'_>) -> Duration {
        let relay = &mut self.relay;
        if reason == Reason::RetryDue {
            return Duration::ZERO; // an operator asked
        }
        if relay.failures_here > 0 {
            return relay.health.backoff(ctx.wall, &ctx.config.health, &mut relay.rng);
        }
        let mut rng = relay.rng.clone();
        let sync = &ctx.config.sync;
        if ctx.config.once {
            return Duration::ZERO;
        }
        let jitter = match ctx.shared.want.is_bootstrap(self.relay.id) {
            true => *sync.bootstrap_jitter,
            false => *sync.startup_jitter,
        };
        *sync.startup_delay + rng.span(Duration::ZERO, jitter)
    }

    /// Arms the next dial, not before a cooldown ends.
    pub(crate) fn wait(&mut self, delay: Duration, ctx: &mut Context<'_>) {
        let cooldown = self.relay.health.cooldown_until.unwrap_or(ctx.now);
        let at = (ctx.now + delay).max(cooldown);
        self.phase = Phase::Waiting { granted: false };
        if at <= ctx.now {
            self.dial(ctx);
        } else {
            ctx.shared.agenda.arm(Some(self.relay.id), Timer::Retry, at);
        }
    }

    /// Dials with the next free slot of the global budget (CONN-8).
    pub(crate) fn dial(&mut self, ctx: &mut Context<'_>) {
        if !matches!(self.phase, Phase::Waiting { granted: true }) {
            let at = ctx.shared.dials.reserve(ctx.now, ctx.config.dial.per_second);
            if at > ctx.now {
                self.phase = Phase::Waiting { granted: true };
                return ctx.shared.agenda.arm(Some(self.relay.id), Timer::Retry, at);
            }
        }
        self.dial_now(ctx);
    }

    /// Dials.
    pub(crate) fn dial_now(&mut self, ctx: &mut Context<'_>) {
        let relay = &mut self.relay;
        ctx.shared.agenda.cancel(Some(relay.id), Timer::Retry);
        if relay.dialed {
            relay.why = Reason::RetryDue;
        }
        relay.dialed = true;
        relay.epoch += 1;
        let conn = ConnId { relay: relay.id, epoch: relay.epoch };
        let trusted = ctx.shared.want.is_bootstrap(relay.id) || ctx.config.is_named(&relay.url);
        ctx.command(Command::Dial { conn, url: relay.url.clone(), trusted });
        let dial = &ctx.config.dial;
        let stages =
            *dial.dns_timeout + *dial.tcp_timeout + *dial.tls_timeout + *dial.upgrade_timeout;
        // The shell keeps the deadline of each stage; this one only holds if it does not answer.
        let at = ctx.now + stages + Duration::from_secs(5);
        ctx.shared.agenda.arm(Some(relay.id), Timer::Dial, at);
        self.phase = Phase::Dialing { conn };
    }

    /// A dial ended.
    pub(crate) fn on_dialed(&mut self, result: Result<(), DialError>, ctx: &mut Context<'_>) {
        let conn = match self.phase {
            Phase::Dialing { conn } => conn,
            // It was hung up meanwhile: a failed dial leaves nothing to close.
            Phase::Draining { .. } if result.is_err() => {
                return self.on_closed(CloseReason::Local, ctx);
            }
            Phase::Draining { .. } | Phase::Idle | Phase::Waiting { .. } | Phase::Online(_) => {
                return;
            }
        };
        let id = self.relay.id;
        ctx.shared.agenda.cancel(Some(id), Timer::Dial);
        match result {
            Ok(()) => self.go_online(conn, ctx),
            Err(error) => {
                self.relay.why = dial_reason(error.kind);
                self.relay.fail(ctx.wall);
                self.relay.failed_dials += 1;
                let retry = self.wait_backoff(ctx);
                let failures = self.relay.health.failures;
                let retry_in_ms = Some(retry.as_millis() as u64);
                ctx.emit(Event::DialEnded { relay: id, result: Err(error), failures, retry_in_ms });
                self.relay.persist(ctx);
            }
        }
    }

    fn wait_backoff(&mut self, ctx: &mut Context<'_>) -> Duration {
        let relay = &mut self.relay;
        let backoff = relay.health.backoff(ctx.wall, &ctx.config.health, &mut relay.rng);
        self.wait(backoff, ctx);
        backoff
    }
}

fn dial_reason(kind: DialErrorKind) -> Reason {
    match kind {
        DialErrorKind::Dns | DialErrorKind::Resolver => Reason::DnsError,
        DialErrorKind::Guard => Reason::Guarded,
        DialErrorKind::Refused => Reason::Refused,
        DialErrorKind::Timeout => Reason::ConnectTimeout,
        DialErrorKind::Certificate | DialErrorKind::Tls => Reason::TlsError,
        DialErrorKind::Upgrade | DialErrorKind::Proxy => Reason::HttpError,
        DialErrorKind::Unreachable | DialErrorKind::Io => Reason::ConnectionLost,
    }
}
