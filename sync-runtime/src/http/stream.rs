//! `GET /v1/stream`: what happens, as server-sent events. A client gets a snapshot first, then
//! entries as they come and once a second what changed; one that comes back with `Last-Event-ID`
//! goes on where it was. Changes may be skipped, entries are not: who falls behind is told.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Request, Response, StatusCode};
use serde::Serialize;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::answer::{Body, Refusal, respond};
use super::route::Routes;
use crate::api::{Changes, RelayView, Status, WallMs};
use crate::observe::{Position, StreamClient};

/// Entries read at once.
const READ_MAX: usize = 64;
/// How often changes are looked for.
const TICK: Duration = Duration::from_secs(1);
/// A comment is sent after so long without anything.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// One client.
struct Client {
    routes: Arc<Routes>,
    boot: String,
    types: Option<Vec<String>>,
    position: Position,
    seen: BTreeMap<String, RelayView>,
    totals: Option<Changes>,
    out: VecDeque<String>,
    tick: Interval,
    last: Instant,
    ended: bool,
    counted: StreamClient,
}

impl Routes {
    /// Answers with the stream.
    pub(super) async fn stream(
        self: &Arc<Self>,
        request: &Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let counted = self.registry().stream_client().ok_or_else(|| {
            let message = "too many clients read the stream";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
        })?;
        let boot = format!("{:x}", self.registry().started().0);
        let last = request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        tick.reset();
        let mut client = Client {
            routes: self.clone(),
            types: types(request.uri().query()),
            position: self.registry().position(None),
            seen: BTreeMap::new(),
            totals: None,
            out: VecDeque::from(["retry: 2000\n\n".to_owned()]),
            tick,
            last: Instant::now(),
            ended: false,
            boot,
            counted,
        };
        client.begin(last).await?;
        let frames = stream::unfold(client, |mut client| async {
            let text = client.next().await?;
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), client))
        });
        let body = StreamBody::new(frames).boxed_unsync();
        Ok(respond(StatusCode::OK, "text/event-stream", body))
    }
}

impl Client {
    async fn begin(&mut self, last: Option<&str>) -> Result<(), Refusal> {
        let hello = serde_json::json!({
            "schema": "ngit-sync/stream/1", "boot": self.boot, "daemon": self.routes.daemon(),
        });
        self.push("hello", 0, &hello);
        let Some(last) = last else { return self.snapshot(self.position.seq()).await };
        let resumed = last
            .split_once('-')
            .filter(|(boot, _)| *boot == self.boot)
            .and_then(|(_, seq)| seq.parse().ok());
        if let Some(seq) = resumed {
            self.position = self.routes.registry().position(Some(seq));
            return Ok(());
        }
        self.push("reset", 0, &serde_json::json!({ "reason": "another process answers" }));
        self.snapshot(self.position.seq()).await
    }

    /// Queues a snapshot; a client that has it goes on after entry `seq`.
    async fn snapshot(&mut self, seq: u64) -> Result<(), Refusal> {
        let status = self.routes.recent_status().await?;
        self.changes(&status, false);
        if self.wants("snapshot") {
            self.push("snapshot", seq, &*status);
        }
        Ok(())
    }

    /// The next piece of text, when there is one.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(text) = self.out.pop_front() {
                self.last = Instant::now();
                return Some(text);
            }
            if self.ended {
                return None;
            }
            let stop = self.routes.stop().clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => self.end(),
                more = self.position.wait() => {
                    if more { self.entries().await } else { self.end() }
                }
                _ = self.tick.tick() => self.tick().await,
            }
        }
    }

    fn end(&mut self) {
        self.push("bye", 0, &serde_json::json!({}));
        self.ended = true;
    }

    async fn entries(&mut self) {
        let found = self.routes.registry().read(&mut self.position, READ_MAX);
        if found.missed > 0 {
            self.counted.dropped(found.missed);
            self.push("dropped", 0, &serde_json::json!({ "n": found.missed }));
            // Without an answer of the daemon the next change tells.
            let before = self.position.seq() - found.entries.len() as u64;
            let _ = self.snapshot(before).await;
        }
        for entry in found.entries {
            let kind = entry.what.kind();
            if self.wants(kind) {
                let id = format!("{}-{}", self.boot, entry.seq);
                self.out.push_back(event(kind, Some(&id), &*entry));
            }
        }
    }

    async fn tick(&mut self) {
        let silent = self.last.elapsed() >= HEARTBEAT;
        if self.wants("counters")
            && let Ok(status) = self.routes.recent_status().await
            && let Some(changes) = self.changes(&status, silent)
        {
            self.push("counters", 0, &changes);
        }
        if self.out.is_empty() && silent {
            self.out.push_back(": alive\n\n".into());
        }
    }

    /// What differs from what this client was told last; all of it counts as told. Nothing, unless
    /// `anyway`, when there is no difference: a script cannot hear comments, so the heartbeat of a
    /// client that wants changes is one.
    fn changes(&mut self, status: &Status, anyway: bool) -> Option<Changes> {
        let mut changes = Changes {
            phase: status.phase,
            counts: status.counts,
            events_synced: status.events_synced,
            store_events: status.store.events,
            queued: status.queues.iter().map(|queue| queue.depth).sum(),
            ..Changes::default()
        };
        for relay in &status.relays {
            let told = self.seen.get(relay.url.as_str());
            if told.is_none_or(|told| differs(told, relay)) {
                self.seen.insert(relay.url.to_string(), relay.clone());
                changes.relays.push(relay.clone());
            }
        }
        self.seen.retain(|url, told| {
            let known = status.relays.iter().any(|relay| relay.url.as_str() == url);
            if !known {
                changes.gone.push(told.url.clone());
            }
            known
        });
        let totals = Changes { relays: Vec::new(), gone: Vec::new(), ..changes.clone() };
        let same = self.totals.replace(totals.clone()) == Some(totals);
        changes.at_ms = self.routes.registry().now();
        let news = !same || !changes.relays.is_empty() || !changes.gone.is_empty();
        (news || anyway).then_some(changes)
    }

    fn wants(&self, kind: &str) -> bool {
        self.types.as_ref().is_none_or(|types| types.iter().any(|wanted| wanted == kind))
    }

    /// Queues an event; a client that has it goes on after entry `seq`, unless that is zero.
    fn push(&mut self, kind: &str, seq: u64, data: &impl Serialize) {
        let id = format!("{}-{seq}", self.boot);
        self.out.push_back(event(kind, (seq > 0).then_some(&id), data));
    }
}

/// Whether a client should be told; that a countdown went on is no change.
fn differs(told: &RelayView, now: &RelayView) -> bool {
    let same = told.retry_in_s.is_some() == now.retry_in_s.is_some();
    !same
        || RelayView { retry_in_s: None, ..told.clone() }
            != RelayView { retry_in_s: None, ..now.clone() }
}

fn event(kind: &str, id: Option<&String>, data: &impl Serialize) -> String {
    let data = serde_json::to_string(data).expect("documents have string keys only");
    let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
    format!("event: {kind}\n{id}data: {data}\n\n")
}

/// `types` of the query: those asked for, or all.
fn types(query: Option<&str>) -> Option<Vec<String>> {
    let types = query?.split('&').find_map(|pair| pair.strip_prefix("types="))?;
    Some(types.split(',').filter(|kind| !kind.is_empty()).map(str::to_owned).collect())
}

/// A status that may be shared for a moment by those who read at once.
pub(super) struct Recent {
    slot: tokio::sync::Mutex<Option<(WallMs, Arc<Status>)>>,
}

impl Recent {
    /// How long it is shared.
    const SHARED: Duration = Duration::from_millis(900);

    pub(super) fn new() -> Self {
        Self { slot: tokio::sync::Mutex::new(None) }
    }
}

impl Routes {
    /// The status of this moment, or of less than a second ago.
    pub(super) async fn recent_status(&self) -> Result<Arc<Status>, Refusal> {
        let mut slot = self.recent().slot.lock().await;
        let now = self.registry().now();
        if let Some((at, status)) = slot.as_ref()
            && now >= *at
            && now.since(*at) < Recent::SHARED
        {
            return Ok(status.clone());
        }
        let status = Arc::new(self.status().await?);
        *slot = Some((now, status.clone()));
        Ok(status)
    }
}
