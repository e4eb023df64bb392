//! Relays that are reached: everything that is wanted is there, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sync_tests::corpus::{Corpus, Options, Spread};

use super::common::input::{REAL, corpus, lines, parse, real_ids, wanted};
use super::common::local_relay::{LocalRelay, Shape};
use super::common::program::{PROMPT, Program, id_of};
use super::common::python_relay::PythonRelay;

/// Fails with the first few ids that only one side has.
fn assert_same(stored: &BTreeSet<String>, expected: &BTreeSet<String>) {
    let few = |ids: Vec<&String>| (ids.len(), ids.into_iter().take(3).cloned().collect::<Vec<_>>());
    let missing = few(expected.difference(stored).collect());
    let unwanted = few(stored.difference(expected).collect());
    assert_eq!((missing, unwanted), ((0, vec![]), (0, vec![])), "(missing, unwanted)");
}

/// Checks that the store holds what is expected, and each event as it was signed.
async fn assert_holds(program: &Program, corpus: &Corpus, expected: &BTreeSet<String>) {
    assert_same(&program.stored().await, expected);
    let sent = lines(corpus).chain(REAL.lines()).map(parse);
    let sent: BTreeMap<String, Value> = sent.map(|event| (id_of(&event), event)).collect();
    for event in program.exported().await {
        assert_eq!(event, sent[&id_of(&event)]);
    }
}

#[tokio::test]
async fn a_relay_with_negentropy_is_synced_to_the_last_id() {
    let corpus =
        corpus(Options { events: 10_000, repositories: 60, strangers: 5, ..Options::default() });
    let relay = LocalRelay::start(lines(&corpus).chain(REAL.lines()));
    let expected: BTreeSet<String> = wanted(&corpus).union(&real_ids()).cloned().collect();
    let foreign: Vec<String> = relay.ids().difference(&expected).cloned().collect();
    assert!(foreign.len() > 10, "the relay holds what no policy wants");
    assert!(expected.is_subset(&relay.ids()));

    let program = Program::new();
    let args = ["--no-discovery", "--relay", &relay.url(), "--record", "sync.jsonl", "--json"];
    let ended = program.sync(&args).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_holds(&program, &corpus, &expected).await;

    let outcome = &ended.json()["data"];
    assert_eq!(outcome["complete"], true, "{outcome}");
    assert_eq!(outcome["gaps"], Value::Array(vec![]));
    assert_eq!(outcome["stored"], expected.len(), "{outcome}");
    assert_eq!(outcome["store_events"], expected.len());
    assert_eq!(outcome["relays"][0]["stored"], expected.len());
    assert_eq!(outcome["relays"][0]["invalid"], 0);
    program.replays("sync.jsonl").await;

    let again = program.sync(&["--no-discovery", "--relay", &relay.url(), "--json"]).await;
    assert_eq!(again.code, Some(0), "{again}");
    let outcome = &again.json()["data"];
    assert_eq!(outcome["stored"], 0, "nothing is new the second time: {outcome}");
    assert_eq!(outcome["relays"][0]["received"], 0, "nothing is sent twice: {outcome}");
    assert_same(&program.stored().await, &expected);
}

#[tokio::test]
async fn a_relay_without_negentropy_is_synced_to_the_last_id() {
    let corpus =
        corpus(Options { events: 2_000, repositories: 30, strangers: 5, ..Options::default() });
    let Some(relay) = PythonRelay::start().await else { return };
    relay.fill(lines(&corpus).chain(REAL.lines())).await;
    let expected: BTreeSet<String> = wanted(&corpus).union(&real_ids()).cloned().collect();

    let program = Program::new();
    let args = ["--no-discovery", "--relay", &relay.url(), "--record", "sync.jsonl", "--json"];
    let ended = program.sync(&args).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_holds(&program, &corpus, &expected).await;
    let outcome = &ended.json()["data"];
    assert_eq!((&outcome["complete"], &outcome["gaps"]), (&true.into(), &Value::Array(vec![])));
    assert!(outcome["relays"][0]["pages"].as_u64() > Some(0), "{outcome}");
    program.replays("sync.jsonl").await;
}

#[tokio::test]
async fn the_same_relay_read_by_pages_gives_the_same_store() {
    let corpus = corpus(Options { events: 1_500, repositories: 20, ..Options::default() });
    let relay = LocalRelay::start(lines(&corpus));
    let program = Program::new();
    let args = ["--no-discovery", "--no-negentropy", "--relay", &relay.url(), "--json"];
    let ended = program.sync(&args).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_same(&program.stored().await, &wanted(&corpus));
    let outcome = &ended.json()["data"]["relays"][0];
    assert_eq!(outcome["rounds"], 0, "{outcome}");
}

/// Two relays with a part of the same corpus each; their announcements name both.
fn halves() -> (Corpus, [LocalRelay; 2]) {
    let relays = [(); 2].map(|()| LocalRelay::stopped(Shape::default()));
    let corpus = corpus(Options {
        events: 3_000,
        repositories: 25,
        relays: relays.iter().map(LocalRelay::url).collect(),
        spread: Spread::Halves,
        ..Options::default()
    });
    let relays = [0, 1].into_iter().zip(relays).map(|(n, mut relay)| {
        relay.insert(corpus.on_relay(n).map(|entry| entry.json.as_str()));
        relay.resume();
        relay
    });
    let relays: Vec<LocalRelay> = relays.collect();
    (corpus, relays.try_into().unwrap_or_else(|_| unreachable!("there are two")))
}

#[tokio::test]
async fn announcements_lead_from_one_relay_to_the_other_half_of_the_events() {
    let (corpus, [first, second]) = halves();
    let expected = wanted(&corpus);
    assert!(!expected.is_subset(&first.ids()) && !expected.is_subset(&second.ids()));
    let program = Program::new();
    let args = ["--allow-private", "--relay", &first.url(), "--record", "sync.jsonl", "--json"];
    let ended = program.sync(&[&args[..], &PROMPT].concat()).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_same(&program.stored().await, &expected);

    let outcome = &ended.json()["data"];
    let relays = outcome["relays"].as_array().expect("a list");
    let relays: BTreeSet<(String, bool)> = relays
        .iter()
        .map(|relay| {
            let url = relay["url"].as_str().expect("a URL").to_owned();
            (url, relay["bootstrap"] == true)
        })
        .collect();
    let slash = |relay: &LocalRelay| format!("{}/", relay.url());
    assert_eq!(relays, BTreeSet::from([(slash(&first), true), (slash(&second), false)]));
    program.replays("sync.jsonl").await;
}

#[tokio::test]
async fn without_discovery_only_the_half_of_the_relay_that_was_given_is_synced() {
    let (corpus, [first, _second]) = halves();
    let here = corpus.wanted(&sync_tests::corpus::Mode::Archive, &BTreeSet::from([0]));
    let expected: BTreeSet<String> = here.iter().map(|id| id.to_hex()).collect();
    let program = Program::new();
    let ended = program.sync(&["--no-discovery", "--allow-private", "--relay", &first.url()]).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_same(&program.stored().await, &expected);
}
