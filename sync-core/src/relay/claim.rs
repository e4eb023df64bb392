//! The end of a batch: what it proved is claimed, what it did not is named (S6, HIST-6, HIST-7).

use alloc::vec::Vec;

use nostr::types::Timestamp;

use crate::command::Source;
use crate::context::Context;
use crate::event::{BatchResult, Event};
use crate::id::BatchId;
use crate::item::{GapReason, Layer, Range, RelayText};
use crate::ledger::Cohort;
use crate::relay::Relay;
use crate::relay::batch::{Batch, Missing, Scope, Stage};
use crate::relay::session::Session;

/// What a batch's end meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// Its items are proven up to the present.
    Claimed,
    /// A part of history is proven: no watermark moved.
    Part,
    /// Nothing is proven.
    Nothing,
}

impl Session {
    /// Confirms what was proven and names what was not (S6, HIST-7).
    pub(crate) fn end_batch(&mut self, id: BatchId, relay: &mut Relay, ctx: &mut Context<'_>) {
        let Some(batch) = self.batches.remove(&id) else { return };
        ctx.shared.want.discovering -= u32::from(batch.discovers());
        self.release(&batch.work.items);
        self.forget_pages(id);
        let missing = batch.missing();
        let proof = match ctx.is_probe() {
            true => Proof::Claimed, // in name only: nothing is written when only looking
            false => relay.conclude(&batch, &missing, ctx),
        };
        if proof == Proof::Claimed || (batch.layer == Layer::Id && missing.is_empty()) {
            self.done.extend(batch.work.items.iter().cloned());
        }
        self.close_holes(&batch);
        let result = match (missing.is_empty(), proof) {
            (true, _) => BatchResult::Ok,
            (false, Proof::Claimed | Proof::Part) => BatchResult::Partial,
            (false, Proof::Nothing) => BatchResult::Failed,
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
        self.begin_again(&batch.work.items);
    }

    /// What came while no live request stood is reconciled, or named.
    fn close_holes(&mut self, batch: &Batch) {
        for item in &batch.work.items {
            if self.holes.get(item).is_some_and(|since| batch.range.since <= *since) {
                self.holes.remove(item);
            }
        }
    }
}

impl Relay {
    /// Takes the end of a batch in. Gaps are written before the claim that they are exceptions
    /// of, and closed after the claim that proves them: a crash in between claims too little,
    /// never too much.
    fn conclude(&mut self, batch: &Batch, missing: &[Missing], ctx: &mut Context<'_>) -> Proof {
        let items = &batch.work.items;
        if items.is_empty() {
            return Proof::Part;
        }
        let until = batch.live_since.min(batch.as_of);
        let nothing = missing.iter().any(|m| {
            m.range.since <= batch.range.since && m.range.until >= until.min(batch.range.until)
        });
        let claims = !nothing && batch.layer != Layer::Id && self.reaches_present(batch, until);
        let answered = self.answered(batch);
        let named = self.name_missing(batch, missing, &answered, ctx);
        if claims {
            self.claim(batch, until, ctx);
        }
        self.close_gaps(answered.difference(&named).copied(), items, ctx);
        match (nothing, claims) {
            (true, _) => Proof::Nothing,
            (false, true) => Proof::Claimed,
            (false, false) => Proof::Part,
        }
    }

    /// Whether the range of a batch joins what is proven of its items to the present. A part of
    /// history that does not moves no watermark.
    fn reaches_present(&self, batch: &Batch, until: Timestamp) -> bool {
        match batch.work.scope {
            Scope::Auto | Scope::Full => true,
            Scope::Since(_) | Scope::Range(_) => {
                batch.range.until >= until
                    && batch.work.items.iter().all(|item| {
                        let proven = self.coverage.cohort(item).map(Cohort::watermark);
                        batch.range.since <= proven.unwrap_or_default()
                    })
            }
        }
    }

    /// The claim of a batch: its items proven up to `until` (HIST-7).
    fn claim(&mut self, batch: &Batch, until: Timestamp, ctx: &mut Context<'_>) {
        let items = &batch.work.items;
        let full_as_of = match batch.range.since.as_secs() {
            0 => batch.as_of,
            _ => {
                let old = items.iter().map(|item| self.coverage.cohort(item));
                let old = old.map(|cohort| cohort.map_or(0, |cohort| cohort.full_as_of.as_secs()));
                Timestamp::from_secs(old.min().unwrap_or(0))
            }
        };
        let method = batch.jobs.iter().map(|job| job.method).max().unwrap_or(batch.method);
        let cohort = Cohort {
            items: items.clone(),
            until,
            as_of: batch.as_of,
            full_as_of,
            method,
            live_until: None,
        };
        ctx.shared.want.prove(items);
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
        let looks_back = matches!(batch.work.scope, Scope::Range(_) | Scope::Since(_));
        let single = batch.layer == Layer::Id;
        if ctx.is_probe() || single || (looks_back && batch.work.gap.is_none()) {
            return; // no watermark moved for it
        }
        let mut lowest = None;
        for job in &batch.jobs {
            // Emptiness is proven by a second look only (HIST-5).
            let empty = job.walk.as_ref().is_some_and(|(_, walk)| walk.ended_empty());
            match (job.stage == Stage::Done && job.is_settled() && !empty, job.safe) {
                (true, _) => {}
                (false, Some(safe)) => lowest = lowest.max(Some(safe)),
                (false, None) => return,
            }
        }
        let Some(until) = lowest else { return };
        let mut missing: Vec<Missing> = batch.missing();
        missing.push(Missing {
            range: Range { since: batch.range.since, until },
            reason: GapReason::Cut,
            detail: RelayText::default(),
            ids: Vec::new(),
        });
        self.conclude(batch, &missing, ctx);
    }
}
