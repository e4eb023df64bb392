//! What is missing and named: gaps are opened when a batch could not prove something, tried again
//! with backoff, and closed by proof (HIST-6, HIST-9, CONN-9).

use alloc::vec::Vec;
use core::time::Duration;

use nostr::types::Timestamp;

use crate::agenda::Timer;
use crate::context::Context;
use crate::event::Event;
use crate::id::RowId;
use crate::item::{GapReason, Item, Range};
use crate::ledger::Gap;
use crate::relay::Relay;
use crate::relay::batch::{Batch, Missing, Scope, Work};
use crate::relay::session::Session;
use crate::status::Reason;

impl Relay {
    /// The gap is under way: it is not due again before its next turn.
    pub(crate) fn postpone(&mut self, row: RowId, ctx: &Context<'_>) {
        let tries = self.coverage.gap(row).map_or(0, |gap| gap.tries);
        let at = retry_at(tries + 1, ctx);
        // In memory only: a restart tries at once.
        let _ = self.coverage.update_gap(row, |gap| gap.retry_at = at);
    }

    /// Names what is missing of items.
    pub(crate) fn open_gap(
        &mut self,
        items: Vec<Item>,
        missing: &Missing,
        tries: u32,
        ctx: &mut Context<'_>,
    ) {
        let count = items.len() as u32;
        let gap = Gap {
            items,
            range: missing.range,
            reason: missing.reason,
            since: ctx.wall,
            tries: tries + 1,
            retry_at: retry_at(tries + 1, ctx),
            accepted: false,
            detail: missing.detail.clone(),
            ids: missing.ids.clone(),
        };
        self.why = Reason::BatchFailed;
        let (row, change) = self.coverage.open_gap(gap);
        ctx.persist([change]);
        ctx.emit(Event::GapOpened {
            relay: self.id,
            row,
            items: count,
            range: missing.range,
            reason: missing.reason,
            detail: missing.detail.clone(),
        });
        self.arm_refetch(ctx);
    }

    /// A batch ended: what it could not prove is named; the gap that it was to close closes, or
    /// stands with one more try.
    pub(crate) fn record_missing(
        &mut self,
        batch: &Batch,
        missing: &[Missing],
        ctx: &mut Context<'_>,
    ) {
        let mut tries = 0;
        let mut rest = missing;
        if let Some(row) = batch.work.gap
            && let Some(old) = self.coverage.gap(row)
        {
            tries = old.tries;
            match missing.split_first() {
                None => self.close_gap(row, ctx),
                Some((first, others)) => {
                    rest = others;
                    let accepted = old.accepted;
                    let retry = if accepted { daily(ctx.wall) } else { retry_at(tries + 1, ctx) };
                    let change = self.coverage.update_gap(row, |gap| {
                        gap.range = first.range;
                        gap.reason = first.reason;
                        gap.detail = first.detail.clone();
                        gap.ids = first.ids.clone();
                        gap.tries = tries + 1;
                        gap.retry_at = retry;
                    });
                    ctx.persist(change);
                }
            }
        }
        for missing in rest {
            if !batch.work.items.is_empty() {
                self.open_gap(batch.work.items.clone(), missing, tries, ctx);
            }
        }
        self.arm_refetch(ctx);
    }

    fn close_gap(&mut self, row: RowId, ctx: &mut Context<'_>) {
        if let Some(change) = self.coverage.close_gap(row) {
            self.why = Reason::GapClosed;
            ctx.persist([change]);
            ctx.emit(Event::GapClosed { relay: self.id, row });
        }
    }

    /// Arms the retry of the gap that is due first.
    pub(crate) fn arm_refetch(&self, ctx: &mut Context<'_>) {
        let first = self.coverage.gaps().map(|(_, gap)| gap.retry_at).min();
        match first {
            Some(at) => {
                let at = ctx.instant_of(at).max(ctx.now + Duration::from_secs(1));
                ctx.shared.agenda.arm(Some(self.id), Timer::Refetch, at);
            }
            None => ctx.shared.agenda.cancel(Some(self.id), Timer::Refetch),
        }
    }
}

impl Session {
    /// Tries gaps again whose time has come; at the start of a connection also those that were
    /// only cut (HIST-6, HIST-9).
    pub(crate) fn retry_gaps(&mut self, start: bool, relay: &mut Relay, ctx: &mut Context<'_>) {
        if ctx.is_probe() {
            return; // a gap that stands is told, not tried
        }
        let due: Vec<(RowId, Gap)> = relay
            .coverage
            .gaps()
            .filter(|(_, gap)| gap.retry_at <= ctx.wall || (start && gap.reason == GapReason::Cut))
            .map(|(row, gap)| (row, gap.clone()))
            .collect();
        for (row, gap) in due {
            let Some(layer) = gap.items.first().map(Item::layer) else { continue };
            let is_busy = self.waiting.iter().any(|work| work.gap == Some(row))
                || self.batches.values().any(|batch| batch.work.gap == Some(row));
            let whole = gap.range.since.as_secs() == 0
                && gap.items.iter().all(|item| relay.coverage.cohort(item).is_none());
            // The plan of a new connection proves in full what was never proven, and everything
            // where the relay reconciles; their gaps close with it.
            let planned = start && (whole || relay.negotiates(ctx));
            if is_busy || planned || gap.items.iter().any(|item| item.layer() != layer) {
                continue;
            }
            // What came while a live request did not stand is part of it.
            let is_live = gap.items.iter().all(|item| self.is_live(item));
            let until = if is_live { gap.range.until } else { ctx.top() };
            let scope = match whole {
                true => Scope::Full,
                false => Scope::Range(Range { since: gap.range.since, until }),
            };
            self.enqueue(Work { items: gap.items, scope, pass: start, gap: Some(row) });
            relay.postpone(row, ctx);
        }
        relay.arm_refetch(ctx);
        self.run(relay, ctx);
    }
}

/// A day from now.
pub(crate) fn daily(wall: Timestamp) -> Timestamp {
    Timestamp::from_secs(wall.as_secs() + 86_400)
}

/// When a gap is tried again: base × 2^(n−1), capped (HIST-9, CONN-9).
fn retry_at(tries: u32, ctx: &Context<'_>) -> Timestamp {
    let sync = &ctx.config.sync;
    let doublings = tries.saturating_sub(1).min(31);
    let wait = sync.refetch_base.saturating_mul(1 << doublings).min(*sync.refetch_max);
    Timestamp::from_secs(ctx.wall.as_secs() + wait.as_secs())
}
