//! Alert rules that the daemon evaluates itself, on a clock that only the test moves, and their
//! parity with the rules for Prometheus.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sync_core::event::Event;
use sync_core::id::RelayId;
use sync_core::input::{DialError, DialErrorKind};
use sync_core::item::RelayText;
use sync_core::status::{HealthStatus, Reason, RelayStatus};
use sync_core::url::RelayUrl;
use sync_runtime::api::{WallMs, What};
use sync_runtime::observe::alerts::RULES;
use sync_runtime::observe::{Build, Format, Outcome, Queue, Received, Registry, Sampled, StoreOp};

struct Bench {
    registry: Registry,
    clock: Arc<AtomicU64>,
}

impl Bench {
    fn new(relays: u32) -> Self {
        let clock = Arc::new(AtomicU64::new(1_795_000_000_000));
        let read = clock.clone();
        let build = Build { version: "0.1.0", commit: "unknown" };
        let registry = Registry::new(build, Arc::new(move || WallMs(read.load(Relaxed))));
        let bench = Self { registry, clock };
        for n in 0..relays {
            let url = RelayUrl::parse(&format!("wss://relay{n}.example/")).expect("a relay");
            bench.emit(Event::RelayTracked { relay: RelayId(n), url, bootstrap: true });
        }
        bench
    }

    fn emit(&self, event: Event) {
        self.registry.on_event(&event, self.registry.now());
    }

    fn health(&self, n: u32, to: HealthStatus) {
        let (relay, from, reason) = (RelayId(n), HealthStatus::Disconnected, Reason::RetryDue);
        self.emit(Event::HealthChanged { relay, from, to, reason });
    }

    fn connection(&self, n: u32, to: RelayStatus) {
        let (relay, from, reason) = (RelayId(n), RelayStatus::Disconnected, Reason::RetryDue);
        self.emit(Event::StatusChanged { relay, from, to, reason });
    }

    /// Lets time pass, with an evaluation every half minute and `act` before each.
    fn run(&self, minutes: u64, act: impl Fn()) -> &Self {
        for _ in 0..minutes * 2 {
            self.clock.fetch_add(30_000, Relaxed);
            act();
            self.registry.evaluate(self.registry.now());
        }
        self
    }

    /// What fires: names and subjects.
    fn firing(&self) -> Vec<(String, String)> {
        let alerts = self.registry.alerts().alerts.into_iter();
        alerts
            .flat_map(|alert| {
                let firing = alert.instances.into_iter().filter(|instance| instance.firing);
                let named = firing.map(move |i| (alert.name.clone(), i.subject.clone()));
                named.collect::<Vec<_>>()
            })
            .collect()
    }

    fn fires(&self, name: &str) -> bool {
        self.firing().iter().any(|(firing, _)| firing == name)
    }
}

fn nothing() {}

#[test]
fn a_dead_relay_is_told_after_a_day_and_its_recovery_at_once() {
    let bench = Bench::new(1);
    bench.connection(0, RelayStatus::Connecting);
    bench.health(0, HealthStatus::Dead);
    assert!(!bench.run(24 * 60 - 1, nothing).fires("SyncRelayDead"));
    assert!(bench.run(2, nothing).fires("SyncRelayDead"));
    let series = r#"ngit_sync_alerts_firing{alert="SyncRelayDead",severity="warning"} 1"#;
    assert!(bench.registry.expose(Format::Classic).contains(series));
    bench.health(0, HealthStatus::Healthy);
    assert!(!bench.run(1, nothing).fires("SyncRelayDead"));
    let (entries, _) = bench.registry.latest(100, |entry| entry.what.kind() == "alert");
    let of_it: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.what {
            What::Alert { name, firing, summary, .. } if name == "SyncRelayDead" => {
                Some((*firing, summary.as_str(), entry.relay.as_ref().map(RelayUrl::as_str)))
            }
            _ => None,
        })
        .collect();
    let summary = "wss://relay0.example/ is dead: it fails for a day and more (4)";
    let relay = Some("wss://relay0.example/");
    assert_eq!(of_it, [(true, summary, relay), (false, summary, relay)]);
}

#[test]
fn two_degraded_relays_are_not_many_and_six_are() {
    let bench = Bench::new(6);
    (0..2).for_each(|n| bench.health(n, HealthStatus::Degraded));
    assert!(!bench.run(30, nothing).fires("SyncManyDegraded"), "a sum would fire");
    (2..6).for_each(|n| bench.health(n, HealthStatus::Degraded));
    assert!(!bench.run(14, nothing).fires("SyncManyDegraded"));
    assert!(bench.run(2, nothing).fires("SyncManyDegraded"));
}

#[test]
fn states_that_last_are_told() {
    let bench = Bench::new(3);
    assert!(bench.run(6, nothing).fires("SyncNoRelaysConnected"));
    bench.connection(0, RelayStatus::Syncing);
    bench.connection(1, RelayStatus::ConnectedDegraded);
    bench.run(29, nothing);
    assert_eq!(bench.firing(), []);
    let partial = ("SyncRelayPartialHistory".to_owned(), "wss://relay1.example/".to_owned());
    assert_eq!(bench.run(2, nothing).firing(), [partial]);
    assert!(bench.run(30, nothing).fires("SyncRelaySlow"));
}

#[test]
fn growth_is_told_and_forgotten_with_its_window() {
    let bench = Bench::new(2);
    bench.connection(0, RelayStatus::Connected);
    let relay = bench.registry.relay(RelayId(0)).expect("tracked");
    bench.run(5, nothing);
    bench.registry.outcome(Some(&relay), Some(1), Outcome::Invalid);
    bench.emit(Event::GapEvents { relay: RelayId(0), count: 1 });
    assert!(bench.run(1, nothing).fires("SyncInvalidEvents"));
    assert!(!bench.fires("SyncGapEvents"));
    assert!(bench.run(10, nothing).fires("SyncGapEvents"));
    assert!(!bench.run(6, nothing).fires("SyncInvalidEvents"));
    assert!(!bench.run(60, nothing).fires("SyncGapEvents"));
    bench.emit(Event::RelayForgotten { relay: RelayId(0) });
    assert!(!bench.run(1, nothing).fires("SyncInvalidEvents"), "no event came");
    let dial = || {
        let error = DialError { kind: DialErrorKind::Refused, detail: RelayText::new("") };
        let (relay, result) = (RelayId(1), Err(error));
        bench.emit(Event::DialEnded { relay, result, failures: 1, retry_in_ms: Some(1) });
    };
    assert!(bench.run(31, dial).fires("SyncRelayFlapping"));
    let burst = || (0..4).for_each(|_| dial());
    assert!(bench.run(16, burst).fires("SyncErrorBurst"));
}

#[test]
fn queues_stores_and_silence_are_told() {
    let bench = Bench::new(1);
    bench.connection(0, RelayStatus::Connected);
    let relay = bench.registry.relay(RelayId(0)).expect("tracked");
    relay.received(Received::Eose, 10, bench.registry.now());
    let queues = vec![(Queue::Ingest, 90, 100), (Queue::Verify, 10, 100)];
    bench.registry.sample(Sampled { queues, ..Sampled::default() });
    let slow = || bench.registry.store_op(StoreOp::Put, Duration::from_millis(400));
    bench.run(12, slow);
    let names: BTreeMap<_, _> = bench.firing().into_iter().collect();
    assert_eq!(names.get("SyncQueueSaturated").map(String::as_str), Some("ingest"));
    assert_eq!(names.get("SyncStoreSlow").map(String::as_str), Some("put"));
    assert!(bench.fires("SyncRelaySilent"));
    bench.registry.queue_dropped(Queue::Ingest, 1);
    assert!(bench.run(1, nothing).fires("SyncQueueDropping"));
    (0..101).for_each(|_| bench.registry.outcome(None, Some(1), Outcome::Dropped));
    assert!(bench.run(16, nothing).fires("SyncAccountingBroken"));
}

#[test]
fn the_rules_are_those_for_prometheus() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/alerts/ngit-sync.rules.yml");
    let text = std::fs::read_to_string(path).expect("docs/alerts");
    let mut theirs = BTreeMap::new();
    for rule in text.split("- alert: ").skip(1) {
        let field = |name: &str| {
            let line = rule.lines().find_map(|line| line.trim().strip_prefix(name));
            line.map(str::trim)
        };
        let severity = field("labels: {severity: ").expect("it has one").trim_end_matches('}');
        let lasts = match field("for: ").map(|lasts| lasts.split_at(lasts.len() - 1)) {
            None => 0,
            Some((n, unit)) => {
                let factor = match unit {
                    "m" => 60,
                    "h" => 3600,
                    "d" => 86_400,
                    other => panic!("{other}"),
                };
                n.parse::<u64>().expect("a number") * factor
            }
        };
        theirs.insert(rule.lines().next().expect("a name"), (severity, lasts, rule));
    }
    for rule in RULES {
        let (severity, lasts, text) =
            theirs.remove(rule.name).unwrap_or_else(|| panic!("{}", rule.name));
        assert_eq!((severity, lasts), (rule.severity, rule.lasts.as_secs()), "{}", rule.name);
        let looked = rule.condition.families().into_iter().filter(|family| text.contains(family));
        assert!(looked.count() >= 1, "{} looks at other metrics", rule.name);
    }
    let elsewhere: Vec<_> = theirs.into_keys().collect();
    let expected = ["SyncClockSkew", "SyncDaemonDown", "SyncDaemonRestarting", "SyncWatermarkLag"];
    assert_eq!(elsewhere, expected, "what only Prometheus can tell, or has no measure here");
}
