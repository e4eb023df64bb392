//! A relay that does what a script says, for behaviours that real relays do not show on demand.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

/// What a script does upon a frame.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Sends this text.
    Send(String),
    /// Sends this text later; what follows does not wait for it.
    Later(Duration, String),
    /// Ends the connection.
    Hangup,
}

/// A script: from each frame of a client to replies.
pub(crate) type Script = dyn Fn(&Value) -> Vec<Reply> + Send + Sync;

/// A scripted relay. Lives on the runtime that started it.
pub(crate) struct ScriptRelay {
    port: u16,
    frames: Arc<Mutex<Vec<Value>>>,
    listener: JoinHandle<()>,
}

impl ScriptRelay {
    pub(crate) async fn start(
        script: impl Fn(&Value) -> Vec<Reply> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let frames = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&frames);
        let script: Arc<Script> = Arc::new(script);
        let listener = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&seen)));
            }
        });
        Self { port, frames, listener }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// Every frame that any client sent so far.
    pub(crate) fn frames(&self) -> Vec<Value> {
        self.frames.lock().expect("no script panics").clone()
    }

    /// How many frames of this type came so far.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.frames().iter().filter(|frame| frame[0] == name).count()
    }
}

impl Drop for ScriptRelay {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn serve(stream: TcpStream, script: Arc<Script>, seen: Arc<Mutex<Vec<Value>>>) {
    let Ok(socket) = accept_async(stream).await else { return };
    let (mut sink, mut source) = socket.split();
    let (outgoing, mut queue) = mpsc::unbounded_channel::<String>();
    let write = tokio::spawn(async move {
        while let Some(text) = queue.recv().await {
            if sink.send(Message::text(text)).await.is_err() {
                return;
            }
        }
    });
    while let Some(Ok(message)) = source.next().await {
        let Message::Text(text) = message else { continue };
        let Ok(frame) = serde_json::from_str::<Value>(&text) else { continue };
        let replies = script(&frame);
        seen.lock().expect("no script panics").push(frame);
        for reply in replies {
            match reply {
                Reply::Send(text) => drop(outgoing.send(text)),
                Reply::Later(delay, text) => {
                    let outgoing = outgoing.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(delay).await;
                        drop(outgoing.send(text));
                    });
                }
                Reply::Hangup => return write.abort(),
            }
        }
    }
    write.abort();
}

/// Accepts everything and answers nothing.
pub(crate) fn never_answers() -> impl Fn(&Value) -> Vec<Reply> + Send + Sync {
    |_| Vec::new()
}

/// CLOSED with this text upon each REQ.
pub(crate) fn closes_each_req(text: &str) -> impl Fn(&Value) -> Vec<Reply> + Send + Sync {
    let text = text.to_owned();
    move |frame| match frame[0].as_str() {
        Some("REQ" | "NEG-OPEN") => {
            vec![Reply::Send(json!(["CLOSED", frame[1], text]).to_string())]
        }
        _ => Vec::new(),
    }
}

/// NOTICE with this text upon each REQ and NEG-OPEN.
pub(crate) fn notices_each_req(text: &str) -> impl Fn(&Value) -> Vec<Reply> + Send + Sync {
    let text = text.to_owned();
    move |frame| match frame[0].as_str() {
        Some("REQ" | "NEG-OPEN") => vec![Reply::Send(json!(["NOTICE", text]).to_string())],
        _ => Vec::new(),
    }
}

/// Sends the same events upon each REQ, whatever its filters, and the EOSE so much later.
pub(crate) fn slow_eose(
    delay: Duration,
    events: Vec<String>,
) -> impl Fn(&Value) -> Vec<Reply> + Send + Sync {
    move |frame| {
        if frame[0] != "REQ" {
            return Vec::new();
        }
        let sub = &frame[1];
        let mut replies: Vec<Reply> =
            events.iter().map(|event| Reply::Send(format!("[\"EVENT\",{sub},{event}]"))).collect();
        replies.push(Reply::Later(delay, json!(["EOSE", sub]).to_string()));
        replies
    }
}
