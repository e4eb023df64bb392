//! Which items are pending, and in how much work: what is held, released, dropped, or to be done
//! again when all of it is over.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::context::Context;
use crate::id::SubId;
use crate::item::Item;
use crate::relay::Relay;
use crate::relay::batch::{Scope, Work};
use crate::relay::session::Session;

impl Session {
    /// Takes work in; it is begun by [`Self::run`].
    pub(crate) fn enqueue(&mut self, work: Work) {
        self.hold(&work.items);
        self.waiting.push_back(work);
    }

    /// Items are pending once more.
    pub(crate) fn hold(&mut self, items: &[Item]) {
        for item in items {
            *self.busy.entry(item.clone()).or_default() += 1;
        }
    }

    /// Items are pending once less.
    pub(crate) fn release(&mut self, items: &[Item]) {
        for item in items {
            if let Some(count) = self.busy.get_mut(item) {
                *count -= 1;
                if *count == 0 {
                    self.busy.remove(item);
                }
            }
        }
    }

    /// Proves items again in full that were asked to be while other work of them was pending.
    pub(crate) fn begin_again(&mut self, items: &[Item]) {
        if self.again.is_empty() {
            return;
        }
        for pass in [true, false] {
            let due: Vec<Item> = items
                .iter()
                .filter(|item| self.again.get(*item) == Some(&pass))
                .filter(|item| !self.busy.contains_key(*item))
                .cloned()
                .collect();
            if !due.is_empty() {
                due.iter().for_each(|item| {
                    self.again.remove(item);
                });
                self.enqueue(Work { items: due, scope: Scope::Full, pass, gap: None });
            }
        }
    }

    /// Items are no longer wanted: their work goes, their subscriptions are left to shrink with
    /// the next consolidation, what is proven of them is forgotten.
    pub(crate) fn drop_items(&mut self, gone: &BTreeSet<Item>) {
        self.drop_work(gone);
        for live in self.live.values_mut() {
            live.items.retain(|item| !gone.contains(item));
        }
        for item in gone {
            self.live_of.remove(item);
        }
    }

    /// What is pending of items proves nothing any more; their live requests stand.
    pub(crate) fn drop_work(&mut self, gone: &BTreeSet<Item>) {
        if gone.is_empty() {
            return;
        }
        for work in &mut self.waiting {
            work.items.retain(|item| !gone.contains(item));
        }
        self.waiting.retain(|work| !work.items.is_empty());
        for live in self.live.values_mut() {
            for work in &mut live.then {
                work.items.retain(|item| !gone.contains(item));
            }
            live.then.retain(|work| !work.items.is_empty());
        }
        for batch in self.batches.values_mut() {
            batch.work.items.retain(|item| !gone.contains(item));
        }
        for item in gone {
            self.busy.remove(item);
            self.done.remove(item);
            self.again.remove(item);
            self.holes.remove(item);
        }
    }

    /// Closes live requests that stand for nothing any more.
    pub(crate) fn close_empty_live(&mut self, relay: &Relay, ctx: &mut Context<'_>) {
        let empty: Vec<SubId> =
            self.live.iter().filter(|(_, l)| l.items.is_empty()).map(|(sub, _)| *sub).collect();
        for sub in empty {
            // Work that waited for its EOSE may be of items whose live request is another.
            let then = self.live.remove(&sub).map(|live| live.then);
            self.waiting.extend(then.into_iter().flatten());
            self.close_sub(sub, relay, ctx);
        }
    }
}
