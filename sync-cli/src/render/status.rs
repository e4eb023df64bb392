//! `status`: the ten-second glance.

use std::fmt::Write as _;

use sync_core::status::{HealthStatus, RelayStatus};
use sync_runtime::api::{DaemonView, Phase, RelayView, Status, WallMs};

use super::table::{self, Align, Column};
use super::units::{age, bytes, count, counted, relay, span, words};
use crate::term::{Style, Term};

const COLUMNS: [Column; 9] = [
    Column { name: "RELAY", align: Align::Left, drop: 0 },
    Column { name: "CONNECTION", align: Align::Left, drop: 0 },
    Column { name: "HEALTH", align: Align::Left, drop: 0 },
    Column { name: "STORED", align: Align::Right, drop: 1 },
    Column { name: "IN", align: Align::Right, drop: 5 },
    Column { name: "LAG", align: Align::Right, drop: 3 },
    Column { name: "RTT", align: Align::Right, drop: 4 },
    Column { name: "LAST", align: Align::Left, drop: 6 },
    Column { name: "NOTE", align: Align::Left, drop: 2 },
];

/// The whole answer.
pub(crate) fn render(status: &Status, daemon: &DaemonView, now: WallMs, term: Term) -> String {
    let mut text = head(status, daemon, term);
    text.push_str(&relays_line(status));
    let roots = counted(status.roots, "root event", "root events");
    let _ = writeln!(text, "repos    {} tracked   {roots}", count(status.repos));
    text.push_str(&events_line(status, now));
    if !status.relays.is_empty() {
        text.push('\n');
        text.push_str(&relays(&status.relays, now, term));
    }
    for problem in &status.problems {
        let (name, category) = (relay(&problem.relay), problem.category.as_str());
        let since = age(Some(problem.at_ms), now);
        let _ = writeln!(text, "{category}: {name}: {} ({since})", problem.message);
    }
    text
}

fn head(status: &Status, daemon: &DaemonView, term: Term) -> String {
    let mark = term.mark(match status.phase {
        Phase::Live => Style::Good,
        Phase::Starting | Phase::Syncing | Phase::Paused | Phase::Stopping => Style::Busy,
        Phase::Partial => Style::Warn,
        Phase::Offline => Style::Bad,
    });
    let (phase, version) = (status.phase.as_str(), &daemon.version);
    format!(
        "{mark} {phase}   ngit-sync {version}   up {}   pid {}\n",
        span(daemon.uptime_s.0),
        daemon.pid
    )
}

fn relays_line(status: &Status) -> String {
    let counts = &status.counts;
    let mut text = format!("relays   {} tracked   {} connected", counts.tracked, counts.connected);
    let kinds =
        [(counts.live, "live"), (counts.syncing, "syncing"), (counts.partial, "partial history")];
    let kinds: Vec<_> = kinds
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, name)| format!("{number} {name}"))
        .collect();
    if !kinds.is_empty() {
        let _ = write!(text, " ({})", kinds.join(", "));
    }
    let others = [
        (counts.connecting, "connecting"),
        // These two are disconnected as well; each relay is named once.
        (counts.disconnected.saturating_sub(counts.rate_limited + counts.dead), "disconnected"),
        (counts.rate_limited, "rate limited"),
        (counts.dead, "dead"),
    ];
    for (number, name) in others.iter().filter(|(number, _)| *number > 0) {
        let _ = write!(text, "   {number} {name}");
    }
    text.push('\n');
    text
}

fn events_line(status: &Status, now: WallMs) -> String {
    let mut text = format!("events   {} stored", count(status.store.events));
    for queue in status.queues.iter().filter(|queue| queue.depth > 0) {
        let (depth, capacity) = (count(queue.depth), count(queue.capacity));
        let _ = write!(text, "   {} queue {depth}/{capacity}", queue.name);
    }
    let _ = write!(text, "   last {}", age(status.last_event_ms, now));
    if let Some(waiting) = status.outbox {
        let _ = write!(text, "   {} for the own relay", count(waiting));
    }
    if status.gap_events > 0 {
        let _ = write!(text, "   {} missed by live sync", count(status.gap_events));
    }
    text.push('\n');
    text
}

/// The table of relays: by severity, then by name, so that it does not jump.
pub(crate) fn relays(relays: &[RelayView], now: WallMs, term: Term) -> String {
    let mut sorted: Vec<_> = relays.iter().collect();
    sorted.sort_by_cached_key(|view| (severity(view), relay(&view.url)));
    let rows: Vec<_> = sorted
        .iter()
        .map(|view| {
            let cells = vec![
                relay(&view.url),
                connection(view),
                words(view.health.as_str()),
                count(view.events.stored),
                bytes(view.bytes_in),
                view.lag_s.map_or_else(|| "-".into(), |lag| span(lag.0.floor())),
                view.rtt_s.map_or_else(|| "-".into(), |rtt| span(rtt.0)),
                age(view.last_seen_ms, now),
                note(view),
            ];
            (term.mark(style(view)), cells)
        })
        .collect();
    table::render(&COLUMNS, &rows, term.width)
}

/// `syncing 31/50`, `connected, partial history`.
pub(crate) fn connection(view: &RelayView) -> String {
    match (view.connection, &view.pass) {
        (RelayStatus::Syncing, Some(pass)) => {
            format!("syncing {}/{}", count(pass.batches_done), count(pass.batches))
        }
        // "degraded" alone is a word of health.
        (RelayStatus::ConnectedDegraded, _) => "connected, partial history".into(),
        _ if view.paused => "paused".into(),
        (status, _) => words(status.as_str()),
    }
}

fn note(view: &RelayView) -> String {
    let mut parts = Vec::new();
    if !view.note.is_empty() {
        parts.push(view.note.clone());
    }
    if view.gap_count > 0 {
        parts.push(counted(view.gap_count, "gap", "gaps"));
    }
    if let Some(retry) = view.retry_in_s.filter(|_| !view.note.contains("retry")) {
        parts.push(format!("retry in {}", span(retry.0.ceil())));
    }
    parts.join(", ")
}

fn style(view: &RelayView) -> Style {
    match (view.connection, view.health) {
        (_, HealthStatus::Dead) => Style::Bad,
        (RelayStatus::Connected, _) => Style::Good,
        (RelayStatus::Syncing | RelayStatus::Connecting, _) => Style::Busy,
        (RelayStatus::ConnectedDegraded | RelayStatus::Disconnected, _) => Style::Warn,
    }
}

fn severity(view: &RelayView) -> u8 {
    match (view.connection, view.health) {
        (_, HealthStatus::Dead) => 5,
        (RelayStatus::Connected, _) => 0,
        (RelayStatus::Syncing, _) => 1,
        (RelayStatus::ConnectedDegraded, _) => 2,
        (RelayStatus::Connecting, _) => 3,
        (RelayStatus::Disconnected, _) => 4,
    }
}

/// What to ask next, when something is wrong.
pub(crate) fn hint(status: &Status) -> Option<String> {
    let worst =
        status.relays.iter().filter(|view| style(view) == Style::Warn || style(view) == Style::Bad);
    let name = relay(&worst.min_by_key(|view| relay(&view.url))?.url);
    Some(format!("`ngit-sync explain {name}` says what is missing and how to repair it"))
}
