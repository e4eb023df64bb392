//! Draws repositories and their events, oldest first.

use nostr::event::{Event, EventId, Kind, Tag};
use nostr::key::Keys;
use nostr::nips::nip19::ToBech32;
use nostr::types::Timestamp;
use sync_core::rng::Rng;

use super::keys::{fake_signature, keys_of, sign_all};
use super::{Corpus, Entry, Options, Repository, Spread};

const WORDS: [&str; 16] = [
    "relay", "fix", "the", "parser", "when", "a", "patch", "arrives", "before", "its", "root",
    "and", "tests", "for", "every", "branch",
];

/// Whether others may hang on a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A root or a comment.
    Open,
    /// A reaction or status: nothing refers to it, so that deleting it leaves no orphan.
    Leaf,
    Deleted,
}

/// A root and what hangs on it.
struct Node {
    /// Index of the event.
    event: usize,
    id: EventId,
    kind: u16,
    author: usize,
    /// Index of the root's node.
    root: usize,
    depth: u32,
    role: Role,
}

/// A repository while its events are drawn.
struct Growth {
    nodes: Vec<Node>,
    owner: usize,
    maintainer: Option<usize>,
    states: u32,
}

struct Generator {
    options: Options,
    rng: Rng,
    keys: Vec<Keys>,
    repositories: Vec<Repository>,
    growth: Vec<Growth>,
    events: Vec<(Event, usize)>,
    places: Vec<(usize, Vec<usize>)>,
    contributors: usize,
}

pub(super) fn generate(options: Options) -> Corpus {
    let mut generator = Generator::new(options);
    generator.announce_all();
    while generator.events.len() < generator.options.events {
        let repository = generator.skewed(generator.repositories.len());
        generator.grow(repository);
    }
    generator.finish()
}

impl Generator {
    fn new(options: Options) -> Self {
        let contributors = (options.events / 40).clamp(4, 300);
        let owners = options.repositories;
        let seed = options.seed;
        let keys = (0..contributors + 2 * owners).map(|n| keys_of(seed, n)).collect();
        Self {
            rng: Rng::fork(seed, "corpus"),
            keys,
            repositories: Vec::new(),
            growth: Vec::new(),
            events: Vec::new(),
            places: Vec::new(),
            contributors,
            options,
        }
    }

    /// True in so many of a thousand cases.
    fn draw(&mut self, per_thousand: u32) -> bool {
        self.rng.below(1_000) < u64::from(per_thousand)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.below(bound as u64) as usize
    }

    /// An index that prefers the low ones, as activity prefers a few repositories.
    fn skewed(&mut self, bound: usize) -> usize {
        let a = self.below(bound);
        a.min(self.below(bound))
    }

    fn contributor(&mut self) -> usize {
        self.skewed(self.contributors)
    }

    /// The moment of the next event: evenly over the span, never backwards.
    fn now(&mut self) -> Timestamp {
        let options = &self.options;
        let start = options.end.as_secs() - options.span_secs;
        let done = self.events.len() as u64;
        let total = options.events.max(2) as u64 - 1;
        let even = start + options.span_secs * done.min(total) / total;
        let Some((last, _)) = self.events.last() else { return Timestamp::from_secs(start) };
        let last = last.created_at;
        if done < total && self.draw(self.options.same_second) {
            return last;
        }
        Timestamp::from_secs(even.max(last.as_secs()))
    }

    fn text(&mut self, length: usize) -> String {
        let mut text = String::with_capacity(length + 12);
        while text.len() < length {
            let word = self.below(WORDS.len());
            text.push_str(WORDS[word]);
            text.push(' ');
        }
        text
    }

    fn content(&mut self, factor: usize) -> String {
        let typical = self.options.content * factor;
        let length = typical / 2 + self.below(typical + 1);
        self.text(length)
    }

    fn add(&mut self, repository: usize, author: usize, kind: u16, tags: Vec<Tag>) -> EventId {
        let content = match kind {
            7 => "+".to_owned(),
            5 | 30617 | 30618 => String::new(),
            1617 => self.content(4),
            _ => self.content(1),
        };
        let relays = self.place(repository, kind);
        self.add_at(repository, author, kind, tags, content, relays)
    }

    fn add_at(
        &mut self,
        repository: usize,
        author: usize,
        kind: u16,
        tags: Vec<Tag>,
        mut content: String,
        relays: Vec<usize>,
    ) -> EventId {
        // Two reactions of one author within a second would be one event.
        content.extend(std::iter::repeat_n(' ', self.events.len() % 7 * usize::from(kind == 7)));
        let at = self.now();
        let mut event = Event::new(
            EventId::from_byte_array([0; 32]),
            self.keys[author].public_key(),
            at,
            Kind::from(kind),
            tags,
            content,
            fake_signature(&EventId::from_byte_array([0; 32])),
        );
        event.id = EventId::compute(&event.pubkey, &at, &event.kind, &event.tags, &event.content);
        let id = event.id;
        self.events.push((event, author));
        self.places.push((repository, relays));
        id
    }

    fn place(&mut self, repository: usize, kind: u16) -> Vec<usize> {
        let listed = &self.repositories[repository].relays;
        if self.options.spread == Spread::Everywhere || kind == 30617 {
            return listed.clone();
        }
        let listed = listed.clone();
        let one = self.below(listed.len());
        vec![listed[one]]
    }

    fn announce_all(&mut self) {
        for n in 0..self.options.repositories {
            let owner = self.contributors + n;
            let relays = self.draw_relays();
            let identifier = match n % 8 {
                3 => format!("group:sub:{n}"),
                5 => format!("my project {n}"),
                6 => format!("rocket-🚀-{n}"),
                _ => format!("project-{n}"),
            };
            let maintainer =
                self.draw(self.options.maintainers).then(|| owner + self.options.repositories);
            self.push_repository(owner, maintainer, identifier.clone(), relays.clone(), None);
            let index = self.repositories.len() - 1;
            self.announce(index);
            if let Some(maintainer) = maintainer {
                self.push_repository(maintainer, None, identifier, relays, Some(index));
                self.announce(self.repositories.len() - 1);
            }
        }
        for index in 0..self.repositories.len() {
            self.state(index);
        }
    }

    fn draw_relays(&mut self) -> Vec<usize> {
        let mut others: Vec<usize> = (1..self.options.relays.len()).collect();
        let mut relays = vec![0];
        while relays.len() < self.options.copies && !others.is_empty() {
            let index = self.below(others.len());
            relays.push(others.remove(index));
        }
        relays.sort_unstable();
        relays
    }

    fn push_repository(
        &mut self,
        owner: usize,
        maintainer: Option<usize>,
        identifier: String,
        relays: Vec<usize>,
        maintains: Option<usize>,
    ) {
        self.repositories.push(Repository {
            owner: self.keys[owner].public_key(),
            identifier,
            relays,
            serves: maintains.is_none(),
            maintains,
        });
        self.growth.push(Growth { nodes: Vec::new(), owner, maintainer, states: 0 });
    }

    fn announce(&mut self, index: usize) {
        let repository = self.repositories[index].clone();
        let urls: Vec<String> =
            repository.relays.iter().map(|relay| self.options.relays[*relay].clone()).collect();
        let npub = repository.owner.to_bech32().expect("a public key has a bech32 form");
        // A URL holds the identifier percent-encoded; the tag `d` holds it as it is.
        let path = percent_encode(&repository.identifier);
        let clone = if repository.serves {
            urls.iter().map(|url| format!("{}/{npub}/{path}.git", http_of(url))).collect()
        } else {
            vec![format!("https://forge.example/{path}.git")]
        };
        let mut tags = vec![
            tag("d", [repository.identifier.as_str()]),
            tag("name", [repository.identifier.as_str()]),
            tag("r", [format!("{index:040x}"), "euc".to_owned()]),
            tag("clone", clone),
            tag("relays", urls),
        ];
        if let Some(maintainer) = self.growth[index].maintainer {
            tags.push(tag("maintainers", [self.keys[maintainer].public_key().to_hex()]));
        }
        let version = self.events.len();
        tags.push(tag("description", [format!("as of event {version}")]));
        self.add(index, self.growth[index].owner, 30617, tags);
    }

    fn state(&mut self, index: usize) {
        let growth = &mut self.growth[index];
        growth.states += 1;
        let author = match growth.maintainer {
            Some(maintainer) if growth.states.is_multiple_of(3) => maintainer,
            _ => growth.owner,
        };
        self.state_by(index, author);
    }

    fn state_by(&mut self, index: usize, author: usize) {
        let commit = format!("{:040x}", self.rng.next());
        let tags = vec![
            tag("d", [self.repositories[index].identifier.as_str()]),
            tag("refs/heads/main", [commit]),
            tag("HEAD", ["ref: refs/heads/main"]),
        ];
        self.add(index, author, 30618, tags);
    }

    /// Adds one event, or two where the second needs the first.
    fn grow(&mut self, index: usize) {
        let options = &self.options;
        let (replaced, strangers) = (options.replaced, options.strangers);
        if self.draw(replaced) {
            return if self.draw(200) { self.announce(index) } else { self.state(index) };
        }
        if self.draw(strangers) {
            let author = self.contributor();
            return self.state_by(index, author);
        }
        if self.draw(self.options.deletions) && self.delete(index) {
            return;
        }
        match self.rng.below(100) {
            _ if self.growth[index].nodes.is_empty() => self.root(index),
            0..12 => self.root(index),
            12..17 => self.update(index),
            17..27 => self.status(index),
            27..42 => self.react(index),
            _ => self.comment(index),
        }
    }

    fn root(&mut self, index: usize) {
        let author = self.contributor();
        let kind = [1617, 1617, 1618, 1621, 1621][self.below(5)];
        let owner = self.repositories[index].owner.to_hex();
        let mut tags =
            vec![tag("a", [self.repositories[index].coordinate().to_string()]), tag("p", [owner])];
        match kind {
            1617 => tags.push(tag("t", ["root"])),
            1618 => tags.extend([
                tag("subject", [self.text(20)]),
                tag("c", [format!("{:040x}", self.rng.next())]),
                tag("clone", ["https://forge.example/fork.git"]),
            ]),
            _ => tags.push(tag("subject", [self.text(20)])),
        }
        let root = self.growth[index].nodes.len();
        self.add_node(index, author, kind, tags, (root, 0), Role::Open);
    }

    fn add_node(
        &mut self,
        index: usize,
        author: usize,
        kind: u16,
        tags: Vec<Tag>,
        (root, depth): (usize, u32),
        role: Role,
    ) {
        let id = self.add(index, author, kind, tags);
        let event = self.events.len() - 1;
        self.growth[index].nodes.push(Node { event, id, kind, author, root, depth, role });
    }

    /// A node that `wanted` accepts, if a few draws find one.
    fn pick(&mut self, index: usize, wanted: impl Fn(&Node) -> bool) -> Option<usize> {
        (0..8).find_map(|_| {
            let at = self.below(self.growth[index].nodes.len());
            wanted(&self.growth[index].nodes[at]).then_some(at)
        })
    }

    fn update(&mut self, index: usize) {
        let Some(at) = self.pick(index, |node| node.kind == 1618) else {
            return self.comment(index);
        };
        let (id, author) = (self.growth[index].nodes[at].id, self.growth[index].nodes[at].author);
        let tags = vec![
            tag("a", [self.repositories[index].coordinate().to_string()]),
            tag("E", [id.to_hex()]),
            tag("P", [self.keys[author].public_key().to_hex()]),
            tag("c", [format!("{:040x}", self.rng.next())]),
        ];
        self.add(index, author, 1619, tags);
    }

    fn status(&mut self, index: usize) {
        let Some(at) = self.pick(index, |node| node.depth == 0 && node.role == Role::Open) else {
            return self.comment(index);
        };
        let kind = 1630 + self.rng.below(4) as u16;
        let author = self.growth[index].owner;
        let tags = vec![
            tag("e", [self.growth[index].nodes[at].id.to_hex(), String::new(), "root".to_owned()]),
            tag("a", [self.repositories[index].coordinate().to_string()]),
        ];
        self.add_node(index, author, kind, tags, (at, 1), Role::Leaf);
    }

    fn react(&mut self, index: usize) {
        let on_roots = self.options.replies_carry_root;
        let wanted = |node: &Node| node.role == Role::Open && (node.depth == 0 || !on_roots);
        let Some(at) = self.pick(index, wanted) else { return self.comment(index) };
        let node = &self.growth[index].nodes[at];
        let tags = vec![
            tag("e", [node.id.to_hex()]),
            tag("p", [self.keys[node.author].public_key().to_hex()]),
            tag("k", [node.kind.to_string()]),
        ];
        let below = (node.root, node.depth + 1);
        let author = self.contributor();
        self.add_node(index, author, 7, tags, below, Role::Leaf);
    }

    fn comment(&mut self, index: usize) {
        let open = |node: &Node| node.role == Role::Open && node.depth < 3;
        let Some(at) = self.pick(index, open) else { return self.root(index) };
        let author = self.contributor();
        let node = &self.growth[index].nodes[at];
        let root = &self.growth[index].nodes[node.root];
        let mut tags = Vec::new();
        if self.options.replies_carry_root {
            tags.push(tag("E", [root.id.to_hex()]));
            tags.push(tag("K", [root.kind.to_string()]));
            tags.push(tag("P", [self.keys[root.author].public_key().to_hex()]));
        }
        tags.push(tag("e", [node.id.to_hex()]));
        tags.push(tag("k", [node.kind.to_string()]));
        tags.push(tag("p", [self.keys[node.author].public_key().to_hex()]));
        let below = (node.root, node.depth + 1);
        if self.draw(self.options.quotes) {
            let note = self.add(index, author, 1, Vec::new());
            tags.push(tag("q", [note.to_hex()]));
        }
        self.add_node(index, author, 1111, tags, below, Role::Open);
    }

    /// Deletes a leaf by its author, on one relay, which has the target no more; the target stays
    /// on the others. False where nothing can be deleted so.
    fn delete(&mut self, index: usize) -> bool {
        let listed = self.repositories[index].relays.clone();
        if listed.len() < 2 || self.growth[index].nodes.is_empty() {
            return false;
        }
        let Some(at) = self.pick(index, |node| node.role == Role::Leaf) else { return false };
        let node = &mut self.growth[index].nodes[at];
        node.role = Role::Deleted;
        let tags = vec![tag("e", [node.id.to_hex()]), tag("k", [node.kind.to_string()])];
        let (author, event) = (node.author, node.event);
        let target = &self.places[event].1;
        let elsewhere = listed.iter().copied().find(|relay| !target.contains(relay));
        let place = elsewhere.unwrap_or_else(|| listed[self.below(listed.len())]);
        self.places[event].1.retain(|relay| *relay != place);
        self.add_at(index, author, 5, tags, String::new(), vec![place]);
        true
    }

    fn finish(mut self) -> Corpus {
        let end = self.options.end;
        if let Some(last) = self.events.last_mut() {
            debug_assert!(last.0.created_at <= end, "the span ends at the end");
        }
        sign_all(&mut self.events, &self.keys, self.options.signing);
        let entries = self
            .events
            .into_iter()
            .zip(self.places)
            .map(|((event, _), (repository, relays))| Entry {
                json: serde_json::to_string(&event).expect("an event serialises"),
                event,
                repository,
                relays,
            })
            .collect();
        Corpus { options: self.options, repositories: self.repositories, entries }
    }
}

fn tag<S: Into<String>>(name: &str, values: impl IntoIterator<Item = S>) -> Tag {
    Tag::custom(name, values)
}

fn http_of(relay: &str) -> String {
    let (scheme, rest) = relay.split_once("://").unwrap_or(("wss", relay));
    let scheme = if scheme == "ws" { "http" } else { "https" };
    format!("{scheme}://{}", rest.trim_end_matches('/'))
}

fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}
