//! What each timer of a relay does when it fires (T3: once, with the real `now`).

use nostr::types::Timestamp;

use crate::agenda::Timer;
use crate::context::Context;
use crate::event::Trigger;
use crate::input::{CloseReason, DialError, DialErrorKind};
use crate::item::RelayText;
use crate::relay::batch::Scope;
use crate::relay::{Phase, RelayMachine};
use crate::status::Reason;

impl RelayMachine {
    /// A timer of this relay fired.
    pub(crate) fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_>) {
        match timer {
            Timer::DiscoveryWindow | Timer::Later => {}
            Timer::Retry => {
                if matches!(self.phase, Phase::Waiting { .. }) {
                    self.dial(ctx);
                }
            }
            Timer::Dial => self.on_dial_unanswered(ctx),
            Timer::Drain => {
                if matches!(self.phase, Phase::Draining { .. }) {
                    self.on_closed(CloseReason::Local, ctx);
                }
            }
            Timer::Stable => {
                self.relay.health.on_stable();
                self.relay.why = Reason::StabilityElapsed;
                self.relay.persist(ctx);
            }
            Timer::Cooldown => {
                self.relay.health.cooldown_until = None;
                self.relay.why = Reason::CooldownElapsed;
                if let Some((session, relay)) = self.session() {
                    session.on_cooldown_over(relay, ctx);
                }
            }
            Timer::LiveWrite => self.on_live_write(ctx),
            Timer::Settle
            | Timer::Refetch
            | Timer::Audit
            | Timer::Daily
            | Timer::LiveWait(_)
            | Timer::Eose(_)
            | Timer::Neg(_) => self.on_session_timer(timer, ctx),
        }
    }

    fn on_session_timer(&mut self, timer: Timer, ctx: &mut Context<'_>) {
        let Some((session, relay)) = self.session() else { return };
        match timer {
            Timer::Settle => session.on_settle_slow(relay, ctx),
            Timer::Refetch => session.retry_gaps(false, relay, ctx),
            Timer::Audit => {
                let window = ctx.config.sync.audit_window.as_secs();
                let since = Timestamp::from_secs(ctx.wall.as_secs().saturating_sub(window));
                session.maintain_all(Scope::Since(since), relay, ctx);
                let at = ctx.now + ctx.config.sync.audit_interval;
                ctx.shared.agenda.arm(Some(relay.id), Timer::Audit, at);
            }
            Timer::Daily => {
                session.maintain_all(Scope::Full, relay, ctx);
                let sync = &ctx.config.sync;
                let next = relay.rng.span(*sync.resync_min, *sync.resync_max);
                ctx.shared.agenda.arm(Some(relay.id), Timer::Daily, ctx.now + next);
            }
            Timer::LiveWait(sub) => session.on_live_wait(sub, relay, ctx),
            Timer::Eose(sub) => session.on_timeout(sub, relay, ctx),
            Timer::Neg(neg) => session.on_neg_timeout(neg, relay, ctx),
            Timer::DiscoveryWindow
            | Timer::Later
            | Timer::LiveWrite
            | Timer::Retry
            | Timer::Dial
            | Timer::Drain
            | Timer::Stable
            | Timer::Cooldown => {}
        }
    }

    fn on_dial_unanswered(&mut self, ctx: &mut Context<'_>) {
        let Phase::Dialing { conn } = self.phase else { return };
        ctx.command(crate::command::Command::Hangup { conn });
        let detail = RelayText::default();
        self.on_dialed(Err(DialError { kind: DialErrorKind::Timeout, detail }), ctx);
    }

    fn on_live_write(&mut self, ctx: &mut Context<'_>) {
        let wall = ctx.wall;
        let Some((session, relay)) = self.session() else { return };
        session.mark_live(wall, relay, ctx);
        let at = ctx.now + ctx.config.sync.live_write;
        ctx.shared.agenda.arm(Some(relay.id), Timer::LiveWrite, at);
    }

    /// What was rejected under another policy may be wanted (REJ-1): no claim holds, and what is
    /// pending proves nothing.
    pub(crate) fn on_policy_changed(&mut self, ctx: &mut Context<'_>) {
        let changes = self.relay.coverage.unprove_all();
        ctx.persist(changes);
        if let Some((session, relay)) = self.session() {
            let all = ctx.shared.want.needed(relay.id).cloned().unwrap_or_default();
            session.drop_work(&all);
        }
        self.resync(Trigger::Manual, ctx);
    }

    /// Every item is to be proven again now (an operator's request, a new policy).
    pub(crate) fn resync(&mut self, trigger: Trigger, ctx: &mut Context<'_>) {
        self.relay.resync_due = true;
        let Some((session, relay)) = self.session() else { return };
        relay.why = Reason::Resync;
        session.begin_pass(trigger, relay, ctx);
        session.done.clear();
        relay.hasten(|_| true, ctx);
        session.replan_full(relay, ctx);
    }
}
