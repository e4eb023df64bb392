//! What relays are filled with: real events, and corpora that know what is wanted of them.

use std::collections::BTreeSet;

use nostr::event::{EventBuilder, FinalizeEvent, Kind, Tag};
use serde_json::Value;
use sync_tests::corpus::{Corpus, Mode, Options, keys_of};

/// 25 events as a relay served them.
pub(crate) const REAL: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/nip34-real.jsonl"));

/// The ids of the real events; policy wants all of them in archive mode.
pub(crate) fn real_ids() -> BTreeSet<String> {
    REAL.lines().map(|line| super::program::id_of(&parse(line))).collect()
}

/// The canonical URLs of the relays that the real announcements name, in `relays` and by clone
/// URLs of the GRASP shape.
pub(crate) fn real_relays() -> BTreeSet<String> {
    let mut urls = BTreeSet::new();
    for event in REAL.lines().map(parse).filter(|event| event["kind"] == 30617) {
        for tag in event["tags"].as_array().expect("tags are a list") {
            let values = tag.as_array().expect("a tag is a list").iter().filter_map(Value::as_str);
            let values: Vec<&str> = values.collect();
            for value in &values[1..] {
                match values[0] {
                    "relays" => urls.insert(format!("{}/", value.trim_end_matches('/'))),
                    "clone" if value.contains("/npub1") => {
                        let host = value.split('/').nth(2).expect("a URL has a host");
                        urls.insert(format!("wss://{host}/"))
                    }
                    _ => false,
                };
            }
        }
    }
    urls
}

/// A corpus that ends a year before the tests were written, so that no clock calls it the future.
pub(crate) fn corpus(options: Options) -> Corpus {
    let end = nostr::types::Timestamp::from_secs(1_760_000_000);
    Corpus::generate(Options { end, ..options })
}

/// The events of a corpus as a relay sends them.
pub(crate) fn lines(corpus: &Corpus) -> impl Iterator<Item = &str> {
    corpus.entries.iter().map(|entry| entry.json.as_str())
}

/// The ids that archive mode wants of a corpus when all of it is within reach.
pub(crate) fn wanted(corpus: &Corpus) -> BTreeSet<String> {
    let wanted = corpus.wanted(&Mode::Archive, &corpus.all_relays());
    wanted.iter().map(|id| id.to_hex()).collect()
}

/// An issue that is written this moment, on a repository of a corpus; its id and its JSON.
pub(crate) fn issue(corpus: &Corpus, text: &str) -> (String, String) {
    let repository = corpus.repositories[0].coordinate().to_string();
    let event = EventBuilder::new(Kind::from(1621), text)
        .tag(Tag::custom("a", [repository]))
        .finalize(&keys_of(7, 7))
        .expect("a key signs");
    (event.id.to_hex(), serde_json::to_string(&event).expect("an event is JSON"))
}

pub(crate) fn parse(line: &str) -> Value {
    serde_json::from_str(line).expect("events are JSON")
}
