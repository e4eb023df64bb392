//! One connection: its subscriptions, live items, batches and pass. Dropped with the connection.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use nostr::types::Timestamp;

use crate::agenda::Timer;
use crate::command::Command;
use crate::config::Config;
use crate::context::Context;
use crate::filters;
use crate::id::{BatchId, ConnId, NegId, SubId, WalkId};
use crate::item::{GapReason, Item};
use crate::plan::{Chunk, plan};
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
    /// Of them, those that count as history: all but a live request's after its EOSE (FILT-3).
    historic: u64,
    settled: u64,
    pub(crate) eose: bool,
    /// Our CLOSE, or the relay's CLOSED: the slot is free.
    pub(crate) closed: bool,
    pub(crate) opened: Instant,
}

impl Sub {
    pub(crate) fn new(role: Role, now: Instant) -> Self {
        Self { role, received: 0, historic: 0, settled: 0, eose: false, closed: false, opened: now }
    }

    /// Historic events that are not settled.
    fn unsettled(&self) -> u64 {
        self.historic.saturating_sub(self.settled)
    }

    /// Whether what comes and is settled from here on is no history.
    pub(crate) fn is_standing(&self) -> bool {
        self.role == Role::Live && self.eose && self.unsettled() == 0
    }

    /// Closed, and every event that it received is settled.
    fn is_over(&self) -> bool {
        self.closed && self.received == self.settled
    }
}

/// A negentropy session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neg {
    pub(crate) batch: BatchId,
    pub(crate) job: usize,
    /// The relay took part in a round.
    pub(crate) answered: bool,
}

/// A connection that is open.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) conn: ConnId,
    pub(crate) since: Instant,
    next_id: u32,
    next_walk: u32,
    pub(crate) subs: BTreeMap<SubId, Sub>,
    /// How many of them are open.
    open: u32,
    pub(crate) negs: BTreeMap<NegId, Neg>,
    pub(crate) live: BTreeMap<SubId, Live>,
    pub(crate) live_of: BTreeMap<Item, SubId>,
    /// Work whose live request has no slot yet.
    pub(crate) waiting: VecDeque<Work>,
    pub(crate) batches: BTreeMap<BatchId, Batch>,
    /// Those that may have something to ask for.
    pub(crate) ready: BTreeSet<BatchId>,
    /// Items in `waiting`, in a live request's work, or in a batch, and in how many of them.
    pub(crate) busy: BTreeMap<Item, u32>,
    /// Items proven on this connection.
    pub(crate) done: BTreeSet<Item>,
    /// Items to be proven in full when what is pending of them is over; `true` in the pass.
    pub(crate) again: BTreeMap<Item, bool>,
    /// Items whose live request did not stand since this second, until that is reconciled.
    pub(crate) holes: BTreeMap<Item, Timestamp>,
    pub(crate) pass: Option<Pass>,
    /// The connection is a fresh start (CONN-4), and its first pass has not finished.
    pub(crate) fresh: bool,
    /// The shell does not read this socket (CONN-7).
    pub(crate) stalled: bool,
    /// Historic events of all subscriptions that are not settled (HIST-8).
    unsettled: u64,
    /// The first NEG-OPEN of the connection has no answer yet: one bounded probe (H-21).
    pub(crate) probing: Option<NegId>,
    /// A challenge was answered: the next OK may let us in (TALK-4).
    pub(crate) challenged: bool,
}

impl Session {
    pub(crate) fn new(conn: ConnId, now: Instant) -> Self {
        Self {
            conn,
            since: now,
            next_id: 0,
            next_walk: 0,
            subs: BTreeMap::new(),
            open: 0,
            negs: BTreeMap::new(),
            live: BTreeMap::new(),
            live_of: BTreeMap::new(),
            waiting: VecDeque::new(),
            batches: BTreeMap::new(),
            ready: BTreeSet::new(),
            busy: BTreeMap::new(),
            done: BTreeSet::new(),
            again: BTreeMap::new(),
            holes: BTreeMap::new(),
            pass: None,
            fresh: false,
            stalled: false,
            unsettled: 0,
            probing: None,
            challenged: false,
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
        self.open + self.negs.len() as u32
    }

    pub(crate) fn is_live(&self, item: &Item) -> bool {
        let sub = self.live_of.get(item);
        sub.and_then(|sub| self.live.get(sub)).is_some_and(|live| live.answered)
    }

    /// Plans everything that is wanted, not proven on this connection and not pending.
    pub(crate) fn plan_all(&mut self, relay: &mut Relay, ctx: &mut Context<'_>, pass: bool) {
        let weight = |item: &Item| filters::weight(item, &ctx.shared.want.filters);
        let chunk = chunk(ctx.config, &weight);
        let Some(needed) = ctx.shared.want.needed(relay.id) else { return };
        let groups = plan(
            needed,
            |item| !self.done.contains(item) && !self.busy.contains_key(item),
            |item| relay.coverage.row_of(item),
            chunk,
        );
        let scope = if relay.resync_due { Scope::Full } else { Scope::Auto };
        for group in groups {
            self.enqueue(Work { items: group.items, scope, pass, gap: None });
        }
        self.run(relay, ctx);
    }

    /// Proves every wanted item again, over all history; what is pending of them ends first.
    pub(crate) fn replan_full(&mut self, relay: &mut Relay, ctx: &mut Context<'_>) {
        let weight = |item: &Item| filters::weight(item, &ctx.shared.want.filters);
        let chunk = chunk(ctx.config, &weight);
        let Some(needed) = ctx.shared.want.needed(relay.id) else { return };
        let groups = plan(needed, |item| !self.busy.contains_key(item), |_| None, chunk);
        let pending = needed.iter().filter(|item| self.busy.contains_key(*item));
        self.again.extend(pending.cloned().map(|item| (item, true)));
        for group in groups {
            self.enqueue(Work { items: group.items, scope: Scope::Full, pass: true, gap: None });
        }
        self.run(relay, ctx);
    }

    /// Plans newly wanted items. Those of a finished pass begin a new one when they are
    /// repositories (spec §1).
    pub(crate) fn plan_added(
        &mut self,
        added: &BTreeMap<Item, bool>,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        let unfinished = self.pass.is_some();
        for pass in [true, false] {
            let items: Vec<&Item> = added
                .iter()
                .filter(|(item, historic)| {
                    let whole = matches!(item, Item::Layer1 | Item::Repo(_) | Item::Filter(_));
                    pass == (whole || (unfinished && **historic))
                })
                .map(|(item, _)| item)
                .collect();
            let groups = plan(
                items,
                |item| !self.done.contains(item) && !self.busy.contains_key(item),
                |item| relay.coverage.row_of(item),
                chunk(ctx.config, &|item| filters::weight(item, &ctx.shared.want.filters)),
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

    /// Does what can be done within the budget: live requests first (FILT-3), then history.
    pub(crate) fn run(&mut self, relay: &mut Relay, ctx: &mut Context<'_>) {
        if relay.is_cooling(ctx.now) {
            return; // S11
        }
        self.consolidate(relay, ctx);
        self.open_live(relay, ctx);
        self.start_jobs(relay, ctx);
    }

    /// A subscription is open from here on.
    pub(crate) fn insert_sub(&mut self, id: SubId, sub: Sub) {
        self.subs.insert(id, sub);
        self.open += 1;
    }

    /// A subscription ends, by our CLOSE or the relay's CLOSED: whether it was open (S3).
    pub(crate) fn end_sub(&mut self, id: SubId) -> bool {
        let Some(sub) = self.subs.get_mut(&id).filter(|sub| !sub.closed) else { return false };
        sub.closed = true;
        self.open -= 1;
        true
    }

    /// Sends a CLOSE, once (S3), and disarms the deadlines of the subscription.
    pub(crate) fn close_sub(&mut self, id: SubId, relay: &Relay, ctx: &mut Context<'_>) {
        if self.end_sub(id) {
            ctx.command(Command::Unsubscribe { conn: self.conn, sub: id });
        }
        self.retire(id, relay, ctx);
    }

    /// Disarms a closed subscription's deadlines and forgets it when its events are settled.
    pub(crate) fn retire(&mut self, id: SubId, relay: &Relay, ctx: &mut Context<'_>) {
        ctx.shared.agenda.cancel(Some(relay.id), Timer::Eose(id));
        ctx.shared.agenda.cancel(Some(relay.id), Timer::LiveWait(id));
        let Some(sub) = self.subs.get(&id) else { return };
        // What comes late for a page still counts for its walk (HIST-5).
        let pending = match sub.role {
            Role::Page { batch, job, .. } => self
                .batches
                .get(&batch)
                .and_then(|batch| batch.jobs.get(job))
                .is_some_and(|job| job.pages.contains(&id)),
            Role::Live | Role::Recheck { .. } | Role::Ids { .. } => false,
        };
        if sub.is_over() && !pending {
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
        if role != Role::Live || !eose {
            // A commit may be quicker than the tally of what it settled.
            let before = sub.unsettled();
            sub.historic += u64::from(tally.received);
            self.unsettled += sub.unsettled() - before;
        }
        if !eose && !closed {
            let at = ctx.now + ctx.config.sync.eose_timeout;
            self.arm(Timer::Eose(id), at, relay, ctx);
        }
        match role {
            Role::Live if tally.oversize > 0 => {
                self.miss_live(id, GapReason::Oversize, relay, ctx);
            }
            Role::Live if !eose => {
                // FILT-3: `limit: 0` is answered with what was stored long ago.
                let overlap = ctx.config.sync.live_overlap.as_secs();
                let opened = self.live.get(&id).map(|live| live.opened.as_secs());
                let since = opened.unwrap_or_default().saturating_sub(overlap);
                if tally.oldest.is_some_and(|oldest| oldest.as_secs() < since) {
                    let _ = relay.limits.refuse_limit_0(ctx.wall);
                }
            }
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
        let before = sub.unsettled();
        sub.settled += tally.total();
        self.unsettled -= before - sub.unsettled();
        let (role, closed) = (sub.role.clone(), sub.closed);
        if tally.failed > 0 && role == Role::Live {
            self.miss_live(id, GapReason::StoreFailed, relay, ctx);
        }
        if closed {
            self.retire(id, relay, ctx);
        }
        if let Role::Page { batch, job, .. }
        | Role::Recheck { batch, job }
        | Role::Ids { batch, job } = role
        {
            self.on_gap_events(batch, tally.gap_events, relay, ctx);
            self.settle_job(batch, job, tally, relay, ctx);
        }
        self.run(relay, ctx);
        true
    }

    /// Events that history brought and that are not settled (HIST-8).
    pub(crate) fn unsettled(&self) -> u64 {
        self.unsettled
    }

    /// The wall time up to which live sync stands, for items that are live and proven.
    pub(crate) fn mark_live(&self, until: Timestamp, relay: &mut Relay, ctx: &mut Context<'_>) {
        let settled = |sub: &SubId| self.subs.get(sub).is_none_or(|s| s.received == s.settled);
        if self.unsettled() == 0 && !self.stalled && self.live.keys().all(settled) {
            let changes = relay.coverage.mark_live(until, |item| {
                self.done.contains(item) && self.is_live(item) && !self.holes.contains_key(item)
            });
            ctx.persist(changes);
        }
    }
}

/// How many items share a request; what is left of its bytes is for its envelope (FILT-1).
pub(crate) fn chunk<'a>(config: &Config, weight: &'a dyn Fn(&Item) -> usize) -> Chunk<'a> {
    Chunk {
        values: config.fetch.values_per_filter.max(1) as usize,
        filters: config.live.filters_per_req.max(1) as usize,
        bytes: bytes_max(config),
        weight,
    }
}

/// Bytes of the values of a request.
pub(crate) fn bytes_max(config: &Config) -> usize {
    (config.limits.req_frame_bytes.0 as usize).saturating_sub(4096)
}
