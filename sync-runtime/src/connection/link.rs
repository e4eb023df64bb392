//! The socket and what waits to be written to it. Reading and writing go on side by side: a relay
//! that waits until we read its events before it reads our requests must not hold both up.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{FutureExt, Sink, Stream, StreamExt};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::ConnObserver;
use crate::transport::{Socket, Traffic};

/// The socket with its outgoing frames.
pub(super) struct Link {
    socket: Socket,
    outgoing: VecDeque<(&'static str, Message)>,
    unflushed: bool,
    observer: Arc<dyn ConnObserver>,
    reported: (u64, u64),
}

/// What happened to the socket.
#[derive(Debug)]
pub(super) enum Pumped {
    /// A message came.
    Message(Message),
    /// All that waited is written.
    Written,
    /// The other side ended it without an error.
    Ended,
    /// It failed.
    Failed(Error),
}

impl Link {
    pub(super) fn new(socket: Socket, observer: Arc<dyn ConnObserver>) -> Self {
        let outgoing = VecDeque::new();
        Self { socket, outgoing, unflushed: false, observer, reported: (0, 0) }
    }

    /// Queues a frame.
    pub(super) fn push(&mut self, frame: &'static str, text: String) {
        self.outgoing.push_back((frame, Message::text(text)));
    }

    /// Queues frames.
    pub(super) fn push_all(&mut self, frames: impl IntoIterator<Item = (&'static str, String)>) {
        for (frame, text) in frames {
            self.push(frame, text);
        }
    }

    /// Queues a ping.
    pub(super) fn ping(&mut self, payload: [u8; 8]) {
        self.outgoing.push_back(("PING", Message::Ping(payload.to_vec().into())));
    }

    /// Whether everything is written: only then the next command is taken, so that what waits does
    /// so in the bounded queue.
    pub(super) fn is_idle(&self) -> bool {
        self.outgoing.is_empty() && !self.unflushed
    }

    /// Writes what waits, and reads a message if `reading`. Cancel safe.
    pub(super) async fn pump(&mut self, reading: bool) -> Pumped {
        poll_fn(|cx| self.poll_pump(cx, reading)).await
    }

    /// A message that can be read without waiting.
    pub(super) fn try_read(&mut self) -> Option<Pumped> {
        self.socket.next().now_or_never().map(pumped)
    }

    /// Bytes on the wire.
    pub(super) fn traffic(&self) -> &Traffic {
        self.socket.get_ref().traffic()
    }

    /// Tells the observer of the bytes since the last time.
    pub(super) fn report_traffic(&mut self) {
        let now = (self.traffic().received(), self.traffic().sent());
        let (received, sent) = self.reported;
        self.reported = now;
        self.observer.wire(now.0 - received, now.1 - sent);
    }

    /// Closes: writes what waits and the close frame, then reads to the end. May take for ever.
    pub(super) async fn close(&mut self) {
        self.outgoing.push_back(("CLOSE-FRAME", Message::Close(None)));
        loop {
            match self.pump(true).await {
                Pumped::Message(_) | Pumped::Written => {}
                Pumped::Ended | Pumped::Failed(_) => return,
            }
        }
    }

    fn poll_pump(&mut self, cx: &mut Context<'_>, reading: bool) -> Poll<Pumped> {
        match self.poll_write(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(Pumped::Failed(error)),
            Poll::Ready(Ok(true)) => return Poll::Ready(Pumped::Written),
            Poll::Ready(Ok(false)) | Poll::Pending => {}
        }
        if !reading {
            return Poll::Pending;
        }
        Pin::new(&mut self.socket).poll_next(cx).map(pumped)
    }

    /// Whether something was written, and now all is.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        if self.is_idle() {
            return Poll::Ready(Ok(false));
        }
        while !self.outgoing.is_empty() {
            match Pin::new(&mut self.socket).poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            let Some((frame, message)) = self.outgoing.pop_front() else { break };
            self.observer.sent(frame, message.len());
            self.unflushed = true;
            if let Err(error) = Pin::new(&mut self.socket).start_send(message) {
                return Poll::Ready(Err(error));
            }
        }
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.unflushed = flushed.is_pending();
        flushed.map_ok(|()| true)
    }
}

fn pumped(item: Option<Result<Message, Error>>) -> Pumped {
    match item {
        Some(Ok(message)) => Pumped::Message(message),
        Some(Err(error)) => Pumped::Failed(error),
        None => Pumped::Ended,
    }
}
