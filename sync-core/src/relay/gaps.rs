//! What is missing and named: gaps are opened when a batch could not prove something, tried again
//! with backoff, and closed by proof (HIST-6, HIST-9, CONN-9).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use nostr::types::Timestamp;

use crate::agenda::Timer;
use crate::context::Context;
use crate::event::Event;
use crate::id::RowId;
use crate::item::{GapReason, Item, Layer, Range};
use crate::ledger::Gap;
use crate::relay::Relay;
use crate::relay::batch::{Batch, Missing, Scope, Work};
use crate::relay::session::Session;
use crate::status::Reason;

/// What is to be named.
pub(crate) struct Naming<'a> {
    /// Items of one layer.
    pub(crate) items: &'a [Item],
    /// Tries of gaps that this one follows.
    pub(crate) tries: u32,
    /// The gap whose retry found it missing again.
    pub(crate) row: Option<RowId>,
    /// Gaps within this range were tried with it: their range is replaced, not extended.
    pub(crate) tried: Option<Range>,
}

impl Relay {
    /// The gap is looked at: it is not due again before its next turn.
    fn postpone(&mut self, row: RowId, ctx: &Context<'_>) {
        let Some(gap) = self.coverage.gap(row) else { return };
        let at = if gap.accepted { daily(ctx.wall) } else { retry_at(gap.tries + 1, ctx) };
        // In memory only: a restart tries at once.
        let _ = self.coverage.update_gap(row, |gap| gap.retry_at = at);
    }

    /// Names what is missing: a gap of the same items and reason is continued, so that its tries
    /// back off (CONN-9), else one is opened.
    pub(crate) fn name(
        &mut self,
        missing: &Missing,
        naming: &Naming<'_>,
        ctx: &mut Context<'_>,
    ) -> RowId {
        let row = naming.row.filter(|row| self.coverage.gap(*row).is_some());
        let row = row.or_else(|| self.continued(missing, naming.items, ctx));
        self.why = Reason::BatchFailed;
        let row = match row {
            Some(row) => self.continue_gap(row, missing, naming, ctx),
            None => self.open_gap(missing, naming, ctx),
        };
        self.arm_refetch(ctx);
        row
    }

    /// The gap that this one continues; above the limit any of its reason and layer (S10).
    fn continued(&self, missing: &Missing, items: &[Item], ctx: &Context<'_>) -> Option<RowId> {
        let same = self.coverage.gaps().find(|(_, gap)| {
            gap.reason == missing.reason && overlap(gap.range, missing.range) && gap.items == items
        });
        let full = self.coverage.gaps().count() >= ctx.config.limits.gaps.max(1) as usize;
        let layer = items.first().map(Item::layer);
        let merged = || {
            self.coverage.gaps().find(|(_, gap)| {
                gap.reason == missing.reason && gap.items.first().map(Item::layer) == layer
            })
        };
        let any = || self.coverage.gaps().next();
        same.or_else(|| full.then(merged).flatten())
            .or_else(|| full.then(any).flatten())
            .map(|(row, _)| row)
    }

    fn continue_gap(
        &mut self,
        row: RowId,
        missing: &Missing,
        naming: &Naming<'_>,
        ctx: &mut Context<'_>,
    ) -> RowId {
        let wall = ctx.wall;
        let tries = self.coverage.gap(row).map_or(0, |gap| gap.tries).max(naming.tries) + 1;
        let (soon, daily) = (retry_at(tries, ctx), daily(wall));
        let change = self.coverage.update_gap(row, |gap| {
            let replaced = naming.tried.is_some_and(|tried| within(gap.range, tried))
                && gap.items.iter().all(|item| naming.items.contains(item));
            gap.range = if replaced { missing.range } else { hull(gap.range, missing.range) };
            // A gap that reaches the present does so from its last appearance on.
            if missing.range.until >= wall {
                gap.since = wall;
            }
            let known: BTreeSet<&Item> = gap.items.iter().collect();
            let more: Vec<Item> =
                naming.items.iter().filter(|item| !known.contains(item)).cloned().collect();
            gap.items.extend(more);
            gap.reason = missing.reason;
            gap.detail = missing.detail.clone();
            gap.ids = missing.ids.clone();
            gap.tries = tries;
            gap.retry_at = if gap.accepted { daily } else { soon };
        });
        ctx.persist(change);
        row
    }

    fn open_gap(&mut self, missing: &Missing, naming: &Naming<'_>, ctx: &mut Context<'_>) -> RowId {
        let gap = Gap {
            items: naming.items.to_vec(),
            range: missing.range,
            reason: missing.reason,
            since: ctx.wall,
            tries: naming.tries + 1,
            retry_at: retry_at(naming.tries + 1, ctx),
            accepted: false,
            detail: missing.detail.clone(),
            ids: missing.ids.clone(),
        };
        let (row, change) = self.coverage.open_gap(gap);
        ctx.persist([change]);
        ctx.emit(Event::GapOpened {
            relay: self.id,
            row,
            items: naming.items.len() as u32,
            range: missing.range,
            reason: missing.reason,
            detail: missing.detail.clone(),
        });
        row
    }

    /// Gaps that a batch answers: the one that it tries to close, and those within its range
    /// that were named before it began. What of them still is missing it names itself.
    pub(crate) fn answered(&self, batch: &Batch) -> BTreeSet<RowId> {
        let items: BTreeSet<&Item> = batch.work.items.iter().collect();
        self.coverage
            .gaps()
            .filter(|(row, gap)| {
                batch.work.gap == Some(*row)
                    || (gap.since < batch.as_of
                        && within(gap.range, batch.range)
                        && gap.items.iter().any(|item| items.contains(item)))
            })
            .map(|(row, _)| row)
            .collect()
    }

    /// Names what a batch could not prove; returns the rows.
    pub(crate) fn name_missing(
        &mut self,
        batch: &Batch,
        missing: &[Missing],
        answered: &BTreeSet<RowId>,
        ctx: &mut Context<'_>,
    ) -> BTreeSet<RowId> {
        let tries = answered.iter().filter_map(|row| self.coverage.gap(*row)).map(|gap| gap.tries);
        let tries = tries.max().unwrap_or(0);
        let reason = batch.work.gap.and_then(|row| Some(self.coverage.gap(row)?.reason));
        let heir = missing.iter().position(|m| Some(m.reason) == reason).unwrap_or(0);
        let mut named = BTreeSet::new();
        for (n, missing) in missing.iter().enumerate() {
            let row = batch.work.gap.filter(|_| n == heir);
            let items = &batch.work.items;
            let naming = Naming { items, tries, row, tried: Some(batch.range) };
            named.insert(self.name(missing, &naming, ctx));
        }
        named
    }

    /// Closes gaps for items whose part of history is proven, or named anew.
    pub(crate) fn close_gaps(
        &mut self,
        rows: impl IntoIterator<Item = RowId>,
        items: &[Item],
        ctx: &mut Context<'_>,
    ) {
        let items: BTreeSet<&Item> = items.iter().collect();
        for row in rows {
            let (closed, change) = self.coverage.shrink_gap(row, |item| items.contains(item));
            ctx.persist(change);
            if closed {
                self.why = Reason::GapClosed;
                ctx.emit(Event::GapClosed { relay: self.id, row });
            }
        }
        self.arm_refetch(ctx);
    }

    /// Gaps become due now.
    pub(crate) fn hasten(&mut self, which: impl Fn(&Gap) -> bool, ctx: &Context<'_>) {
        let due = self.coverage.gaps().filter(|(_, gap)| which(gap)).map(|(row, _)| row);
        let rows: Vec<RowId> = due.collect();
        for row in rows {
            // In memory only: a restart tries at once.
            let _ = self.coverage.update_gap(row, |gap| gap.retry_at = ctx.wall);
        }
    }

    /// Arms the retry of the gap that is due first.
    pub(crate) fn arm_refetch(&self, ctx: &mut Context<'_>) {
        let first = self.coverage.gaps().map(|(_, gap)| gap.retry_at).min();
        match first {
            Some(at) => {
                // A wall clock that was ahead when the gap was named does not put it off.
                let latest = ctx.now + *ctx.config.sync.refetch_max;
                let at = ctx.instant_of(at).max(ctx.now + Duration::from_secs(1)).min(latest);
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
            relay.postpone(row, ctx);
            // The plan of a new connection proves everything where the relay reconciles, else
            // what is newer than the watermark; gaps within that close with it.
            let planned = start
                && gap.items.iter().all(|item| item.layer() != Layer::Id)
                && (relay.negotiates(ctx)
                    || gap.range.since >= relay.resume_since(&gap.items, ctx));
            if planned || self.is_retrying(row) {
                continue;
            }
            let scope = retry_scope(&gap, relay);
            for items in by_layer(gap.items) {
                self.enqueue(Work { items, scope, pass: start, gap: Some(row) });
            }
        }
        relay.arm_refetch(ctx);
        self.run(relay, ctx);
    }

    fn is_retrying(&self, row: RowId) -> bool {
        self.waiting.iter().any(|work| work.gap == Some(row))
            || self.live.values().any(|live| live.then.iter().any(|work| work.gap == Some(row)))
            || self.batches.values().any(|batch| batch.work.gap == Some(row))
    }
}

/// Which part of history the retry of a gap is about. One that reached the present when it was
/// named does so still: what came since is part of it.
fn retry_scope(gap: &Gap, relay: &Relay) -> Scope {
    let unproven = gap.items.iter().all(|item| relay.coverage.cohort(item).is_none());
    if gap.range.since.as_secs() == 0 && unproven {
        Scope::Full
    } else if gap.range.until >= gap.since {
        Scope::Since(gap.range.since)
    } else {
        Scope::Range(gap.range)
    }
}

/// Items of one layer each.
pub(crate) fn by_layer(items: Vec<Item>) -> Vec<Vec<Item>> {
    let mut groups: Vec<Vec<Item>> = Vec::new();
    for item in items {
        match groups.iter_mut().find(|group| group[0].layer() == item.layer()) {
            Some(group) => group.push(item),
            None => groups.push(Vec::from([item])),
        }
    }
    groups
}

fn overlap(a: Range, b: Range) -> bool {
    a.since <= b.until && b.since <= a.until
}

fn within(inner: Range, outer: Range) -> bool {
    outer.since <= inner.since && inner.until <= outer.until
}

fn hull(a: Range, b: Range) -> Range {
    Range { since: a.since.min(b.since), until: a.until.max(b.until) }
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
