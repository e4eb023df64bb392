//! The registry as observer of connections and of the ingest pipeline: what they tell is what is
//! counted, and the sums agree.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nostr::event::Kind;
use nostr::types::Timestamp;
use sync_core::admit::rejected::{EventType, HotCounts, RejectReason};
use sync_core::command::Source;
use sync_core::event::Event;
use sync_core::id::RelayId;
use sync_core::url::RelayUrl;
use sync_core::wire::FrameType;
use sync_runtime::api::WallMs;
use sync_runtime::dial::StageTimings;
use sync_runtime::ingest::{EventOutcome, Observer, Resolution, SettledEvent, Stage};
use sync_runtime::observe::{Build, Format, Registry};
use sync_runtime::store::Swept;

const A: RelayId = RelayId(0);
const NOW: u64 = 1_795_000_000;

fn registry() -> Registry {
    let build = Build { version: "0.1.0", commit: "unknown" };
    let registry = Registry::new(build, Arc::new(|| WallMs(NOW * 1000)));
    let url = RelayUrl::parse("wss://relay.a.example/").expect("a relay");
    registry.on_event(&Event::RelayTracked { relay: A, url, bootstrap: true }, registry.now());
    registry
}

fn series(registry: &Registry) -> BTreeMap<String, f64> {
    let text = registry.expose(Format::Classic).replace(r#"relay="wss://relay.a.example/""#, "a");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').expect("a sample"))
        .map(|(series, value)| (series.to_owned(), value.parse().expect("a number")))
        .collect()
}

fn sum(series: &BTreeMap<String, f64>, family: &str) -> f64 {
    let rows = series.iter().filter(|(name, _)| name.split('{').next() == Some(family));
    rows.map(|(_, value)| value).sum()
}

fn settled(kind: u16, outcome: EventOutcome, reason: Option<RejectReason>) -> SettledEvent {
    SettledEvent {
        relay: Some(A),
        kind: Kind::from_u16(kind),
        created_at: Timestamp::from_secs(NOW - 3),
        outcome,
        reason,
        source: Source::Live,
        wall: Timestamp::from_secs(NOW),
    }
}

#[test]
fn a_connection_counts_frames_bytes_and_stages() {
    let registry = registry();
    let conn = registry.connection(A);
    let stage = Some(Duration::from_millis(4));
    conn.dialed(&StageTimings { dns: stage, tcp: stage, tls: None, upgrade: stage });
    conn.sent("REQ", 100);
    conn.sent("NEG-OPEN", 40);
    conn.sent("PING", 8);
    conn.received(FrameType::Eose, 20);
    conn.received(FrameType::NegMsg, 30);
    conn.rtt(Duration::from_millis(41));
    conn.first_answer(None, Duration::from_millis(9));
    let series = series(&registry);
    for (name, value) in [
        ("ngit_sync_messages_sent_total{a,type=\"req\"}", 1.0),
        ("ngit_sync_messages_sent_total{a,type=\"ping\"}", 1.0),
        ("ngit_sync_sent_bytes_total{a}", 148.0),
        ("ngit_sync_messages_received_total{a,type=\"eose\"}", 1.0),
        ("ngit_sync_messages_received_total{a,type=\"pong\"}", 1.0),
        ("ngit_sync_received_bytes_total{a}", 50.0),
        ("ngit_sync_negentropy_rounds_total{a}", 1.0),
        ("ngit_sync_relay_rtt_seconds{a}", 0.041),
        ("ngit_sync_relay_last_seen_timestamp_seconds{a}", NOW as f64),
        ("ngit_sync_connect_duration_seconds_count{stage=\"dns\"}", 1.0),
        ("ngit_sync_connect_duration_seconds_count{stage=\"tls\"}", 0.0),
        ("ngit_sync_first_event_duration_seconds_count{method=\"negentropy\"}", 1.0),
    ] {
        assert_eq!(series.get(name), Some(&value), "{name}");
    }
}

#[test]
fn every_received_event_has_one_outcome_and_both_sums_agree() {
    let registry = registry();
    let conn = registry.connection(A);
    for _ in 0..8 {
        conn.received(FrameType::Event, 640);
    }
    conn.malformed(FrameType::Event);
    conn.malformed(FrameType::Unknown);
    conn.unsolicited(FrameType::Event);
    conn.off_filter();
    registry.settled(&settled(1617, EventOutcome::Stored, None));
    registry.settled(&settled(1617, EventOutcome::Duplicate, None));
    let reason = Some(RejectReason::NotListed);
    registry.settled(&settled(30_617, EventOutcome::Rejected, reason));
    registry.settled(&settled(31_337, EventOutcome::Invalid, None));
    registry.settled(&settled(1, EventOutcome::Failed, None));
    registry.revived(&settled(30_617, EventOutcome::Stored, None));
    registry.settled(&SettledEvent { relay: None, ..settled(1, EventOutcome::Stored, None) });
    let series = series(&registry);
    let view = registry.status(registry.now()).relays[0].events;
    assert_eq!((view.received, view.stored, view.invalid, view.dropped), (9, 2, 2, 2));
    assert_eq!(sum(&series, "ngit_sync_relay_events_total"), 9.0, "received + revived");
    assert_eq!(sum(&series, "ngit_sync_kind_events_total"), 9.0);
    assert_eq!(sum(&series, "ngit_sync_events_total"), series["ngit_sync_events_synced_total"]);
    assert_eq!(series["ngit_sync_events_synced_total"], 2.0, "a client's event is not synced");
    assert_eq!(series["ngit_sync_events_total{source=\"live\"}"], 2.0);
    let rejected = "ngit_sync_rejections_total{kind=\"30617\",reason=\"not_listed\"}";
    assert_eq!(series[rejected], 1.0);
    assert_eq!(series["ngit_sync_live_delay_seconds_sum"], 3.0);
}

#[test]
fn the_pipeline_counts_stages_conflicts_and_rejections() {
    let registry = registry();
    registry.stage(Stage::Commit, Duration::from_millis(2), 100);
    Observer::conflict(&registry, Kind::from_u16(30_618), Resolution::LowestIdTiebreak);
    let counts =
        HotCounts { current: 3, hits: 2, misses: 1, expired: 4, invalidated: 5, evicted: 0 };
    registry.hot(EventType::State, counts);
    registry.hot(EventType::Other, HotCounts { current: 99, ..counts });
    registry.cold_expired(&Swept { rejections: 9, announcements: 6, states: 2, ephemeral: 1 });
    registry.store_failed(true);
    let series = series(&registry);
    for (name, value) in [
        ("ngit_sync_store_operation_duration_seconds_count{op=\"put\"}", 1.0),
        ("ngit_sync_apply_duration_seconds_sum{stage=\"store\"}", 0.002),
        ("ngit_sync_conflicts_total{kind=\"30618\",resolution=\"lowest_id_tiebreak\"}", 1.0),
        ("ngit_rejected_hot_cache_current{event_type=\"state\"}", 3.0),
        ("ngit_rejected_hot_cache_hits_total{event_type=\"state\"}", 2.0),
        ("ngit_rejected_hot_cache_misses_total{event_type=\"state\"}", 1.0),
        ("ngit_rejected_hot_cache_expired_total{event_type=\"state\"}", 4.0),
        ("ngit_rejected_invalidated_total{event_type=\"state\"}", 5.0),
        ("ngit_rejected_hot_cache_current{event_type=\"announcement\"}", 0.0),
        ("ngit_rejected_cold_index_expired_total{event_type=\"announcement\"}", 6.0),
        ("ngit_rejected_cold_index_expired_total{event_type=\"state\"}", 2.0),
        ("ngit_sync_errors_total{type=\"database\",code=\"E502\"}", 1.0),
    ] {
        assert_eq!(series.get(name), Some(&value), "{name}");
    }
}

#[test]
fn a_connection_of_an_unknown_relay_is_not_measured() {
    let registry = registry();
    registry.connection(RelayId(9)).sent("REQ", 100);
    assert_eq!(sum(&series(&registry), "ngit_sync_sent_bytes_total"), 0.0);
}
