//! Corpora of NIP-34 events made from a seed: same options, same bytes. They carry their own
//! oracle, which says what a store must hold in the end.
//!
//! ```
//! use sync_tests::corpus::{Corpus, Mode, Options};
//!
//! let corpus = Corpus::generate(Options { events: 200, ..Options::default() });
//! let everything = corpus.wanted(&Mode::Archive, &corpus.all_relays());
//! assert!(everything.len() > 150);
//! ```

mod generate;
mod keys;
mod oracle;

use std::collections::BTreeSet;

use nostr::event::{Event, EventId};
use nostr::key::PublicKey;
use nostr::nips::nip01::Coordinate;
use nostr::types::Timestamp;

pub use self::keys::{Signing, fake_signature, keys_of};
pub use self::oracle::Mode;

/// What a corpus is made of. Shares are per thousand.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// How many repositories, beside those that maintainers add.
    pub repositories: usize,
    /// URLs of the relays. The first one holds every announcement, as a bootstrap relay does.
    pub relays: Vec<String>,
    /// Relays that an announcement lists: the first, and so many less one of the others.
    pub copies: usize,
    /// How many events in all, about.
    pub events: usize,
    /// The newest `created_at`.
    pub end: Timestamp,
    /// Seconds from the oldest to the newest.
    pub span_secs: u64,
    /// Which relays of a repository an event lies on.
    pub spread: Spread,
    /// Comments carry their root (NIP-22 `E`), and reactions are on roots only. Without it a
    /// comment names its parent only, and replies can be found only through their parents.
    pub replies_carry_root: bool,
    /// Comments, reactions and statuses that their author deletes (NIP-09).
    pub deletions: u32,
    /// Announcements and states that replace an earlier version.
    pub replaced: u32,
    /// Events that share the second of the event before.
    pub same_second: u32,
    /// Repositories with a maintainer who has an announcement of the same identifier, which does
    /// not list the relays as its service.
    pub maintainers: u32,
    /// States by strangers: they are served for `#d` and no policy wants them.
    pub strangers: u32,
    /// Comments that quote a note which references nothing itself (ACPT-5).
    pub quotes: u32,
    /// Typical length of a content in characters; patches have four times as much.
    pub content: usize,
    /// Real signatures or simulated ones.
    pub signing: Signing,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            repositories: 20,
            relays: vec!["wss://one.example".into(), "wss://two.example".into()],
            copies: 2,
            events: 1_000,
            end: Timestamp::from_secs(1_793_000_000),
            span_secs: 2 * 365 * 86_400,
            spread: Spread::Everywhere,
            replies_carry_root: true,
            deletions: 0,
            replaced: 30,
            same_second: 20,
            maintainers: 150,
            strangers: 0,
            quotes: 0,
            content: 300,
            signing: Signing::Real,
        }
    }
}

/// Which relays of its repository an event lies on; announcements lie on all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// On all.
    Everywhere,
    /// On one, drawn: no relay has everything, all together do.
    Halves,
}

/// A repository of a corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Author of the announcement.
    pub owner: PublicKey,
    /// The `d` of the announcement; may hold `:`, spaces and emoji.
    pub identifier: String,
    /// Indexes of the relays that its announcement lists.
    pub relays: Vec<usize>,
    /// Whether its clone URLs have the GRASP shape on these relays, so that a service accepts it.
    pub serves: bool,
    /// The repository whose maintainer announced this one.
    pub maintains: Option<usize>,
}

impl Repository {
    /// The address of the announcement.
    pub fn coordinate(&self) -> Coordinate {
        Coordinate::new(nostr::event::Kind::from(30617), self.owner)
            .identifier(self.identifier.clone())
    }
}

/// An event and where it lies.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The event.
    pub event: Event,
    /// The event as a relay sends it.
    pub json: String,
    /// Index of its repository.
    pub repository: usize,
    /// Indexes of the relays that have it.
    pub relays: Vec<usize>,
}

/// A generated corpus, oldest event first; what an event refers to is never after it.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// How it was made.
    pub options: Options,
    /// Its repositories.
    pub repositories: Vec<Repository>,
    /// Its events.
    pub entries: Vec<Entry>,
}

impl Corpus {
    /// Makes the corpus of these options.
    ///
    /// # Panics
    ///
    /// When there is no relay or no repository.
    pub fn generate(options: Options) -> Self {
        assert!(!options.relays.is_empty(), "a corpus needs a relay");
        assert!(options.repositories > 0, "a corpus needs a repository");
        generate::generate(options)
    }

    /// Indexes of all relays.
    pub fn all_relays(&self) -> BTreeSet<usize> {
        (0..self.options.relays.len()).collect()
    }

    /// What lies on one relay.
    pub fn on_relay(&self, relay: usize) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.relays.contains(&relay))
    }

    /// The ids that a store holds once everything that policy wants from these relays is there:
    /// after NIP-01 replacement and NIP-09 deletion.
    pub fn wanted(&self, mode: &Mode, reachable: &BTreeSet<usize>) -> BTreeSet<EventId> {
        oracle::wanted(self, mode, reachable)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn options() -> Options {
        Options {
            events: 1_500,
            deletions: 30,
            strangers: 10,
            quotes: 10,
            relays: (0..4).map(|n| format!("wss://r{n}.example")).collect(),
            copies: 3,
            ..Options::default()
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
        let lines = |seed| -> Vec<String> {
            let corpus = Corpus::generate(Options { seed, ..options() });
            corpus.entries.into_iter().map(|entry| entry.json).collect()
        };
        assert_eq!(lines(7), lines(7));
        assert_ne!(lines(7), lines(8));
    }

    #[test]
    fn every_event_verifies_and_its_json_reads_back_equal() {
        let corpus = Corpus::generate(Options { events: 400, ..options() });
        for entry in &corpus.entries {
            entry.event.verify().expect("signed with its key");
            let read: Event = serde_json::from_str(&entry.json).expect("an event");
            assert_eq!(read, entry.event);
        }
    }

    #[test]
    fn all_kinds_occur_and_time_never_runs_backwards() {
        let corpus = Corpus::generate(options());
        let mut kinds = BTreeMap::<u16, usize>::new();
        for entry in &corpus.entries {
            *kinds.entry(entry.event.kind.as_u16()).or_default() += 1;
        }
        let expected =
            [1, 5, 7, 1111, 1617, 1618, 1619, 1621, 1630, 1631, 1632, 1633, 30617, 30618];
        assert_eq!(kinds.keys().copied().collect::<Vec<_>>(), expected);
        let times: Vec<_> = corpus.entries.iter().map(|e| e.event.created_at).collect();
        assert!(times.is_sorted());
        let end = corpus.options.end.as_secs();
        assert_eq!(times.last().map(Timestamp::as_secs), Some(end));
        assert!(times[0].as_secs() >= end - corpus.options.span_secs);
        let ids: BTreeSet<_> = corpus.entries.iter().map(|e| e.event.id).collect();
        assert_eq!(ids.len(), corpus.entries.len());
    }

    #[test]
    fn identifiers_hold_colons_spaces_and_emoji() {
        let corpus = Corpus::generate(options());
        let all: String = corpus.repositories.iter().map(|r| r.identifier.as_str()).collect();
        assert!(all.contains(':') && all.contains(' ') && !all.is_ascii());
    }

    #[test]
    fn halves_give_each_relay_a_part_and_all_together_everything() {
        let corpus = Corpus::generate(Options {
            spread: Spread::Halves,
            deletions: 0,
            strangers: 0,
            ..options()
        });
        let all = corpus.wanted(&Mode::Archive, &corpus.all_relays());
        for relay in 0..4 {
            let here = corpus.on_relay(relay).count();
            assert!(here > 50 && here < corpus.entries.len() * 2 / 3, "relay {relay}: {here}");
        }
        let replaced = corpus.entries.len() - all.len();
        assert!(replaced < corpus.entries.len() / 10, "only replaced versions are missing");
    }

    #[test]
    fn the_oracle_drops_what_is_replaced_deleted_or_by_strangers() {
        let plain = Options { deletions: 0, strangers: 0, replaced: 0, quotes: 0, ..options() };
        let corpus = Corpus::generate(plain.clone());
        let wanted = corpus.wanted(&Mode::Archive, &corpus.all_relays());
        assert_eq!(wanted.len(), corpus.entries.len());

        let corpus = Corpus::generate(Options { deletions: 100, ..plain.clone() });
        let wanted = corpus.wanted(&Mode::Archive, &corpus.all_relays());
        let deletions = corpus.entries.iter().filter(|e| e.event.kind.as_u16() == 5).count();
        assert!(deletions > 10);
        assert_eq!(wanted.len(), corpus.entries.len() - deletions);

        let corpus = Corpus::generate(Options { strangers: 50, ..plain });
        let wanted = corpus.wanted(&Mode::Archive, &corpus.all_relays());
        let missing: Vec<_> =
            corpus.entries.iter().filter(|e| !wanted.contains(&e.event.id)).collect();
        assert!(missing.len() > 10);
        assert!(missing.iter().all(|e| e.event.kind.as_u16() == 30618));
    }

    #[test]
    fn a_service_wants_only_repositories_that_list_it_and_their_maintainers() {
        let corpus = Corpus::generate(Options { maintainers: 500, ..options() });
        let mode = Mode::Service(vec!["r3.example".into()]);
        let wanted = corpus.wanted(&mode, &corpus.all_relays());
        let announced = |index: usize| {
            let repo = &corpus.repositories[index];
            corpus.entries.iter().any(|e| {
                e.repository == index
                    && e.event.kind.as_u16() == 30617
                    && e.event.pubkey == repo.owner
                    && wanted.contains(&e.event.id)
            })
        };
        let mut excepted = 0;
        for (index, repo) in corpus.repositories.iter().enumerate() {
            let expected = match repo.maintains {
                None => repo.relays.contains(&3),
                Some(of) => corpus.repositories[of].relays.contains(&3),
            };
            assert_eq!(announced(index), expected, "{repo:?}");
            excepted += usize::from(expected && !repo.serves);
        }
        assert!(excepted > 0, "the exception for maintainers is exercised");
    }

    #[test]
    fn filters_want_exactly_what_matches() {
        let corpus = Corpus::generate(options());
        let filter = nostr::filter::Filter::new().kind(nostr::event::Kind::from(1621));
        let wanted = corpus.wanted(&Mode::Filters(vec![filter]), &corpus.all_relays());
        let issues = corpus.entries.iter().filter(|e| e.event.kind.as_u16() == 1621).count();
        assert_eq!(wanted.len(), issues);
    }

    #[test]
    fn simulated_signatures_leave_ids_and_everything_else_as_it_is() {
        let real = Corpus::generate(options());
        let fake = Corpus::generate(Options { signing: Signing::Simulated, ..options() });
        for (real, fake) in real.entries.iter().zip(&fake.entries) {
            assert_eq!(real.event.id, fake.event.id);
            assert_eq!(fake.event.sig, fake_signature(&fake.event.id));
        }
        assert_eq!(real.entries.len(), fake.entries.len());
    }
}
