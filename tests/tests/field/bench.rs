//! What the scenarios share: worlds that keep a journal, events made by hand, and questions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use nostr::event::{Event, EventId, Kind, Tag};
use nostr::nips::nip01::Coordinate;
use nostr::types::Timestamp;
use sync_core::id::RelayId;
use sync_core::status::RelayStatus;
use sync_core::url::RelayUrl;
use sync_tests::corpus::{Corpus, Mode, Options, Signing, fake_signature, keys_of};
use sync_tests::sim::faults::Nature;
use sync_tests::world::{Action, Setup, World};

/// Wall time of the start of every world here.
pub(crate) const START: u64 = 1_793_003_600;

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn url(relay: usize) -> String {
    format!("wss://r{relay}.example/")
}

pub(crate) fn setup() -> Setup {
    Setup { journal: true, wall: Timestamp::from_secs(START), ..Setup::default() }
}

/// A corpus on so many relays, every event on each of its repository's relays.
pub(crate) fn options(relays: usize, events: usize) -> Options {
    Options {
        events,
        repositories: 6,
        relays: (0..relays).map(url).collect(),
        copies: 2.min(relays),
        signing: Signing::Simulated,
        ..Options::default()
    }
}

/// A world of a corpus on one relay, synced.
pub(crate) fn synced(setup: Setup, corpus: &Corpus, natures: &[Nature]) -> World {
    let mut world = World::of_corpus(setup, corpus);
    for (relay, nature) in world.relays.iter_mut().zip(natures) {
        relay.nature = nature.clone();
    }
    converge(&mut world, 1_800);
    assert_eq!(missing(&world, corpus), 0);
    world
}

/// A world whose relays are empty and not dialed yet; the first so many are configured.
pub(crate) fn world(mut setup: Setup, natures: &[Nature], bootstrap: usize) -> World {
    setup.config.sync.relays = (0..bootstrap).map(url).collect();
    let relays = natures.iter().enumerate().map(|(n, nature)| {
        (RelayUrl::parse(&url(n)).expect("these are relay URLs"), nature.clone())
    });
    World::new(setup, relays.collect())
}

/// Puts an event on a relay that had it before the start.
pub(crate) fn put(world: &mut World, relay: usize, event: &Arc<Event>) {
    world.relays[relay].publish(event, Timestamp::from_secs(0));
}

/// Publishes an event on a relay in the next moment.
pub(crate) fn publish(world: &mut World, relay: usize, event: &Arc<Event>) {
    world.after(Duration::ZERO, Action::Publish(relay, Arc::clone(event)));
}

/// # Panics
///
/// When the relays are not past their passes in time, or something did not hold.
pub(crate) fn converge(world: &mut World, limit: u64) {
    let done = world.run_until(secs(limit), World::is_converged);
    world.expect_sound();
    let statuses: Vec<_> = world.core.relays().collect();
    assert!(done, "not converged after {:?}: {statuses:?}", world.elapsed());
}

/// Runs for so long and checks that everything held.
pub(crate) fn run(world: &mut World, span: u64) {
    world.run_for(secs(span));
    world.expect_sound();
}

/// Wanted events of a corpus that are not stored.
pub(crate) fn missing(world: &World, corpus: &Corpus) -> usize {
    let wanted = corpus.wanted(&Mode::Archive, &corpus.all_relays());
    wanted.difference(&world.stored()).count()
}

pub(crate) fn has(world: &World, event: &Event) -> bool {
    world.plane.store.find(&event.id).is_some()
}

/// The core's number of a relay.
pub(crate) fn id(world: &World, relay: usize) -> RelayId {
    world.core.relay_id(&world.relays[relay].url).expect("the core knows it")
}

pub(crate) fn is_connected(world: &World, relay: usize) -> bool {
    world.status(relay) == Some(RelayStatus::Connected)
}

/// An event by the n-th author.
pub(crate) fn event(author: usize, kind: u16, at: u64, tags: Vec<Tag>, text: &str) -> Arc<Event> {
    let kind = Kind::from(kind);
    let key = keys_of(99, author).public_key();
    let zero = EventId::from_byte_array([0; 32]);
    let at = Timestamp::from_secs(at);
    let mut event = Event::new(zero, key, at, kind, tags, text, fake_signature(&zero));
    event.id = EventId::compute(&event.pubkey, &at, &event.kind, &event.tags, &event.content);
    event.sig = fake_signature(&event.id);
    Arc::new(event)
}

pub(crate) fn tag<S: Into<String>>(name: &str, values: impl IntoIterator<Item = S>) -> Tag {
    Tag::custom(name, values)
}

pub(crate) fn repo(owner: usize, identifier: &str) -> Coordinate {
    Coordinate::new(Kind::from(30617), keys_of(99, owner).public_key()).identifier(identifier)
}

/// An announcement that lists these relays and maintainers.
pub(crate) fn announcement(
    owner: usize,
    identifier: &str,
    at: u64,
    relays: &[usize],
    maintainers: &[usize],
) -> Arc<Event> {
    let mut tags = vec![
        tag("d", [identifier]),
        tag("clone", relays.iter().map(|n| clone_url(owner, identifier, *n))),
        tag("relays", relays.iter().map(|n| url(*n))),
    ];
    if !maintainers.is_empty() {
        let keys = maintainers.iter().map(|n| keys_of(99, *n).public_key().to_hex());
        tags.push(tag("maintainers", keys));
    }
    event(owner, 30617, at, tags, "")
}

fn clone_url(owner: usize, identifier: &str, relay: usize) -> String {
    use nostr::nips::nip19::ToBech32;
    let npub = keys_of(99, owner).public_key().to_bech32().expect("keys have a bech32 form");
    format!("https://r{relay}.example/{npub}/{identifier}.git")
}

pub(crate) fn state(author: usize, identifier: &str, at: u64) -> Arc<Event> {
    let commit = format!("{at:040x}");
    event(author, 30618, at, vec![tag("d", [identifier]), tag("refs/heads/main", [commit])], "")
}

pub(crate) fn issue(author: usize, repo: &Coordinate, at: u64, text: &str) -> Arc<Event> {
    let tags = vec![tag("a", [repo.to_string()]), tag("subject", [text])];
    event(author, 1621, at, tags, text)
}

/// A comment that names its root by `E` and its parent by `e`, and no repository.
pub(crate) fn comment(
    author: usize,
    root: &Event,
    parent: &Event,
    at: u64,
    text: &str,
) -> Arc<Event> {
    let tags = vec![tag("E", [root.id.to_hex()]), tag("e", [parent.id.to_hex()])];
    event(author, 1111, at, tags, text)
}

/// Something that each standing live filter of a synced corpus must bring: an announcement, and
/// for each repository an issue, for each root a comment that names only it.
pub(crate) fn probes(corpus: &Corpus, relay: usize, at: u64, text: &str) -> Vec<Arc<Event>> {
    let mut probes = vec![announcement(70, text, at, &[relay], &[])];
    let repositories = corpus.repositories.iter().filter(|repo| repo.relays.contains(&relay));
    for repo in repositories {
        probes.push(issue(71, &repo.coordinate(), at, text));
    }
    for entry in corpus.on_relay(relay) {
        if matches!(entry.event.kind.as_u16(), 1617 | 1618 | 1621) {
            probes.push(comment(72, &entry.event, &entry.event, at, text));
        }
    }
    probes
}

/// Publishes probes and checks that all of them come live.
pub(crate) fn expect_live(world: &mut World, corpus: &Corpus, relay: usize, text: &str) {
    let at = world.wall().as_secs();
    let probes = probes(corpus, relay, at, text);
    let since = world.elapsed();
    for probe in &probes {
        publish(world, relay, probe);
    }
    run(world, 2);
    let deaf: Vec<_> = probes.iter().filter(|probe| !has(world, probe)).collect();
    assert!(
        deaf.is_empty(),
        "{} of {} did not come live, first kind {}",
        deaf.len(),
        probes.len(),
        deaf[0].kind.as_u16()
    );
    let relay = id(world, relay);
    assert!(world.journal().received(relay, since) >= probes.len() as u64);
}

/// Values of a tag in filters.
pub(crate) fn values<'a>(
    filters: impl IntoIterator<Item = &'a nostr::filter::Filter>,
    letter: char,
) -> BTreeSet<String> {
    filters
        .into_iter()
        .flat_map(|filter| &filter.generic_tags)
        .filter(|(tag, _)| tag.as_char() == letter)
        .flat_map(|(_, values)| values.iter().cloned())
        .collect()
}
