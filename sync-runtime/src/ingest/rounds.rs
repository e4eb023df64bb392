//! Recurring work of the writer: rejections whose time has come, what is too old, what expired.

use std::time::{Duration, Instant};

use nostr::types::Timestamp;
use sync_core::input::{FactSource, Input};

use super::IngestOptions;
use super::group::{Group, Judge};
use crate::store::{EventStore, StoreError};

/// When each round was last made.
#[derive(Debug)]
pub(super) struct Rounds {
    due: Instant,
    hot: Instant,
    cold: Option<Instant>,
}

impl Rounds {
    /// How often rejections are looked at whose time has come (ACPT-8), at most.
    pub(super) const DUE: Duration = Duration::from_secs(1);
    /// Such rejections of one round.
    const DUE_ROWS: usize = 1_000;

    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { due: now, hot: now, cold: None }
    }

    /// Does what is due. Events that may be taken go into the group; the rest is answered as
    /// inputs. A failure is tried again the next time.
    pub(super) fn run(
        &mut self,
        store: &dyn EventStore,
        judge: &mut Judge,
        group: &mut Group,
        options: &IngestOptions,
    ) -> Vec<Input> {
        let now = Instant::now();
        let config = &options.config.rejected;
        let mut inputs = Vec::new();
        let mut result = Ok(());
        if now - self.due >= Self::DUE {
            self.due = now;
            result = result.and(due(store, judge, group, options));
        }
        if now - self.hot >= *config.hot_sweep {
            self.hot = now;
            let clock = judge.now();
            judge.hot.sweep(clock, config);
            result = result.and(expire(store, judge, options).map(|found| inputs.extend(found)));
        }
        if self.cold.is_none_or(|last| now - last >= *config.cold_sweep) {
            self.cold = Some(now);
            let oldest = (options.wall)().as_secs().saturating_sub(config.cold.as_secs());
            let swept = store.sweep(Timestamp::from_secs(oldest));
            result = result.and(swept.map(|s| options.observer.cold_expired(&s)));
        }
        if let Err(error) = result {
            tracing::warn!(%error, "recurring work on the store failed");
        }
        inputs
    }
}

fn due(
    store: &dyn EventStore,
    judge: &mut Judge,
    group: &mut Group,
    options: &IngestOptions,
) -> Result<(), StoreError> {
    let rows = store.due((options.wall)(), Rounds::DUE_ROWS)?;
    if rows.is_empty() {
        return Ok(());
    }
    group.begin();
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let held = judge.hot.satisfied(&[], &ids);
    group.commit.wanted.extend(ids);
    judge.again(group, held, options);
    Ok(())
}

fn expire(
    store: &dyn EventStore,
    judge: &mut Judge,
    options: &IngestOptions,
) -> Result<Vec<Input>, StoreError> {
    let removed = store.expire((options.wall)())?;
    let facts = judge.policy.remove(removed.iter().map(|removed| &removed.id)).facts;
    let chunks = facts.chunks(Input::MAX_FACTS);
    Ok(chunks
        .map(|facts| Input::Facts { from: FactSource::Embedder, facts: facts.to_vec() })
        .collect())
}
