//! Commands that ask a daemon, over the real interface with a fixed state behind it.

mod common;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use common::{Cli, Ended};
use serde_json::{Value, json};
use sync_core::input::Operator;
use sync_core::url::RelayUrl;
use sync_runtime::api::{Explain, Ready, Status, WallMs};
use sync_runtime::http::{Answer, Control, Options, Server};
use sync_runtime::observe::{Build, Registry};
use tokio_util::sync::CancellationToken;

/// A daemon whose state never changes; it tells what it was asked to do.
struct Fixed {
    status: Status,
    asked: Mutex<Sender<Operator>>,
}

impl Control for Fixed {
    fn status(&self) -> Answer<'_, Status> {
        Box::pin(async { Ok(self.status.clone()) })
    }

    fn explain(&self, relay: RelayUrl) -> Answer<'_, Explain> {
        let explain = Explain {
            subject: relay.to_string(),
            summary: "relay.c.example is connected with PARTIAL history".into(),
            because: vec!["2 of 31 batches failed".into(), "it refused 14 ids".into()],
            effect: "live events arrive".into(),
            next: "daily reconciliation in 7h".into(),
            ..Explain::default()
        };
        Box::pin(async { Ok(explain) })
    }

    fn operator(&self, operator: Operator) -> Answer<'_, ()> {
        self.asked.lock().expect("no test panicked").send(operator).expect("the test listens");
        Box::pin(async { Ok(()) })
    }

    fn ready(&self) -> Answer<'_, Ready> {
        Box::pin(async { Ok(Ready::default()) })
    }
}

/// Runs a command against a daemon in this state, at the usual socket.
struct Daemon {
    cli: Cli,
    asked: Receiver<Operator>,
    _runtime: tokio::runtime::Runtime,
}

impl Daemon {
    fn start(status: Value) -> Self {
        let cli = Cli::new();
        let (tell, asked) = channel();
        let status = serde_json::from_value(status).expect("the status is complete");
        let control = Arc::new(Fixed { status, asked: Mutex::new(tell) });
        let socket = Some(cli.home().join("run/ngit-sync/control.sock"));
        let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
        // Three days and four hours pass between the first look at the clock and every other one.
        let looks = Mutex::new(0_u64);
        let clock = move || {
            let mut looks = looks.lock().expect("no test panicked");
            *looks += 1;
            WallMs(1_795_164_072_004 - if *looks == 1 { 273_600_500 } else { 0 })
        };
        let registry = Registry::new(Build { version: "0.1.0", commit: "" }, Arc::new(clock));
        let options = Options { socket, ..Options::default() };
        let server = runtime.block_on(Server::bind(options, registry)).expect("the socket is free");
        runtime.spawn(server.serve(control, CancellationToken::new()));
        Self { cli, asked, _runtime: runtime }
    }

    fn run(&self, args: &[&str]) -> Ended {
        let mut ended = self.cli.run(args);
        let pid = format!("pid {}\n", std::process::id());
        ended.stdout = ended.stdout.replace(&pid, "pid 4127\n");
        ended
    }
}

fn relay(host: &str, connection: &str, health: &str, more: Value) -> Value {
    let mut view = json!({
        "url": format!("wss://{host}/"), "connection": connection, "connection_since_ms": 1,
        "health": health, "health_since_ms": 1, "reason": "startup", "bootstrap": true,
        "events": {"received": 0}, "bytes_in": 0, "bytes_out": 0, "lag_s": null, "rtt_s": null,
        "last_seen_ms": null, "last_event_ms": null, "last_sync_ms": null, "retry_in_s": null,
        "failures": 0, "pass": null, "gap_count": 0, "last_error": null,
    });
    let fields = view.as_object_mut().expect("it is an object");
    fields.extend(more.as_object().cloned().unwrap_or_default());
    view
}

fn relays() -> Vec<Value> {
    vec![
        relay("relay.e.example", "disconnected", "dead", json!({"retry_in_s": 75_600.0})),
        relay(
            "relay.b.example",
            "syncing",
            "healthy",
            json!({"events": {"stored": 30_000}, "bytes_in": 29_000_000, "lag_s": 41.0, "rtt_s": 0.18,
                "pass": {"trigger": "startup", "since_ms": 1, "batches_done": 31, "batches": 50,
                    "layer": "2", "method": "negentropy"}}),
        ),
        relay(
            "relay.c.example",
            "connected_degraded",
            "degraded",
            json!({"gap_count": 2, "note": "waits for its cooldown"}),
        ),
        relay(
            "relay.a.example",
            "connected",
            "healthy",
            json!({"events": {"stored": 75_001}, "bytes_in": 98_100_000, "lag_s": 0.0, "rtt_s": 0.041}),
        ),
    ]
}

fn status() -> Value {
    json!({
        "phase": "partial", "phase_since_ms": 1, "repos": 214, "roots": 1932, "events_synced": 9,
        "counts": {"tracked": 4, "connected": 3, "live": 1, "syncing": 1, "partial": 1,
            "disconnected": 1, "dead": 1},
        "relays": relays(), "store": {"events": 105_432}, "gap_events": 0, "last_event_ms": null,
        "queues": [{"name": "verify", "depth": 12, "capacity": 10_000}], "outbox": null,
        "rejected": {},
    })
}

#[test]
fn status_is_a_glance_at_everything() {
    let daemon = Daemon::start(status());
    insta::assert_snapshot!("status", daemon.run(&["status"]));
    assert_eq!(daemon.run(&["status", "--check", "-q"]).code, Some(4));
}

#[test]
fn status_as_json_is_the_daemons_own_document() {
    let daemon = Daemon::start(status());
    let ended = daemon.run(&["status", "--json"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let document: Value = serde_json::from_str(&ended.stdout).expect("stdout is JSON");
    assert_eq!(document["schema"], "ngit-sync/status/1");
    assert_eq!(document["generated_at"], "2026-11-20T08:41:12.004Z");
    assert_eq!(document["data"]["store"]["events"], 105_432);
    assert_eq!(document["data"]["relays"].as_array().map(Vec::len), Some(4));
}

#[test]
fn without_a_daemon_the_error_says_where_it_was_looked_for() {
    let ended = Cli::new().run(&["status"]);
    assert_eq!(ended.code, Some(10));
    insta::assert_snapshot!("no_daemon", ended.stderr);
}

#[test]
fn another_socket_can_be_named_by_flag_and_by_environment() {
    let cli = Cli::new();
    for ended in [
        cli.run(&["status", "--socket", "unix:/nowhere/s"]),
        cli.run_with(&["status"], &[("NGIT_SYNC_SOCKET", "unix:/nowhere/s")]),
    ] {
        assert_eq!(ended.code, Some(10));
        let first = "error: cannot reach the ngit-sync daemon at /nowhere/s\n";
        assert!(ended.stderr.starts_with(first), "{}", ended.stderr);
    }
}

#[test]
fn relays_are_listed_like_in_the_status() {
    let ended = Daemon::start(status()).run(&["relays", "list"]);
    assert_eq!(ended.code, Some(0), "{ended}");
    let names: Vec<_> = ended.stdout.lines().map(|line| &line[..line.len().min(22)]).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    assert!(names[1].contains("relay.a.example"), "{names:?}");
}

#[test]
fn a_relay_is_named_by_its_host_and_what_is_asked_reaches_the_core() {
    let daemon = Daemon::start(status());
    let ended = daemon.run(&["relays", "resync", "relay.c.example"]);
    let taken = "taken: resync wss://relay.c.example/\n";
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), taken));
    assert_eq!(daemon.run(&["relays", "accept-gap", "relay.c.example", "4"]).code, Some(0));
    assert_eq!(daemon.run(&["relays", "add", "relay.z.example/"]).code, Some(0));
    let url = |text| RelayUrl::parse(text).expect("the URL is valid");
    let asked: Vec<_> = daemon.asked.try_iter().collect();
    let gap = Some(sync_core::id::RowId(4));
    assert_eq!(
        asked,
        [
            Operator::Resync(url("wss://relay.c.example/")),
            Operator::AcceptGap { relay: url("wss://relay.c.example/"), gap },
            Operator::AddRelay(url("wss://relay.z.example/")),
        ]
    );
}

#[test]
fn a_relay_that_the_daemon_does_not_know_is_answered_with_the_nearest() {
    let ended = Daemon::start(status()).run(&["relays", "show", "relay.aa.example"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(15), ""));
    insta::assert_snapshot!("unknown_relay", ended.stderr);
}

#[test]
fn one_relay_is_shown_with_its_gaps() {
    let gap = json!({"row": 4, "reason": "dense_second", "items": 1, "since_ms": 1, "tries": 2,
        "range": {"since": 5, "until": 5}, "detail": "slow"});
    let view = relay("relay.c.example", "connected_degraded", "degraded", json!({"gaps": [gap]}));
    let mut state = status();
    state["relays"] = json!([view]);
    let ended = Daemon::start(state).run(&["relays", "show", "relay.c.example"]);
    assert_eq!(ended.code, Some(0), "{ended}");
    // The fixed state began at the epoch; how long ago that is changes.
    let lines: Vec<_> = ended.stdout.lines().filter(|line| !line.contains(", for ")).collect();
    insta::assert_snapshot!("relay", lines.join("\n"));
}

#[test]
fn explain_says_why_and_what_next_and_what_a_code_means() {
    let daemon = Daemon::start(status());
    insta::assert_snapshot!("explain", daemon.run(&["explain", "relay.c.example"]));
    let ended = daemon.run(&["explain", "E107"]);
    assert!(ended.stdout.starts_with("E107 is an error of type tls\n"), "{ended}");
}
