//! The real process is killed at random moments (T27): nothing that it reported as stored is
//! missing afterwards, the ledger claims nothing that the store lacks, and in the end everything
//! is there.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::input::{corpus, lines, wanted};
use common::local_relay::LocalRelay;
use common::program::{PROMPT, Program, id_of};
use serde_json::Value;
use sync_core::item::Item;
use sync_core::ledger::LedgerRow;
use sync_core::rng::Rng;
use sync_runtime::store::{EventStore, Store};
use sync_tests::corpus::{Corpus, Options};

/// How often it is killed.
const KILLS: usize = 20;
/// The kinds of layer 1.
const LAYER_1: [u64; 2] = [30617, 10317];

/// Announcements that a claim of layer 1 covers and the store lacks.
fn claimed_and_missing(
    program: &Program,
    served: &[&str],
    stored: &BTreeSet<String>,
) -> Vec<String> {
    let store = Store::open_read_only(&program.path("data")).expect("the store is there");
    let rows = store.ledger().expect("the ledger can be read");
    let until = rows.iter().filter_map(|row| match row {
        LedgerRow::Cohort { cohort, .. } if cohort.items.contains(&Item::Layer1) => {
            Some(cohort.until.as_secs())
        }
        _ => None,
    });
    let Some(until) = until.max() else { return Vec::new() };
    let events = served.iter().map(|json| serde_json::from_str::<Value>(json).expect("an event"));
    events
        .filter(|event| LAYER_1.contains(&event["kind"].as_u64().expect("a kind")))
        .filter(|event| event["created_at"].as_u64().expect("a date") <= until)
        .map(|event| id_of(&event))
        .filter(|id| !stored.contains(id))
        .collect()
}

/// Without replaced versions: what was stored once stays.
fn large() -> Corpus {
    corpus(Options { events: 4_000, repositories: 40, replaced: 0, ..Options::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_at_random_moments_lose_nothing_that_was_reported() {
    let corpus = large();
    let all: Vec<&str> = lines(&corpus).collect();
    let ids: Vec<String> = corpus.entries.iter().map(|entry| entry.event.id.to_hex()).collect();
    let wanted = wanted(&corpus);
    let relay = LocalRelay::start([]);
    let (program, url) = (Program::new(), relay.url());
    let mut rng = Rng::new(27);
    let mut stored = BTreeSet::new();
    let mut served = 0;
    let mut under_way = 0;
    for kill in 1..=KILLS {
        // There is always something to fetch when it is killed.
        let next = all.len() * kill / KILLS;
        relay.insert(all[served..next].iter().copied());
        served = next;
        let args = ["--no-discovery", "--relay", &url, PROMPT[0], PROMPT[1], PROMPT[2], PROMPT[3]];
        let daemon = program.daemon(&args).await;
        tokio::time::sleep(Duration::from_millis(rng.below(400))).await;
        let reported = daemon.ask("/v1/status").await["events_synced"].as_u64().expect("a count");
        daemon.kill().await;

        let now = program.stored().await;
        assert!(stored.is_subset(&now), "kill {kill}: what was there is gone");
        let grown = (now.len() - stored.len()) as u64;
        assert!(grown >= reported, "kill {kill}: {reported} were reported, {grown} are there");
        let missing = claimed_and_missing(&program, &all[..served], &now);
        assert_eq!(missing, Vec::<String>::new(), "kill {kill}: claimed and not stored");
        let whole = ids[..served].iter().filter(|id| wanted.contains(*id)).count();
        under_way += usize::from(now.len() < whole);
        stored = now;
    }
    assert!(under_way >= 3, "only {under_way} kills fell into work");

    let ended = program.sync(&["--no-discovery", "--relay", &url]).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_eq!(program.stored().await, wanted);
}
