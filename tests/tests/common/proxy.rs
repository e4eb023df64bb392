//! A TCP proxy before a relay: forwards, delays, pauses, cuts, and counts bytes both ways.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

#[derive(Default)]
struct Counters {
    up: AtomicU64,
    down: AtomicU64,
    accepted: AtomicU64,
    refusing: AtomicBool,
}

/// A proxy in front of one port of the loopback. Lives on the runtime that started it.
pub(crate) struct Proxy {
    port: u16,
    counters: Arc<Counters>,
    paused: watch::Sender<bool>,
    delay: watch::Sender<Duration>,
    /// Connections of an older number end.
    generation: watch::Sender<u64>,
    listener: JoinHandle<()>,
}

/// What one direction of a connection watches.
#[derive(Clone)]
struct Controls {
    paused: watch::Receiver<bool>,
    delay: watch::Receiver<Duration>,
    generation: watch::Receiver<u64>,
}

impl Proxy {
    pub(crate) async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let counters = Arc::new(Counters::default());
        let (paused, watch_paused) = watch::channel(false);
        let (delay, watch_delay) = watch::channel(Duration::ZERO);
        let (generation, watch_generation) = watch::channel(0);
        let controls =
            Controls { paused: watch_paused, delay: watch_delay, generation: watch_generation };
        let shared = Arc::clone(&counters);
        let listener = tokio::spawn(accept(listener, upstream, shared, controls));
        Self { port, counters, paused, delay, generation, listener }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// Stops forwarding in both directions; sockets stay open. A half-open connection.
    pub(crate) fn pause(&self) {
        self.paused.send_replace(true);
    }

    pub(crate) fn resume(&self) {
        self.paused.send_replace(false);
    }

    /// Ends all connections that are open now.
    pub(crate) fn cut(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Whether new connections are closed at once.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.counters.refusing.store(refuse, Ordering::SeqCst);
    }

    /// Every byte arrives so much later, in each direction; throughput stays.
    pub(crate) fn delay(&self, by: Duration) {
        self.delay.send_replace(by);
    }

    /// Bytes from the client to the relay.
    pub(crate) fn bytes_up(&self) -> u64 {
        self.counters.up.load(Ordering::SeqCst)
    }

    /// Bytes from the relay to the client.
    pub(crate) fn bytes_down(&self) -> u64 {
        self.counters.down.load(Ordering::SeqCst)
    }

    /// Connections accepted so far, those refused included.
    pub(crate) fn accepted(&self) -> u64 {
        self.counters.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, upstream: u16, counters: Arc<Counters>, controls: Controls) {
    while let Ok((client, _)) = listener.accept().await {
        counters.accepted.fetch_add(1, Ordering::SeqCst);
        if counters.refusing.load(Ordering::SeqCst) {
            continue;
        }
        tokio::spawn(serve(client, upstream, Arc::clone(&counters), controls.clone()));
    }
}

async fn serve(client: TcpStream, upstream: u16, counters: Arc<Counters>, controls: Controls) {
    let Ok(relay) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await else { return };
    let _ = (client.set_nodelay(true), relay.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_relay, to_relay) = relay.into_split();
    let mut generation = controls.generation.clone();
    generation.mark_unchanged();
    tokio::select! {
        // Both directions run until one ends; what is dropped closes its sockets.
        () = forward(from_client, to_relay, &counters.up, controls.clone()) => {}
        () = forward(from_relay, to_client, &counters.down, controls.clone()) => {}
        _ = generation.changed() => {}
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    count: &AtomicU64,
    mut controls: Controls,
) {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let (mut paused, delay) = (controls.paused.clone(), controls.delay.clone());
    let read = async move {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let _ = paused.wait_for(|paused| !paused).await;
            let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
            let due = Instant::now() + *delay.borrow();
            if sender.send((due, buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async {
        while let Some((due, chunk)) = chunks.recv().await {
            tokio::time::sleep_until(due).await;
            let _ = controls.paused.wait_for(|paused| !paused).await;
            count.fetch_add(chunk.len() as u64, Ordering::SeqCst);
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
