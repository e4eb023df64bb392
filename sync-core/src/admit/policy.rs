//! Acceptance (§9): what is taken into the store, why, and what that makes wanted.
//!
//! The policy is a view of the stored announcements, states, roots and thread events; fed with
//! them in any order it is the same. [`Policy::judge`] asks it, [`Policy::apply`] and
//! [`Policy::remove`] tell it what was stored and what went.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use nostr::event::{Event, EventId};
use nostr::key::PublicKey;
use nostr::nips::nip01::Coordinate;
use nostr::types::Timestamp;

use crate::admit::announcement::{Announcement, Refused, is_path_safe, values};
use crate::admit::facts::{Applied, FactLog};
use crate::admit::graph::{Change, Graph};
use crate::admit::hosts::Hosts;
use crate::admit::kinds;
use crate::admit::maintainers::{Maintainers, Shift};
use crate::admit::references::{
    Reference, announcement_address, identifier, references, state_address,
};
use crate::admit::rejected::{Dependency, RejectReason, Rejection};
pub use crate::admit::rules::PolicyError;
use crate::admit::rules::{Ground, Rules};
use crate::config::{Config, Span};
use crate::input::Fact;
use crate::item::SyncLevel;
use crate::url::RelayUrl;

/// Whether an event is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Accept(Why),
    /// It is not, as things stand.
    Reject {
        /// Why.
        reason: RejectReason,
        /// What would change that; any one suffices, at most [`Rejection::MAX_DEPENDENCIES`].
        depends_on: Vec<Dependency>,
    },
}

/// Why an event is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Why {
    /// The announcement lists the service.
    Service,
    /// An archive entry names it, or everything is archived.
    Archive,
    /// The announcement is by a maintainer of an accepted one (ACPT-3).
    Maintainer,
    /// The state is by somebody with authority (ACPT-4).
    Authority,
    /// It references something accepted (ACPT-5).
    Reference,
    /// Something accepted references it (ACPT-5); it makes nothing else acceptable.
    Referenced,
    /// We hold events of its author.
    Author,
    /// A configured filter matches; it makes nothing else acceptable.
    Filter,
}

/// What the policy counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyCounts {
    /// Accepted announcements.
    pub repositories: u64,
    /// Relays above the cap of one announcement (DISC-4).
    pub relays_refused: u64,
    /// Values of `relays` that name no relay.
    pub relays_malformed: u64,
    /// Maintainers above the cap of one announcement.
    pub maintainers_refused: u64,
    /// New hosts above the cap of an author and day (DISC-4).
    pub hosts_refused: u64,
    /// Events that are stored and that nothing can hang on, because `limits.items` is reached.
    pub items_refused: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Policy {
    rules: Rules,
    future_max: Span,
    own_urls: BTreeSet<RelayUrl>,
    relays_max: u32,
    items_max: usize,
    maintainers: Maintainers,
    /// Stored versions of announcements and states, accepted or not.
    versions: BTreeMap<Coordinate, Version>,
    /// Addresses of those versions.
    addresses: BTreeMap<EventId, Coordinate>,
    graph: Graph,
    log: FactLog,
    authors: BTreeSet<PublicKey>,
    hosts: Hosts,
    counts: PolicyCounts,
}

#[derive(Debug)]
struct Version {
    id: EventId,
    created_at: Timestamp,
    /// Of an announcement.
    relays: Vec<RelayUrl>,
}

impl Policy {
    /// References of an accepted event that are wanted by id (ACPT-5).
    pub const TARGETS_MAX: usize = 32;

    /// A policy that holds nothing yet. Feed it with what is stored before it judges.
    pub fn new(config: &Config) -> Result<Self, PolicyError> {
        let (depth, items) = (config.sync.thread_depth, config.sync.thread_items);
        let own_urls = config.identity.urls.iter();
        Ok(Self {
            rules: Rules::new(&config.accept)?,
            future_max: config.accept.future_max,
            own_urls: own_urls.filter_map(|url| RelayUrl::parse_operator(url).ok()).collect(),
            relays_max: config.limits.relays_per_announcement,
            items_max: config.limits.items as usize,
            maintainers: Maintainers::default(),
            versions: BTreeMap::new(),
            addresses: BTreeMap::new(),
            graph: Graph::new(depth, config.limits.items as usize),
            log: FactLog::new(depth, items, Self::TARGETS_MAX),
            authors: BTreeSet::new(),
            hosts: Hosts::new(config.limits.hosts_per_author_day),
            counts: PolicyCounts::default(),
        })
    }

    /// Hash of `accept.*`, stable over restarts: rows of another revision are no tombstones
    /// (REJ-1).
    pub const fn revision(&self) -> u64 {
        self.rules.revision()
    }

    /// What it counts.
    pub const fn counts(&self) -> PolicyCounts {
        self.counts
    }

    /// Roots with more thread events than are followed (`thread_truncated`, ACPT-6).
    pub const fn truncated(&self) -> &BTreeSet<EventId> {
        self.log.truncated()
    }

    /// Whether the announcement of this address is stored and accepted.
    pub fn is_accepted(&self, repo: &Coordinate) -> bool {
        self.graph.is_supported(&Reference::Address(repo.clone()))
    }

    /// Judges an event whose id and signature were verified, at wall time `now`.
    pub fn judge(&self, event: &Event, now: Timestamp) -> Verdict {
        if self.rules.blocks_author(&event.pubkey) {
            return reject(RejectReason::BlockedAuthor);
        }
        if event.kind.is_ephemeral() {
            return reject(RejectReason::Ephemeral);
        }
        let ahead = self.future_max.as_secs();
        if event.created_at.as_secs() > now.as_secs().saturating_add(ahead) {
            let at = Timestamp::from_secs(event.created_at.as_secs() - ahead);
            return reject_until(RejectReason::Future, Dependency::Time(at));
        }
        let verdict = match event.kind.as_u16() {
            kinds::ANNOUNCEMENT => self.judge_announcement(event),
            kinds::STATE => self.judge_state(event),
            kinds::DELETION | kinds::VANISH | kinds::GRASP_LIST => self.judge_personal(event),
            _ => self.judge_reference(event),
        };
        let blocked = RejectReason::BlockedRepository;
        match verdict {
            Verdict::Reject { reason, .. } if reason != blocked && self.rules.mirrors(event) => {
                Verdict::Accept(Why::Filter)
            }
            verdict => verdict,
        }
    }

    fn judge_announcement(&self, event: &Event) -> Verdict {
        let Ok(announcement) = Announcement::parse(event, self.relays_max) else {
            return reject(RejectReason::Identifier);
        };
        let repo = &announcement.repo;
        if self.rules.blocks_repo(&event.pubkey, &repo.identifier) {
            return reject(RejectReason::BlockedRepository);
        }
        match self.rules.ground(event, &announcement) {
            Some(Ground::Service) => Verdict::Accept(Why::Service),
            Some(Ground::Archive) => Verdict::Accept(Why::Archive),
            None if self.maintainers.has_authority(&repo.identifier, &event.pubkey) => {
                Verdict::Accept(Why::Maintainer)
            }
            None => {
                reject_until(RejectReason::NotListed, Dependency::MaintainerEdge(announcement.repo))
            }
        }
    }

    fn judge_state(&self, event: &Event) -> Verdict {
        let Some(identifier) = identifier(&event.tags).filter(|text| is_path_safe(text)) else {
            return reject(RejectReason::Identifier);
        };
        if self.rules.blocks_repo(&event.pubkey, identifier) {
            return reject(RejectReason::BlockedRepository);
        }
        if self.maintainers.has_authority(identifier, &event.pubkey) {
            return Verdict::Accept(Why::Authority);
        }
        let edge = Dependency::MaintainerEdge(announcement_address(event.pubkey, identifier));
        reject_until(RejectReason::NoAuthority, edge)
    }

    /// Deletions, vanish requests and grasp lists: of everybody whose events we hold.
    fn judge_personal(&self, event: &Event) -> Verdict {
        if event.kind.as_u16() == kinds::VANISH && !self.is_vanish_for_us(event) {
            return reject(RejectReason::OtherRelay);
        }
        if self.authors.contains(&event.pubkey) {
            return Verdict::Accept(Why::Author);
        }
        if self.rules.archives_author(&event.pubkey) {
            return Verdict::Accept(Why::Archive);
        }
        reject_until(RejectReason::UnknownAuthor, Dependency::Author(event.pubkey))
    }

    fn is_vanish_for_us(&self, event: &Event) -> bool {
        values(&event.tags, "relay").any(|relay| {
            relay == "ALL_RELAYS"
                || RelayUrl::parse(relay).is_ok_and(|url| self.own_urls.contains(&url))
        })
    }

    fn judge_reference(&self, event: &Event) -> Verdict {
        let references = references(&event.tags);
        if references.iter().any(|reference| self.graph.is_supported(reference)) {
            return Verdict::Accept(Why::Reference);
        }
        if self.graph.is_target(&event.id, Self::TARGETS_MAX) {
            return Verdict::Accept(Why::Referenced);
        }
        let depends_on = references.iter().map(Reference::dependency);
        Verdict::Reject {
            reason: RejectReason::NoReference,
            depends_on: depends_on.take(Rejection::MAX_DEPENDENCIES).collect(),
        }
    }

    /// Takes note of an author of stored events.
    pub fn hold_author(&mut self, key: PublicKey) -> Applied {
        let mut out = Applied::default();
        if self.authors.len() < self.items_max && self.authors.insert(key) {
            out.facts.push(Fact::Author { key });
            out.satisfied.push(Dependency::Author(key));
        }
        out
    }

    /// Takes note of a stored event. `now` is the wall time of its arrival for the cap of new
    /// hosts (DISC-4); `None` for what was stored before this process began. An event that the
    /// store removed or refused in the same commit is told to [`Policy::remove`] afterwards.
    pub fn apply(&mut self, event: &Event, now: Option<Timestamp>) -> Applied {
        self.take_in(event, now, false)
    }

    /// As [`Policy::apply`], for events of the own relay: its announcements are accepted whatever
    /// they list (OWN-2).
    pub fn apply_trusted(&mut self, event: &Event, now: Option<Timestamp>) -> Applied {
        self.take_in(event, now, true)
    }

    fn take_in(&mut self, event: &Event, now: Option<Timestamp>, trusted: bool) -> Applied {
        let mut out = self.hold_author(event.pubkey);
        if self.rules.blocks_author(&event.pubkey) {
            return out;
        }
        match event.kind.as_u16() {
            kinds::ANNOUNCEMENT => self.apply_announcement(event, now, trusted, &mut out),
            kinds::STATE => self.apply_state(event, &mut out),
            kind if kinds::is_root(kind) || kinds::is_thread(kind) => {
                let references = references(&event.tags);
                if self.graph.is_full(references.len()) {
                    self.counts.items_refused += 1;
                    return out;
                }
                let changes = self.graph.insert(event.id, kind, &references);
                self.log(changes, &mut out);
            }
            _ => {}
        }
        out
    }

    fn apply_announcement(
        &mut self,
        event: &Event,
        now: Option<Timestamp>,
        trusted: bool,
        out: &mut Applied,
    ) {
        let Ok(announcement) = Announcement::parse(event, self.relays_max) else { return };
        if self.rules.blocks_repo(&event.pubkey, &announcement.repo.identifier) {
            return;
        }
        let ground = trusted || self.rules.ground(event, &announcement).is_some();
        let Announcement { repo, maintainers, relays, refused, .. } = announcement;
        if !self.replace(&repo, event, out) {
            return;
        }
        self.count_refused(refused);
        let was = self.maintainers.is_accepted(&repo.identifier, &repo.public_key);
        let (id, author) = (repo.identifier.clone(), repo.public_key);
        let (relays, above) = self.hosts.admit(&author, relays, now);
        self.counts.hosts_refused += above;
        if let Some(version) = self.versions.get_mut(&repo) {
            version.relays = relays;
        }
        let shift = self.maintainers.put(&id, author, ground, maintainers);
        if was && self.maintainers.is_accepted(&id, &author) {
            out.facts.push(self.repo_fact(repo));
        }
        self.on_shift(&id, shift, out);
    }

    fn apply_state(&mut self, event: &Event, out: &mut Applied) {
        let Some(identifier) = identifier(&event.tags).filter(|text| is_path_safe(text)) else {
            return;
        };
        let address = state_address(event.pubkey, identifier);
        if self.replace(&address, event, out) {
            let supported = self.maintainers.has_authority(identifier, &event.pubkey);
            let changes = self.graph.set(&address, supported);
            self.log(changes, out);
        }
    }

    /// Makes `event` the version of its address, unless a newer one is known (NIP-01).
    fn replace(&mut self, address: &Coordinate, event: &Event, out: &mut Applied) -> bool {
        if let Some(old) = self.versions.get(address) {
            let newer = (event.created_at, old.id) > (old.created_at, event.id);
            if !newer {
                return false;
            }
            let old = old.id;
            self.addresses.remove(&old);
            let changes = self.graph.remove(&Reference::Event(old));
            self.log(changes, out);
        } else if self.versions.len() >= self.items_max {
            self.counts.items_refused += 1;
            return false;
        }
        let version = Version { id: event.id, created_at: event.created_at, relays: Vec::new() };
        self.versions.insert(address.clone(), version);
        self.addresses.insert(event.id, address.clone());
        let own = Reference::Address(address.clone());
        let changes = self.graph.insert(event.id, event.kind.as_u16(), &[own]);
        self.log(changes, out);
        true
    }

    /// Takes note of events that are not stored: deleted, replaced, expired, or refused by the
    /// store after all. Ids that mean nothing to it are ignored.
    pub fn remove<'a>(&mut self, ids: impl IntoIterator<Item = &'a EventId>) -> Applied {
        let mut out = Applied::default();
        for id in ids {
            let changes = self.graph.remove(&Reference::Event(*id));
            self.log(changes, &mut out);
            let Some(address) = self.addresses.remove(id) else { continue };
            self.versions.remove(&address);
            if address.kind.as_u16() == kinds::ANNOUNCEMENT {
                let shift = self.maintainers.remove(&address.identifier, &address.public_key);
                self.on_shift(&address.identifier, shift, &mut out);
            }
            let changes = self.graph.remove(&Reference::Address(address));
            self.log(changes, &mut out);
        }
        out
    }

    /// Carries a change of acceptance and authority over to repositories and states.
    fn on_shift(&mut self, identifier: &str, shift: Shift, out: &mut Applied) {
        for key in shift.dropped {
            let repo = announcement_address(key, identifier);
            self.counts.repositories -= 1;
            out.facts.push(Fact::RepoGone { repo: repo.clone() });
            self.support(&repo, false, out);
        }
        for key in shift.unauthorised {
            self.support(&state_address(key, identifier), false, out);
        }
        for key in shift.accepted {
            let repo = announcement_address(key, identifier);
            self.counts.repositories += 1;
            out.facts.push(self.repo_fact(repo.clone()));
            self.support(&repo, true, out);
        }
        for key in shift.authorised {
            let edge = announcement_address(key, identifier);
            out.satisfied.push(Dependency::MaintainerEdge(edge));
            self.support(&state_address(key, identifier), true, out);
        }
    }

    fn support(&mut self, address: &Coordinate, supported: bool, out: &mut Applied) {
        if self.versions.contains_key(address) {
            let changes = self.graph.set(address, supported);
            self.log(changes, out);
        }
    }

    fn repo_fact(&self, repo: Coordinate) -> Fact {
        let relays = self.versions.get(&repo).map(|v| v.relays.clone()).unwrap_or_default();
        Fact::Repo { repo, relays, level: SyncLevel::Full }
    }

    fn log(&mut self, changes: Vec<Change>, out: &mut Applied) {
        let versions = &self.versions;
        let relays = |repo: &Coordinate| {
            versions.get(repo).map(|version| version.relays.clone()).unwrap_or_default()
        };
        self.log.write(changes, &mut self.graph, &relays, out);
    }

    const fn count_refused(&mut self, refused: Refused) {
        self.counts.relays_refused += refused.relays as u64;
        self.counts.relays_malformed += refused.malformed as u64;
        self.counts.maintainers_refused += refused.maintainers as u64;
    }
}

fn reject(reason: RejectReason) -> Verdict {
    Verdict::Reject { reason, depends_on: Vec::new() }
}

fn reject_until(reason: RejectReason, dependency: Dependency) -> Verdict {
    Verdict::Reject { reason, depends_on: Vec::from([dependency]) }
}
