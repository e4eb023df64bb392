//! The simulated world: a virtual clock, the core with its data plane, relays, and one queue
//! ordered by time and sequence. Every choice comes from the seed, so a run repeats exactly.
//!
//! ```
//! use std::time::Duration;
//!
//! use sync_tests::corpus::{Corpus, Mode, Options, Signing};
//! use sync_tests::world::{Setup, World};
//!
//! let signing = Signing::Simulated;
//! let corpus = Corpus::generate(Options { events: 100, signing, ..Options::default() });
//! let mut world = World::of_corpus(Setup::default(), &corpus);
//! assert!(world.run_until(Duration::from_secs(60), World::is_converged));
//! assert_eq!(world.stored(), corpus.wanted(&Mode::Archive, &corpus.all_relays()));
//! world.expect_sound();
//! ```

mod link;
mod shell;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use nostr::event::{Event, EventId};
use nostr::types::Timestamp;
use sync_core::command::Command;
use sync_core::config::{Config, Span};
use sync_core::core::SyncCore;
use sync_core::id::{ConnId, RelayId};
use sync_core::input::{CloseReason, DialError, Fact, FactSource, Input, Operator};
use sync_core::status::RelayStatus;
use sync_core::time::Instant;
use sync_core::url::RelayUrl;

use self::link::Link;
use crate::check::{Ledger, Truth, Violation, Watch, items_match};
use crate::corpus::Corpus;
use crate::entropy::{Entropy, Seeded};
use crate::sim::faults::{Faults, Nature};
use crate::sim::plane::{Plane, Received};
use crate::sim::relay::{SimRelay, ToClient, ToRelay};

/// How a world begins.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// The core's configuration; `sync.relays` are the relays that it knows from the start.
    pub config: Config,
    /// Wall time of the start.
    pub wall: Timestamp,
    /// How long the store takes for a batch.
    pub store_delay: Duration,
    /// Whether inputs and commands are printed as they happen.
    pub trace: bool,
}

impl Default for Setup {
    /// Everything is archived, nothing is jittered, the clock stands an hour after the newest
    /// event of a default corpus.
    fn default() -> Self {
        let mut config = Config::default();
        config.accept.archive = vec!["all".into()];
        config.sync.bootstrap_jitter = Span(Duration::ZERO);
        config.sync.startup_jitter = Span(Duration::ZERO);
        Self {
            seed: 1,
            config,
            wall: Timestamp::from_secs(1_793_003_600),
            store_delay: Duration::from_millis(5),
            trace: false,
        }
    }
}

/// Something that the scenario does at its time.
#[derive(Clone, Debug)]
pub enum Action {
    /// A relay, by index, gets an event.
    Publish(usize, Arc<Event>),
    /// A relay misbehaves from now on.
    Misbehave(usize, Faults),
    /// A relay does nothing wrong from now on.
    Heal(usize),
    /// All connections of a relay end.
    Cut(usize),
    /// A person asks for something.
    Operator(Operator),
    /// The process ends and starts again from what is durable.
    Restart,
    /// The store takes so long from now on.
    StoreDelay(Duration),
    /// The store takes nothing, or takes everything again.
    StoreFails(bool),
}

/// What is in the queue.
#[derive(Clone, Debug)]
enum Happening {
    Scenario(Action),
    Dialed(ConnId, Result<(), DialError>),
    AtRelay(ConnId, ToRelay),
    /// The relay has the frame ready; the way to us follows.
    Sends(ConnId, ToClient),
    AtClient(ConnId, ToClient),
    Info(ConnId),
    Lost(ConnId, CloseReason),
    /// A `Hangup` was carried out.
    HungUp(ConnId),
    /// F2.
    Flush(ConnId),
    Settle,
    /// No byte came since this moment, if the relay is still frozen.
    Silent(ConnId),
}

/// See the module.
#[derive(Debug)]
pub struct World {
    /// How it began.
    pub setup: Setup,
    /// The relays.
    pub relays: Vec<SimRelay>,
    /// Store and policy.
    pub plane: Plane,
    /// The machine under test.
    pub core: SyncCore,
    watch: Watch,
    now: Instant,
    /// When this core began.
    began: Instant,
    told_wall: Option<Timestamp>,
    restarts: u64,
    queue: BTreeMap<(Instant, u64), Happening>,
    sequence: u64,
    links: BTreeMap<ConnId, Link>,
    pipeline: VecDeque<Received>,
    settling: bool,
    store_delay: Duration,
    inbox: VecDeque<Input>,
    entropy: Seeded,
    digest: u64,
    commands: u64,
    ended: bool,
}

struct View<'a> {
    relays: &'a [SimRelay],
    plane: &'a Plane,
}

impl Truth for View<'_> {
    fn held(&self, url: &RelayUrl, as_of: Timestamp) -> Vec<&Event> {
        let relay = self.relays.iter().find(|relay| relay.url == *url && relay.is_honest());
        relay.into_iter().flat_map(|relay| relay.held(as_of)).map(Arc::as_ref).collect()
    }

    fn is_settled(&self, event: &Event) -> bool {
        self.plane.is_settled(event)
    }
}

impl World {
    /// A world with these relays, empty. The core is booted with an empty ledger.
    pub fn new(setup: Setup, relays: Vec<(RelayUrl, Nature)>) -> Self {
        let relays = relays.into_iter().map(|(url, nature)| SimRelay::new(url, nature)).collect();
        let mut world = Self {
            core: SyncCore::new(setup.config.clone(), setup.seed, setup.wall),
            watch: Watch::new(&setup.config, Ledger::default()),
            plane: Plane::new(&setup.config),
            relays,
            now: Instant::ZERO,
            began: Instant::ZERO,
            told_wall: Some(setup.wall),
            restarts: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            links: BTreeMap::new(),
            pipeline: VecDeque::new(),
            settling: false,
            store_delay: setup.store_delay,
            inbox: VecDeque::new(),
            entropy: Seeded::new(setup.seed, "world"),
            digest: 0xcbf2_9ce4_8422_2325,
            commands: 0,
            ended: false,
            setup,
        };
        world.drain();
        world
    }

    /// A booted world of a corpus: its relays hold what is not newer than the start, and get
    /// the rest when it is its time. The first relay is configured, the others are to be found.
    pub fn of_corpus(mut setup: Setup, corpus: &Corpus) -> Self {
        let url = |text: &String| RelayUrl::parse(text).expect("corpora have relay URLs");
        let urls: Vec<RelayUrl> = corpus.options.relays.iter().map(url).collect();
        setup.config.sync.relays = vec![urls[0].as_str().to_owned()];
        let relays = urls.into_iter().map(|url| (url, Nature::default())).collect();
        let mut world = Self::new(setup, relays);
        let start = world.setup.wall;
        for entry in &corpus.entries {
            let event = Arc::new(entry.event.clone());
            let ahead = event.created_at.as_secs().saturating_sub(start.as_secs());
            for relay in &entry.relays {
                if ahead == 0 {
                    world.relays[*relay].publish(&event, Timestamp::from_secs(0));
                } else {
                    let action = Action::Publish(*relay, Arc::clone(&event));
                    world.after(Duration::from_secs(ahead), action);
                }
            }
        }
        world.boot();
        world
    }

    /// Ends the start (DISC-9): the core may dial from here on.
    pub fn boot(&mut self) {
        self.deliver(Input::Booted);
    }

    /// Plans an action, so long from now.
    pub fn after(&mut self, delay: Duration, action: Action) {
        self.schedule(self.now + delay, Happening::Scenario(action));
    }

    /// Runs until `done` or until so much time has passed; says whether it is done.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if self.watch.first().is_some() {
                return false;
            }
            if done(self) {
                return true;
            }
            match self.next_at() {
                Some(at) if at <= end => self.step(),
                Some(_) | None => {
                    self.now = end;
                    return done(self);
                }
            }
        }
    }

    /// Runs for so much time.
    pub fn run_for(&mut self, span: Duration) {
        self.run_until(span, |_| false);
    }

    fn next_at(&self) -> Option<Instant> {
        let happening = self.queue.first_key_value().map(|((at, _), _)| *at);
        [happening, self.deadline()].into_iter().flatten().min()
    }

    /// The core's next deadline in the world's time.
    fn deadline(&self) -> Option<Instant> {
        let deadline = self.core.next_deadline()?;
        Some(self.began + Duration::from_micros(deadline.at.as_micros()))
    }

    fn step(&mut self) {
        let Some(at) = self.next_at() else { return };
        self.tick_early(at);
        self.now = self.now.max(at);
        if self.deadline().is_some_and(|deadline| deadline <= at) {
            self.deliver(Input::Tick);
        } else if let Some((_, happening)) = self.queue.pop_first() {
            self.happen(happening);
        }
    }

    /// T2: now and then, ticks before anything is due.
    fn tick_early(&mut self, at: Instant) {
        let gap = at.since(self.now).as_micros() as u64;
        if gap < 2 || !self.entropy.chance(20) {
            return;
        }
        self.now += Duration::from_micros(self.entropy.below(gap - 1));
        let (deadline, commands) = (self.core.next_deadline(), self.commands);
        let statuses: Vec<_> = self.core.relays().collect();
        self.feed(Input::Tick);
        let same = deadline == self.core.next_deadline()
            && commands == self.commands
            && self.core.relays().eq(statuses);
        if !same {
            self.watch.fail("T2", "a Tick before the deadline changed something");
        }
    }

    fn schedule(&mut self, at: Instant, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), happening);
    }

    /// Wall time now.
    pub fn wall(&self) -> Timestamp {
        self.setup.wall + self.now.since(Instant::ZERO)
    }

    /// Time since the world began.
    pub fn elapsed(&self) -> Duration {
        self.now.since(Instant::ZERO)
    }

    fn core_now(&self) -> Instant {
        Instant::from_micros(self.now.since(self.began).as_micros() as u64)
    }

    /// Hands an input to the core, and whatever follows from it at once.
    fn deliver(&mut self, input: Input) {
        let wall = self.wall();
        if self.told_wall != Some(wall) {
            self.told_wall = Some(wall);
            self.feed(Input::WallClock(wall));
        }
        self.feed(input);
        while let Some(input) = self.inbox.pop_front() {
            self.feed(input);
        }
    }

    fn feed(&mut self, input: Input) {
        if self.setup.trace {
            eprintln!("{} > {input:?}", self.now);
        }
        let now = self.core_now();
        self.watch.on_input(now, &input);
        self.core.handle(now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(command) = self.core.poll_command() {
            if self.setup.trace {
                eprintln!("{} <   {command:?}", self.now);
            }
            self.note(&command);
            self.watch.on_command(&command);
            self.execute(command);
        }
        let deadline = self.core.next_deadline().map(|deadline| deadline.at);
        let view = View { relays: &self.relays, plane: &self.plane };
        self.watch.on_drained(deadline, &view);
    }

    /// D1: a digest of everything that the core said.
    fn note(&mut self, command: &Command) {
        self.commands += 1;
        let line = serde_json::to_string(command).expect("commands serialise");
        let bytes = line.bytes().chain(self.now.as_micros().to_le_bytes());
        self.digest = bytes.fold(self.digest, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    }

    fn act(&mut self, action: Action) {
        let wall = self.wall();
        match action {
            Action::Publish(relay, event) => {
                for (conn, (after, frame)) in self.relays[relay].publish(&event, wall) {
                    self.schedule(self.now + after, Happening::Sends(conn, frame));
                }
            }
            Action::Misbehave(relay, faults) => self.misbehave(relay, faults),
            Action::Heal(relay) => self.misbehave(relay, Faults::default()),
            Action::Cut(relay) => {
                for conn in self.conns_of(relay) {
                    self.lose(conn, CloseReason::Remote(Default::default()));
                }
            }
            Action::Operator(operator) => self.deliver(Input::Operator(operator)),
            Action::Restart => self.restart(),
            Action::StoreDelay(delay) => self.store_delay = delay,
            Action::StoreFails(fails) => self.plane.failing = fails,
        }
    }

    fn misbehave(&mut self, relay: usize, faults: Faults) {
        let before = self.relays[relay].faults.frozen;
        let frozen = faults.frozen && !before;
        let thawed = before && !faults.frozen;
        self.relays[relay].misbehave(faults);
        if thawed {
            // What was sent meanwhile is lost, so these connections cannot go on.
            for conn in self.conns_of(relay) {
                self.lose(conn, CloseReason::Io(Default::default()));
            }
        }
        if frozen {
            let at = self.now + self.setup.config.dial.dead_after_silence;
            for conn in self.conns_of(relay) {
                self.schedule(at, Happening::Silent(conn));
            }
        }
    }

    fn restart(&mut self) {
        self.restarts += 1;
        self.links.clear();
        self.pipeline.clear();
        self.inbox.clear();
        self.settling = false;
        self.queue.retain(|_, happening| matches!(happening, Happening::Scenario(_)));
        self.relays.iter_mut().for_each(SimRelay::close_all);
        let ledger = self.watch.ledger().clone();
        let rows = ledger.rows();
        let first = self.watch.first().cloned();
        self.began = self.now;
        self.told_wall = Some(self.wall());
        let seed = self.setup.seed.wrapping_add(self.restarts);
        self.core = SyncCore::new(self.setup.config.clone(), seed, self.wall());
        self.watch = Watch::new(&self.setup.config, ledger);
        if let Some(Violation { id, text, .. }) = first {
            self.watch.fail(id, text);
        }
        self.drain();
        for row in rows {
            self.deliver(Input::Ledger(row));
        }
        let facts: Vec<Fact> = self.plane.restart();
        for facts in facts.chunks(Input::MAX_FACTS) {
            let facts = facts.to_vec();
            self.deliver(Input::Facts { from: FactSource::Boot, facts });
        }
        self.boot();
    }

    /// What the store holds.
    pub fn stored(&self) -> BTreeSet<EventId> {
        self.plane.store.ids()
    }

    /// Whether every relay that the core dials is past its pass, and nothing is under way.
    pub fn is_converged(&self) -> bool {
        let statuses: Vec<(RelayId, RelayStatus)> = self.core.relays().collect();
        let settled = |status: &RelayStatus| {
            matches!(status, RelayStatus::Connected | RelayStatus::ConnectedDegraded)
        };
        !statuses.is_empty()
            && statuses.iter().all(|(_, status)| settled(status))
            && self.is_quiet()
    }

    /// Whether nothing is under way but what the scenario plans.
    pub fn is_quiet(&self) -> bool {
        self.pipeline.is_empty()
            && self.queue.values().all(|happening| matches!(happening, Happening::Scenario(_)))
    }

    /// Whether nothing is under way and no request is open but live ones.
    pub fn is_idle(&self) -> bool {
        self.is_quiet() && self.links.values().all(|link| link.negs.is_empty())
    }

    /// What is still under way, for people.
    pub fn describe(&self) -> String {
        let next: Vec<_> = self.queue.values().take(3).collect();
        let negs: Vec<_> = self
            .links
            .iter()
            .filter(|(_, link)| !link.negs.is_empty())
            .map(|(conn, link)| (*conn, link.negs.keys().copied().collect::<Vec<_>>()))
            .collect();
        let deadline = self.core.next_deadline();
        format!("deadline {deadline:?}, next {next:?}, open reconciliations {negs:?}")
    }

    /// Does the next thing; false when there is none.
    pub fn run_one(&mut self) -> bool {
        let more = self.next_at().is_some();
        self.step();
        more
    }

    /// Whether a gap of the ledger covers this event.
    pub fn is_named_by_gap(&self, event: &Event) -> bool {
        let filters = &self.setup.config.accept.filters;
        self.relays.iter().any(|relay| {
            self.ledger().gaps(&relay.url).any(|gap| {
                gap.range.contains(event.created_at) && items_match(&gap.items, filters)(event)
            })
        })
    }

    /// Whether the core said that it ended (L5).
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The status of a relay, by its index here; `None` while the core does not know it.
    pub fn status(&self, relay: usize) -> Option<RelayStatus> {
        self.core.status(self.core.relay_id(&self.relays[relay].url)?)
    }

    /// What the ledger holds.
    pub fn ledger(&self) -> &Ledger {
        self.watch.ledger()
    }

    /// A digest of all commands so far (D1), and how many they were.
    pub fn digest(&self) -> (u64, u64) {
        (self.digest, self.commands)
    }

    /// Subscriptions and reconciliations that are open.
    pub fn open(&self) -> usize {
        self.watch.open()
    }

    /// The first thing that did not hold.
    pub fn violation(&self) -> Option<&Violation> {
        self.watch.first()
    }

    /// # Panics
    ///
    /// When something did not hold, with the seed that shows it again.
    pub fn expect_sound(&self) {
        if let Some(violation) = self.violation() {
            panic!("{violation}\nseed {}, {:?} into the run", self.setup.seed, self.elapsed());
        }
    }
}
