//! Which announcements are accepted, and who has authority over an identifier (ACPT-3, ACPT-4).
//!
//! Announcements with one identifier form a group. Those that a mode takes are its ground; from
//! there acceptance follows the maintainers they name, through cycles, in whatever order the
//! announcements come. A change costs what it touches, not the group.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use nostr::key::PublicKey;

/// The groups of all identifiers.
#[derive(Debug, Default)]
pub struct Maintainers {
    groups: BTreeMap<String, Group>,
}

/// What a change of one group flipped; keys in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// Authors whose announcements are accepted from here on.
    pub accepted: Vec<PublicKey>,
    /// Authors whose announcements are no longer accepted.
    pub dropped: Vec<PublicKey>,
    /// Keys with authority from here on: accepted authors and those that they name.
    pub authorised: Vec<PublicKey>,
    /// Keys without authority from here on.
    pub unauthorised: Vec<PublicKey>,
}

#[derive(Debug, Default)]
struct Group {
    nodes: BTreeMap<PublicKey, Node>,
    /// How many accepted announcements are by a key or name it. No entry is none.
    vouchers: BTreeMap<PublicKey, u32>,
}

#[derive(Debug)]
struct Node {
    /// Taken by a mode, whoever names its author.
    ground: bool,
    accepted: bool,
    maintainers: Vec<PublicKey>,
}

/// Acceptance and authority of the keys that a change touched, as they were before it.
type Before = BTreeMap<PublicKey, (bool, bool)>;

impl Maintainers {
    /// Puts or replaces the announcement of `author`.
    pub fn put(
        &mut self,
        identifier: &str,
        author: PublicKey,
        ground: bool,
        maintainers: Vec<PublicKey>,
    ) -> Shift {
        let group = self.groups.entry(identifier.into()).or_default();
        let mut before = Before::new();
        let mut shaken = group.withdraw(&author, &mut before);
        group.nodes.insert(author, Node { ground, accepted: false, maintainers });
        shaken.push(author);
        group.accept_all(shaken, &mut before);
        group.shift(before)
    }

    /// Removes the announcement of `author`.
    pub fn remove(&mut self, identifier: &str, author: &PublicKey) -> Shift {
        let Some(group) = self.groups.get_mut(identifier) else { return Shift::default() };
        let mut before = Before::new();
        let shaken = group.withdraw(author, &mut before);
        group.nodes.remove(author);
        group.accept_all(shaken, &mut before);
        let shift = group.shift(before);
        if group.nodes.is_empty() {
            self.groups.remove(identifier);
        }
        shift
    }

    /// Whether the announcement of `author` is there and accepted.
    pub fn is_accepted(&self, identifier: &str, author: &PublicKey) -> bool {
        self.groups.get(identifier).is_some_and(|group| group.is_accepted(author))
    }

    /// Whether `key` is the author of an accepted announcement or in the recursive set of one.
    pub fn has_authority(&self, identifier: &str, key: &PublicKey) -> bool {
        self.groups.get(identifier).is_some_and(|group| group.vouchers.contains_key(key))
    }
}

impl Group {
    fn is_accepted(&self, key: &PublicKey) -> bool {
        self.nodes.get(key).is_some_and(|node| node.accepted)
    }

    fn touch(&self, key: PublicKey, before: &mut Before) {
        before
            .entry(key)
            .or_insert_with(|| (self.is_accepted(&key), self.vouchers.contains_key(&key)));
    }

    /// Takes acceptance from `author`, and from every announcement that may have had it only
    /// through this one: a cycle must not hold itself up. Answers the latter, to be looked at
    /// again.
    fn withdraw(&mut self, author: &PublicKey, before: &mut Before) -> Vec<PublicKey> {
        let mut shaken = Vec::new();
        let mut queue = Vec::from([*author]);
        while let Some(key) = queue.pop() {
            self.touch(key, before);
            let Some(node) = self.nodes.get_mut(&key) else { continue };
            if !node.accepted || (node.ground && key != *author) {
                continue;
            }
            node.accepted = false;
            let named = node.maintainers.clone();
            self.unvouch(key);
            for maintainer in named {
                self.touch(maintainer, before);
                self.unvouch(maintainer);
                queue.push(maintainer);
            }
            if key != *author {
                shaken.push(key);
            }
        }
        shaken
    }

    /// Accepts what is ground or vouched for among `keys`, and what follows from it.
    fn accept_all(&mut self, keys: Vec<PublicKey>, before: &mut Before) {
        let mut queue = keys;
        while let Some(key) = queue.pop() {
            self.touch(key, before);
            let vouched = self.vouchers.contains_key(&key);
            let Some(node) = self.nodes.get_mut(&key) else { continue };
            if node.accepted || !(node.ground || vouched) {
                continue;
            }
            node.accepted = true;
            let named = node.maintainers.clone();
            self.vouch(key);
            for maintainer in named {
                self.touch(maintainer, before);
                self.vouch(maintainer);
                queue.push(maintainer);
            }
        }
    }

    fn vouch(&mut self, key: PublicKey) {
        *self.vouchers.entry(key).or_default() += 1;
    }

    fn unvouch(&mut self, key: PublicKey) {
        let left = self.vouchers.get_mut(&key).map(|count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            self.vouchers.remove(&key);
        }
    }

    fn shift(&self, before: Before) -> Shift {
        let mut shift = Shift::default();
        for (key, (accepted, authority)) in before {
            match (accepted, self.is_accepted(&key)) {
                (false, true) => shift.accepted.push(key),
                (true, false) => shift.dropped.push(key),
                _ => {}
            }
            match (authority, self.vouchers.contains_key(&key)) {
                (false, true) => shift.authorised.push(key),
                (true, false) => shift.unauthorised.push(key),
                _ => {}
            }
        }
        shift
    }
}
