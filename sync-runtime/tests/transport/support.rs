//! Peers, certificates, and a connection with all its ends in hand.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use nostr::event::{Event, EventBuilder, EventId, FinalizeEvent, Kind};
use nostr::filter::Filter;
use nostr::key::Keys;
use nostr::types::Timestamp;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sync_core::command::{Purpose, Source};
use sync_core::config::{Config, DialConfig, Span};
use sync_core::id::{ConnId, RelayId, SubId, WalkId};
use sync_core::input::{CloseReason, Frame, Input};
use sync_core::item::Range;
use sync_core::url::RelayUrl;
use sync_core::wire::FrameType;
use sync_runtime::connection::{
    Arrival, ConnCommand, ConnContext, ConnHandle, ConnObserver, EventBodies, HaveSet,
};
use sync_runtime::dial::{Dialer, FixedResolver, StageTimings, TlsRoots};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const CONN: ConnId = ConnId { relay: RelayId(1), epoch: 1 };

pub(crate) fn millis(n: u64) -> Span {
    Span(Duration::from_millis(n))
}

/// Deadlines that no test waits long for and no busy machine misses.
pub(crate) fn dial_config() -> DialConfig {
    DialConfig {
        dns_timeout: millis(300),
        tcp_timeout: millis(700),
        tls_timeout: millis(700),
        upgrade_timeout: millis(700),
        drain: millis(300),
        ..DialConfig::default()
    }
}

/// `relay.test` leads to this machine.
pub(crate) fn names() -> Arc<FixedResolver> {
    Arc::new(FixedResolver::new([("relay.test", vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])]))
}

/// A certificate for `relay.test`, and how a server shows it.
pub(crate) fn certificate() -> (CertificateDer<'static>, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(vec!["relay.test".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    (certificate, TlsAcceptor::from(Arc::new(config)))
}

pub(crate) fn dialer(config: &DialConfig) -> Dialer {
    Dialer::new(config, names(), &TlsRoots::none()).unwrap()
}

/// A listener of this machine, and its URL by name.
pub(crate) async fn listener(scheme: &str) -> (TcpListener, RelayUrl) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, RelayUrl::parse(&format!("{scheme}://relay.test:{port}")).unwrap())
}

/// A peer that accepts one TCP connection and does what it likes with it. Later ones are refused.
pub(crate) async fn peer<F>(script: impl FnOnce(TcpStream) -> F + Send + 'static) -> RelayUrl
where
    F: Future<Output = ()> + Send,
{
    let (listener, url) = listener("ws").await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(listener);
        // Frames that are held back would come after the timers that tests are about.
        stream.set_nodelay(true).unwrap();
        script(stream).await;
    });
    url
}

pub(crate) type Server = WebSocketStream<TcpStream>;

/// A peer that accepts one WebSocket.
pub(crate) async fn server<F>(script: impl FnOnce(Server) -> F + Send + 'static) -> RelayUrl
where
    F: Future<Output = ()> + Send,
{
    peer(async move |stream| script(accept_async(stream).await.unwrap()).await).await
}

/// The next text of the other side.
pub(crate) async fn text(server: &mut Server) -> String {
    loop {
        match timeout(PATIENCE, server.next()).await.unwrap().unwrap().unwrap() {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("no text: {other:?}"),
        }
    }
}

pub(crate) async fn say(server: &mut Server, text: impl Into<String>) {
    server.send(Message::text(text.into())).await.unwrap();
}

/// Answers pings and reads until the other side is gone.
pub(crate) async fn listen(mut server: Server) {
    while let Some(Ok(_)) = server.next().await {}
}

/// A store of ids and bodies.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) events: Mutex<Vec<Event>>,
}

impl HaveSet for Shelf {
    fn have_set(&self, _: &Filter, range: Range) -> io::Result<Vec<(Timestamp, EventId)>> {
        let events = self.events.lock().unwrap();
        let within = events.iter().filter(|event| range.contains(event.created_at));
        Ok(within.map(|event| (event.created_at, event.id)).collect())
    }
}

impl EventBodies for Shelf {
    fn event_json(&self, id: &EventId) -> io::Result<Option<String>> {
        let events = self.events.lock().unwrap();
        Ok(events.iter().find(|event| event.id == *id).map(|event| event.as_json()))
    }
}

/// Counts what a connection tells.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) sent: Mutex<BTreeMap<&'static str, u32>>,
    pub(crate) received: Mutex<BTreeMap<&'static str, u32>>,
    pub(crate) malformed: AtomicU32,
    pub(crate) unsolicited: AtomicU32,
    pub(crate) oversize: AtomicU32,
    pub(crate) off_filter: AtomicU32,
    pub(crate) info_failed: AtomicU32,
    pub(crate) rtts: AtomicU32,
    pub(crate) answers: AtomicU32,
    pub(crate) stages: Mutex<Option<StageTimings>>,
    pub(crate) wire: Mutex<(u64, u64)>,
}

impl Counts {
    pub(crate) fn of(count: &AtomicU32) -> u32 {
        count.load(Ordering::SeqCst)
    }

    /// How many frames of this type were handed to the socket.
    pub(crate) fn sent(&self, frame: &str) -> u32 {
        self.sent.lock().unwrap().get(frame).copied().unwrap_or_default()
    }

    fn add(count: &AtomicU32) {
        count.fetch_add(1, Ordering::SeqCst);
    }
}

impl ConnObserver for Counts {
    fn dialed(&self, timings: &StageTimings) {
        *self.stages.lock().unwrap() = Some(*timings);
    }
    fn sent(&self, frame: &'static str, _: usize) {
        *self.sent.lock().unwrap().entry(frame).or_default() += 1;
    }
    fn received(&self, frame: FrameType, _: usize) {
        *self.received.lock().unwrap().entry(frame.as_str()).or_default() += 1;
    }
    fn wire(&self, received: u64, sent: u64) {
        let mut wire = self.wire.lock().unwrap();
        *wire = (wire.0 + received, wire.1 + sent);
    }
    fn rtt(&self, _: Duration) {
        Self::add(&self.rtts);
    }
    fn first_answer(&self, _: Option<Purpose>, _: Duration) {
        Self::add(&self.answers);
    }
    fn unsolicited(&self, _: FrameType) {
        Self::add(&self.unsolicited);
    }
    fn malformed(&self, _: FrameType) {
        Self::add(&self.malformed);
    }
    fn oversize(&self, _: FrameType, _: usize) {
        Self::add(&self.oversize);
    }
    fn off_filter(&self) {
        Self::add(&self.off_filter);
    }
    fn info_failed(&self) {
        Self::add(&self.info_failed);
    }
}

/// A connection with all its ends in hand.
pub(crate) struct Rig {
    pub(crate) handle: Option<ConnHandle>,
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) intake: mpsc::Receiver<Arrival>,
    pub counts: Arc<Counts>,
}

/// What a test wants of its connection.
pub(crate) struct Wish {
    pub(crate) config: Config,
    pub(crate) intake: usize,
    pub(crate) keys: BTreeMap<RelayUrl, Keys>,
    pub(crate) events: Vec<Event>,
}

impl Default for Wish {
    fn default() -> Self {
        let config = Config { dial: dial_config(), ..Config::default() };
        Self { config, intake: 10_000, keys: BTreeMap::new(), events: Vec::new() }
    }
}

impl Wish {
    pub(crate) fn open(self, url: &RelayUrl) -> Rig {
        let (inputs, inputs_out) = mpsc::channel(1024);
        let (intake, intake_out) = mpsc::channel(self.intake);
        let shelf = Arc::new(Shelf { events: Mutex::new(self.events) });
        let counts = Arc::new(Counts::default());
        let context = Arc::new(ConnContext {
            dialer: Arc::new(dialer(&self.config.dial)),
            config: Arc::new(self.config),
            inputs,
            intake,
            have: shelf.clone(),
            bodies: shelf.clone(),
            keys: self.keys,
        });
        let handle = Some(context.open(CONN, url.clone(), true, counts.clone()));
        Rig { handle, inputs: inputs_out, intake: intake_out, counts }
    }

    /// Opened and dialed.
    pub(crate) async fn dialed(self, url: &RelayUrl) -> Rig {
        let mut rig = self.open(url);
        assert_eq!(rig.input().await, Input::Dialed { conn: CONN, result: Ok(()) });
        rig
    }
}

impl Rig {
    pub(crate) fn send(&self, command: ConnCommand) {
        self.handle.as_ref().unwrap().send(command);
    }

    pub(crate) fn page(&self, sub: u32) {
        self.subscribe(sub, Filter::new().kind(Kind::from_u16(1)), page());
    }

    pub(crate) fn subscribe(&self, sub: u32, filter: Filter, purpose: Purpose) {
        self.send(ConnCommand::Subscribe { sub: SubId(sub), filters: vec![filter], purpose });
    }

    /// The next input, whatever it is.
    pub(crate) async fn input(&mut self) -> Input {
        timeout(PATIENCE, self.inputs.recv()).await.expect("an input in time").expect("a sender")
    }

    /// The next frame, and what was received according to the tallies before it.
    pub(crate) async fn frame(&mut self) -> (u32, Frame) {
        let mut received = 0;
        loop {
            match self.input().await {
                Input::Events(tally) => received += tally.received,
                Input::Frame { conn: CONN, frame } => return (received, frame),
                Input::Settled(_) | Input::RelayInfo { .. } => {}
                other => panic!("no frame: {other:?}"),
            }
        }
    }

    /// Everything up to the end of the connection, and why it ended.
    pub(crate) async fn rest(&mut self) -> (Vec<Input>, CloseReason) {
        let mut inputs = Vec::new();
        loop {
            match self.input().await {
                Input::Closed { conn: CONN, reason } => return (inputs, reason),
                other => inputs.push(other),
            }
        }
    }
}

pub(crate) fn page() -> Purpose {
    Purpose::Page { walk: WalkId(1), split: None, oldest: None, source: Source::Startup }
}

/// Waits until something holds that shows itself in counters only.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let began = tokio::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Notes of one author, one a second.
pub(crate) fn notes(count: u64) -> Vec<Event> {
    let keys = Keys::generate();
    (0..count)
        .map(|n| {
            EventBuilder::new(Kind::from_u16(1), format!("note {n}"))
                .custom_created_at(Timestamp::from_secs(1_700_000_000 + n))
                .finalize(&keys)
                .unwrap()
        })
        .collect()
}

pub(crate) fn frame_of(sub: u32, event: &Event) -> String {
    format!(r#"["EVENT","{sub}",{}]"#, event.as_json())
}
