//! The second look at emptiness: filters of a batch whose first page was empty are asked for once
//! more, in REQs of several filters (HIST-5).

use alloc::vec::Vec;

use nostr::filter::Filter;

use crate::command::Purpose;
use crate::context::Context;
use crate::id::BatchId;
use crate::item::{GapReason, RelayText};
use crate::relay::Relay;
use crate::relay::batch::{Batch, Job, Recheck, Stage};
use crate::relay::session::{Role, Session};

impl Batch {
    /// Jobs that the open look is about.
    fn looked_at(&self) -> Vec<usize> {
        self.emptied().take_while(|job| *job < self.looking).collect()
    }
}

impl Session {
    /// Filters whose first page was empty are asked for once more, as many as one REQ takes.
    pub(crate) fn recheck(&mut self, id: BatchId, relay: &mut Relay, ctx: &mut Context<'_>) {
        let sub = self.sub_id();
        let Some(batch) = self.batches.get_mut(&id) else { return };
        let limit = relay.pages.limit(&ctx.config.page) as usize;
        let most = ctx.config.fetch.filters_per_req.max(1) as usize;
        let jobs: Vec<usize> = batch.emptied().take(most).collect();
        let (Some(first), Some(last)) = (jobs.first(), jobs.last()) else {
            // Events came late: what was empty has its gap now.
            batch.recheck = Recheck::Due;
            return self.after_job(id, 0, relay, ctx);
        };
        let filter = |job: &usize| -> Filter {
            let Job { filter, range, .. } = &batch.jobs[*job];
            filter.clone().since(range.since).until(range.until).limit(limit)
        };
        let filters = jobs.iter().map(filter).collect();
        batch.recheck = Recheck::Asked;
        batch.looking = last + 1;
        let purpose = Purpose::Ids { source: batch.source };
        let role = Role::Recheck { batch: id, job: *first };
        self.open_sub(sub, role, filters, purpose, relay, ctx);
    }

    /// Still empty: that is the proof. Else the walks begin again.
    pub(crate) fn on_rechecked(
        &mut self,
        id: BatchId,
        job: usize,
        brought: bool,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        let Some(batch) = self.batches.get_mut(&id) else { return };
        if brought {
            for job in batch.looked_at() {
                batch.jobs[job].walk = None;
                batch.jobs[job].stage = Stage::ToWalk;
            }
        }
        batch.recheck = Recheck::Due;
        batch.looked = batch.looking;
        self.after_job(id, job, relay, ctx);
    }

    /// The look was not answered: the emptiness of all that it was about stands unproven.
    pub(crate) fn fail_look(&mut self, id: BatchId, reason: GapReason, text: &RelayText) {
        let Some(batch) = self.batches.get_mut(&id) else { return };
        for job in batch.looked_at() {
            let range = batch.jobs[job].range;
            batch.jobs[job].fail(range, reason, text.clone());
        }
    }
}
