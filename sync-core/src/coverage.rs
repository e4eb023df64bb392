//! What is proven of one relay, and what is named as missing (HIST-7, HIST-10; spec §2).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use nostr::types::Timestamp;

use crate::id::RowId;
use crate::item::Item;
use crate::ledger::{Cohort, Gap, LedgerChange, LedgerRow};
use crate::url::RelayUrl;

/// Cohorts and gaps of a relay. Every change is returned as what the ledger has to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    relay: RelayUrl,
    cohorts: BTreeMap<RowId, Cohort>,
    cohort_of: BTreeMap<Item, RowId>,
    gaps: BTreeMap<RowId, Gap>,
    next_row: u32,
}

impl Coverage {
    /// Nothing is proven.
    pub fn new(relay: RelayUrl) -> Self {
        Self {
            relay,
            cohorts: BTreeMap::new(),
            cohort_of: BTreeMap::new(),
            gaps: BTreeMap::new(),
            next_row: 0,
        }
    }

    /// Takes a row of the ledger in, at start.
    pub fn load(&mut self, row: LedgerRow) {
        match row {
            LedgerRow::Cohort { row, cohort, .. } => {
                for item in &cohort.items {
                    self.cohort_of.insert(item.clone(), row);
                }
                self.cohorts.insert(row, cohort);
                self.next_row = self.next_row.max(row.0 + 1);
            }
            LedgerRow::Gap { row, gap, .. } => {
                self.gaps.insert(row, gap);
                self.next_row = self.next_row.max(row.0 + 1);
            }
            LedgerRow::Relay(_) => {}
        }
    }

    fn row(&mut self) -> RowId {
        let row = RowId(self.next_row);
        self.next_row += 1;
        row
    }

    fn put_cohort(&self, row: RowId) -> LedgerChange {
        let cohort = self.cohorts[&row].clone();
        LedgerChange::Put(LedgerRow::Cohort { relay: self.relay.clone(), row, cohort })
    }

    fn put_gap(&self, row: RowId) -> LedgerChange {
        let gap = self.gaps[&row].clone();
        LedgerChange::Put(LedgerRow::Gap { relay: self.relay.clone(), row, gap })
    }

    /// The cohort of an item.
    pub fn cohort(&self, item: &Item) -> Option<&Cohort> {
        self.cohort_of.get(item).map(|row| &self.cohorts[row])
    }

    /// The row of the cohort of an item.
    pub fn row_of(&self, item: &Item) -> Option<RowId> {
        self.cohort_of.get(item).copied()
    }

    /// Whether anything is proven.
    pub fn is_empty(&self) -> bool {
        self.cohorts.is_empty()
    }

    /// Every cohort.
    pub fn cohorts(&self) -> impl Iterator<Item = (RowId, &Cohort)> {
        self.cohorts.iter().map(|(row, cohort)| (*row, cohort))
    }

    /// Every gap.
    pub fn gaps(&self) -> impl Iterator<Item = (RowId, &Gap)> {
        self.gaps.iter().map(|(row, gap)| (*row, gap))
    }

    /// One gap.
    pub fn gap(&self, row: RowId) -> Option<&Gap> {
        self.gaps.get(&row)
    }

    /// Whether a gap stands that no person accepted (CONN-1, CONN-9).
    pub fn is_degraded(&self) -> bool {
        self.gaps.values().any(|gap| !gap.accepted)
    }

    /// Takes items out of their cohorts; a cohort without items goes.
    fn detach(&mut self, items: &[Item], changes: &mut Vec<LedgerChange>) {
        let mut by_row: BTreeMap<RowId, BTreeSet<&Item>> = BTreeMap::new();
        for item in items {
            if let Some(row) = self.cohort_of.remove(item) {
                by_row.entry(row).or_default().insert(item);
            }
        }
        for (row, gone) in by_row {
            let cohort = self.cohorts.get_mut(&row).expect("cohort_of names cohorts that exist");
            cohort.items.retain(|item| !gone.contains(item));
            if cohort.items.is_empty() {
                self.cohorts.remove(&row);
                changes.push(LedgerChange::DropCohort { relay: self.relay.clone(), row });
            } else {
                changes.push(self.put_cohort(row));
            }
        }
    }

    /// Claims a cohort: its items leave the ones they were in (S6 is upheld by the caller, who
    /// claims only what is settled).
    pub fn claim(&mut self, cohort: Cohort) -> Vec<LedgerChange> {
        let mut changes = Vec::new();
        self.detach(&cohort.items, &mut changes);
        let row = self.row();
        for item in &cohort.items {
            self.cohort_of.insert(item.clone(), row);
        }
        self.cohorts.insert(row, cohort);
        changes.push(self.put_cohort(row));
        changes
    }

    /// Coverage of these items no longer holds (REJ-1, a level that rose).
    pub fn unprove(&mut self, items: &[Item]) -> Vec<LedgerChange> {
        let mut changes = Vec::new();
        self.detach(items, &mut changes);
        changes
    }

    /// Moves the live watermark of cohorts whose items are all live.
    pub fn mark_live(
        &mut self,
        until: Timestamp,
        is_live: impl Fn(&Item) -> bool,
    ) -> Vec<LedgerChange> {
        let rows: Vec<RowId> = self
            .cohorts
            .iter()
            .filter(|(_, c)| c.live_until.is_none_or(|old| old < until))
            .filter(|(_, c)| c.items.iter().all(&is_live))
            .map(|(row, _)| *row)
            .collect();
        for row in &rows {
            self.cohorts.get_mut(row).expect("listed above").live_until = Some(until);
        }
        rows.iter().map(|row| self.put_cohort(*row)).collect()
    }

    /// Names what is missing.
    pub fn open_gap(&mut self, gap: Gap) -> (RowId, LedgerChange) {
        let row = self.row();
        self.gaps.insert(row, gap);
        (row, self.put_gap(row))
    }

    /// Replaces a gap after another try.
    pub fn update_gap(
        &mut self,
        row: RowId,
        update: impl FnOnce(&mut Gap),
    ) -> Option<LedgerChange> {
        update(self.gaps.get_mut(&row)?);
        Some(self.put_gap(row))
    }

    /// Nothing is missing of these items any longer: whether the gap closed with them, and what
    /// the ledger has to write.
    pub fn shrink_gap(
        &mut self,
        row: RowId,
        gone: impl Fn(&Item) -> bool,
    ) -> (bool, Option<LedgerChange>) {
        let Some(gap) = self.gaps.get_mut(&row) else { return (false, None) };
        let before = gap.items.len();
        gap.items.retain(|item| !gone(item));
        if gap.items.is_empty() {
            self.gaps.remove(&row);
            (true, Some(LedgerChange::DropGap { relay: self.relay.clone(), row }))
        } else {
            (false, (gap.items.len() < before).then(|| self.put_gap(row)))
        }
    }

    /// Nothing is claimed any longer (REJ-1); what is missing stays named.
    pub fn unprove_all(&mut self) -> Vec<LedgerChange> {
        self.cohort_of.clear();
        let rows = core::mem::take(&mut self.cohorts).into_keys();
        rows.map(|row| LedgerChange::DropCohort { relay: self.relay.clone(), row }).collect()
    }

    /// Rows worth persisting.
    pub fn rows(&self) -> impl Iterator<Item = LedgerRow> + '_ {
        let cohorts = self.cohorts.iter().map(|(row, cohort)| LedgerRow::Cohort {
            relay: self.relay.clone(),
            row: *row,
            cohort: cohort.clone(),
        });
        let gaps = self.gaps.iter().map(|(row, gap)| LedgerRow::Gap {
            relay: self.relay.clone(),
            row: *row,
            gap: gap.clone(),
        });
        cohorts.chain(gaps)
    }
}
