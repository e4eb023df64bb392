//! The routes: which request is answered by what.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use sync_core::id::RowId;
use sync_core::input::Operator;
use sync_core::url::RelayUrl;
use tokio_util::sync::CancellationToken;

use super::answer::{Body, Refusal, bytes, document};
use super::control::{Answer, Control, ControlError};
use super::guard::{Door, Guard};
use super::query::decode;
use super::stream::Recent;
use super::{Options, explain, page, relay_name};
use crate::api::{Accepted, DaemonView, Ready, RelayAction, Relays, Schema, Status, SyncRequest};
use crate::observe::history::SharedHistory;
use crate::observe::{Format, Registry};

/// The body of a request.
const BODY_MAX: usize = 64 * 1024;
/// How long the daemon may take for an answer, and a client for its body.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long the daemon may take to be called alive.
const ALIVE: Duration = Duration::from_secs(2);

/// Everything that answers need.
pub(super) struct Routes {
    registry: Registry,
    control: Arc<dyn Control>,
    guard: Guard,
    metrics: bool,
    data_dir: Option<String>,
    stop: CancellationToken,
    recent: Recent,
    history: Option<SharedHistory>,
}

type Answered = Result<Response<Body>, Refusal>;

impl Routes {
    pub(super) fn new(
        options: Options,
        registry: Registry,
        control: Arc<dyn Control>,
        guard: Guard,
        stop: CancellationToken,
    ) -> Self {
        let data_dir = options.data_dir.map(|dir| dir.display().to_string());
        let (metrics, history) = (options.metrics, options.history);
        let recent = Recent::new();
        Self { registry, control, guard, metrics, data_dir, stop, recent, history }
    }

    /// Answers one request, and counts it by route and status.
    pub(super) async fn answer(
        self: &Arc<Self>,
        door: Door,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let segments: Vec<String> = path.split('/').skip(1).map(decode).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let route = name(&segments);
        let answered = match self.guard.check(door, request.method(), request.headers()) {
            Ok(()) if request.method() == Method::POST => self.post(&segments, request).await,
            Ok(()) => self.get(&segments, &request).await,
            Err(refusal) => Err(refusal),
        };
        let response = answered.unwrap_or_else(|refusal| {
            let at = self.registry.now();
            refusal.response(at, self.daemon())
        });
        self.registry.request(route, response.status().as_u16());
        response
    }

    async fn get(self: &Arc<Self>, segments: &[&str], request: &Request<Incoming>) -> Answered {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "bad_request",
                "only GET and POST are answered",
            ));
        }
        match segments {
            [""] => self.page().await,
            ["metrics"] if self.metrics => Ok(self.expose(request)),
            ["healthz"] => self.health().await,
            ["readyz"] => self.ready().await,
            ["v1", "stream"] => self.stream(request).await,
            ["v1", "journal"] => Ok(self.ok(self.journal(request.uri().query()).await?)),
            ["v1", "alerts"] => Ok(self.ok(self.registry.alerts())),
            ["v1", "metrics"] => Ok(self.ok(self.measured(request.uri().query()).await?)),
            ["v1", "status"] => Ok(self.ok(self.status().await?)),
            ["v1", "relays"] => Ok(self.ok(Relays { relays: self.status().await?.relays })),
            ["v1", "relays", name] => {
                let status = self.status().await?;
                let url = find(name, &status)?;
                let view = status.relays.into_iter().find(|relay| relay.url == url);
                let view = view.ok_or(ControlError::UnknownRelay)?;
                Ok(self.ok(self.registry.relay_detail(view, self.registry.now())))
            }
            // A URL's slashes need not be escaped here.
            ["v1", "explain", subject @ ..] => self.explain(&subject.join("/")).await,
            _ => Err(no_route(segments)),
        }
    }

    async fn post(&self, segments: &[&str], request: Request<Incoming>) -> Answered {
        match segments {
            ["v1", "stop"] => self.operate(Operator::Shutdown, "stop").await,
            ["v1", "sync"] => self.sync(request).await,
            ["v1", "relays", name, action] => {
                let action = RelayAction::parse(action).ok_or_else(|| no_route(segments))?;
                let gap = gap_row(request.uri().query())?;
                let url = if action == RelayAction::Add {
                    RelayUrl::parse(name).map_err(|why| Refusal::bad_request(why.to_string()))?
                } else {
                    find(name, &self.status().await?)?
                };
                let what = format!("{} {url}", action.as_str());
                self.operate(action.operator(url, gap), &what).await
            }
            _ => Err(no_route(segments)),
        }
    }

    async fn sync(&self, request: Request<Incoming>) -> Answered {
        let body = Limited::new(request.into_body(), BODY_MAX).collect();
        let body = tokio::time::timeout(DEADLINE, body).await;
        let body = body.map_err(|_| Refusal::bad_request("the body did not come in time"))?;
        let body = body.map_err(|why| Refusal::bad_request(why.to_string()))?.to_bytes();
        let asked = if body.is_empty() {
            SyncRequest::default()
        } else {
            serde_json::from_slice(&body).map_err(|why| Refusal::bad_request(why.to_string()))?
        };
        if asked.relays.is_empty() {
            return self.operate(Operator::SyncNow, "sync").await;
        }
        for relay in &asked.relays {
            self.within(self.control.operator(Operator::Resync(relay.clone()))).await?;
        }
        Ok(self.ok(Accepted { accepted: format!("sync of {} relays", asked.relays.len()) }))
    }

    async fn operate(&self, operator: Operator, what: &str) -> Answered {
        self.within(self.control.operator(operator)).await?;
        Ok(self.ok(Accepted { accepted: what.into() }))
    }

    async fn page(&self) -> Answered {
        let status = self.recent_status().await?;
        let (latest, _) = self.registry.latest(page::ENTRIES_SHOWN, |_| true);
        Ok(page::page(&status, &self.daemon(), &latest, self.registry.now()))
    }

    pub(super) async fn status(&self) -> Result<Status, Refusal> {
        self.within(self.control.status()).await
    }

    async fn explain(&self, subject: &str) -> Answered {
        if let Some(explained) = explain::term(subject) {
            return Ok(self.ok(explained));
        }
        let url = find(subject, &self.status().await?)?;
        Ok(self.ok(self.within(self.control.explain(url)).await?))
    }

    fn expose(&self, request: &Request<Incoming>) -> Response<Body> {
        let accept = request.headers().get(hyper::header::ACCEPT);
        let accept = accept.and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let format = Format::negotiate(accept);
        bytes(StatusCode::OK, format.content_type(), self.registry.expose(format))
    }

    /// Alive: the driver answers in time, whatever it answers.
    async fn health(&self) -> Answered {
        let alive = tokio::time::timeout(ALIVE, self.control.ready()).await;
        match alive {
            Ok(Ok(_) | Err(ControlError::Stopping)) => {
                Ok(bytes(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"))
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ControlError::Busy.into()),
        }
    }

    async fn ready(&self) -> Answered {
        let ready: Ready = self.within(self.control.ready()).await?;
        let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let at = self.registry.now();
        Ok(document(status, at, self.daemon(), ready, Vec::new()))
    }

    async fn within<T>(&self, answer: Answer<'_, T>) -> Result<T, Refusal> {
        tokio::select! {
            biased;
            answer = tokio::time::timeout(DEADLINE, answer) => {
                Ok(answer.map_err(|_| ControlError::Busy)??)
            }
            // The driver may be gone; nobody waits for its last word.
            () = self.stop.cancelled() => Err(ControlError::Stopping.into()),
        }
    }

    fn ok<T: Schema + serde::Serialize>(&self, data: T) -> Response<Body> {
        document(StatusCode::OK, self.registry.now(), self.daemon(), data, Vec::new())
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn history(&self) -> Option<&SharedHistory> {
        self.history.as_ref()
    }

    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    pub(super) fn recent(&self) -> &Recent {
        &self.recent
    }

    pub(super) fn daemon(&self) -> DaemonView {
        self.registry.daemon(self.registry.now(), self.data_dir.clone())
    }
}

/// The label of a route (T17).
fn name(segments: &[&str]) -> &'static str {
    match segments {
        [""] => "page",
        ["metrics"] => "metrics",
        ["healthz"] => "healthz",
        ["readyz"] => "readyz",
        ["v1", "status"] => "status",
        ["v1", "relays", ..] => "relays",
        ["v1", "explain", ..] => "explain",
        ["v1", "stream"] => "stream",
        ["v1", "journal"] => "journal",
        ["v1", "alerts"] => "alerts",
        ["v1", "metrics"] => "v1_metrics",
        ["v1", "stop"] => "stop",
        ["v1", "sync"] => "sync",
        _ => "other",
    }
}

fn find(name: &str, status: &Status) -> Result<RelayUrl, Refusal> {
    let known: Vec<RelayUrl> = status.relays.iter().map(|relay| relay.url.clone()).collect();
    relay_name::find(name, &known)
}

fn no_route(segments: &[&str]) -> Refusal {
    let path: String = segments.join("/").chars().filter(|c| !c.is_control()).take(128).collect();
    Refusal::not_found(format!("nothing is at /{path}"))
}

/// `row` of the query.
fn gap_row(query: Option<&str>) -> Result<Option<RowId>, Refusal> {
    let mut pairs = query.unwrap_or_default().split('&');
    let Some(row) = pairs.find_map(|pair| pair.strip_prefix("row=")) else { return Ok(None) };
    match row.parse() {
        Ok(row) => Ok(Some(RowId(row))),
        Err(_) => Err(Refusal::bad_request("`row` is the number of a gap")),
    }
}
