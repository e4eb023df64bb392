//! Maintenance: work beside the pass that leaves the status as it is (spec §1; CONN-5, HIST-1,
//! HIST-11).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::agenda::Timer;
use crate::context::Context;
use crate::event::{Event, Trigger};
use crate::id::{BatchId, SubId};
use crate::item::{Item, Layer};
use crate::relay::Relay;
use crate::relay::batch::{Scope, Work};
use crate::relay::session::Session;

impl Session {
    /// What a finished pass leaves to do: history that was only resumed is proven in full when
    /// that proof is old, or the start was fresh (HIST-1, CONN-4); audit and daily reconciliation
    /// are scheduled.
    pub(crate) fn after_pass(
        &mut self,
        trigger: Trigger,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        let mut due = ctx.wall.as_secs().saturating_sub(ctx.config.sync.resync_min.as_secs());
        if core::mem::take(&mut self.fresh) {
            let online = relay.last_connected.unwrap_or(ctx.wall).as_secs();
            due = due.max(online.saturating_sub(1));
        }
        if !relay.negotiates(ctx) {
            let old: Vec<Vec<Item>> = relay
                .coverage
                .cohorts()
                .filter(|(_, cohort)| cohort.full_as_of.as_secs() <= due)
                .map(|(_, cohort)| cohort.items.clone())
                .collect();
            for items in old {
                self.maintain(&items, Scope::Full, ctx);
            }
        }
        let next = relay.rng.span(*ctx.config.sync.resync_min, *ctx.config.sync.resync_max);
        let agenda = &mut ctx.shared.agenda;
        // The pass of a new repository proves nothing of the others (CONN-5).
        if trigger != Trigger::Repository || agenda.at(Some(relay.id), Timer::Daily).is_none() {
            agenda.arm(Some(relay.id), Timer::Daily, ctx.now + next);
        }
        if agenda.at(Some(relay.id), Timer::Audit).is_none() {
            agenda.arm(Some(relay.id), Timer::Audit, ctx.now + ctx.config.sync.audit_interval);
        }
        self.run(relay, ctx);
    }

    /// Maintenance of items that are wanted and idle: the status stays (spec §1).
    pub(crate) fn maintain(&mut self, items: &[Item], scope: Scope, ctx: &Context<'_>) {
        let (busy, idle): (Vec<Item>, Vec<Item>) = items
            .iter()
            .filter(|item| self.done.contains(item))
            .cloned()
            .partition(|item| self.busy.contains_key(item));
        if scope == Scope::Full {
            for item in busy {
                self.again.entry(item).or_insert(false);
            }
        }
        let values = ctx.config.fetch.values_per_filter.max(1) as usize;
        for chunk in idle.chunks(values) {
            self.enqueue(Work { items: chunk.to_vec(), scope, pass: false, gap: None });
        }
    }

    /// History brought what live sync should have (HIST-11): it is told, and the live requests of
    /// the batch are renewed, once.
    pub(crate) fn on_gap_events(
        &mut self,
        id: BatchId,
        count: u32,
        relay: &mut Relay,
        ctx: &mut Context<'_>,
    ) {
        if count == 0 {
            return;
        }
        ctx.emit(Event::GapEvents { relay: relay.id, count });
        let Some(batch) = self.batches.get_mut(&id) else { return };
        if core::mem::replace(&mut batch.renewed, true) {
            return;
        }
        let standing: BTreeSet<SubId> = batch
            .work
            .items
            .iter()
            .filter_map(|item| self.live_of.get(item))
            .filter(|sub| self.live.get(sub).is_some_and(|live| live.answered))
            .copied()
            .collect();
        for sub in standing {
            self.close_sub_after(sub, relay, ctx, |session, relay, ctx| {
                session.ask_again(sub, relay, ctx);
            });
        }
    }

    /// Everything that is live, by layer.
    pub(crate) fn maintain_all(&mut self, scope: Scope, relay: &mut Relay, ctx: &mut Context<'_>) {
        for layer in [Layer::One, Layer::Two, Layer::Three, Layer::Filter] {
            let items: Vec<Item> =
                self.done.iter().filter(|item| item.layer() == layer).cloned().collect();
            self.maintain(&items, scope, ctx);
        }
        self.run(relay, ctx);
    }
}
