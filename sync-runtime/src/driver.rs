//! The one task that owns the core. It waits for an input or the next deadline, samples the
//! clock, records, handles, and hands commands on. It never awaits a socket, a disk or a lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use nostr::types::Timestamp;
use sync_core::command::Command;
use sync_core::event::Event;
use sync_core::explain::{Explanation, Progress};
use sync_core::id::ConnId;
use sync_core::input::{Input, Operator};
use sync_core::url::RelayUrl;
use sync_core::{Config, SyncCore};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::api::WallMs;
use crate::clock::Clock;
use crate::connection::{ConnCommand, ConnContext, ConnHandle};
use crate::ingest::LedgerWriter;
use crate::observe::Registry;
use crate::recorder::Recording;

/// Inputs that are handled before requests and deadlines get their turn again.
const BATCH: usize = 256;

/// What the rest of the process asks of the core.
#[derive(Debug)]
pub(crate) enum Request {
    /// Take an operator's wish; answered when the core took it.
    Operator(Operator, oneshot::Sender<bool>),
    /// Explain a relay.
    Explain(RelayUrl, oneshot::Sender<Option<Explanation>>),
    /// Explain every relay.
    ExplainAll(oneshot::Sender<Vec<Explanation>>),
    /// Count what is wanted.
    Counts(oneshot::Sender<(usize, usize)>),
}

/// The ends of the queues that the driver holds.
pub(crate) struct Ends {
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) progress: watch::Sender<Progress>,
    /// The writer that also commits events.
    pub(crate) ledger: LedgerWriter,
    /// Whether boot is over.
    pub(crate) ready: watch::Sender<bool>,
}

/// The driver.
pub(crate) struct Driver {
    core: SyncCore,
    clock: Clock,
    recording: Option<Recording>,
    connections: BTreeMap<ConnId, ConnHandle>,
    context: Arc<ConnContext>,
    registry: Registry,
    ends: Ends,
    ended: bool,
    /// Whether something happened that may end a single run.
    look: bool,
}

impl Driver {
    pub(crate) fn new(
        config: Config,
        seed: u64,
        wall: Timestamp,
        recording: Option<Recording>,
        context: Arc<ConnContext>,
        registry: Registry,
        ends: Ends,
    ) -> Self {
        Self {
            core: SyncCore::new(config, seed, wall),
            clock: Clock::start(),
            recording,
            connections: BTreeMap::new(),
            context,
            registry,
            ends,
            ended: false,
            look: true,
        }
    }

    /// Runs until the core ended (L5) or every sender of inputs is gone.
    pub(crate) async fn run(mut self) {
        let mut inputs = Vec::with_capacity(BATCH);
        while !self.ended {
            let deadline = self.core.next_deadline().map(|deadline| self.clock.at(deadline.at));
            tokio::select! {
                biased;
                Some(request) = self.ends.requests.recv() => self.on_request(request),
                count = self.ends.inputs.recv_many(&mut inputs, BATCH) => {
                    if count == 0 {
                        break;
                    }
                    self.follow_wall();
                    inputs.drain(..).for_each(|input| self.step(input));
                }
                () = sleep_until(deadline) => {
                    self.follow_wall();
                    self.step(Input::Tick);
                }
            }
            self.tell_progress();
        }
        if let Some(recording) = self.recording.take() {
            // Writing the rest blocks; the core has ended, nothing waits for this task.
            let _ = tokio::task::spawn_blocking(move || recording.end()).await;
        }
    }

    /// Tells the core of the wall clock when it is a second off what the core assumes (T25).
    fn follow_wall(&mut self) {
        let wall = Clock::wall();
        if self.core.wall_now().as_secs().abs_diff(wall.as_secs()) > 1 {
            self.step(Input::WallClock(wall));
        }
    }

    fn step(&mut self, input: Input) {
        let now = self.clock.now();
        if input == Input::Booted {
            self.ends.ready.send_replace(true);
        }
        match &mut self.recording {
            None => {
                self.core.handle(now, input);
                while let Some(command) = self.core.poll_command() {
                    self.run_command(command);
                }
            }
            Some(recording) => {
                let commands = sync_core::step(&mut self.core, now, input.clone());
                recording.step(now, &input, &commands, self.core.next_deadline());
                commands.into_iter().for_each(|command| self.run_command(command));
            }
        }
    }

    fn run_command(&mut self, command: Command) {
        match command {
            Command::Dial { conn, url, trusted } => self.dial(conn, url, trusted),
            Command::Hangup { conn } => self.send(conn, ConnCommand::Close),
            Command::Subscribe { conn, sub, filters, purpose } => {
                self.send(conn, ConnCommand::Subscribe { sub, filters, purpose });
            }
            Command::Unsubscribe { conn, sub } => self.send(conn, ConnCommand::Unsubscribe { sub }),
            Command::Reconcile { conn, neg, filter, range, limits } => {
                self.send(conn, ConnCommand::Reconcile { neg, filter, range, limits });
            }
            Command::StopReconcile { conn, neg } => {
                self.send(conn, ConnCommand::StopReconcile { neg });
            }
            Command::Authenticate { conn, challenge } => {
                self.send(conn, ConnCommand::Authenticate { challenge });
            }
            Command::Publish { conn, ids } => self.send(conn, ConnCommand::Publish { ids }),
            Command::Persist(change) => self.ends.ledger.persist(change),
            Command::Emit(event) => self.on_event(event),
        }
    }

    fn dial(&mut self, conn: ConnId, url: RelayUrl, trusted: bool) {
        let observer = self.registry.connection(conn.relay);
        // An earlier connection of the relay is over: its handle ends with the new one.
        self.connections.retain(|old, _| old.relay != conn.relay);
        let handle = self.context.open(conn, url, trusted, observer);
        self.connections.insert(conn, handle);
    }

    fn send(&self, conn: ConnId, command: ConnCommand) {
        if let Some(connection) = self.connections.get(&conn) {
            connection.send(command);
        }
    }

    fn on_event(&mut self, event: Event) {
        let at = WallMs::from(std::time::SystemTime::now());
        self.registry.on_event(&event, at);
        log(&event, &self.core);
        match &event {
            Event::Ended => self.ended = true,
            Event::ConnectionEnded { relay, .. } => {
                self.connections.retain(|conn, _| conn.relay != *relay);
                self.look = true;
            }
            _ => self.look = true,
        }
        // Nobody may listen.
        let _ = self.ends.events.send(event);
    }

    fn on_request(&mut self, request: Request) {
        // Whoever asked may be gone.
        match request {
            Request::Operator(operator, reply) => {
                let known =
                    operator_relay(&operator).is_none_or(|url| self.core.relay_id(url).is_some());
                if known {
                    self.step(Input::Operator(operator));
                }
                let _ = reply.send(known);
            }
            Request::Explain(url, reply) => {
                let relay = self.core.relay_id(&url);
                let _ = reply.send(relay.and_then(|relay| self.core.explain(relay)));
            }
            Request::ExplainAll(reply) => {
                let ids: Vec<_> = self.core.relays().map(|(relay, _)| relay).collect();
                let all = ids.into_iter().filter_map(|relay| self.core.explain(relay)).collect();
                let _ = reply.send(all);
            }
            Request::Counts(reply) => {
                let _ = reply.send(self.core.wanted_counts());
            }
        }
    }

    /// A single run looks whether it is over (DISC-10).
    fn tell_progress(&mut self) {
        if self.core.config().once && std::mem::take(&mut self.look) {
            self.ends.progress.send_replace(self.core.progress());
        }
    }
}

/// The relay that must be known for a request to make sense.
fn operator_relay(operator: &Operator) -> Option<&RelayUrl> {
    match operator {
        Operator::AddRelay(_) | Operator::SyncNow | Operator::Shutdown => None,
        Operator::RemoveRelay(url)
        | Operator::Pause(url)
        | Operator::Resume(url)
        | Operator::Retry(url)
        | Operator::Resync(url)
        | Operator::AcceptGap { relay: url, .. } => Some(url),
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What a person would read of an event.
fn log(event: &Event, core: &SyncCore) {
    let url = |relay| core.relay_url(relay).map(RelayUrl::as_str).unwrap_or("?");
    match event {
        Event::StatusChanged { relay, from, to, reason } => tracing::info!(
            relay = url(*relay),
            from = from.as_str(),
            to = to.as_str(),
            reason = reason.as_str(),
            "status changed"
        ),
        Event::DialEnded { relay, result: Err(error), failures, retry_in_ms } => tracing::warn!(
            relay = url(*relay),
            %error,
            failures,
            retry_in_ms,
            "cannot connect"
        ),
        Event::GapOpened { relay, reason, range, items, detail, .. } => tracing::warn!(
            relay = url(*relay),
            reason = reason.as_str(),
            %range,
            items,
            detail = detail.as_str(),
            "history is missing"
        ),
        Event::RateLimited { relay, text, cooldown_ms } => tracing::warn!(
            relay = url(*relay),
            text = text.as_str(),
            cooldown_ms,
            "the relay asks for less"
        ),
        Event::Notice { relay, text } => {
            tracing::debug!(relay = url(*relay), text = text.as_str(), "notice");
        }
        event => tracing::debug!(?event, "event"),
    }
}
