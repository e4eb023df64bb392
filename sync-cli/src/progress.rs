//! Progress on stderr: a bar on a terminal, otherwise a line for every change of a relay and one
//! every 30 seconds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sync_core::status::RelayStatus;
use sync_core::url::RelayUrl;
use sync_runtime::api::{RelayView, Status, WallMs};

use crate::render::status::connection;
use crate::render::units::{count, counted, relay};
use crate::term::Term;

/// How often a status is worth a look.
pub(crate) const LOOK: Duration = Duration::from_millis(250);
/// A relay without a change is mentioned again after this.
const REMIND: Duration = Duration::from_secs(30);

/// What was said last.
pub(crate) struct Progress {
    term: Term,
    bar: Option<ProgressBar>,
    begun: Instant,
    said: BTreeMap<RelayUrl, (RelayStatus, Instant)>,
}

impl Progress {
    /// Nothing was said.
    pub(crate) fn new(term: Term) -> Self {
        Self { term, bar: None, begun: Instant::now(), said: BTreeMap::new() }
    }

    /// Shows how things stand.
    pub(crate) fn show(&mut self, status: &Status) {
        if self.term.bars {
            self.draw(status);
            return;
        }
        for line in self.lines(status, Instant::now(), SystemTime::now().into()) {
            self.term.note(&line);
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn draw(&mut self, status: &Status) {
        // What is over at once needs no bar.
        if self.begun.elapsed() < LOOK {
            return;
        }
        let ascii = self.term.ascii;
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            let (ticks, chars) =
                if ascii { ("-\\|/ ", "=> ") } else { ("◐◓◑◒●", "━╸ ") };
            let style = ProgressStyle::with_template(
                "{spinner} [{bar:24}] {pos}/{len} batches  {msg}  {elapsed}",
            );
            bar.set_style(
                style
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .tick_chars(ticks)
                    .progress_chars(chars),
            );
            bar
        });
        let passes = || status.relays.iter().filter_map(|view| view.pass.as_ref());
        bar.set_length(passes().map(|pass| pass.batches).sum());
        bar.set_position(passes().map(|pass| pass.batches_done).sum());
        let connected = status.counts.connected;
        let relays = counted(status.counts.tracked, "relay", "relays");
        let new = count(status.events_synced);
        bar.set_message(format!("{connected} of {relays} connected, {new} new"));
        bar.tick();
    }

    /// The lines that are due.
    fn lines(&mut self, status: &Status, now: Instant, wall: WallMs) -> Vec<String> {
        let mut lines = Vec::new();
        for view in &status.relays {
            let due = self.said.get(&view.url).is_none_or(|(said, at)| {
                *said != view.connection || now.duration_since(*at) >= REMIND
            });
            if due {
                self.said.insert(view.url.clone(), (view.connection, now));
                lines.push(line(view, wall));
            }
        }
        lines
    }
}

/// `08:41:30 relay.example syncing 12/31  layer 2  412 events`.
fn line(view: &RelayView, wall: WallMs) -> String {
    let clock = wall.to_string();
    // The time of day of an RFC 3339 moment.
    let clock = clock.get(11..19).unwrap_or_default().to_owned();
    let mut text = format!("{clock} {} {}", relay(&view.url), connection(view));
    if let Some(layer) = view.pass.as_ref().and_then(|pass| pass.layer.as_ref()) {
        text.push_str(&format!("  layer {layer}"));
    }
    if view.events.received > 0 {
        text.push_str(&format!("  {}", counted(view.events.received, "event", "events")));
    }
    if !view.note.is_empty() {
        text.push_str(&format!("  {}", view.note));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::term::{ColorChoice, Paint};

    fn status(connection: &str, received: u64) -> Status {
        let view = json!({
            "url": "wss://relay.example/", "connection": connection, "connection_since_ms": 0,
            "health": "healthy", "health_since_ms": 0, "reason": "startup", "bootstrap": true,
            "events": {"received": received}, "bytes_in": 0, "bytes_out": 0, "lag_s": null,
            "rtt_s": null, "last_seen_ms": null, "last_event_ms": null, "last_sync_ms": null,
            "retry_in_s": null, "failures": 0, "pass": null, "gap_count": 0, "last_error": null,
        });
        let view = serde_json::from_value(view).expect("the view is complete");
        Status { relays: vec![view], ..Status::default() }
    }

    #[test]
    fn a_relay_is_mentioned_when_it_changes_and_every_30_seconds() {
        let mut term = Term::detect(ColorChoice::Never, true, 0, 0);
        (term.bars, term.err) = (false, Paint::Plain);
        let mut progress = Progress::new(term);
        let begin = Instant::now();
        let wall = WallMs(1_795_164_072_004);
        let mut at = |seconds, status: &Status| {
            progress.lines(status, begin + Duration::from_secs(seconds), wall)
        };
        assert_eq!(at(0, &status("connecting", 0)), ["08:41:12 relay.example connecting"]);
        assert_eq!(at(1, &status("connecting", 0)), [""; 0]);
        assert_eq!(at(2, &status("syncing", 412)), ["08:41:12 relay.example syncing  412 events"]);
        assert_eq!(at(31, &status("syncing", 500)), [""; 0]);
        assert_eq!(at(32, &status("syncing", 500)), ["08:41:12 relay.example syncing  500 events"]);
    }
}
