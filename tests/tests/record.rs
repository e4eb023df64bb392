//! Recordings: what one process recorded another replays byte for byte, and a change is found where
//! it is.

mod common;

use std::fs;

use common::input::{corpus, lines};
use common::local_relay::LocalRelay;
use common::program::Program;
use sync_core::record::{ReplayError, Replayed, bless, replay};
use sync_runtime::service::SyncService;
use sync_runtime::settings::{OrOff, Settings};
use sync_tests::corpus::Options;

/// The control plane of a sync of 60 events from a LocalRelay, as the binary recorded it.
/// `cargo run -p ngit-sync -- replay --bless tests/recordings/sync.jsonl` shows a change of
/// behaviour as a difference of this file.
const GOLDEN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/sync.jsonl"));

/// A recording of `sync` by the binary, as a file of its home.
async fn record(program: &Program, events: usize) -> String {
    let corpus = corpus(Options { events, repositories: 3, ..Options::default() });
    let relay = LocalRelay::start(lines(&corpus));
    let args = ["--no-discovery", "--relay", &relay.url(), "--record", "sync.jsonl"];
    let ended = program.sync(&args).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    fs::read_to_string(program.path("sync.jsonl")).expect("the recording is text")
}

/// Writes lines below the home and replays them by the binary.
async fn replayed(program: &Program, lines: &[String]) -> common::program::Ended {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(program.path("changed.jsonl"), text).expect("the home is writable");
    program.run(&["replay", "changed.jsonl"]).await
}

fn owned(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// What only the inputs of a recording say: its outputs left out.
fn inputs_only(text: &str) -> Vec<&str> {
    let kept = |line: &&str| line.contains("\"in\":") || line.starts_with("{\"end\":");
    let header = text.lines().take(1);
    header.chain(text.lines().skip(1).filter(kept)).collect()
}

#[test]
fn the_golden_recording_replays_byte_for_byte_in_this_process() {
    let found: Replayed = replay(GOLDEN.lines()).unwrap_or_else(|error| panic!("{error}"));
    assert!(found.ended && found.stopped.is_none());
    assert_eq!(found.lines, GOLDEN.lines().count() as u64);
    assert!(found.inputs > 20, "{found:?}");
    assert_eq!(bless(inputs_only(GOLDEN)).expect("its inputs are whole"), owned(GOLDEN));
}

#[tokio::test]
async fn the_golden_recording_replays_byte_for_byte_in_the_binary() {
    let program = Program::new();
    fs::write(program.path("golden.jsonl"), GOLDEN).expect("the home is writable");
    program.replays("golden.jsonl").await;
}

#[tokio::test]
async fn what_the_binary_does_with_the_same_inputs_this_process_does_too() {
    let program = Program::new();
    let recorded = record(&program, 300).await;
    program.replays("sync.jsonl").await;
    let inputs = inputs_only(&recorded);
    assert!(inputs.len() < recorded.lines().count() / 2);
    let here = bless(inputs.iter().copied()).expect("the inputs are whole");
    assert_eq!(here, owned(&recorded), "every line of the other process, the digest included");

    let text: String = inputs.iter().map(|line| format!("{line}\n")).collect();
    fs::write(program.path("inputs.jsonl"), text).expect("the home is writable");
    let ended = program.run(&["replay", "--bless", "inputs.jsonl"]).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    let there = fs::read_to_string(program.path("inputs.jsonl")).expect("it was rewritten");
    assert_eq!(there, recorded);
}

#[tokio::test]
async fn what_this_process_records_the_binary_replays() {
    let corpus = corpus(Options { events: 200, repositories: 4, ..Options::default() });
    let relay = LocalRelay::start(lines(&corpus));
    let program = Program::new();
    let mut settings = Settings {
        data_dir: Some(program.path("embedded")),
        http: OrOff::OFF,
        ..Settings::default()
    };
    settings.record.file = OrOff(Some(program.path("embedded.jsonl")));
    settings.core.sync.relays = vec![relay.url()];
    settings.core.sync.discover = false;
    settings.core.accept.archive = vec!["all".into()];
    let service = SyncService::builder(settings).once(true).start().await.expect("it starts");
    assert!(service.finished().await.is_complete());
    service.shutdown().await;
    program.replays("embedded.jsonl").await;
}

#[tokio::test]
async fn a_changed_constant_or_line_is_found_where_it_first_differs() {
    let program = Program::new();
    let recorded = owned(&record(&program, 100).await);

    // A constant of the header shows at the first line that follows from it: the digest aside,
    // the deadline of a request.
    let mut changed = recorded.clone();
    changed[0] = changed[0].replace("\"eose_timeout\":\"30s\"", "\"eose_timeout\":\"31s\"");
    assert_ne!(changed[0], recorded[0]);
    let Err(ReplayError::Differs { line, .. }) = replay(changed.iter().map(String::as_str)) else {
        panic!("a constant decides nothing");
    };
    let truth = bless(changed.iter().map(String::as_str)).expect("the inputs are whole");
    let first = truth.iter().zip(&recorded).skip(1).position(|(a, b)| a != b);
    assert_eq!(Some(line as usize), first.map(|place| place + 2));
    let ended = replayed(&program, &changed).await;
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.contains(&format!("changed.jsonl:{line}\n")), "{ended}");

    // A line that was edited is found at its own number.
    let place = recorded.iter().position(|line| line.contains("\"out\":{\"subscribe\""));
    let place = place.expect("something is subscribed to");
    let mut changed = recorded.clone();
    changed[place] = changed[place].replace("\"sub\":", "\"sub\":9");
    let ended = replayed(&program, &changed).await;
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.contains(&format!("changed.jsonl:{}\n", place + 1)), "{ended}");

    // A line that is missing, too.
    let mut changed = recorded.clone();
    changed.remove(place);
    let ended = replayed(&program, &changed).await;
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.contains(&format!("changed.jsonl:{}\n", place + 1)), "{ended}");
}
