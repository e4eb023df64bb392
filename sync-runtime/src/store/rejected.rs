//! Rejections: recorded, marked wanted, forgotten (REJ-1 to REJ-4).

use heed::{RoTxn, RwTxn, WithoutTls};
use nostr::event::EventId;
use nostr::types::Timestamp;
use sync_core::admit::rejected::{Dependency, EventType, Rejection};

use super::environment::Environment;
use super::error::StoreError;
use super::key::{Seq, closed, number, queue_key};
use super::outcome::{Detail, Entry, Gone, NewRejection, Row, State, dependency_key, times_up_to};
use super::tables::Tables;
use super::write::{Writer, waiting_key};
use super::{Dropped, Swept};

/// Records rejections of events that are not known otherwise; returns how many. Relays of a row
/// that is replaced are kept first.
pub(super) fn record(
    writer: &mut Writer<'_, '_>,
    rejections: &[NewRejection],
) -> Result<u64, StoreError> {
    let mut order: Vec<&NewRejection> = rejections.iter().collect();
    order.sort_by_key(|new| new.event.id);
    order.dedup_by_key(|new| new.event.id);
    let mut recorded = 0;
    for new in order {
        let mut detail = Detail::of(new, writer.now);
        if let Some(entry) = writer.entry(new.event.id.as_bytes())? {
            match entry.state {
                State::Gone(Gone::Rejected) | State::Wanted => {
                    let known = rejection_at(writer.tables, writer.txn, entry.seq)?;
                    let known = known.map(|row| row.relays).unwrap_or_default();
                    keep_first(&mut detail, known);
                    writer.remove_row(entry.seq)?;
                }
                State::Stored | State::Gone(_) => continue,
            }
        }
        writer.reject(&new.event, &detail)?;
        recorded += 1;
    }
    Ok(recorded)
}

fn keep_first(detail: &mut Detail, mut known: Vec<sync_core::url::RelayUrl>) {
    for relay in detail.relays.drain(..) {
        if !known.contains(&relay) {
            known.push(relay);
        }
    }
    known.truncate(Rejection::MAX_RELAYS);
    detail.relays = known;
}

/// Marks what waits for any of these.
pub(super) fn satisfy(
    writer: &mut Writer<'_, '_>,
    satisfied: &[Dependency],
) -> Result<Vec<Rejection>, StoreError> {
    let mut wanted = Vec::new();
    for on in satisfied {
        for seq in waiting(writer.tables, writer.txn, on, usize::MAX)? {
            wanted.extend(mark_row(writer, seq)?);
        }
    }
    Ok(wanted)
}

/// Marks these, as far as they are rejections.
pub(super) fn mark_wanted(
    writer: &mut Writer<'_, '_>,
    ids: &[EventId],
) -> Result<Vec<Rejection>, StoreError> {
    let mut wanted = Vec::new();
    for id in ids {
        if let Some(entry) = writer.entry(id.as_bytes())?
            && entry.state == State::Gone(Gone::Rejected)
        {
            wanted.extend(mark_row(writer, entry.seq)?);
        }
    }
    Ok(wanted)
}

fn mark_row(writer: &mut Writer<'_, '_>, seq: Seq) -> Result<Option<Rejection>, StoreError> {
    let key = seq.to_be_bytes();
    let Some(record) = writer.tables.rows.get(writer.txn, &key)? else { return Ok(None) };
    let record = record.to_vec();
    let row = Row::read(&record)?;
    writer.unlist(&row, seq)?;
    let entry = Entry { state: State::Wanted, seq };
    writer.tables.ids.put(writer.txn, &row.envelope.id, &entry.bytes())?;
    writer.tables.wanted.put(writer.txn, &key, &[])?;
    let record = Row::with_state(record, State::Wanted);
    writer.tables.rows.put(writer.txn, &key, &record)?;
    Row::read(&record)?.rejection()
}

/// Forgets rejections by id; other ids are left alone.
pub(super) fn forget(writer: &mut Writer<'_, '_>, ids: &[EventId]) -> Result<(), StoreError> {
    for id in ids {
        if let Some(entry) = writer.entry(id.as_bytes())?
            && matches!(entry.state, State::Gone(Gone::Rejected) | State::Wanted)
        {
            writer.remove_row(entry.seq)?;
            writer.tables.ids.delete(writer.txn, id.as_bytes())?;
        }
    }
    Ok(())
}

/// Drops the oldest rows above the limit.
pub(super) fn cap(writer: &mut Writer<'_, '_>, most: u64) -> Result<Dropped, StoreError> {
    let count = writer.tables.aged.len(writer.txn)?;
    let mut dropped = Dropped::default();
    let excess = count.saturating_sub(most);
    for aged in oldest(writer, Timestamp::from_secs(u64::MAX), excess as usize)? {
        let row = forget_aged(writer, aged)?;
        dropped.rows += 1;
        dropped.items.extend(row.into_iter().flat_map(|row| row.items));
    }
    Ok(dropped)
}

/// Drops the oldest tombstones that no sweep removes, above the limit; returns how many. Their
/// events are refused again, by the same rules, when they come again.
pub(super) fn cap_kept(writer: &mut Writer<'_, '_>, most: u64) -> Result<u64, StoreError> {
    let excess = writer.tables.kept.len(writer.txn)?.saturating_sub(most);
    let oldest = writer.tables.kept.iter(writer.txn)?.take(excess as usize);
    let oldest: Vec<Seq> = oldest.map(|item| number(item?.0)).collect::<Result<_, _>>()?;
    for seq in oldest {
        forget_row(writer, seq)?;
    }
    Ok(excess)
}

/// Forgets what was recorded before a second.
pub(super) fn sweep(
    environment: &Environment,
    txn: &mut RwTxn<'_>,
    older_than: Timestamp,
) -> Result<Swept, StoreError> {
    let mut writer = Writer::new(environment, txn, older_than)?;
    let mut swept = Swept::default();
    for aged in oldest(&writer, older_than, usize::MAX)? {
        match forget_aged(&mut writer, aged)? {
            Some(row) => {
                swept.rejections += 1;
                match EventType::of(row.kind) {
                    EventType::Announcement => swept.announcements += 1,
                    EventType::State => swept.states += 1,
                    EventType::Other => {}
                }
            }
            None => swept.ephemeral += 1,
        }
    }
    Ok(swept)
}

fn forget_aged(
    writer: &mut Writer<'_, '_>,
    (at, seq): (u64, Seq),
) -> Result<Option<Rejection>, StoreError> {
    let row = forget_row(writer, seq)?;
    // Rows of rejections know their time and took it along, those of ephemeral events do not.
    writer.tables.aged.delete(writer.txn, &queue_key(at, seq))?;
    Ok(row)
}

/// Rows recorded before a second, oldest first: time, sequence.
fn oldest(
    writer: &Writer<'_, '_>,
    before: Timestamp,
    most: usize,
) -> Result<Vec<(u64, Seq)>, StoreError> {
    let mut found = Vec::new();
    for item in writer.tables.aged.iter(writer.txn)?.take(most) {
        let (key, _) = item?;
        let (at, seq) = (number(&key[..8])?, number(&key[8..])?);
        if at >= before.as_secs() {
            break;
        }
        found.push((at, seq));
    }
    Ok(found)
}

/// Takes a row out for good; gives the rejection when it was one.
fn forget_row(writer: &mut Writer<'_, '_>, seq: Seq) -> Result<Option<Rejection>, StoreError> {
    let key = seq.to_be_bytes();
    let Some(record) = writer.tables.rows.get(writer.txn, &key)? else {
        return Err(StoreError::damaged(format!("row {seq} is missing")));
    };
    let row = Row::read(record)?;
    let (id, rejection) = (row.envelope.id, row.rejection()?);
    writer.remove_row(seq)?;
    writer.tables.ids.delete(writer.txn, &id)?;
    Ok(rejection)
}

/// Forgets the rejections of every other policy.
pub(super) fn retire(
    environment: &Environment,
    txn: &mut RwTxn<'_>,
    revision: u64,
) -> Result<u64, StoreError> {
    let mut writer = Writer::new(environment, txn, Timestamp::from_secs(0))?;
    let mut old = Vec::new();
    for item in writer.tables.rows.iter(writer.txn)? {
        let (key, record) = item?;
        let detail = Row::read(record)?.detail()?;
        if detail.is_some_and(|detail| detail.revision != revision) {
            old.push(number(key)?);
        }
    }
    for seq in &old {
        forget_row(&mut writer, *seq)?;
    }
    Ok(old.len() as u64)
}

type Txn<'t> = RoTxn<'t, WithoutTls>;

/// Rows that wait for this; for a time, rows that wait for it or an earlier one.
fn waiting(
    tables: &Tables,
    txn: &Txn<'_>,
    on: &Dependency,
    most: usize,
) -> Result<Vec<Seq>, StoreError> {
    let (from, to) = match on {
        Dependency::Time(at) => times_up_to(*at),
        on => (dependency_key(on), dependency_key(on)),
    };
    let (from, to) = (waiting_key(&from, 0), waiting_key(&to, Seq::MAX));
    let rows = tables.waiting.range(txn, &closed(&from, &to))?.take(most);
    rows.map(|item| number(&item?.0[33..])).collect()
}

pub(super) fn dependents(
    tables: &Tables,
    txn: &Txn<'_>,
    on: &Dependency,
) -> Result<Vec<Rejection>, StoreError> {
    rejections(tables, txn, waiting(tables, txn, on, usize::MAX)?)
}

pub(super) fn due(
    tables: &Tables,
    txn: &Txn<'_>,
    now: Timestamp,
    most: usize,
) -> Result<Vec<Rejection>, StoreError> {
    rejections(tables, txn, waiting(tables, txn, &Dependency::Time(now), most)?)
}

pub(super) fn wanted(tables: &Tables, txn: &Txn<'_>) -> Result<Vec<Rejection>, StoreError> {
    let rows = tables.wanted.iter(txn)?.map(|item| number(item?.0));
    rejections(tables, txn, rows.collect::<Result<_, _>>()?)
}

pub(super) fn by_id(
    tables: &Tables,
    txn: &Txn<'_>,
    id: EventId,
) -> Result<Option<Rejection>, StoreError> {
    match tables.ids.get(txn, id.as_bytes())?.map(Entry::read).transpose()? {
        Some(Entry { state: State::Gone(Gone::Rejected) | State::Wanted, seq }) => {
            rejection_at(tables, txn, seq)
        }
        _ => Ok(None),
    }
}

fn rejections(
    tables: &Tables,
    txn: &Txn<'_>,
    rows: Vec<Seq>,
) -> Result<Vec<Rejection>, StoreError> {
    let rows = rows.into_iter().map(|seq| rejection_at(tables, txn, seq).transpose());
    rows.flatten().collect()
}

fn rejection_at(tables: &Tables, txn: &Txn<'_>, seq: Seq) -> Result<Option<Rejection>, StoreError> {
    match tables.rows.get(txn, &seq.to_be_bytes())? {
        Some(record) => Row::read(record)?.rejection(),
        None => Err(StoreError::damaged(format!("row {seq} is missing"))),
    }
}
