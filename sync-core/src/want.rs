//! What we want from which relay (`RepoSyncIndex`), and the discovery window that collects facts
//! before they become targets (DISC-6).

mod ids;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use nostr::event::EventId;
use nostr::filter::Filter;
use nostr::nips::nip01::Coordinate;
use nostr::types::Timestamp;

use crate::config::Config;
use crate::id::{ConnId, RelayId};
use crate::input::{Fact, GitOutcome};
use crate::item::{Item, SyncLevel};
use crate::time::Instant;
use crate::url::RelayUrl;

/// A wanted repository.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Repo {
    listed: BTreeSet<RelayId>,
    level: SyncLevel,
}

/// A root or thread event that replies hang on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Thread {
    root: Option<EventId>,
    repos: BTreeSet<Coordinate>,
    replies: BTreeSet<EventId>,
}

/// A fact in the discovery window.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Collected {
    fact: Fact,
    /// The connection whose pass brought it; `None` for boot, live and maintenance.
    pass: Option<ConnId>,
    historic: bool,
}

/// What a change of wants means for one relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Newly wanted; `true` when a fact from a historic subscription led to it.
    pub added: Vec<(Item, bool)>,
    /// No longer wanted.
    pub removed: BTreeSet<Item>,
    /// Wanted at a higher level: what was proven of it no longer holds.
    pub raised: Vec<Item>,
    /// Not proven any more (REJ-1).
    pub unproven: Vec<Item>,
}

/// Changes by relay.
pub type Deltas = BTreeMap<RelayId, Delta>;

/// The wanted index.
#[derive(Clone, Debug, Default)]
pub struct Want {
    layer1: bool,
    /// NIP-01 filters that are mirrored (filters mode).
    pub filters: Vec<Filter>,
    discover: bool,
    bootstrap: BTreeSet<RelayId>,
    repos: BTreeMap<Coordinate, Repo>,
    threads: BTreeMap<EventId, Thread>,
    /// Roots and thread events by repository, known or not yet.
    threads_of: BTreeMap<Coordinate, BTreeSet<EventId>>,
    ids: BTreeMap<EventId, BTreeSet<RelayId>>,
    ids_done: Vec<EventId>,
    /// Ids that a relay does not have.
    ids_refused: Vec<(EventId, RelayId)>,
    /// Ids that are not to be asked for yet (ACPT-8).
    later: BTreeMap<(Timestamp, EventId), Vec<RelayUrl>>,
    needed: BTreeMap<RelayId, BTreeSet<Item>>,
    /// `needed`, the other way round.
    needed_from: BTreeMap<Item, BTreeSet<RelayId>>,
    /// Items that some relay has a cohort for (HIST-1).
    proven: BTreeSet<Item>,
    window: Vec<Collected>,
    /// How many facts of a connection's pass the window holds.
    window_of: BTreeMap<ConnId, u32>,
    opened: Option<Instant>,
    /// Batches with an announcement, repository or filter item that are pending on any relay.
    pub discovering: u32,
    threads_max: usize,
    /// Relays of which anything is wanted, and how many of them may be discovered ones.
    targets: usize,
    targets_max: usize,
    /// Relays were refused since the last window (DISC-4).
    refused: bool,
}

impl Want {
    /// Nothing is wanted but what the configuration says.
    pub fn new(config: &Config) -> Self {
        let accept = &config.accept;
        let only_filters =
            !accept.filters.is_empty() && accept.domains.is_empty() && accept.archive.is_empty();
        Self {
            layer1: !only_filters,
            filters: accept.filters.clone(),
            discover: config.sync.discover,
            threads_max: config.limits.items as usize,
            targets_max: config.limits.relays as usize,
            ..Self::default()
        }
    }

    /// What is wanted from a relay.
    pub fn needed(&self, relay: RelayId) -> Option<&BTreeSet<Item>> {
        self.needed.get(&relay).filter(|items| !items.is_empty())
    }

    /// Whether anything is wanted from a relay. A configured one is never idle (DISC-1).
    pub fn is_target(&self, relay: RelayId) -> bool {
        self.bootstrap.contains(&relay) || self.needed(relay).is_some()
    }

    /// Whether the relay was configured.
    pub fn is_bootstrap(&self, relay: RelayId) -> bool {
        self.bootstrap.contains(&relay)
    }

    /// The level of a repository.
    pub fn level(&self, repo: &Coordinate) -> SyncLevel {
        self.repos.get(repo).map_or(SyncLevel::Full, |repo| repo.level)
    }

    /// Wanted repositories, and root and thread events.
    pub fn counts(&self) -> (usize, usize) {
        (self.repos.len(), self.threads.len())
    }

    /// Whether some relay proved this item.
    pub fn is_proven(&self, item: &Item) -> bool {
        self.proven.contains(item)
    }

    /// Notes that a relay proved these items.
    pub fn prove<'a>(&mut self, items: impl IntoIterator<Item = &'a Item>) {
        self.proven.extend(items.into_iter().cloned());
    }

    /// Makes a relay a configured one.
    pub fn add_bootstrap(&mut self, relay: RelayId) -> Deltas {
        if !self.bootstrap.insert(relay) {
            return Deltas::new();
        }
        let mut items: Vec<Item> = Vec::new();
        items.extend((0..self.filters.len()).map(|n| Item::Filter(n as u16)));
        items.extend(self.repos.keys().cloned().map(Item::Repo));
        items.extend(
            self.threads
                .iter()
                .filter(|(_, t)| !t.repos.is_empty())
                .map(|(id, _)| Item::Thread(*id)),
        );
        let mut deltas = Deltas::new();
        self.touch(relay, &mut deltas);
        for item in items {
            self.need(relay, item, true, &mut deltas);
        }
        deltas
    }

    /// Undoes [`Self::add_bootstrap`].
    pub fn remove_bootstrap(&mut self, relay: RelayId) -> Deltas {
        let mut deltas = Deltas::new();
        if !self.bootstrap.remove(&relay) {
            return deltas;
        }
        let items: Vec<Item> = self.needed(relay).into_iter().flatten().cloned().collect();
        for item in items {
            if item != Item::Layer1 && !self.relays_of(&item).contains(&relay) {
                self.unneed(relay, &item, &mut deltas);
            }
        }
        self.touch(relay, &mut deltas);
        deltas
    }

    fn relays_of(&self, item: &Item) -> BTreeSet<RelayId> {
        match item {
            Item::Layer1 => BTreeSet::new(),
            Item::Filter(_) => self.bootstrap.clone(),
            Item::Repo(repo) => match self.repos.get(repo) {
                Some(repo) => repo.listed.union(&self.bootstrap).copied().collect(),
                None => BTreeSet::new(),
            },
            Item::Thread(id) => {
                let repos = self.threads.get(id).map(|thread| &thread.repos);
                repos
                    .into_iter()
                    .flatten()
                    .filter_map(|repo| self.repos.get(repo))
                    .filter(|repo| repo.level == SyncLevel::Full)
                    .flat_map(|repo| repo.listed.union(&self.bootstrap).copied())
                    .collect()
            }
            // A repository's relays are those it lists and every configured one.
            Item::Id(id) => self.ids.get(id).cloned().unwrap_or_default(),
        }
    }

    fn need(&mut self, relay: RelayId, item: Item, historic: bool, deltas: &mut Deltas) {
        let delta = deltas.entry(relay).or_default();
        let items = self.needed.entry(relay).or_default();
        self.targets += usize::from(items.is_empty());
        if items.insert(item.clone()) {
            delta.removed.remove(&item);
            self.needed_from.entry(item.clone()).or_default().insert(relay);
            delta.added.push((item, historic));
        }
    }

    fn unneed(&mut self, relay: RelayId, item: &Item, deltas: &mut Deltas) {
        let Some(items) = self.needed.get_mut(&relay) else { return };
        if items.remove(item) {
            self.targets -= usize::from(items.is_empty());
            if let Some(relays) = self.needed_from.get_mut(item) {
                relays.remove(&relay);
                if relays.is_empty() {
                    self.needed_from.remove(item);
                    self.proven.remove(item);
                }
            }
            let delta = deltas.entry(relay).or_default();
            delta.added.retain(|(added, _)| added != item);
            delta.removed.insert(item.clone());
        }
    }

    /// Layer 1 is wanted from a relay as long as anything else is, or it is configured.
    fn touch(&mut self, relay: RelayId, deltas: &mut Deltas) {
        let others = self.needed(relay).is_some_and(|items| {
            items.iter().any(|item| !matches!(item, Item::Layer1 | Item::Id(_)))
        });
        if self.layer1 && (others || self.bootstrap.contains(&relay)) {
            self.need(relay, Item::Layer1, true, deltas);
        } else {
            self.unneed(relay, &Item::Layer1, deltas);
        }
    }

    /// Brings `needed` of one item in line with the index.
    fn settle_item(&mut self, item: &Item, historic: bool, deltas: &mut Deltas) {
        let wanted = self.relays_of(item);
        let had = self.needed_from.get(item).cloned().unwrap_or_default();
        for relay in had.difference(&wanted).copied() {
            self.unneed(relay, item, deltas);
            self.touch(relay, deltas);
        }
        for relay in wanted {
            self.need(relay, item.clone(), historic, deltas);
            self.touch(relay, deltas);
        }
    }

    /// Collects a fact. `pass` is the connection whose pass brought it.
    pub fn collect(&mut self, fact: Fact, pass: Option<ConnId>, historic: bool, now: Instant) {
        self.opened.get_or_insert(now);
        if let Some(conn) = pass {
            *self.window_of.entry(conn).or_default() += 1;
        }
        self.window.push(Collected { fact, pass, historic });
    }

    /// When the window opened, if it holds anything.
    pub fn opened(&self) -> Option<Instant> {
        self.opened
    }

    /// Whether the window holds facts of this connection's pass (HIST-8).
    pub fn holds(&self, conn: ConnId) -> bool {
        self.window_of.contains_key(&conn)
    }

    /// Connections whose pass waits for the window.
    pub fn holders(&self) -> Vec<ConnId> {
        self.window_of.keys().copied().collect()
    }

    /// Whether relays were refused for their number since this was last asked (DISC-4).
    pub fn take_refused(&mut self) -> bool {
        core::mem::take(&mut self.refused)
    }

    /// The relays that are targets already, and as many others as there is room for (DISC-4).
    fn admit(&mut self, relays: BTreeSet<RelayId>) -> BTreeSet<RelayId> {
        let mut room = (self.targets_max + self.bootstrap.len()).saturating_sub(self.targets);
        let mut admitted = BTreeSet::new();
        for relay in relays {
            if self.is_target(relay) {
                admitted.insert(relay);
            } else if room > 0 {
                room -= 1;
                admitted.insert(relay);
            } else {
                self.refused = true;
            }
        }
        admitted
    }

    /// Fires the window: everything collected becomes wanted, and the ids whose time has come.
    /// `resolve` gives the id of a relay, or `None` when it is refused.
    pub fn fire(
        &mut self,
        wall: Timestamp,
        mut resolve: impl FnMut(&RelayUrl) -> Option<RelayId>,
    ) -> Deltas {
        self.opened = None;
        self.window_of.clear();
        let mut deltas = Deltas::new();
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= wall) {
            let ((_, id), relays) = entry.remove_entry();
            self.want_id(id, &relays, false, &mut resolve, &mut deltas);
        }
        for collected in core::mem::take(&mut self.window) {
            match collected.fact {
                Fact::WantId { id, relays, not_before: Some(at) } if at > wall => {
                    if self.later.len() < self.threads_max {
                        self.later.insert((at, id), relays);
                    }
                }
                fact => self.apply(fact, collected.historic, &mut resolve, &mut deltas),
            }
        }
        deltas
    }

    fn apply(
        &mut self,
        fact: Fact,
        historic: bool,
        resolve: &mut impl FnMut(&RelayUrl) -> Option<RelayId>,
        deltas: &mut Deltas,
    ) {
        match fact {
            Fact::Repo { repo, relays, level } => {
                let listed = match self.discover {
                    true => self.admit(relays.iter().filter_map(resolve).collect()),
                    false => BTreeSet::new(),
                };
                self.on_repo(repo, listed, level, historic, deltas);
            }
            Fact::RepoGone { repo } => self.on_repo_gone(&repo, deltas),
            Fact::Root { id, repos } => {
                self.on_thread(id, None, repos.into_iter().collect(), historic, deltas);
            }
            Fact::Thread { id, root, depth: _ } => {
                let repos = self.threads.get(&root).map(|t| t.repos.clone()).unwrap_or_default();
                self.on_thread(id, Some(root), repos, historic, deltas);
            }
            Fact::ThreadGone { id } => self.on_thread_gone(id, deltas),
            Fact::WantId { id, relays, not_before: _ } => {
                self.want_id(id, &relays, historic, resolve, deltas);
            }
            Fact::Unproven { items } => {
                for item in items {
                    for relay in self.needed_from.get(&item).into_iter().flatten() {
                        deltas.entry(*relay).or_default().unproven.push(item.clone());
                    }
                }
            }
            Fact::Git { repo, outcome: GitOutcome::Ready } => {
                if let Some(listed) = self.repos.get(&repo).map(|repo| repo.listed.clone()) {
                    self.on_repo(repo, listed, SyncLevel::Full, historic, deltas);
                }
            }
            Fact::Git { repo, outcome: GitOutcome::GivenUp } => self.on_repo_gone(&repo, deltas),
            // Both are the core's and the filters' business, not the index's.
            Fact::Author { .. } | Fact::PolicyChanged { .. } => {}
        }
    }

    fn on_repo(
        &mut self,
        repo: Coordinate,
        listed: BTreeSet<RelayId>,
        level: SyncLevel,
        historic: bool,
        deltas: &mut Deltas,
    ) {
        let entry = self
            .repos
            .entry(repo.clone())
            .or_insert_with(|| Repo { listed: BTreeSet::new(), level });
        entry.listed = listed;
        let raised = entry.level < level;
        // A level never falls: what was upgraded stays wanted in full.
        entry.level = entry.level.max(level);
        let threads = self.threads_of.get(&repo).cloned().unwrap_or_default();
        let item = Item::Repo(repo);
        self.settle_item(&item, historic, deltas);
        if raised {
            for relay in self.relays_of(&item) {
                deltas.entry(relay).or_default().raised.push(item.clone());
            }
        }
        for id in threads {
            self.settle_item(&Item::Thread(id), historic, deltas);
        }
    }

    fn on_repo_gone(&mut self, repo: &Coordinate, deltas: &mut Deltas) {
        if self.repos.remove(repo).is_none() {
            return;
        }
        self.settle_item(&Item::Repo(repo.clone()), false, deltas);
        for id in self.threads_of.get(repo).cloned().unwrap_or_default() {
            self.settle_item(&Item::Thread(id), false, deltas);
        }
    }

    fn on_thread(
        &mut self,
        id: EventId,
        root: Option<EventId>,
        repos: BTreeSet<Coordinate>,
        historic: bool,
        deltas: &mut Deltas,
    ) {
        if self.threads.len() >= self.threads_max && !self.threads.contains_key(&id) {
            return;
        }
        let thread = self.threads.entry(id).or_default();
        thread.root = thread.root.or(root);
        let before = thread.repos.len();
        thread.repos.extend(repos);
        let grew = thread.repos.len() > before;
        let (repos, replies) = (thread.repos.clone(), thread.replies.clone());
        if let Some(root) = root {
            self.threads.entry(root).or_default().replies.insert(id);
        }
        for repo in &repos {
            self.threads_of.entry(repo.clone()).or_default().insert(id);
        }
        self.settle_item(&Item::Thread(id), historic, deltas);
        // A root that came after its replies brings them their repositories. Growth ends, so a
        // cycle of roots does too.
        for reply in replies.into_iter().filter(|_| grew) {
            self.on_thread(reply, Some(id), repos.clone(), historic, deltas);
        }
    }

    fn on_thread_gone(&mut self, id: EventId, deltas: &mut Deltas) {
        let Some(thread) = self.threads.remove(&id) else { return };
        for repo in &thread.repos {
            if let Some(threads) = self.threads_of.get_mut(repo) {
                threads.remove(&id);
            }
        }
        if let Some(root) = thread.root.and_then(|root| self.threads.get_mut(&root)) {
            root.replies.remove(&id);
        }
        self.settle_item(&Item::Thread(id), false, deltas);
    }
}
