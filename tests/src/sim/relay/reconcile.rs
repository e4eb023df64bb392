//! The relay's side of NIP-77.

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use nostr::event::EventId;
use nostr::types::Timestamp;

/// Bytes of a message before hex.
const FRAME: u64 = 60_000;

/// A reconciliation of one sealed set.
#[derive(Debug)]
pub(super) struct Responder {
    set: NegentropyStorageVector,
}

impl Responder {
    pub(super) fn new(items: Vec<(Timestamp, EventId)>) -> Self {
        let mut set = NegentropyStorageVector::with_capacity(items.len());
        for (at, id) in items {
            set.insert(at.as_secs(), Id::from_byte_array(id.to_bytes()))
                .expect("the set is not sealed yet");
        }
        set.seal().expect("the set is sealed once");
        Self { set }
    }

    /// The reply to a message in hex; `None` when it cannot be read.
    pub(super) fn answer(&self, message: &str) -> Option<String> {
        let mut bytes = vec![0; message.len() / 2];
        faster_hex::hex_decode(message.as_bytes(), &mut bytes).ok()?;
        let mut side = Negentropy::borrowed(&self.set, FRAME).ok()?;
        side.reconcile(&bytes).ok().map(|reply| faster_hex::hex_string(&reply))
    }
}
