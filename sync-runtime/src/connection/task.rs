//! The loop of one connection, from its dial to its end.

use std::collections::BTreeMap;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use nostr::filter::Filter;
use nostr::types::Timestamp;
use sync_core::admit::meter::Meter;
use sync_core::command::Purpose;
use sync_core::config::Config;
use sync_core::id::{ConnId, SubId};
use sync_core::input::{CloseReason, Input};
use sync_core::item::RelayText;
use sync_core::tally::{EventTally, SettleTally};
use sync_core::time::Instant as CoreInstant;
use sync_core::url::RelayUrl;
use sync_core::wire;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::PollSender;
use tokio_util::task::AbortOnDropHandle;

use super::auth::Auth;
use super::link::{Link, Pumped};
use super::pulse::{Beat, Pulse};
use super::queue::{Commands, Feedback};
use super::sessions::{Outcome, Sessions, Worked};
use super::{Arrival, ConnCommand, ConnContext, ConnObserver, RelayInfo, Standing, info};
use crate::transport::{self, Socket};

/// F2.
const FLUSH_AFTER: Duration = Duration::from_millis(20);
/// Messages that are read before commands and timers are looked at again.
const READ_AT_ONCE: usize = 64;

/// What a task begins with.
pub(super) struct Start {
    pub(super) context: Arc<ConnContext>,
    pub(super) conn: ConnId,
    pub(super) url: RelayUrl,
    pub(super) trusted: bool,
    pub(super) observer: Arc<dyn ConnObserver>,
    pub(super) commands: Commands,
}

/// An open subscription.
pub(super) struct OpenSub {
    pub(super) filters: Arc<[Filter]>,
    purpose: Purpose,
    asked_at: Option<Instant>,
    /// The EOSE of a live request, by the wall clock.
    standing_since: Option<Timestamp>,
}

/// A dialed connection.
pub(super) struct Connection {
    pub(super) context: Arc<ConnContext>,
    pub(super) conn: ConnId,
    pub(super) url: RelayUrl,
    pub(super) observer: Arc<dyn ConnObserver>,
    pub(super) meter: Meter,
    pub(super) subs: BTreeMap<SubId, OpenSub>,
    /// Of those the live ones that were answered; `None` when there is none.
    pub(super) standing: Option<Arc<[Standing]>>,
    /// Our share of the intake (T9).
    pub(super) places: Arc<Semaphore>,
    pub(super) feedback: Feedback,
    pub(super) sessions: Sessions,
    pub(super) auth: Auth,
    /// The event that did not fit into the intake: while it is held nothing is read.
    pub(super) held: Option<Arrival>,
    /// Off-filter events since the last flush: they are settled by us.
    pub(super) off_filter: BTreeMap<SubId, u32>,
    /// Filled by the meter, sent at once.
    pub(super) tallies: Vec<EventTally>,
    link: Link,
    pulse: Pulse,
    flush_at: Option<Instant>,
    began: Instant,
}

type Result<T = ()> = std::result::Result<T, CloseReason>;

/// Runs a connection to its end; a panic ends this connection only (T20).
pub(super) async fn run(start: Start) {
    let (conn, inputs) = (start.conn, start.context.inputs.clone());
    let reason = match AssertUnwindSafe(live(start)).catch_unwind().await {
        Ok(Some(reason)) => reason,
        Ok(None) => return,
        Err(_) => CloseReason::Io(RelayText::new("internal error: the connection's task panicked")),
    };
    // Without a driver nobody is left to tell.
    let _ = inputs.send(Input::Closed { conn, reason }).await;
}

/// Dials and lives; `None` when the dial failed, which says itself.
async fn live(mut start: Start) -> Option<CloseReason> {
    let limits = &start.context.config.limits;
    let message_max = limits.event_bytes.0.max(limits.neg_bytes.0).max(limits.frame_bytes.0);
    let dial =
        transport::dial(&start.context.dialer, &start.url, start.trusted, message_max as usize);
    let dialed = tokio::select! {
        dialed = dial => dialed,
        // Only a hangup names a connection before it is dialed (S5).
        _ = start.commands.next() => return Some(CloseReason::Local),
    };
    let (conn, inputs) = (start.conn, start.context.inputs.clone());
    match dialed {
        Ok((socket, timings)) => {
            start.observer.dialed(&timings);
            inputs.send(Input::Dialed { conn, result: Ok(()) }).await.ok()?;
            let info = fetch_info(&start);
            let (connection, worked) = Connection::new(&start, socket);
            Some(connection.run(start.commands, worked, info).await)
        }
        Err(error) => {
            inputs.send(Input::Dialed { conn, result: Err(error) }).await.ok()?;
            None
        }
    }
}

fn fetch_info(start: &Start) -> AbortOnDropHandle<Option<RelayInfo>> {
    let (context, url, trusted) = (Arc::clone(&start.context), start.url.clone(), start.trusted);
    AbortOnDropHandle::new(tokio::spawn(async move {
        info::fetch(&context.dialer, &url, trusted).await
    }))
}

impl Connection {
    fn new(start: &Start, socket: Socket) -> (Self, mpsc::Receiver<Worked>) {
        let Config { dial, limits, .. } = &*start.context.config;
        let began = Instant::now();
        let (sessions, worked) = Sessions::new(start.conn);
        let share = start.context.intake.max_capacity() * limits.verify_share_percent as usize;
        let connection = Self {
            context: Arc::clone(&start.context),
            conn: start.conn,
            url: start.url.clone(),
            observer: Arc::clone(&start.observer),
            meter: Meter::new(start.conn, limits),
            subs: BTreeMap::new(),
            standing: None,
            places: Arc::new(Semaphore::new(share.div_ceil(100).max(1))),
            feedback: start.commands.feedback(),
            sessions,
            auth: Auth::default(),
            held: None,
            off_filter: BTreeMap::new(),
            tallies: Vec::new(),
            link: Link::new(socket, Arc::clone(&start.observer)),
            pulse: Pulse::new(*dial.ping_interval, *dial.dead_after_silence, began),
            flush_at: None,
            began,
        };
        (connection, worked)
    }

    async fn run(
        mut self,
        mut commands: Commands,
        mut worked: mpsc::Receiver<Worked>,
        mut info: AbortOnDropHandle<Option<RelayInfo>>,
    ) -> CloseReason {
        let mut intake = PollSender::new(self.context.intake.clone());
        let places = Arc::clone(&self.places);
        let mut timer = pin!(sleep_until(self.deadline()));
        let overflow = commands.overflow();
        let mut informed = false;
        let reason = loop {
            let deadline = self.deadline();
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            let (idle, reading) = (self.link.is_idle(), self.held.is_none());
            let step = tokio::select! {
                () = overflow.cancelled() => Err(CloseReason::SendQueueFull),
                command = commands.next(), if idle => self.on_command(command).await,
                pumped = self.link.pump(reading) => self.on_pumped(pumped).await,
                Some(done) = worked.recv() => self.on_worked(done).await,
                place = room(&places, &mut intake), if !reading => {
                    self.on_room(place, &mut intake).await
                }
                info = &mut info, if !informed => {
                    informed = true;
                    self.on_info(info.ok().flatten()).await
                }
                () = &mut timer => self.on_deadline(&commands).await,
            };
            if let Err(reason) = step {
                break reason;
            }
        };
        self.end(reason).await
    }

    /// F3: the last tallies precede the end. What the intake has no room for is not settled, so
    /// nothing of it is confirmed (S6).
    async fn end(mut self, reason: CloseReason) -> CloseReason {
        let _ = self.flush().await;
        if matches!(reason, CloseReason::Local | CloseReason::Remote(_) | CloseReason::Flood) {
            let drain = *self.context.config.dial.drain;
            let _ = timeout(drain, self.link.close()).await;
        }
        self.link.report_traffic();
        reason
    }

    async fn on_command(&mut self, command: ConnCommand) -> Result {
        match command {
            ConnCommand::Subscribe { sub, filters, purpose } => {
                self.meter.on_subscribe(sub, &filters, purpose);
                self.link.push("REQ", wire::req(sub, &filters));
                let (filters, asked_at) = (filters.into(), Some(Instant::now()));
                let open = OpenSub { filters, purpose, asked_at, standing_since: None };
                self.subs.insert(sub, open);
                Ok(())
            }
            ConnCommand::Unsubscribe { sub } => self.unsubscribe(sub).await,
            ConnCommand::Reconcile { neg, filter, range, limits } => {
                self.sessions.begin(neg, filter, range, limits, &self.context.have);
                Ok(())
            }
            ConnCommand::StopReconcile { neg } => {
                if self.sessions.remove(neg) {
                    self.link.push("NEG-CLOSE", wire::neg_close(neg));
                }
                Ok(())
            }
            ConnCommand::Authenticate { challenge } => {
                self.auth.answer(challenge, Instant::now());
                Ok(())
            }
            ConnCommand::Publish { ids } => {
                let bodies = Arc::clone(&self.context.bodies);
                let read = tokio::task::spawn_blocking(move || {
                    ids.iter().map(|id| bodies.event_json(id)).collect::<io::Result<Vec<_>>>()
                });
                let bodies = read.await.map_err(|_| store_failed("reading panicked"))?;
                for json in bodies.map_err(|error| store_failed(&error.to_string()))? {
                    // An event that is gone since is not sent; the outbox sees no OK for it.
                    self.link.push_all(json.map(|json| ("EVENT", wire::event(&json))));
                }
                Ok(())
            }
            ConnCommand::Close => Err(CloseReason::Local),
        }
    }

    /// Sends CLOSE once; what is still on its way is excused.
    pub(super) async fn unsubscribe(&mut self, sub: SubId) -> Result {
        if self.subs.contains_key(&sub) {
            self.link.push("CLOSE", wire::close(sub));
            self.forget(sub);
            self.send_tallies().await?;
        }
        Ok(())
    }

    /// A subscription, or session of that number, is over.
    pub(super) fn forget(&mut self, sub: SubId) {
        if self.subs.remove(&sub).is_some_and(|open| open.standing_since.is_some()) {
            self.note_standing();
        }
        self.meter.on_unsubscribe(sub, &mut self.tallies);
        self.sessions.remove(sync_core::id::NegId(sub.0));
    }

    /// The EOSE of a subscription came: a live one stands from now on.
    pub(super) fn on_answered(&mut self, sub: SubId) {
        if let Some(open) = self.subs.get_mut(&sub)
            && open.purpose == Purpose::Live
            && open.standing_since.is_none()
        {
            open.standing_since = Some(Timestamp::now());
            self.note_standing();
        }
    }

    fn note_standing(&mut self) {
        let open = self.subs.values().filter_map(|open| {
            Some(Standing { since: open.standing_since?, filters: Arc::clone(&open.filters) })
        });
        let standing: Arc<[Standing]> = open.collect();
        self.standing = (!standing.is_empty()).then_some(standing);
    }

    async fn on_pumped(&mut self, pumped: Pumped) -> Result {
        let mut next = Some(pumped);
        let mut left = READ_AT_ONCE;
        while let Some(pumped) = next {
            self.on_one(pumped).await?;
            left -= 1;
            // A timer is made anew for every wait; while messages are there none is needed.
            next = if left > 0 && self.held.is_none() { self.link.try_read() } else { None };
        }
        Ok(())
    }

    async fn on_one(&mut self, pumped: Pumped) -> Result {
        match pumped {
            Pumped::Message(Message::Text(text)) => self.on_text(text.as_str()).await,
            Pumped::Message(Message::Pong(payload)) => {
                if let Some(rtt) = self.pulse.on_pong(&payload, Instant::now()) {
                    self.observer.rtt(rtt);
                }
                Ok(())
            }
            Pumped::Message(Message::Close(frame)) => {
                let text = frame.map(|frame| format!("{} {}", frame.code, frame.reason));
                Err(CloseReason::Remote(RelayText::new(&text.unwrap_or_default())))
            }
            Pumped::Message(Message::Binary(_)) => {
                self.observer.malformed(wire::FrameType::Unknown);
                Ok(())
            }
            Pumped::Message(Message::Ping(_) | Message::Frame(_)) | Pumped::Written => Ok(()),
            Pumped::Ended => Err(CloseReason::Remote(RelayText::default())),
            Pumped::Failed(error) => Err(close_reason(&error)),
        }
    }

    async fn on_worked(&mut self, worked: Worked) -> Result {
        match self.sessions.on_worked(worked) {
            Ok(outcome) => self.act(outcome).await,
            Err(error) => Err(store_failed(&error.to_string())),
        }
    }

    pub(super) async fn act(&mut self, outcome: Outcome) -> Result {
        self.link.push_all(outcome.frames);
        match outcome.input {
            Some(input) => {
                self.flush().await?;
                self.tell(input).await
            }
            None => Ok(()),
        }
    }

    async fn on_room(
        &mut self,
        place: Option<OwnedSemaphorePermit>,
        intake: &mut PollSender<Arrival>,
    ) -> Result {
        if let (Some(place), Some(mut arrival)) = (place, self.held.take()) {
            arrival.place = Some(Arc::new(place));
            intake.send_item(arrival).map_err(|_| CloseReason::Local)?;
            self.pulse.resume(Instant::now());
            return self.tell(Input::Flowing { conn: self.conn }).await;
        }
        Err(CloseReason::Local)
    }

    async fn on_info(&mut self, info: Option<RelayInfo>) -> Result {
        let Some(RelayInfo { limits, self_key, .. }) = info else {
            self.observer.info_failed();
            return Ok(());
        };
        self.tell(Input::RelayInfo { conn: self.conn, limits, self_key }).await
    }

    fn deadline(&self) -> Instant {
        // While we do not read, its silence is ours (CONN-7).
        let pulse = self.held.is_none().then(|| self.pulse.deadline());
        let far = self.began + Duration::from_secs(86_400 * 365);
        let due = [pulse, self.flush_at, self.auth.deadline()];
        due.into_iter().flatten().min().unwrap_or(far)
    }

    async fn on_deadline(&mut self, commands: &Commands) -> Result {
        let now = Instant::now();
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush().await?;
            let foreign = commands.take_off_filter();
            if foreign > 0 && self.meter.on_off_filter(self.elapsed(), foreign).is_some() {
                return Err(CloseReason::Flood);
            }
        }
        if let Some(frame) = self.auth.poll(&self.url, self.context.keys.get(&self.url), now) {
            self.link.push("AUTH", frame);
        }
        if self.held.is_some() {
            return Ok(());
        }
        match self.pulse.beat(self.link.traffic().received(), now) {
            Beat::Quiet => Ok(()),
            Beat::Ping(payload) => {
                self.link.ping(payload);
                self.link.report_traffic();
                Ok(())
            }
            Beat::Dead => Err(CloseReason::Silence),
        }
    }

    /// Starts the clock of F2, if anything waits for it.
    pub(super) fn arm_flush(&mut self) {
        if self.flush_at.is_none() {
            self.flush_at = Some(Instant::now() + FLUSH_AFTER);
        }
    }

    /// Sends what was received since the last time (F1, F2).
    pub(super) async fn flush(&mut self) -> Result {
        self.meter.flush(&mut self.tallies);
        self.send_tallies().await
    }

    /// Sends the tallies that the meter pushed, and settles what we dropped ourselves after them.
    pub(super) async fn send_tallies(&mut self) -> Result {
        if !self.meter.has_pending() {
            self.flush_at = None;
        }
        for tally in std::mem::take(&mut self.tallies) {
            self.tell(Input::Events(tally)).await?;
        }
        if self.meter.has_pending() {
            return Ok(());
        }
        let conn = Some(self.conn);
        for (sub, off_filter) in std::mem::take(&mut self.off_filter) {
            let sub = Some(sub);
            let settled = SettleTally { conn, sub, off_filter, ..SettleTally::default() };
            self.tell(Input::Settled(settled)).await?;
        }
        Ok(())
    }

    pub(super) async fn tell(&self, input: Input) -> Result {
        self.context.inputs.send(input).await.map_err(|_| CloseReason::Local)
    }

    /// The time of the connection, for the meter.
    pub(super) fn elapsed(&self) -> CoreInstant {
        CoreInstant::ZERO + self.began.elapsed()
    }

    /// A request has its first EVENT or EOSE.
    pub(super) fn first_answer(&mut self, sub: SubId) {
        let Some(open) = self.subs.get_mut(&sub) else { return };
        if let Some(asked) = open.asked_at.take() {
            self.observer.first_answer(Some(open.purpose), asked.elapsed());
        }
    }
}

/// Waits for a place within our share, then for room in the intake. Cancel safe.
async fn room(
    places: &Arc<Semaphore>,
    intake: &mut PollSender<Arrival>,
) -> Option<OwnedSemaphorePermit> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    std::future::poll_fn(|cx| intake.poll_reserve(cx)).await.ok()?;
    Some(place)
}

fn store_failed(what: &str) -> CloseReason {
    CloseReason::Io(RelayText::new(&format!("the store cannot be read: {what}")))
}

/// Why the socket failed, by the type of the error.
fn close_reason(error: &Error) -> CloseReason {
    let text = RelayText::new(&error.to_string());
    match error {
        Error::Capacity(_) => CloseReason::Oversize,
        Error::ConnectionClosed | Error::AlreadyClosed => CloseReason::Remote(text),
        Error::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        )
        | Error::Io(_) => CloseReason::Io(text),
        _ => CloseReason::Protocol(text),
    }
}
