//! What committed events mean for what is wanted: changes of the graph become facts for the
//! control plane, and dependencies that rejected events wait for.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use nostr::event::EventId;
use nostr::nips::nip01::Coordinate;

use crate::admit::graph::{Change, Graph, Slot};
use crate::admit::kinds;
use crate::admit::references::Reference;
use crate::admit::rejected::Dependency;
use crate::input::Fact;
use crate::url::RelayUrl;

/// What an event changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// For the control plane, in order; handed in once the event is durable (F4).
    pub facts: Vec<Fact>,
    /// What rejected events need wait for no longer (REJ-3).
    pub satisfied: Vec<Dependency>,
    /// Events that an accepted one references and that hang nowhere yet (ACPT-5). Each has its
    /// [`Fact::WantId`]; those that are stored already need none of it.
    pub referenced: Vec<EventId>,
}

/// Turns changes of the graph into facts.
#[derive(Debug)]
pub(crate) struct FactLog {
    depth_max: u32,
    items_max: u32,
    targets_max: usize,
    /// Thread items per root (ACPT-6).
    followed: BTreeMap<Slot, u32>,
    truncated: BTreeSet<EventId>,
}

impl FactLog {
    pub(crate) fn new(depth_max: u32, items_max: u32, targets_max: usize) -> Self {
        Self {
            depth_max,
            items_max,
            targets_max,
            followed: BTreeMap::new(),
            truncated: BTreeSet::new(),
        }
    }

    /// Roots with more thread events than are followed (`thread_truncated`).
    pub(crate) const fn truncated(&self) -> &BTreeSet<EventId> {
        &self.truncated
    }

    /// Writes what `changes` mean to `out`.
    pub(crate) fn write(
        &mut self,
        changes: Vec<Change>,
        graph: &mut Graph,
        relays: &dyn Fn(&Coordinate) -> Vec<RelayUrl>,
        out: &mut Applied,
    ) {
        for change in changes {
            match change {
                Change::On(slot) => self.on(slot, graph, relays, out),
                Change::Moved(slot) => self.follow(slot, graph, out),
                Change::Repos(slot) => root(slot, graph, out),
                Change::Off { key, kind, followed } => self.off(&key, kind, followed, out),
            }
        }
    }

    fn on(
        &mut self,
        slot: Slot,
        graph: &mut Graph,
        relays: &dyn Fn(&Coordinate) -> Vec<RelayUrl>,
        out: &mut Applied,
    ) {
        out.satisfied.push(graph.key(slot).dependency());
        let Some(kind) = graph.node(slot).map(|node| node.kind) else { return };
        if kinds::is_root(kind) {
            root(slot, graph, out);
        } else {
            self.follow(slot, graph, out);
        }
        if kinds::brings_targets(kind) {
            self.targets(slot, graph, relays, out);
        }
    }

    /// Makes a thread event an item, or takes note of its new place.
    fn follow(&mut self, slot: Slot, graph: &mut Graph, out: &mut Applied) {
        let Reference::Event(id) = *graph.key(slot) else { return };
        let Some(node) = graph.node(slot) else { return };
        let place =
            node.place.filter(|place| kinds::is_thread(node.kind) && place.depth <= self.depth_max);
        let was = node.followed;
        if let Some(old) = was
            && place.is_none_or(|place| place.root != old)
        {
            self.unfollow(old);
        }
        let same = was.is_some() && was == place.map(|place| place.root);
        let now = place.filter(|place| same || self.take_place(place.root, graph));
        if let Some(node) = graph.node_mut(slot) {
            node.followed = now.map(|place| place.root);
        }
        match now {
            Some(place) => {
                if let Reference::Event(root) = *graph.key(place.root) {
                    out.facts.push(Fact::Thread { id, root, depth: place.depth });
                }
            }
            None if was.is_some() => out.facts.push(Fact::ThreadGone { id }),
            None => {}
        }
    }

    fn take_place(&mut self, root: Slot, graph: &Graph) -> bool {
        let count = self.followed.entry(root).or_default();
        if *count < self.items_max {
            *count += 1;
            return true;
        }
        if let Reference::Event(id) = *graph.key(root) {
            self.truncated.insert(id);
        }
        false
    }

    fn unfollow(&mut self, root: Slot) {
        let left = self.followed.get_mut(&root).map(|count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            self.followed.remove(&root);
        }
    }

    fn off(&mut self, key: &Reference, kind: u16, followed: Option<Slot>, out: &mut Applied) {
        let Reference::Event(id) = *key else { return };
        if let Some(root) = followed {
            self.unfollow(root);
        }
        if kinds::is_root(kind) {
            self.truncated.remove(&id);
        }
        if kinds::is_root(kind) || followed.is_some() {
            out.facts.push(Fact::ThreadGone { id });
        }
    }

    /// What an accepted event references is wanted by id: one hop (ACPT-5).
    fn targets(
        &self,
        slot: Slot,
        graph: &Graph,
        relays: &dyn Fn(&Coordinate) -> Vec<RelayUrl>,
        out: &mut Applied,
    ) {
        let Some(node) = graph.node(slot) else { return };
        let missing = node.parents.iter().take(self.targets_max).filter_map(|parent| {
            match graph.key(*parent) {
                Reference::Event(id) if graph.node(*parent).is_none() => Some(*id),
                _ => None,
            }
        });
        let missing: Vec<EventId> = missing.collect();
        if missing.is_empty() {
            return;
        }
        let mut urls: Vec<RelayUrl> = Vec::new();
        for url in graph.repos(slot).into_iter().flat_map(relays) {
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        for id in missing {
            out.referenced.push(id);
            out.facts.push(Fact::WantId { id, relays: urls.clone(), not_before: None });
        }
    }
}

fn root(slot: Slot, graph: &Graph, out: &mut Applied) {
    if let Reference::Event(id) = *graph.key(slot) {
        let repos = graph.repos(slot).into_iter().cloned().collect();
        out.facts.push(Fact::Root { id, repos });
    }
}
