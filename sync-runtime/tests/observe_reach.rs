//! Every family is moved by something: a recorder that nobody calls would always read zero.

use std::sync::Arc;
use std::time::Duration;

use nostr::event::Kind;
use nostr::types::Timestamp;
use sync_core::admit::rejected::{EventType, HotCounts, RejectReason};
use sync_core::command::Source;
use sync_core::event::{BatchResult, DeferReason, Event, NegFallback, PassResult, Trigger};
use sync_core::id::{BatchId, RelayId, RowId};
use sync_core::input::{DialError, DialErrorKind};
use sync_core::item::{GapReason, Layer, Range, RelayText};
use sync_core::ledger::Method;
use sync_core::status::{HealthStatus, Reason, RelayStatus};
use sync_core::url::RelayUrl;
use sync_core::wire::FrameType;
use sync_runtime::api::WallMs;
use sync_runtime::dial::StageTimings;
use sync_runtime::ingest::{EventOutcome, Observer, Resolution, SettledEvent, Stage};
use sync_runtime::observe::history::{History, Keep};
use sync_runtime::observe::{
    Build, FAMILIES, Published, Queue, Registry, Sampled, Samples, StreamClient, Value,
};
use sync_runtime::store::Swept;

const RELAY: RelayId = RelayId(0);

fn emit(registry: &Registry, event: Event) {
    registry.on_event(&event, registry.now());
}

fn core_events(registry: &Registry) {
    let relay = RELAY;
    for n in 0..501 {
        let url = RelayUrl::parse(&format!("wss://relay{n}.example/")).expect("a relay");
        emit(registry, Event::RelayTracked { relay: RelayId(n), url, bootstrap: false });
    }
    let dead = HealthStatus::Dead;
    let (from, reason) = (HealthStatus::Disconnected, Reason::DeadThreshold);
    emit(registry, Event::HealthChanged { relay: RelayId(1), from, to: dead, reason });
    let error = DialError { kind: DialErrorKind::Dns, detail: RelayText::new("") };
    let result = Err(error);
    emit(registry, Event::DialEnded { relay, result, failures: 1, retry_in_ms: Some(9) });
    let ok = Ok(());
    emit(registry, Event::DialEnded { relay, result: ok, failures: 1, retry_in_ms: None });
    let error = DialError { kind: DialErrorKind::Dns, detail: RelayText::new("") };
    let (result, retry_in_ms) = (Err(error), Some(9));
    emit(registry, Event::DialEnded { relay: RelayId(2), result, failures: 1, retry_in_ms });
    let (from, to) = (RelayStatus::Disconnected, RelayStatus::Syncing);
    emit(registry, Event::StatusChanged { relay, from, to, reason: Reason::ConnectOk });
    let (trigger, result) = (Trigger::Startup, PassResult::Ok);
    emit(registry, Event::PassStarted { relay, trigger });
    emit(registry, Event::PassEnded { relay, trigger, result, took_ms: 5 });
    emit(registry, Event::PassStarted { relay, trigger });
    for n in 0..2 {
        let (batch, layer, method) = (BatchId(n), Layer::One, Method::Pages);
        emit(registry, Event::BatchStarted { relay, batch, layer, method, items: 3, pass: true });
    }
    let (batch, layer, method, result) = (BatchId(0), Layer::One, Method::Pages, BatchResult::Ok);
    let (received, took_ms) = (1, 5);
    emit(registry, Event::BatchEnded { relay, batch, layer, method, result, received, took_ms });
    let (row, reason, detail) = (RowId(1), GapReason::Timeout, RelayText::new(""));
    let range = Range::up_to(Timestamp::from_secs(9));
    emit(registry, Event::GapOpened { relay, row, items: 1, range, reason, detail });
    emit(registry, Event::NegentropyFallback { relay, reason: NegFallback::Refused });
    emit(registry, Event::PageAsked { relay });
    let text = RelayText::new("slow down");
    emit(registry, Event::RateLimited { relay, text, cooldown_ms: 65_000 });
    emit(registry, Event::Deferred { relay, reason: DeferReason::Queue });
    emit(registry, Event::GapEvents { relay, count: 1 });
}

fn tasks(registry: &Registry) -> Option<StreamClient> {
    let conn = registry.connection(RELAY);
    let took = Some(Duration::from_millis(4));
    conn.dialed(&StageTimings { dns: took, tcp: took, tls: took, upgrade: took });
    conn.sent("NEG-OPEN", 100);
    conn.received(FrameType::Event, 640);
    conn.rtt(Duration::from_millis(41));
    conn.first_answer(None, Duration::from_millis(9));
    let obs = registry.relay(RELAY).expect("it is tracked");
    obs.send_failed();
    obs.negentropy_ids(1, 1);
    obs.open(2, 9);
    obs.published(Published::Accepted);
    registry.queue_dropped(Queue::Ingest, 1);
    registry.request("status", 200);
    let client = registry.stream_client();
    client.iter().for_each(|client| client.dropped(1));
    client
}

fn pipeline(registry: &Registry) {
    let event = SettledEvent {
        relay: Some(RELAY),
        kind: Kind::from_u16(1617),
        created_at: Timestamp::from_secs(1),
        outcome: EventOutcome::Stored,
        reason: None,
        source: Source::Live,
        wall: Timestamp::from_secs(2),
    };
    registry.settled(&event);
    let (outcome, reason) = (EventOutcome::Rejected, Some(RejectReason::NotListed));
    registry.settled(&SettledEvent { outcome, reason, ..event });
    Observer::conflict(registry, Kind::from_u16(30_618), Resolution::Deleted);
    registry.stage(Stage::Commit, Duration::from_millis(2), 1);
    let counts =
        HotCounts { current: 1, hits: 1, misses: 1, expired: 1, invalidated: 1, evicted: 1 };
    registry.hot(EventType::State, counts);
    registry.cold_expired(&Swept { rejections: 1, announcements: 0, states: 1, ephemeral: 0 });
    registry.sample(Sampled {
        store_kinds: Some(vec![(1617, 1)]),
        store_size_bytes: Some(1),
        repositories: Some(1),
        roots: Some(1),
        queues: vec![(Queue::Ingest, 1, 10)],
        outbox: Some(1),
        rejected_rows: [1, 1],
    });
}

#[test]
fn every_family_of_the_catalogue_is_moved() {
    let build = Build { version: "0.1.0", commit: "unknown" };
    let registry = Registry::new(build, Arc::new(|| WallMs(1_795_000_000_000)));
    core_events(&registry);
    let _client = tasks(&registry);
    pipeline(&registry);
    let dir = tempfile::TempDir::new().expect("a directory");
    let path = dir.path().join("history.sqlite");
    let mut history = History::open(&path, registry.clone(), Keep::default()).expect("it opens");
    history.flush(registry.now()).expect("it is written");
    // A queue that dropped fires at once, when there was a moment before.
    registry.evaluate(registry.now());
    registry.queue_dropped(Queue::Ingest, 1);
    registry.evaluate(registry.now());
    let later = WallMs(registry.now().0 + 1000);
    let gathered = registry.gather(later);
    let moved = |samples: &Samples| {
        samples.rows.iter().any(|row| match &row.value {
            Value::Count(n) => *n > 0,
            Value::Number(n) => *n > 0.0,
            Value::Histogram(copy) => copy.count > 0,
        })
    };
    let still: Vec<_> = FAMILIES
        .iter()
        .filter(|family| !gathered.iter().any(|s| s.family == *family && moved(s)))
        .map(|family| family.name)
        .collect();
    assert_eq!(still, Vec::<&str>::new(), "nothing moves these");
}
