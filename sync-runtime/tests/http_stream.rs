//! The event stream over real sockets: what a client is told, and how it goes on.

#[path = "http/bench.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by test binaries")]
mod bench;

use bench::{Bench, RELAY, open};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, StatusCode};
use serde_json::Value;
use sync_core::event::Event;
use sync_core::id::RelayId;
use sync_core::status::{Reason, RelayStatus};
use sync_core::url::RelayUrl;
use sync_runtime::api::{Document, Journal, What};
use tokio::net::TcpStream;

/// After so long without anything a test has failed.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// A client that reads event by event.
struct Reader {
    body: Incoming,
    text: String,
}

/// One event.
#[derive(Debug)]
struct Told {
    kind: String,
    id: Option<String>,
    data: Value,
}

impl Reader {
    async fn new(bench: &Bench, query: &str, last: Option<&str>) -> Self {
        let stream = TcpStream::connect(&bench.host).await.expect("it listens");
        let mut headers = vec![("host", bench.host.as_str())];
        headers.extend(last.map(|id| ("last-event-id", id)));
        let path = format!("/v1/stream{query}");
        let response = open(stream, Method::GET, &path, &headers, "").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    /// The next event, or `None` at the end.
    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    block.lines().find_map(|line| Some(line.strip_prefix(name)?.to_owned()))
                };
                let Some(kind) = field("event: ") else { continue };
                let data = serde_json::from_str(&field("data: ").expect("data")).expect("JSON");
                return Some(Told { kind, id: field("id: "), data });
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            let frame = frame.expect("nothing more comes")?.expect("no error");
            let bytes = frame.into_data().expect("data");
            self.text.push_str(std::str::from_utf8(&bytes).expect("text"));
        }
    }

    async fn expect(&mut self, kind: &str) -> Told {
        let told = self.next().await.expect("not the end");
        assert_eq!(told.kind, kind, "{told:?}");
        told
    }
}

fn transition(bench: &Bench, from: RelayStatus, to: RelayStatus) {
    let event = Event::StatusChanged { relay: RelayId(0), from, to, reason: Reason::Startup };
    bench.daemon.registry.on_event(&event, bench.daemon.registry.now());
}

/// Waits until the server has seen the ends of connections, and so many clients are left.
async fn clients(bench: &Bench, count: u32) {
    let gauge = format!("ngit_sync_stream_clients {count}\n");
    while !bench.get("/metrics").await.body.contains(&gauge) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_gets_a_snapshot_and_then_what_happens() {
    let bench = Bench::new().await;
    let mut reader = Reader::new(&bench, "", None).await;
    let hello = reader.expect("hello").await;
    assert_eq!(hello.data["schema"], "ngit-sync/stream/1");
    let snapshot = reader.expect("snapshot").await;
    assert_eq!(snapshot.data["relays"][0]["connection"], "disconnected");
    transition(&bench, RelayStatus::Disconnected, RelayStatus::Connecting);
    let told = reader.expect("transition").await;
    assert_eq!((&told.data["to"], &told.data["relay"]), (&"connecting".into(), &RELAY.into()));
    assert!(told.id > snapshot.id);
    let changes = reader.expect("counters").await;
    assert_eq!(changes.data["relays"][0]["connection"], "connecting");
    assert_eq!(changes.data["counts"]["connecting"], 1);
}

#[tokio::test]
async fn a_client_that_comes_back_misses_nothing_and_sees_nothing_twice() {
    let bench = Bench::new().await;
    let mut reader = Reader::new(&bench, "?types=transition", None).await;
    reader.expect("hello").await;
    transition(&bench, RelayStatus::Disconnected, RelayStatus::Connecting);
    let told = reader.expect("transition").await;
    drop(reader);
    transition(&bench, RelayStatus::Connecting, RelayStatus::Syncing);
    transition(&bench, RelayStatus::Syncing, RelayStatus::Connected);
    let mut reader = Reader::new(&bench, "?types=transition", told.id.as_deref()).await;
    reader.expect("hello").await;
    assert_eq!(reader.expect("transition").await.data["to"], "syncing");
    assert_eq!(reader.expect("transition").await.data["to"], "connected");
}

#[tokio::test]
async fn a_client_of_another_process_begins_anew() {
    let bench = Bench::new().await;
    let mut reader = Reader::new(&bench, "", Some("0-17")).await;
    reader.expect("hello").await;
    reader.expect("reset").await;
    reader.expect("snapshot").await;
}

#[tokio::test]
async fn a_client_that_fell_behind_is_told_and_gets_a_snapshot() {
    let bench = Bench::new().await;
    let mut reader = Reader::new(&bench, "?types=snapshot,transition", None).await;
    let first = {
        reader.expect("hello").await;
        reader.expect("snapshot").await.id.expect("it can be resumed from")
    };
    drop(reader);
    clients(&bench, 0).await;
    for _ in 0..5000 {
        transition(&bench, RelayStatus::Disconnected, RelayStatus::Connecting);
    }
    let mut reader = Reader::new(&bench, "?types=snapshot,transition", Some(&first)).await;
    reader.expect("hello").await;
    let dropped = reader.expect("dropped").await;
    // The phase does not change with a relay that connects, so each is one entry.
    assert_eq!(dropped.data["n"], 5000 - 4096);
    let snapshot = reader.expect("snapshot").await.id.expect("it can be resumed from");
    let next = reader.expect("transition").await.id.expect("so can it");
    let number = |id: &str| id.rsplit_once('-').and_then(|(_, n)| n.parse::<u64>().ok());
    assert_eq!(number(&next), number(&snapshot).map(|n| n + 1), "nothing lies between");
    clients(&bench, 1).await;
    let counted = bench.get("/metrics").await.body;
    assert!(counted.contains("ngit_sync_stream_dropped_total 904\n"));
}

#[tokio::test]
async fn the_stream_ends_with_the_daemon() {
    let mut bench = Bench::new().await;
    let mut reader = Reader::new(&bench, "", None).await;
    reader.expect("hello").await;
    reader.expect("snapshot").await;
    bench.end().await;
    reader.expect("bye").await;
    assert!(reader.next().await.is_none());
}

#[tokio::test]
async fn only_so_many_clients_are_served() {
    let bench = Bench::new().await;
    let mut readers = Vec::new();
    for _ in 0..32 {
        readers.push(Reader::new(&bench, "", None).await);
    }
    assert_eq!(bench.get("/v1/stream").await.error(), (503, "unavailable".into()));
    readers.pop();
    clients(&bench, 31).await;
    Reader::new(&bench, "", None).await;
}

#[tokio::test]
async fn the_journal_is_asked_by_type_severity_and_relay() {
    let bench = Bench::new().await;
    let registry = &bench.daemon.registry;
    let url = RelayUrl::parse("wss://relay.b.example/").expect("a relay");
    let tracked = Event::RelayTracked { relay: RelayId(1), url, bootstrap: false };
    registry.on_event(&tracked, registry.now());
    transition(&bench, RelayStatus::Syncing, RelayStatus::ConnectedDegraded);
    let journal = async |query: &str| -> Document<Journal> {
        bench.get(&format!("/v1/journal{query}")).await.document()
    };
    let all = journal("").await.data;
    let kinds: Vec<_> = all.entries.iter().map(|entry| entry.what.kind()).collect();
    assert_eq!(kinds, ["boot", "tracked", "tracked", "transition", "phase"]);
    assert!(!all.truncated);
    let warnings = journal("?severity=warn").await.data.entries;
    assert!(matches!(warnings[..], [ref only] if matches!(only.what, What::Transition { .. })));
    let of_b = journal("?type=tracked,transition&relay=relay.b").await.data.entries;
    assert_eq!(of_b.len(), 1);
    let last = journal("?limit=1&since=@0").await.data;
    assert_eq!((last.entries[0].what.kind(), last.truncated), ("phase", true));
    assert_eq!(bench.get("/v1/journal?since=yesterday").await.error().0, 400);
    assert_eq!(bench.get("/v1/journal?sevrity=warn").await.error().0, 400);
}
