//! The fixtures themselves: what interop tests build on is held here, against real sockets.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use sync_tests::corpus::{Corpus, Mode, Options};

use common::client::Client;
use common::local_relay::{LocalRelay, Shape};
use common::proxy::Proxy;
use common::python_relay::PythonRelay;
use common::script_relay::{self, Reply, ScriptRelay};

fn corpus() -> Corpus {
    Corpus::generate(Options { events: 400, repositories: 8, same_second: 0, ..Options::default() })
}

fn lines(corpus: &Corpus) -> impl Iterator<Item = &str> {
    corpus.entries.iter().map(|entry| entry.json.as_str())
}

/// What any relay that follows NIP-01 holds once it was given everything.
fn kept(corpus: &Corpus) -> BTreeSet<String> {
    let wanted = corpus.wanted(&Mode::Archive, &corpus.all_relays());
    wanted.iter().map(|id| id.to_hex()).collect()
}

#[tokio::test]
async fn a_local_relay_serves_what_was_inserted_and_keeps_it_over_a_restart() {
    let corpus = corpus();
    let mut relay = LocalRelay::start(lines(&corpus));
    assert_eq!(relay.ids(), kept(&corpus));
    let mut client = Client::connect(&relay.url()).await;
    assert_eq!(client.everything(500).await, kept(&corpus));

    relay.stop();
    assert_eq!(client.next().await, None, "stopping ends connections");
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", relay.port())).await.is_err());

    relay.resume();
    let mut client = Client::connect(&relay.url()).await;
    assert_eq!(client.everything(500).await, kept(&corpus));
}

#[tokio::test]
async fn a_local_relay_takes_a_thousand_events_over_the_wire() {
    let corpus = Corpus::generate(Options { events: 1_000, replaced: 0, ..Options::default() });
    let relay = LocalRelay::start([]);
    let mut client = Client::connect(&relay.url()).await;
    let (taken, refused) = client.publish(lines(&corpus)).await;
    assert_eq!((taken, refused.len()), (corpus.entries.len(), 0));
    assert_eq!(relay.ids(), kept(&corpus));
}

#[tokio::test]
async fn a_local_relay_cuts_pages_at_its_cap() {
    let corpus = corpus();
    let relay = LocalRelay::start_shaped(Shape { cap: Some(50) }, lines(&corpus));
    let mut client = Client::connect(&relay.url()).await;
    assert_eq!(client.ask(json!({ "limit": 500 })).await.len(), 50);
    assert_eq!(client.ask(json!({ "kinds": [30617] })).await.len(), corpus.repositories.len());
}

#[tokio::test]
async fn a_python_relay_takes_and_serves_a_corpus() {
    let corpus = Corpus::generate(Options { events: 200, content: 2_000, ..Options::default() });
    let Some(relay) = PythonRelay::start().await else { return };
    assert_eq!(relay.fill(lines(&corpus)).await, corpus.entries.len());
    let mut client = Client::connect(&relay.url()).await;
    let roots = corpus.entries.iter().filter(|e| matches!(e.event.kind.as_u16(), 1617 | 1621));
    let expected: BTreeSet<String> = roots.map(|e| e.event.id.to_hex()).collect();
    let served = client.ask(json!({ "kinds": [1617, 1621], "limit": 500 })).await;
    assert_eq!(served.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn a_proxy_counts_pauses_and_cuts() {
    let corpus = corpus();
    let relay = LocalRelay::start(lines(&corpus));
    let proxy = Proxy::start(relay.port()).await;
    let mut client = Client::connect(&proxy.url()).await;
    let announcements = client.ask(json!({ "kinds": [30617], "limit": 100 })).await.len();
    assert_eq!(announcements, corpus.repositories.len());
    assert!(proxy.bytes_down() > 300 * announcements as u64);
    assert!(proxy.bytes_up() > 0);

    proxy.pause();
    client.send(&json!(["REQ", "held", { "kinds": [30618], "limit": 1 }])).await;
    let held = tokio::time::timeout(Duration::from_millis(200), client.next()).await;
    assert!(held.is_err(), "nothing passes a paused proxy");
    proxy.resume();
    assert_eq!(client.next().await.expect("the connection lives")[0], "EVENT");

    proxy.cut();
    while client.next().await.is_some() {}
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_proxy_delays_both_directions() {
    let relay = LocalRelay::start([]);
    let proxy = Proxy::start(relay.port()).await;
    let mut client = Client::connect(&proxy.url()).await;
    proxy.delay(Duration::from_millis(150));
    let began = std::time::Instant::now();
    assert!(client.ask(json!({ "limit": 1 })).await.is_empty());
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_refusing_proxy_accepts_nobody_until_told_otherwise() {
    let relay = LocalRelay::start([]);
    let proxy = Proxy::start(relay.port()).await;
    proxy.refuse(true);
    assert!(Client::try_connect(&proxy.url()).await.is_none());
    proxy.refuse(false);
    assert!(Client::try_connect(&proxy.url()).await.is_some());
}

#[tokio::test]
async fn script_relays_stay_silent_close_each_req_or_are_slow() {
    let silent = ScriptRelay::start(script_relay::never_answers()).await;
    let mut client = Client::connect(&silent.url()).await;
    client.send(&json!(["REQ", "a", {}])).await;
    assert!(tokio::time::timeout(Duration::from_millis(200), client.next()).await.is_err());
    assert_eq!(silent.count("REQ"), 1);

    let closing = ScriptRelay::start(script_relay::closes_each_req("error: no")).await;
    let mut client = Client::connect(&closing.url()).await;
    client.send(&json!(["REQ", "a", {}])).await;
    assert_eq!(client.next().await, Some(json!(["CLOSED", "a", "error: no"])));

    let event = corpus().entries[0].json.clone();
    let slow = script_relay::slow_eose(Duration::from_millis(300), vec![event]);
    let slow = ScriptRelay::start(slow).await;
    let mut client = Client::connect(&slow.url()).await;
    let began = std::time::Instant::now();
    assert_eq!(client.ask(json!({})).await.len(), 1);
    assert!(began.elapsed() >= Duration::from_millis(300));

    let rude = ScriptRelay::start(|_: &serde_json::Value| vec![Reply::Hangup]).await;
    let mut client = Client::connect(&rude.url()).await;
    client.send(&json!(["REQ", "a", {}])).await;
    assert_eq!(client.next().await, None);
}
