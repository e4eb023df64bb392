//! The registry: what it counts, what it exposes, and whether Prometheus' own tool accepts it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use nostr::types::Timestamp;
use sync_core::admit::rejected::HotCounts;
use sync_core::command::Source;
use sync_core::event::{BatchResult, Event, NegFallback, PassResult, Trigger};
use sync_core::id::{BatchId, RelayId, RowId};
use sync_core::input::{CloseReason, DialError, DialErrorKind};
use sync_core::item::{GapReason, Layer, Range, RelayText};
use sync_core::ledger::Method;
use sync_core::status::{HealthStatus, Reason, RelayStatus};
use sync_core::url::RelayUrl;
use sync_runtime::api::{ErrorCategory, OutcomeStatus, Phase, WallMs};
use sync_runtime::observe::{
    ApplyStage, Build, FAMILIES, Format, Outcome, Received, Registry, RejectedClass, Sent, Value,
};

const A: RelayId = RelayId(0);
const B: RelayId = RelayId(1);
const START: u64 = 1_795_000_000_000;

/// A registry on a clock that only a test moves.
struct Bench {
    registry: Registry,
    clock: Arc<AtomicU64>,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(AtomicU64::new(START));
        let read = clock.clone();
        let build = Build { version: "0.1.0", commit: "unknown" };
        let registry = Registry::new(build, Arc::new(move || WallMs(read.load(Relaxed))));
        Self { registry, clock }
    }

    fn after(&self, ms: u64) -> &Self {
        self.clock.fetch_add(ms, Relaxed);
        self
    }

    fn emit(&self, event: Event) -> &Self {
        self.registry.on_event(&event, self.registry.now());
        self
    }

    fn track(&self, relay: RelayId, url: &str) -> &Self {
        let url = RelayUrl::parse(url).expect("a relay");
        self.emit(Event::RelayTracked { relay, url, bootstrap: true })
    }

    fn to(&self, relay: RelayId, from: RelayStatus, to: RelayStatus, reason: Reason) -> &Self {
        self.emit(Event::StatusChanged { relay, from, to, reason })
    }

    fn connect(&self, relay: RelayId) -> &Self {
        self.to(relay, RelayStatus::Disconnected, RelayStatus::Connecting, Reason::Startup)
            .emit(Event::DialEnded { relay, result: Ok(()), failures: 0, retry_in_ms: None })
            .to(relay, RelayStatus::Connecting, RelayStatus::Syncing, Reason::ConnectOk)
            .emit(Event::PassStarted { relay, trigger: Trigger::Startup })
    }

    fn fail(&self, relay: RelayId, kind: DialErrorKind, failures: u32) -> &Self {
        let error = DialError { kind, detail: RelayText::new("") };
        let retry_in_ms = Some(5000);
        self.emit(Event::DialEnded { relay, result: Err(error), failures, retry_in_ms })
    }

    /// Series of the exposition by name and labels.
    fn series(&self) -> BTreeMap<String, String> {
        let text = self.registry.expose(Format::Classic);
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| line.rsplit_once(' ').expect("a sample"))
            .map(|(series, value)| (series.to_owned(), value.to_owned()))
            .collect()
    }

    fn value(&self, series: &str) -> Option<f64> {
        self.series().get(series).map(|value| value.parse().expect("a number"))
    }
}

fn gap(relay: RelayId, row: u32, reason: GapReason) -> Event {
    Event::GapOpened {
        relay,
        row: RowId(row),
        items: 3,
        range: Range::up_to(Timestamp::from_secs(100)),
        reason,
        detail: RelayText::new("blocked: \u{1b}[31mno"),
    }
}

/// Something of everything that the registry counts.
fn busy() -> Bench {
    let bench = Bench::new();
    bench.track(A, "wss://relay.a.example/").track(B, "wss://relay.b.example/");
    bench.after(1000).connect(A).fail(B, DialErrorKind::Dns, 1);
    let (batch, layer, method) = (BatchId(1), Layer::Two, Method::Negentropy);
    bench.emit(Event::BatchStarted { relay: A, batch, layer, method, items: 40, pass: true });
    bench.emit(Event::NegentropyFallback { relay: A, reason: NegFallback::Refused });
    bench.emit(Event::PageAsked { relay: A });
    let (result, received, took_ms) = (BatchResult::Partial, 7, 1500);
    let method = Method::Pages;
    bench.after(1500);
    bench.emit(Event::BatchEnded { relay: A, batch, layer, method, result, received, took_ms });
    bench.emit(gap(A, 1, GapReason::Refused)).emit(gap(A, 2, GapReason::Cut));
    let (trigger, result) = (Trigger::Startup, PassResult::Partial);
    bench.emit(Event::PassEnded { relay: A, trigger, result, took_ms });
    let (from, to) = (RelayStatus::Syncing, RelayStatus::ConnectedDegraded);
    bench.to(A, from, to, Reason::BatchFailed);
    bench.emit(Event::GapEvents { relay: A, count: 2 });
    let at = bench.registry.now();
    let relay = bench.registry.relay(A).expect("it is tracked");
    relay.sent(Sent::Req, 120);
    relay.received(Received::Event, 640, at);
    relay.round_trip(Duration::from_millis(41));
    relay.negentropy_round();
    relay.negentropy_ids(7, 2);
    relay.events_received(3);
    relay.open(2, 9);
    bench.registry.stored(Some(&relay), 1617, Source::Startup, at);
    bench.registry.outcome(Some(&relay), Some(1617), Outcome::Duplicate);
    bench.registry.outcome(Some(&relay), Some(31_337), Outcome::Rejected);
    bench.registry.rejection(31_337, "not_accepted");
    let hot = HotCounts { current: 4, hits: 1, ..HotCounts::default() };
    bench.registry.rejected_hot(RejectedClass::State, hot);
    bench.registry.apply_stage(ApplyStage::Store, Duration::from_micros(64));
    bench
}

#[test]
fn states_transitions_and_time_in_them_follow_from_events_exactly() {
    let bench = busy();
    bench.after(2500);
    let relay = r#"relay="wss://relay.a.example/""#;
    for (series, value) in [
        (format!("ngit_sync_relay_connected{{{relay}}}"), 4.0),
        (format!("ngit_sync_relay_status{{{relay}}}"), 2.0),
        (format!("ngit_sync_relay_state_seconds_total{{{relay},state=\"disconnected\"}}"), 1.0),
        (format!("ngit_sync_relay_state_seconds_total{{{relay},state=\"syncing\"}}"), 1.5),
        (
            format!("ngit_sync_relay_state_seconds_total{{{relay},state=\"connected_degraded\"}}"),
            2.5,
        ),
        (format!("ngit_sync_connection_attempts_total{{{relay},result=\"success\"}}"), 1.0),
        (format!("ngit_sync_connection_attempts_total{{{relay},result=\"failure\"}}"), 0.0),
        (format!("ngit_sync_gap_events_total{{{relay}}}"), 2.0),
        (format!("ngit_sync_gaps{{{relay},reason=\"refused\"}}"), 1.0),
        ("ngit_sync_relays_tracked_total".into(), 2.0),
        ("ngit_sync_relays_connected_total".into(), 1.0),
        ("ngit_sync_relays_dead_total".into(), 0.0),
        ("ngit_sync_phase".into(), 3.0),
        (r#"ngit_sync_phase_seconds_total{phase="syncing"}"#.into(), 1.5),
        (r#"ngit_sync_batches_started_total{layer="2",method="negentropy"}"#.into(), 1.0),
        (
            r#"ngit_sync_batches_completed_total{layer="2",method="pages",result="partial"}"#
                .into(),
            1.0,
        ),
        (r#"ngit_sync_batches_pending{layer="2"}"#.into(), 0.0),
        (r#"ngit_sync_historic_syncs_total{trigger="startup",result="partial"}"#.into(), 1.0),
        (r#"ngit_sync_negentropy_fallbacks_total{reason="refused"}"#.into(), 1.0),
        (r#"ngit_sync_errors_total{type="dns",code="E101"}"#.into(), 1.0),
        (r#"ngit_sync_errors_total{type="protocol",code="E212"}"#.into(), 1.0),
        (r#"ngit_sync_events_total{source="startup"}"#.into(), 1.0),
        ("ngit_sync_events_synced_total".into(), 1.0),
        (r#"ngit_sync_kind_events_total{kind="other",outcome="rejected"}"#.into(), 1.0),
        (r#"ngit_rejected_hot_cache_hits_total{event_type="state"}"#.into(), 1.0),
        (r#"ngit_sync_retry_queue_depth{operation="connect"}"#.into(), 1.0),
    ] {
        assert_eq!(bench.value(&series), Some(value), "{series}");
    }
}

#[test]
fn children_exist_before_they_are_touched() {
    let bench = Bench::new();
    bench.track(A, "wss://relay.a.example/");
    let series = bench.series();
    for name in [
        r#"ngit_sync_events_total{source="daily"}"#,
        r#"ngit_sync_connection_attempts_total{relay="wss://relay.a.example/",result="failure"}"#,
        r#"ngit_sync_gap_events_total{relay="wss://relay.a.example/"}"#,
        r#"ngit_rejected_hot_cache_misses_total{event_type="announcement"}"#,
        r#"ngit_rejected_cold_index_current{event_type="state"}"#,
        r#"ngit_sync_relay_events_total{relay="wss://relay.a.example/",outcome="invalid"}"#,
        r#"ngit_sync_queue_dropped_total{queue="ingest"}"#,
        r#"ngit_sync_errors_total{type="database",code="E501"}"#,
        r#"ngit_sync_batches_completed_total{layer="1",method="pages",result="failed"}"#,
    ] {
        assert_eq!(series.get(name).map(String::as_str), Some("0"), "{name}");
    }
}

#[test]
fn series_of_a_forgotten_relay_go_and_its_events_stay_accounted_for() {
    let bench = busy();
    bench.emit(Event::RelayForgotten { relay: A });
    let series = bench.series();
    assert!(!series.keys().any(|name| name.contains("relay.a.example")));
    assert!(bench.registry.relay(A).is_none());
    let sum = |family: &str| -> f64 {
        let of = series.iter().filter(|(name, _)| name.starts_with(family));
        of.map(|(_, value)| value.parse::<f64>().expect("a number")).sum()
    };
    assert_eq!(sum("ngit_sync_relay_events_total{"), 3.0);
    assert_eq!(sum("ngit_sync_kind_events_total{"), 3.0);
}

#[test]
fn relays_beyond_the_cap_share_one_label_that_never_shrinks() {
    let bench = Bench::new();
    for n in 0..503 {
        bench.track(RelayId(n), &format!("wss://relay{n}.example/"));
        bench.registry.relay(RelayId(n)).expect("tracked").sent(Sent::Req, 10);
    }
    let connected = |bench: &Bench| {
        bench.series().keys().filter(|name| name.starts_with("ngit_sync_relay_connected")).count()
    };
    assert_eq!(connected(&bench), 500);
    assert_eq!(bench.value(r#"ngit_sync_sent_bytes_total{relay="other"}"#), Some(30.0));
    assert_eq!(bench.value("ngit_sync_relays_tracked_total"), Some(503.0));
    assert_eq!(bench.value(r#"ngit_sync_label_overflow_total{label="relay"}"#), Some(3.0));
    bench.emit(Event::RelayForgotten { relay: RelayId(501) });
    bench.emit(Event::RelayForgotten { relay: RelayId(0) });
    assert_eq!(bench.value(r#"ngit_sync_sent_bytes_total{relay="other"}"#), Some(30.0));
    bench.track(RelayId(600), "wss://late.example/");
    assert_eq!(connected(&bench), 500, "a free place is taken");
}

#[test]
fn the_status_names_problems_until_twelve_hours_pass() {
    let bench = busy();
    let status = bench.registry.status(bench.registry.now());
    assert_eq!(status.phase, Phase::Partial);
    let problems: Vec<_> = status.problems.iter().map(|p| (p.relay.as_str(), p.category)).collect();
    assert_eq!(
        problems,
        [
            ("wss://relay.a.example/", ErrorCategory::Protocol),
            ("wss://relay.b.example/", ErrorCategory::Dns),
        ]
    );
    let (a, b) = (&status.relays[0], &status.relays[1]);
    assert_eq!((a.gap_count, a.note.as_str()), (2, "2 gaps: cut, refused"));
    assert_eq!(a.gaps[0].detail, "blocked: [31mno", "control characters are gone");
    assert_eq!((a.events.stored, a.events.duplicate, a.events.rejected), (1, 1, 1));
    assert_eq!((a.bytes_in, a.bytes_out), (640, 120));
    assert_eq!((b.failures, b.retry_in_s.map(|s| s.0)), (1, Some(3.5)));
    bench.after(12 * 3_600_000);
    assert!(bench.registry.status(bench.registry.now()).problems.is_empty());
}

#[test]
fn a_one_shot_sync_tells_how_each_relay_ended() {
    let bench = busy();
    let (reason, failures, retry_in_ms) = (CloseReason::Local, 0, None);
    bench.emit(Event::ConnectionEnded { relay: A, reason, failures, retry_in_ms });
    let outcome = bench.registry.outcome_of_sync(bench.registry.now());
    let status: Vec<_> = outcome.relays.iter().map(|relay| relay.status).collect();
    assert_eq!(status, [OutcomeStatus::Partial, OutcomeStatus::Unreachable]);
    assert_eq!(outcome.status(), OutcomeStatus::Unreachable);
    assert_eq!(outcome.relays[1].explained.as_deref(), Some("name not found"));
    let a = &outcome.relays[0];
    assert_eq!((a.stored, a.known, a.rejected, a.batches, a.pages, a.rounds), (1, 1, 1, 1, 1, 1));
    assert_eq!(a.methods, [Method::Pages]);
    assert_eq!(a.gaps.len(), 2);
    bench.emit(Event::GapClosed { relay: A, row: RowId(1) });
    bench.emit(Event::GapClosed { relay: A, row: RowId(2) });
    let outcome = bench.registry.outcome_of_sync(bench.registry.now());
    assert_eq!(outcome.relays[0].status, OutcomeStatus::Synced);
}

#[test]
fn health_is_counted_by_its_transitions_and_dead_relays_by_state() {
    let bench = Bench::new();
    bench.track(A, "wss://relay.a.example/").fail(A, DialErrorKind::Refused, 40);
    let (from, to) = (HealthStatus::Disconnected, HealthStatus::Dead);
    bench.emit(Event::HealthChanged { relay: A, from, to, reason: Reason::DeadThreshold });
    assert_eq!(bench.value("ngit_sync_relays_dead_total"), Some(1.0));
    let series = r#"ngit_sync_relay_health_transitions_total{from="disconnected",to="dead",reason="dead_threshold"}"#;
    assert_eq!(bench.value(series), Some(1.0));
    assert_eq!(
        bench.value(r#"ngit_sync_relay_failures{relay="wss://relay.a.example/"}"#),
        Some(40.0)
    );
    assert_eq!(bench.registry.status(bench.registry.now()).phase, Phase::Offline);
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/alerts")
}

/// Name, type and labels of the rows of the catalogue's document.
fn rows() -> Vec<(String, String, BTreeSet<String>, String)> {
    let text = std::fs::read_to_string(docs().join("metrics.tsv")).expect("docs/alerts");
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| {
        let mut cells = row.split('\t').map(str::to_owned);
        let mut cell = || cells.next().expect("four cells");
        let (name, kind, labels, group) = (cell(), cell(), cell(), cell());
        let labels = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.into()));
        (name, kind, labels.collect(), group)
    })
    .collect()
}

#[test]
fn every_family_is_documented_and_every_contract_family_is_exported() {
    let rows = rows();
    for family in FAMILIES {
        let row = rows.iter().find(|(name, ..)| name == family.name);
        let (_, kind, labels, _) = row.unwrap_or_else(|| panic!("{} is no row", family.name));
        assert_eq!(family.kind.as_str(), kind, "{}", family.name);
        let own: BTreeSet<String> = family.labels.iter().map(|label| (*label).into()).collect();
        assert_eq!(&own, labels, "{}", family.name);
    }
    let exported: Vec<_> = busy().registry.gather(WallMs(START)).into_iter().collect();
    for (name, .., group) in &rows {
        let found = exported.iter().any(|samples| samples.family.name == name);
        assert!(found || group != "contract", "{name} is missing");
    }
}

#[test]
fn no_counter_is_named_like_the_gauges_that_end_in_total() {
    for name in ["tracked", "connected", "dead"] {
        let gauge = format!("ngit_sync_relays_{name}_total");
        let family = FAMILIES.iter().find(|f| f.name == gauge).expect("a contract gauge");
        assert_eq!(family.kind.as_str(), "gauge");
        assert!(!FAMILIES.iter().any(|f| f.name == format!("ngit_sync_relays_{name}")));
    }
}

#[test]
fn both_formats_hold_the_same_samples() {
    let bench = busy();
    let read = |format| -> BTreeMap<String, f64> {
        let text = bench.registry.expose(format);
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        // Of the process itself, whose figures move between two scrapes, only the names count.
        samples
            .map(|line| line.rsplit_once(' ').expect("a sample"))
            .map(|(series, value)| (series, value.parse().expect("a number")))
            .map(|(series, value)| {
                (series.to_owned(), if series.starts_with("process_") { 0.0 } else { value })
            })
            .collect()
    };
    let classic = read(Format::Classic);
    let open = read(Format::OpenMetrics);
    let differing: Vec<_> =
        classic.iter().filter(|(series, value)| open.get(*series) != Some(value)).collect();
    assert_eq!(differing, []);
    assert_eq!(classic.len(), open.len());
    let bucket = r#"ngit_sync_apply_duration_seconds_bucket{le="0.000064",stage="store"}"#;
    assert_eq!(classic.get(bucket), Some(&1.0), "a bound belongs to its bucket");
    let open = bench.registry.expose(Format::OpenMetrics);
    assert!(open.ends_with("# EOF\n"));
    assert!(open.contains("# TYPE ngit_sync_events counter\n"));
    assert!(
        bench.registry.expose(Format::Classic).contains("# TYPE ngit_sync_events_total counter\n")
    );
}

#[test]
fn histograms_keep_count_sum_and_extremes() {
    let samples = busy().registry.gather(WallMs(START));
    let batch = samples.iter().find(|s| s.family.name == "ngit_sync_batch_duration_seconds");
    let Value::Histogram(copy) = &batch.expect("one ended").rows[0].value else { panic!() };
    assert_eq!((copy.count, copy.sum, copy.min), (1, 1_500_000, Some(1_500_000)));
    assert_eq!(copy.quantile(99, 100), Some(1_500_000));
}

/// Runs promtool, or says which package it needs. In CI it must be there.
fn promtool(args: &[&str], input: &str) -> Option<Output> {
    let mut command = Command::new("promtool");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        let missing = "promtool is missing; it is in Debian's package `prometheus`";
        assert!(std::env::var_os("CI").is_none(), "{missing}");
        eprintln!("skipped: {missing}");
        return None;
    };
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("promtool reads");
    Some(child.wait_with_output().expect("promtool ends"))
}

#[test]
fn promtool_finds_the_three_gauges_named_total_and_nothing_else() {
    let body = busy().registry.expose(Format::Classic);
    let Some(output) = promtool(&["check", "metrics"], &body) else { return };
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = ["connected", "dead", "tracked"].map(|name| {
        format!(
            "ngit_sync_relays_{name}_total non-counter metrics should not have \"_total\" suffix"
        )
    });
    let mut findings: Vec<_> = text.lines().collect();
    findings.sort_unstable();
    assert_eq!(findings, expected, "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn promtool_accepts_the_rules_and_their_tests() {
    let path = |name| docs().join(name).display().to_string();
    for args in [
        ["check", "rules", &path("ngit-sync.rules.yml")],
        ["test", "rules", &path("ngit-sync.rules.test.yml")],
    ] {
        let Some(output) = promtool(&args, "") else { return };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {text}{errors}");
        assert!(text.contains("SUCCESS"), "{text}");
    }
}

#[test]
fn rules_name_only_documented_metrics() {
    let rules = std::fs::read_to_string(docs().join("ngit-sync.rules.yml")).expect("docs/alerts");
    let known: Vec<String> = rows().into_iter().map(|(name, ..)| name).collect();
    let mut used = 0;
    for word in rules.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')) {
        let recorded = word.contains(':');
        if !(word.starts_with("ngit_sync_") || word.starts_with("ngit_rejected_")) || recorded {
            continue;
        }
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
        let found = known.iter().any(|name| name == word || Some(name.as_str()) == family);
        assert!(found, "{word} is no metric");
        used += 1;
    }
    assert!(used > 20, "only {used} names were found");
}
