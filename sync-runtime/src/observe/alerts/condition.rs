//! Conditions of rules, over the samples of this moment and of the last hour.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{RULES, Samples};
use crate::api::WallMs;
use crate::observe::relays::FORGOTTEN;
use crate::observe::{HistogramCopy, Value, family};

/// What a rule looks for; values are compared per subject, which is the value of one label.
#[derive(Clone, Copy, Debug)]
pub enum Condition {
    /// A gauge compared, by the label.
    Gauge(&'static str, &'static str, Compare),
    /// More series of a gauge than the number hold.
    Many(&'static str, Compare, usize),
    /// A counter grew by more within a time, by the label; with a pair, only series whose label
    /// has that value.
    Increase(&'static str, &'static str, Option<(&'static str, &'static str)>, Duration, f64),
    /// A moment lies back longer than so many seconds; of relays, only those with live sync.
    Silent(&'static str, &'static str, f64),
    /// One counter's share of it and another, within a time, is larger.
    Share(&'static str, &'static str, Duration, f64),
    /// The depth of a queue against its capacity is larger.
    Fill(f64),
    /// No relay is connected though some are tracked.
    NoneConnected,
    /// The 99th percentile of a distribution within a time, by the label, is longer.
    Slow(&'static str, &'static str, Duration, f64),
    /// The sums of two counters differ by more.
    Differ(&'static str, &'static str, f64),
}

/// How a value is compared.
#[derive(Clone, Copy, Debug)]
pub enum Compare {
    /// It is the number.
    Is(f64),
    /// It is larger.
    Above(f64),
}

impl Compare {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::Is(number) => value == number,
            Self::Above(number) => value > number,
        }
    }
}

type Found = BTreeMap<String, f64>;
type Past = VecDeque<(WallMs, Seen)>;

/// The samples of one moment that rules look at.
#[derive(Debug)]
pub(super) struct Seen(BTreeMap<&'static str, Vec<(Vec<String>, Value)>>);

impl Seen {
    pub(super) fn new(samples: Vec<Samples>) -> Self {
        let used = |name: &str| RULES.iter().any(|rule| rule.condition.families().contains(&name));
        let samples = samples.into_iter().filter(|samples| used(samples.family.name));
        let texts = |labels: Vec<_>| labels.into_iter().map(String::from).collect();
        let families = samples.map(|samples| {
            let rows = samples.rows.into_iter().map(|row| (texts(row.labels), row.value));
            (samples.family.name, rows.collect())
        });
        Self(families.collect())
    }

    fn rows(&self, name: &str) -> &[(Vec<String>, Value)] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    fn sum(&self, name: &str) -> f64 {
        self.rows(name).iter().map(|(_, value)| number(value)).sum()
    }

    /// Sums by the value of a label; one sum under the empty text without a label.
    fn by(&self, name: &str, label: &str, only: Option<(&str, &str)>) -> Found {
        let mut sums = Found::new();
        for (labels, value) in self.rows(name) {
            if only.is_none_or(|(label, wanted)| place(name, label, labels) == wanted) {
                *sums.entry(place(name, label, labels).to_owned()).or_default() += number(value);
            }
        }
        sums
    }
}

fn place<'a>(name: &str, label: &str, labels: &'a [String]) -> &'a str {
    let at = family(name).and_then(|f| f.labels.iter().position(|own| *own == label));
    at.and_then(|at| labels.get(at)).map_or("", String::as_str)
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Count(n) => *n as f64,
        Value::Number(n) => *n,
        Value::Histogram(copy) => copy.count as f64,
    }
}

/// The samples from the beginning of a time; the oldest there are when that is not long ago.
fn before(past: &Past, at: WallMs, back: Duration) -> Option<&Seen> {
    past.iter().find(|(then, _)| at.since(*then) <= back).map(|(_, seen)| seen)
}

impl Condition {
    /// The families it looks at.
    pub fn families(&self) -> Vec<&'static str> {
        match *self {
            Self::Gauge(name, ..)
            | Self::Many(name, ..)
            | Self::Increase(name, ..)
            | Self::Slow(name, ..) => vec![name],
            Self::Silent(name, ..) => vec![name, "ngit_sync_relay_connected"],
            Self::Share(name, other, ..) | Self::Differ(name, other, _) => vec![name, other],
            Self::Fill(_) => vec!["ngit_sync_queue_depth", "ngit_sync_queue_capacity"],
            Self::NoneConnected => {
                vec!["ngit_sync_relays_connected_total", "ngit_sync_relays_tracked_total"]
            }
        }
    }

    /// The subjects for which it holds, with the value that was compared.
    pub(super) fn found(&self, now: &Seen, past: &Past, at: WallMs) -> Found {
        match *self {
            Self::Gauge(name, label, compare) => {
                let mut found = now.by(name, label, None);
                found.retain(|_, value| compare.holds(*value));
                found
            }
            Self::Many(name, compare, most) => {
                let holding = now.rows(name).iter().filter(|(_, v)| compare.holds(number(v)));
                let count = holding.count();
                single(count > most, count as f64)
            }
            Self::Increase(name, label, only, back, most) => {
                let mut found = grown(now, before(past, at, back), (name, label, only));
                // It grows when a relay is forgotten, by what happened long before.
                found.retain(|subject, value| *value > most && subject != FORGOTTEN);
                found
            }
            Self::Silent(name, label, most) => silent(now, at, name, label, most),
            Self::Share(name, other, back, most) => {
                let then = before(past, at, back);
                let of = |name| grown(now, then, (name, "", None)).values().sum::<f64>();
                let share = of(name) / (of(name) + of(other));
                // Without any growth there is no share, and the comparison is false.
                single(share > most, share)
            }
            Self::Fill(most) => {
                let capacity = now.by("ngit_sync_queue_capacity", "queue", None);
                let mut found = now.by("ngit_sync_queue_depth", "queue", None);
                found.retain(|queue, depth| {
                    *depth /= capacity.get(queue).copied().unwrap_or_default();
                    *depth > most && depth.is_finite()
                });
                found
            }
            Self::NoneConnected => {
                let connected = now.sum("ngit_sync_relays_connected_total");
                let tracked = now.sum("ngit_sync_relays_tracked_total");
                single(connected == 0.0 && tracked > 0.0, connected)
            }
            Self::Slow(name, label, back, most) => {
                slow(now, before(past, at, back), name, label, most)
            }
            Self::Differ(name, other, most) => {
                let apart = (now.sum(name) - now.sum(other)).abs();
                single(apart > most, apart)
            }
        }
    }
}

fn single(holds: bool, value: f64) -> Found {
    if holds { Found::from([(String::new(), value)]) } else { Found::new() }
}

/// By how much a counter grew, by a label. What was not there before counts from its first sight,
/// and what is smaller began anew, both as in Prometheus.
fn grown(
    now: &Seen,
    then: Option<&Seen>,
    (name, label, only): (&str, &str, Option<(&str, &str)>),
) -> Found {
    let Some(then) = then else { return Found::new() };
    let old = then.by(name, label, only);
    let mut found = now.by(name, label, only);
    for (subject, value) in &mut found {
        let old = old.get(subject).copied().unwrap_or(*value);
        *value = if *value < old { *value } else { *value - old };
    }
    found
}

fn silent(now: &Seen, at: WallMs, name: &str, label: &str, most: f64) -> Found {
    let connected = now.by("ngit_sync_relay_connected", "relay", None);
    let mut found = now.by(name, label, None);
    found.retain(|subject, value| {
        *value = at.as_secs_f64() - *value;
        let live = connected.get(subject).is_some_and(|state| *state >= 2.0);
        *value > most && (label.is_empty() || live)
    });
    found
}

fn slow(now: &Seen, then: Option<&Seen>, name: &str, label: &str, most: f64) -> Found {
    let Some(then) = then else { return Found::new() };
    let copies = |seen: &Seen| -> BTreeMap<String, HistogramCopy> {
        let rows = seen.rows(name).iter();
        let rows = rows.filter_map(|(labels, value)| match value {
            Value::Histogram(copy) => Some((place(name, label, labels).to_owned(), copy.clone())),
            Value::Count(_) | Value::Number(_) => None,
        });
        rows.collect()
    };
    let old = copies(then);
    let grown = copies(now).into_iter().map(|(subject, copy)| {
        let copy = old.get(&subject).map_or(copy.clone(), |old| copy.since(old));
        let p99 = copy.quantile(99, 100).unwrap_or_default() as f64 / 1e6;
        (subject, p99)
    });
    grown.filter(|(_, p99)| *p99 > most).collect()
}
