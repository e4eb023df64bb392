//! What is measured of the process as a whole: counters that tasks move without a lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::histogram::Histogram;
use super::labels::{
    ApplyStage, DialStage, KIND_LABELS, Outcome, Queue, RejectedClass, Resolution, StoreOp,
};

/// The counters of a closed list.
#[derive(Debug)]
pub(crate) struct Counts<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }
}

impl<const N: usize> Counts<N> {
    pub(crate) fn add(&self, at: usize, count: u64) {
        self.0[at].fetch_add(count, Relaxed);
    }

    pub(crate) fn set(&self, at: usize, value: u64) {
        self.0[at].store(value, Relaxed);
    }

    pub(crate) fn max(&self, at: usize, value: u64) {
        self.0[at].fetch_max(value, Relaxed);
    }

    pub(crate) fn read(&self) -> [u64; N] {
        std::array::from_fn(|at| self.0[at].load(Relaxed))
    }

    pub(crate) fn sum(&self) -> u64 {
        self.read().iter().sum()
    }
}

/// Counters whose label pairs are closed lists too large to lay out: they appear when touched.
#[derive(Debug)]
pub(crate) struct Pairs<K>(Mutex<BTreeMap<K, u64>>);

impl<K> Default for Pairs<K> {
    fn default() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }
}

impl<K: Ord + Copy> Pairs<K> {
    pub(crate) fn add(&self, key: K, count: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += count;
    }

    pub(crate) fn read(&self) -> Vec<(K, u64)> {
        let pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pairs.iter().map(|(key, count)| (*key, *count)).collect()
    }
}

const KINDS: usize = KIND_LABELS.len();

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Newly saved events by source: live, startup, reconnect, daily.
    pub(crate) sources: Counts<4>,
    /// Outcomes of events, kind by kind.
    pub(crate) kinds: [Counts<{ Outcome::ALL.len() }>; KINDS],
    /// When an event of a kind was last stored, in milliseconds.
    pub(crate) kind_last_ms: Counts<KINDS>,
    /// Rejections by place of kind and reason.
    pub(crate) rejections: Pairs<(usize, &'static str)>,
    /// Versions of one address by place of kind.
    pub(crate) conflicts: Pairs<(usize, Resolution)>,
    pub(crate) hot_current: Counts<{ RejectedClass::ALL.len() }>,
    pub(crate) hot_hits: Counts<{ RejectedClass::ALL.len() }>,
    pub(crate) hot_misses: Counts<{ RejectedClass::ALL.len() }>,
    pub(crate) hot_expired: Counts<{ RejectedClass::ALL.len() }>,
    pub(crate) cold_expired: Counts<{ RejectedClass::ALL.len() }>,
    pub(crate) invalidated: Counts<{ RejectedClass::ALL.len() }>,
    pub(crate) connect: [Histogram; DialStage::ALL.len()],
    pub(crate) first_event: [Histogram; 2],
    pub(crate) apply: [Histogram; ApplyStage::ALL.len()],
    pub(crate) live_delay: Histogram,
    pub(crate) store_ops: [Histogram; StoreOp::ALL.len()],
    pub(crate) queue_dropped: Counts<{ Queue::ALL.len() }>,
    /// Requests to the API by route and status code.
    pub(crate) requests: Pairs<(&'static str, u16)>,
    /// When history was last written, in milliseconds.
    pub(crate) history_ms: Counts<1>,
    /// Relays that got no label.
    pub(crate) overflow: Counts<1>,
}
