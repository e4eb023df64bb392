//! What a store holds in the end, computed the plain way: everything at hand at once, no order of
//! arrival, no relays' behaviour.

use std::collections::{BTreeMap, BTreeSet};

use nostr::event::{Event, EventId};
use nostr::filter::{Filter, MatchEventOptions};
use nostr::key::PublicKey;

use super::Corpus;

/// Whose events are wanted (spec §9).
#[derive(Clone, Debug)]
pub enum Mode {
    /// Every announcement and what belongs to it.
    Archive,
    /// Announcements that list one of these domains (`host` or `host:port`) in both `clone` and
    /// `relays`, those of their maintainers, and what belongs to them.
    Service(Vec<String>),
    /// What matches one of these filters.
    Filters(Vec<Filter>),
}

pub(super) fn wanted(
    corpus: &Corpus,
    mode: &Mode,
    reachable: &BTreeSet<usize>,
) -> BTreeSet<EventId> {
    let at_hand: Vec<&Event> = corpus
        .entries
        .iter()
        .filter(|entry| entry.relays.iter().any(|relay| reachable.contains(relay)))
        .map(|entry| &entry.event)
        .collect();
    if let Mode::Filters(filters) = mode {
        let options = MatchEventOptions::default();
        let matching = at_hand
            .iter()
            .copied()
            .filter(|event| filters.iter().any(|filter| filter.match_event(event, options)));
        return remaining(&matching.collect::<Vec<_>>());
    }
    let current = newest_versions(&at_hand);
    let mut accepted = Accepted::default();
    accepted.announcements(&current, mode);
    accepted.everything_else(&current);
    let kept: Vec<&Event> =
        current.into_iter().filter(|event| accepted.ids.contains(&event.id)).collect();
    remaining(&kept)
}

/// Drops versions that a newer one replaces (NIP-01: the lowest id wins within a second).
fn newest_versions<'a>(events: &[&'a Event]) -> Vec<&'a Event> {
    let mut newest = BTreeMap::new();
    for event in events.iter().copied() {
        let slot = newest.entry(version_key(event)).or_insert(event);
        let rank = |e: &Event| (e.created_at, std::cmp::Reverse(e.id));
        if rank(event) > rank(slot) {
            *slot = event;
        }
    }
    let mut out: Vec<&Event> = newest.into_values().collect();
    out.sort_by_key(|event| (event.created_at, event.id));
    out
}

/// Events of one key replace one another; for most events that is the id itself.
fn version_key(event: &Event) -> (String, String) {
    if event.kind.is_addressable() {
        let d = values(event, "d").next().unwrap_or_default();
        (format!("{}:{}", event.kind.as_u16(), event.pubkey), d.to_owned())
    } else if event.kind.is_replaceable() {
        (format!("{}:{}", event.kind.as_u16(), event.pubkey), String::new())
    } else {
        (event.id.to_hex(), String::new())
    }
}

/// The ids that are left once deletions among these events were applied (NIP-09).
fn remaining(events: &[&Event]) -> BTreeSet<EventId> {
    let mut deleted = BTreeSet::<(PublicKey, String)>::new();
    for event in events.iter().filter(|event| event.kind.as_u16() == 5) {
        deleted.extend(values(event, "e").map(|id| (event.pubkey, id.to_owned())));
    }
    newest_versions(events)
        .into_iter()
        .filter(|event| !deleted.contains(&(event.pubkey, event.id.to_hex())))
        .map(|event| event.id)
        .collect()
}

/// First values of the tags of this name.
fn values<'a>(event: &'a Event, name: &'a str) -> impl Iterator<Item = &'a str> {
    event.tags.iter().filter(move |tag| tag.kind() == name).filter_map(|tag| tag.content())
}

/// All values of the tags of this name.
fn all_values<'a>(event: &'a Event, name: &'a str) -> impl Iterator<Item = &'a str> {
    let named = event.tags.iter().filter(move |tag| tag.kind() == name);
    named.flat_map(|tag| tag.as_slice()[1..].iter().map(String::as_str))
}

#[derive(Default)]
struct Accepted {
    ids: BTreeSet<EventId>,
    /// Whatever a reference may name: hex ids and addresses of accepted events.
    names: BTreeSet<String>,
    /// Who may publish states, by identifier.
    maintainers: BTreeSet<(String, String)>,
    authors: BTreeSet<PublicKey>,
}

impl Accepted {
    fn accept(&mut self, event: &Event) {
        self.ids.insert(event.id);
        self.names.insert(event.id.to_hex());
        self.authors.insert(event.pubkey);
    }

    fn announcements(&mut self, events: &[&Event], mode: &Mode) {
        loop {
            let before = self.ids.len();
            for event in events.iter().filter(|event| event.kind.as_u16() == 30617) {
                let d = values(event, "d").next().unwrap_or_default().to_owned();
                let author = event.pubkey.to_hex();
                let taken = match mode {
                    Mode::Archive => true,
                    Mode::Service(domains) => domains.iter().any(|domain| lists(event, domain)),
                    Mode::Filters(_) => false,
                };
                if taken || self.maintainers.contains(&(d.clone(), author.clone())) {
                    self.accept(event);
                    self.names.insert(format!("30617:{author}:{d}"));
                    for key in all_values(event, "maintainers") {
                        self.maintainers.insert((d.clone(), key.to_owned()));
                    }
                    self.maintainers.insert((d, author));
                }
            }
            if self.ids.len() == before {
                return;
            }
        }
    }

    fn everything_else(&mut self, events: &[&Event]) {
        let mut quoted = BTreeSet::<String>::new();
        loop {
            let before = self.ids.len();
            for event in events.iter().filter(|event| !self_announcing(event)) {
                if self.references_accepted(event) {
                    self.accept(event);
                    if matches!(event.kind.as_u16(), 1617 | 1618 | 1619 | 1621 | 1111) {
                        quoted.extend(REFERENCES.iter().flat_map(|name| {
                            values(event, name).map(str::to_owned).collect::<Vec<_>>()
                        }));
                    }
                }
            }
            if self.ids.len() == before {
                break;
            }
        }
        // One hop: what is accepted only so makes nothing else acceptable.
        for event in events.iter().filter(|event| !self_announcing(event)) {
            if quoted.contains(&event.id.to_hex()) {
                self.ids.insert(event.id);
                self.authors.insert(event.pubkey);
            }
        }
        for event in events.iter().filter(|event| event.kind.as_u16() == 5) {
            if self.authors.contains(&event.pubkey) {
                self.ids.insert(event.id);
            }
        }
    }

    fn references_accepted(&self, event: &Event) -> bool {
        if event.kind.as_u16() == 30618 {
            let d = values(event, "d").next().unwrap_or_default().to_owned();
            return self.maintainers.contains(&(d, event.pubkey.to_hex()));
        }
        REFERENCES.iter().any(|name| values(event, name).any(|v| self.names.contains(v)))
    }
}

const REFERENCES: [&str; 5] = ["a", "A", "q", "e", "E"];

fn self_announcing(event: &Event) -> bool {
    event.kind.as_u16() == 30617
}

/// Whether an announcement lists this domain in both `clone` and `relays`.
fn lists(event: &Event, domain: &str) -> bool {
    let on = |name| {
        all_values(event, name).any(|url| {
            let rest = url.split_once("://").map_or("", |(_, rest)| rest);
            rest.split('/').next() == Some(domain)
        })
    };
    on("clone") && on("relays")
}
