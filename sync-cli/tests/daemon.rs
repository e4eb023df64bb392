//! Commands that ask a daemon, against one that answers with fixed documents over a real socket.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, channel};

use common::Cli;
use serde_json::{Value, json};

/// Answers every request by its path until the test ends; tells the request lines.
fn daemon(cli: &Cli, answers: Vec<(&'static str, u16, Value)>) -> Receiver<String> {
    let dir = cli.home().join("run/ngit-sync");
    std::fs::create_dir_all(&dir).expect("a directory can be made");
    let listener = UnixListener::bind(dir.join("control.sock")).expect("the socket is free");
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let line = answer(stream, &answers);
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    told
}

fn answer(mut stream: UnixStream, answers: &[(&'static str, u16, Value)]) -> String {
    let mut lines = BufReader::new(stream.try_clone().expect("it is open")).lines();
    let head: Vec<_> = lines.by_ref().map_while(Result::ok).take_while(|l| !l.is_empty()).collect();
    let request = head[0].trim_end_matches(" HTTP/1.1").to_owned();
    let known = answers.iter().find(|(path, _, _)| request.ends_with(&format!(" {path}")));
    let missing = (404, error("not_found", "no such path"));
    let (status, data) = known.map_or(missing, |(_, status, data)| (*status, data.clone()));
    let body = json!({
        "schema": "ngit-sync/test/1", "generated_at": "2026-11-20T08:41:12.004Z",
        "daemon": {"version": "0.1.0", "pid": 4127, "uptime_s": 273_600.5, "started_ms": 1},
        "data": data, "new_in_a_later_version": true,
    });
    let body = body.to_string();
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\nX-Ngit-Sync-Api: 1\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((head + &body).as_bytes()).expect("the command reads");
    request
}

fn error(id: &str, message: &str) -> Value {
    json!({"id": id, "message": message, "nearest": ["wss://relay.a.example/"]})
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
    let cli = Cli::new();
    let _told = daemon(&cli, vec![("/v1/status", 200, status())]);
    insta::assert_snapshot!("status", cli.run(&["status"]));
    assert_eq!(cli.run(&["status", "--check", "-q"]).code, Some(4));
}

#[test]
fn status_as_json_is_the_daemons_own_document() {
    let cli = Cli::new();
    let _told = daemon(&cli, vec![("/v1/status", 200, status())]);
    let ended = cli.run(&["status", "--json"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let document: Value = serde_json::from_str(&ended.stdout).expect("stdout is JSON");
    assert_eq!(document["data"], status());
    assert_eq!(document["new_in_a_later_version"], true);
}

#[test]
fn without_a_daemon_the_error_says_where_it_was_looked_for() {
    let ended = Cli::new().run(&["status"]);
    assert_eq!(ended.code, Some(10));
    insta::assert_snapshot!("no_daemon", ended.stderr);
}

#[test]
fn a_relay_is_named_by_its_host_and_asked_for_by_its_url() {
    let cli = Cli::new();
    let told = daemon(
        &cli,
        vec![
            ("/v1/relays", 200, json!({"relays": relays()})),
            ("/v1/relays/wss%3A%2F%2Frelay.c.example%2F/resync", 200, json!({"accepted": "x"})),
            (
                "/v1/relays/wss%3A%2F%2Frelay.c.example%2F/accept-gap?row=4",
                200,
                json!({"accepted": "x"}),
            ),
        ],
    );
    let ended = cli.run(&["relays", "resync", "relay.c.example"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "resync relay.c.example: taken\n"));
    let ended = cli.run(&["relays", "accept-gap", "wss://relay.c.example/", "4"]);
    assert_eq!(ended.code, Some(0), "{ended}");
    let requests: Vec<_> = told.try_iter().collect();
    assert_eq!(
        requests,
        [
            "GET /v1/relays",
            "POST /v1/relays/wss%3A%2F%2Frelay.c.example%2F/resync",
            "POST /v1/relays/wss%3A%2F%2Frelay.c.example%2F/accept-gap?row=4",
        ]
    );
}

#[test]
fn a_relay_that_the_daemon_does_not_know_is_answered_with_the_nearest() {
    let cli = Cli::new();
    let _told = daemon(
        &cli,
        vec![(
            "/v1/relays/wss%3A%2F%2Frelay.x.example%2F",
            404,
            error("not_found", "no such relay"),
        )],
    );
    let ended = cli.run(&["relays", "show", "wss://relay.x.example/"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(15), ""));
    assert_eq!(ended.stderr, "error: no such relay\nhint: did you mean wss://relay.a.example/?\n");
}

#[test]
fn one_relay_is_shown_with_its_gaps() {
    let cli = Cli::new();
    let gap = json!({"row": 4, "reason": "dense_second", "items": 1, "since_ms": 1, "tries": 2,
        "range": {"since": 5, "until": 5}, "detail": "slow"});
    let view = relay("relay.c.example", "connected_degraded", "degraded", json!({"gaps": [gap]}));
    let _told = daemon(&cli, vec![("/v1/relays/wss%3A%2F%2Frelay.c.example%2F", 200, view)]);
    let ended = cli.run(&["relays", "show", "wss://relay.c.example/"]);
    assert_eq!(ended.code, Some(0), "{ended}");
    let lines: Vec<_> = ended.stdout.lines().filter(|line| !line.contains(", for ")).collect();
    insta::assert_snapshot!("relay", lines.join("\n"));
}

#[test]
fn explain_says_why_and_what_next() {
    let cli = Cli::new();
    let explain = json!({
        "subject": "relay.c.example", "summary": "relay.c.example is connected with PARTIAL history",
        "because": ["2 of 31 batches failed", "it refused 14 ids"], "effect": "live events arrive",
        "next": "daily reconciliation in 7h", "health": "", "next_in_s": 25_200.0,
    });
    let _told = daemon(&cli, vec![("/v1/explain/wss%3A%2F%2Frelay.c.example%2F", 200, explain)]);
    let ended = cli.run(&["explain", "wss://relay.c.example/"]);
    insta::assert_snapshot!("explain", ended);
}
