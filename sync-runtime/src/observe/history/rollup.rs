//! Rows of minutes, and their sums over quarters and hours.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::delta::{Delta, SeriesKey};
use super::{HistoryError, meta, set_meta};
use crate::api::WallMs;

/// Adds deltas to a minute. It may hold some already, of a process that ended within it.
pub(super) fn add(
    db: &Connection,
    ids: &mut BTreeMap<SeriesKey, i64>,
    minute: u64,
    deltas: &BTreeMap<SeriesKey, Delta>,
) -> Result<(), HistoryError> {
    let mut rows = BTreeMap::new();
    for (key, delta) in deltas {
        let id = match ids.get(key) {
            Some(id) => *id,
            None => {
                let id = series(db, key)?;
                ids.insert(key.clone(), id);
                id
            }
        };
        rows.insert(id, delta.clone());
    }
    for (id, old) in read(db, 60, minute, minute + 60)? {
        if let Some(delta) = rows.get_mut(&id) {
            let mut both = old;
            both.merge(delta);
            *delta = both;
        }
    }
    write(db, 60, minute, &rows)
}

fn series(db: &Connection, key: &SeriesKey) -> Result<i64, HistoryError> {
    let labels = serde_json::to_string(&key.labels)?;
    db.prepare_cached("INSERT OR IGNORE INTO series (family, labels) VALUES (?1, ?2)")?
        .execute(params![key.family, labels])?;
    let mut select =
        db.prepare_cached("SELECT id FROM series WHERE family = ?1 AND labels = ?2")?;
    Ok(select.query_row(params![key.family, labels], |row| row.get(0))?)
}

fn write(
    db: &Connection,
    resolution: u64,
    at: u64,
    rows: &BTreeMap<i64, Delta>,
) -> Result<(), HistoryError> {
    let sql = "INSERT OR REPLACE INTO rollup (res, t, series, body) VALUES (?1, ?2, ?3, ?4)";
    let mut insert = db.prepare_cached(sql)?;
    for (id, delta) in rows {
        let body = serde_json::to_string(delta)?;
        insert.execute(params![resolution.cast_signed(), at.cast_signed(), id, body])?;
    }
    Ok(())
}

/// The sums by series of rows that begin from `since` to before `until`, in seconds.
pub(super) fn read(
    db: &Connection,
    resolution: u64,
    since: u64,
    until: u64,
) -> Result<BTreeMap<i64, Delta>, HistoryError> {
    let sql = "SELECT series, body FROM rollup WHERE res = ?1 AND t >= ?2 AND t < ?3 ORDER BY t";
    let mut select = db.prepare_cached(sql)?;
    let range = params![resolution.cast_signed(), since.cast_signed(), until.cast_signed()];
    let mut rows = select.query(range)?;
    let mut sums = BTreeMap::<i64, Delta>::new();
    while let Some(row) = rows.next()? {
        let delta: Delta = serde_json::from_str(row.get_ref(1)?.as_str().unwrap_or_default())?;
        sums.entry(row.get(0)?).and_modify(|sum| sum.merge(&delta)).or_insert(delta);
    }
    Ok(sums)
}

/// Sums up every quarter and hour that is complete and was not summed up.
pub(super) fn roll_up(db: &Connection, at: WallMs) -> Result<(), HistoryError> {
    for (coarse, fine, name) in [(900, 60, "quarters"), (3600, 900, "hours")] {
        let complete = at.as_secs() / coarse * coarse;
        let mut next = match meta(db, name)? {
            Some(next) => next,
            None => oldest(db, fine)?.unwrap_or(complete) / coarse * coarse,
        };
        while next < complete {
            let sums = read(db, fine, next, next + coarse)?;
            if sums.is_empty() {
                // Nothing was watched: go on at what is there, however far.
                next = newer(db, fine, next + coarse)?.map_or(complete, |t| t / coarse * coarse);
                continue;
            }
            write(db, coarse, next, &sums)?;
            next += coarse;
        }
        set_meta(db, name, next.min(complete))?;
    }
    Ok(())
}

fn oldest(db: &Connection, resolution: u64) -> Result<Option<u64>, HistoryError> {
    newer(db, resolution, 0)
}

fn newer(db: &Connection, resolution: u64, from: u64) -> Result<Option<u64>, HistoryError> {
    let sql = "SELECT min(t) FROM rollup WHERE res = ?1 AND t >= ?2";
    let range = params![resolution.cast_signed(), from.cast_signed()];
    let t: Option<i64> = db.query_row(sql, range, |row| row.get(0))?;
    Ok(t.map(i64::cast_unsigned))
}
