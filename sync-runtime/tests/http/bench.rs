//! A server over real sockets for tests, and a client for it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sync_core::event::Event;
use sync_core::id::RelayId;
use sync_core::input::Operator;
use sync_core::url::RelayUrl;
use sync_runtime::api::{Document, ErrorView, Explain, Ready, Status};
use sync_runtime::http::{Answer, Control, ControlError, Options, Server};
use sync_runtime::observe::history::{History, Keep, SharedHistory};
use sync_runtime::observe::{Build, Registry};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const RELAY: &str = "wss://relay.a.example/";

/// A daemon reduced to its registry: it takes every request and remembers it.
pub struct Daemon {
    pub registry: Registry,
    pub asked: Mutex<Vec<Operator>>,
    pub ready: bool,
}

impl Control for Daemon {
    fn status(&self) -> Answer<'_, Status> {
        Box::pin(async { Ok(self.registry.status(self.registry.now())) })
    }

    fn explain(&self, relay: RelayUrl) -> Answer<'_, Explain> {
        let subject = relay.to_string();
        let because = vec!["nobody listens".to_owned()];
        Box::pin(async { Ok(Explain { subject, because, ..Explain::default() }) })
    }

    fn operator(&self, operator: Operator) -> Answer<'_, ()> {
        Box::pin(async {
            if operator == Operator::SyncNow && !self.ready {
                return Err(ControlError::Busy);
            }
            self.asked.lock().expect("no panic").push(operator);
            Ok(())
        })
    }

    fn ready(&self) -> Answer<'_, Ready> {
        let waiting_for = if self.ready { vec![] } else { vec!["the facts of the store".into()] };
        Box::pin(async { Ok(Ready { ready: self.ready, waiting_for }) })
    }
}

/// A server on a free port and a socket in a directory of its own.
pub struct Bench {
    pub server: Option<JoinHandle<()>>,
    pub stop: CancellationToken,
    pub daemon: Arc<Daemon>,
    pub host: String,
    pub socket: PathBuf,
    _dir: TempDir,
}

impl Bench {
    pub async fn new() -> Self {
        Self::with(true, |_| {}).await
    }

    pub async fn with(ready: bool, change: impl FnOnce(&mut Options)) -> Self {
        Self::build(ready, |options, _, _| change(options)).await
    }

    /// With history that nobody but a request flushes.
    pub async fn with_history() -> Self {
        Self::build(true, |options, registry, dir| {
            let path = dir.join("history.sqlite");
            let history = History::open(&path, registry.clone(), Keep::default());
            options.history = Some(SharedHistory::new(history.expect("it opens")));
        })
        .await
    }

    async fn build(ready: bool, change: impl FnOnce(&mut Options, &Registry, &Path)) -> Self {
        let dir = TempDir::new().expect("a directory");
        let socket = dir.path().join("run/control.sock");
        let registry = Registry::system(Build { version: "0.1.0", commit: "unknown" });
        let url = RelayUrl::parse(RELAY).expect("a relay");
        let tracked = Event::RelayTracked { relay: RelayId(0), url, bootstrap: true };
        registry.on_event(&tracked, registry.now());
        let mut options = Options {
            listen: Some(([127, 0, 0, 1], 0).into()),
            socket: Some(socket.clone()),
            metrics: true,
            ..Options::default()
        };
        change(&mut options, &registry, dir.path());
        let server = Server::bind(options, registry.clone()).await.expect("a free port");
        let host = server.address().expect("it listens").to_string();
        let daemon = Arc::new(Daemon { registry, asked: Mutex::default(), ready });
        let stop = CancellationToken::new();
        let server = Some(tokio::spawn(server.serve(daemon.clone(), stop.clone())));
        Self { server, stop, daemon, host, socket, _dir: dir }
    }

    pub async fn get(&self, path: &str) -> Reply {
        let stream = TcpStream::connect(&self.host).await.expect("it listens");
        ask(stream, Method::GET, path, &[("host", &self.host)], "").await
    }

    pub async fn control(&self, method: Method, path: &str, body: &str) -> Reply {
        let stream = UnixStream::connect(&self.socket).await.expect("it listens");
        ask(stream, method, path, &[("host", "localhost")], body).await
    }

    pub async fn post(&self, path: &str) -> Reply {
        self.control(Method::POST, path, "").await
    }

    pub fn asked(&self) -> Vec<Operator> {
        std::mem::take(&mut *self.daemon.asked.lock().expect("no panic"))
    }

    pub async fn end(&mut self) {
        self.stop.cancel();
        self.server.take().expect("it runs").await.expect("no panic");
    }
}

pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub fn document<T: serde::de::DeserializeOwned>(&self) -> Document<T> {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn error(&self) -> (u16, String) {
        (self.status.as_u16(), self.document::<ErrorView>().data.id)
    }
}

pub async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    let (parts, body) = open(stream, method, path, headers, body).await.into_parts();
    let body = body.collect().await.expect("the whole body").to_bytes();
    let body = String::from_utf8(body.to_vec()).expect("text");
    Reply { status: parts.status, headers: parts.headers, body }
}

/// Asks, and leaves the body to be read.
pub async fn open(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response<Incoming> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::from(body.to_owned()));
    sender.send_request(request.body(body).expect("valid")).await.expect("answered")
}
