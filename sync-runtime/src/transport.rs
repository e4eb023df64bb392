//! The stream under a connection, its byte counters, and the WebSocket spoken over it. What the
//! messages mean is the business of [`crate::connection`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use sync_core::input::{DialError, DialErrorKind};
use sync_core::url::RelayUrl;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::http::{Request, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::dial::{Dialer, StageTimings, dial_error, upgrade_error};

/// How we name ourselves to relays, with where to complain when the build knows it (T22).
pub const USER_AGENT: &str = if env!("CARGO_PKG_REPOSITORY").is_empty() {
    concat!("ngit-sync/", env!("CARGO_PKG_VERSION"))
} else {
    concat!("ngit-sync/", env!("CARGO_PKG_VERSION"), " (+", env!("CARGO_PKG_REPOSITORY"), ")")
};

/// The head of an answer to an upgrade (T14), rounded up to what is read at once.
const HEAD_MAX: usize = 16 * 1024;
/// Allocated per connection; more gains nothing.
const READ_BUFFER: usize = 32 * 1024;

/// A WebSocket to a relay.
pub type Socket = WebSocketStream<ByteStream>;

/// Bytes on the wire, TLS and handshakes included. Shared with whoever counts them.
#[derive(Debug, Default)]
pub struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// A TCP stream whose bytes are counted.
#[derive(Debug)]
pub struct Counted {
    stream: TcpStream,
    traffic: Arc<Traffic>,
}

#[derive(Debug)]
enum Inner {
    Plain(Counted),
    Tls(Box<TlsStream<Counted>>),
}

/// A dialed stream: plain or TLS.
#[derive(Debug)]
pub struct ByteStream {
    inner: Inner,
    traffic: Arc<Traffic>,
    /// What may still be read before the upgrade is through.
    head_left: Option<usize>,
}

/// The head of an answer is longer than any server has reason to make it.
#[derive(Debug, thiserror::Error)]
#[error("the answer's head is longer than 16 KiB")]
struct HeadTooLong;

impl ByteStream {
    pub(crate) fn count(stream: TcpStream, traffic: Arc<Traffic>) -> Counted {
        Counted { stream, traffic }
    }

    pub(crate) fn plain(stream: TcpStream, traffic: Arc<Traffic>) -> Self {
        let inner = Inner::Plain(Self::count(stream, Arc::clone(&traffic)));
        Self { inner, traffic, head_left: None }
    }

    pub(crate) fn tls(stream: TlsStream<Counted>, traffic: Arc<Traffic>) -> Self {
        Self { inner: Inner::Tls(Box::new(stream)), traffic, head_left: None }
    }

    /// Its counters.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }
}

/// Dials a relay and upgrades to a WebSocket whose messages are at most `message_max` bytes.
/// Redirects are not followed (T1).
pub async fn dial(
    dialer: &Dialer,
    url: &RelayUrl,
    trusted: bool,
    message_max: usize,
) -> Result<(Socket, StageTimings), DialError> {
    let (mut stream, mut timings) = dialer.connect(url, trusted).await?;
    let began = Instant::now();
    let request = upgrade_request(url)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(message_max))
        .max_frame_size(Some(message_max));
    stream.head_left = Some(HEAD_MAX);
    let upgrade = client_async_with_config(request, stream, Some(config));
    let (mut socket, _) = timeout(*dialer.config().upgrade_timeout, upgrade)
        .await
        .map_err(|_| dial_error(DialErrorKind::Timeout, "upgrade"))?
        .map_err(|error| upgrade_error(&error))?;
    socket.get_mut().head_left = None;
    timings.upgrade = Some(began.elapsed());
    Ok((socket, timings))
}

fn upgrade_request(url: &RelayUrl) -> Result<Request<()>, DialError> {
    Request::builder()
        .uri(url.as_str())
        .header(header::HOST, url.authority())
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, generate_key())
        .header(header::USER_AGENT, USER_AGENT)
        .body(())
        .map_err(|error| dial_error(DialErrorKind::Upgrade, &error.to_string()))
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        self.traffic.received.fetch_add(read as u64, Ordering::Relaxed);
        result
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = result {
            self.traffic.sent.fetch_add(written as u64, Ordering::Relaxed);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.head_left == Some(0) {
            return Poll::Ready(Err(io::Error::other(HeadTooLong)));
        }
        let before = buf.filled().len();
        let result = match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Inner::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        let read = buf.filled().len() - before;
        self.head_left = self.head_left.map(|left| left.saturating_sub(read));
        result
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Inner::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
