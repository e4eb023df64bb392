//! `relays show`: everything about one relay.

use std::fmt::Write as _;

use sync_runtime::api::{GapView, RelayView, WallMs};

use super::status::connection;
use super::units::{age, bytes, count, span, words};

/// The whole answer.
pub(crate) fn render(view: &RelayView, now: WallMs) -> String {
    let mut text = format!("{}\n", view.url);
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<12}{value}");
    };
    let since = |at: WallMs| span(now.since(at).as_secs() as f64);
    let for_how_long = since(view.connection_since_ms);
    row(
        "connection",
        format!("{}, for {for_how_long} ({})", connection(view), words(&view.reason)),
    );
    row("health", format!("{}, for {}", words(view.health.as_str()), since(view.health_since_ms)));
    if view.failures > 0 {
        row("failures", count(u64::from(view.failures)));
    }
    if let Some(retry) = view.retry_in_s {
        row("retry", format!("in {}", span(retry.0.ceil())));
    }
    row("configured", if view.bootstrap { "yes" } else { "no, discovered" }.into());
    let events = &view.events;
    let outcomes = [
        (events.stored, "stored"),
        (events.duplicate, "known"),
        (events.rejected, "rejected"),
        (events.held, "held"),
        (events.invalid, "invalid"),
        (events.dropped, "dropped"),
    ];
    let outcomes = outcomes.iter().filter(|(number, _)| *number > 0);
    let outcomes = outcomes.map(|(number, name)| format!("   {} {name}", count(*number)));
    row("events", format!("{} received{}", count(events.received), outcomes.collect::<String>()));
    row("bytes", format!("{} in   {} out", bytes(view.bytes_in), bytes(view.bytes_out)));
    let last = [view.last_seen_ms, view.last_event_ms, view.last_sync_ms].map(|at| age(at, now));
    row("last", format!("message {}   event {}   full sync {}", last[0], last[1], last[2]));
    if let Some(error) = &view.last_error {
        let (code, message) = (&error.code, &error.message);
        row("error", format!("{code} {message} ({})", age(Some(error.at_ms), now)));
    }
    if !view.note.is_empty() {
        row("note", view.note.clone());
    }
    for view in &view.gaps {
        row("gap", gap(view));
    }
    text
}

/// `#4 timeout: 3 items, created_at 0..=1700000000, 2 tries: "words of the relay"`.
pub(crate) fn gap(gap: &GapView) -> String {
    let items = super::units::counted(u64::from(gap.items), "item", "items");
    let mut text =
        format!("#{} {}: {items}, created_at {}", gap.row, words(&gap.reason), gap.range);
    if gap.tries > 0 {
        let tries = super::units::counted(u64::from(gap.tries), "try", "tries");
        let _ = write!(text, ", {tries}");
    }
    if gap.accepted {
        text.push_str(", accepted");
    }
    if !gap.detail.is_empty() {
        let _ = write!(text, ": \"{}\"", gap.detail);
    }
    text
}
