//! A set of events under the rules of NIP-01, 09, 40 and 62: what any honest store does. Both the
//! simulated relays and the simulated own store keep theirs in one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nostr::event::{Event, EventId};
use nostr::filter::{Filter, MatchEventOptions};
use nostr::key::PublicKey;
use nostr::types::Timestamp;

/// Events of one address or replaceable kind: only the newest is kept.
type Address = (u16, PublicKey, String);

/// What became of an insertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is there; these went for it: replaced, deleted or vanished.
    Stored(Vec<Arc<Event>>),
    /// It was there.
    Duplicate,
    /// A newer version, a deletion, a vanish request or its expiry forbids it.
    Superseded,
}

/// A set of events.
#[derive(Clone, Debug, Default)]
pub struct Events {
    by_id: BTreeMap<EventId, Arc<Event>>,
    /// Backwards: newest first, the lowest id first within a second (NIP-01).
    by_time: BTreeSet<(Timestamp, Reverse<EventId>)>,
    newest: BTreeMap<Address, (Timestamp, EventId)>,
    deleted: BTreeSet<(PublicKey, EventId)>,
    deleted_until: BTreeMap<Address, Timestamp>,
    vanished_until: BTreeMap<PublicKey, Timestamp>,
}

impl Events {
    /// The events, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        self.by_time.iter().map(|(_, id)| &self.by_id[&id.0])
    }

    /// Their ids.
    pub fn ids(&self) -> BTreeSet<EventId> {
        self.by_id.keys().copied().collect()
    }

    /// The event of this id.
    pub fn find(&self, id: &EventId) -> Option<&Arc<Event>> {
        self.by_id.get(id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The events of one filter, newest first, lowest id first within a second (NIP-01); `limit`
    /// is not looked at.
    pub fn matching<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a Arc<Event>> {
        let since = filter.since.unwrap_or(Timestamp::from_secs(0));
        let until = filter.until.unwrap_or(Timestamp::from_secs(u64::MAX));
        let empty = since > until;
        let low = (since, Reverse(EventId::from_byte_array([255; 32])));
        let high = (if empty { since } else { until }, Reverse(EventId::from_byte_array([0; 32])));
        let in_range = self.by_time.range(low..=high).rev().filter(move |_| !empty);
        let options = MatchEventOptions::default();
        in_range
            .map(|(_, id)| &self.by_id[&id.0])
            .filter(move |event| filter.match_event(event, options))
    }

    /// Puts an event in. `wall` is for NIP-40.
    pub fn insert(&mut self, event: Arc<Event>, wall: Timestamp) -> Inserted {
        if self.by_id.contains_key(&event.id) {
            return Inserted::Duplicate;
        }
        if self.forbids(&event, wall) {
            return Inserted::Superseded;
        }
        let mut gone = Vec::new();
        if let Some(address) = address_of(&event) {
            let version = (event.created_at, event.id);
            if let Some((_, older)) = self.newest.insert(address, version) {
                gone.extend(self.remove(&older));
            }
        }
        self.by_time.insert((event.created_at, Reverse(event.id)));
        self.by_id.insert(event.id, Arc::clone(&event));
        match event.kind.as_u16() {
            5 => self.delete(&event, &mut gone),
            62 => self.vanish(&event, &mut gone),
            _ => {}
        }
        Inserted::Stored(gone)
    }

    fn forbids(&self, event: &Event, wall: Timestamp) -> bool {
        let until = |time: Option<&Timestamp>| time.is_some_and(|t| event.created_at <= *t);
        let deleted = self.deleted.contains(&(event.pubkey, event.id));
        if event.is_expired_at(wall) || deleted && event.kind.as_u16() != 5 {
            return true;
        }
        if event.kind.as_u16() != 62 && until(self.vanished_until.get(&event.pubkey)) {
            return true;
        }
        let Some(address) = address_of(event) else { return false };
        let newer = |(at, id): &(Timestamp, EventId)| {
            // The lowest id wins within a second.
            (*at, Reverse(*id)) > (event.created_at, Reverse(event.id))
        };
        until(self.deleted_until.get(&address)) || self.newest.get(&address).is_some_and(newer)
    }

    fn remove(&mut self, id: &EventId) -> Option<Arc<Event>> {
        let event = self.by_id.remove(id)?;
        self.by_time.remove(&(event.created_at, Reverse(*id)));
        if let Some(address) = address_of(&event)
            && self.newest.get(&address).is_some_and(|(_, newest)| newest == id)
        {
            self.newest.remove(&address);
        }
        Some(event)
    }

    /// NIP-09: targets of others are left alone, a deletion is never deleted.
    fn delete(&mut self, deletion: &Event, gone: &mut Vec<Arc<Event>>) {
        for tag in deletion.tags.iter() {
            let Some(value) = tag.content() else { continue };
            if tag.kind() == "e" {
                let Ok(id) = EventId::from_hex(value) else { continue };
                self.deleted.insert((deletion.pubkey, id));
                let own = |event: &&Arc<Event>| {
                    event.pubkey == deletion.pubkey && event.kind.as_u16() != 5
                };
                if self.by_id.get(&id).filter(own).is_some() {
                    gone.extend(self.remove(&id));
                }
            } else if tag.kind() == "a" {
                let mut parts = value.splitn(3, ':');
                let kind = parts.next().and_then(|kind| kind.parse::<u16>().ok());
                let author = parts.next();
                let (Some(kind), Some(identifier)) = (kind, parts.next()) else { continue };
                if author != Some(deletion.pubkey.to_hex().as_str()) {
                    continue;
                }
                let address = (kind, deletion.pubkey, identifier.to_owned());
                let until = self.deleted_until.entry(address.clone()).or_default();
                *until = (*until).max(deletion.created_at);
                if let Some((at, id)) = self.newest.get(&address).copied()
                    && at <= deletion.created_at
                {
                    gone.extend(self.remove(&id));
                }
            }
        }
    }

    fn vanish(&mut self, request: &Event, gone: &mut Vec<Arc<Event>>) {
        let until = self.vanished_until.entry(request.pubkey).or_default();
        *until = (*until).max(request.created_at);
        let until = *until;
        let ids: Vec<EventId> = self
            .iter()
            .filter(|event| event.pubkey == request.pubkey && event.kind.as_u16() != 62)
            .filter(|event| event.created_at <= until)
            .map(|event| event.id)
            .collect();
        for id in ids {
            gone.extend(self.remove(&id));
        }
    }
}

fn address_of(event: &Event) -> Option<Address> {
    let identifier = if event.kind.is_addressable() {
        event.tags.identifier().unwrap_or_default()
    } else if event.kind.is_replaceable() {
        String::new()
    } else {
        return None;
    };
    Some((event.kind.as_u16(), event.pubkey, identifier))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{Corpus, Mode, Options, Signing};

    fn insert_all<'a>(events: impl Iterator<Item = &'a Event>) -> BTreeSet<EventId> {
        let mut set = Events::default();
        for event in events {
            set.insert(Arc::new(event.clone()), Timestamp::from_secs(0));
        }
        set.ids()
    }

    #[test]
    fn any_order_of_arrival_gives_what_the_oracle_says() {
        let corpus = Corpus::generate(Options {
            events: 800,
            deletions: 60,
            replaced: 100,
            same_second: 300,
            signing: Signing::Simulated,
            ..Options::default()
        });
        let wanted = corpus.wanted(&Mode::Archive, &corpus.all_relays());
        let events = || corpus.entries.iter().map(|entry| &entry.event);
        assert_eq!(insert_all(events()), wanted);
        assert_eq!(insert_all(events().rev()), wanted);
        let mut by_id: Vec<&Event> = events().collect();
        by_id.sort_by_key(|event| event.id);
        assert_eq!(insert_all(by_id.into_iter()), wanted);
    }

    #[test]
    fn a_filter_yields_newest_first_within_its_times() {
        let corpus = Corpus::generate(Options {
            events: 300,
            signing: Signing::Simulated,
            ..Options::default()
        });
        let mut set = Events::default();
        for entry in &corpus.entries {
            set.insert(Arc::new(entry.event.clone()), Timestamp::from_secs(0));
        }
        let middle = corpus.entries[150].event.created_at;
        let filter = Filter::new().since(middle);
        let times: Vec<_> = set.matching(&filter).map(|event| event.created_at).collect();
        assert!(times.is_sorted_by(|a, b| a >= b) && times.len() > 100);
        assert!(times.iter().all(|at| *at >= middle));
        let never = Filter::new().since(middle).until(middle - 1_u64);
        assert_eq!(set.matching(&never).count(), 0);
    }
}
