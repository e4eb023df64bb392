//! What leaves the pipeline for the driver: facts in the order of their events, then tallies (F4).

use std::collections::{BTreeMap, BTreeSet};

use nostr::event::{EventId, Kind};
use nostr::types::Timestamp;
use sync_core::command::{Purpose, Source};
use sync_core::id::{ConnId, SubId};
use sync_core::input::{Fact, FactSource, Input};
use sync_core::tally::SettleTally;

use super::observer::EventOutcome;
use crate::connection::Arrival;

/// Where an event came from, without its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) id: EventId,
    pub(super) kind: Kind,
    pub(super) created_at: Timestamp,
    pub(super) wall: Timestamp,
    pub(super) source: Source,
    /// Live sync should have brought it (HIST-11).
    pub(super) gap: bool,
    /// `None` for what a client or the embedder wrote.
    pub(super) from: Option<From>,
}

/// The subscription that brought an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct From {
    pub(super) conn: ConnId,
    pub(super) sub: SubId,
    tracks_ids: bool,
}

impl Origin {
    pub(super) fn of(arrival: &Arrival) -> Self {
        let envelope = &arrival.envelope;
        let source = match arrival.purpose {
            Purpose::Live if arrival.live => Source::Live,
            // Before the EOSE of a live subscription events are historic (FILT-3).
            Purpose::Live if arrival.conn.epoch <= 1 => Source::Startup,
            Purpose::Live => Source::Reconnect,
            Purpose::Page { source, .. } | Purpose::Ids { source } => source,
        };
        Self {
            id: envelope.id,
            kind: envelope.kind,
            created_at: envelope.created_at,
            wall: arrival.wall,
            source,
            gap: false,
            from: Some(From {
                conn: arrival.conn,
                sub: arrival.sub,
                tracks_ids: matches!(arrival.purpose, Purpose::Ids { .. }),
            }),
        }
    }

    pub(super) fn facts(&self) -> FactSource {
        match self.from {
            Some(From { conn, sub, .. }) => FactSource::Stored { conn, sub },
            None => FactSource::Embedder,
        }
    }
}

/// Facts of one commit, in order.
#[derive(Debug, Default)]
pub(super) struct FactRuns {
    runs: Vec<(FactSource, Vec<Fact>)>,
}

impl FactRuns {
    pub(super) fn push(&mut self, from: FactSource, facts: Vec<Fact>) {
        if facts.is_empty() {
            return;
        }
        match self.runs.last_mut() {
            Some((last, run)) if *last == from => run.extend(facts),
            _ => self.runs.push((from, facts)),
        }
    }

    /// Events that are wanted by id.
    pub(super) fn wanted_ids(&self) -> Vec<EventId> {
        let facts = self.runs.iter().flat_map(|(_, facts)| facts);
        let ids: BTreeSet<EventId> = facts
            .filter_map(|fact| match fact {
                Fact::WantId { id, .. } => Some(*id),
                _ => None,
            })
            .collect();
        ids.into_iter().collect()
    }

    /// The inputs; without the wishes for events of `known`.
    pub(super) fn into_inputs(self, known: &BTreeSet<EventId>) -> Vec<Input> {
        let mut inputs = Vec::new();
        for (from, facts) in self.runs {
            let mut facts = facts.into_iter().filter(|fact| match fact {
                Fact::WantId { id, .. } => !known.contains(id),
                _ => true,
            });
            loop {
                let chunk: Vec<Fact> = facts.by_ref().take(Input::MAX_FACTS).collect();
                if chunk.is_empty() {
                    break;
                }
                inputs.push(Input::Facts { from, facts: chunk });
            }
        }
        inputs
    }
}

/// Tallies of one commit, by subscription.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    by_sub: BTreeMap<(ConnId, SubId), SettleTally>,
}

impl Tallies {
    pub(super) fn add(&mut self, origin: &Origin, outcome: EventOutcome) {
        let Some(from) = origin.from else { return };
        let tally = self.by_sub.entry((from.conn, from.sub)).or_insert_with(|| SettleTally {
            conn: Some(from.conn),
            sub: Some(from.sub),
            ..SettleTally::default()
        });
        let (count, settled) = match outcome {
            EventOutcome::Stored => (&mut tally.stored, true),
            EventOutcome::Duplicate => (&mut tally.duplicate, true),
            EventOutcome::Rejected => (&mut tally.rejected, true),
            EventOutcome::Invalid => (&mut tally.invalid, false),
            EventOutcome::Dropped => (&mut tally.off_filter, false),
            EventOutcome::Failed => (&mut tally.failed, false),
        };
        *count += 1;
        if origin.gap && outcome == EventOutcome::Stored {
            tally.gap_events += 1;
        }
        if from.tracks_ids && settled {
            tally.ids.push(origin.id);
        } else if from.tracks_ids && outcome == EventOutcome::Failed {
            tally.failed_ids.push(origin.id);
        }
    }

    pub(super) fn into_inputs(self) -> impl Iterator<Item = Input> {
        self.by_sub.into_values().map(|mut tally| {
            tally.ids.sort_unstable();
            tally.ids.dedup();
            tally.failed_ids.sort_unstable();
            Input::Settled(tally)
        })
    }
}
