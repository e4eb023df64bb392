//! The outcome of a service that only looked: what the registry counted beside what the core knows.

use sync_core::explain::Explanation;

use crate::api::{GapView, RelayVerification, Seconds, Verification, VerifyStatus, WallMs};
use crate::observe::Compared;
use crate::service::Handle;

impl Handle {
    /// What a service that was built with [`crate::service::Builder::probe`] found so far; ask
    /// before it is shut down.
    pub async fn verification(&self) -> Verification {
        let known = self.explain_all().await;
        let mut relays: Vec<RelayVerification> = known
            .iter()
            .filter(|known| known.wanted)
            .filter_map(|known| Some(view(known, self.registry().compared(&known.url)?)))
            .collect();
        relays.sort_by(|a, b| a.url.cmp(&b.url));
        let now = WallMs::from(std::time::SystemTime::now());
        let took_s = Seconds::from(now.since(self.registry().started()));
        Verification { relays, took_s }
    }
}

fn view(known: &Explanation, found: Compared) -> RelayVerification {
    let reconciled = found.is_through && known.reconciles;
    let status = match (found.was_online, found.is_through) {
        (false, _) => VerifyStatus::Unreachable,
        (true, false) => VerifyStatus::Unfinished,
        (true, true) if !found.need.is_empty() || !known.gaps.is_empty() => VerifyStatus::Missing,
        (true, true) if known.reconciles => VerifyStatus::Same,
        (true, true) if known.items_proven == known.items_wanted => VerifyStatus::Proven,
        (true, true) => VerifyStatus::Unproven,
    };
    RelayVerification {
        url: known.url.clone(),
        status,
        explained: found.explained.filter(|_| !found.is_through),
        reconciled,
        need: found.need.len() as u64,
        ids: found.need.into_iter().take(RelayVerification::IDS).collect(),
        have: found.have,
        sessions: found.sessions,
        bytes_in: found.bytes.0,
        bytes_out: found.bytes.1,
        items: known.items_wanted,
        items_proven: known.items_proven,
        proven_until_ms: known.watermark.map(WallMs::from),
        proven_at_ms: known.proven_at.map(WallMs::from),
        pages_since_ms: (!reconciled).then(|| WallMs::from(known.resume_since)),
        gaps: known.gaps.iter().map(gap).collect(),
    }
}

fn gap((row, gap): &(sync_core::id::RowId, sync_core::ledger::Gap)) -> GapView {
    let items = u32::try_from(gap.items.len()).unwrap_or(u32::MAX);
    GapView {
        tries: gap.tries,
        retry_at_ms: Some(WallMs::from(gap.retry_at)),
        accepted: gap.accepted,
        detail: gap.detail.as_str().into(),
        ..GapView::new(*row, gap.reason, items, gap.range, WallMs::from(gap.since))
    }
}
