//! `sync`: a line a relay, the gaps below it, and the document of `--json`.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sync_runtime::api::{OutcomeStatus, RelayOutcome, SyncOutcome, WallMs};

use super::relay::gap;
use super::units::{bytes, count, counted, relay, span};

/// Whether nothing is missing that the relays name.
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
pub(crate) fn document(
    outcome: &SyncOutcome,
    complete: bool,
    at: WallMs,
) -> Result<Value, serde_json::Error> {
    let mut data = serde_json::to_value(outcome)?;
    let mut gaps = Vec::new();
    for one in &outcome.relays {
        for missing in &one.gaps {
            let mut row = serde_json::to_value(missing)?;
            row["relay"] = json!(one.url);
            gaps.push(row);
        }
    }
    data["complete"] = json!(complete);
    data["gaps"] = Value::Array(gaps);
    Ok(json!({
        "schema": "ngit-sync/sync/1",
        "generated_at": at.to_string(),
        "data": data,
        "warnings": [],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(host: &str, status: &str, more: Value) -> Value {
        let mut one = json!({
            "url": format!("wss://{host}/"), "status": status, "explained": null, "bootstrap": true,
            "received": 0, "stored": 0, "known": 0, "rejected": 0, "held": 0, "invalid": 0,
            "dropped": 0, "methods": [], "rounds": 0, "pages": 0, "batches": 0, "bytes_in": 0,
            "bytes_out": 0, "took_s": 0.0, "gaps": [],
        });
        let fields = one.as_object_mut().expect("it is an object");
        fields.extend(more.as_object().cloned().unwrap_or_default());
        one
    }

    fn outcome(relays: Vec<Value>) -> SyncOutcome {
        let outcome =
            json!({"relays": relays, "stored": 743, "store_events": 1000, "took_s": 61.0});
        serde_json::from_value(outcome).expect("the outcome is complete")
    }

    fn synced() -> Value {
        let more = json!({"stored": 733, "known": 120, "methods": ["negentropy"], "rounds": 9,
            "bytes_in": 1_900_000, "took_s": 58.0});
        relay("relay.c.example", "synced", more)
    }

    fn partial() -> Value {
        let gap = json!({"row": 1, "reason": "dense_second", "items": 2, "since_ms": 1,
            "range": {"since": 5, "until": 5}});
        let more = json!({"stored": 10, "methods": ["pages"], "pages": 1, "bytes_in": 1_000,
            "took_s": 1.0, "gaps": [gap]});
        relay("relay.b.example", "partial", more)
    }

    #[test]
    fn one_relay_that_is_complete_is_one_line() {
        let outcome = outcome(vec![synced()]);
        assert!(is_complete(&outcome));
        assert_eq!(
            render(&outcome),
            "synced relay.c.example: 733 new, 120 known, 0 rejected in 58s \
             (negentropy, 9 rounds, 1.9 MB)\n"
        );
    }

    #[test]
    fn what_is_missing_is_named_with_its_reason_the_worst_last() {
        let gone = json!({"explained": "name not found"});
        let mut outcome =
            outcome(vec![relay("relay.a.example", "unreachable", gone), partial(), synced()]);
        outcome.cut = Some("--max-time 1m is over".into());
        assert!(!is_complete(&outcome));
        assert_eq!(
            render(&outcome),
            "synced relay.c.example: 733 new, 120 known, 0 rejected in 58s \
             (negentropy, 9 rounds, 1.9 MB)\n\
             partial relay.b.example: 10 new, 0 known, 0 rejected in 1s (pages, 1 page, 1 kB)\n  \
             missing #1 dense second: 2 items, created_at 5..=5\n\
             unreachable relay.a.example: name not found\n\
             total 3 relays: 743 new, 1,000 in the store, in 1m 1s\n\
             cut short: --max-time 1m is over\n"
        );
    }

    #[test]
    fn the_document_says_whether_it_is_complete_and_lists_every_gap_with_its_relay() {
        let at = WallMs(1_795_164_072_004);
        let document =
            document(&outcome(vec![partial(), synced()]), false, at).expect("plain data");
        assert_eq!(document["schema"], "ngit-sync/sync/1");
        assert_eq!(document["generated_at"], "2026-11-20T08:41:12.004Z");
        assert_eq!(document["data"]["complete"], false);
        assert_eq!(document["data"]["gaps"][0]["relay"], "wss://relay.b.example/");
        assert_eq!(document["data"]["gaps"][0]["reason"], "dense_second");
        assert_eq!(document["data"]["relays"][1]["stored"], 733);
    }
}
