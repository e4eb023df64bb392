//! `verify` and `sync --dry-run`: a line a relay, below it what is missing; and the document of
//! `--json`.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sync_runtime::api::{RelayVerification, Verification, VerifyStatus, WallMs};

use super::relay::gap;
use super::units::{bytes, count, counted, relay, span};

/// The summary of `verify` for stdout.
pub(crate) fn render(found: &Verification) -> String {
    each(found, compared)
}

/// The summary of `sync --dry-run` for stdout.
pub(crate) fn render_dry_run(found: &Verification) -> String {
    each(found, fetched)
}

fn each(found: &Verification, line: fn(&RelayVerification) -> String) -> String {
    let mut text = String::new();
    let mut sorted: Vec<_> = found.relays.iter().collect();
    sorted.sort_by_cached_key(|one| (one.status, relay(&one.url)));
    for one in sorted {
        let _ = writeln!(text, "{} {}: {}", one.status.as_str(), relay(&one.url), line(one));
        for id in &one.ids {
            let _ = writeln!(text, "  needs {id}");
        }
        let unnamed = one.need - one.ids.len() as u64;
        if unnamed > 0 {
            let _ = writeln!(text, "  needs {} more", count(unnamed));
        }
        for missing in &one.gaps {
            let _ = writeln!(text, "  missing {}", gap(missing));
        }
    }
    if found.relays.len() != 1 {
        let relays = counted(found.relays.len() as u64, "relay", "relays");
        let need: u64 = found.relays.iter().map(|one| one.need).sum();
        let took = span(found.took_s.0);
        let _ = writeln!(text, "total {relays}: {} needed, in {took}", count(need));
    }
    text
}

/// `12 needed, 3 only here; 312 items proven at T, up to T (9 sessions, 1.2 kB)`.
fn compared(one: &RelayVerification) -> String {
    if let Some(why) = cut(one) {
        return why;
    }
    match one.reconciled {
        true => format!("{}; {} ({})", differs(one), proven(one), cost(one)),
        false => format!("no NIP-77; {}", proven(one)),
    }
}

/// `would fetch 12 events (9 sessions, 1.2 kB)`.
fn fetched(one: &RelayVerification) -> String {
    if let Some(why) = cut(one) {
        return why;
    }
    match one.pages_since_ms {
        None => {
            let events = counted(one.need, "event", "events");
            format!("would fetch {events} and what hangs on them ({})", cost(one))
        }
        Some(WallMs(0)) => "no NIP-77; would ask for all history by pages".to_owned(),
        Some(since) => format!("no NIP-77; would ask for pages from {since}"),
    }
}

fn cut(one: &RelayVerification) -> Option<String> {
    match one.status {
        VerifyStatus::Unreachable | VerifyStatus::Unfinished => {
            Some(one.explained.clone().unwrap_or_else(|| "not reached".into()))
        }
        VerifyStatus::Same
        | VerifyStatus::Proven
        | VerifyStatus::Unproven
        | VerifyStatus::Missing => None,
    }
}

fn differs(one: &RelayVerification) -> String {
    format!("{} needed, {} only here", count(one.need), count(one.have))
}

fn proven(one: &RelayVerification) -> String {
    let items = counted(u64::from(one.items), "item", "items");
    match (one.proven_at_ms, one.proven_until_ms) {
        (Some(at), Some(until)) => format!("{items} proven at {at}, up to {until}"),
        _ => {
            let open = u64::from(one.items - one.items_proven.min(one.items));
            format!("{} of {items} never proven", count(open))
        }
    }
}

fn cost(one: &RelayVerification) -> String {
    let sessions = counted(one.sessions, "session", "sessions");
    format!("{sessions}, {}", bytes(one.bytes_in + one.bytes_out))
}

/// The document for stdout.
pub(crate) fn document(
    found: &Verification,
    dry_run: bool,
    at: WallMs,
) -> Result<Value, serde_json::Error> {
    let mut data = serde_json::to_value(found)?;
    data["complete"] = json!(found.is_complete());
    Ok(json!({
        "schema": if dry_run { "ngit-sync/dry-run/1" } else { "ngit-sync/verify/1" },
        "generated_at": at.to_string(),
        "data": data,
        "warnings": [],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(relays: Vec<Value>) -> Verification {
        let verification = json!({"relays": relays, "took_s": 1.25});
        serde_json::from_value(verification).expect("the verification is complete")
    }

    fn one(host: &str, status: &str, more: Value) -> Value {
        let mut one = json!({
            "url": format!("wss://{host}/"), "status": status, "explained": null,
            "reconciled": true, "need": 0, "ids": [], "have": 0, "sessions": 9, "bytes_in": 700,
            "bytes_out": 500, "items": 312, "items_proven": 312, "proven_until_ms": 1_000,
            "proven_at_ms": 2_000, "pages_since_ms": null, "gaps": [],
        });
        let fields = one.as_object_mut().expect("it is an object");
        fields.extend(more.as_object().cloned().unwrap_or_default());
        one
    }

    fn relays() -> Verification {
        let gap = json!({"row": 1, "reason": "refused_ids", "items": 2, "since_ms": 1,
            "range": {"since": 0, "until": 5}});
        let id = "7".repeat(64);
        found(vec![
            one("same.example", "same", json!({"have": 3})),
            one("less.example", "missing", json!({"need": 2, "ids": [id], "gaps": [gap]})),
            one(
                "old.example",
                "unproven",
                json!({"reconciled": false, "items_proven": 310,
                "proven_until_ms": null, "proven_at_ms": null, "pages_since_ms": 0}),
            ),
            one("pages.example", "proven", json!({"reconciled": false, "pages_since_ms": 9_000})),
            one(
                "gone.example",
                "unreachable",
                json!({"reconciled": false,
                "explained": "name not found", "pages_since_ms": 0}),
            ),
        ])
    }

    #[test]
    fn each_relay_says_what_differs_and_since_when_it_is_proven() {
        assert_eq!(
            render(&relays()),
            "same same.example: 0 needed, 3 only here; 312 items proven at \
             1970-01-01T00:00:02.000Z, up to 1970-01-01T00:00:01.000Z (9 sessions, 1 kB)\n\
             proven pages.example: no NIP-77; 312 items proven at 1970-01-01T00:00:02.000Z, \
             up to 1970-01-01T00:00:01.000Z\n\
             unproven old.example: no NIP-77; 2 of 312 items never proven\n\
             missing less.example: 2 needed, 0 only here; 312 items proven at \
             1970-01-01T00:00:02.000Z, up to 1970-01-01T00:00:01.000Z (9 sessions, 1 kB)\n  \
             needs 7777777777777777777777777777777777777777777777777777777777777777\n  \
             needs 1 more\n  missing #1 refused ids: 2 items, created_at 0..=5\n\
             unreachable gone.example: name not found\n\
             total 5 relays: 2 needed, in 1.2s\n"
        );
    }

    #[test]
    fn a_dry_run_says_what_would_be_asked_for() {
        let text = render_dry_run(&relays());
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with(' ')).collect();
        assert_eq!(
            lines[..4],
            [
                "same same.example: would fetch 0 events and what hangs on them \
                 (9 sessions, 1 kB)",
                "proven pages.example: no NIP-77; would ask for pages from \
                 1970-01-01T00:00:09.000Z",
                "unproven old.example: no NIP-77; would ask for all history by pages",
                "missing less.example: would fetch 2 events and what hangs on them \
                 (9 sessions, 1 kB)",
            ]
        );
    }

    #[test]
    fn the_document_says_whether_anything_is_missing() {
        let at = WallMs(1_795_164_072_004);
        let document = document(&relays(), false, at).expect("plain data");
        assert_eq!(document["schema"], "ngit-sync/verify/1");
        assert_eq!(document["data"]["complete"], false);
        assert_eq!(document["data"]["relays"][1]["need"], 2);
        let same = found(vec![one("same.example", "same", json!({}))]);
        let document = super::document(&same, true, at).expect("plain data");
        assert_eq!(document["schema"], "ngit-sync/dry-run/1");
        assert_eq!(document["data"]["complete"], true);
    }
}
