//! The end of a batch: what it proved is claimed, what it did not is named (S6, HIST-6, HIST-7).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use nostr::types::Timestamp;

use crate::command::Source;
use crate::context::Context;
use crate::event::{BatchResult, Event};
use crate::id::BatchId;
use crate::item::{GapReason, Item, Layer, Range, RelayText};
use crate::ledger::{Cohort, Method};
use crate::relay::Relay;
use crate::relay::batch::{Batch, Missing, Scope, Stage};
use crate::relay::session::Session;
use crate::status::Reason;

impl Session {
    /// Confirms what was proven and names what was not (S6, HIST-7).
    pub(crate) fn end_batch(&mut self, id: BatchId, relay: &mut Relay, ctx: &mut Context<'_>) {
        let Some(batch) = self.batches.remove(&id) else { return };
        ctx.shared.want.discovering -= u32::from(batch.discovers());
        for item in &batch.work.items {
            self.busy.remove(item);
        }
        let missing = batch.missing();
        let until = batch.live_since.min(batch.as_of);
        let nothing =
            missing.iter().any(|m| m.range.since.as_secs() == 0 && m.range.until >= until);
        let probe = ctx.is_probe();
        if !nothing && batch.layer != Layer::Id && !probe {
            relay.claim(&batch, until, ctx);
        }
        if !nothing || batch.layer == Layer::Id {
            self.done.extend(batch.work.items.iter().cloned());
        }
        if !probe {
            relay.record_missing(&batch, &missing, ctx);
        }
        let result = match (missing.is_empty(), nothing) {
            (true, _) => BatchResult::Ok,
            (false, false) => BatchResult::Partial,
            (false, true) => BatchResult::Failed,
        };
        ctx.emit(Event::BatchEnded {
            relay: relay.id,
            batch: id,
            layer: batch.layer,
            method: batch.jobs.iter().map(|job| job.method).min().unwrap_or(batch.method),
            result,
            received: batch.received(),
            took_ms: ctx.now.since(batch.began).as_millis() as u64,
        });
    }
}

impl Relay {
    /// The claim of a batch: its items proven up to `until` (HIST-7).
    fn claim(&mut self, batch: &Batch, until: Timestamp, ctx: &mut Context<'_>) {
        let items: BTreeSet<Item> = batch.work.items.iter().cloned().collect();
        if items.is_empty() || matches!(batch.work.scope, Scope::Range(_)) {
            return; // a part of history moves no watermark
        }
        let full_as_of = match batch.full {
            true => batch.as_of,
            false => {
                let old = items.iter().filter_map(|i| Some(self.coverage.cohort(i)?.full_as_of));
                old.min().unwrap_or(Timestamp::from_secs(0))
            }
        };
        if batch.full && batch.jobs.iter().all(|job| job.missing.is_empty()) {
            let (closed, changes) = self.coverage.close_gaps_of(&items);
            ctx.persist(changes);
            for row in closed {
                self.why = Reason::GapClosed;
                ctx.emit(Event::GapClosed { relay: self.id, row });
            }
        }
        let method = batch.jobs.iter().map(|job| job.method).max().unwrap_or(batch.method);
        let cohort = Cohort {
            items: items.iter().cloned().collect(),
            until,
            as_of: batch.as_of,
            full_as_of,
            method,
            live_until: None,
        };
        ctx.shared.want.prove(&items);
        let changes = self.coverage.claim(cohort);
        ctx.persist(changes);
    }

    /// Where a batch's events count (HIST-12).
    pub(crate) fn source(&self, pass: bool) -> Source {
        match (pass, self.pass_finished_here) {
            (true, false) => Source::Startup,
            (true, true) => Source::Reconnect,
            (false, _) => Source::Daily,
        }
    }

    /// A batch was cut by the end of its connection. When each of its walks finished some pages,
    /// they stand: the cohort is claimed with a gap below them (HIST-6).
    pub(crate) fn keep_cut(&mut self, batch: &Batch, ctx: &mut Context<'_>) {
        if ctx.is_probe() {
            return; // it proves nothing
        }
        let mut lowest = None;
        for job in &batch.jobs {
            let whole = job.stage == Stage::Done && job.is_settled() && job.missing.is_empty();
            match (whole, job.safe) {
                (true, _) => {}
                (false, Some(safe)) => lowest = lowest.max(Some(safe)),
                (false, None) => return,
            }
        }
        let Some((first, until)) = batch.jobs.first().zip(lowest) else { return };
        if batch.work.items.is_empty() || batch.method == Method::Ids {
            return;
        }
        let range = Range { since: first.range.since, until };
        if let Some(row) = batch.work.gap {
            let change = self.coverage.update_gap(row, |gap| gap.range = range);
            return ctx.persist(change);
        }
        self.claim_cut(batch, ctx);
        let missing = Missing {
            range,
            reason: GapReason::Cut,
            detail: RelayText::default(),
            ids: Vec::new(),
        };
        self.open_gap(batch.work.items.clone(), &missing, 0, ctx);
    }

    fn claim_cut(&mut self, batch: &Batch, ctx: &mut Context<'_>) {
        if matches!(batch.work.scope, Scope::Range(_)) {
            return;
        }
        let old_full = batch
            .work
            .items
            .iter()
            .map(|item| self.coverage.cohort(item).map_or(0, |cohort| cohort.full_as_of.as_secs()))
            .min()
            .unwrap_or(0);
        let cohort = Cohort {
            items: batch.work.items.clone(),
            until: batch.live_since.min(batch.as_of),
            as_of: batch.as_of,
            full_as_of: Timestamp::from_secs(old_full),
            method: Method::Pages,
            live_until: None,
        };
        let changes = self.coverage.claim(cohort);
        ctx.persist(changes);
    }
}
