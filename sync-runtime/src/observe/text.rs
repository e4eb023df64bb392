//! Exposition formats: OpenMetrics 1.0 by prometheus-client, and the classic text 0.0.4, which
//! that crate does not write. Both from the same samples.

use std::borrow::Cow;
use std::fmt::{self, Write};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::catalog::{Family, Kind};
use super::gather::{Sample, Samples, Value};
use super::histogram::HistogramCopy;

/// A format of `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics,
    /// `text/plain; version=0.0.4`.
    Classic,
}

impl Format {
    /// The format for a request's `Accept`: OpenMetrics only when it is named and not refused.
    pub fn negotiate(accept: &str) -> Self {
        let names = accept.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let refused = parts.any(|p| p.replace(' ', "").trim_end_matches(['0', '.']) == "q=");
            name.eq_ignore_ascii_case("application/openmetrics-text") && !refused
        });
        if names { Self::OpenMetrics } else { Self::Classic }
    }

    /// The `Content-Type` of a body in it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Writes samples.
    pub fn write(self, samples: Vec<Samples>) -> String {
        match self {
            Self::OpenMetrics => open_metrics(samples),
            Self::Classic => classic(&samples),
        }
    }
}

/// Upper bounds of a histogram's buckets as `le`, and as the values that were recorded.
fn bounds(kind: Kind) -> impl Iterator<Item = (f64, u64)> {
    let (exponents, scale) = match kind {
        // 64 µs to 268 s.
        Kind::Spans => ((6..=28).step_by(2), 1e-6),
        _ => ((0..=11).step_by(1), 1.0),
    };
    exponents.map(move |exponent| ((1u64 << exponent) as f64 * scale, 1u64 << exponent))
}

/// The sum in the unit of the family.
fn sum(kind: Kind, copy: &HistogramCopy) -> f64 {
    match kind {
        Kind::Spans => copy.sum as f64 / 1e6,
        _ => copy.sum as f64,
    }
}

fn open_metrics(samples: Vec<Samples>) -> String {
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(Scrape(samples)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)
        .expect("writing to a string does not fail");
    text
}

/// The samples of one scrape, as prometheus-client takes them.
#[derive(Debug)]
struct Scrape(Vec<Samples>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Samples { family, rows } in &self.0 {
            let (name, kind) = match family.kind {
                // The encoder appends `_total` to the name of a counter.
                Kind::Counter => (strip_total(family.name), MetricType::Counter),
                Kind::Gauge => (family.name, MetricType::Gauge),
                Kind::Spans | Kind::Items => (family.name, MetricType::Histogram),
            };
            let help = format!("{}.", family.help);
            let mut metric = encoder.encode_descriptor(name, &help, None, kind)?;
            for row in rows {
                let labels: Vec<(&str, &str)> = pairs(family, row).collect();
                if labels.is_empty() {
                    encode_value(&mut metric, family.kind, &row.value)?;
                } else {
                    let mut child = metric.encode_family(&labels)?;
                    encode_value(&mut child, family.kind, &row.value)?;
                }
            }
        }
        Ok(())
    }
}

fn encode_value(encoder: &mut MetricEncoder<'_>, kind: Kind, value: &Value) -> fmt::Result {
    match value {
        Value::Count(n) if kind == Kind::Counter => {
            encoder.encode_counter::<NoLabelSet, _, u64>(n, None)
        }
        Value::Number(n) if kind == Kind::Counter => {
            encoder.encode_counter::<NoLabelSet, _, f64>(n, None)
        }
        Value::Count(n) => encoder.encode_gauge(n),
        Value::Number(n) => encoder.encode_gauge(n),
        Value::Histogram(copy) => {
            let mut below = 0;
            let mut buckets: Vec<(f64, u64)> = bounds(kind)
                .map(|(le, bound)| {
                    let so_far = copy.up_to(bound);
                    let own = so_far - below;
                    below = so_far;
                    (le, own)
                })
                .collect();
            buckets.push((f64::INFINITY, copy.count - below));
            encoder.encode_histogram::<NoLabelSet>(sum(kind, copy), copy.count, &buckets, None)
        }
    }
}

fn strip_total(name: &'static str) -> &'static str {
    name.strip_suffix("_total").unwrap_or(name)
}

fn pairs<'a>(family: &'a Family, row: &'a Sample) -> impl Iterator<Item = (&'a str, &'a str)> {
    family.labels.iter().copied().zip(row.labels.iter().map(Cow::as_ref))
}

fn classic(samples: &[Samples]) -> String {
    let mut text = String::new();
    for Samples { family, rows } in samples {
        let (name, kind) = (family.name, family.kind.as_str());
        let _ = write!(text, "# HELP {name} {}.\n# TYPE {name} {kind}\n", family.help);
        for row in rows {
            let labels: Vec<(&str, &str)> = pairs(family, row).collect();
            match &row.value {
                Value::Count(n) => line(&mut text, name, &labels, *n as f64),
                Value::Number(n) => line(&mut text, name, &labels, *n),
                Value::Histogram(copy) => histogram(&mut text, family, &labels, copy),
            }
        }
    }
    text
}

fn histogram(text: &mut String, family: &Family, labels: &[(&str, &str)], copy: &HistogramCopy) {
    let name = family.name;
    for (le, bound) in bounds(family.kind) {
        // As the other format writes it, so that both are one series.
        let le = if le.fract() == 0.0 { format!("{le:.1}") } else { le.to_string() };
        let labels: Vec<_> =
            [("le", le.as_str())].into_iter().chain(labels.iter().copied()).collect();
        line(text, &format!("{name}_bucket"), &labels, copy.up_to(bound) as f64);
    }
    let all: Vec<_> = [("le", "+Inf")].into_iter().chain(labels.iter().copied()).collect();
    line(text, &format!("{name}_bucket"), &all, copy.count as f64);
    line(text, &format!("{name}_sum"), labels, sum(family.kind, copy));
    line(text, &format!("{name}_count"), labels, copy.count as f64);
}

fn line(text: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    text.push_str(name);
    for (at, (label, value)) in labels.iter().enumerate() {
        text.push(if at == 0 { '{' } else { ',' });
        let _ = write!(text, "{label}=\"");
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
    }
    if !labels.is_empty() {
        text.push('}');
    }
    // Counts below 2^53 are exact as floats, which the format has only.
    let _ = writeln!(text, " {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_sent_only_to_those_who_name_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
        assert_eq!(Format::negotiate(prometheus), Format::OpenMetrics);
        assert_eq!(
            Format::negotiate("text/plain, Application/OpenMetrics-Text"),
            Format::OpenMetrics
        );
        for accept in ["", "*/*", "text/plain;version=0.0.4", "application/openmetrics-text; q=0.0"]
        {
            assert_eq!(Format::negotiate(accept), Format::Classic, "{accept}");
        }
    }
}
