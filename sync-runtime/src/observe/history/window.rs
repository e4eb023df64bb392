//! What changed within a window of time, and how much of that time was watched.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::params;

use super::delta::{Delta, SeriesKey};
use super::{History, HistoryError, rollup};
use crate::api::WallMs;

/// An answer: sums of deltas, and what they cover.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// What was asked for.
    pub since_requested: WallMs,
    /// From when the sums count: the beginning of the row that holds what was asked for.
    pub since: WallMs,
    /// Until when.
    pub until: WallMs,
    /// Length of the coarsest row in it.
    pub resolution: Duration,
    /// Times within it that nobody watched: the daemon was down.
    pub gaps: Vec<(WallMs, WallMs)>,
    /// What changed, by series.
    pub deltas: BTreeMap<SeriesKey, Delta>,
}

impl Window {
    /// The part of the window that was watched, from 0 to 1.
    pub fn coverage(&self) -> f64 {
        let all = self.until.since(self.since).as_secs_f64();
        let missing: f64 = self.gaps.iter().map(|(a, b)| b.since(*a).as_secs_f64()).sum();
        if all > 0.0 { (1.0 - missing / all).clamp(0.0, 1.0) } else { 1.0 }
    }

    /// The sum of a counter over all series that `keep` keeps.
    pub fn count(&self, family: &str, keep: impl Fn(&[String]) -> bool) -> f64 {
        self.of(family)
            .filter(|(labels, _)| keep(labels))
            .map(|(_, delta)| if let Delta::Count(n) = delta { *n } else { 0.0 })
            .sum()
    }

    /// The series of a family.
    pub fn of(&self, family: &str) -> impl Iterator<Item = (&[String], &Delta)> {
        let first = SeriesKey { family: family.into(), labels: Vec::new() };
        let family = first.family.clone();
        self.deltas
            .range(first..)
            .take_while(move |(key, _)| key.family == family)
            .map(|(key, delta)| (key.labels.as_slice(), delta))
    }
}

impl History {
    /// What changed from `since` to `until`, which is at most now. The end is cut to whole rows
    /// unless it is now.
    pub fn window(&self, since: WallMs, until: WallMs) -> Result<Window, HistoryError> {
        let now = self.registry.now();
        let until = until.min(now);
        let old = |keep: Duration, row: u64| {
            now.as_secs().saturating_sub(keep.as_secs()).next_multiple_of(row)
        };
        // Rows of minutes count from here on, those of quarters before, those of hours before that.
        let minutes = old(self.keep.minutes, 900);
        let quarters = old(self.keep.quarters, 3600).min(minutes);
        let (from, to) = (since.as_secs(), until.0.div_ceil(1000));
        let resolution = match from {
            from if from >= minutes => 60,
            from if from >= quarters => 900,
            _ => 3600,
        };
        let start = from / resolution * resolution;
        let mut sums = rollup::read(&self.db, 3600, start, quarters.min(to))?;
        for (resolution, since, until) in [(900, quarters, minutes.min(to)), (60, minutes, to)] {
            for (id, delta) in rollup::read(&self.db, resolution, since.max(start), until)? {
                sums.entry(id).and_modify(|sum| sum.merge(&delta)).or_insert(delta);
            }
        }
        let mut deltas = self.named(sums)?;
        if until >= self.flushed {
            for (key, delta) in self.unflushed(now) {
                deltas.entry(key).and_modify(|sum| sum.merge(&delta)).or_insert(delta);
            }
        }
        let since_effective = WallMs(start * 1000);
        Ok(Window {
            since_requested: since,
            since: since_effective,
            until,
            resolution: Duration::from_secs(resolution),
            gaps: self.gaps(since_effective, until)?,
            deltas,
        })
    }

    fn named(
        &self,
        sums: BTreeMap<i64, Delta>,
    ) -> Result<BTreeMap<SeriesKey, Delta>, HistoryError> {
        let sql = "SELECT family, labels FROM series WHERE id = ?1";
        let mut select = self.db.prepare_cached(sql)?;
        let mut named = BTreeMap::new();
        for (id, delta) in sums {
            let (family, labels) = select
                .query_row([id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
            let labels = serde_json::from_str(&labels)?;
            named.insert(SeriesKey { family, labels }, delta);
        }
        Ok(named)
    }

    /// Times within a window that no process watched.
    fn gaps(&self, since: WallMs, until: WallMs) -> Result<Vec<(WallMs, WallMs)>, HistoryError> {
        let sql = "SELECT since, until FROM watched WHERE until > ?1 AND since < ?2 ORDER BY since";
        let mut select = self.db.prepare_cached(sql)?;
        let range = params![since.0.cast_signed(), until.0.cast_signed()];
        let mut rows = select.query(range)?;
        let (mut gaps, mut seen) = (Vec::new(), since);
        let mut watch = |from: WallMs, to: WallMs| {
            if from > seen {
                gaps.push((seen, from));
            }
            seen = seen.max(to);
        };
        while let Some(row) = rows.next()? {
            let at = |n| row.get::<_, i64>(n).map(|at| WallMs(at.cast_unsigned()));
            watch(at(0)?, at(1)?);
        }
        // This process watches although its last flush lies back.
        watch(self.registry.started().max(since).min(until), until);
        Ok(gaps)
    }
}
