//! What becomes one commit: events as the policy judges them, and what arrivals are to hear.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use nostr::event::EventId;
use sync_core::admit::facts::Applied;
use sync_core::admit::order::BodyError;
use sync_core::admit::policy::{Policy, Verdict};
use sync_core::admit::references::items;
use sync_core::admit::rejected::{Dependency, HotTier, RejectReason, Waiting};
use sync_core::url::RelayUrl;
use tokio::sync::oneshot;

use super::outgoing::{FactRuns, Origin};
use super::{IngestOptions, Submitted};
use crate::store::{Commit, NewEvent, NewRejection};
use crate::verify::Verified;

/// An event that can be judged.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) verified: Verified,
    pub(super) origin: Origin,
}

/// How an arrival ended, as far as that is known before the commit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    /// As the event of that place in the commit.
    Event(usize),
    Rejected(RejectReason),
    /// A copy of an event of this commit.
    Copy,
    /// Durable before.
    Known,
    Invalid(BodyError),
}

/// One arrival or submission.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) origin: Origin,
    pub(super) ending: Ending,
    pub(super) reply: Option<oneshot::Sender<Submitted>>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Event,
    /// Places of the row, and of the answer when an arrival goes with it.
    Rejected {
        row: usize,
        answer: Option<usize>,
    },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) commit: Commit,
    /// By place in the commit: where the event came from, and whether an arrival goes with it.
    pub(super) sources: Vec<(Origin, bool)>,
    pub(super) answers: Vec<Answer>,
    pub(super) facts: FactRuns,
    /// Ids whose copies share this commit's fate.
    pub(super) flying: Vec<EventId>,
    /// Bytes that it holds of what may be under way.
    pub(super) bytes: u64,
    /// Arrivals that it has taken, copies included.
    pub(super) taken: usize,
    /// When it began.
    pub(super) began: Option<Instant>,
    places: HashMap<EventId, Place>,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.began.is_none()
    }

    pub(super) fn begin(&mut self) {
        self.began.get_or_insert_with(Instant::now);
    }

    pub(super) fn answer(&mut self, origin: Origin, ending: Ending) {
        self.answers.push(Answer { origin, ending, reply: None });
    }
}

/// Policy and hot tier, with what they need of the configuration.
pub(super) struct Judge {
    pub(super) policy: Policy,
    pub(super) hot: HotTier<Candidate>,
    epoch: Instant,
}

impl Judge {
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy, hot: HotTier::default(), epoch: Instant::now() }
    }

    /// The clock of the hot tier.
    pub(super) fn now(&self) -> sync_core::time::Instant {
        let micros = self.epoch.elapsed().as_micros();
        sync_core::time::Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Judges an arrival, and at once what waited for it (REJ-3).
    pub(super) fn take(
        &mut self,
        group: &mut Group,
        candidate: Candidate,
        reply: Option<oneshot::Sender<Submitted>>,
        options: &IngestOptions,
    ) {
        let origin = candidate.origin;
        if group.places.contains_key(&origin.id) {
            group.answers.push(Answer { origin, ending: Ending::Copy, reply });
            return;
        }
        let answer = group.answers.len();
        group.answers.push(Answer { origin, ending: Ending::Copy, reply });
        let waiting = self.judge(group, candidate, Some(answer), options);
        self.again(group, waiting, options);
    }

    /// Judges events that had been rejected.
    pub(super) fn again(
        &mut self,
        group: &mut Group,
        candidates: Vec<Candidate>,
        options: &IngestOptions,
    ) {
        let mut queue = VecDeque::from(candidates);
        while let Some(candidate) = queue.pop_front() {
            let answer = match group.places.get(&candidate.origin.id) {
                Some(Place::Event) => continue,
                Some(Place::Rejected { answer, .. }) => *answer,
                None => None,
            };
            queue.extend(self.judge(group, candidate, answer, options));
        }
    }

    /// Answers what waited for the event.
    fn judge(
        &mut self,
        group: &mut Group,
        candidate: Candidate,
        answer: Option<usize>,
        options: &IngestOptions,
    ) -> Vec<Candidate> {
        let now = (options.wall)();
        let relay = candidate.origin.from.and_then(|from| (options.relay)(from.conn.relay));
        let own = relay.is_some() && relay == options.own_relay;
        match self.policy.judge(&candidate.verified.event, now) {
            Verdict::Reject { reason, depends_on } if !(own && is_overruled(reason)) => {
                self.reject(group, candidate, answer, (reason, depends_on), relay, options);
                Vec::new()
            }
            Verdict::Accept(_) | Verdict::Reject { .. } => {
                let event = &candidate.verified.event;
                let applied = if own {
                    self.policy.apply_trusted(event, Some(now))
                } else {
                    self.policy.apply(event, Some(now))
                };
                let outbox = options.own_relay.is_some() && !own;
                accept(group, &candidate, answer, outbox);
                self.settle_waiting(group, applied, &candidate.origin)
            }
        }
    }

    fn settle_waiting(
        &mut self,
        group: &mut Group,
        applied: Applied,
        origin: &Origin,
    ) -> Vec<Candidate> {
        let Applied { facts, satisfied, referenced } = applied;
        let waiting = self.hot.satisfied(&satisfied, &referenced);
        group.facts.push(origin.facts(), facts);
        group.commit.satisfied.extend(satisfied);
        group.commit.wanted.extend(referenced);
        waiting
    }

    fn reject(
        &mut self,
        group: &mut Group,
        candidate: Candidate,
        answer: Option<usize>,
        why: (RejectReason, Vec<Dependency>),
        relay: Option<RelayUrl>,
        options: &IngestOptions,
    ) {
        let (reason, depends_on) = why;
        let Candidate { verified, origin } = &candidate;
        let new = NewRejection {
            event: verified.event.clone(),
            reason,
            depends_on: depends_on.clone(),
            items: items(&verified.event),
            relays: relay.into_iter().collect(),
            revision: self.policy.revision(),
        };
        let row = match group.places.get(&origin.id) {
            Some(Place::Rejected { row, .. }) => {
                group.commit.rejections[*row] = new;
                *row
            }
            Some(Place::Event) | None => {
                group.commit.rejections.push(new);
                group.commit.rejections.len() - 1
            }
        };
        group.places.insert(origin.id, Place::Rejected { row, answer });
        if let Some(answer) = answer {
            group.answers[answer].ending = Ending::Rejected(reason);
        }
        let waiting = Waiting {
            id: origin.id,
            kind: origin.kind,
            created_at: origin.created_at,
            bytes: verified.raw.len() as u64,
            depends_on,
            body: candidate,
        };
        let now = self.now();
        self.hot.hold(waiting, now, &options.config.rejected);
    }
}

fn accept(group: &mut Group, candidate: &Candidate, answer: Option<usize>, outbox: bool) {
    let place = group.commit.events.len();
    let Verified { event, raw } = candidate.verified.clone();
    group.commit.events.push(NewEvent { event, raw, outbox });
    group.sources.push((candidate.origin, answer.is_some()));
    group.places.insert(candidate.origin.id, Place::Event);
    if let Some(answer) = answer {
        group.answers[answer].ending = Ending::Event(place);
    }
}

/// Whether the word of the own relay counts more (OWN-2).
const fn is_overruled(reason: RejectReason) -> bool {
    matches!(
        reason,
        RejectReason::NotListed
            | RejectReason::NoAuthority
            | RejectReason::NoReference
            | RejectReason::UnknownAuthor
            | RejectReason::Identifier
            | RejectReason::OtherRelay
    )
}
