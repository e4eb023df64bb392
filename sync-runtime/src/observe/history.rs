//! History of metrics in `history.sqlite`: what changed in each minute, rolled up to quarters and
//! hours, the journal, and which time was watched at all. Deltas are kept and never totals, so that
//! a window needs no care for restarts (§2.6 of the observability text).

mod delta;
mod journal;
mod report;
mod rollup;
mod shared;
mod window;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

pub use delta::{Delta, Gauge, SeriesKey};
pub use report::{SECTIONS, Selection, metrics};
pub use shared::SharedHistory;
pub use window::Window;

use super::Registry;
use super::journal::Position;
use crate::api::WallMs;
use delta::Totals;

/// How long things are kept, and how much in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Rows of minutes.
    pub minutes: Duration,
    /// Rows of quarters of an hour.
    pub quarters: Duration,
    /// Rows of hours.
    pub hours: Duration,
    /// Journal.
    pub journal: Duration,
    /// Size of the file in bytes; the oldest goes first.
    pub bytes: u64,
}

impl Default for Keep {
    fn default() -> Self {
        let days = |n: u64| Duration::from_secs(n * 86_400);
        Self {
            minutes: days(2),
            quarters: days(14),
            hours: days(400),
            journal: days(30),
            bytes: 128 << 20,
        }
    }
}

/// Why history could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The database failed.
    #[error("history.sqlite failed")]
    Sqlite(#[from] rusqlite::Error),
    /// A row cannot be read.
    #[error("a row of history.sqlite cannot be read")]
    Row(#[from] serde_json::Error),
    /// It was written by a newer version.
    #[error("history.sqlite is of version {0}, this program knows {VERSION}")]
    Newer(i64),
}

/// Version of the file's layout.
const VERSION: i64 = 1;

const LAYOUT: &str = "
    CREATE TABLE IF NOT EXISTS series (
        id INTEGER PRIMARY KEY, family TEXT NOT NULL, labels TEXT NOT NULL, UNIQUE (family, labels)
    );
    CREATE TABLE IF NOT EXISTS rollup (
        res INTEGER NOT NULL, t INTEGER NOT NULL, series INTEGER NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (res, t, series)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS journal (
        boot INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (boot, seq)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS journal_at ON journal (at);
    CREATE TABLE IF NOT EXISTS watched (since INTEGER PRIMARY KEY, until INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
";

/// The history of one process. All calls block: they belong on a blocking thread.
#[derive(Debug)]
pub struct History {
    db: Connection,
    registry: Registry,
    keep: Keep,
    /// What was counted at the last flush.
    last: Totals,
    flushed: WallMs,
    position: Position,
    ids: BTreeMap<SeriesKey, i64>,
}

impl History {
    /// Opens or makes the file; what happened since the process began is still to be flushed.
    pub fn open(path: &Path, registry: Registry, keep: Keep) -> Result<Self, HistoryError> {
        let db = Connection::open(path)?;
        // Set before the first table, or it has no effect.
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "NORMAL")?;
        db.busy_timeout(Duration::from_secs(5))?;
        let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > VERSION {
            return Err(HistoryError::Newer(version));
        }
        db.execute_batch(LAYOUT)?;
        db.pragma_update(None, "user_version", VERSION)?;
        let started = registry.started();
        db.execute(
            "INSERT OR REPLACE INTO watched (since, until) VALUES (?1, ?1)",
            params![started.0.cast_signed()],
        )?;
        let position = registry.position(Some(0));
        let (last, ids) = (Totals::new(), BTreeMap::new());
        Ok(Self { db, registry, keep, last, flushed: started, position, ids })
    }

    /// Writes the entries since the last call; returns how many.
    pub fn flush_journal(&mut self) -> Result<usize, HistoryError> {
        let boot = self.registry.started();
        let txn = self.db.transaction()?;
        let found = self.registry.read(&mut self.position, usize::MAX);
        journal::write(&txn, boot, &found.entries)?;
        txn.commit()?;
        Ok(found.entries.len())
    }

    /// Writes what changed since the last flush into the minute that ends at `at`, rolls up what
    /// is complete, and drops what is old. Called once a minute, and at the end of the process.
    pub fn flush(&mut self, at: WallMs) -> Result<(), HistoryError> {
        self.flush_journal()?;
        let totals = delta::totals(self.registry.gather(at));
        let deltas = delta::since(&totals, &self.last);
        let txn = self.db.transaction()?;
        // A flush at the full minute belongs to the minute that just ended.
        let minute = at.0.saturating_sub(1) / 60_000 * 60;
        rollup::add(&txn, &mut self.ids, minute, &deltas)?;
        txn.execute(
            "UPDATE watched SET until = ?2 WHERE since = ?1",
            params![self.registry.started().0.cast_signed(), at.0.cast_signed()],
        )?;
        rollup::roll_up(&txn, at)?;
        txn.commit()?;
        self.last = totals;
        self.flushed = at;
        if meta(&self.db, "swept")?.is_none_or(|swept| at.as_secs() >= swept + 3600) {
            self.sweep(at)?;
        }
        self.registry.history_flushed(at);
        Ok(())
    }

    fn sweep(&mut self, at: WallMs) -> Result<(), HistoryError> {
        let before = |keep: Duration| at.as_secs().saturating_sub(keep.as_secs()).cast_signed();
        let txn = self.db.transaction()?;
        for (resolution, kept) in
            [(60, self.keep.minutes), (900, self.keep.quarters), (3600, self.keep.hours)]
        {
            let sql = "DELETE FROM rollup WHERE res = ?1 AND t < ?2";
            txn.execute(sql, params![resolution, before(kept)])?;
        }
        let journal = before(self.keep.journal) * 1000;
        txn.execute("DELETE FROM journal WHERE at < ?1", params![journal])?;
        let watched = before(self.keep.hours) * 1000;
        txn.execute("DELETE FROM watched WHERE until < ?1", params![watched])?;
        set_meta(&txn, "swept", at.as_secs())?;
        txn.commit()?;
        self.shrink()
    }

    /// Drops the oldest until the file is small enough.
    fn shrink(&mut self) -> Result<(), HistoryError> {
        while self.size()? > self.keep.bytes {
            let dropped = self.db.execute(
                "DELETE FROM rollup WHERE (res, t) IN
                     (SELECT DISTINCT res, t FROM rollup ORDER BY t LIMIT 60)",
                [],
            )? + self.db.execute(
                "DELETE FROM journal WHERE (boot, seq) IN
                     (SELECT boot, seq FROM journal ORDER BY at LIMIT 1000)",
                [],
            )?;
            if dropped == 0 {
                break;
            }
        }
        self.db.execute_batch("PRAGMA incremental_vacuum")?;
        Ok(())
    }

    /// Bytes in use.
    pub fn size(&self) -> Result<u64, HistoryError> {
        let pragma = |name| self.db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let used = pragma("page_count")? - pragma("freelist_count")?;
        Ok((used * pragma("page_size")?).cast_unsigned())
    }

    /// What is counted and not flushed yet.
    fn unflushed(&self, at: WallMs) -> BTreeMap<SeriesKey, Delta> {
        delta::since(&delta::totals(self.registry.gather(at)), &self.last)
    }
}

fn meta(db: &Connection, name: &str) -> Result<Option<u64>, HistoryError> {
    let value = db
        .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get::<_, i64>(0))
        .optional()?;
    Ok(value.map(i64::cast_unsigned))
}

fn set_meta(db: &Connection, name: &str, value: u64) -> Result<(), HistoryError> {
    let sql = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)";
    db.execute(sql, params![name, value.cast_signed()])?;
    Ok(())
}
