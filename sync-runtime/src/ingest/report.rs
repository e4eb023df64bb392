//! What a commit means for those who wait and those who watch.

use std::collections::HashMap;

use nostr::event::EventId;
use nostr::types::Timestamp;
use sync_core::admit::order::BodyError;
use sync_core::admit::rejected::RejectReason;

use super::group::{Answer, Ending, Group};
use super::observer::{EventOutcome, Resolution, SettledEvent};
use super::outgoing::Origin;
use super::{IngestOptions, Submitted};
use crate::store::{CommitReport, Gone, Outcome, Removed};

/// How an answer ended, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) outcome: EventOutcome,
    reason: Option<RejectReason>,
    submitted: Submitted,
}

impl Fate {
    /// A copy of something durable.
    pub(super) const COPY: Self = Self::new(EventOutcome::Duplicate, Submitted::Duplicate);
    /// The store could not take it.
    pub(super) const FAILED: Self = Self::new(EventOutcome::Failed, Submitted::Failed);

    const fn new(outcome: EventOutcome, submitted: Submitted) -> Self {
        Self { outcome, reason: None, submitted }
    }

    const fn rejected(reason: RejectReason, submitted: Submitted) -> Self {
        Self { outcome: EventOutcome::Rejected, reason: Some(reason), submitted }
    }

    const fn invalid(error: BodyError) -> Self {
        let outcome = match error {
            BodyError::OffFilter => EventOutcome::Dropped,
            BodyError::Malformed | BodyError::WrongId | BodyError::Signature => {
                EventOutcome::Invalid
            }
        };
        Self::new(outcome, Submitted::Invalid(error))
    }

    /// With the outcomes of the commit; without, because it failed.
    pub(super) fn of(ending: Ending, outcomes: Option<&[Outcome]>) -> Self {
        match (ending, outcomes) {
            (Ending::Known, _) => Self::COPY,
            (Ending::Invalid(error), _) => Self::invalid(error),
            (Ending::Event(_) | Ending::Rejected(_) | Ending::Copy, None) => Self::FAILED,
            (Ending::Copy, Some(_)) => Self::COPY,
            (Ending::Rejected(reason), Some(_)) => {
                Self::rejected(reason, Submitted::Rejected(reason))
            }
            (Ending::Event(place), Some(outcomes)) => match outcomes[place] {
                Outcome::Stored => Self::new(EventOutcome::Stored, Submitted::Stored),
                Outcome::Duplicate => Self::COPY,
                Outcome::Gone(why) => Self {
                    reason: why.reason(),
                    ..Self::new(EventOutcome::Rejected, Submitted::Gone(why))
                },
            },
        }
    }

    /// Tells whoever submitted it.
    pub(super) fn reply(self, answer: Answer) {
        if let Some(reply) = answer.reply {
            // Whoever asked may have gone.
            let _ = reply.send(self.submitted);
        }
    }

    pub(super) fn observe(self, options: &IngestOptions, origin: &Origin) {
        options.observer.settled(&settled(origin, self.outcome, self.reason));
    }
}

fn settled(origin: &Origin, outcome: EventOutcome, reason: Option<RejectReason>) -> SettledEvent {
    SettledEvent {
        relay: origin.from.map(|from| from.conn.relay),
        kind: origin.kind,
        created_at: origin.created_at,
        outcome,
        reason,
        source: origin.source,
        wall: origin.wall,
    }
}

/// Announces what is new in the store, and what met another version of its address.
pub(super) fn announce(options: &IngestOptions, group: &Group, report: &CommitReport) {
    for (place, outcome) in report.outcomes.iter().enumerate() {
        let (origin, arrived) = &group.sources[place];
        match outcome {
            Outcome::Stored => {
                if let Some(on_stored) = &options.on_stored {
                    let event = &group.commit.events[place].event;
                    on_stored(event, origin.from.map(|from| from.conn));
                }
                if !arrived {
                    options.observer.revived(&settled(origin, EventOutcome::Stored, None));
                }
            }
            Outcome::Gone(Gone::Superseded) => {
                options.observer.conflict(origin.kind, Resolution::NewerCreatedAt);
            }
            Outcome::Gone(Gone::Deleted) if origin.kind.is_addressable() => {
                options.observer.conflict(origin.kind, Resolution::Deleted);
            }
            Outcome::Duplicate | Outcome::Gone(_) => {}
        }
    }
    if report.removed.iter().any(|removed| removed.address.is_some()) {
        removals(options, group, &report.removed);
    }
}

fn removals(options: &IngestOptions, group: &Group, removed: &[Removed]) {
    let times: HashMap<EventId, Timestamp> =
        group.sources.iter().map(|(origin, _)| (origin.id, origin.created_at)).collect();
    for removed in removed.iter().filter(|removed| removed.address.is_some()) {
        let by = removed.by.and_then(|by| times.get(&by));
        let resolution = match removed.why {
            Gone::Superseded if by == Some(&removed.created_at) => Resolution::LowestIdTiebreak,
            Gone::Superseded => Resolution::NewerCreatedAt,
            Gone::Deleted => Resolution::Deleted,
            Gone::Vanished | Gone::Expired | Gone::Ephemeral | Gone::Rejected => continue,
        };
        options.observer.conflict(removed.kind, resolution);
    }
}
