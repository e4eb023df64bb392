//! The second look at emptiness: filters of a batch whose first page was empty are asked for once
//! more, in one REQ of several filters (HIST-5).

use alloc::vec::Vec;

use crate::command::Purpose;
use crate::context::Context;
use crate::id::BatchId;
use crate::relay::Relay;
use crate::relay::batch::{Job, Recheck, Stage};
use crate::relay::session::{Role, Session};

impl Session {
    /// Filters whose first page was empty are asked for once more, in one REQ (HIST-5).
    pub(crate) fn recheck(&mut self, id: BatchId, relay: &mut Relay, ctx: &mut Context<'_>) {
        let sub = self.sub_id();
        let Some(batch) = self.batches.get_mut(&id) else { return };
        let limit = relay.pages.limit(&ctx.config.page) as usize;
        let Some(first) = batch.emptied().next() else {
            // Events came late: what was empty has its gap now.
            batch.recheck = Recheck::Over;
            return self.after_job(id, 0, relay, ctx);
        };
        let filters: Vec<_> = batch
            .emptied()
            .map(|job| {
                let Job { filter, range, .. } = &batch.jobs[job];
                filter.clone().since(range.since).until(range.until).limit(limit)
            })
            .collect();
        batch.recheck = Recheck::Asked;
        let purpose = Purpose::Ids { source: batch.source };
        let role = Role::Recheck { batch: id, job: first };
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
        batch.recheck = Recheck::Over;
        if brought {
            let emptied: Vec<usize> = batch.emptied().collect();
            for job in emptied {
                batch.jobs[job].walk = None;
                batch.jobs[job].stage = Stage::ToWalk;
            }
        }
        self.after_job(id, job, relay, ctx);
    }
}
