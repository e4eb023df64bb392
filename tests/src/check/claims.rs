//! S6, S7: a claim of coverage against what the relay really held and the store really has. Also
//! the ledger as the shell writes it.

use std::collections::{BTreeMap, BTreeSet};

use nostr::event::Event;
use nostr::filter::{Filter, MatchEventOptions};
use sync_core::command::Command;
use sync_core::config::Config;
use sync_core::id::RowId;
use sync_core::item::Item;
use sync_core::ledger::{Cohort, Gap, LedgerChange, LedgerRow, RelayRow};
use sync_core::url::RelayUrl;

use super::{Findings, Truth};

/// Rows as they are durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    relays: BTreeMap<RelayUrl, RelayRow>,
    cohorts: BTreeMap<(RelayUrl, RowId), Cohort>,
    gaps: BTreeMap<(RelayUrl, RowId), Gap>,
}

impl Ledger {
    /// Writes a change; the cohort of before, where one is replaced.
    pub fn apply(&mut self, change: &LedgerChange) -> Option<Cohort> {
        match change {
            LedgerChange::Put(LedgerRow::Relay(row)) => {
                self.relays.insert(row.url.clone(), row.clone());
                None
            }
            LedgerChange::Put(LedgerRow::Cohort { relay, row, cohort }) => {
                self.cohorts.insert((relay.clone(), *row), cohort.clone())
            }
            LedgerChange::Put(LedgerRow::Gap { relay, row, gap }) => {
                self.gaps.insert((relay.clone(), *row), gap.clone());
                None
            }
            LedgerChange::DropCohort { relay, row } => self.cohorts.remove(&(relay.clone(), *row)),
            LedgerChange::DropGap { relay, row } => {
                self.gaps.remove(&(relay.clone(), *row));
                None
            }
            LedgerChange::DropRelay { relay } => {
                self.relays.remove(relay);
                self.cohorts.retain(|(of, _), _| of != relay);
                self.gaps.retain(|(of, _), _| of != relay);
                None
            }
        }
    }

    /// The rows, as they are handed in at start: relays, cohorts, gaps.
    pub fn rows(&self) -> Vec<LedgerRow> {
        let relays = self.relays.values().cloned().map(LedgerRow::Relay);
        let cohorts = self.cohorts.iter().map(|((relay, row), cohort)| LedgerRow::Cohort {
            relay: relay.clone(),
            row: *row,
            cohort: cohort.clone(),
        });
        let gaps = self.gaps.iter().map(|((relay, row), gap)| LedgerRow::Gap {
            relay: relay.clone(),
            row: *row,
            gap: gap.clone(),
        });
        relays.chain(cohorts).chain(gaps).collect()
    }

    /// Streaks of failures.
    pub fn failures(&self) -> impl Iterator<Item = (&RelayUrl, u32)> {
        self.relays.iter().map(|(url, row)| (url, row.failures))
    }

    /// Claims, with the relay that each is about.
    pub fn cohorts(&self) -> impl Iterator<Item = (&RelayUrl, &Cohort)> {
        self.cohorts.iter().map(|((relay, _), cohort)| (relay, cohort))
    }

    /// Gaps of a relay.
    pub fn gaps<'a>(&'a self, relay: &'a RelayUrl) -> impl Iterator<Item = &'a Gap> {
        self.gaps.iter().filter(move |((of, _), _)| of == relay).map(|(_, gap)| gap)
    }

    /// Gaps of a relay that no person accepted (CONN-9).
    pub fn standing_gaps(&self, relay: &RelayUrl) -> usize {
        self.gaps(relay).filter(|gap| !gap.accepted).count()
    }
}

#[derive(Debug)]
pub(super) struct Claims {
    filters: Vec<Filter>,
    /// A resumed walk looks back so far from what was proven (HIST-1).
    overlap: u64,
    ledger: Ledger,
    fresh: Vec<(RelayUrl, Cohort)>,
}

impl Claims {
    /// What the ledger claims at the start is judged as if it were claimed then: it must hold of
    /// what is durable.
    pub(super) fn new(config: &Config, ledger: Ledger) -> Self {
        let fresh = ledger.cohorts().map(|(relay, cohort)| (relay.clone(), cohort.clone()));
        Self {
            filters: config.accept.filters.clone(),
            overlap: config.sync.reconnect_overlap.as_secs(),
            fresh: fresh.collect(),
            ledger,
        }
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn on_command(&mut self, command: &Command) {
        let Command::Persist(change) = command else { return };
        let before = self.ledger.apply(change);
        if let LedgerChange::Put(LedgerRow::Cohort { relay, cohort, .. }) = change {
            // The live watermark alone is no new claim.
            let same = before.is_some_and(|before| {
                before.items == cohort.items
                    && before.until == cohort.until
                    && before.as_of == cohort.as_of
            });
            if !same {
                self.fresh.push((relay.clone(), cohort.clone()));
            }
        }
    }

    /// Gaps may follow their cohort within one input, so claims are judged at its end.
    pub(super) fn on_drained(&mut self, truth: &impl Truth, findings: &mut Findings) {
        for (relay, cohort) in std::mem::take(&mut self.fresh) {
            let wanted = items_match(&cohort.items, &self.filters);
            let missing: Vec<&Event> = truth
                .held(&relay, cohort.as_of)
                .into_iter()
                // What the relay got after the last full proof with an older date is the affair of
                // the next one.
                .filter(|(arrived, event)| {
                    *arrived < cohort.full_as_of
                        || event.created_at.as_secs() + self.overlap >= arrived.as_secs()
                })
                .map(|(_, event)| event)
                .filter(|event| event.created_at <= cohort.until && wanted(event))
                .filter(|event| !truth.is_settled(event) && !self.is_named(&relay, event))
                .collect();
            findings.check(missing.is_empty(), "S7", || {
                format!(
                    "{relay} is claimed for {} items up to {} as of {}, and {} events that it \
                     held are neither settled nor in a gap, first kind {} {} at {}",
                    cohort.items.len(),
                    cohort.until,
                    cohort.as_of,
                    missing.len(),
                    missing[0].kind.as_u16(),
                    missing[0].id,
                    missing[0].created_at,
                )
            });
        }
    }

    fn is_named(&self, relay: &RelayUrl, event: &Event) -> bool {
        self.ledger.gaps(relay).any(|gap| {
            let of_item = items_match(&gap.items, &self.filters)(event);
            (gap.range.contains(event.created_at) && of_item) || gap.ids.contains(&event.id)
        })
    }
}

/// Whether an event belongs to one of these items (spec §1, layers), `filters` being those of the
/// configuration.
pub fn items_match(items: &[Item], filters: &[Filter]) -> impl Fn(&Event) -> bool {
    let mut layer1 = false;
    let mut identifiers = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    let mut threads = BTreeSet::new();
    let mut ids = BTreeSet::new();
    let mut mirrored = Vec::new();
    for item in items {
        match item {
            Item::Layer1 => layer1 = true,
            Item::Repo(repo) => {
                identifiers.insert(repo.identifier.clone());
                addresses.insert(repo.to_string());
            }
            Item::Thread(id) => drop(threads.insert(id.to_hex())),
            Item::Id(id) => drop(ids.insert(*id)),
            Item::Filter(n) => mirrored.extend(filters.get(usize::from(*n)).cloned()),
        }
    }
    move |event| {
        let kind = event.kind.as_u16();
        if layer1 && matches!(kind, 30617 | 10317) || ids.contains(&event.id) {
            return true;
        }
        let options = MatchEventOptions::default();
        if mirrored.iter().any(|filter| filter.match_event(event, options)) {
            return true;
        }
        event.tags.iter().any(|tag| {
            let Some(value) = tag.content() else { return false };
            match tag.kind() {
                "d" => kind == 30618 && identifiers.contains(value),
                "a" | "A" => addresses.contains(value),
                "e" | "E" => threads.contains(value),
                "q" => addresses.contains(value) || threads.contains(value),
                _ => false,
            }
        })
    }
}
