//! What hangs on what: accepted repositories, states, roots and thread events, and which of them
//! still hang on something accepted.
//!
//! An event is *supported* while something that it references is. Repositories and states get
//! their support from outside (`maintainers`). Events that lost theirs stay, because they are in
//! the store and may find it again; so the result never depends on the order of arrival.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use nostr::event::EventId;
use nostr::nips::nip01::Coordinate;

use crate::admit::kinds;
use crate::admit::references::Reference;

/// Where something stands in the graph; valid until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u32);

/// Depth below a root, and which root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// 0 for the root itself; never above one more than the depth that is followed.
    pub(crate) depth: u32,
    pub(crate) root: Slot,
}

/// What a change did to one event or address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is supported from here on.
    On(Slot),
    /// It is supported still, at another place.
    Moved(Slot),
    /// A root whose repositories changed.
    Repos(Slot),
    /// It is not supported any more; under which root it was followed.
    Off { key: Reference, kind: u16, followed: Option<Slot> },
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    slots: Vec<Entry>,
    free: Vec<Slot>,
    by_id: BTreeMap<EventId, Slot>,
    by_address: BTreeMap<Coordinate, Slot>,
    /// (what is referenced, what references it).
    edges: BTreeSet<(Slot, Slot)>,
    depth_max: u32,
    slots_max: usize,
}

#[derive(Debug)]
struct Entry {
    key: Reference,
    /// `None` while it is only referenced.
    node: Option<Node>,
    /// Edges from others to this entry.
    referenced: u32,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: u16,
    /// In the order of the tags.
    pub(crate) parents: Box<[Slot]>,
    /// Support from outside; `None` for what lives by its references.
    outside: Option<bool>,
    pub(crate) supported: bool,
    pub(crate) place: Option<Place>,
    /// The root under which it is a wanted thread item (ACPT-6).
    pub(crate) followed: Option<Slot>,
}

impl Graph {
    /// Steps to an event that references a repository itself.
    const INHERIT_MAX: usize = 64;

    pub(crate) fn new(depth_max: u32, slots_max: usize) -> Self {
        Self { depth_max, slots_max, ..Self::default() }
    }

    /// Whether something accepted stands under this reference.
    pub(crate) fn is_supported(&self, reference: &Reference) -> bool {
        self.find(reference).and_then(|slot| self.node(slot)).is_some_and(|node| node.supported)
    }

    /// Whether the event is in the graph, supported or not.
    pub(crate) fn contains(&self, id: &EventId) -> bool {
        self.by_id.get(id).is_some_and(|slot| self.node(*slot).is_some())
    }

    /// Whether an accepted event has `id` among its first `targets_max` references (ACPT-5).
    pub(crate) fn is_target(&self, id: &EventId, targets_max: usize) -> bool {
        let Some(slot) = self.by_id.get(id) else { return false };
        self.children(*slot).any(|child| {
            self.node(child).is_some_and(|node| {
                node.supported
                    && kinds::brings_targets(node.kind)
                    && node.parents.iter().take(targets_max).any(|parent| parent == slot)
            })
        })
    }

    pub(crate) fn key(&self, slot: Slot) -> &Reference {
        &self.entry(slot).key
    }

    pub(crate) fn node(&self, slot: Slot) -> Option<&Node> {
        self.entry(slot).node.as_ref()
    }

    pub(crate) fn node_mut(&mut self, slot: Slot) -> Option<&mut Node> {
        self.slots[slot.0 as usize].node.as_mut()
    }

    /// The accepted repositories that an event belongs to: those it references, else those of its
    /// root or of the first supported event that it references.
    pub(crate) fn repos(&self, slot: Slot) -> Vec<&Coordinate> {
        let mut slot = slot;
        for _ in 0..Self::INHERIT_MAX {
            let Some(node) = self.node(slot) else { break };
            let direct: Vec<&Coordinate> = self.direct_repos(node).collect();
            if !direct.is_empty() {
                return direct;
            }
            let root = node.place.map(|place| place.root).filter(|root| *root != slot);
            let first = || node.parents.iter().copied().find(|p| self.supported(*p));
            let Some(next) = root.or_else(first) else { break };
            slot = next;
        }
        Vec::new()
    }

    /// Puts an event that lives by its references. Nothing happens when it is there, or when the
    /// graph is full.
    pub(crate) fn insert(
        &mut self,
        id: EventId,
        kind: u16,
        references: &[Reference],
    ) -> Vec<Change> {
        if self.contains(&id) || self.is_full(references.len()) {
            return Vec::new();
        }
        let slot = self.intern(&Reference::Event(id));
        let mut parents = Vec::with_capacity(references.len());
        for reference in references {
            let parent = self.intern(reference);
            if parent != slot && self.edges.insert((parent, slot)) {
                self.slots[parent.0 as usize].referenced += 1;
                parents.push(parent);
            }
        }
        self.slots[slot.0 as usize].node = Some(Node {
            kind,
            parents: parents.into_boxed_slice(),
            outside: None,
            supported: false,
            place: None,
            followed: None,
        });
        self.cascade(VecDeque::from([slot]))
    }

    /// Puts an address that has its support from outside, or changes that support.
    pub(crate) fn set(&mut self, address: &Coordinate, supported: bool) -> Vec<Change> {
        let slot = self.intern(&Reference::Address(address.clone()));
        let entry = &mut self.slots[slot.0 as usize];
        match &mut entry.node {
            Some(node) => node.outside = Some(supported),
            None => {
                entry.node = Some(Node {
                    kind: address.kind.as_u16(),
                    parents: Box::default(),
                    outside: Some(supported),
                    supported: false,
                    place: None,
                    followed: None,
                });
            }
        }
        self.cascade(VecDeque::from([slot]))
    }

    /// Removes an event or address; what references it may lose its support.
    pub(crate) fn remove(&mut self, key: &Reference) -> Vec<Change> {
        let Some(slot) = self.find(key) else { return Vec::new() };
        let Some(node) = self.slots[slot.0 as usize].node.take() else { return Vec::new() };
        let mut changes = Vec::new();
        if node.supported {
            changes.push(Change::Off {
                key: key.clone(),
                kind: node.kind,
                followed: node.followed,
            });
            let children = self.children(slot).collect();
            changes.extend(self.cascade(children));
        }
        for parent in &node.parents {
            self.edges.remove(&(*parent, slot));
            self.slots[parent.0 as usize].referenced -= 1;
            self.release(*parent);
        }
        self.release(slot);
        changes
    }

    /// Whether an event with so many references finds no place.
    pub(crate) fn is_full(&self, references: usize) -> bool {
        self.slots.len() - self.free.len() + references >= self.slots_max
    }

    fn find(&self, key: &Reference) -> Option<Slot> {
        match key {
            Reference::Event(id) => self.by_id.get(id).copied(),
            Reference::Address(address) => self.by_address.get(address).copied(),
        }
    }

    fn entry(&self, slot: Slot) -> &Entry {
        &self.slots[slot.0 as usize]
    }

    fn supported(&self, slot: Slot) -> bool {
        self.node(slot).is_some_and(|node| node.supported)
    }

    fn direct_repos<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a Coordinate> {
        node.parents.iter().filter_map(|parent| self.accepted_repo(*parent))
    }

    fn accepted_repo(&self, slot: Slot) -> Option<&Coordinate> {
        match self.key(slot) {
            Reference::Address(address)
                if address.kind.as_u16() == kinds::ANNOUNCEMENT && self.supported(slot) =>
            {
                Some(address)
            }
            _ => None,
        }
    }

    fn children(&self, slot: Slot) -> impl Iterator<Item = Slot> + '_ {
        self.edges.range((slot, Slot(0))..=(slot, Slot(u32::MAX))).map(|(_, child)| *child)
    }

    fn intern(&mut self, key: &Reference) -> Slot {
        if let Some(slot) = self.find(key) {
            return slot;
        }
        let entry = Entry { key: key.clone(), node: None, referenced: 0 };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot.0 as usize] = entry;
                slot
            }
            None => {
                self.slots.push(entry);
                Slot(self.slots.len() as u32 - 1)
            }
        };
        match key {
            Reference::Event(id) => self.by_id.insert(*id, slot),
            Reference::Address(address) => self.by_address.insert(address.clone(), slot),
        };
        slot
    }

    /// Forgets an entry that is neither there nor referenced.
    fn release(&mut self, slot: Slot) {
        let entry = self.entry(slot);
        if entry.node.is_some() || entry.referenced > 0 {
            return;
        }
        match entry.key.clone() {
            Reference::Event(id) => self.by_id.remove(&id),
            Reference::Address(address) => self.by_address.remove(&address),
        };
        self.free.push(slot);
    }

    /// Looks at `queue` and at everything that a change reaches. References form no cycles: an id
    /// is a hash over the ids it references. Support flips once and places are few, so an event is
    /// looked at a bounded number of times.
    fn cascade(&mut self, mut queue: VecDeque<Slot>) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut queued: BTreeSet<Slot> = queue.iter().copied().collect();
        let mut touched: Vec<Slot> = Vec::from(queue.clone());
        while let Some(slot) = queue.pop_front() {
            queued.remove(&slot);
            let (supported, place) = self.evaluate(slot);
            let Some(node) = self.slots[slot.0 as usize].node.as_mut() else { continue };
            let was = (node.supported, node.place);
            if was == (supported, place) {
                continue;
            }
            (node.supported, node.place) = (supported, place);
            changes.push(match (was.0, supported) {
                (false, _) => Change::On(slot),
                (true, true) => Change::Moved(slot),
                (true, false) => {
                    let (kind, followed) = (node.kind, node.followed.take());
                    Change::Off { key: self.key(slot).clone(), kind, followed }
                }
            });
            for child in self.children(slot) {
                touched.push(child);
                if queued.insert(child) {
                    queue.push_back(child);
                }
            }
        }
        self.roots_below(touched, &mut changes);
        changes
    }

    /// Adds the roots whose repositories may be others: `touched`, and those that inherit theirs
    /// from what was touched.
    fn roots_below(&self, mut touched: Vec<Slot>, changes: &mut Vec<Change>) {
        let fresh: BTreeSet<Slot> = changes
            .iter()
            .filter_map(|change| match change {
                Change::On(slot) => Some(*slot),
                Change::Moved(_) | Change::Repos(_) | Change::Off { .. } => None,
            })
            .collect();
        let mut seen: BTreeSet<Slot> = BTreeSet::new();
        while let Some(slot) = touched.pop() {
            let Some(node) = self.node(slot).filter(|node| node.supported) else { continue };
            if !seen.insert(slot) {
                continue;
            }
            if kinds::is_root(node.kind) && !fresh.contains(&slot) {
                changes.push(Change::Repos(slot));
            }
            // Thread events pass on what their root has, whatever they reference themselves.
            touched.extend(self.children(slot).filter(|child| {
                self.node(*child).is_some_and(|child| {
                    kinds::is_thread(child.kind) || self.direct_repos(child).next().is_none()
                })
            }));
        }
    }

    fn evaluate(&self, slot: Slot) -> (bool, Option<Place>) {
        let Some(node) = self.node(slot) else { return (false, None) };
        if let Some(outside) = node.outside {
            return (outside, None);
        }
        if !node.parents.iter().any(|parent| self.supported(*parent)) {
            return (false, None);
        }
        if kinds::is_root(node.kind) {
            return (true, Some(Place { depth: 0, root: slot }));
        }
        if !kinds::is_thread(node.kind) {
            return (true, None);
        }
        // The shallowest place, ties by the root's id: the same in any order of arrival.
        let places = node.parents.iter().filter_map(|parent| {
            let parent = self.node(*parent).filter(|parent| parent.supported)?;
            let place = parent.place?;
            let depth = (place.depth + 1).min(self.depth_max + 1);
            Some((depth, self.key(place.root), place.root))
        });
        let best = places.min_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        (true, best.map(|(depth, _, root)| Place { depth, root }))
    }
}
