//! Answers from the past: the journal, and what was measured within a window.

use std::collections::BTreeSet;
use std::time::Duration;

use super::answer::Refusal;
use super::query::{JournalQuery, moment, pairs};
use super::relay_name;
use super::route::Routes;
use crate::api::{Journal, Metrics, Status, WallMs};
use crate::observe::KIND_LABELS;
use crate::observe::history::{HistoryError, SECTIONS, Selection, metrics};

/// Entries that a document of metrics holds.
const RECENT_MAX: usize = 20;
/// The window when none is asked for.
const WINDOW: Duration = Duration::from_secs(3600);

impl Routes {
    /// `GET /v1/journal`: of all processes where there is history, of this one else.
    pub(super) async fn journal(&self, query: Option<&str>) -> Result<Journal, Refusal> {
        let asked = JournalQuery::parse(query)?;
        let max = asked.limit;
        let (entries, truncated) = match self.history() {
            Some(history) => {
                let since = asked.since.unwrap_or_default();
                let until = asked.until.unwrap_or(WallMs(u64::MAX));
                history.journal(since, until, max, move |entry| asked.keeps(entry)).await?
            }
            None => self.registry().latest(max, |entry| asked.keeps(entry)),
        };
        Ok(Journal { entries, truncated })
    }

    /// `GET /v1/metrics`.
    pub(super) async fn measured(&self, query: Option<&str>) -> Result<Metrics, Refusal> {
        let Some(history) = self.history() else {
            return Err(Refusal::not_found("this daemon keeps no history"));
        };
        let status = self.recent_status().await?;
        let now = self.registry().now();
        let asked = MetricsQuery::parse(query, &status, now)?;
        let window = history.window(asked.since, asked.until).await?;
        let relays = asked.selection.relays.clone();
        let recent = history.journal(window.since, window.until, RECENT_MAX, move |entry| {
            let relay = entry.relay.as_ref().map_or("", |url| url.as_str());
            relays.is_empty() || relays.contains(relay)
        });
        let mut metrics = metrics(&window, &status, recent.await?.0, &asked.selection);
        if let Some(state) = &mut metrics.state {
            state.uptime_s = now.since(self.registry().started()).into();
        }
        Ok(metrics)
    }
}

impl From<HistoryError> for Refusal {
    fn from(error: HistoryError) -> Self {
        let status = hyper::StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "unavailable", error.to_string())
    }
}

struct MetricsQuery {
    since: WallMs,
    until: WallMs,
    selection: Selection,
}

impl MetricsQuery {
    /// `since`, `until`, `relay` and `kind` (both repeatable), `sections`.
    fn parse(query: Option<&str>, status: &Status, now: WallMs) -> Result<Self, Refusal> {
        let before = WallMs(now.0.saturating_sub(WINDOW.as_millis() as u64));
        let mut asked = Self { since: before, until: now, selection: Selection::default() };
        for (name, value) in pairs(query) {
            let chosen = &mut asked.selection;
            match name.as_str() {
                "since" => asked.since = moment(&value)?,
                "until" => asked.until = moment(&value)?,
                "relay" => {
                    let known: Vec<_> = status.relays.iter().map(|r| r.url.clone()).collect();
                    chosen.relays.insert(relay_name::find(&value, &known)?.to_string());
                }
                "kind" => chosen.kinds.extend(list(&value, &KIND_LABELS, "kind")?),
                "sections" => chosen.sections.extend(list(&value, &SECTIONS, "section")?),
                _ => return Err(Refusal::bad_request(format!("nothing is asked by `{name}`"))),
            }
        }
        if asked.since > asked.until || asked.since > now {
            return Err(Refusal::bad_request("the window ends before it begins"));
        }
        Ok(asked)
    }
}

fn list(value: &str, known: &[&str], what: &str) -> Result<BTreeSet<String>, Refusal> {
    let names = value.split(',').filter(|name| !name.is_empty());
    let check = |name: &str| match known.contains(&name) {
        true => Ok(name.to_owned()),
        false => Err(Refusal::bad_request(format!("`{name}` is no {what} that is told apart"))
            .nearest(known.iter().map(|name| (*name).to_owned()).collect())),
    };
    names.map(check).collect()
}
