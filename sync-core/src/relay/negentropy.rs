//! The control side of NIP-77 (HIST-1 to HIST-4): when a session is opened and over what range,
//! what becomes of needed ids, and when paging takes over. Bytes stay in the data plane.

use alloc::vec::Vec;

use nostr::event::EventId;
use nostr::types::Timestamp;

use crate::agenda::Timer;
use crate::command::{Command, NegLimits, Purpose};
use crate::context::Context;
use crate::event::{Event, NegFallback};
use crate::filters;
use crate::id::{BatchId, NegId};
use crate::input::NegOutcome;
use crate::item::{GapReason, Range, RelayText};
use crate::ledger::Method;
use crate::relay::Relay;
use crate::relay::batch::{Job, Missing, Need, Scope, Stage};
use crate::relay::closed;
use crate::relay::session::{Neg, Role, Session};

/// Rounds of requests for ids that a relay named (HIST-3).
const ID_ROUNDS: u32 = 20;
/// How often a range is halved because the relay refuses it for size (HIST-4).
const HALVINGS: u32 = 8;
/// Before this second there is no Nostr event worth a window of its own: 2020-01-01.
const EPOCH: u64 = 1_577_836_800;

/// What is known of a relay's NIP-77. Capability ages; NIP-11 is a hint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Negentropy {
    /// Not tried yet, or what was learned is old.
    #[default]
    Unknown,
    /// It answered.
    Spoken,
    /// It refused, ignored or failed it, at this wall time.
    Refused(Timestamp),
}

/// What a session found.
pub(crate) struct Found {
    pub(crate) need: Vec<EventId>,
    pub(crate) have: u32,
    pub(crate) bytes: u64,
    pub(crate) outcome: NegOutcome,
}

impl Job {
    /// Begins with ids that are known to be wanted.
    pub(crate) fn fetch_ids(&mut self) {
        let ids: Vec<EventId> = self.filter.ids.iter().flatten().copied().collect();
        self.need_ids(ids);
        self.method = Method::Ids;
    }

    fn need_ids(&mut self, ids: Vec<EventId>) {
        self.need = Need { open: ids.iter().copied().collect(), queue: ids, ..Need::default() };
        self.stage = Stage::Fetching;
    }
}

impl Relay {
    /// NIP-11 says whether the relay speaks it: a hint, which ages like what is learned, so that
    /// the next connection need not wait for the document.
    pub(crate) fn learn_announced(&mut self, announced: Option<bool>, ctx: &mut Context<'_>) {
        self.announces_negentropy = announced;
        if announced == Some(false) && self.negentropy == Negentropy::Unknown {
            self.negentropy = Negentropy::Refused(ctx.wall);
            self.persist(ctx);
        }
    }

    /// Whether history is reconciled with this relay (HIST-1).
    pub(crate) fn negotiates(&self, ctx: &Context<'_>) -> bool {
        self.reconciles(ctx.config, ctx.wall)
    }

    /// See [`Self::negotiates`].
    pub(crate) fn reconciles(&self, config: &crate::Config, wall: Timestamp) -> bool {
        config.sync.negentropy
            && match self.negentropy {
                Negentropy::Unknown => self.announces_negentropy != Some(false),
                Negentropy::Spoken => true,
                Negentropy::Refused(at) => {
                    wall.as_secs() >= at.as_secs() + config.learn.ttl.as_secs()
                }
            }
    }
}

impl Session {
    /// Opens a session, unless the first one of the connection has no answer yet (H-21).
    pub(crate) fn negotiate(
        &mut self,
        batch: BatchId,
        job: usize,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        if self.probing.is_some() {
            return;
        }
        if !relay.negotiates(ctx) {
            return self.fall_back(batch, job, relay, ctx);
        }
        let neg = NegId(self.sub_id().0);
        let limits = NegLimits {
            rounds: ctx.config.limits.neg_rounds,
            need: ctx.config.limits.neg_need,
            frame: ctx.config.limits.neg_frame_bytes.0 as u32,
        };
        let Some(state) = self.job(batch, job) else { return };
        state.stage = Stage::Negotiating(neg);
        let (filter, range) = (state.filter.clone(), state.range);
        if relay.negentropy != Negentropy::Spoken {
            self.probing = Some(neg);
        }
        self.negs.insert(neg, Neg { batch, job, answered: false });
        ctx.command(Command::Reconcile { conn: self.conn, neg, filter, range, limits });
        let at = ctx.now + ctx.config.sync.neg_timeout;
        self.arm(Timer::Neg(neg), at, relay, ctx);
    }

    /// A round ended: the relay speaks it; the deadline is re-armed, the caps are checked (T11).
    pub(crate) fn on_neg_round(
        &mut self,
        neg: NegId,
        round: u32,
        bytes: u64,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) -> bool {
        let Some(open) = self.negs.get_mut(&neg) else { return false };
        open.answered = true;
        let probed = self.probing.is_some();
        self.learn_spoken(relay, ctx);
        let limits = &ctx.config.limits;
        if round > limits.neg_rounds || bytes > limits.neg_pass_bytes.0 {
            self.stop_negs(&[neg], ctx, relay);
            self.refuse(neg, NegFallback::Garbage, relay, ctx);
        } else {
            let at = ctx.now + ctx.config.sync.neg_timeout;
            self.arm(Timer::Neg(neg), at, relay, ctx);
            if probed {
                self.run(relay, ctx);
            }
        }
        true
    }

    fn learn_spoken(&mut self, relay: &mut Relay, ctx: &mut Context<'_>) {
        self.end_probe();
        if relay.negentropy != Negentropy::Spoken {
            relay.negentropy = Negentropy::Spoken;
            relay.persist(ctx);
        }
    }

    /// What waited for the probe may open its sessions, or page.
    fn end_probe(&mut self) {
        if self.probing.take().is_some() {
            self.ready.extend(self.batches.keys().copied());
        }
    }

    /// A session ended by itself.
    pub(crate) fn on_reconciled(
        &mut self,
        neg: NegId,
        found: &Found,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) -> bool {
        let Some((batch, job)) = self.end_neg(neg, relay, ctx) else { return false };
        self.tell_reconciled(batch, found, relay, ctx);
        match &found.outcome {
            NegOutcome::Done => {
                self.learn_spoken(relay, ctx);
                relay.limits.on_answer();
                self.need_found(batch, job, &found.need, ctx);
                self.after_job(batch, job, relay, ctx);
            }
            NegOutcome::Split(ranges) => {
                self.learn_spoken(relay, ctx);
                self.split_job(batch, job, ranges);
                // Windows are what is still open: what the session found lies outside of them.
                self.need_found(batch, job, &found.need, ctx);
                self.after_job(batch, job, relay, ctx);
            }
            NegOutcome::Truncated => self.give_up(batch, job, NegFallback::Truncated, relay, ctx),
            NegOutcome::Garbage => self.give_up(batch, job, NegFallback::Garbage, relay, ctx),
        }
        self.run(relay, ctx);
        true
    }

    fn tell_reconciled(&self, id: BatchId, found: &Found, relay: &Relay, ctx: &mut Context<'_>) {
        let Some(batch) = self.batches.get(&id) else { return };
        let ids = if ctx.is_probe() { found.need.clone() } else { Vec::new() };
        ctx.emit(Event::Reconciled {
            relay: relay.id,
            batch: id,
            layer: batch.layer,
            need: u32::try_from(found.need.len()).unwrap_or(u32::MAX),
            have: found.have,
            bytes: found.bytes,
            ids,
        });
    }

    /// What a session named is fetched, unless this core only looks.
    fn need_found(&mut self, batch: BatchId, job: usize, need: &[EventId], ctx: &Context<'_>) {
        let Some(state) = self.job(batch, job) else { return };
        state.method = Method::Negentropy;
        match need.is_empty() || ctx.is_probe() {
            true => state.prove_reconciled(),
            false => state.need_ids(need.to_vec()),
        }
    }

    fn end_neg(
        &mut self,
        neg: NegId,
        relay: &Relay,
        ctx: &mut Context<'_>,
    ) -> Option<(BatchId, usize)> {
        ctx.shared.agenda.cancel(Some(relay.id), Timer::Neg(neg));
        if self.probing == Some(neg) {
            self.end_probe();
        }
        self.negs.remove(&neg).map(|open| (open.batch, open.job))
    }

    fn split_job(&mut self, batch: BatchId, job: usize, ranges: &[Range]) {
        let Some(batch) = self.batches.get_mut(&batch) else { return };
        let halvings = batch.jobs[job].halvings + 1;
        batch.jobs[job].prove_reconciled();
        batch.jobs[job].method = Method::Negentropy;
        let filter = batch.jobs[job].filter.clone();
        for range in ranges {
            let mut window = Job::new(filter.clone(), *range, Stage::ToNegotiate);
            window.halvings = halvings;
            batch.jobs.push(window);
        }
    }

    /// A refusal by NEG-ERR, CLOSED or NOTICE, or silence.
    pub(crate) fn on_neg_refused(
        &mut self,
        neg: NegId,
        text: &RelayText,
        why: NegFallback,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) -> bool {
        if why == NegFallback::Refused && closed::is_too_large(text.as_str()) {
            return self.on_neg_too_large(neg, why, relay, ctx);
        }
        let Some((batch, job)) = self.end_neg(neg, relay, ctx) else { return false };
        self.give_up(batch, job, why, relay, ctx);
        self.run(relay, ctx);
        true
    }

    /// A refusal for size: the range is halved, so often (HIST-4).
    pub(crate) fn on_neg_too_large(
        &mut self,
        neg: NegId,
        why: NegFallback,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) -> bool {
        let Some((batch, job)) = self.end_neg(neg, relay, ctx) else { return false };
        match self.job(batch, job).and_then(|job| halves(job)) {
            Some(ranges) => {
                self.learn_spoken(relay, ctx);
                self.split_job(batch, job, &ranges);
                self.after_job(batch, job, relay, ctx);
            }
            None => self.give_up(batch, job, why, relay, ctx),
        }
        self.run(relay, ctx);
        true
    }

    /// A session made no progress in time.
    pub(crate) fn on_neg_timeout(&mut self, neg: NegId, relay: &mut Relay, ctx: &mut Context<'_>) {
        self.stop_negs(&[neg], ctx, relay);
        self.refuse(neg, NegFallback::Timeout, relay, ctx);
    }

    fn refuse(&mut self, neg: NegId, why: NegFallback, relay: &mut Relay, ctx: &mut Context<'_>) {
        self.on_neg_refused(neg, &RelayText::default(), why, relay, ctx);
    }

    /// Sends NEG-CLOSE for sessions of ours.
    pub(crate) fn stop_negs(&mut self, negs: &[NegId], ctx: &mut Context<'_>, relay: &Relay) {
        for neg in negs {
            ctx.shared.agenda.cancel(Some(relay.id), Timer::Neg(*neg));
            ctx.command(Command::StopReconcile { conn: self.conn, neg: *neg });
        }
    }

    /// Sessions begin again later: a cooldown (TALK-2).
    pub(crate) fn pause_negs(&mut self, relay: &Relay, ctx: &mut Context<'_>) {
        let open: Vec<NegId> = self.negs.keys().copied().collect();
        self.stop_negs(&open, ctx, relay);
        for neg in open {
            if let Some((batch, job)) = self.end_neg(neg, relay, ctx)
                && let Some(state) = self.job(batch, job)
            {
                state.stage = Stage::ToNegotiate;
            }
        }
    }

    /// The relay's negentropy is not used for a while: this job and those that wait page (HIST-4).
    fn give_up(
        &mut self,
        batch: BatchId,
        job: usize,
        why: NegFallback,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        relay.negentropy = Negentropy::Refused(ctx.wall);
        relay.persist(ctx);
        ctx.emit(Event::NegentropyFallback { relay: relay.id, reason: why });
        self.fall_back(batch, job, relay, ctx);
    }

    /// Pages prove what negentropy did not. A walk that is over already is the proof (HIST-1).
    fn fall_back(&mut self, batch: BatchId, job: usize, relay: &mut Relay, ctx: &mut Context<'_>) {
        let probe = ctx.is_probe();
        let Some(parent) = self.batches.get_mut(&batch) else { return };
        let Some(state) = parent.jobs.get_mut(job) else { return };
        let walked = state.walk.is_some() && state.method == Method::Pages;
        if !walked && parent.work.scope == Scope::Auto {
            // Pages go on from what is proven; the full walk follows as maintenance (HIST-1).
            let since = relay.resume_since(&parent.work.items, ctx);
            state.range.since = state.range.since.max(since);
            parent.range.since = parent.range.since.max(since);
        }
        state.stage = if walked || probe { Stage::Done } else { Stage::ToWalk };
        state.method = Method::Pages;
        self.after_job(batch, job, relay, ctx);
    }

    /// Asks for needed ids: several filters a request, several requests in flight (HIST-2).
    pub(crate) fn fetch(
        &mut self,
        batch: BatchId,
        job: usize,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        let config = &ctx.config.fetch;
        let per_req = (config.ids_per_filter * config.filters_per_req).max(1) as usize;
        while self.open_count() < relay.limits.subscriptions() {
            let Some(source) = self.batches.get(&batch).map(|batch| batch.source) else { return };
            let Some(state) = self.job(batch, job) else { return };
            if state.need.queue.is_empty() {
                return;
            }
            let rest = state.need.queue.split_off(per_req.min(state.need.queue.len()));
            let ids = core::mem::replace(&mut state.need.queue, rest);
            state.need.in_flight += 1;
            let filters = filters::of_ids(&ids, &ctx.config.fetch);
            let sub = self.sub_id();
            let role = Role::Ids { batch, job };
            self.open_sub(sub, role, filters, Purpose::Ids { source }, relay, ctx);
        }
    }

    /// A request for ids ended; the round ends with the last one, when its events are settled.
    pub(crate) fn on_ids_answered(
        &mut self,
        batch: BatchId,
        job: usize,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        if let Some(state) = self.job(batch, job) {
            state.need.in_flight = state.need.in_flight.saturating_sub(1);
        }
        self.after_job(batch, job, relay, ctx);
    }

    /// HIST-3: another round while each brings at least one id; else the relay's negentropy is
    /// distrusted, the items are paged, and ids that stay missing are named.
    pub(crate) fn end_round(
        &mut self,
        batch: BatchId,
        job: usize,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        let Some(state) = self.job(batch, job) else { return };
        let need = &mut state.need;
        if !need.queue.is_empty() || need.in_flight > 0 {
            return;
        }
        if need.open.is_empty() {
            match state.method {
                Method::Negentropy => state.prove_reconciled(),
                Method::Pages | Method::Ids => state.stage = Stage::Done,
            }
            return;
        }
        if let Some((reason, detail)) = need.failed.take() {
            let ids = need.open.iter().take(Missing::MAX_IDS).copied().collect();
            state.missing.push(Missing { range: state.range, reason, detail, ids });
            state.stage = Stage::Done;
            return;
        }
        if core::mem::take(&mut need.again) {
            need.queue = need.open.iter().copied().collect();
            return;
        }
        need.round += 1;
        if need.progress && need.round < ID_ROUNDS {
            need.progress = false;
            need.queue = need.open.iter().copied().collect();
            return;
        }
        let single = state.method == Method::Ids;
        if single {
            // Asked for by id and refused: this relay does not have it (REJ-3).
            for id in core::mem::take(&mut need.open) {
                ctx.shared.want.mark_refused(id, relay.id);
            }
            state.stage = Stage::Done;
            return;
        }
        let ids: Vec<EventId> = need.open.iter().take(Missing::MAX_IDS).copied().collect();
        let range = state.range;
        let reason = GapReason::RefusedIds;
        state.missing.push(Missing { range, reason, detail: RelayText::default(), ids });
        need.open.clear();
        state.walk = None;
        self.give_up(batch, job, NegFallback::Distrust, relay, ctx);
    }
}

/// Both halves of a range that a relay refuses for size, until it was halved often enough.
fn halves(job: &Job) -> Option<Vec<Range>> {
    let Range { since, until } = job.range;
    if job.halvings >= HALVINGS || since >= until {
        return None;
    }
    let (low, high) = (since.as_secs(), until.as_secs());
    let from = if low < EPOCH && high > EPOCH { EPOCH } else { low };
    let middle = from + (high - from) / 2;
    let at = Timestamp::from_secs;
    Some(alloc::vec![Range { since, until: at(middle) }, Range { since: at(middle + 1), until },])
}
