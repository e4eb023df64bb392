//! `sync`: a line a relay, the gaps below it, and the document of `--json`.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sync_runtime::api::{OutcomeStatus, RelayOutcome, SyncOutcome, WallMs};

use super::relay::gap;
use super::units::{bytes, count, counted, relay, span};

/// Whether nothing is missing.
pub(crate) fn is_complete(outcome: &SyncOutcome) -> bool {
    outcome.cut.is_none() && outcome.status() == OutcomeStatus::Synced
}

/// The summary for stdout.
pub(crate) fn render(outcome: &SyncOutcome) -> String {
    let mut text = String::new();
    let mut sorted: Vec<_> = outcome.relays.iter().collect();
    sorted.sort_by_cached_key(|one| (one.status, relay(&one.url)));
    for one in sorted {
        let _ = writeln!(text, "{} {}: {}", one.status.as_str(), relay(&one.url), line(one));
        for missing in &one.gaps {
            let _ = writeln!(text, "  missing {}", gap(missing));
        }
    }
    if outcome.relays.len() != 1 {
        let relays = counted(outcome.relays.len() as u64, "relay", "relays");
        let (new, held) = (count(outcome.stored), count(outcome.store_events));
        let took = span(outcome.took_s.0);
        let _ = writeln!(text, "total {relays}: {new} new, {held} in the store, in {took}");
    }
    if let Some(cut) = &outcome.cut {
        let _ = writeln!(text, "cut short: {cut}");
    }
    text
}

/// `733 new, 120 known, 0 rejected in 58s (negentropy, 9 rounds, 1.9 MB)`.
fn line(one: &RelayOutcome) -> String {
    let reason = one.explained.clone().unwrap_or_default();
    if one.status == OutcomeStatus::Unreachable {
        return if reason.is_empty() { "not reached".into() } else { reason };
    }
    let (new, known, rejected) = (count(one.stored), count(one.known), count(one.rejected));
    let mut text = format!("{new} new, {known} known, {rejected} rejected");
    if one.invalid > 0 {
        let _ = write!(text, ", {} invalid", count(one.invalid));
    }
    let mut how: Vec<String> =
        one.methods.iter().map(|method| method.as_str().to_owned()).collect();
    if one.rounds > 0 {
        how.push(counted(one.rounds, "round", "rounds"));
    }
    if one.pages > 0 {
        how.push(counted(one.pages, "page", "pages"));
    }
    how.push(bytes(one.bytes_in + one.bytes_out));
    let _ = write!(text, " in {} ({})", span(one.took_s.0), how.join(", "));
    if !reason.is_empty() {
        let _ = write!(text, "; {reason}");
    }
    text
}

/// The document for stdout: the outcome, whether it is complete, and every gap with its relay.
pub(crate) fn document(outcome: &SyncOutcome, at: WallMs) -> Result<Value, serde_json::Error> {
    let mut data = serde_json::to_value(outcome)?;
    let mut gaps = Vec::new();
    for one in &outcome.relays {
        for missing in &one.gaps {
            let mut row = serde_json::to_value(missing)?;
            row["relay"] = json!(one.url);
            gaps.push(row);
        }
    }
    data["complete"] = json!(is_complete(outcome));
    data["gaps"] = Value::Array(gaps);
    Ok(json!({
        "schema": "ngit-sync/sync/1",
        "generated_at": at.to_string(),
        "data": data,
        "warnings": [],
    }))
}
