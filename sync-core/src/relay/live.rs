//! Live requests: opened before history (FILT-3), several filters each, merged when slots run
//! out (FILT-2). A live subscription without an open REQ is never called live.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use nostr::filter::Filter;
use nostr::types::Timestamp;

use crate::agenda::Timer;
use crate::command::{Command, Purpose};
use crate::context::Context;
use crate::event::Event;
use crate::filters;
use crate::id::{RowId, SubId};
use crate::item::{GapReason, Item, Layer, Range, RelayText};
use crate::relay::Relay;
use crate::relay::batch::{Missing, Scope, Work};
use crate::relay::gaps::{Naming, by_layer};
use crate::relay::session::{Role, Session, Sub, bytes_max};

/// A live request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    /// What it stands for.
    pub(crate) items: Vec<Item>,
    /// Its filters, without `limit` and `since`.
    pub(crate) filters: u32,
    /// Work that begins with its EOSE (FILT-3).
    pub(crate) then: Vec<Work>,
    /// Requests that it replaces; they are closed at its EOSE (FILT-2).
    pub(crate) replaces: Vec<SubId>,
    /// Its EOSE came.
    pub(crate) answered: bool,
    /// Its EOSE did not come in time: history does not wait for it any longer.
    pub(crate) waited: bool,
    /// Wall time at which it was sent.
    pub(crate) opened: Timestamp,
}

impl Session {
    /// Opens live requests for waiting work, as slots allow; work whose items are live, or that
    /// needs no live request, begins at once.
    pub(crate) fn open_live(&mut self, relay: &mut Relay, ctx: &mut Context<'_>) {
        for _ in 0..self.waiting.len() {
            let Some(work) = self.waiting.pop_front() else { return };
            let lives = |item: &Item| self.live_of.contains_key(item) || is_single(item);
            // What works once and ends does not stay for what comes: history is all of it.
            if ctx.config.once || work.items.iter().all(lives) {
                self.join_or_begin(work, relay, ctx);
            } else if self.live_count() < relay.limits.live() && self.has_slot(relay) {
                self.subscribe_live(Vec::from([work]), Vec::new(), relay, ctx);
            } else if let Some(merged) = self.mergeable(&work, relay, ctx) {
                self.subscribe_live(Vec::from([work]), merged, relay, ctx);
            } else if self.has_unanswered() || self.waits_for_history(&work, relay, ctx) {
                self.waiting.push_back(work);
            } else {
                // No slot will come free by waiting: history goes on without a live request, and
                // maintenance keeps these items current.
                self.begin(work, ctx.wall, relay, ctx);
            }
        }
    }

    /// Whether history uses the slot that a live request for this work would get: no request of
    /// history follows before it has one (FILT-3).
    fn waits_for_history(&self, work: &Work, relay: &Relay, ctx: &Context<'_>) -> bool {
        !self.has_slot(relay)
            && self.open_count() > self.live_count()
            && (self.live_count() < relay.limits.live()
                || !self.fitting(&work.items, ctx).is_empty())
    }

    fn has_slot(&self, relay: &Relay) -> bool {
        self.open_count() < relay.limits.subscriptions()
    }

    fn live_count(&self) -> u32 {
        self.live.len() as u32
    }

    fn has_unanswered(&self) -> bool {
        self.live.values().any(|live| !live.answered)
    }

    /// Work for items whose live request is open waits for its EOSE, or begins.
    fn join_or_begin(&mut self, work: Work, relay: &mut Relay, ctx: &mut Context<'_>) {
        let opening = work
            .items
            .iter()
            .filter_map(|item| self.live_of.get(item))
            .find(|sub| self.live.get(sub).is_some_and(|live| !live.answered))
            .copied();
        match opening.and_then(|sub| self.live.get_mut(&sub)) {
            Some(live) if !live.waited => live.then.push(work),
            Some(Live { opened, .. }) => {
                let opened = *opened;
                self.begin(work, opened, relay, ctx);
            }
            None => self.begin(work, ctx.wall, relay, ctx),
        }
    }

    /// Answered live requests that fit into one with this work.
    fn mergeable(&self, work: &Work, relay: &Relay, ctx: &Context<'_>) -> Option<Vec<SubId>> {
        if self.has_unanswered() || !self.has_slot(relay) {
            return None; // one consolidation at a time
        }
        let merged = self.fitting(&work.items, ctx);
        (!merged.is_empty()).then_some(merged)
    }

    /// The smallest live requests that fit into one REQ together with `items`.
    fn fitting(&self, items: &[Item], ctx: &Context<'_>) -> Vec<SubId> {
        let mut by_size: Vec<(u32, SubId)> =
            self.live.iter().map(|(sub, live)| (live.filters, *sub)).collect();
        by_size.sort_unstable();
        let weigh = |items: &[Item]| -> usize {
            items.iter().map(|item| filters::weight(item, &ctx.shared.want.filters)).sum()
        };
        let mut together = items.to_vec();
        let mut bytes = weigh(items);
        let mut merged = Vec::new();
        for (_, sub) in by_size {
            let items = &self.live[&sub].items;
            bytes += weigh(items);
            together.extend(items.iter().cloned());
            let many =
                live_filters(&together, ctx).len() > ctx.config.live.filters_per_req as usize;
            if many || bytes > bytes_max(ctx.config) {
                break;
            }
            merged.push(sub);
        }
        merged
    }

    /// FILT-2: live requests are merged when they have many filters or leave history fewer than
    /// two slots; the new one first while a slot is free, else the old ones are closed first and
    /// their items reconciled from that second. When nothing can be merged the smallest live
    /// request makes room: its items are kept current by maintenance.
    pub(crate) fn consolidate(&mut self, relay: &mut Relay, ctx: &mut Context<'_>) {
        let budget = relay.limits.subscriptions();
        let filters: u32 = self.live.values().map(|live| live.filters).sum();
        let crowded = self.live_count() + 2 > budget;
        let many = filters >= ctx.config.live.consolidate_at && self.live_count() > 1;
        if self.has_unanswered() || !(crowded || many) || self.live.is_empty() {
            return;
        }
        let merged = self.fitting(&[], ctx);
        if merged.len() > 1 {
            ctx.emit(Event::Consolidated { relay: relay.id, requests: merged.len() as u32 });
            return self.merge_live(merged, relay, ctx);
        }
        if crowded && self.live_count() + 1 > budget {
            let smallest = self.live.iter().min_by_key(|(sub, live)| (live.filters, **sub));
            if let Some(sub) = smallest.map(|(sub, _)| *sub) {
                self.live.remove(&sub);
                self.live_of.retain(|_, of| *of != sub);
                self.close_sub(sub, relay, ctx);
            }
        }
    }

    fn merge_live(&mut self, merged: Vec<SubId>, relay: &mut Relay, ctx: &mut Context<'_>) {
        if self.has_slot(relay) {
            return self.subscribe_live(Vec::new(), merged, relay, ctx);
        }
        let mut items: Vec<Item> = Vec::new();
        for sub in merged {
            items.extend(self.live.remove(&sub).into_iter().flat_map(|live| live.items));
            self.close_sub(sub, relay, ctx);
        }
        let works = self.reopened(items, ctx.wall);
        works.iter().for_each(|work| self.hold(&work.items));
        self.subscribe_live(works, Vec::new(), relay, ctx);
    }

    /// Work for items whose live request does not stand since a second (TALK-1), by layer.
    fn reopened(&mut self, items: Vec<Item>, since: Timestamp) -> Vec<Work> {
        for item in &items {
            let hole = self.holes.entry(item.clone()).or_insert(since);
            *hole = since.min(*hole);
        }
        let pass = self.pass.is_some();
        let work = |items| Work { items, scope: Scope::Since(since), pass, gap: None };
        by_layer(items).into_iter().map(work).collect()
    }

    fn subscribe_live(
        &mut self,
        works: Vec<Work>,
        replaces: Vec<SubId>,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        let mut items: Vec<Item> =
            replaces.iter().flat_map(|sub| self.live[sub].items.iter().cloned()).collect();
        let asked = works.iter().flat_map(|work| &work.items);
        items.extend(asked.filter(|item| !is_single(item)).cloned());
        items.sort_unstable();
        items.dedup();
        let filters = live_filters(&items, ctx);
        let count = filters.len() as u32;
        let sub = self.sub_id();
        let since = Timestamp::from_secs(
            ctx.wall.as_secs().saturating_sub(ctx.config.sync.live_overlap.as_secs()),
        );
        let by_since = relay.limits.live_by_since;
        let filters = filters
            .into_iter()
            .map(|filter| if by_since { filter.since(since) } else { filter.limit(0) })
            .collect();
        // The newest request stands for its items at once: what the old ones bring until they
        // are closed is known by its id.
        for item in &items {
            self.live_of.insert(item.clone(), sub);
        }
        self.live.insert(
            sub,
            Live {
                items,
                filters: count,
                then: works,
                replaces,
                answered: false,
                waited: false,
                opened: ctx.wall,
            },
        );
        self.open_sub(sub, Role::Live, filters, Purpose::Live, relay, ctx);
        let at = ctx.now + ctx.config.sync.live_wait;
        self.arm(Timer::LiveWait(sub), at, relay, ctx);
    }

    /// Sends a REQ (S4: the callers ask for a slot first).
    pub(crate) fn open_sub(
        &mut self,
        id: SubId,
        role: Role,
        filters: Vec<Filter>,
        purpose: Purpose,
        relay: &Relay,
        ctx: &mut Context<'_>,
    ) {
        debug_assert!(!relay.is_cooling(ctx.now), "S11: no REQ during a cooldown");
        self.insert_sub(id, Sub::new(role, ctx.now));
        ctx.command(Command::Subscribe { conn: self.conn, sub: id, filters, purpose });
        let at = ctx.now + ctx.config.sync.eose_timeout;
        self.arm(Timer::Eose(id), at, relay, ctx);
    }

    /// The EOSE of a live request: its work begins, what it replaces is closed.
    pub(crate) fn on_live_eose(&mut self, id: SubId, relay: &mut Relay, ctx: &mut Context<'_>) {
        let Some(live) = self.live.get_mut(&id) else { return };
        live.answered = true;
        let opened = live.opened;
        let then = core::mem::take(&mut live.then);
        let replaces = core::mem::take(&mut live.replaces);
        ctx.shared.agenda.cancel(Some(relay.id), Timer::Eose(id));
        ctx.shared.agenda.cancel(Some(relay.id), Timer::LiveWait(id));
        for old in replaces {
            self.live.remove(&old);
            self.close_sub(old, relay, ctx);
        }
        for work in then {
            self.begin(work, opened, relay, ctx);
        }
    }

    /// The live request has not answered in time: history does not wait for it any longer.
    pub(crate) fn on_live_wait(&mut self, id: SubId, relay: &mut Relay, ctx: &mut Context<'_>) {
        let Some(live) = self.live.get_mut(&id) else { return };
        live.waited = true;
        let opened = live.opened;
        for work in core::mem::take(&mut live.then) {
            self.begin(work, opened, relay, ctx);
        }
        self.run(relay, ctx);
    }

    /// A live request is sent again in the same shape: a limit closed it, nobody refused it. Its
    /// items are proven again from the second it was last known to stand (TALK-1).
    pub(crate) fn reopen_live(&mut self, id: SubId, relay: &mut Relay, ctx: &mut Context<'_>) {
        let Some(live) = self.live.remove(&id) else { return };
        self.live_of.retain(|_, sub| *sub != id);
        for old in live.replaces {
            self.live.remove(&old);
            self.close_sub(old, relay, ctx);
        }
        let since = if live.answered { ctx.wall } else { live.opened };
        let begun: BTreeSet<Item> =
            live.then.iter().flat_map(|work| work.items.iter().cloned()).collect();
        self.waiting.extend(live.then);
        let rest: Vec<Item> = live.items.into_iter().filter(|item| !begun.contains(item)).collect();
        for work in self.reopened(rest, since) {
            self.enqueue(work);
        }
    }

    /// An event of a live request was lost on our side: what its items brought lately is asked
    /// for again (S6, TALK-5).
    pub(crate) fn miss_live(
        &mut self,
        id: SubId,
        reason: GapReason,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        let items = self.live.get(&id).map(|live| live.items.clone()).unwrap_or_default();
        // What the store could not take may be of any time; what the relay sends too large is
        // named, not walked for.
        let back = match reason {
            GapReason::StoreFailed => ctx.wall.as_secs(),
            _ => ctx.config.sync.audit_window.as_secs(),
        };
        let since = Timestamp::from_secs(ctx.wall.as_secs().saturating_sub(back));
        let range = Range { since, until: ctx.top() };
        let missing = Missing { range, reason, detail: RelayText::default(), ids: Vec::new() };
        for items in by_layer(items) {
            let naming = Naming { items: &items, tries: 0, row: None, tried: None };
            relay.name(&missing, &naming, ctx);
        }
    }

    /// A live request ended or never began to stand: its items are missing from the second it
    /// was last known to stand, and asked for again with the retry of that gap (TALK-1).
    pub(crate) fn lose_live(
        &mut self,
        id: SubId,
        reason: GapReason,
        text: &RelayText,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        let Some(live) = self.live.remove(&id) else { return };
        self.live_of.retain(|_, sub| *sub != id);
        // A consolidation that failed leaves what it was to replace as it stands.
        for old in &live.replaces {
            let items = self.live.get(old).map(|live| live.items.clone()).unwrap_or_default();
            self.live_of.extend(items.into_iter().map(|item| (item, *old)));
        }
        let lost: BTreeSet<Item> =
            live.items.iter().filter(|item| !self.live_of.contains_key(item)).cloned().collect();
        ctx.emit(Event::LiveParked { relay: relay.id, reason, text: text.clone() });
        let mut never: BTreeMap<Item, Option<RowId>> = BTreeMap::new();
        for work in live.then {
            self.release(&work.items);
            let (gone, kept): (Vec<Item>, Vec<Item>) =
                work.items.into_iter().partition(|item| lost.contains(item));
            never.extend(gone.into_iter().map(|item| (item, work.gap)));
            // Items whose live request is another are not lost with this one.
            if !kept.is_empty() {
                self.enqueue(Work { items: kept, ..work });
            }
        }
        let closed = if live.answered { ctx.wall } else { live.opened };
        for items in by_layer(lost.into_iter().collect()) {
            let row = items.iter().find_map(|item| never.get(item).copied().flatten());
            let since = match items.iter().any(|item| never.contains_key(item)) {
                true => relay.resume_since(&items, ctx),
                false => closed,
            };
            let holes = items.iter().filter_map(|item| self.holes.get(item).copied());
            let since = holes.min().map_or(since, |hole| hole.min(since));
            let range = Range { since, until: ctx.top() };
            let missing = Missing { range, reason, detail: text.clone(), ids: Vec::new() };
            let naming = Naming { items: &items, tries: 0, row, tried: None };
            relay.name(&missing, &naming, ctx);
            self.begin_again(&items);
        }
    }
}

/// Items that are asked for once and need no live request.
fn is_single(item: &Item) -> bool {
    item.layer() == Layer::Id
}

fn live_filters(items: &[Item], ctx: &Context<'_>) -> Vec<Filter> {
    let want = &ctx.shared.want;
    filters::of_items(items, |repo| want.level(repo), &want.filters, &ctx.config.fetch)
}
