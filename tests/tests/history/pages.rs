//! A relay without NIP-77: nostr-relay from PyPI.

use super::corpus::{Run, jsons, large, only_relay, run, stored, wanted};
use crate::common::program::Program;
use crate::common::python_relay::PythonRelay;

#[tokio::test(flavor = "multi_thread")]
async fn a_large_corpus_arrives_complete_by_pages_and_the_ledger_remembers_it() {
    let corpus = large();
    let wanted = wanted(corpus);
    let Some(relay) = PythonRelay::start().await else { return };
    relay.load(jsons(corpus)).await;
    let (program, url) = (Program::new(), relay.url());

    let first = Run::of("first by pages", &run(&program, &["sync"], &url, &[]).await);
    assert_eq!(first.stored, wanted.len() as u64);
    assert!(stored(&program) == wanted, "the store is not what the relay holds");

    // Only the overlap of an hour before the watermark is asked for again; the corpus is older.
    let second = Run::of("nothing missing, by pages", &run(&program, &["sync"], &url, &[]).await);
    assert_eq!((second.received, second.stored), (0, 0));
    assert!(second.down + second.up <= 2_000, "{second:?}");

    let verified = run(&program, &["verify"], &url, &[]).await;
    assert_eq!(verified.code, Some(0), "{verified}");
    let document = verified.json();
    let found = only_relay(&document["data"]);
    assert_eq!((&found["status"], &found["reconciled"]), (&"proven".into(), &false.into()));
    assert!(found["proven_at_ms"].as_u64().is_some(), "{document}");
}
