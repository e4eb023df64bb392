//! One commit: events, rejections, ledger and outbox in one transaction.

use std::ops::ControlFlow;

use heed::RwTxn;
use nostr::event::EventId;
use nostr::filter::Filter;
use nostr::types::Timestamp;

use super::environment::Environment;
use super::error::StoreError;
use super::key::number;
use super::outcome::{Gone, State};
use super::write::Writer;
use super::{Commit, CommitReport, Removed, StoreOptions, decide, ledger, query, rejected};

/// Applies a batch; the transaction is committed by the caller.
pub(super) fn apply(
    environment: &Environment,
    options: &StoreOptions,
    txn: &mut RwTxn<'_>,
    batch: &Commit,
) -> Result<CommitReport, StoreError> {
    let mut writer = Writer::new(environment, txn, batch.now)?;
    let outcomes = decide::events(&mut writer, &options.relay_urls, &batch.events)?;
    writer.flush()?;
    let rejected = rejected::record(&mut writer, &batch.rejections)?;
    writer.flush()?;
    let mut wanted = rejected::satisfy(&mut writer, &batch.satisfied)?;
    wanted.extend(rejected::mark_wanted(&mut writer, &batch.wanted)?);
    rejected::forget(&mut writer, &batch.forgotten)?;
    for id in &batch.sent {
        if let Some(entry) = writer.entry(id.as_bytes())?
            && entry.state == State::Stored
        {
            writer.tables.outbox.delete(writer.txn, &entry.seq.to_be_bytes())?;
        }
    }
    ledger::apply(&mut writer, &batch.ledger)?;
    let dropped = rejected::cap(&mut writer, options.rejections_max)?;
    let tombstones_dropped = rejected::cap_kept(&mut writer, options.tombstones_max)?;
    let removed = writer.removed;
    Ok(CommitReport { outcomes, removed, rejected, wanted, dropped, tombstones_dropped })
}

/// Takes stored events that match out without a trace; returns how many.
pub(super) fn erase(
    environment: &Environment,
    txn: &mut RwTxn<'_>,
    filter: &Filter,
) -> Result<u64, StoreError> {
    let mut ids: Vec<EventId> = Vec::new();
    query::query(environment, txn, filter, &mut |found| {
        ids.push(found.id);
        ControlFlow::Continue(())
    })?;
    Ok(forget(environment, txn, &ids)? as u64)
}

/// Takes events out without a trace; how many were stored.
fn forget(
    environment: &Environment,
    txn: &mut RwTxn<'_>,
    ids: &[EventId],
) -> Result<usize, StoreError> {
    let mut writer = Writer::new(environment, txn, Timestamp::from_secs(0))?;
    let mut forgotten = 0;
    for id in ids {
        forgotten += usize::from(writer.forget(id.as_bytes())?);
    }
    writer.flush()?;
    Ok(forgotten)
}

/// Removes what expired by `now` (NIP-40).
pub(super) fn expire(
    environment: &Environment,
    txn: &mut RwTxn<'_>,
    now: Timestamp,
) -> Result<Vec<Removed>, StoreError> {
    let mut writer = Writer::new(environment, txn, now)?;
    let mut expired = Vec::new();
    for item in writer.tables.expiry.iter(writer.txn)? {
        let (key, _) = item?;
        if number(&key[..8])? > now.as_secs() {
            break;
        }
        expired.push(number(&key[8..])?);
    }
    for seq in expired {
        writer.remove(seq, Gone::Expired, None)?;
    }
    writer.flush()?;
    Ok(writer.removed)
}
