//! Events without signatures, a small store with the rules of NIP-01 and NIP-09, and a model that
//! computes what is accepted from scratch.
#![allow(unreachable_pub, reason = "shared by the modules of a test crate")]

use std::collections::{BTreeMap, BTreeSet};

use nostr::event::{Event, EventId, Kind, Signature, Tag, Tags};
use nostr::key::PublicKey;
use nostr::nips::nip01::Coordinate;
use nostr::types::Timestamp;
use sync_core::admit::policy::{Policy, Verdict};
use sync_core::admit::references::{Reference, address_of, identifier, references};
use sync_core::admit::rejected::{Dependency, HotTier, Waiting};
use sync_core::config::{Config, RejectedConfig};
use sync_core::input::Fact;
use sync_core::time::Instant;

pub const SERVICE: &str = "git.example";
pub const NOW: u64 = 1_000_000;

pub fn key(n: u8) -> PublicKey {
    PublicKey::from_byte_array([n; 32])
}

pub fn event(author: u8, kind: u16, created_at: u64, tags: &[&[&str]]) -> Event {
    let tags: Vec<Tag> =
        tags.iter().map(|tag| Tag::parse(tag.iter().copied()).expect("a tag")).collect();
    let (tags, kind, at) =
        (Tags::from_list(tags), Kind::from_u16(kind), Timestamp::from_secs(created_at));
    let id = EventId::compute(&key(author), &at, &kind, &tags, "");
    let sig = Signature::from_byte_array([0; 64]);
    Event::new(id, key(author), at, kind, tags.to_vec(), "", sig)
}

pub fn repo(author: u8, identifier: &str) -> String {
    format!("30617:{}:{identifier}", key(author).to_hex())
}

pub fn announcement(
    author: u8,
    identifier: &str,
    at: u64,
    listed: bool,
    maintainers: &[u8],
) -> Event {
    let host = if listed { SERVICE } else { "elsewhere.example" };
    let clone = format!("https://{host}/x/y.git");
    let relay = format!("wss://{host}");
    let named: Vec<String> = maintainers.iter().map(|n| key(*n).to_hex()).collect();
    let mut last = vec!["maintainers"];
    last.extend(named.iter().map(String::as_str));
    let tags: [&[&str]; 4] = [&["d", identifier], &["clone", &clone], &["relays", &relay], &last];
    event(author, 30617, at, &tags)
}

pub fn config(domains: &[&str], archive: &[&str]) -> Config {
    let mut config = Config::default();
    config.accept.domains = domains.iter().map(|text| (*text).to_owned()).collect();
    config.accept.archive = archive.iter().map(|text| (*text).to_owned()).collect();
    config
}

/// What facts make wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    pub repos: BTreeSet<Coordinate>,
    pub roots: BTreeMap<EventId, BTreeSet<Coordinate>>,
    pub threads: BTreeMap<EventId, (EventId, u32)>,
}

impl Wants {
    pub fn take(&mut self, facts: &[Fact]) {
        for fact in facts {
            match fact {
                Fact::Repo { repo, .. } => {
                    self.repos.insert(repo.clone());
                }
                Fact::RepoGone { repo } => {
                    assert!(self.repos.remove(repo), "{repo} went without having come");
                }
                Fact::Root { id, repos } => {
                    self.roots.insert(*id, repos.iter().cloned().collect());
                }
                Fact::Thread { id, root, depth } => {
                    self.threads.insert(*id, (*root, *depth));
                }
                Fact::ThreadGone { id } => {
                    let known = self.roots.remove(id).is_some() | self.threads.remove(id).is_some();
                    assert!(known, "{id} went without having come");
                }
                _ => {}
            }
        }
    }
}

/// Judge, store, tell: one event after the other, and what waited for it (REJ-3).
pub struct Pipeline {
    pub now: u64,
    pub policy: Policy,
    pub wants: Wants,
    pub stored: BTreeMap<EventId, Event>,
    newest: BTreeMap<Coordinate, (Timestamp, std::cmp::Reverse<EventId>)>,
    deletions: Vec<Event>,
    hot: HotTier<Event>,
    limits: RejectedConfig,
}

impl Pipeline {
    pub fn new(config: &Config) -> Self {
        Self {
            now: NOW,
            policy: Policy::new(config).expect("a sound configuration"),
            wants: Wants::default(),
            stored: BTreeMap::new(),
            newest: BTreeMap::new(),
            deletions: Vec::new(),
            hot: HotTier::default(),
            limits: RejectedConfig::default(),
        }
    }

    pub fn judge(&self, event: &Event) -> Verdict {
        self.policy.judge(event, Timestamp::from_secs(self.now))
    }

    pub fn take(&mut self, event: Event) {
        let mut queue = vec![event];
        while let Some(event) = queue.pop() {
            match self.judge(&event) {
                Verdict::Accept(_) => queue.extend(self.store(event)),
                Verdict::Reject { depends_on, .. } => {
                    let waiting = Waiting {
                        id: event.id,
                        kind: event.kind,
                        created_at: event.created_at,
                        bytes: 1,
                        depends_on,
                        body: event,
                    };
                    self.hot.hold(waiting, Instant::ZERO, &self.limits);
                }
            }
        }
    }

    fn store(&mut self, event: Event) -> Vec<Event> {
        let applied = self.policy.apply(&event, None);
        self.wants.take(&applied.facts);
        let gone = self.commit(&event);
        let removed = self.policy.remove(&gone);
        self.wants.take(&removed.facts);
        let mut satisfied: Vec<Dependency> = applied.satisfied;
        satisfied.extend(removed.satisfied);
        let mut referenced = applied.referenced;
        referenced.extend(removed.referenced);
        self.hot.satisfied(&satisfied, &referenced)
    }

    /// Answers what is not stored after it, the event itself perhaps.
    fn commit(&mut self, event: &Event) -> Vec<EventId> {
        if event.kind.as_u16() == 5 {
            self.deletions.push(event.clone());
        }
        if let Some(address) = address_of(event) {
            let rank = (event.created_at, std::cmp::Reverse(event.id));
            let newest = self.newest.entry(address).or_insert(rank);
            *newest = rank.max(*newest);
        }
        self.stored.insert(event.id, event.clone());
        let gone: Vec<EventId> =
            self.stored.values().filter(|event| !self.survives(event)).map(|e| e.id).collect();
        for id in &gone {
            self.stored.remove(id);
        }
        gone
    }

    fn survives(&self, event: &Event) -> bool {
        let rank = (event.created_at, std::cmp::Reverse(event.id));
        let newest = address_of(event).is_none_or(|address| self.newest[&address] == rank);
        newest && !self.deletions.iter().any(|deletion| deletes(deletion, event))
    }
}

fn deletes(deletion: &Event, event: &Event) -> bool {
    deletion.pubkey == event.pubkey
        && event.kind.as_u16() != 5
        && references(&deletion.tags).into_iter().any(|reference| match reference {
            Reference::Event(id) => id == event.id,
            Reference::Address(address) => {
                address_of(event) == Some(address) && event.created_at <= deletion.created_at
            }
        })
}

/// What is wanted because of `stored`, computed from scratch.
pub fn wants_of(stored: &BTreeMap<EventId, Event>, grounded: impl Fn(&Event) -> bool) -> Wants {
    let mut wants = Wants::default();
    let accepted = accepted_announcements(stored, grounded);
    let mut addresses: BTreeSet<Coordinate> = BTreeSet::new();
    let mut ids: BTreeMap<EventId, Option<(u32, EventId)>> = BTreeMap::new();
    for event in stored.values() {
        let supported = match event.kind.as_u16() {
            30617 => accepted.contains(&event.id),
            30618 => authorised(stored, &accepted, event),
            _ => false,
        };
        if supported && let Some(address) = address_of(event) {
            if event.kind.as_u16() == 30617 {
                wants.repos.insert(address.clone());
            }
            addresses.insert(address);
            ids.insert(event.id, None);
        }
    }
    while hang(stored, &addresses, &mut ids) {}
    for (id, place) in &ids {
        match (stored[id].kind.as_u16(), place) {
            (1617 | 1618 | 1621, _) => {
                wants.roots.insert(*id, repos_of(&stored[id], stored, &addresses, &ids));
            }
            (_, Some((depth, root))) if *depth <= 8 => {
                wants.threads.insert(*id, (*root, *depth));
            }
            _ => {}
        }
    }
    wants
}

fn accepted_announcements(
    stored: &BTreeMap<EventId, Event>,
    grounded: impl Fn(&Event) -> bool,
) -> BTreeSet<EventId> {
    let announcements: Vec<&Event> =
        stored.values().filter(|event| event.kind.as_u16() == 30617).collect();
    let mut accepted: BTreeSet<EventId> = BTreeSet::new();
    loop {
        let before = accepted.len();
        for event in &announcements {
            let named = announcements.iter().any(|other| {
                accepted.contains(&other.id)
                    && identifier(&other.tags) == identifier(&event.tags)
                    && names(other, &event.pubkey)
            });
            if grounded(event) || named {
                accepted.insert(event.id);
            }
        }
        if accepted.len() == before {
            return accepted;
        }
    }
}

fn names(announcement: &Event, key: &PublicKey) -> bool {
    let hex = key.to_hex();
    let mut tags = announcement.tags.iter();
    tags.any(|tag| tag.kind() == "maintainers" && tag.as_slice()[1..].contains(&hex))
}

fn authorised(
    stored: &BTreeMap<EventId, Event>,
    accepted: &BTreeSet<EventId>,
    state: &Event,
) -> bool {
    accepted.iter().map(|id| &stored[id]).any(|announcement| {
        identifier(&announcement.tags) == identifier(&state.tags)
            && (announcement.pubkey == state.pubkey || names(announcement, &state.pubkey))
    })
}

/// One round over roots and thread events; whether anything changed.
fn hang(
    stored: &BTreeMap<EventId, Event>,
    addresses: &BTreeSet<Coordinate>,
    ids: &mut BTreeMap<EventId, Option<(u32, EventId)>>,
) -> bool {
    let mut changed = false;
    for event in stored.values() {
        let kind = event.kind.as_u16();
        if !matches!(kind, 1617 | 1618 | 1621 | 1111 | 1 | 1619) {
            continue;
        }
        let mut supported = false;
        let mut place: Option<(u32, EventId)> = None;
        for reference in references(&event.tags) {
            match reference {
                Reference::Address(address) => supported |= addresses.contains(&address),
                Reference::Event(id) => {
                    let Some(parent) = ids.get(&id) else { continue };
                    supported = true;
                    let here = parent.map(|(depth, root)| ((depth + 1).min(9), root));
                    place = match (place, here) {
                        (Some(a), Some(b)) => Some(a.min(b)),
                        (a, b) => a.or(b),
                    };
                }
            }
        }
        if matches!(kind, 1617 | 1618 | 1621) {
            place = Some((0, event.id));
        }
        if supported && ids.get(&event.id) != Some(&place) {
            ids.insert(event.id, place);
            changed = true;
        }
    }
    changed
}

fn repos_of(
    event: &Event,
    stored: &BTreeMap<EventId, Event>,
    addresses: &BTreeSet<Coordinate>,
    ids: &BTreeMap<EventId, Option<(u32, EventId)>>,
) -> BTreeSet<Coordinate> {
    let mut event = event;
    for _ in 0..64 {
        if event.kind.as_u16() == 30617 {
            return address_of(event).into_iter().collect();
        }
        let found = references(&event.tags);
        let direct: BTreeSet<Coordinate> = found
            .iter()
            .filter_map(|reference| match reference {
                Reference::Address(a) if a.kind.as_u16() == 30617 => Some(a.clone()),
                _ => None,
            })
            .filter(|address| addresses.contains(address))
            .collect();
        if !direct.is_empty() {
            return direct;
        }
        let root = ids[&event.id].map(|(_, root)| root).filter(|root| *root != event.id);
        let first = found.iter().find_map(|reference| match reference {
            Reference::Event(id) if ids.contains_key(id) => Some(*id),
            _ => None,
        });
        match root.or(first) {
            Some(next) => event = &stored[&next],
            None => break,
        }
    }
    BTreeSet::new()
}
