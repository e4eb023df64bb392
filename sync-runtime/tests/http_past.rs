//! Metrics of a window and the journal over real sockets.

#[path = "http/bench.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by test binaries")]
mod bench;

use std::time::Duration;

use bench::{Bench, RELAY};
use serde_json::Value;
use sync_core::command::Source;
use sync_core::event::Event;
use sync_core::id::RelayId;
use sync_core::input::{DialError, DialErrorKind};
use sync_core::item::RelayText;
use sync_runtime::api::{Document, ErrorView, Journal, Metrics, Seconds};
use sync_runtime::observe::history::{History, Keep, SharedHistory};
use sync_runtime::observe::{ApplyStage, Outcome, Sent};
use tokio_util::sync::CancellationToken;

fn fill(bench: &Bench) {
    let registry = &bench.daemon.registry;
    let relay = registry.relay(RelayId(0)).expect("it is tracked");
    relay.sent(Sent::Req, 100);
    let at = registry.now();
    registry.stored(Some(&relay), 1617, Source::Live, at);
    registry.stored(Some(&relay), 1617, Source::Startup, at);
    registry.stored(Some(&relay), 30_618, Source::Live, at);
    registry.outcome(Some(&relay), Some(1617), Outcome::Duplicate);
    registry.apply_stage(ApplyStage::Total, Duration::from_millis(8));
    let error = DialError { kind: DialErrorKind::Refused, detail: RelayText::new("") };
    let result = Err(error);
    let event =
        Event::DialEnded { relay: RelayId(0), result, failures: 1, retry_in_ms: Some(5000) };
    registry.on_event(&event, at);
}

async fn measured(bench: &Bench, query: &str) -> Metrics {
    let document: Document<Metrics> = bench.get(&format!("/v1/metrics{query}")).await.document();
    assert_eq!(document.schema, "ngit-sync/metrics/1");
    document.data
}

#[tokio::test]
async fn metrics_answer_for_a_window_by_sections() {
    let bench = Bench::with_history().await;
    fill(&bench);
    let all = measured(&bench, "").await;
    assert!(all.window.coverage < 0.1, "before this process nobody watched");
    assert_eq!(all.window.resolution_s, Seconds(60.0));
    let operations = all.operations.expect("all sections");
    assert_eq!((operations.events.received, operations.events.stored), (4, 3));
    assert_eq!(operations.sent["req"], 1);
    assert_eq!(operations.dials["failure"], 1);
    assert_eq!(operations.waiting, 1);
    let volume = all.volume.expect("all sections");
    assert_eq!((volume.stored, volume.bytes_out), (3, 100));
    assert_eq!(volume.by_kind, [("1617".into(), 2), ("30618".into(), 1)]);
    assert_eq!(volume.by_relay, [(RELAY.into(), 3)]);
    assert_eq!((volume.by_source["live"], volume.by_source["startup"]), (2, 1));
    let spans = all.performance.expect("all sections").spans;
    assert_eq!(spans.keys().collect::<Vec<_>>(), ["apply_total"]);
    assert_eq!((spans["apply_total"].count, spans["apply_total"].sum_s), (1, Seconds(0.008)));
    let errors = all.errors.expect("all sections");
    assert_eq!((errors.total, errors.by_code["E104"]), (1, 1));
    assert_eq!(errors.recent.len(), 1);
    assert!(all.state.expect("all sections").uptime_s.0 < 60.0);
}

#[tokio::test]
async fn sections_that_are_not_asked_for_are_absent() {
    let bench = Bench::with_history().await;
    fill(&bench);
    let document: Value =
        serde_json::from_str(&bench.get("/v1/metrics?sections=volume&kind=30618").await.body)
            .expect("JSON");
    let data = document["data"].as_object().expect("an object");
    assert_eq!(data.keys().collect::<Vec<_>>(), ["volume", "window"]);
    assert_eq!(data["volume"]["stored"], 1);
    assert_eq!(data["volume"]["by_kind"], serde_json::json!([["30618", 1]]));
    let one = measured(&bench, "?sections=errors,operations&relay=relay.a.example").await;
    assert!(one.volume.is_none() && one.state.is_none() && one.performance.is_none());
    assert_eq!(one.errors.expect("asked for").by_type["network"], 1);
}

#[tokio::test]
async fn a_window_that_makes_no_sense_is_refused() {
    let bench = Bench::with_history().await;
    let id = async |query: &str| bench.get(&format!("/v1/metrics{query}")).await.error();
    assert_eq!(id("?since=2999-01-01T00:00:00Z").await, (400, "bad_request".into()));
    assert_eq!(id("?since=@20&until=@10").await.0, 400);
    assert_eq!(id("?sections=everything").await.0, 400);
    assert_eq!(id("?kind=4711").await.0, 400);
    let unknown = bench.get("/v1/metrics?relay=relay.b.example").await;
    assert_eq!(unknown.error(), (404, "not_found".into()));
    assert_eq!(unknown.document::<ErrorView>().data.nearest, [RELAY]);
    let none = Bench::new().await;
    assert_eq!(none.get("/v1/metrics").await.error(), (404, "not_found".into()));
}

#[tokio::test]
async fn the_task_writes_once_more_at_the_end_and_another_process_reads_it() {
    let bench = Bench::with_history().await;
    fill(&bench);
    let path = bench.socket.ancestors().nth(2).expect("a directory").join("history.sqlite");
    let history = History::open(&path, bench.daemon.registry.clone(), Keep::default());
    let stop = CancellationToken::new();
    let task = tokio::spawn(SharedHistory::new(history.expect("it opens")).run(stop.clone()));
    stop.cancel();
    task.await.expect("it ends");
    let metrics = bench.get("/metrics").await.body;
    assert!(metrics.contains("\nngit_sync_snapshot_last_success_timestamp_seconds "));
    let db = rusqlite::Connection::open(&path).expect("it opens");
    let rows: i64 = db.query_row("SELECT count(*) FROM rollup", [], |r| r.get(0)).expect("rows");
    assert!(rows > 5, "{rows}");
    let journal: Document<Journal> = bench.get("/v1/journal?type=error").await.document();
    assert_eq!(journal.data.entries.len(), 1);
}
