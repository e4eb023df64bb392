//! `run` as a process: live events, restarts, lost relays, relays that do not answer.

mod common;

use std::time::{Duration, Instant};

use common::client::Client;
use common::input::{corpus, issue, lines, wanted};
use common::local_relay::LocalRelay;
use common::program::{Daemon, PROMPT, Program, until};
use common::proxy::Proxy;
use common::script_relay::{self, ScriptRelay};
use serde_json::Value;
use sync_tests::corpus::{Corpus, Options};

/// Long enough for anything that is not measured here.
const PATIENCE: Duration = Duration::from_secs(30);

fn small() -> Corpus {
    corpus(Options { events: 400, repositories: 8, ..Options::default() })
}

async fn daemon(program: &Program, relay: &str, args: &[&str]) -> Daemon {
    let fixed = ["--no-discovery", "--relay", relay];
    program.daemon(&[&fixed[..], &PROMPT, args].concat()).await
}

fn is(connection: &'static str) -> impl Fn(&Value) -> bool {
    move |relay| relay["connection"] == connection
}

async fn publish(relay: &str, event: &str) {
    let (taken, refused) = Client::connect(relay).await.publish([event]).await;
    assert_eq!((taken, refused), (1, vec![]));
}

#[tokio::test]
async fn a_live_event_is_stored_within_a_second_and_survives_a_kill_and_a_restart() {
    let corpus = small();
    let relay = LocalRelay::start(lines(&corpus));
    let proxy = Proxy::start(relay.port()).await;
    let program = Program::new();
    let daemon = daemon(&program, &proxy.url(), &["--record", "first.jsonl"]).await;
    let view = daemon.relay_until("connected", PATIENCE, is("connected")).await;
    assert_eq!(view["events"]["stored"], wanted(&corpus).len(), "{view}");

    let (id, event) = issue(&corpus, "is this live?");
    publish(&relay.url(), &event).await;
    let stored = || program.holds(&id);
    until("the live event is stored", Duration::from_secs(1), stored).await;

    daemon.kill().await;
    let mut expected = wanted(&corpus);
    expected.insert(id);
    assert_eq!(program.stored().await, expected, "what was stored survives kill -9");
    // The last line of a recording that was killed is missing, and may be torn.
    let ended = program.run(&["replay", "first.jsonl"]).await;
    assert!(ended.code == Some(0) || ended.stderr.contains("cannot be read"), "{ended}");

    let before = proxy.bytes_down();
    let daemon = self::daemon(&program, &proxy.url(), &["--record", "second.jsonl"]).await;
    let view = daemon.relay_until("connected", PATIENCE, is("connected")).await;
    assert_eq!(view["events"]["stored"], 0, "nothing is new: {view}");
    assert_eq!(view["events"]["received"], 0, "nothing is downloaded twice: {view}");
    let down = proxy.bytes_down() - before;
    assert!(down < 100_000, "{down} bytes to see that nothing is missing");

    let (id, event) = issue(&corpus, "and after the restart?");
    publish(&relay.url(), &event).await;
    until("the next live event is stored", Duration::from_secs(1), || program.holds(&id)).await;
    expected.insert(id);
    assert_eq!(daemon.stop().await, Some(0));
    assert_eq!(program.stored().await, expected);
    program.replays("second.jsonl").await;
}

#[tokio::test]
async fn a_relay_that_stops_is_disconnected_and_comes_back_with_what_was_published_meanwhile() {
    let corpus = small();
    let mut relay = LocalRelay::start(lines(&corpus));
    let program = Program::new();
    let backoff = ["--set", "health.backoff_base=200ms", "--record", "run.jsonl"];
    let daemon = daemon(&program, &relay.url(), &backoff).await;
    daemon.relay_until("connected", PATIENCE, is("connected")).await;

    relay.stop();
    let within = Duration::from_secs(5);
    daemon.relay_until("disconnected", within, is("disconnected")).await;
    // The backoff is between half and all of 200 ms × 2^(n−1): the fourth is longer than the
    // second can be, and so on.
    let mut longest = Vec::new();
    for failures in [2, 4, 6] {
        let view = daemon
            .relay_until("in backoff", PATIENCE, |relay| {
                relay["failures"].as_u64() >= Some(failures) && relay["retry_in_s"].is_number()
            })
            .await;
        assert_eq!(view["health"], "disconnected", "{view}");
        longest.push(view["failures"].as_u64().expect("a number"));
    }
    assert!(longest.is_sorted(), "{longest:?}");
    let waits = backoffs(&daemon.log());
    assert!(waits.len() >= 5, "{waits:?}");
    for (n, wait) in waits.iter().enumerate() {
        let bound = 200 << n;
        assert!((bound / 2..=bound).contains(wait), "backoff {n} of {waits:?}");
    }

    let (id, event) = issue(&corpus, "published while the connection was down");
    relay.insert([event.as_str()]);
    relay.resume();
    daemon.relay_until("connected", PATIENCE, is("connected")).await;
    assert!(program.holds(&id).await, "what was published meanwhile is stored");
    let transitions = daemon.transitions().await;
    let last: Vec<&str> = transitions.iter().rev().take(3).rev().map(String::as_str).collect();
    assert_eq!(
        last,
        ["disconnected>connecting", "connecting>syncing", "syncing>connected"],
        "{transitions:?}"
    );
    let (id, event) = issue(&corpus, "live again");
    publish(&relay.url(), &event).await;
    until("live sync is back", Duration::from_secs(1), || program.holds(&id)).await;
    assert_eq!(daemon.stop().await, Some(0));
    program.replays("run.jsonl").await;
}

/// The backoffs in milliseconds of the failed dials in a log.
fn backoffs(log: &str) -> Vec<u64> {
    let lines = log.lines().filter(|line| line.contains("cannot connect"));
    let wait = |line: &str| line.split_once("retry_in_ms=")?.1.split(' ').next()?.parse().ok();
    lines.filter_map(wait).collect()
}

#[tokio::test]
async fn a_half_open_connection_is_found_by_its_silence() {
    let corpus = small();
    let relay = LocalRelay::start(lines(&corpus));
    let proxy = Proxy::start(relay.port()).await;
    let program = Program::new();
    let short = [
        "--set",
        "dial.ping_interval=200ms",
        "--set",
        "dial.dead_after_silence=1s",
        "--set",
        "health.backoff_base=200ms",
    ];
    let daemon = daemon(&program, &proxy.url(), &short).await;
    daemon.relay_until("connected", PATIENCE, is("connected")).await;
    proxy.pause();
    let began = Instant::now();
    let view = daemon.relay_until("lost", PATIENCE, |relay| relay["failures"] != 0).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{view}");
    assert!(daemon.transitions().await.contains(&"connected>disconnected".to_owned()));
    proxy.resume();
    daemon.relay_until("connected again", PATIENCE, is("connected")).await;
}

#[tokio::test]
async fn a_relay_that_does_not_answer_is_connected_with_partial_history_and_the_reason() {
    let silent = ScriptRelay::start(script_relay::never_answers()).await;
    let closing = ScriptRelay::start(script_relay::closes_each_req("error: out of order")).await;
    for (relay, reason, words) in
        [(silent, "timeout", ""), (closing, "closed", "error: out of order")]
    {
        let program = Program::new();
        let short = [
            "--set",
            "sync.eose_timeout=1s",
            "--set",
            "sync.live_wait=1s",
            "--set",
            "sync.neg_timeout=1s",
            "--record",
            "run.jsonl",
        ];
        let daemon = daemon(&program, &relay.url(), &short).await;
        let view = daemon.relay_until("degraded", PATIENCE, is("connected_degraded")).await;
        assert!(view["gap_count"].as_u64() > Some(0), "{view}");
        assert_eq!(view["gaps"][0]["reason"], reason, "{view}");
        assert_eq!(view["gaps"][0]["detail"], words, "{view}");
        let status = program.run(&["status", "--check", "--socket", daemon.socket()]).await;
        assert_eq!(status.code, Some(4), "a check finds it: {status}");
        let explained = program.run(&["explain", &relay.url(), "--socket", daemon.socket()]).await;
        assert_eq!(explained.code, Some(0), "{explained}");
        assert!(explained.stdout.contains(reason), "{explained}");
        assert_eq!(daemon.stop().await, Some(0));
        program.replays("run.jsonl").await;
    }
}
