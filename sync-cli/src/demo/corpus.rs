//! A small NIP-34 corpus with keys of its own: the same events on every run, but for the URLs of
//! the relays that their announcements name.

use nostr_v44::event::{Event, EventBuilder, EventId, Kind, Tag};
use nostr_v44::key::{Keys, SecretKey};
use nostr_v44::types::Timestamp;

use crate::exit::Exit;
use crate::failure::Failure;

const NAMES: [&str; 6] = ["anvil", "bellows", "crucible", "drill bit", "eyelet", "forge"];
const ROOTS: usize = 20;
const COMMENTS: usize = 2;
/// The first event is from here; each is a minute later than the one before.
const BEGIN: u64 = 1_700_000_000;

/// Announcements, and what belongs to their repositories.
pub(crate) struct Corpus {
    /// Kind 30617: they name the relays.
    pub(crate) announcements: Vec<Event>,
    /// States, issues, patches, comments.
    pub(crate) rest: Vec<Event>,
    /// A comment that nobody has published yet.
    pub(crate) news: Event,
}

impl Corpus {
    /// Generates and signs it.
    pub(crate) fn generate(relays: &[String]) -> Result<Self, Failure> {
        let build = || -> Result<Self, Box<dyn std::error::Error>> {
            let mut author = Author { keys: key(0)?, clock: BEGIN };
            let mut corpus = Vec::new();
            let mut announcements = Vec::new();
            let mut last = None;
            for (at, name) in NAMES.into_iter().enumerate() {
                author.keys = key(at % 3)?;
                let repository = Repository { name, owner: author.keys.clone() };
                announcements.push(repository.announce(&mut author, relays)?);
                corpus.push(repository.state(&mut author)?);
                for number in 0..ROOTS {
                    author.keys = key(3 + number % 4)?;
                    let root = repository.root(&mut author, number)?;
                    for reply in 0..COMMENTS {
                        author.keys = key(3 + (number + reply) % 4)?;
                        corpus.push(comment(&mut author, &root, reply)?);
                    }
                    corpus.push(root.clone());
                    last = Some(root);
                }
            }
            let last = last.ok_or("a repository has roots")?;
            let news = comment(&mut author, &last, COMMENTS)?;
            Ok(Self { announcements, rest: corpus, news })
        };
        build().map_err(|error| {
            Failure::new(Exit::Internal, "cannot generate the corpus").because(error.to_string())
        })
    }

    /// How many events there are before the news.
    pub(crate) fn len(&self) -> u64 {
        (self.announcements.len() + self.rest.len()) as u64
    }

    /// The events of the relay with this index: announcements are on the first alone, everything
    /// else is on two of the three.
    pub(crate) fn of_relay(&self, relay: usize) -> impl Iterator<Item = &Event> {
        let announcements = self.announcements.iter().filter(move |_| relay == 0);
        let rest = self.rest.iter().enumerate().filter(move |(at, _)| at % 3 != relay);
        announcements.chain(rest.map(|(_, event)| event))
    }
}

/// Keys for a demo and nothing else.
fn key(number: usize) -> Result<Keys, nostr_v44::key::Error> {
    Ok(Keys::new(SecretKey::from_slice(&[number as u8 + 1; 32])?))
}

type Built = Result<Event, Box<dyn std::error::Error>>;

struct Author {
    keys: Keys,
    clock: u64,
}

impl Author {
    fn write(&mut self, kind: u16, content: &str, tags: &[&[&str]]) -> Built {
        self.clock += 60;
        let tags: Result<Vec<_>, _> =
            tags.iter().map(|tag| Tag::parse(tag.iter().copied())).collect();
        let builder = EventBuilder::new(Kind::from(kind), content)
            .tags(tags?)
            .custom_created_at(Timestamp::from(self.clock));
        Ok(builder.sign_with_keys(&self.keys)?)
    }
}

struct Repository {
    name: &'static str,
    owner: Keys,
}

impl Repository {
    fn announce(&self, author: &mut Author, relays: &[String]) -> Built {
        let mut listed = vec!["relays"];
        listed.extend(relays.iter().map(String::as_str));
        author.write(30617, "", &[&["d", self.name], &["name", self.name], &listed])
    }

    fn state(&self, author: &mut Author) -> Built {
        let commit = "9c1e0f2a3b4c5d6e7f8091a2b3c4d5e6f7081920";
        let tags: [&[&str]; 3] =
            [&["d", self.name], &["refs/heads/main", commit], &["HEAD", "ref: refs/heads/main"]];
        author.write(30618, "", &tags)
    }

    fn root(&self, author: &mut Author, number: usize) -> Built {
        let owner = self.owner.public_key().to_hex();
        let address = format!("30617:{owner}:{}", self.name);
        let subject = format!("{} {number}", self.name);
        let (kind, content) = if number.is_multiple_of(2) {
            (1621, format!("{subject} squeaks when it is cold."))
        } else {
            (
                1617,
                format!("From 9c1e0f2a Mon Sep 17 00:00:00 2001\nSubject: [PATCH] Oil {subject}\n"),
            )
        };
        author.write(kind, &content, &[&["a", &address], &["p", &owner], &["subject", &subject]])
    }
}

/// A NIP-22 comment on a root.
fn comment(author: &mut Author, root: &Event, number: usize) -> Built {
    let (id, kind, owner) =
        (EventId::to_hex(&root.id), root.kind.to_string(), root.pubkey.to_hex());
    let upper: [&[&str]; 3] = [&["E", &id], &["K", &kind], &["P", &owner]];
    let lower: [&[&str]; 3] = [&["e", &id], &["k", &kind], &["p", &owner]];
    author.write(1111, &format!("Comment {number}."), &[upper, lower].concat())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn corpus() -> Corpus {
        Corpus::generate(&["ws://127.0.0.1:1".into()]).expect("the corpus can be generated")
    }

    #[test]
    fn the_corpus_is_the_same_on_every_run_and_its_signatures_are_valid() {
        let (one, two) = (corpus(), corpus());
        let ids = |corpus: &Corpus| corpus.rest.iter().map(|event| event.id).collect::<Vec<_>>();
        assert_eq!(ids(&one), ids(&two));
        assert_eq!(one.len(), 6 * (1 + 1 + 20 * 3));
        assert!(one.rest.iter().chain(&one.announcements).all(|event| event.verify().is_ok()));
    }

    #[test]
    fn no_relay_has_everything_and_all_of_them_together_do() {
        let corpus = corpus();
        let of = |relay| corpus.of_relay(relay).map(|event| event.id).collect::<BTreeSet<_>>();
        let relays = [of(0), of(1), of(2)];
        assert!(relays.iter().all(|ids| (ids.len() as u64) < corpus.len()));
        let all: BTreeSet<_> = relays.into_iter().flatten().collect();
        assert_eq!(all.len() as u64, corpus.len());
        assert!(!all.contains(&corpus.news.id));
    }
}
