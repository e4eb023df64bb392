//! The journal in the file.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::{History, HistoryError};
use crate::api::{Entry, WallMs};

pub(super) fn write(
    db: &Connection,
    boot: WallMs,
    entries: &[Arc<Entry>],
) -> Result<(), HistoryError> {
    let sql = "INSERT OR REPLACE INTO journal (boot, seq, at, body) VALUES (?1, ?2, ?3, ?4)";
    let mut insert = db.prepare_cached(sql)?;
    for entry in entries {
        let body = serde_json::to_string(&**entry)?;
        let at = entry.at_ms.0.cast_signed();
        insert.execute(params![boot.0.cast_signed(), entry.seq.cast_signed(), at, body])?;
    }
    Ok(())
}

impl History {
    /// The latest entries of all processes within a time, the oldest first, as many as `max` of
    /// those that `keep` keeps; and whether there are more.
    pub fn journal(
        &mut self,
        since: WallMs,
        until: WallMs,
        max: usize,
        keep: impl Fn(&Entry) -> bool,
    ) -> Result<(Vec<Entry>, bool), HistoryError> {
        self.flush_journal()?;
        let sql = "SELECT body FROM journal WHERE at >= ?1 AND at <= ?2
                   ORDER BY at DESC, boot DESC, seq DESC";
        let mut select = self.db.prepare_cached(sql)?;
        let bound = |at: WallMs| i64::try_from(at.0).unwrap_or(i64::MAX);
        let mut rows = select.query(params![bound(since), bound(until)])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            // An entry of a newer version that is not known here is left out.
            let Ok(entry) = serde_json::from_str(row.get_ref(0)?.as_str().unwrap_or_default())
            else {
                continue;
            };
            if !keep(&entry) {
                continue;
            }
            if entries.len() == max {
                entries.reverse();
                return Ok((entries, true));
            }
            entries.push(entry);
        }
        entries.reverse();
        Ok((entries, false))
    }
}
