//! Keys and signatures from a seed. Nothing is drawn from the system, so bytes repeat.

use std::num::NonZeroUsize;

use nostr::event::{Event, EventId, Kind, Signature, Tags};
use nostr::key::{Keys, PublicKey, SecretKey};
use nostr::types::Timestamp;

/// How events are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// BIP-340 with fixed auxiliary data.
    Real,
    /// [`fake_signature`]: the simulated world checks it by comparing bytes.
    Simulated,
}

/// The n-th key of a seed: SHA-256 of both.
pub fn keys_of(seed: u64, n: usize) -> Keys {
    // An event id is the SHA-256 at hand; what is hashed only has to name the key.
    let hash = EventId::compute(
        &PublicKey::from_byte_array([0; 32]),
        &Timestamp::from_secs(seed),
        &Kind::from(0),
        &Tags::new(),
        &format!("key {n} of ngit-sync's corpus"),
    );
    Keys::new(SecretKey::from_slice(hash.as_bytes()).expect("a hash is below the curve's order"))
}

/// What stands for a valid signature where signatures are simulated: the id, twice.
pub fn fake_signature(id: &EventId) -> Signature {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(id.as_bytes());
    bytes[32..].copy_from_slice(id.as_bytes());
    Signature::from_byte_array(bytes)
}

/// Signs events in place on all cores; `author` of an event is an index of `keys`.
pub(super) fn sign_all(events: &mut [(Event, usize)], keys: &[Keys], signing: Signing) {
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let part = events.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        for events in events.chunks_mut(part) {
            scope.spawn(move || {
                for (event, author) in events {
                    event.sig = match signing {
                        Signing::Simulated => fake_signature(&event.id),
                        Signing::Real => keys[*author].sign_schnorr_with_aux_rand(
                            secp256k1::SECP256K1,
                            event.id.as_bytes(),
                            &[0; 32],
                        ),
                    };
                }
            });
        }
    });
}
