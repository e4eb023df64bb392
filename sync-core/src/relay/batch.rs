//! A batch: items of one layer being fetched from one relay, as one job a filter. It ends
//! confirmed or with named gaps, never in between (spec §1).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use nostr::event::EventId;
use nostr::filter::Filter;
use nostr::types::Timestamp;

use crate::command::Source;
use crate::id::{BatchId, NegId, RowId, SubId, WalkId};
use crate::item::{GapReason, Item, Layer, Range, RelayText};
use crate::ledger::Method;
use crate::relay::page::Walk;
use crate::tally::PageTally;
use crate::time::Instant;

/// Which part of history a batch is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of it where the relay reconciles; else from the proven watermark on (HIST-1).
    Auto,
    /// All of it.
    Full,
    /// From this second to the present of the batch's beginning: a live request did not stand, or
    /// the recent past is looked at again.
    Since(Timestamp),
    /// These seconds.
    Range(Range),
}

/// Work that is to become a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Items of one layer.
    pub items: Vec<Item>,
    /// Which part of history.
    pub scope: Scope,
    /// Whether the pass waits for it.
    pub pass: bool,
    /// The gap that it tries to close.
    pub gap: Option<RowId>,
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waits for a free slot, then reconciles.
    ToNegotiate,
    /// Waits for a free slot, then asks for its next page.
    ToWalk,
    /// A session is open.
    Negotiating(NegId),
    /// A page is open.
    Walking(SubId),
    /// Needed ids are asked for.
    Fetching,
    /// Its walk is over; when its events are settled it reconciles (HIST-1).
    Walked,
    /// Proven, or explained by its gaps.
    Done,
}

/// Ids that the relay has and we lack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Not settled yet.
    pub open: BTreeSet<EventId>,
    /// To be asked for in this round.
    pub queue: Vec<EventId>,
    /// Requests of this round that are open.
    pub in_flight: u32,
    /// Rounds so far (HIST-3).
    pub round: u32,
    /// Whether this round settled any.
    pub progress: bool,
    /// A request of this round was closed by a limit: it is no answer, and asked again.
    pub again: bool,
    /// A request of this round failed: it is no answer either.
    pub failed: Option<(GapReason, RelayText)>,
}

/// A named gap of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Which seconds.
    pub range: Range,
    /// Why.
    pub reason: GapReason,
    /// The relay's words.
    pub detail: RelayText,
    /// Ids that are known to be missing.
    pub ids: Vec<EventId>,
}

impl Missing {
    /// Ids that a gap names.
    pub const MAX_IDS: usize = 100;
}

/// One filter over one range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The filter, without `since`, `until` and `limit`.
    pub filter: Filter,
    /// The range.
    pub range: Range,
    /// What it does.
    pub stage: Stage,
    /// The walk through pages, once begun.
    pub walk: Option<(WalkId, Walk)>,
    /// Ids to fetch.
    pub need: Need,
    /// What it could not prove.
    pub missing: Vec<Missing>,
    /// Events received for it.
    pub received: u64,
    /// Of them, settled.
    pub settled: u64,
    /// How it was proven.
    pub method: Method,
    /// How often a refused range was halved (HIST-4).
    pub halvings: u32,
    /// The second down to which pages are finished and settled (HIST-6).
    pub safe: Option<Timestamp>,
    /// The page that waits for its EOSE.
    pub page: Option<PageTally>,
}

impl Job {
    /// A job that has not begun.
    pub fn new(filter: Filter, range: Range, stage: Stage) -> Self {
        Self {
            filter,
            range,
            stage,
            walk: None,
            need: Need::default(),
            missing: Vec::new(),
            received: 0,
            settled: 0,
            method: Method::Pages,
            halvings: 0,
            safe: None,
            page: None,
        }
    }

    /// Whether every event received for it is settled.
    pub fn is_settled(&self) -> bool {
        self.received == self.settled
    }

    /// What it could not prove so far, and what its walk could not: late events add to that
    /// after the walk is over.
    pub fn all_missing(&self) -> impl Iterator<Item = Missing> + '_ {
        let gaps = self.walk.iter().flat_map(|(_, walk)| walk.gaps());
        let gaps = gaps.map(|(range, reason)| Missing {
            range: *range,
            reason: *reason,
            detail: RelayText::default(),
            ids: Vec::new(),
        });
        self.missing.iter().cloned().chain(gaps)
    }

    /// A reconciliation proved the range: what pages before it could not prove is moot.
    pub fn prove_reconciled(&mut self) {
        self.stage = Stage::Done;
        self.walk = None;
        self.missing.clear();
    }

    /// Names a gap and ends.
    pub fn fail(&mut self, range: Range, reason: GapReason, detail: RelayText) {
        self.missing.push(Missing { range, reason, detail, ids: Vec::new() });
        self.stage = Stage::Done;
    }

    /// What is left of the range when the walk is cut now: from its lower end to the second down
    /// to which pages are finished.
    pub fn rest(&self) -> Range {
        let until = self.walk.as_ref().and_then(|(_, walk)| walk.proven_down_to());
        Range { since: self.range.since, until: until.unwrap_or(self.range.until) }
    }
}

/// Whether filters whose first page was empty were asked for once more (HIST-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recheck {
    /// Not yet.
    Due,
    /// Waits for a free slot.
    Ready,
    /// The request is open.
    Asked,
    /// Done.
    Over,
}

/// A batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its number.
    pub id: BatchId,
    /// Its layer.
    pub layer: Layer,
    /// What it is to prove, and why it was begun.
    pub work: Work,
    /// Where its events count (HIST-12).
    pub source: Source,
    /// Its jobs; windows of a reconciliation are added.
    pub jobs: Vec<Job>,
    /// When it began.
    pub began: Instant,
    /// Wall time at which its live request was known to stand: the claim goes no further (FILT-3).
    pub live_since: Timestamp,
    /// Wall time at which it began: `as_of` of its claim.
    pub as_of: Timestamp,
    /// The seconds that it has to prove.
    pub range: Range,
    /// How it was announced.
    pub method: Method,
    /// The second look at emptiness.
    pub recheck: Recheck,
    /// Its live requests were renewed because of events that it brought (HIST-11).
    pub renewed: bool,
}

impl Batch {
    /// Whether every job ended and every event served for it is settled (HIST-7).
    pub fn is_over(&self) -> bool {
        self.jobs.iter().all(|job| job.stage == Stage::Done && job.is_settled())
    }

    /// Jobs whose emptiness nothing but one empty page shows.
    pub fn emptied(&self) -> impl Iterator<Item = usize> + '_ {
        self.jobs
            .iter()
            .enumerate()
            .filter(|(_, job)| job.method == Method::Pages)
            .filter(|(_, job)| job.walk.as_ref().is_some_and(|(_, walk)| walk.ended_empty()))
            .map(|(n, _)| n)
    }

    /// Events received for it.
    pub fn received(&self) -> u64 {
        self.jobs.iter().map(|job| job.received).sum()
    }

    /// What its jobs could not prove: entries of one reason do not overlap.
    pub fn missing(&self) -> Vec<Missing> {
        let mut all: Vec<Missing> = self.jobs.iter().flat_map(Job::all_missing).collect();
        all.sort_by_key(|missing| (missing.reason, missing.range));
        let mut merged: Vec<Missing> = Vec::new();
        for missing in all {
            match merged.last_mut() {
                Some(last)
                    if last.reason == missing.reason && missing.range.since <= last.range.until =>
                {
                    last.range.until = last.range.until.max(missing.range.until);
                    last.ids.extend(missing.ids);
                    last.ids.truncate(Missing::MAX_IDS);
                }
                _ => merged.push(missing),
            }
        }
        merged
    }

    /// Whether it has announcement, repository or filter items (DISC-6).
    pub fn discovers(&self) -> bool {
        matches!(self.layer, Layer::One | Layer::Two | Layer::Filter)
    }
}
