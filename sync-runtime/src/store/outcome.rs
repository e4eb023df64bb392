//! What became of events that are not stored: tombstones and rejections, and their rows.

use std::sync::Arc;

use nostr::event::{Event, Kind};
use nostr::types::Timestamp;
use serde::{Deserialize, Serialize};
use sync_core::admit::rejected::{Dependency, RejectReason, Rejection, RejectionState};
use sync_core::item::Item;
use sync_core::url::RelayUrl;

use super::error::StoreError;
use super::key::{Envelope, TagHash, digest, fixed};

/// Why an id is known and its event is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gone {
    /// A newer version of the same address came (NIP-01).
    Superseded,
    /// Its author deleted it (NIP-09).
    Deleted,
    /// Its author vanished (NIP-62).
    Vanished,
    /// It expired (NIP-40).
    Expired,
    /// Its kind is not kept (NIP-01); forgotten by [`sweep`](super::EventStore::sweep).
    Ephemeral,
    /// Policy refused it; forgotten by [`sweep`](super::EventStore::sweep).
    Rejected,
}

impl Gone {
    /// The same as policy's reason; `None` where the row of the rejection has it.
    pub const fn reason(self) -> Option<RejectReason> {
        match self {
            Self::Superseded => Some(RejectReason::Superseded),
            Self::Deleted => Some(RejectReason::Deleted),
            Self::Vanished => Some(RejectReason::Vanished),
            Self::Expired => Some(RejectReason::Expired),
            Self::Ephemeral => Some(RejectReason::Ephemeral),
            Self::Rejected => None,
        }
    }
}

/// What the id table says of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Stored,
    Gone(Gone),
    /// Was rejected; what it waited for came (REJ-3).
    Wanted,
}

impl State {
    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Stored => 0,
            Self::Gone(Gone::Superseded) => 1,
            Self::Gone(Gone::Deleted) => 2,
            Self::Gone(Gone::Vanished) => 3,
            Self::Gone(Gone::Expired) => 4,
            Self::Gone(Gone::Ephemeral) => 5,
            Self::Gone(Gone::Rejected) => 6,
            Self::Wanted => 7,
        }
    }

    pub(super) fn of(byte: u8) -> Result<Self, StoreError> {
        Ok(match byte {
            0 => Self::Stored,
            1 => Self::Gone(Gone::Superseded),
            2 => Self::Gone(Gone::Deleted),
            3 => Self::Gone(Gone::Vanished),
            4 => Self::Gone(Gone::Expired),
            5 => Self::Gone(Gone::Ephemeral),
            6 => Self::Gone(Gone::Rejected),
            7 => Self::Wanted,
            _ => return Err(StoreError::damaged("an unknown state of an id")),
        })
    }
}

const TIME: u8 = b'T';

/// The key of what a rejection waits for. Fixed length, so that no key is the beginning of
/// another: sort, then 32 bytes.
pub(super) fn dependency_key(on: &Dependency) -> [u8; 33] {
    let (sort, bytes) = match on {
        Dependency::Announcement(address) => (b'A', digest(&address.to_string())),
        Dependency::MaintainerEdge(address) => (b'M', digest(&address.to_string())),
        Dependency::Parent(id) => (b'P', id.to_bytes()),
        Dependency::Author(key) => (b'U', key.to_bytes()),
        Dependency::Time(at) => (TIME, time_bytes(*at)),
    };
    let mut key = [sort; 33];
    key[1..].copy_from_slice(&bytes);
    key
}

/// The keys of all times up to `now`, both ends included.
pub(super) fn times_up_to(now: Timestamp) -> ([u8; 33], [u8; 33]) {
    let key = |at| dependency_key(&Dependency::Time(at));
    (key(Timestamp::from_secs(0)), key(now))
}

fn time_bytes(at: Timestamp) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&at.as_secs().to_be_bytes());
    bytes
}

/// An event that policy refused, to be remembered (REJ-1). Its id and signature were verified.
#[derive(Clone, Debug)]
pub struct NewRejection {
    /// The event.
    pub event: Arc<Event>,
    /// Why.
    pub reason: RejectReason,
    /// Any of these suffices for another look; at most [`Rejection::MAX_DEPENDENCIES`] are kept.
    pub depends_on: Vec<Dependency>,
    /// The items it came for; at most [`Rejection::MAX_ITEMS`] are kept.
    pub items: Vec<Item>,
    /// Who served it; the first [`Rejection::MAX_RELAYS`] are kept.
    pub relays: Vec<RelayUrl>,
    /// Hash of the policy that refused it.
    pub revision: u64,
}

/// The part of a rejection that only rejections have, as it is written.
#[derive(Serialize, Deserialize)]
pub(super) struct Detail {
    #[serde(rename = "r")]
    pub(super) reason: RejectReason,
    #[serde(rename = "d")]
    pub(super) depends_on: Vec<Dependency>,
    #[serde(rename = "i")]
    pub(super) items: Vec<Item>,
    #[serde(rename = "u")]
    pub(super) relays: Vec<RelayUrl>,
    #[serde(rename = "v")]
    pub(super) revision: u64,
    #[serde(rename = "t")]
    pub(super) rejected_at: Timestamp,
}

impl Detail {
    pub(super) fn of(new: &NewRejection, now: Timestamp) -> Self {
        fn first<T: Clone>(list: &[T], most: usize) -> Vec<T> {
            list.iter().take(most).cloned().collect()
        }
        Self {
            reason: new.reason,
            depends_on: first(&new.depends_on, Rejection::MAX_DEPENDENCIES),
            items: first(&new.items, Rejection::MAX_ITEMS),
            relays: first(&new.relays, Rejection::MAX_RELAYS),
            revision: new.revision,
            rejected_at: now,
        }
    }
}

/// The row of a tombstone or rejection as it lies in the map: envelope, state, whether tags were
/// left out, how many follow, the tags, and for rejections the detail as JSON.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) envelope: Envelope,
    pub(super) state: State,
    pub(super) truncated: bool,
    tags: &'a [u8],
    detail: &'a [u8],
}

impl<'a> Row<'a> {
    /// Tags that a row keeps of its event.
    pub(super) const MAX_TAGS: usize = 64;

    pub(super) fn read(record: &'a [u8]) -> Result<Self, StoreError> {
        let (envelope, rest) = Envelope::read(record)?;
        let [state, truncated, count, rest @ ..] = rest else {
            return Err(StoreError::damaged("a row is too short"));
        };
        let tags = usize::from(*count) * size_of::<TagHash>();
        let Some((tags, detail)) = rest.split_at_checked(tags) else {
            return Err(StoreError::damaged("the tags of a row are cut"));
        };
        Ok(Self { envelope, state: State::of(*state)?, truncated: *truncated != 0, tags, detail })
    }

    pub(super) fn write(
        envelope: &Envelope,
        state: State,
        tags: &[TagHash],
        detail: Option<&Detail>,
    ) -> Vec<u8> {
        let kept = &tags[..tags.len().min(Self::MAX_TAGS)];
        let mut out = Vec::with_capacity(Envelope::LEN + 3 + kept.len() * 9);
        envelope.write(&mut out);
        out.extend([state.byte(), u8::from(kept.len() < tags.len()), kept.len() as u8]);
        out.extend_from_slice(kept.as_flattened());
        if let Some(detail) = detail {
            serde_json::to_writer(&mut out, detail).expect("a detail is plain data");
        }
        out
    }

    /// The same row in another state.
    pub(super) fn with_state(mut record: Vec<u8>, state: State) -> Vec<u8> {
        record[Envelope::LEN] = state.byte();
        record
    }

    pub(super) fn tags(&self) -> impl Iterator<Item = &'a TagHash> + use<'a> {
        self.tags.as_chunks().0.iter()
    }

    /// What only rejections have.
    pub(super) fn detail(&self) -> Result<Option<Detail>, StoreError> {
        match self.state {
            State::Gone(Gone::Rejected) | State::Wanted => {
                serde_json::from_slice(self.detail).map(Some).map_err(|error| {
                    let id = self.envelope.event_id();
                    StoreError::damaged(format!("rejection of {id}: {error}"))
                })
            }
            State::Gone(_) | State::Stored => Ok(None),
        }
    }

    /// The rejection, unless the row is another tombstone.
    pub(super) fn rejection(&self) -> Result<Option<Rejection>, StoreError> {
        let Some(detail) = self.detail()? else { return Ok(None) };
        Ok(Some(Rejection {
            id: self.envelope.event_id(),
            created_at: self.envelope.time(),
            kind: Kind::from_u16(self.envelope.kind),
            pubkey: self.envelope.author(),
            reason: detail.reason,
            depends_on: detail.depends_on,
            items: detail.items,
            relays: detail.relays,
            revision: detail.revision,
            state: match self.state {
                State::Wanted => RejectionState::Wanted,
                State::Gone(_) | State::Stored => RejectionState::Cold,
            },
            rejected_at: detail.rejected_at,
        }))
    }
}

/// An entry of the id table: state, sequence of the body or row.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) state: State,
    pub(super) seq: u64,
}

impl Entry {
    pub(super) fn bytes(self) -> [u8; 9] {
        let mut bytes = [self.state.byte(); 9];
        bytes[1..].copy_from_slice(&self.seq.to_be_bytes());
        bytes
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        match bytes {
            [state, seq @ ..] if seq.len() == 8 => {
                Ok(Self { state: State::of(*state)?, seq: u64::from_be_bytes(fixed(seq)) })
            }
            _ => Err(StoreError::damaged("an entry of the id table")),
        }
    }
}
