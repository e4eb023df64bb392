//! A relay with NIP-77: `LocalRelay` of nostr-relay-builder.

use std::collections::BTreeSet;

use nostr::event::EventId;

use super::corpus::{
    Run, forget, frames, jsons, large, made, only_relay, run, stored, thin_out, wanted,
};
use crate::common::local_relay::LocalRelay;
use crate::common::program::Program;

#[tokio::test(flavor = "multi_thread")]
async fn a_large_corpus_arrives_complete_and_only_differences_are_transferred_later() {
    let corpus = large();
    let wanted = wanted(corpus);
    let relay = LocalRelay::start(jsons(corpus));
    let (program, url) = (Program::new(), relay.url());

    let first = Run::of("first", &run(&program, &["sync"], &url, &[]).await);
    assert_eq!(first.stored, wanted.len() as u64);
    assert!(stored(&program) == wanted, "the store is not what the relay holds");

    let second = Run::of("nothing missing", &run(&program, &["sync"], &url, &[]).await);
    assert_eq!((second.received, second.rounds, second.pages), (0, 1, 0));
    assert!(second.down + second.up <= 1_000, "{second:?}");
    let verified = run(&program, &["verify"], &url, &[]).await;
    assert_eq!(verified.code, Some(0), "{verified}");

    let mut newest: Vec<_> = corpus.entries.iter().map(|entry| entry.event.id).collect();
    let newest: BTreeSet<EventId> = newest.split_off(newest.len() * 99 / 100).into_iter().collect();
    let newest: Vec<EventId> = newest.intersection(&wanted).copied().collect();
    forget(&program, &newest);
    let newest = newest.into_iter().collect();
    let run_newest = Run::of("newest 1 %", &run(&program, &["sync"], &url, &[]).await);
    exactly(&newest, frames(corpus, &newest), [500, 150], &run_newest);
    assert!(stored(&program) == wanted, "what was missing is not there");

    let gone = thin_out(&program, 100);
    let ended = run(&program, &["verify"], &url, &[]).await;
    assert_eq!(ended.code, Some(3), "{ended}");
    let document = ended.json();
    let found = only_relay(&document["data"]);
    assert_eq!((&found["status"], &found["need"]), (&"missing".into(), &gone.len().into()));
    let named: Vec<String> = gone.iter().take(100).map(ToString::to_string).collect();
    assert_eq!(found["ids"], serde_json::json!(named));
    assert_eq!(stored(&program).len(), wanted.len() - gone.len(), "verify fetches nothing");

    let scattered = Run::of("scattered 1 %", &run(&program, &["sync"], &url, &[]).await);
    // One in a hundred at random shares its smallest range with nothing else that is missing: a
    // relay that splits by sixteen costs some 600 bytes each way to find it.
    exactly(&gone, frames(corpus, &gone), [700, 750], &scattered);
    assert!(stored(&program) == wanted, "what was missing is not there");
}

/// Nothing else comes, and finding it costs no more than so many bytes each, down and up.
fn exactly(missing: &BTreeSet<EventId>, frames: u64, [down, up]: [u64; 2], run: &Run) {
    let count = missing.len() as u64;
    println!(
        "  {count} missing, {frames} bytes of frames: {} down beside them, {} up, each",
        run.down.saturating_sub(frames) / count,
        run.up / count
    );
    assert_eq!((run.received, run.stored, run.pages), (count, count, 0));
    assert!(run.down <= frames * 12 / 10 + down * count, "{run:?}");
    assert!(run.up <= up * count + 4_000, "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_found_before_it_splits_is_fetched_too() {
    let corpus = made(3_000);
    let wanted = wanted(&corpus);
    let relay = LocalRelay::start(jsons(&corpus));
    let (program, url) = (Program::new(), relay.url());
    Run::of("first of 3,000", &run(&program, &["sync"], &url, &[]).await);
    let gone = thin_out(&program, 3);
    // A session ends as a split as soon as it holds 50 needed ids.
    let small = ["--set", "limits.neg_need=50"];
    let split = Run::of("split", &run(&program, &["sync"], &url, &small).await);
    assert_eq!(split.stored, gone.len() as u64);
    assert!(split.rounds > 10, "it did not split: {split:?}");
    assert!(stored(&program) == wanted, "what was found before the split is lost");
}
