//! What the driver samples for the registry: sizes and depths that no event tells.

use std::sync::PoisonError;

use super::Registry;
use super::gather::Rows;
use super::labels::{KIND_LABELS, Queue, RejectedClass, kind_at};
use crate::api::{QueueView, RejectedView, StoreView};

/// Sizes and depths of one moment; `None` is not measured and not exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sampled {
    /// Events in the store by kind.
    pub store_kinds: Option<Vec<(u16, u64)>>,
    /// Size of the store on disk.
    pub store_size_bytes: Option<u64>,
    /// Repositories that are followed.
    pub repositories: Option<u64>,
    /// Roots that are followed.
    pub roots: Option<u64>,
    /// Depth and capacity of queues.
    pub queues: Vec<(Queue, u64, u64)>,
    /// Events that wait for the own relay.
    pub outbox: Option<u64>,
    /// Rows of rejected announcements and of rejected state events.
    pub rejected_rows: [u64; 2],
}

impl Sampled {
    /// The store, as documents show it.
    pub fn store(&self) -> StoreView {
        StoreView {
            events: self.store_kinds.iter().flatten().map(|(_, count)| count).sum(),
            size_bytes: self.store_size_bytes.unwrap_or_default(),
        }
    }

    /// The queues, as documents show them.
    pub fn queue_views(&self) -> Vec<QueueView> {
        let view = |(queue, depth, capacity): &(Queue, u64, u64)| QueueView {
            name: queue.as_str().into(),
            depth: *depth,
            capacity: *capacity,
        };
        self.queues.iter().map(view).collect()
    }
}

impl Registry {
    /// Takes a new sample; it replaces the last.
    pub fn sample(&self, sampled: Sampled) {
        *self.sampled_slot().lock().unwrap_or_else(PoisonError::into_inner) = sampled;
    }

    /// The last sample.
    pub fn sampled(&self) -> Sampled {
        self.sampled_slot().lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn sample_rows(&self, rows: &mut Rows) {
        let sampled = self.sampled();
        if let Some(kinds) = &sampled.store_kinds {
            let mut counts = [0; KIND_LABELS.len()];
            kinds.iter().for_each(|(kind, count)| counts[kind_at(*kind)] += count);
            for (kind, count) in KIND_LABELS.into_iter().zip(counts) {
                rows.count("ngit_sync_store_events", [kind.into()], count);
            }
        }
        let gauges = [
            ("ngit_sync_store_size_bytes", sampled.store_size_bytes),
            ("ngit_sync_repositories_tracked", sampled.repositories),
            ("ngit_sync_root_events_tracked", sampled.roots),
            ("ngit_sync_outbox_depth", sampled.outbox),
        ];
        for (family, value) in gauges {
            if let Some(value) = value {
                rows.count(family, [], value);
            }
        }
        for (queue, depth, capacity) in &sampled.queues {
            rows.count("ngit_sync_queue_depth", [queue.as_str().into()], *depth);
            rows.count("ngit_sync_queue_capacity", [queue.as_str().into()], *capacity);
        }
        for (class, count) in RejectedClass::LABELS.into_iter().zip(sampled.rejected_rows) {
            rows.count("ngit_rejected_cold_index_current", [class.into()], count);
        }
    }

    pub(crate) fn rejected_view(&self) -> RejectedView {
        let [hot_announcements, hot_states] = self.totals().hot_current.read();
        let [cold_announcements, cold_states] = self.sampled().rejected_rows;
        RejectedView { hot_announcements, hot_states, cold_announcements, cold_states }
    }
}
