//! What changed between two moments, series by series.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::observe::{HistogramCopy, Kind, Samples, Value};

/// A series: its family and the values of the family's labels, in their order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesKey {
    /// The family, as scraped.
    pub family: String,
    /// Label values.
    pub labels: Vec<String>,
}

/// What changed of a series within some time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Delta {
    /// A counter grew by so much.
    #[serde(rename = "c")]
    Count(f64),
    /// A gauge had these values.
    #[serde(rename = "g")]
    Gauge(Gauge),
    /// These values were recorded.
    #[serde(rename = "h", with = "histogram")]
    Histogram(HistogramCopy),
}

/// Values of a gauge within some time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gauge {
    /// The last.
    #[serde(rename = "l")]
    pub last: f64,
    /// The smallest.
    #[serde(rename = "a")]
    pub min: f64,
    /// The largest.
    #[serde(rename = "b")]
    pub max: f64,
}

impl Delta {
    /// Adds what came later.
    pub fn merge(&mut self, later: &Self) {
        match (self, later) {
            (Self::Count(sum), Self::Count(more)) => *sum += more,
            (Self::Gauge(gauge), Self::Gauge(later)) => {
                gauge.last = later.last;
                gauge.min = gauge.min.min(later.min);
                gauge.max = gauge.max.max(later.max);
            }
            (Self::Histogram(copy), Self::Histogram(more)) => copy.merge(more),
            // A family never changes its type; a file that says so is not trusted.
            (own, later) => *own = later.clone(),
        }
    }
}

/// Everything counted at one moment.
pub(super) type Totals = BTreeMap<SeriesKey, (Kind, Value)>;

/// Whether history is kept of a family. Moments and the process itself need none.
fn is_kept(family: &str) -> bool {
    !(family.starts_with("process_")
        || family.ends_with("_timestamp_seconds")
        || family.ends_with("_build_info")
        || family.ends_with("_start_time_seconds"))
}

pub(super) fn totals(samples: Vec<Samples>) -> Totals {
    let mut totals = Totals::new();
    for Samples { family, rows } in samples.into_iter().filter(|s| is_kept(s.family.name)) {
        for row in rows {
            let labels = row.labels.into_iter().map(String::from).collect();
            let key = SeriesKey { family: family.name.into(), labels };
            totals.insert(key, (family.kind, row.value));
        }
    }
    totals
}

/// What differs. A counter that is smaller than before began anew.
pub(super) fn since(now: &Totals, before: &Totals) -> BTreeMap<SeriesKey, Delta> {
    let mut deltas = BTreeMap::new();
    for (key, (kind, value)) in now {
        let old = before.get(key).map(|(_, value)| value);
        let delta = match value {
            Value::Histogram(copy) => {
                let grown = match old {
                    Some(Value::Histogram(old)) => copy.since(old),
                    _ => copy.clone(),
                };
                (grown.count > 0).then_some(Delta::Histogram(grown))
            }
            value if *kind == Kind::Counter => {
                let (now, old) = (number(value), old.map_or(0.0, number));
                let grown = if now < old { now } else { now - old };
                (grown > 0.0).then_some(Delta::Count(grown))
            }
            value => {
                let at = number(value);
                let same = old.is_some_and(|old| number(old) == at);
                (!same).then_some(Delta::Gauge(Gauge { last: at, min: at, max: at }))
            }
        };
        deltas.extend(delta.map(|delta| (key.clone(), delta)));
    }
    deltas
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Count(n) => *n as f64,
        Value::Number(n) => *n,
        Value::Histogram(copy) => copy.count as f64,
    }
}

/// A histogram as `[count, sum, min, max, [[bucket, count], …]]`.
mod histogram {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::observe::HistogramCopy;

    type Row = (u64, u64, Option<u64>, Option<u64>, Vec<(u16, u64)>);

    pub(super) fn serialize<S: Serializer>(copy: &HistogramCopy, to: S) -> Result<S::Ok, S::Error> {
        (copy.count, copy.sum, copy.min, copy.max, &copy.buckets).serialize(to)
    }

    pub(super) fn deserialize<'de, D>(from: D) -> Result<HistogramCopy, D::Error>
    where
        D: Deserializer<'de>,
    {
        let (count, sum, min, max, buckets) = Row::deserialize(from)?;
        Ok(HistogramCopy { count, sum, min, max, buckets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_short_and_read_back() {
        let copy = HistogramCopy {
            count: 2,
            sum: 7,
            min: Some(3),
            max: Some(4),
            buckets: vec![(2, 1), (3, 1)],
        };
        for (delta, text) in [
            (Delta::Count(2.0), r#"{"c":2.0}"#),
            (
                Delta::Gauge(Gauge { last: 1.0, min: 0.0, max: 2.0 }),
                r#"{"g":{"l":1.0,"a":0.0,"b":2.0}}"#,
            ),
            (Delta::Histogram(copy), r#"{"h":[2,7,3,4,[[2,1],[3,1]]]}"#),
        ] {
            assert_eq!(serde_json::to_string(&delta).expect("JSON"), text);
            assert_eq!(serde_json::from_str::<Delta>(text).expect("JSON"), delta);
        }
    }

    #[test]
    fn a_counter_that_began_anew_counts_from_zero() {
        let key = SeriesKey { family: "x_total".into(), labels: vec![] };
        let of = |n| Totals::from([(key.clone(), (Kind::Counter, Value::Count(n)))]);
        let grown = |now, before| since(&of(now), &of(before)).remove(&key);
        assert_eq!(grown(5, 3), Some(Delta::Count(2.0)));
        assert_eq!(grown(3, 5), Some(Delta::Count(3.0)));
        assert_eq!(grown(5, 5), None);
    }
}
