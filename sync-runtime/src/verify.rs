//! Checks of event bodies on all cores: filter, id hash, signature (ACPT-1).
//!
//! Nothing is remembered of what fails, and nothing is skipped for what was seen before: whether
//! an event is known is asked of the store, by whoever calls (T7, T8).

use std::collections::HashMap;
use std::fmt;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nostr::event::Event;
use nostr::filter::Filter;
use secp256k1::schnorr::Signature;
use secp256k1::{SECP256K1, XOnlyPublicKey};
use sync_core::admit::order::{BodyError, check_body};
use sync_core::wire::Envelope;

/// What is to be checked.
#[derive(Debug)]
pub struct Body {
    /// The event as it came.
    pub json: Box<str>,
    /// What its envelope claimed.
    pub claim: Envelope,
    /// The filters of its subscription; `None` where there is none, as for a client's write.
    pub filters: Option<Arc<[Filter]>>,
}

/// An event whose filter, id and signature are right.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The event.
    pub event: Arc<Event>,
    /// Its JSON, written anew: what else stood in the relay's text is not kept.
    pub raw: Arc<str>,
}

/// Parsed keys of authors that were seen lately; parsing one costs a square root.
#[derive(Debug, Default)]
pub struct KeyCache {
    keys: HashMap<[u8; 32], XOnlyPublicKey>,
}

impl KeyCache {
    /// Keys of one thread. A full cache starts anew.
    pub const MAX: usize = 8_192;

    /// Whether the signature of `event` is its author's over its id.
    pub fn is_signed(&mut self, event: &Event) -> bool {
        let Some(key) = self.key(event.pubkey.as_bytes()) else { return false };
        let signature = Signature::from_byte_array(*event.sig.as_bytes());
        SECP256K1.verify_schnorr(&signature, event.id.as_bytes(), &key).is_ok()
    }

    fn key(&mut self, bytes: &[u8; 32]) -> Option<XOnlyPublicKey> {
        if let Some(key) = self.keys.get(bytes) {
            return Some(*key);
        }
        let key = XOnlyPublicKey::from_byte_array(bytes).ok()?;
        if self.keys.len() >= Self::MAX {
            self.keys.clear();
        }
        self.keys.insert(*bytes, key);
        Some(key)
    }
}

/// Checks one body.
pub fn check(body: &Body, keys: &mut KeyCache) -> Result<Verified, BodyError> {
    let any = [Filter::new()];
    let filters = body.filters.as_deref().unwrap_or(&any);
    let event = check_body(&body.json, &body.claim, filters)?;
    if !keys.is_signed(&event) {
        return Err(BodyError::Signature);
    }
    let raw = event.as_json().into();
    Ok(Verified { event: Arc::new(event), raw })
}

/// Results of one batch, in its order.
pub type Checked = Vec<Result<Verified, BodyError>>;

struct Job {
    bodies: Vec<Body>,
    done: SyncSender<Checked>,
}

/// A batch under way.
#[derive(Debug)]
pub struct Pending {
    parts: Vec<Receiver<Checked>>,
}

impl Pending {
    /// Waits for the results, in the order of the batch. `None` when the pool is gone.
    pub fn wait(self) -> Option<Checked> {
        let mut all = Vec::new();
        for part in self.parts {
            let checked = part.recv().ok()?;
            if all.is_empty() {
                all = checked;
            } else {
                all.extend(checked);
            }
        }
        Some(all)
    }
}

/// A fixed number of threads that check bodies. It ends when it is dropped.
pub struct VerifyPool {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl VerifyPool {
    /// The smallest part of a batch that is worth another thread.
    const PART_MIN: usize = 16;

    /// Starts `threads` threads, at least one.
    pub fn start(threads: usize) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..threads.max(1)).map(|n| {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new().name(format!("verify-{n}")).spawn(move || work(&queue))
        });
        let threads = threads.collect::<Result<_, _>>()?;
        Ok(Self { jobs: Some(jobs), threads })
    }

    /// Begins to check a batch, in parts, so that every thread has one.
    pub fn submit(&self, bodies: Vec<Body>) -> Pending {
        let part = bodies.len().div_ceil(self.threads.len()).max(Self::PART_MIN);
        let mut parts = Vec::new();
        let mut rest = bodies;
        while !rest.is_empty() {
            let later = rest.split_off(part.min(rest.len()));
            let (done, result) = sync_channel(1);
            let job = Job { bodies: std::mem::replace(&mut rest, later), done };
            // A pool without threads drops the job, and `Pending::wait` tells.
            let _ = self.jobs.as_ref().map(|jobs| jobs.send(job));
            parts.push(result);
        }
        Pending { parts }
    }
}

impl Drop for VerifyPool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for VerifyPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyPool").field("threads", &self.threads.len()).finish()
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    let mut keys = KeyCache::default();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        let checked = job.bodies.iter().map(|body| survive(body, &mut keys)).collect();
        // Whoever asked may have gone with its pipeline.
        let _ = job.done.send(checked);
    }
}

/// A panic over a body from a stranger costs that body, not the thread (T20).
fn survive(body: &Body, keys: &mut KeyCache) -> Result<Verified, BodyError> {
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(body, keys)));
    checked.unwrap_or(Err(BodyError::Malformed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nostr::event::{EventBuilder, EventId, FinalizeEvent, Kind, Tag};
    use nostr::key::Keys;
    use nostr::types::Timestamp;
    use proptest::prelude::{any, prop_oneof};
    use proptest::strategy::{Just, Strategy};
    use proptest::{prop_assert_eq, proptest};

    #[derive(Clone, Debug)]
    enum Forgery {
        None,
        Signature(usize),
        OtherSignature,
        Id(usize),
        Content,
        Tag,
        Time,
        Kind,
        Author,
        BodyOfKnownId,
    }

    fn forgery() -> impl Strategy<Value = Forgery> {
        prop_oneof![
            Just(Forgery::None),
            (0..64_usize).prop_map(Forgery::Signature),
            Just(Forgery::OtherSignature),
            (0..32_usize).prop_map(Forgery::Id),
            Just(Forgery::Content),
            Just(Forgery::Tag),
            Just(Forgery::Time),
            Just(Forgery::Kind),
            Just(Forgery::Author),
            Just(Forgery::BodyOfKnownId),
        ]
    }

    fn signed(keys: &Keys, text: &str, at: u64) -> Event {
        let builder = EventBuilder::new(Kind::TextNote, text)
            .tag(Tag::parse(["t", "x"]).expect("a tag"))
            .custom_created_at(Timestamp::from_secs(at));
        builder.finalize(keys).expect("signed")
    }

    fn forge(event: &Event, other: &Event, how: &Forgery) -> Event {
        let mut forged = event.clone();
        match how {
            Forgery::None => {}
            Forgery::Signature(at) => {
                let mut bytes = event.sig.to_bytes();
                bytes[*at] ^= 1;
                forged.sig = nostr::event::Signature::from_byte_array(bytes);
            }
            Forgery::OtherSignature => forged.sig = other.sig,
            Forgery::Id(at) => {
                let mut bytes = event.id.to_bytes();
                bytes[*at] ^= 1;
                forged.id = EventId::from_byte_array(bytes);
            }
            Forgery::Content => forged.content.push('!'),
            Forgery::Tag => forged.tags = nostr::event::Tags::new(),
            Forgery::Time => forged.created_at = Timestamp::from_secs(1),
            Forgery::Kind => forged.kind = Kind::Reaction,
            Forgery::Author => forged.pubkey = other.pubkey,
            Forgery::BodyOfKnownId => {
                forged = other.clone();
                forged.id = event.id;
            }
        }
        forged
    }

    fn body_of(event: &Event) -> Body {
        let claim = Envelope {
            id: event.id,
            pubkey: event.pubkey,
            created_at: event.created_at,
            kind: event.kind,
        };
        Body { json: event.as_json().into(), claim, filters: None }
    }

    proptest! {
        #![proptest_config(proptest::test_runner::Config {
            cases: 200, failure_persistence: None, ..Default::default()
        })]

        #[test]
        fn forged_events_never_pass_and_leave_no_trace(
            how in forgery(), text in ".{0,40}", at in 2..u64::from(u32::MAX), twice in any::<bool>(),
        ) {
            let (keys, others) = (Keys::generate(), Keys::generate());
            let (event, other) = (signed(&keys, &text, at), signed(&others, "other", at));
            let forged = forge(&event, &other, &how);
            let mut cache = KeyCache::default();
            if twice {
                let _ = check(&body_of(&event), &mut cache);
            }
            let passed = check(&body_of(&forged), &mut cache).is_ok();
            prop_assert_eq!(passed, matches!(how, Forgery::None));
            // The genuine event passes after any forgery of it, and the forgery fails again.
            prop_assert_eq!(check(&body_of(&event), &mut cache).is_ok(), true);
            let again = check(&body_of(&forged), &mut cache).is_ok();
            prop_assert_eq!(again, matches!(how, Forgery::None));
        }
    }

    #[test]
    fn a_body_that_is_another_event_than_its_envelope_is_malformed() {
        let keys = Keys::generate();
        let (event, other) = (signed(&keys, "a", 5), signed(&keys, "b", 5));
        let body = Body { json: other.as_json().into(), ..body_of(&event) };
        let result = check(&body, &mut KeyCache::default());
        assert_eq!(result.err(), Some(BodyError::Malformed));
    }

    #[test]
    fn what_else_stands_in_the_text_is_not_kept() {
        let event = signed(&Keys::generate(), "a", 5);
        let json = event.as_json().replacen('{', "{ \"junk\":[1], ", 1);
        let body = Body { json: json.into(), ..body_of(&event) };
        let verified = check(&body, &mut KeyCache::default()).expect("verified");
        assert_eq!(*verified.raw, *event.as_json());
    }

    #[test]
    fn a_batch_of_any_size_keeps_its_order_over_several_threads() {
        let pool = VerifyPool::start(3).expect("threads");
        let keys = Keys::generate();
        for size in [0, 1, 15, 16, 17, 100] {
            let events: Vec<Event> = (0..size).map(|n| signed(&keys, &n.to_string(), 9)).collect();
            let mut bodies: Vec<Body> = events.iter().map(body_of).collect();
            if size > 15 {
                bodies[7].json = "{}".into();
            }
            let checked = pool.submit(bodies).wait().expect("checked");
            let texts: Vec<Option<String>> =
                checked.iter().map(|c| c.as_ref().ok().map(|v| v.event.content.clone())).collect();
            let expected: Vec<Option<String>> =
                (0..size).map(|n| (size <= 15 || n != 7).then(|| n.to_string())).collect();
            assert_eq!(texts, expected);
        }
    }

    #[test]
    fn a_full_key_cache_starts_anew() {
        let mut cache = KeyCache::default();
        let event = signed(&Keys::generate(), "a", 5);
        assert!(cache.is_signed(&event));
        let key = *cache.keys.values().next().expect("its key");
        for n in cache.keys.len()..KeyCache::MAX {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            cache.keys.insert(bytes, key);
        }
        assert!(cache.is_signed(&event));
        assert_eq!(cache.keys.len(), KeyCache::MAX);
        assert!(cache.is_signed(&signed(&Keys::generate(), "b", 5)));
        assert_eq!(cache.keys.len(), 1);
    }
}
