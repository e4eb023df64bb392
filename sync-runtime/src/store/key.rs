//! The byte layout of keys and of the envelope that begins every record. Numbers are big-endian,
//! times in index keys are inverted: going forward through an index is going from new to old.

use std::hash::Hasher;
use std::ops::Bound;

use nostr::event::{Event, EventId, Kind, Tags};
use nostr::key::PublicKey;
use nostr::types::Timestamp;

use super::error::StoreError;

/// Position of a body or row; both count on their own and only grow while anything is behind.
pub(super) type Seq = u64;

/// kind, inverted time, id.
pub(super) type KindKey = [u8; 42];
/// First half of the author's first 16 bytes, kind, inverted time, sequence.
pub(super) type AuthorKey = [u8; 26];
/// Letter, hash of the value, inverted time, sequence.
pub(super) type TagKey = [u8; 25];
/// A tag in a row or in a question: letter and hash of the value.
pub(super) type TagHash = [u8; 9];

/// Bytes of an author's key in the index; what shares them is told apart on the record.
const AUTHOR_PREFIX: usize = 8;
/// An identifier above this length is replaced by its digest: LMDB's keys end at 511 bytes.
const IDENTIFIER_MAX: usize = 255;

/// What every record begins with, and all that most filters ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) created_at: u64,
    pub(super) kind: u16,
    pub(super) id: [u8; 32],
    pub(super) pubkey: [u8; 32],
}

impl Envelope {
    pub(super) const LEN: usize = 74;

    pub(super) fn of(event: &Event) -> Self {
        Self {
            created_at: event.created_at.as_secs(),
            kind: event.kind.as_u16(),
            id: event.id.to_bytes(),
            pubkey: event.pubkey.to_bytes(),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.created_at.to_be_bytes());
        out.extend_from_slice(&self.kind.to_be_bytes());
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.pubkey);
    }

    /// The envelope and what follows it.
    pub(super) fn read(record: &[u8]) -> Result<(Self, &[u8]), StoreError> {
        let (head, rest) = record
            .split_at_checked(Self::LEN)
            .ok_or_else(|| StoreError::damaged("a record is too short"))?;
        let envelope = Self {
            created_at: u64::from_be_bytes(fixed(&head[..8])),
            kind: u16::from_be_bytes(fixed(&head[8..10])),
            id: fixed(&head[10..42]),
            pubkey: fixed(&head[42..]),
        };
        Ok((envelope, rest))
    }

    pub(super) fn event_id(&self) -> EventId {
        EventId::from_byte_array(self.id)
    }

    pub(super) fn author(&self) -> PublicKey {
        PublicKey::from_byte_array(self.pubkey)
    }

    pub(super) fn time(&self) -> Timestamp {
        Timestamp::from_secs(self.created_at)
    }

    pub(super) fn kind_key(&self) -> KindKey {
        let mut key = [0; 42];
        key[..2].copy_from_slice(&self.kind.to_be_bytes());
        key[2..10].copy_from_slice(&inverted(self.created_at));
        key[10..].copy_from_slice(&self.id);
        key
    }

    pub(super) fn author_key(&self, seq: Seq) -> AuthorKey {
        let mut key = [0; 26];
        key[..10].copy_from_slice(&author_prefix(&self.pubkey, self.kind));
        key[10..18].copy_from_slice(&inverted(self.created_at));
        key[18..].copy_from_slice(&seq.to_be_bytes());
        key
    }

    pub(super) fn tag_key(&self, tag: &TagHash, seq: Seq) -> TagKey {
        let mut key = [0; 25];
        key[..9].copy_from_slice(tag);
        key[9..17].copy_from_slice(&inverted(self.created_at));
        key[17..].copy_from_slice(&seq.to_be_bytes());
        key
    }
}

/// Part of an author's key, then the kind.
pub(super) fn author_prefix(pubkey: &[u8; 32], kind: u16) -> [u8; 10] {
    let mut key = [0; 10];
    key[..AUTHOR_PREFIX].copy_from_slice(author_only(pubkey));
    key[AUTHOR_PREFIX..].copy_from_slice(&kind.to_be_bytes());
    key
}

/// Part of an author's key.
pub(super) fn author_only(pubkey: &[u8; 32]) -> &[u8] {
    &pubkey[..AUTHOR_PREFIX]
}

pub(super) fn inverted(secs: u64) -> [u8; 8] {
    (!secs).to_be_bytes()
}

/// The bytes at a place whose length the caller knows.
pub(super) fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the caller cut these bytes to their length")
}

/// A number of eight bytes as a value of the store.
pub(super) fn number(bytes: &[u8]) -> Result<u64, StoreError> {
    match bytes.try_into() {
        Ok(bytes) => Ok(u64::from_be_bytes(bytes)),
        Err(_) => Err(StoreError::damaged("a number is not eight bytes long")),
    }
}

/// Two numbers as the key of a queue: what comes first, then what it names.
pub(super) fn queue_key(first: u64, seq: Seq) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&first.to_be_bytes());
    key[8..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// A range of keys, both ends included.
pub(super) fn closed<'k>(first: &'k [u8], last: &'k [u8]) -> (Bound<&'k [u8]>, Bound<&'k [u8]>) {
    (Bound::Included(first), Bound::Included(last))
}

/// Hash of tag values: SipHash-2-4 under a key of this store, so that nobody can make values
/// that share an entry of the index.
#[derive(Clone, Copy)]
pub(super) struct TagHasher {
    pub(super) key: [u64; 2],
}

impl TagHasher {
    pub(super) fn hash(&self, letter: u8, value: &str) -> TagHash {
        #[expect(deprecated, reason = "the only SipHash of std whose result is fixed")]
        let mut hasher = std::hash::SipHasher::new_with_keys(self.key[0], self.key[1]);
        hasher.write(value.as_bytes());
        let mut tag = [letter; 9];
        tag[1..].copy_from_slice(&hasher.finish().to_be_bytes());
        tag
    }
}

/// The letter of a single-letter tag.
pub(super) fn letter(name: &str) -> Option<u8> {
    match name.as_bytes() {
        [letter] if letter.is_ascii_alphabetic() => Some(*letter),
        _ => None,
    }
}

/// SHA-256 of something that holds the text and nothing else that varies: the id of an event
/// that has it as content. Spares a dependency for what is rarely needed.
pub(super) fn digest(text: &str) -> [u8; 32] {
    let nobody = PublicKey::from_byte_array([0; 32]);
    let kind = Kind::from_u16(0);
    EventId::compute(&nobody, &Timestamp::from_secs(0), &kind, &Tags::new(), text).to_bytes()
}

/// NIP-01's replaceable kinds; nostr's own list has kind 41 too.
pub(super) fn is_replaceable(kind: u16) -> bool {
    matches!(kind, 0 | 3 | 10_000..=19_999)
}

/// NIP-01's addressable kinds.
pub(super) fn is_addressable(kind: u16) -> bool {
    matches!(kind, 30_000..=39_999)
}

/// NIP-01's ephemeral kinds.
pub(super) fn is_ephemeral(kind: u16) -> bool {
    matches!(kind, 20_000..=29_999)
}

/// Key of all versions of a replaceable or addressable event; `None` for other kinds. The
/// identifier of a replaceable kind plays no part.
pub(super) fn address_key(kind: u16, pubkey: &[u8; 32], identifier: &str) -> Option<Vec<u8>> {
    let identifier = match () {
        () if is_addressable(kind) => identifier,
        () if is_replaceable(kind) => "",
        () => return None,
    };
    let mut key = Vec::with_capacity(35 + identifier.len().min(IDENTIFIER_MAX));
    key.extend_from_slice(&kind.to_be_bytes());
    key.extend_from_slice(pubkey);
    if identifier.len() <= IDENTIFIER_MAX {
        key.push(0);
        key.extend_from_slice(identifier.as_bytes());
    } else {
        key.push(1);
        key.extend_from_slice(&digest(identifier));
    }
    Some(key)
}

/// The author in the text of an address.
#[cfg(feature = "nostr-database")]
pub(super) fn address_author(text: &str) -> Option<PublicKey> {
    PublicKey::from_hex(text.split(':').nth(1)?).ok()
}

/// The address that an event is a version of.
pub(super) fn address_of(event: &Event) -> Option<Vec<u8>> {
    address_key(event.kind.as_u16(), event.pubkey.as_bytes(), identifier(event))
}

/// The value of the first `d` tag; a tag without a value, and no tag, mean the empty one.
pub(super) fn identifier(event: &Event) -> &str {
    let tag = event.tags.iter().find(|tag| tag.kind() == "d");
    tag.and_then(|tag| tag.content()).unwrap_or_default()
}

/// NIP-40. The kinds that remove others never expire: what they removed would be taken again,
/// or not, by the order of arrival.
pub(super) fn expiration(event: &Event) -> Option<u64> {
    if matches!(event.kind.as_u16(), 5 | 62) {
        return None;
    }
    let tag = event.tags.iter().find(|tag| tag.kind() == "expiration")?;
    tag.content()?.parse().ok()
}

/// The key of the promise that an author's deletion covers an id.
pub(super) fn target_id_key(id: &[u8; 32], author: &[u8; 32]) -> [u8; 65] {
    let mut key = [b'e'; 65];
    key[1..33].copy_from_slice(id);
    key[33..].copy_from_slice(author);
    key
}

/// The key of the promise that a deletion covers versions of an address.
pub(super) fn target_address_key(address: &[u8]) -> Vec<u8> {
    [b"a", address].concat()
}
