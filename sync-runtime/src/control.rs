//! The daemon behind the interface: documents from the registry, completed by what only the core
//! knows, and requests to it.

use std::time::Duration;

use sync_core::agenda::Timer;
use sync_core::explain::Explanation;
use sync_core::input::Operator;
use sync_core::status::{HealthStatus, RelayStatus};
use sync_core::url::RelayUrl;

use crate::api::{Explain, Ready, RelayView, Seconds, Status, WallMs};
use crate::clock::Clock;
use crate::http::{Answer, Control, ControlError};
use crate::service::Handle;

impl Control for Handle {
    fn status(&self) -> Answer<'_, Status> {
        Box::pin(async { Ok(self.full_status().await) })
    }

    fn explain(&self, relay: RelayUrl) -> Answer<'_, Explain> {
        Box::pin(async move {
            let found = Handle::explain(self, relay).await.ok_or(ControlError::UnknownRelay)?;
            Ok(explain(&found))
        })
    }

    fn operator(&self, operator: Operator) -> Answer<'_, ()> {
        Box::pin(async move {
            match Handle::operator(self, operator).await {
                true => Ok(()),
                false => Err(ControlError::UnknownRelay),
            }
        })
    }

    fn ready(&self) -> Answer<'_, Ready> {
        Box::pin(async {
            let ready = self.is_ready();
            let waiting_for =
                if ready { Vec::new() } else { vec!["facts of the own store".into()] };
            Ok(Ready { ready, waiting_for })
        })
    }
}

impl Handle {
    /// The state of everything, with lag and gaps as the core knows them.
    pub async fn full_status(&self) -> Status {
        let mut status = self.status();
        for known in self.explain_all().await {
            if let Some(view) = status.relays.iter_mut().find(|view| view.url == known.url) {
                complete(view, &known);
            }
        }
        status
    }
}

fn complete(view: &mut RelayView, known: &Explanation) {
    let now = Clock::wall().as_secs();
    let reached = match view.connection.is_live_sync_active() && known.items_live > 0 {
        true => Some(now),
        false => known.watermark.map(|watermark| watermark.as_secs()),
    };
    view.lag_s =
        reached.map(|reached| Seconds::from(Duration::from_secs(now.saturating_sub(reached))));
    for gap in &mut view.gaps {
        let found = known.gaps.iter().find(|(row, _)| *row == gap.row);
        if let Some((_, found)) = found {
            gap.tries = found.tries;
            gap.retry_at_ms = Some(WallMs::from(found.retry_at));
            gap.accepted = found.accepted;
            gap.detail = found.detail.as_str().into();
        }
    }
}

/// What people are told of a connection state.
const fn words(status: RelayStatus) -> &'static str {
    match status {
        RelayStatus::Disconnected => "disconnected",
        RelayStatus::Connecting => "connecting",
        RelayStatus::Syncing => "catching up on history",
        RelayStatus::Connected => "connected, complete and live",
        RelayStatus::ConnectedDegraded => "connected with partial history",
    }
}

fn explain(known: &Explanation) -> Explain {
    let next_in = known.next.map(|_| Seconds::from(Duration::from_millis(known.next_in_ms)));
    Explain {
        subject: known.url.to_string(),
        summary: format!("{} is {}", known.url, words(known.status)),
        because: because(known),
        effect: effect(known),
        next: next(known),
        health: health(known),
        next_in_s: next_in,
    }
}

fn because(known: &Explanation) -> Vec<String> {
    let mut because = Vec::new();
    if known.paused {
        because.push("a person paused it".into());
    }
    if !known.wanted {
        because.push("no wanted repository is announced on it".into());
    }
    for (row, gap) in known.gaps.iter().take(20) {
        let words = match gap.detail.as_str() {
            "" => String::new(),
            words => format!(", the relay says: {words}"),
        };
        because.push(format!(
            "gap {row}: {} items, seconds {}, {}{words} ({} tries)",
            gap.items.len(),
            gap.range,
            gap.reason,
            gap.tries
        ));
    }
    because.push(format!("its state last changed for this reason: {}", known.reason.as_str()));
    because
}

fn effect(known: &Explanation) -> String {
    format!(
        "{} of {} wanted items were proven at some time, {} are live; {} batches pending, {} events unsettled",
        known.items_proven, known.items_wanted, known.items_live, known.batches, known.unsettled
    )
}

fn next(known: &Explanation) -> String {
    let Some(deadline) = known.next else { return "nothing is scheduled".into() };
    let what = match deadline.reason {
        Timer::Retry => "the next dial",
        Timer::Refetch => "gaps are tried again",
        Timer::Cooldown => "the cooldown ends",
        Timer::Audit => "live sync is audited",
        Timer::Daily => "everything is reconciled",
        Timer::LiveWrite => "the live watermark is written",
        Timer::Stable => "the connection counts as stable",
        Timer::Settle => "a slow pass is reported",
        Timer::Dial | Timer::Drain => "the socket must have answered",
        Timer::DiscoveryWindow | Timer::Later => "new targets are planned",
        Timer::LiveWait(_) | Timer::Eose(_) | Timer::Neg(_) => "a request must have been answered",
    };
    format!("{what} in {}s", known.next_in_ms / 1000)
}

fn health(known: &Explanation) -> String {
    let failures = match known.failures {
        0 => String::new(),
        n => format!(", {n} failures in a row"),
    };
    let since = known.failing_since.map(|at| format!(" since {}", WallMs::from(at)));
    let what = match known.health {
        HealthStatus::Healthy => "healthy",
        HealthStatus::Disconnected => "disconnected",
        HealthStatus::Degraded => "degraded until it was stable for a while",
        HealthStatus::Dead => "dead: it failed for a day, and is tried once a day",
        HealthStatus::RateLimited => "rate limited: nothing is sent until the cooldown ends",
    };
    format!("{what}{failures}{}", since.unwrap_or_default())
}
