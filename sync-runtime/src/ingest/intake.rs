//! Takes arrivals in batches, drops what is known unread, and has the rest checked.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use nostr::event::EventId;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use super::flight::InFlight;
use super::observer::{Observer, Stage};
use super::outgoing::Origin;
use super::writer::{Ticket, Work};
use crate::connection::{Arrival, Feedback, Standing};
use crate::store::{EventStore, Known};
use crate::verify::{Body, VerifyPool};

/// The intake thread.
pub(super) struct Intake {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) pool: Arc<VerifyPool>,
    pub(super) flight: Arc<InFlight>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) work: Sender<Work>,
    pub(super) stop: CancellationToken,
}

impl Intake {
    /// Arrivals of one batch.
    const BATCH: usize = 256;

    /// Until it is stopped, nobody can send any more, or the writer is gone.
    pub(super) fn run(self, runtime: &Runtime, mut arrivals: Receiver<Arrival>) {
        loop {
            let mut batch = Vec::with_capacity(Self::BATCH);
            let more = self.stop.run_until_cancelled(arrivals.recv_many(&mut batch, Self::BATCH));
            if runtime.block_on(more).is_none_or(|received| received == 0) {
                return;
            }
            batch.iter_mut().for_each(|arrival| arrival.place = None);
            let bytes = batch.iter().map(|arrival| arrival.json.len() as u64).sum();
            if !self.flight.enter(bytes) {
                return;
            }
            let ticket = self.ticket(batch, bytes);
            if self.work.send(Work::Ticket(ticket)).is_err() {
                return;
            }
        }
    }

    fn ticket(&self, batch: Vec<Arrival>, bytes: u64) -> Ticket {
        let size = batch.len();
        let (known, fresh) = self.look_up(batch);
        let fresh = self.flight.first(fresh);
        let (fresh, bodies) = fresh.into_iter().map(part).unzip();
        let checks = self.pool.submit(bodies);
        Ticket { size, bytes, known, fresh, checks }
    }

    /// What is stored or rejected by its claimed id, and the rest.
    fn look_up(&self, batch: Vec<Arrival>) -> (Vec<Origin>, Vec<Arrival>) {
        let began = Instant::now();
        let ids: Vec<EventId> = batch.iter().map(|arrival| arrival.envelope.id).collect();
        let answers = self.store.has(&ids).unwrap_or_else(|error| {
            // Nothing is lost: what is known is a duplicate at the commit as well.
            tracing::warn!(%error, "cannot ask the store what is known");
            Vec::new()
        });
        self.observer.stage(Stage::Known, began.elapsed(), batch.len());
        let mut known = Vec::new();
        let mut fresh = Vec::with_capacity(batch.len());
        for (n, arrival) in batch.into_iter().enumerate() {
            match answers.get(n) {
                Some(Known::Stored | Known::Gone(_)) => known.push(Origin::of(&arrival)),
                Some(Known::No) | None => fresh.push(arrival),
            }
        }
        (known, fresh)
    }
}

/// What is left of an arrival while its body is checked.
pub(super) struct Fresh {
    pub(super) origin: Origin,
    pub(super) standing: Option<Arc<[Standing]>>,
    pub(super) feedback: Option<Feedback>,
}

pub(super) fn part(arrival: Arrival) -> (Fresh, Body) {
    let origin = Origin::of(&arrival);
    let Arrival { standing, feedback, json, envelope, filters, .. } = arrival;
    let body = Body { json, claim: envelope, filters: Some(filters) };
    (Fresh { origin, standing, feedback }, body)
}
