//! The ledger's rows in the store. Keys begin with a digest of the relay's URL, since URLs may be
//! longer than a key.

use heed::{RoTxn, WithoutTls};
use sync_core::id::RowId;
use sync_core::ledger::{LedgerChange, LedgerRow};
use sync_core::url::RelayUrl;

use super::error::StoreError;
use super::key::{closed, digest};
use super::tables::Tables;
use super::write::Writer;

const RELAY: u8 = 0;
const COHORT: u8 = 1;
const GAP: u8 = 2;

fn relay_key(relay: &RelayUrl) -> [u8; 32] {
    digest(relay.as_str())
}

fn row_key(relay: &RelayUrl, sort: u8, row: RowId) -> [u8; 37] {
    let mut key = [sort; 37];
    key[..32].copy_from_slice(&relay_key(relay));
    key[33..].copy_from_slice(&row.0.to_be_bytes());
    key
}

fn key_of(row: &LedgerRow) -> [u8; 37] {
    match row {
        LedgerRow::Relay(row) => row_key(&row.url, RELAY, RowId(0)),
        LedgerRow::Cohort { relay, row, .. } => row_key(relay, COHORT, *row),
        LedgerRow::Gap { relay, row, .. } => row_key(relay, GAP, *row),
    }
}

pub(super) fn apply(
    writer: &mut Writer<'_, '_>,
    changes: &[LedgerChange],
) -> Result<(), StoreError> {
    let table = writer.tables.ledger;
    for change in changes {
        match change {
            LedgerChange::Put(row) => {
                let json = serde_json::to_vec(row).expect("a row of the ledger is plain data");
                table.put(writer.txn, &key_of(row), &json)?;
            }
            LedgerChange::DropCohort { relay, row } => {
                table.delete(writer.txn, &row_key(relay, COHORT, *row))?;
            }
            LedgerChange::DropGap { relay, row } => {
                table.delete(writer.txn, &row_key(relay, GAP, *row))?;
            }
            LedgerChange::DropRelay { relay } => {
                let (first, last) = (RowId(0), RowId(u32::MAX));
                let (first, last) = (row_key(relay, RELAY, first), row_key(relay, GAP, last));
                table.delete_range(writer.txn, &closed(&first, &last))?;
            }
        }
    }
    Ok(())
}

pub(super) fn rows(
    tables: &Tables,
    txn: &RoTxn<'_, WithoutTls>,
) -> Result<Vec<LedgerRow>, StoreError> {
    let mut rows = Vec::new();
    for item in tables.ledger.iter(txn)? {
        let (_, json) = item?;
        let row: LedgerRow = serde_json::from_slice(json)
            .map_err(|error| StoreError::damaged(format!("a row of the ledger: {error}")))?;
        rows.push(row);
    }
    // Stable: within a relay the order of keys stays.
    rows.sort_by(|a, b| relay_of(a).cmp(relay_of(b)));
    Ok(rows)
}

fn relay_of(row: &LedgerRow) -> &RelayUrl {
    match row {
        LedgerRow::Relay(row) => &row.url,
        LedgerRow::Cohort { relay, .. } | LedgerRow::Gap { relay, .. } => relay,
    }
}
