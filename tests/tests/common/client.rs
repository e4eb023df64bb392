//! A plain WebSocket client: fills relays and asks them, without any code under test.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long an answer may take before a fixture gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// EVENT frames without an OK that a relay is sent.
const IN_FLIGHT: usize = 64;

/// A connection to a relay.
pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    subscriptions: u32,
}

impl Client {
    pub(crate) async fn connect(url: &str) -> Self {
        Self::try_connect(url).await.expect("the relay accepts a connection")
    }

    /// Connects to a `ws://host:port`; `None` where that fails.
    pub(crate) async fn try_connect(url: &str) -> Option<Self> {
        let authority = url.strip_prefix("ws://")?.trim_end_matches('/');
        let stream = TcpStream::connect(authority).await.ok()?;
        let (socket, _) = client_async(url, stream).await.ok()?;
        Some(Self { socket, subscriptions: 0 })
    }

    /// The next JSON frame; `None` when the relay ended the connection.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next())
                .await
                .expect("the relay answers in time")?;
            match message {
                Ok(Message::Text(text)) => {
                    return Some(serde_json::from_str(&text).expect("relays send JSON"));
                }
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub(crate) async fn send(&mut self, frame: &Value) {
        self.send_text(frame.to_string()).await;
    }

    async fn send_text(&mut self, frame: String) {
        self.socket.send(Message::text(frame)).await.expect("the relay reads");
    }

    /// Publishes events given as JSON; returns how many were taken, and what was refused.
    pub(crate) async fn publish<'a>(
        &mut self,
        events: impl IntoIterator<Item = &'a str>,
    ) -> (usize, Vec<String>) {
        let (mut taken, mut refused, mut open) = (0, Vec::new(), 0);
        let mut events = events.into_iter();
        loop {
            while open < IN_FLIGHT {
                let Some(event) = events.next() else { break };
                self.send_text(format!("[\"EVENT\",{event}]")).await;
                open += 1;
            }
            if open == 0 {
                return (taken, refused);
            }
            let frame = self.next().await.expect("the relay answers each EVENT");
            if frame[0] == "OK" {
                open -= 1;
                match frame[2].as_bool() {
                    Some(true) => taken += 1,
                    _ => refused.push(frame.to_string()),
                }
            }
        }
    }

    /// The ids that one REQ brings until its EOSE or CLOSED.
    pub(crate) async fn ask(&mut self, filter: Value) -> Vec<String> {
        self.subscriptions += 1;
        let sub = self.subscriptions.to_string();
        self.send(&json!(["REQ", sub, filter])).await;
        let mut ids = Vec::new();
        loop {
            let frame = self.next().await.expect("the relay answers a REQ");
            if frame[1] != sub.as_str() {
                continue;
            }
            match frame[0].as_str() {
                Some("EVENT") => {
                    ids.push(frame[2]["id"].as_str().expect("an event has an id").to_owned());
                }
                Some("EOSE") => break,
                Some("CLOSED") => return ids,
                _ => {}
            }
        }
        self.send(&json!(["CLOSE", sub])).await;
        ids
    }

    /// Everything a relay holds, by pages of `limit` down to the oldest event. For corpora
    /// without a second that holds more than a page.
    pub(crate) async fn everything(&mut self, limit: usize) -> BTreeSet<String> {
        let (mut seen, mut until) = (BTreeSet::new(), None::<u64>);
        loop {
            let mut filter = json!({ "limit": limit });
            if let Some(until) = until {
                filter["until"] = json!(until);
            }
            let before = seen.len();
            let (ids, oldest) = self.page(filter).await;
            seen.extend(ids);
            if seen.len() == before {
                return seen;
            }
            until = oldest;
        }
    }

    async fn page(&mut self, filter: Value) -> (Vec<String>, Option<u64>) {
        self.subscriptions += 1;
        let sub = self.subscriptions.to_string();
        self.send(&json!(["REQ", sub, filter])).await;
        let (mut ids, mut oldest) = (Vec::new(), None::<u64>);
        loop {
            let frame = self.next().await.expect("the relay answers a REQ");
            if frame[1] != sub.as_str() {
                continue;
            }
            if frame[0] == "EVENT" {
                ids.push(frame[2]["id"].as_str().expect("an event has an id").to_owned());
                let at = frame[2]["created_at"].as_u64().expect("an event has a time");
                oldest = Some(oldest.map_or(at, |oldest| oldest.min(at)));
            } else {
                self.send(&json!(["CLOSE", sub])).await;
                return (ids, oldest);
            }
        }
    }
}
