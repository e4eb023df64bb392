//! The corpus of these tests, the store that it ends in, and what a run transferred.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::OnceLock;

use nostr::event::EventId;
use nostr::filter::Filter;
use serde_json::Value;
use sync_runtime::store::{EventStore, Store, StoreOptions};
use sync_tests::corpus::{Corpus, Mode, Options};

use crate::common::program::{Ended, Program};

/// Events of the large corpus.
pub(crate) const LARGE: usize = 100_000;

/// Every kind of the corpus: one filter, so that costs are those of the history and not of filters.
pub(crate) const FILTER: &str =
    r#"{"kinds":[1,7,1111,1617,1618,1619,1621,1630,1631,1632,1633,30617,30618]}"#;

/// The large corpus, made once.
pub(crate) fn large() -> &'static Corpus {
    static CORPUS: OnceLock<Corpus> = OnceLock::new();
    CORPUS.get_or_init(|| made(LARGE))
}

/// A corpus of one relay.
pub(crate) fn made(events: usize) -> Corpus {
    Corpus::generate(Options {
        events,
        repositories: 200,
        relays: vec!["wss://one.example".into()],
        copies: 1,
        replaced: 0,
        ..Options::default()
    })
}

/// What the store must hold in the end.
pub(crate) fn wanted(corpus: &Corpus) -> BTreeSet<EventId> {
    let filter: Filter = serde_json::from_str(FILTER).expect("a filter");
    corpus.wanted(&Mode::Filters(vec![filter]), &corpus.all_relays())
}

/// The events as a relay sends them.
pub(crate) fn jsons(corpus: &Corpus) -> impl Iterator<Item = &str> {
    corpus.entries.iter().map(|entry| entry.json.as_str())
}

/// Bytes of the frames of these events.
pub(crate) fn frames(corpus: &Corpus, ids: &BTreeSet<EventId>) -> u64 {
    let entries = corpus.entries.iter().filter(|entry| ids.contains(&entry.event.id));
    entries.map(|entry| (entry.json.len() + r#"["EVENT","12",]"#.len()) as u64).sum()
}

/// The ids of the store of a process that has ended.
pub(crate) fn stored(program: &Program) -> BTreeSet<EventId> {
    let store = Store::open_read_only(&program.path("data")).expect("the store is there");
    let mut ids = BTreeSet::new();
    let mut visit = |found: sync_runtime::store::Found<'_>| {
        ids.insert(found.id);
        ControlFlow::Continue(())
    };
    store.query(&Filter::new(), &mut visit).expect("the store can be read");
    ids
}

/// Takes every `nth` event out of the store as if it had never come; returns which.
pub(crate) fn thin_out(program: &Program, nth: usize) -> BTreeSet<EventId> {
    let gone: Vec<EventId> = stored(program).into_iter().step_by(nth).collect();
    forget(program, &gone);
    gone.into_iter().collect()
}

/// Takes these events out of the store as if they had never come.
pub(crate) fn forget(program: &Program, ids: &[EventId]) {
    let store = Store::open(&program.path("data"), StoreOptions::default());
    let filter = Filter::new().ids(ids.iter().copied());
    let erased = store.expect("nobody else has the store").erase(&filter);
    assert_eq!(erased.expect("the store can be written"), ids.len() as u64);
}

/// What one relay brought in a run of `sync`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) received: u64,
    pub(crate) stored: u64,
    pub(crate) rounds: u64,
    pub(crate) pages: u64,
    pub(crate) down: u64,
    pub(crate) up: u64,
}

impl Run {
    /// The run of a `sync --json` that must have ended complete; its figures are printed.
    pub(crate) fn of(what: &str, ended: &Ended) -> Self {
        assert_eq!(ended.code, Some(0), "{what}: {ended}");
        let data = &ended.json()["data"];
        assert_eq!(data["complete"], true, "{what}: {ended}");
        let relay = only_relay(data);
        let number = |name: &str| relay[name].as_u64().expect("a number");
        let (down, up) = (number("bytes_in"), number("bytes_out"));
        let run = Self {
            received: number("received"),
            stored: number("stored"),
            rounds: number("rounds"),
            pages: number("pages"),
            down,
            up,
        };
        println!("{what}: {run:?}, {} s", data["took_s"]);
        run
    }
}

/// The only relay of a document.
pub(crate) fn only_relay(data: &Value) -> &Value {
    let relays = data["relays"].as_array().expect("a list of relays");
    assert_eq!(relays.len(), 1, "{data}");
    &relays[0]
}

/// A run with this relay and the filter of the corpus.
pub(crate) async fn run(program: &Program, command: &[&str], url: &str, more: &[&str]) -> Ended {
    let fixed = ["--relay", url, "--filter", FILTER, "--json"];
    program.run(&[command, &fixed, more].concat()).await
}
