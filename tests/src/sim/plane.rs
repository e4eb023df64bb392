//! The data plane of the world behind its sockets: duplicate, id, signature, policy, store, and
//! what is told to the core of it. The pure modules of `sync_core::admit` do the deciding; this
//! is what the shell does around them, with a store in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nostr::event::{Event, EventId};
use nostr::filter::{Filter, MatchEventOptions};
use nostr::types::Timestamp;
use sync_core::admit::facts::Applied;
use sync_core::admit::policy::{Policy, Verdict};
use sync_core::admit::references::items;
use sync_core::admit::rejected::{Dependency, HotTier, RejectReason, Waiting};
use sync_core::config::Config;
use sync_core::id::{ConnId, SubId};
use sync_core::input::{Fact, FactSource, Input};
use sync_core::item::Range;
use sync_core::tally::SettleTally;
use sync_core::time::Instant;
use sync_core::url::RelayUrl;

use super::events::{Events, Inserted};
use super::row::{Rejection, RejectionState};
use crate::corpus::fake_signature;

/// An event between socket and store.
#[derive(Clone, Debug)]
pub struct Received {
    /// The connection that brought it.
    pub conn: ConnId,
    /// Its subscription.
    pub sub: SubId,
    /// The relay.
    pub relay: RelayUrl,
    /// The event.
    pub event: Arc<Event>,
    /// Filters of the subscription.
    pub filters: Arc<Vec<Filter>>,
    /// Whether the subscription tracks ids.
    pub track_ids: bool,
}

/// Own store, policy and what is remembered of rejected events.
#[derive(Debug)]
pub struct Plane {
    config: Config,
    policy: Policy,
    /// What is stored.
    pub store: Events,
    /// Whether the store takes nothing.
    pub failing: bool,
    rows: BTreeMap<EventId, (Arc<Event>, Rejection)>,
    waiting: BTreeMap<Dependency, BTreeSet<EventId>>,
    /// Replaced, deleted or expired: tombstones as well.
    gone: BTreeMap<EventId, Arc<Event>>,
    hot: HotTier<Arc<Event>>,
}

/// What became of one event.
enum Outcome {
    Stored,
    Duplicate,
    Rejected,
    Invalid,
    OffFilter,
    Failed,
}

/// Where and when a batch is settled.
#[derive(Clone, Copy)]
struct Moment {
    now: Instant,
    wall: Timestamp,
}

impl Plane {
    /// An empty store under this configuration.
    ///
    /// # Panics
    ///
    /// When `accept.*` cannot be read.
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            policy: Policy::new(config).expect("the world's configuration is valid"),
            store: Events::default(),
            failing: false,
            rows: BTreeMap::new(),
            waiting: BTreeMap::new(),
            gone: BTreeMap::new(),
            hot: HotTier::default(),
        }
    }

    /// What a process knows after its start (DISC-9): what was only in memory is gone.
    pub fn restart(&mut self) -> Vec<Fact> {
        self.hot = HotTier::default();
        self.policy = Policy::new(&self.config).expect("it was valid before");
        let mut facts = Vec::new();
        for event in self.store.iter() {
            facts.extend(self.policy.apply(event, None).facts);
        }
        let wanted = self.rows.values().filter(|(_, row)| row.state == RejectionState::Wanted);
        facts.extend(wanted.map(|(_, row)| want(row)));
        facts.retain(|fact| !self.is_needless(fact));
        facts
    }

    /// The set that a reconciliation seals: stored events and tombstones (HIST-2).
    pub fn have(
        &self,
        filter: &Filter,
        range: Range,
        wall: Timestamp,
    ) -> Vec<(Timestamp, EventId)> {
        let filter = filter.clone().since(range.since).until(range.until);
        let fits = |event: &Event| filter.match_event(event, MatchEventOptions::default());
        let revision = self.policy.revision();
        let stored = self.store.matching(&filter);
        let rejected = self.rows.values().filter(|(_, row)| row.is_tombstone(wall, revision));
        let tombstones =
            rejected.map(|(event, _)| event).chain(self.gone.values()).filter(|event| fits(event));
        stored.chain(tombstones).map(|event| (event.created_at, event.id)).collect()
    }

    /// Whether an event is durable in some way, or could never be stored.
    pub fn is_settled(&self, event: &Event) -> bool {
        self.store.find(&event.id).is_some()
            || self.rows.contains_key(&event.id)
            || self.gone.contains_key(&event.id)
    }

    /// Why an event was rejected.
    pub fn rejection(&self, id: &EventId) -> Option<RejectReason> {
        self.rows.get(id).map(|(_, row)| row.reason)
    }

    /// Settles a batch: inputs for the core, facts before the tallies that they belong to (F4).
    pub fn settle(&mut self, batch: Vec<Received>, now: Instant, wall: Timestamp) -> Vec<Input> {
        self.hot.sweep(now, &self.config.rejected);
        let moment = Moment { now, wall };
        let mut tallies = BTreeMap::<(ConnId, SubId), SettleTally>::new();
        let mut inputs = Vec::new();
        for received in batch {
            let (conn, sub) = (received.conn, received.sub);
            let mut facts = Vec::new();
            let outcome = self.take(&received, moment, &mut facts);
            facts.retain(|fact| !self.is_needless(fact));
            if !facts.is_empty() {
                inputs.push(Input::Facts { from: FactSource::Stored { conn, sub }, facts });
            }
            let tally = tallies.entry((conn, sub)).or_default();
            (tally.conn, tally.sub) = (Some(conn), Some(sub));
            count(tally, &received, &outcome);
        }
        inputs.extend(tallies.into_values().map(|mut tally| {
            tally.ids.sort_unstable();
            tally.ids.dedup();
            Input::Settled(tally)
        }));
        inputs
    }

    /// What is stored already is not asked for.
    fn is_needless(&self, fact: &Fact) -> bool {
        matches!(fact, Fact::WantId { id, .. } if self.store.find(id).is_some())
    }

    fn take(&mut self, received: &Received, moment: Moment, facts: &mut Vec<Fact>) -> Outcome {
        let event = &received.event;
        let options = MatchEventOptions::default();
        if !received.filters.iter().any(|filter| filter.match_event(event, options)) {
            return Outcome::OffFilter;
        }
        if self.store.find(&event.id).is_some() {
            return Outcome::Duplicate;
        }
        let revision = self.policy.revision();
        let row = self.rows.get_mut(&event.id).map(|(_, row)| row);
        if let Some(row) = row.filter(|row| row.is_tombstone(moment.wall, revision)) {
            if row.relays.len() < Rejection::MAX_RELAYS && !row.relays.contains(&received.relay) {
                row.relays.push(received.relay.clone());
            }
            return Outcome::Rejected;
        }
        if self.gone.contains_key(&event.id) {
            return Outcome::Rejected;
        }
        if !event.verify_id() || event.sig != fake_signature(&event.id) {
            return Outcome::Invalid;
        }
        if self.failing {
            return Outcome::Failed;
        }
        self.admit(event, Some(&received.relay), moment, facts)
    }

    /// Policy and store, and whatever waited for this event.
    fn admit(
        &mut self,
        event: &Arc<Event>,
        relay: Option<&RelayUrl>,
        moment: Moment,
        facts: &mut Vec<Fact>,
    ) -> Outcome {
        let (reason, depends_on) = match self.policy.judge(event, moment.wall) {
            Verdict::Accept(_) => match self.store.insert(Arc::clone(event), moment.wall) {
                Inserted::Stored(gone) => {
                    self.stored(event, gone, moment, facts);
                    return Outcome::Stored;
                }
                Inserted::Duplicate => return Outcome::Duplicate,
                Inserted::Superseded => {
                    self.forget_row(&event.id);
                    self.gone.insert(event.id, Arc::clone(event));
                    return Outcome::Rejected;
                }
            },
            Verdict::Reject { reason, depends_on } => (reason, depends_on),
        };
        self.reject(event, relay, reason, depends_on, moment, facts);
        Outcome::Rejected
    }

    fn stored(
        &mut self,
        event: &Arc<Event>,
        gone: Vec<Arc<Event>>,
        moment: Moment,
        facts: &mut Vec<Fact>,
    ) {
        self.forget_row(&event.id);
        let applied = self.policy.apply(event, Some(moment.wall));
        self.follow(applied, moment, facts);
        let ids: Vec<EventId> = gone.iter().map(|event| event.id).collect();
        let applied = self.policy.remove(&ids);
        self.gone.extend(gone.into_iter().map(|event| (event.id, event)));
        self.follow(applied, moment, facts);
    }

    /// Facts of a change, and the events that waited for it (REJ-3).
    fn follow(&mut self, applied: Applied, moment: Moment, facts: &mut Vec<Fact>) {
        facts.extend(applied.facts);
        let again = self.hot.satisfied(&applied.satisfied, &applied.referenced);
        let held: BTreeSet<EventId> = again.iter().map(|event| event.id).collect();
        let mut ids: BTreeSet<EventId> = applied.referenced.iter().copied().collect();
        for dependency in &applied.satisfied {
            ids.extend(self.waiting.get(dependency).into_iter().flatten().copied());
        }
        for id in ids.difference(&held) {
            let Some((_, row)) = self.rows.get_mut(id) else { continue };
            row.state = RejectionState::Wanted;
            facts.push(want(row));
        }
        for event in again {
            let relay = self.rows.get(&event.id).and_then(|(_, row)| row.relays.first().cloned());
            self.admit(&event, relay.as_ref(), moment, facts);
        }
    }

    fn reject(
        &mut self,
        event: &Arc<Event>,
        relay: Option<&RelayUrl>,
        reason: RejectReason,
        depends_on: Vec<Dependency>,
        moment: Moment,
        facts: &mut Vec<Fact>,
    ) {
        self.forget_row(&event.id);
        for dependency in &depends_on {
            self.waiting.entry(dependency.clone()).or_default().insert(event.id);
        }
        let row = Rejection {
            id: event.id,
            pubkey: event.pubkey,
            created_at: event.created_at,
            kind: event.kind,
            items: items(event),
            relays: relay.cloned().into_iter().collect(),
            reason,
            depends_on: depends_on.clone(),
            revision: self.policy.revision(),
            state: RejectionState::Cold,
        };
        if let Some(Dependency::Time(at)) = depends_on.first() {
            let relays = row.relays.clone();
            facts.push(Fact::WantId { id: event.id, relays, not_before: Some(*at) });
        }
        self.rows.insert(event.id, (Arc::clone(event), row));
        let bytes = 200 + event.content.len() as u64;
        let waiting = Waiting {
            id: event.id,
            kind: event.kind,
            created_at: event.created_at,
            bytes,
            depends_on,
            body: Arc::clone(event),
        };
        self.hot.hold(waiting, moment.now, &self.config.rejected);
    }

    fn forget_row(&mut self, id: &EventId) {
        self.hot.forget(id);
        let Some((_, row)) = self.rows.remove(id) else { return };
        for dependency in &row.depends_on {
            if let Some(ids) = self.waiting.get_mut(dependency) {
                ids.remove(id);
            }
        }
    }
}

fn want(row: &Rejection) -> Fact {
    Fact::WantId { id: row.id, relays: row.relays.clone(), not_before: None }
}

fn count(tally: &mut SettleTally, received: &Received, outcome: &Outcome) {
    let (field, settled) = match outcome {
        Outcome::Stored => (&mut tally.stored, true),
        Outcome::Duplicate => (&mut tally.duplicate, true),
        Outcome::Rejected => (&mut tally.rejected, true),
        Outcome::Invalid => (&mut tally.invalid, false),
        Outcome::OffFilter => (&mut tally.off_filter, false),
        Outcome::Failed => (&mut tally.failed, false),
    };
    *field += 1;
    if received.track_ids {
        match outcome {
            Outcome::Failed => tally.failed_ids.push(received.event.id),
            _ if settled => tally.ids.push(received.event.id),
            _ => {}
        }
    }
}
