//! Frames of a relay and what they change: EOSE, CLOSED, NOTICE, NEG-ERR (TALK-1, TALK-2).

use alloc::vec::Vec;
use core::time::Duration;

use crate::agenda::Timer;
use crate::command::Command;
use crate::context::Context;
use crate::event::{Event, NegFallback};
use crate::id::{NegId, SubId};
use crate::input::Frame;
use crate::item::{GapReason, RelayText};
use crate::relay::closed::{self, Meaning};
use crate::relay::limits::Limits;
use crate::relay::session::{Role, Session};
use crate::relay::{Relay, RelayMachine};

/// A NOTICE about subscriptions concerns requests that were opened this recently (TALK-2).
const NOTICE_REACH: Duration = Duration::from_secs(10);

impl RelayMachine {
    /// Takes a frame; `false` when it names nothing that is open.
    pub(crate) fn on_frame(&mut self, frame: Frame, ctx: &mut Context<'_>) -> bool {
        let Some((session, relay)) = self.session() else { return false };
        match frame {
            Frame::Eose { sub, hints } => session.on_eose(sub, hints, relay, ctx),
            Frame::Closed { sub, text } => session.on_closed_frame(sub, &text, relay, ctx),
            Frame::Notice { text } => {
                session.on_notice(&text, relay, ctx);
                true
            }
            Frame::NegErr { neg, text, limit } => {
                // The size that it takes says that the refusal is for size (HIST-4).
                let why = NegFallback::Refused;
                match limit {
                    Some(_) => session.on_neg_too_large(neg, why, relay, ctx),
                    None => session.on_neg_refused(neg, &text, why, relay, ctx),
                }
            }
            Frame::Ok { accepted, .. } => {
                session.on_ok(accepted, relay, ctx);
                true
            }
            Frame::Auth { challenge } => {
                // The shell has the key of this relay, or none and says nothing.
                session.challenged = true;
                ctx.command(Command::Authenticate { conn: session.conn, challenge });
                true
            }
        }
    }
}

impl Session {
    fn on_closed_frame(
        &mut self,
        id: SubId,
        text: &RelayText,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) -> bool {
        let neg = NegId(id.0);
        if self.negs.contains_key(&neg) {
            return self.on_neg_refused(neg, text, NegFallback::Closed, relay, ctx);
        }
        let open = self.open_count();
        let Some(sub) = self.subs.get_mut(&id).filter(|sub| !sub.closed) else { return false };
        let whole = sub.eose && sub.role != Role::Live;
        sub.closed = true; // S3: the relay ended it, no CLOSE of ours follows
        if !whole {
            match closed::closed(text.as_str()) {
                Meaning::SubscriptionLimit if open > Limits::FLOOR => {
                    relay.limits.on_subscription_limit(open, ctx.wall);
                    self.ask_again(id, relay, ctx);
                }
                Meaning::RateLimit => {
                    self.ask_again(id, relay, ctx);
                    self.cool_down(text, relay, ctx);
                }
                Meaning::Reshape
                    if self.is_live_sub(id) && relay.limits.refuse_limit_0(ctx.wall) =>
                {
                    self.ask_again(id, relay, ctx);
                }
                // A relay that refuses the fewest that we can do with is asked after a backoff.
                meaning @ (Meaning::SubscriptionLimit
                | Meaning::Reshape
                | Meaning::AuthRequired
                | Meaning::Refused
                | Meaning::Retry) => self.fail_request(id, meaning.gap(), text, relay, ctx),
            }
        }
        self.retire(id, relay, ctx);
        self.run(relay, ctx);
        true
    }

    /// An OK after a challenge may be the one to our AUTH: what waits for it is asked again.
    fn on_ok(&mut self, accepted: bool, relay: &mut Relay, ctx: &mut Context<'_>) {
        if accepted && core::mem::take(&mut self.challenged) {
            relay.hasten(|gap| gap.reason == GapReason::AuthRequired, ctx);
            self.retry_gaps(false, relay, ctx);
        }
    }

    fn is_live_sub(&self, id: SubId) -> bool {
        self.live.contains_key(&id)
    }

    fn on_notice(&mut self, text: &RelayText, relay: &mut Relay, ctx: &mut Context<'_>) {
        match closed::notice(text.as_str()) {
            Some(Meaning::SubscriptionLimit) => {
                let open = self.open_count();
                relay.limits.on_subscription_limit(open, ctx.wall);
                self.reopen_recent(open > Limits::FLOOR, text, relay, ctx);
            }
            Some(_) => self.cool_down(text, relay, ctx),
            None if self.only_negs_outstanding() => {
                let open: Vec<NegId> = self.negs.keys().copied().collect();
                for neg in open {
                    self.on_neg_refused(neg, text, NegFallback::Notice, relay, ctx);
                }
            }
            None => ctx.emit(Event::Notice { relay: relay.id, text: text.clone() }),
        }
        self.run(relay, ctx);
    }

    /// Whether NEG-OPENs are all that waits for a first answer (HIST-4).
    fn only_negs_outstanding(&self) -> bool {
        !self.negs.is_empty()
            && self.negs.values().all(|neg| !neg.answered)
            && self.subs.values().all(|sub| sub.eose || sub.closed)
    }

    /// A bare NOTICE: any request without an EOSE may be the one that is not served.
    fn reopen_recent(
        &mut self,
        again: bool,
        text: &RelayText,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        let recent: Vec<SubId> = self
            .subs
            .iter()
            .filter(|(_, sub)| !sub.closed && !sub.eose)
            .filter(|(_, sub)| ctx.now.since(sub.opened) <= NOTICE_REACH)
            .map(|(id, _)| *id)
            .collect();
        for id in recent {
            self.close_sub_after(id, relay, ctx, |session, relay, ctx| match again {
                true => session.ask_again(id, relay, ctx),
                false => session.fail_request(id, GapReason::Closed, text, relay, ctx),
            });
        }
    }

    /// The relay asked for less: nothing is sent until the cooldown ends; open pages stay open,
    /// their deadlines stand still, reconciliations begin again (TALK-2).
    fn cool_down(&mut self, text: &RelayText, relay: &mut Relay, ctx: &mut Context<'_>) {
        let was_cooling = relay.is_cooling(ctx.now);
        if !was_cooling {
            self.pause_negs(relay, ctx);
        }
        let cooldown = ctx.config.health.cooldown;
        let until = ctx.now + cooldown;
        relay.health.cooldown_until = Some(until);
        relay.why = crate::status::Reason::RateLimited;
        ctx.shared.agenda.arm(Some(relay.id), Timer::Cooldown, until);
        self.stop_deadlines(relay, ctx);
        relay.persist(ctx);
        ctx.emit(Event::RateLimited {
            relay: relay.id,
            text: text.clone(),
            cooldown_ms: cooldown.as_millis() as u64,
        });
    }

    /// The cooldown is over: what was open and has no EOSE is closed and asked again.
    pub(crate) fn on_cooldown_over(&mut self, relay: &mut Relay, ctx: &mut Context<'_>) {
        let unanswered: Vec<SubId> = self
            .subs
            .iter()
            .filter(|(_, sub)| !sub.closed && !sub.eose)
            .map(|(id, _)| *id)
            .collect();
        for id in unanswered {
            self.close_sub_after(id, relay, ctx, |session, relay, ctx| {
                session.ask_again(id, relay, ctx);
            });
        }
        self.run(relay, ctx);
    }

    /// Deadlines of requests stand still (CONN-7).
    pub(crate) fn stop_deadlines(&self, relay: &Relay, ctx: &mut Context<'_>) {
        ctx.shared.agenda.cancel_where(relay.id, |timer| {
            matches!(timer, Timer::Eose(_) | Timer::LiveWait(_) | Timer::Neg(_))
        });
    }

    /// Deadlines of requests run again, in full.
    pub(crate) fn restart_deadlines(&self, relay: &Relay, ctx: &mut Context<'_>) {
        for (id, sub) in &self.subs {
            if !sub.eose && !sub.closed {
                let at = ctx.now + ctx.config.sync.eose_timeout;
                self.arm(Timer::Eose(*id), at, relay, ctx);
            }
        }
        for (id, live) in &self.live {
            if !live.answered && !live.then.is_empty() {
                let at = ctx.now + ctx.config.sync.live_wait;
                self.arm(Timer::LiveWait(*id), at, relay, ctx);
            }
        }
        for neg in self.negs.keys() {
            let at = ctx.now + ctx.config.sync.neg_timeout;
            self.arm(Timer::Neg(*neg), at, relay, ctx);
        }
    }
}
