//! Paths and queries: percent-encoding, and what `GET /v1/journal` can be asked.

use super::answer::Refusal;
use crate::api::{Entry, Severity, WallMs};

/// Entries that one answer holds.
const ENTRIES_MAX: usize = 1000;

/// Undoes percent-encoding; what is no valid escape stays.
pub(super) fn decode(segment: &str) -> String {
    let mut out = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let escape = tail.get(..2).filter(|_| *first == b'%');
        let byte = escape.and_then(|two| u8::from_str_radix(str::from_utf8(two).ok()?, 16).ok());
        if byte.is_some() {
            rest = &tail[2..];
        }
        out.push(byte.unwrap_or(*first));
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The pairs of a query, decoded; a pair without a value has an empty one.
pub(super) fn pairs(query: Option<&str>) -> impl Iterator<Item = (String, String)> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(&value.replace('+', " ")))
    })
}

/// Which entries are asked for: `since`, `until` (RFC 3339, or `@` and seconds), `type`,
/// `severity` (that or worse), `relay` (a part of its URL), `code`, `limit`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct JournalQuery {
    pub(super) since: Option<WallMs>,
    pub(super) until: Option<WallMs>,
    types: Vec<String>,
    severity: Option<Severity>,
    relay: Option<String>,
    code: Option<String>,
    pub(super) limit: usize,
}

impl JournalQuery {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Refusal> {
        let mut asked = Self { limit: 100, ..Self::default() };
        for (name, value) in pairs(query) {
            match name.as_str() {
                "since" => asked.since = Some(moment(&value)?),
                "until" => asked.until = Some(moment(&value)?),
                "type" => asked.types.extend(value.split(',').map(str::to_owned)),
                "severity" => asked.severity = Some(severity(&value)?),
                "relay" => asked.relay = Some(value),
                "code" => asked.code = Some(value),
                "limit" => {
                    let limit = value.parse::<usize>();
                    let limit = limit.map_err(|_| Refusal::bad_request("`limit` is a number"))?;
                    asked.limit = limit.min(ENTRIES_MAX);
                }
                _ => return Err(Refusal::bad_request(format!("nothing is asked by `{name}`"))),
            }
        }
        Ok(asked)
    }

    pub(super) fn keeps(&self, entry: &Entry) -> bool {
        let relay = entry.relay.as_ref().map_or("", |url| url.as_str());
        let code = match &entry.what {
            crate::api::What::Error { code, .. } => code.as_str(),
            _ => "",
        };
        self.since.is_none_or(|since| entry.at_ms >= since)
            && self.until.is_none_or(|until| entry.at_ms <= until)
            && (self.types.is_empty() || self.types.iter().any(|t| t == entry.what.kind()))
            && self.severity.is_none_or(|least| entry.what.severity() >= least)
            && self.relay.as_ref().is_none_or(|part| relay.contains(part.as_str()))
            && self.code.as_ref().is_none_or(|wanted| code == wanted)
    }
}

/// A moment in a query.
pub(super) fn moment(text: &str) -> Result<WallMs, Refusal> {
    let unix = text.strip_prefix('@').and_then(|secs| secs.parse::<f64>().ok());
    match unix {
        Some(secs) if secs >= 0.0 => Ok(WallMs((secs * 1000.0) as u64)),
        _ => text.parse().map_err(|why| Refusal::bad_request(format!("{why}"))),
    }
}

fn severity(text: &str) -> Result<Severity, Refusal> {
    match text {
        "info" => Ok(Severity::Info),
        "warn" => Ok(Severity::Warn),
        "error" => Ok(Severity::Error),
        _ => Err(Refusal::bad_request("`severity` is info, warn or error")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_once_and_broken_ones_stay() {
        assert_eq!(decode("wss%3A%2F%2Fa%2f%C3%A4"), "wss://a/ä");
        assert_eq!(decode("%2541%"), "%41%");
        assert_eq!(decode("%zz%1"), "%zz%1");
        assert_eq!(decode("%ff"), "\u{fffd}");
    }
}
