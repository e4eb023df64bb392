//! One connection: its subscriptions, live items, batches and pass. Dropped with the connection.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use nostr::types::Timestamp;

use crate::agenda::Timer;
use crate::command::Command;
use crate::context::Context;
use crate::event::Event;
use crate::id::{BatchId, ConnId, NegId, SubId, WalkId};
use crate::item::Item;
use crate::plan::plan;
use crate::relay::Relay;
use crate::relay::batch::{Batch, Scope, Work};
use crate::relay::live::Live;
use crate::relay::settle::Pass;
use crate::tally::{EventTally, SettleTally};
use crate::time::Instant;

/// What a subscription is to the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Stands for what comes now.
    Live,
    /// A page of a job's walk.
    Page { batch: BatchId, job: usize, number: u32 },
    /// Filters of a batch whose first page was empty, once more (HIST-5).
    Recheck { batch: BatchId, job: usize },
    /// Needed ids of a job.
    Ids { batch: BatchId, job: usize },
}

/// A subscription, kept until every event that it received is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sub {
    pub(crate) role: Role,
    pub(crate) received: u64,
    pub(crate) settled: u64,
    pub(crate) eose: bool,
    /// Our CLOSE, or the relay's CLOSED: the slot is free.
    pub(crate) closed: bool,
    pub(crate) opened: Instant,
}

/// A connection that is open.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) conn: ConnId,
    pub(crate) since: Instant,
    next_id: u32,
    next_walk: u32,
    pub(crate) subs: BTreeMap<SubId, Sub>,
    pub(crate) negs: BTreeMap<NegId, (BatchId, usize)>,
    pub(crate) live: BTreeMap<SubId, Live>,
    pub(crate) live_of: BTreeMap<Item, SubId>,
    /// Work whose live request has no slot yet.
    pub(crate) waiting: VecDeque<Work>,
    pub(crate) batches: BTreeMap<BatchId, Batch>,
    /// Items in `waiting`, in a live request's work, or in a batch.
    pub(crate) busy: BTreeSet<Item>,
    /// Items proven on this connection.
    pub(crate) done: BTreeSet<Item>,
    pub(crate) pass: Option<Pass>,
    /// The shell does not read this socket (CONN-7).
    pub(crate) stalled: bool,
    /// The first NEG-OPEN of the connection has no answer yet: one bounded probe (H-21).
    pub(crate) probing: Option<NegId>,
}

impl Session {
    pub(crate) fn new(conn: ConnId, now: Instant) -> Self {
        Self {
            conn,
            since: now,
            next_id: 0,
            next_walk: 0,
            subs: BTreeMap::new(),
            negs: BTreeMap::new(),
            live: BTreeMap::new(),
            live_of: BTreeMap::new(),
            waiting: VecDeque::new(),
            batches: BTreeMap::new(),
            busy: BTreeSet::new(),
            done: BTreeSet::new(),
            pass: None,
            stalled: false,
            probing: None,
        }
    }

    pub(crate) fn sub_id(&mut self) -> SubId {
        self.next_id += 1;
        SubId(self.next_id)
    }

    pub(crate) fn walk_id(&mut self) -> WalkId {
        self.next_walk += 1;
        WalkId(self.next_walk)
    }

    /// Open subscriptions and sessions: what the relay's budget counts (S4).
    pub(crate) fn open_count(&self) -> u32 {
        (self.subs.values().filter(|sub| !sub.closed).count() + self.negs.len()) as u32
    }

    pub(crate) fn is_live(&self, item: &Item) -> bool {
        let sub = self.live_of.get(item);
        sub.and_then(|sub| self.live.get(sub)).is_some_and(|live| live.answered)
    }

    /// Whether an item's gap waits for its retry: resting (spec §2).
    fn is_resting(&self, item: &Item, relay: &Relay) -> bool {
        relay.coverage.gaps().any(|(_, gap)| gap.items.contains(item))
    }

    /// Plans everything that is wanted, not proven on this connection, not pending, not resting.
    pub(crate) fn plan_all(&mut self, relay: &mut Relay, ctx: &mut Context<'_>, pass: bool) {
        let values = ctx.config.fetch.values_per_filter as usize;
        let Some(needed) = ctx.shared.want.needed(relay.id) else { return };
        let groups = plan(
            needed,
            |item| !self.done.contains(item) && !self.busy.contains(item),
            |item| relay.coverage.row_of(item),
            values,
        );
        for group in groups {
            self.enqueue(Work { items: group.items, scope: Scope::Auto, pass, gap: None });
        }
        self.run(relay, ctx);
    }

    /// Proves every wanted item again, over all history.
    pub(crate) fn replan_full(&mut self, relay: &mut Relay, ctx: &mut Context<'_>) {
        let values = ctx.config.fetch.values_per_filter as usize;
        let Some(needed) = ctx.shared.want.needed(relay.id) else { return };
        let groups = plan(needed, |item| !self.busy.contains(item), |_| None, values);
        for group in groups {
            self.enqueue(Work { items: group.items, scope: Scope::Full, pass: true, gap: None });
        }
        self.run(relay, ctx);
    }

    /// Plans newly wanted items. Those of a finished pass begin a new one when they are
    /// repositories (spec §1).
    pub(crate) fn plan_added(
        &mut self,
        added: &[(Item, bool)],
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        let unfinished = self.pass.is_some();
        let values = ctx.config.fetch.values_per_filter as usize;
        for pass in [true, false] {
            let items: Vec<&Item> = added
                .iter()
                .filter(|(item, historic)| {
                    let whole = matches!(item, Item::Layer1 | Item::Repo(_) | Item::Filter(_));
                    pass == (whole || (unfinished && *historic))
                })
                .map(|(item, _)| item)
                .collect();
            let groups = plan(
                items,
                |item| {
                    !self.done.contains(item)
                        && !self.busy.contains(item)
                        && !self.is_resting(item, relay)
                },
                |item| relay.coverage.row_of(item),
                values,
            );
            if pass && !groups.is_empty() {
                self.begin_pass(crate::event::Trigger::Repository, relay, ctx);
            }
            for group in groups {
                self.enqueue(Work { items: group.items, scope: Scope::Auto, pass, gap: None });
            }
        }
        self.run(relay, ctx);
    }

    /// Takes work in; it is begun by [`Self::run`].
    pub(crate) fn enqueue(&mut self, work: Work) {
        self.busy.extend(work.items.iter().cloned());
        self.waiting.push_back(work);
    }

    /// Does what can be done within the budget: live requests first (FILT-3), then history.
    pub(crate) fn run(&mut self, relay: &mut Relay, ctx: &mut Context<'_>) {
        if relay.is_cooling(ctx.now) {
            return; // S11
        }
        self.consolidate(relay, ctx);
        self.open_live(relay, ctx);
        self.start_jobs(relay, ctx);
    }

    /// Items are no longer wanted: their work goes, their subscriptions are left to shrink with
    /// the next consolidation, what is proven of them is forgotten.
    pub(crate) fn drop_items(&mut self, gone: &BTreeSet<Item>) {
        for work in &mut self.waiting {
            work.items.retain(|item| !gone.contains(item));
        }
        self.waiting.retain(|work| !work.items.is_empty());
        for live in self.live.values_mut() {
            live.items.retain(|item| !gone.contains(item));
            for work in &mut live.then {
                work.items.retain(|item| !gone.contains(item));
            }
            live.then.retain(|work| !work.items.is_empty());
        }
        for batch in self.batches.values_mut() {
            batch.work.items.retain(|item| !gone.contains(item));
        }
        for item in gone {
            self.live_of.remove(item);
            self.busy.remove(item);
            self.done.remove(item);
        }
    }

    /// Closes live requests that stand for nothing any more.
    pub(crate) fn close_empty_live(&mut self, relay: &Relay, ctx: &mut Context<'_>) {
        let empty: Vec<SubId> =
            self.live.iter().filter(|(_, l)| l.items.is_empty()).map(|(sub, _)| *sub).collect();
        for sub in empty {
            self.live.remove(&sub);
            self.close_sub(sub, relay, ctx);
        }
    }

    /// Sends a CLOSE, once (S3), and disarms the deadlines of the subscription.
    pub(crate) fn close_sub(&mut self, id: SubId, relay: &Relay, ctx: &mut Context<'_>) {
        if let Some(sub) = self.subs.get_mut(&id)
            && !sub.closed
        {
            sub.closed = true;
            ctx.command(Command::Unsubscribe { conn: self.conn, sub: id });
        }
        self.retire(id, relay, ctx);
    }

    /// Disarms a closed subscription's deadlines and forgets it when its events are settled.
    pub(crate) fn retire(&mut self, id: SubId, relay: &Relay, ctx: &mut Context<'_>) {
        ctx.shared.agenda.cancel(Some(relay.id), Timer::Eose(id));
        ctx.shared.agenda.cancel(Some(relay.id), Timer::LiveWait(id));
        if self.subs.get(&id).is_some_and(|sub| sub.closed && sub.received == sub.settled) {
            self.subs.remove(&id);
        }
    }

    /// Arms a deadline of a request, unless time stands still for this socket (CONN-7).
    pub(crate) fn arm(&self, timer: Timer, at: Instant, relay: &Relay, ctx: &mut Context<'_>) {
        if !self.stalled && !relay.is_cooling(ctx.now) {
            ctx.shared.agenda.arm(Some(relay.id), timer, at);
        }
    }

    /// Events came: they count for their subscription and job, and re-arm its deadline.
    pub(crate) fn on_events(
        &mut self,
        tally: &EventTally,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) -> bool {
        let Some(id) = tally.sub else { return true };
        let Some(sub) = self.subs.get_mut(&id) else { return false };
        sub.received += u64::from(tally.received);
        let (role, eose, closed) = (sub.role.clone(), sub.eose, sub.closed);
        if !eose && !closed {
            let at = ctx.now + ctx.config.sync.eose_timeout;
            self.arm(Timer::Eose(id), at, relay, ctx);
        }
        match role {
            Role::Live => {}
            Role::Page { batch, job, number } => {
                self.on_page_events(id, batch, job, number, tally);
            }
            Role::Recheck { batch, job } | Role::Ids { batch, job } => {
                if let Some(job) = self.job(batch, job) {
                    job.received += u64::from(tally.received);
                }
            }
        }
        true
    }

    /// Events were settled: their job may be over with it.
    pub(crate) fn on_settled(
        &mut self,
        tally: &SettleTally,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) -> bool {
        let Some(id) = tally.sub else { return true };
        let Some(sub) = self.subs.get_mut(&id) else { return false };
        sub.settled += tally.total();
        let (role, closed) = (sub.role.clone(), sub.closed);
        if closed {
            self.retire(id, relay, ctx);
        }
        if let Role::Page { batch, job, .. }
        | Role::Recheck { batch, job }
        | Role::Ids { batch, job } = role
        {
            if tally.gap_events > 0 {
                ctx.emit(Event::GapEvents { relay: relay.id, count: tally.gap_events });
                let items = self.batches.get(&batch).map(|batch| batch.work.items.clone());
                self.renew_live(&items.unwrap_or_default(), relay, ctx);
            }
            self.settle_job(batch, job, tally, relay, ctx);
        }
        self.run(relay, ctx);
        true
    }

    /// Events that history brought and that are not settled (HIST-8).
    pub(crate) fn unsettled(&self) -> u64 {
        let jobs = self.batches.values().flat_map(|batch| &batch.jobs);
        let jobs: u64 = jobs.map(|job| job.received.saturating_sub(job.settled)).sum();
        let live: u64 = self
            .live
            .iter()
            .filter_map(|(id, live)| {
                let sub = self.subs.get(id)?;
                let historic = if live.answered { live.historic } else { sub.received };
                Some(historic.saturating_sub(sub.settled))
            })
            .sum();
        jobs + live
    }

    /// The wall time up to which live sync stands, for items that are live and proven.
    pub(crate) fn mark_live(&self, until: Timestamp, relay: &mut Relay, ctx: &mut Context<'_>) {
        if self.unsettled() == 0 && !self.stalled {
            let changes = relay
                .coverage
                .mark_live(until, |item| self.done.contains(item) && self.is_live(item));
            ctx.persist(changes);
        }
    }
}
