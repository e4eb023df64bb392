//! Batches under way: jobs are started as slots allow, walk their pages, and end settled (HIST-5
//! to HIST-7).

use alloc::vec::Vec;

use nostr::types::Timestamp;

use crate::context::Context;
use crate::event::Event;
use crate::filters;
use crate::id::{BatchId, SubId};
use crate::input::EoseHints;
use crate::item::{GapReason, Item, Layer, Range, RelayText};
use crate::ledger::Method;
use crate::relay::Relay;
use crate::relay::batch::{Batch, Job, Missing, Recheck, Scope, Stage, Work};
use crate::relay::page::{Step, Walk};
use crate::relay::session::{Role, Session};
use crate::tally::{EventTally, PageTally, SettleTally};

impl Session {
    pub(crate) fn job(&mut self, batch: BatchId, job: usize) -> Option<&mut Job> {
        self.batches.get_mut(&batch)?.jobs.get_mut(job)
    }

    /// Turns work into a batch: one job a filter.
    pub(crate) fn begin(
        &mut self,
        work: Work,
        live_since: Timestamp,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        let Some(layer) = work.items.first().map(Item::layer) else { return };
        let negotiates = relay.negotiates(ctx) && layer != Layer::Id;
        if ctx.is_probe() && !negotiates {
            // Only reconciliation shows what is missing without fetching it.
            return self.release(&work.items);
        }
        let fresh =
            !ctx.is_probe() && work.items.iter().all(|item| !ctx.shared.want.is_proven(item));
        let range = self.range_of(&work, negotiates, relay, ctx);
        let want = &ctx.shared.want;
        let filters = filters::of_items(
            &work.items,
            |repo| want.level(repo),
            &want.filters,
            &ctx.config.fetch,
        );
        let stage = if negotiates && !fresh { Stage::ToNegotiate } else { Stage::ToWalk };
        let mut jobs: Vec<Job> =
            filters.into_iter().map(|filter| Job::new(filter, range, stage.clone())).collect();
        if layer == Layer::Id {
            jobs.iter_mut().for_each(Job::fetch_ids);
        }
        let method = match (layer, negotiates) {
            (Layer::Id, _) => Method::Ids,
            (_, true) => Method::Negentropy,
            (_, false) => Method::Pages,
        };
        let id = ctx.batch_id();
        let batch = Batch {
            id,
            layer,
            source: relay.source(work.pass),
            jobs,
            began: ctx.now,
            live_since,
            as_of: ctx.wall,
            range,
            method,
            recheck: Recheck::Due,
            renewed: false,
            work,
        };
        ctx.shared.want.discovering += u32::from(batch.discovers());
        ctx.emit(Event::BatchStarted {
            relay: relay.id,
            batch: id,
            layer,
            method,
            items: batch.work.items.len() as u32,
            pass: batch.work.pass,
        });
        self.batches.insert(id, batch);
    }

    /// The seconds that a batch has to prove.
    fn range_of(&self, work: &Work, negotiates: bool, relay: &Relay, ctx: &Context<'_>) -> Range {
        let top = ctx.top();
        match work.scope {
            Scope::Full => Range::up_to(top),
            Scope::Auto if negotiates => Range::up_to(top),
            Scope::Auto => Range { since: relay.resume_since(&work.items, ctx), until: top },
            Scope::Since(since) => Range { since: since.min(top), until: top },
            Scope::Range(range) => range,
        }
    }

    /// Starts jobs in the order of their batches while the budget has slots.
    pub(crate) fn start_jobs(&mut self, relay: &mut Relay, ctx: &mut Context<'_>) {
        let ids: Vec<BatchId> = self.batches.keys().copied().collect();
        for id in ids {
            if self.open_count() >= relay.limits.subscriptions() {
                return;
            }
            if self.batches.get(&id).is_some_and(|batch| batch.recheck == Recheck::Ready) {
                self.recheck(id, relay, ctx);
            }
            let jobs = self.batches.get(&id).map_or(0, |batch| batch.jobs.len());
            for job in 0..jobs {
                if self.open_count() >= relay.limits.subscriptions() {
                    return;
                }
                let Some(state) = self.job(id, job) else { break };
                match state.stage {
                    Stage::ToNegotiate => self.negotiate(id, job, relay, ctx),
                    Stage::ToWalk => self.ask_page(id, job, relay, ctx),
                    Stage::Fetching => self.fetch(id, job, relay, ctx),
                    Stage::Negotiating(_) | Stage::Walking(_) | Stage::Walked | Stage::Done => {}
                }
            }
        }
    }

    fn ask_page(&mut self, id: BatchId, job: usize, relay: &mut Relay, ctx: &mut Context<'_>) {
        let sub = self.sub_id();
        let walk_id = self.walk_id();
        let Some(batch) = self.batches.get_mut(&id) else { return };
        let source = batch.source;
        let job_state = &mut batch.jobs[job];
        let (walk_id, walk) = job_state.walk.get_or_insert_with(|| {
            let walk = Walk::new(job_state.filter.clone(), job_state.range, &ctx.config.page);
            (walk_id, walk)
        });
        let ask = walk.ask(&relay.pages);
        let purpose = ask.purpose(*walk_id, source);
        job_state.stage = Stage::Walking(sub);
        ctx.emit(Event::PageAsked { relay: relay.id });
        let role = Role::Page { batch: id, job, number: ask.number };
        self.open_sub(sub, role, alloc::vec![ask.filter], purpose, relay, ctx);
    }

    /// A tally of a page: its counts go to the job; the page itself waits for the EOSE.
    pub(crate) fn on_page_events(
        &mut self,
        sub: SubId,
        batch: BatchId,
        job: usize,
        number: u32,
        tally: &EventTally,
    ) {
        let Some(job) = self.job(batch, job) else { return };
        job.received += u64::from(tally.received);
        if tally.after_eose > 0
            && let Some((_, walk)) = &mut job.walk
            && walk.on_late(number) == Step::End
            && job.stage == Stage::ToWalk
        {
            job.stage = Stage::Walked;
        }
        if let Some(page) = &tally.page
            && job.stage == Stage::Walking(sub)
        {
            job.page = Some(page.clone());
        }
    }

    /// An EOSE: the answer is whole.
    pub(crate) fn on_eose(
        &mut self,
        id: SubId,
        hints: EoseHints,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) -> bool {
        let Some(sub) = self.subs.get_mut(&id) else { return false };
        if sub.eose || sub.closed {
            return false; // doubled, or late for a retired subscription (H-64)
        }
        sub.eose = true;
        relay.limits.on_answer();
        match sub.role.clone() {
            Role::Live => self.on_live_eose(id, relay, ctx),
            Role::Page { batch, job, .. } => {
                self.close_sub(id, relay, ctx);
                self.on_page(batch, job, hints, relay, ctx);
            }
            Role::Recheck { batch, job } => {
                let brought = sub.received > 0;
                self.close_sub(id, relay, ctx);
                self.on_rechecked(batch, job, brought, relay, ctx);
            }
            Role::Ids { batch, job } => {
                self.close_sub(id, relay, ctx);
                self.on_ids_answered(batch, job, relay, ctx);
            }
        }
        self.run(relay, ctx);
        true
    }

    fn on_page(
        &mut self,
        batch: BatchId,
        job: usize,
        hints: EoseHints,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        let wall = ctx.wall;
        let Some(state) = self.job(batch, job) else { return };
        let page = state.page.take().unwrap_or_else(PageTally::default);
        let Some((_, walk)) = &mut state.walk else { return };
        relay.pages.age(wall, ctx.config.learn.ttl);
        match walk.on_page(&page, hints, &mut relay.pages) {
            Step::Ask => state.stage = Stage::ToWalk,
            Step::End => state.stage = Stage::Walked,
        }
        self.after_job(batch, job, relay, ctx);
    }

    /// Events of a job were settled.
    pub(crate) fn settle_job(
        &mut self,
        batch: BatchId,
        job: usize,
        tally: &SettleTally,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        let Some(state) = self.job(batch, job) else { return };
        state.settled += tally.total();
        for id in &tally.ids {
            state.need.progress |= state.need.open.remove(id);
        }
        if tally.failed > 0 {
            let range = state.range;
            state.missing.push(Missing {
                range,
                reason: GapReason::StoreFailed,
                detail: RelayText::default(),
                ids: tally.failed_ids.clone(),
            });
        }
        self.after_job(batch, job, relay, ctx);
    }

    /// Moves a job on when what it waited for has come, and ends its batch with the last one.
    pub(crate) fn after_job(
        &mut self,
        batch: BatchId,
        job: usize,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        let proves = relay.negotiates(ctx);
        let Some(state) = self.job(batch, job) else { return };
        if state.is_settled() {
            if let Some((_, walk)) = &state.walk {
                state.safe = walk.proven_down_to();
            }
            match state.stage {
                // A fresh item that came by pages is proven by one reconciliation (HIST-1); the
                // walk's end is the proof where the relay refuses.
                Stage::Walked if proves && state.method == Method::Pages => {
                    state.stage = Stage::ToNegotiate;
                }
                Stage::Walked => state.stage = Stage::Done,
                Stage::Fetching => self.end_round(batch, job, relay, ctx),
                Stage::ToNegotiate
                | Stage::ToWalk
                | Stage::Negotiating(_)
                | Stage::Walking(_)
                | Stage::Done => {}
            }
        }
        if let Some(batch) = self.batches.get_mut(&batch)
            && batch.is_over()
        {
            match batch.recheck {
                Recheck::Due if batch.emptied().next().is_some() => batch.recheck = Recheck::Ready,
                Recheck::Due | Recheck::Over => {
                    let id = batch.id;
                    self.end_batch(id, relay, ctx);
                }
                Recheck::Ready | Recheck::Asked => {}
            }
        }
    }

    /// A request was not answered in time, or refused: its job ends with a gap over what is left
    /// of its range (HIST-6).
    pub(crate) fn fail_request(
        &mut self,
        id: SubId,
        reason: GapReason,
        text: &RelayText,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        let Some(sub) = self.subs.get(&id) else { return };
        match sub.role.clone() {
            Role::Live => self.lose_live(id, reason, text, relay, ctx),
            Role::Page { batch, job, .. } => {
                if let Some(state) = self.job(batch, job) {
                    let rest = state.rest();
                    state.fail(rest, reason, text.clone());
                }
                self.after_job(batch, job, relay, ctx);
            }
            // Its walk had ended in emptiness; that stands unproven.
            Role::Recheck { batch, job } => {
                if let Some(batch) = self.batches.get_mut(&batch) {
                    let emptied: Vec<usize> = batch.emptied().collect();
                    for job in emptied {
                        let range = batch.jobs[job].range;
                        batch.jobs[job].fail(range, reason, text.clone());
                    }
                }
                self.on_rechecked(batch, job, false, relay, ctx);
            }
            Role::Ids { batch, job } => {
                if let Some(state) = self.job(batch, job) {
                    state.need.failed = Some((reason, text.clone()));
                }
                self.on_ids_answered(batch, job, relay, ctx);
            }
        }
    }

    /// A deadline of a request passed.
    pub(crate) fn on_timeout(&mut self, id: SubId, relay: &mut Relay, ctx: &mut Context<'_>) {
        if self.subs.get(&id).is_none_or(|sub| sub.eose || sub.closed) {
            return;
        }
        // FILT-3: a relay that ignores `limit: 0` is asked by time instead.
        let learns = self.live.contains_key(&id) && relay.limits.refuse_limit_0(ctx.wall);
        self.close_sub_after(id, relay, ctx, |session, relay, ctx| match learns {
            true => session.ask_again(id, relay, ctx),
            false => {
                session.fail_request(id, GapReason::Timeout, &RelayText::default(), relay, ctx);
            }
        });
    }

    /// Closes a subscription and then does what follows from it, while its role is still known.
    pub(crate) fn close_sub_after(
        &mut self,
        id: SubId,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
        then: impl FnOnce(&mut Self, &mut Relay, &mut Context<'_>),
    ) {
        if let Some(sub) = self.subs.get_mut(&id)
            && !sub.closed
        {
            sub.closed = true;
            ctx.command(crate::command::Command::Unsubscribe { conn: self.conn, sub: id });
        }
        then(self, relay, ctx);
        self.retire(id, relay, ctx);
        self.run(relay, ctx);
    }

    /// A request is to be sent again as it was: nothing of it counts.
    pub(crate) fn ask_again(&mut self, id: SubId, relay: &mut Relay, ctx: &mut Context<'_>) {
        let Some(sub) = self.subs.get(&id) else { return };
        match sub.role.clone() {
            Role::Live => self.reopen_live(id, relay, ctx),
            Role::Page { batch, job, .. } => {
                if let Some(state) = self.job(batch, job) {
                    state.page = None;
                    state.stage = Stage::ToWalk;
                }
            }
            Role::Recheck { batch, .. } => {
                if let Some(batch) = self.batches.get_mut(&batch) {
                    batch.recheck = Recheck::Ready;
                }
            }
            Role::Ids { batch, job } => {
                if let Some(state) = self.job(batch, job) {
                    state.need.again = true;
                }
                self.on_ids_answered(batch, job, relay, ctx);
            }
        }
    }
}
