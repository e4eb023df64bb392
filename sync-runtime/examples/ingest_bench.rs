//! How fast the admission pipeline is: signed events through the real pipeline into a real store,
//! first new ones, then the same ones again, next to what verification alone reaches.
//!
//! `cargo run --release -p sync-runtime --example ingest_bench [EVENTS] [THREADS]`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nostr::event::{Event, EventBuilder, FinalizeEvent, Kind, Tag};
use nostr::filter::Filter;
use nostr::key::{Keys, SecretKey};
use nostr::types::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use sync_core::admit::policy::Policy;
use sync_core::command::{Purpose, Source};
use sync_core::config::Config;
use sync_core::id::{ConnId, RelayId, SubId, WalkId};
use sync_core::input::Input;
use sync_core::wire::Envelope;
use sync_runtime::connection::Arrival;
use sync_runtime::ingest::{Ingest, IngestOptions, Observer, Stage, boot};
use sync_runtime::store::{EventStore, Store, StoreOptions};
use sync_runtime::verify::{Body, KeyCache, check};
use tokio::sync::mpsc;

const AUTHORS: usize = 200;
const START: u64 = 1_700_000_000;

/// Wall time of each stage, as the pipeline tells it.
#[derive(Default)]
struct Stages([AtomicU64; 4]);

impl Observer for Stages {
    fn stage(&self, stage: Stage, took: Duration, _: usize) {
        self.0[stage as usize].fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }
}

/// CPU time of the whole process.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Issues of one repository by many authors, about as long as real ones.
fn corpus(count: usize) -> Vec<Event> {
    let keys: Vec<Keys> = (0..AUTHORS)
        .map(|n| {
            let mut secret = [1; 32];
            secret[..8].copy_from_slice(&(n as u64 + 1).to_be_bytes());
            Keys::new(SecretKey::from_slice(&secret).expect("a secret key"))
        })
        .collect();
    let sign = |n: usize, kind: u16, text: &str, tags: &[&[&str]]| {
        let tags = tags.iter().map(|tag| Tag::parse(tag.iter().copied()).expect("a tag"));
        EventBuilder::new(Kind::from_u16(kind), text)
            .tags(tags)
            .custom_created_at(Timestamp::from_secs(START + n as u64))
            .finalize(&keys[n % AUTHORS])
            .expect("signed")
    };
    let address = format!("30617:{}:x", keys[0].public_key().to_hex());
    let relays: &[&str] = &["relays", "wss://relay.example"];
    let clone: &[&str] = &["clone", "https://relay.example/x.git"];
    let mut events = vec![sign(0, 30_617, "", &[&["d", "x"], relays, clone])];
    let text = "what happened and what should have happened instead; ".repeat(6);
    events.extend((1..count).map(|n| {
        sign(n, 1621, &format!("{n} {text}"), &[&["a", &address], &["subject", "it fails"]])
    }));
    events
}

fn envelope(event: &Event) -> Envelope {
    Envelope { id: event.id, pubkey: event.pubkey, created_at: event.created_at, kind: event.kind }
}

fn arrivals(events: &[Event], filters: &Arc<[Filter]>) -> Vec<Arrival> {
    let (at, wall) = (tokio::time::Instant::now(), Timestamp::now());
    let purpose =
        Purpose::Page { walk: WalkId(1), split: None, oldest: None, source: Source::Startup };
    let arrival = |event: &Event| Arrival {
        conn: ConnId { relay: RelayId(0), epoch: 1 },
        sub: SubId(1),
        purpose,
        live: false,
        filters: Arc::clone(filters),
        envelope: envelope(event),
        json: event.as_json().into(),
        at,
        wall,
        standing: None,
        place: None,
        feedback: None,
    };
    events.iter().map(arrival).collect()
}

/// Pushes everything and waits until all of it is settled.
fn push(ingest: &Ingest, inputs: &mut mpsc::Receiver<Input>, all: Vec<Arrival>) -> Duration {
    let count = all.len() as u64;
    let sender = ingest.arrivals();
    let began = Instant::now();
    let feeder = std::thread::spawn(move || {
        all.into_iter().all(|arrival| sender.blocking_send(arrival).is_ok())
    });
    let mut settled = 0;
    while settled < count {
        if let Some(Input::Settled(tally)) = inputs.blocking_recv() {
            settled += tally.total();
        }
    }
    let took = began.elapsed();
    assert!(feeder.join().expect("it does not panic"), "the intake runs");
    took
}

fn line(what: &str, events: usize, wall: Duration, cpu: Duration) -> f64 {
    let each = cpu.as_secs_f64() * 1e6 / events as f64;
    let rate = events as f64 / wall.as_secs_f64();
    println!("{what:<24} {rate:>10.0} events/s {each:>8.2} CPU µs per event");
    each
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|text| text.parse().ok());
    let count: usize = arguments.next().unwrap_or(50_000);
    let threads: usize = arguments.next().unwrap_or(1);
    let events = corpus(count);
    let filters: Arc<[Filter]> =
        Arc::from([Filter::new().kinds([30_617, 1621].map(Kind::from_u16))]);

    let bodies = events.iter().map(|event| Body {
        json: event.as_json().into(),
        claim: envelope(event),
        filters: Some(Arc::clone(&filters)),
    });
    let (bodies, mut keys) = (bodies.collect::<Vec<_>>(), KeyCache::default());
    let (began, before) = (Instant::now(), cpu());
    assert!(bodies.iter().all(|body| check(body, &mut keys).is_ok()), "all are signed");
    let alone = line("verification alone", count, began.elapsed(), cpu() - before);
    drop(bodies);

    let dir = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn EventStore> =
        Arc::new(Store::open(dir.path(), StoreOptions::default()).expect("a store"));
    let mut config = Config::default();
    config.accept.archive = vec!["all".into()];
    let mut policy = Policy::new(&config).expect("a policy");
    boot(&*store, &mut policy, false, &mut |_| ()).expect("booted");
    let stages = Arc::new(Stages::default());
    let observer: Arc<dyn Observer> = Arc::<Stages>::clone(&stages);
    let options = IngestOptions { threads, observer, ..IngestOptions::new(config) };
    let (sender, mut inputs) = mpsc::channel(8_192);
    let ingest = Ingest::start(options, Arc::clone(&store), policy, sender).expect("started");

    let mut each = [0.0; 2];
    for (round, what) in ["new events", "known events"].into_iter().enumerate() {
        let all = arrivals(&events, &filters);
        let before = cpu();
        let wall = push(&ingest, &mut inputs, all);
        each[round] = line(what, count, wall, cpu() - before);
        for (name, spent) in ["known", "verify", "judge", "commit"].iter().zip(&stages.0) {
            let spent = spent.swap(0, Ordering::Relaxed) as f64 / 1e3 / count as f64;
            println!("  {name:<22} {spent:>38.2} wall µs per event");
        }
    }
    println!("new: {:.2} of verification alone by CPU (goal 0.80)", alone / each[0]);
    println!("known: {:.1} times the rate of new ones by CPU (goal 15)", each[0] / each[1]);
    assert_eq!(store.stats().expect("sizes").events, count as u64);
    ingest.stop();
}
