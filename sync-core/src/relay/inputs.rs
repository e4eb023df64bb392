//! Inputs of one relay, and what an operator asks of it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::context::Context;
use crate::id::{RowId, SubId};
use crate::input::Input;
use crate::item::{GapReason, Item};
use crate::relay::gaps::daily;
use crate::relay::negentropy::Found;
use crate::relay::session::{Session, Sub};
use crate::relay::{Phase, RelayMachine};
use crate::status::Reason;
use crate::want::Delta;

impl RelayMachine {
    /// Takes an input of the current connection; `false` when it names nothing that is open.
    pub(crate) fn on_input(&mut self, input: Input, ctx: &mut Context<'_>) -> bool {
        match input {
            Input::Dialed { result, .. } => self.on_dialed(result, ctx),
            Input::Closed { reason, .. } => self.on_closed(reason, ctx),
            Input::Stalled { .. } => self.on_stalled(true, ctx),
            Input::Flowing { .. } => self.on_stalled(false, ctx),
            Input::Frame { frame, .. } => return self.on_frame(frame, ctx),
            Input::RelayInfo { limits, self_key, .. } => {
                self.relay.limits.on_info(&limits);
                self.relay.learn_announced(limits.negentropy, ctx);
                let own = ctx.config.identity.key.as_deref();
                if self_key.is_some_and(|key| own == Some(key.to_hex().as_str())) {
                    self.relay.is_self = true; // DISC-5
                    self.follow_want(Reason::Removed, ctx);
                }
            }
            input => return self.on_session_input(input, ctx),
        }
        true
    }

    fn on_session_input(&mut self, input: Input, ctx: &mut Context<'_>) -> bool {
        let Some((session, relay)) = self.session() else { return false };
        match input {
            Input::Events(tally) => session.on_events(&tally, relay, ctx),
            Input::Settled(tally) => {
                for id in &tally.ids {
                    ctx.shared.want.mark_done(*id);
                }
                session.on_settled(&tally, relay, ctx)
            }
            Input::NegRound { neg, round, bytes, .. } => {
                session.on_neg_round(neg, round, bytes, relay, ctx)
            }
            Input::Reconciled { neg, need, have, bytes, outcome, .. } => {
                session.on_reconciled(neg, &Found { need, have, bytes, outcome }, relay, ctx)
            }
            _ => true,
        }
    }

    fn on_stalled(&mut self, stalled: bool, ctx: &mut Context<'_>) {
        let Some((session, relay)) = self.session() else { return };
        session.stalled = stalled;
        if stalled {
            session.stop_deadlines(relay, ctx);
        } else {
            session.restart_deadlines(relay, ctx);
        }
    }

    /// What is wanted from this relay changed.
    pub(crate) fn on_delta(&mut self, delta: &Delta, ctx: &mut Context<'_>) {
        if !delta.removed.is_empty() {
            // Nothing is claimed or missing of them.
            let gone: Vec<Item> = delta.removed.iter().cloned().collect();
            let rows: Vec<RowId> = self.relay.coverage.gaps().map(|(row, _)| row).collect();
            let changes = self.relay.coverage.unprove(&gone);
            ctx.persist(changes);
            self.relay.close_gaps(rows, &gone, ctx);
        }
        let mut unproven = delta.raised.clone();
        unproven.extend(delta.unproven.iter().cloned());
        if !unproven.is_empty() {
            let changes = self.relay.coverage.unprove(&unproven);
            ctx.persist(changes);
        }
        let Some((session, relay)) = self.session() else { return };
        session.drop_items(&delta.removed);
        // A raised item is asked for anew, by a live request of its new level.
        let raised = delta.raised.iter().cloned().collect();
        session.drop_items(&raised);
        session.close_empty_live(relay, ctx);
        let dropped = unproven.iter().cloned().collect();
        session.drop_work(&dropped);
        let mut added: BTreeMap<Item, bool> = delta.added.iter().cloned().collect();
        added.extend(unproven.into_iter().map(|item: Item| (item, true)));
        if !added.is_empty() {
            session.plan_added(&added, relay, ctx);
        }
    }

    /// Disconnects and stays so, or undoes that.
    pub(crate) fn pause(&mut self, paused: bool, ctx: &mut Context<'_>) {
        self.relay.paused = paused;
        self.relay.persist(ctx);
        let reason = if paused { Reason::Paused } else { Reason::RetryDue };
        self.follow_want(reason, ctx);
    }

    /// Dials now, if it waits; a cooldown is kept (TALK-2).
    pub(crate) fn retry_now(&mut self, ctx: &mut Context<'_>) {
        if let Phase::Waiting { .. } = self.phase {
            self.relay.why = Reason::RetryDue;
            match self.relay.is_cooling(ctx.now) {
                true => self.wait(Duration::ZERO, ctx),
                false => self.dial_now(ctx),
            }
        }
    }

    /// A person accepts gaps: listed still, tried again daily, no longer degraded (CONN-9).
    pub(crate) fn accept_gap(&mut self, gap: Option<RowId>, ctx: &mut Context<'_>) {
        let rows: Vec<RowId> = self
            .relay
            .coverage
            .gaps()
            .map(|(row, _)| row)
            .filter(|row| gap.is_none_or(|only| only == *row))
            .collect();
        for row in rows {
            let retry_at = daily(ctx.wall);
            let change = self.relay.coverage.update_gap(row, |gap| {
                gap.accepted = true;
                gap.retry_at = retry_at;
            });
            ctx.persist(change);
        }
        self.relay.why = Reason::GapClosed;
        if let Phase::Online(_) = self.phase {
            self.relay.arm_refetch(ctx);
        }
    }

    /// Whether something is missing that `sync` does not wait for: it is named already.
    pub(crate) fn has_named_gaps(&self) -> bool {
        self.relay.coverage.gaps().any(|(_, gap)| gap.reason != GapReason::Cut)
    }
}

impl Session {
    /// Whether a subscription is a live request after its EOSE: its events are no history.
    pub(crate) fn is_standing(&self, sub: SubId) -> bool {
        self.subs.get(&sub).is_some_and(Sub::is_standing)
    }

    /// Whether nothing is queued or pending.
    pub(crate) fn is_idle(&self) -> bool {
        self.pass.is_none()
            && self.waiting.is_empty()
            && self.batches.is_empty()
            && self.live.values().all(|live| live.then.is_empty())
            && self.again.is_empty()
    }
}
