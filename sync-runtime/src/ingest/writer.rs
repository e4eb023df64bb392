//! The one writer: judges in the order of arrival, commits in groups, and tells the driver.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use nostr::event::EventId;
use sync_core::admit::order::BodyError;
use sync_core::admit::policy::Policy;
use sync_core::admit::rejected::EventType;
use sync_core::command::Source;
use sync_core::input::{Fact, FactSource, Input};
use sync_core::ledger::LedgerChange;
use tokio::sync::{mpsc, oneshot};

use super::flight::InFlight;
use super::group::{Candidate, Ending, Group, Judge};
use super::intake::{Fresh, part};
use super::missed::is_missed;
use super::observer::Stage;
use super::outgoing::{FactRuns, Origin, Tallies};
use super::report::{Fate, announce};
use super::rounds::Rounds;
use super::{IngestOptions, Submitted, boot};
use crate::connection::Arrival;
use crate::store::{Commit, CommitReport, EventStore, Known, Outcome, Removed, StoreError};
use crate::verify::{Pending, Verified, VerifyPool};

/// Something for the writer.
pub(super) enum Work {
    Ticket(Ticket),
    Submit { verified: Verified, reply: oneshot::Sender<Submitted> },
    Ledger(LedgerChange),
    Forget(Vec<EventId>),
    Sent(Vec<EventId>),
    Stop,
}

/// A batch of arrivals.
pub(super) struct Ticket {
    /// Arrivals, those aside as copies included.
    pub(super) size: usize,
    pub(super) bytes: u64,
    /// Duplicates of what is durable.
    pub(super) known: Vec<Origin>,
    /// What is being checked.
    pub(super) fresh: Vec<Fresh>,
    pub(super) checks: Pending,
}

/// See the module.
pub(super) struct Writer {
    options: IngestOptions,
    store: Arc<dyn EventStore>,
    inputs: mpsc::Sender<Input>,
    pool: Arc<VerifyPool>,
    flight: Arc<InFlight>,
    judge: Judge,
    group: Group,
    rounds: Rounds,
}

impl Writer {
    /// Tries of a commit that fails for another reason than space.
    const TRIES: u32 = 3;
    /// Between two tries, and between two looks for space.
    const PAUSE: Duration = Duration::from_millis(500);

    pub(super) fn new(
        options: IngestOptions,
        store: Arc<dyn EventStore>,
        policy: Policy,
        inputs: mpsc::Sender<Input>,
        pool: Arc<VerifyPool>,
        flight: Arc<InFlight>,
    ) -> Self {
        Self {
            options,
            store,
            inputs,
            pool,
            flight,
            judge: Judge::new(policy),
            group: Group::default(),
            rounds: Rounds::new(),
        }
    }

    /// Until [`Work::Stop`], or until nobody can send work any more.
    pub(super) fn run(mut self, queue: &Receiver<Work>) {
        loop {
            let next = if self.group.is_empty() {
                queue.recv_timeout(Rounds::DUE)
            } else {
                queue.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                })
            };
            match next {
                Ok(Work::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(work) => {
                    self.on_work(work);
                    if self.is_full() {
                        self.commit();
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.commit(),
            }
            let rounds = &mut self.rounds;
            let due = rounds.run(&*self.store, &mut self.judge, &mut self.group, &self.options);
            due.into_iter().for_each(|input| self.tell(input));
        }
        self.commit();
        // What a failed commit left of the ledger has one more chance.
        self.commit();
        self.flight.close();
    }

    fn is_full(&self) -> bool {
        let Some(began) = self.group.began else { return false };
        self.group.taken >= self.options.group_events || began.elapsed() >= self.options.group_age
    }

    fn on_work(&mut self, work: Work) {
        self.group.begin();
        match work {
            Work::Ticket(ticket) => self.on_ticket(ticket),
            Work::Submit { verified, reply } => self.on_submit(verified, reply),
            Work::Ledger(change) => self.group.commit.ledger.push(change),
            Work::Forget(ids) => self.group.commit.forgotten.extend(ids),
            Work::Sent(ids) => self.group.commit.sent.extend(ids),
            Work::Stop => {}
        }
    }

    fn on_ticket(&mut self, ticket: Ticket) {
        let Ticket { size, bytes, known, fresh, checks } = ticket;
        self.group.bytes += bytes;
        self.group.taken += size;
        for origin in known {
            self.group.answer(origin, Ending::Known);
        }
        let (mut fresh, mut checks) = (fresh, checks);
        while !fresh.is_empty() {
            let next = self.on_checked(fresh, checks);
            let bodies;
            (fresh, bodies) = next.into_iter().map(part).unzip();
            checks = self.pool.submit(bodies);
        }
    }

    /// Judges what passed. Answers the copies that take the place of what did not.
    fn on_checked(&mut self, fresh: Vec<Fresh>, checks: Pending) -> Vec<Arrival> {
        let began = Instant::now();
        let checked = checks.wait().unwrap_or_default();
        self.options.observer.stage(Stage::Verify, began.elapsed(), fresh.len());
        let began = Instant::now();
        let mut next = Vec::new();
        let mut checked = checked.into_iter();
        let size = fresh.len();
        for Fresh { mut origin, standing, feedback } in fresh {
            // A pool that is gone means that the process ends.
            match checked.next().unwrap_or(Err(BodyError::Malformed)) {
                Ok(verified) => {
                    self.group.flying.push(origin.id);
                    origin.gap = standing
                        .is_some_and(|standing| is_missed(&verified.event, origin.wall, &standing));
                    let candidate = Candidate { verified, origin };
                    self.judge.take(&mut self.group, candidate, None, &self.options);
                }
                Err(error) => {
                    if let (BodyError::OffFilter, Some(feedback)) = (error, feedback) {
                        feedback.off_filter();
                    }
                    self.group.answer(origin, Ending::Invalid(error));
                    next.extend(self.flight.next(&origin.id));
                }
            }
        }
        self.options.observer.stage(Stage::Judge, began.elapsed(), size);
        next
    }

    fn on_submit(&mut self, verified: Verified, reply: oneshot::Sender<Submitted>) {
        let event = &verified.event;
        let origin = Origin {
            id: event.id,
            kind: event.kind,
            created_at: event.created_at,
            wall: (self.options.wall)(),
            source: Source::Live,
            gap: false,
            from: None,
        };
        self.group.taken += 1;
        let candidate = Candidate { verified, origin };
        self.judge.take(&mut self.group, candidate, Some(reply), &self.options);
    }

    /// Makes the group durable, then tells: facts, tallies, answers.
    fn commit(&mut self) {
        if self.group.is_empty() {
            return;
        }
        let mut group = std::mem::take(&mut self.group);
        self.complete(&mut group);
        let began = Instant::now();
        let result = self.write(&group.commit);
        let events = group.commit.events.len();
        self.options.observer.stage(Stage::Commit, began.elapsed(), events);
        match result {
            Ok(report) => self.on_durable(group, report),
            Err(error) => self.on_failed(group, &error),
        }
    }

    /// What only the whole group knows.
    fn complete(&self, group: &mut Group) {
        group.commit.now = (self.options.wall)();
        group.commit.satisfied.sort_unstable();
        group.commit.satisfied.dedup();
        group.commit.wanted.sort_unstable();
        group.commit.wanted.dedup();
        for row in &mut group.commit.rejections {
            self.flight.peek(&row.event.id, |copy| {
                let relay = (self.options.relay)(copy.conn.relay);
                row.relays.extend(relay.filter(|relay| !row.relays.contains(relay)));
            });
        }
    }

    /// Waits for space as long as it takes: nothing that was received is lost (T27).
    fn write(&self, commit: &Commit) -> Result<CommitReport, StoreError> {
        let mut tries = 0;
        loop {
            let error = match self.store.commit(commit) {
                Ok(report) => return Ok(report),
                Err(error) => error,
            };
            let full = matches!(error, StoreError::Full { .. });
            self.options.observer.store_failed(full);
            tries += 1;
            if full && tries == 1 {
                tracing::error!(%error, "nothing is taken in until there is space");
            }
            let hopeless = if full { self.flight.is_closed() } else { tries >= Self::TRIES };
            if hopeless {
                return Err(error);
            }
            std::thread::sleep(Self::PAUSE);
        }
    }

    fn on_durable(&mut self, mut group: Group, report: CommitReport) {
        announce(&self.options, &group, &report);
        self.take_back(&mut group, &report);
        let last = group.sources.last().map_or(FactSource::Embedder, |(origin, _)| origin.facts());
        for row in &report.wanted {
            self.judge.hot.missed(row.kind);
        }
        let wanted = report.wanted.into_iter().map(|row| Fact::WantId {
            id: row.id,
            relays: row.relays,
            not_before: None,
        });
        group.facts.push(last, wanted.collect());
        if report.dropped.rows > 0 {
            let items = report.dropped.items.into_iter().collect();
            group.facts.push(last, Vec::from([Fact::Unproven { items }]));
        }
        self.tell_facts(std::mem::take(&mut group.facts));
        self.settle(group, Some(&report.outcomes));
    }

    /// Tells the policy what is not stored after all.
    fn take_back(&mut self, group: &mut Group, report: &CommitReport) {
        for (place, outcome) in report.outcomes.iter().enumerate() {
            if let Outcome::Gone(_) = outcome {
                let origin = &group.sources[place].0;
                let applied = self.judge.policy.remove([&origin.id]);
                group.facts.push(origin.facts(), applied.facts);
            }
        }
        if report.removed.is_empty() {
            return;
        }
        let sources: HashMap<EventId, FactSource> =
            group.sources.iter().map(|(origin, _)| (origin.id, origin.facts())).collect();
        for Removed { id, by, .. } in &report.removed {
            let from = by.and_then(|by| sources.get(&by)).copied();
            let applied = self.judge.policy.remove([id]);
            group.facts.push(from.unwrap_or(FactSource::Embedder), applied.facts);
        }
    }

    fn on_failed(&mut self, mut group: Group, error: &StoreError) {
        tracing::error!(%error, events = group.commit.events.len(), "a commit failed");
        self.read_policy_anew();
        // What the driver decided is still true, and goes with the next commit.
        self.group.commit.ledger = std::mem::take(&mut group.commit.ledger);
        self.group.commit.forgotten = std::mem::take(&mut group.commit.forgotten);
        self.group.commit.sent = std::mem::take(&mut group.commit.sent);
        self.group.begin();
        self.settle(group, None);
    }

    /// The view was ahead of the store. No fact of the group was told, so none is taken back.
    fn read_policy_anew(&mut self) {
        let mut policy = match Policy::new(&self.options.config) {
            Ok(policy) => policy,
            Err(error) => {
                tracing::error!(%error, "the policy cannot be read anew");
                return;
            }
        };
        let trusted = self.options.own_relay.is_some();
        match boot(&*self.store, &mut policy, trusted, &mut |_| ()) {
            Ok(()) => self.judge.policy = policy,
            Err(error) => tracing::error!(%error, "the policy cannot be read anew"),
        }
    }

    fn tell_facts(&self, facts: FactRuns) {
        let ids = facts.wanted_ids();
        let answers = if ids.is_empty() { Ok(Vec::new()) } else { self.store.has(&ids) };
        // A wish for what is there costs a request, a wish that is lost costs the event.
        let answers = answers.unwrap_or_default();
        let known: BTreeSet<EventId> = ids
            .into_iter()
            .zip(answers)
            .filter(|(_, k)| *k != Known::No)
            .map(|(id, _)| id)
            .collect();
        for input in facts.into_inputs(&known) {
            self.tell(input);
        }
    }

    /// Answers every arrival and submission of a group; the last that is told of it.
    fn settle(&mut self, group: Group, outcomes: Option<&[Outcome]>) {
        let mut tallies = Tallies::default();
        let mut fates = Vec::with_capacity(group.answers.len());
        for answer in &group.answers {
            let fate = Fate::of(answer.ending, outcomes);
            tallies.add(&answer.origin, fate.outcome);
            fate.observe(&self.options, &answer.origin);
            fates.push(fate);
        }
        let shared = if outcomes.is_some() { Fate::COPY } else { Fate::FAILED };
        for copy in self.flight.done(&group.flying) {
            let origin = Origin::of(&copy);
            tallies.add(&origin, shared.outcome);
            shared.observe(&self.options, &origin);
        }
        for input in tallies.into_inputs() {
            self.tell(input);
        }
        for (answer, fate) in group.answers.into_iter().zip(fates) {
            fate.reply(answer);
        }
        self.flight.leave(group.bytes);
        for class in [EventType::Announcement, EventType::State, EventType::Other] {
            self.options.observer.hot(class, self.judge.hot.counts(class));
        }
        self.options.observer.policy(self.judge.policy.counts());
    }

    fn tell(&self, input: Input) {
        // Without a driver the process ends; what is lost is known from the ledger.
        let _ = self.inputs.blocking_send(input);
    }
}
