//! Relays that cannot be reached or do not answer: exit 3, and each is named with its reason.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use sync_runtime::api::OutcomeStatus;
use sync_runtime::dial::FixedResolver;
use sync_runtime::service::SyncService;
use sync_runtime::settings::{OrOff, Settings};

use super::common::free_port;
use super::common::input::{REAL, real_ids, real_relays};
use super::common::local_relay::LocalRelay;
use super::common::program::{Ended, Program};
use super::common::script_relay::{self, ScriptRelay};

/// Deadlines that a silent relay does not stretch.
const SHORT: [&str; 6] =
    ["--set", "sync.eose_timeout=1s", "--set", "sync.neg_timeout=1s", "--set", "sync.live_wait=1s"];

/// The relays of a document in this state.
fn relays<'a>(outcome: &'a Value, status: &str) -> Vec<&'a Value> {
    let relays = outcome["relays"].as_array().expect("a list of relays");
    relays.iter().filter(|relay| relay["status"] == status).collect()
}

fn urls(relays: &[&Value]) -> BTreeSet<String> {
    relays.iter().map(|relay| relay["url"].as_str().expect("a URL").to_owned()).collect()
}

#[tokio::test]
async fn every_relay_that_real_announcements_name_and_nobody_answers_at_is_named() {
    let relay = LocalRelay::start(REAL.lines());
    assert_eq!(real_relays().len(), 9);
    let program = Program::new();
    let args = ["--allow-private", "--relay", &relay.url(), "--record", "sync.jsonl", "--json"];
    let ended = program.sync(&args).await;
    assert_eq!(ended.code, Some(3), "{ended}");
    assert_eq!(program.stored().await, real_ids());

    let outcome = &ended.json()["data"];
    assert_eq!(outcome["complete"], false);
    let unreachable = relays(outcome, "unreachable");
    assert_eq!(urls(&unreachable), real_relays());
    for relay in unreachable {
        assert!(relay["explained"].as_str().is_some_and(|why| !why.is_empty()), "{relay}");
    }
    assert_eq!(urls(&relays(outcome, "synced")), BTreeSet::from([format!("{}/", relay.url())]));
    assert_eq!(outcome["relays"].as_array().map(Vec::len), Some(10));
    program.replays("sync.jsonl").await;
}

#[tokio::test]
async fn the_summary_for_people_names_them_too_and_says_why() {
    let relay = LocalRelay::start(REAL.lines());
    let program = Program::new();
    // Without --allow-private an address of the loopback is refused before anything is dialed.
    let ended = program.sync(&["--relay", &relay.url()]).await;
    assert_eq!(ended.code, Some(3), "{ended}");
    for url in real_relays() {
        let host = url.trim_start_matches("wss://").trim_end_matches('/');
        let line = format!("unreachable {host}: address refused by the dial guard");
        assert!(ended.stdout.lines().any(|found| found == line), "{line}: {ended}");
    }
    assert_eq!(ended.stdout.lines().filter(|line| line.starts_with("synced ")).count(), 1);
}

#[tokio::test]
async fn an_embedder_with_its_own_resolver_sees_the_same() {
    let relay = LocalRelay::start(REAL.lines());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut settings = Settings {
        data_dir: Some(directory.path().into()),
        http: OrOff::OFF,
        ..Settings::default()
    };
    settings.core.sync.relays = vec![relay.url()];
    settings.core.accept.archive = vec!["all".into()];
    let nobody = FixedResolver::default();
    let service = SyncService::builder(settings).once(true).resolver(Arc::new(nobody)).start();
    let service = service.await.expect("it starts");
    let end = service.finished().await;
    assert!(end.is_over() && !end.is_complete(), "{end:?}");
    let outcome = service.handle().outcome();
    service.shutdown().await;
    let unreachable = outcome.relays.iter().filter(|one| one.status == OutcomeStatus::Unreachable);
    let named: BTreeSet<String> = unreachable.map(|one| one.url.to_string()).collect();
    assert_eq!(named, real_relays());
    assert_eq!(outcome.stored, 25);
}

#[tokio::test]
async fn a_relay_that_was_given_and_is_not_there_is_dialed_twice_and_named() {
    let url = format!("ws://127.0.0.1:{}/", free_port());
    let program = Program::new();
    let ended =
        program.sync(&["--relay", &url, "--set", "health.backoff_base=100ms", "--json"]).await;
    assert_eq!(ended.code, Some(3), "{ended}");
    let outcome = &ended.json()["data"];
    assert_eq!(urls(&relays(outcome, "unreachable")), BTreeSet::from([url]));
}

/// A sync with a relay that answers as this script: exit 3, the only relay partial. Returns its
/// gaps.
async fn partial(relay: &ScriptRelay, args: &[&str]) -> (Ended, Vec<Value>) {
    let program = Program::new();
    let url = relay.url();
    let common = ["--no-discovery", "--relay", &url, "--record", "sync.jsonl", "--json"];
    let ended = program.sync(&[&common[..], &SHORT, args].concat()).await;
    assert_eq!(ended.code, Some(3), "{ended}");
    program.replays("sync.jsonl").await;
    let outcome = &ended.json()["data"];
    assert_eq!(outcome["complete"], false, "{outcome}");
    assert_eq!(outcome["relays"][0]["status"], "partial", "{outcome}");
    let gaps = outcome["gaps"].as_array().expect("a list of gaps").clone();
    assert!(!gaps.is_empty(), "{outcome}");
    (ended, gaps)
}

#[tokio::test]
async fn a_relay_that_does_not_answer_a_req_leaves_a_gap_by_timeout() {
    let relay = ScriptRelay::start(script_relay::never_answers()).await;
    let (ended, gaps) = partial(&relay, &[]).await;
    for gap in &gaps {
        assert_eq!(gap["reason"], "timeout", "{ended}");
        assert_eq!(gap["relay"], format!("{}/", relay.url()));
    }
    assert!(relay.count("REQ") > 0);
}

#[tokio::test]
async fn a_relay_that_closes_each_req_leaves_a_gap_with_its_words() {
    for (words, reason) in [
        ("error: out of order", "closed"),
        ("blocked: not for you", "refused"),
        ("auth-required: who are you", "auth_required"),
    ] {
        let relay = ScriptRelay::start(script_relay::closes_each_req(words)).await;
        let (ended, gaps) = partial(&relay, &[]).await;
        assert_eq!(gaps[0]["reason"], reason, "{ended}");
        assert_eq!(gaps[0]["detail"], words, "{ended}");
    }
}
