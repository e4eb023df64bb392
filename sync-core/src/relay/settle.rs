//! The pass and its causal double-check (HIST-8): it ends when nothing of it is pending, every
//! event that it received is settled, and the discovery window holds nothing that it brought.
//! The timer only reports.

use crate::agenda::Timer;
use crate::context::Context;
use crate::event::{Event, PassResult, Trigger};
use crate::relay::Relay;
use crate::relay::session::Session;
use crate::status::Reason;
use crate::time::Instant;

/// An unfinished pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    pub(crate) trigger: Trigger,
    pub(crate) began: Instant,
}

impl Session {
    /// Begins a pass, unless one is unfinished.
    pub(crate) fn begin_pass(&mut self, trigger: Trigger, relay: &Relay, ctx: &mut Context<'_>) {
        if self.pass.is_none() {
            self.pass = Some(Pass { trigger, began: ctx.now });
            ctx.emit(Event::PassStarted { relay: relay.id, trigger });
        }
    }

    /// Whether work of the pass is queued, waits for a live request, or is in a batch.
    fn is_pass_pending(&self) -> bool {
        self.waiting.iter().any(|work| work.pass)
            || self.live.values().any(|live| live.then.iter().any(|work| work.pass))
            || self.batches.values().any(|batch| batch.work.pass)
            || self.again.values().any(|pass| *pass)
    }

    /// Both looks of the double-check; called after every input (S1).
    pub(crate) fn check_pass(&mut self, relay: &mut Relay, ctx: &mut Context<'_>) {
        let Some(pass) = self.pass else { return };
        if self.is_pass_pending() {
            ctx.shared.agenda.cancel(Some(relay.id), Timer::Settle);
            return;
        }
        if self.unsettled() > 0 || ctx.shared.want.holds(self.conn) {
            if ctx.shared.agenda.at(Some(relay.id), Timer::Settle).is_none() {
                let at = ctx.now + ctx.config.sync.settle_fallback;
                ctx.shared.agenda.arm(Some(relay.id), Timer::Settle, at);
            }
            return;
        }
        ctx.shared.agenda.cancel(Some(relay.id), Timer::Settle);
        self.pass = None;
        let partial = relay.coverage.is_degraded();
        relay.why = if partial { Reason::BatchFailed } else { Reason::HistoricComplete };
        relay.pass_finished_at = Some(ctx.wall);
        relay.pass_finished_here = true;
        relay.failures_here = 0;
        relay.resync_due = false;
        relay.persist(ctx);
        ctx.emit(Event::PassEnded {
            relay: relay.id,
            trigger: pass.trigger,
            result: if partial { PassResult::Partial } else { PassResult::Ok },
            took_ms: ctx.now.since(pass.began).as_millis() as u64,
        });
        self.after_pass(pass.trigger, relay, ctx);
    }

    /// The wait is long: says what for, and goes on waiting.
    pub(crate) fn on_settle_slow(&mut self, relay: &Relay, ctx: &mut Context<'_>) {
        if self.pass.is_some() {
            let window = ctx.shared.want.holds(self.conn);
            let unsettled = self.unsettled();
            ctx.emit(Event::SettleSlow { relay: relay.id, unsettled, window });
        }
    }
}
