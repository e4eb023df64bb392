//! The pure part of the order of checks (ACPT-1): what is done with an event's body after its
//! envelope passed, and before its signature is looked at.

use alloc::string::String;

use nostr::event::Event;
use nostr::filter::{Filter, SingleLetterTag};

use crate::wire::Envelope;

/// Why a body goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It cannot be read, or is another event than its envelope claimed.
    #[error("not a readable event")]
    Malformed,
    /// It matches no filter of its subscription (FILT-5).
    #[error("matches no filter of its subscription")]
    OffFilter,
    /// Its id is not the hash of its content (T8).
    #[error("the id is not the hash of the event")]
    WrongId,
    /// Its signature is not its author's over its id (T7).
    #[error("the signature does not fit")]
    Signature,
}

/// Reads an event's body and checks it up to its id hash. What is left are the signature and the
/// policy.
pub fn check_body(json: &str, claim: &Envelope, filters: &[Filter]) -> Result<Event, BodyError> {
    let event: Event = serde_json::from_str(json).map_err(|_| BodyError::Malformed)?;
    let claimed = event.id == claim.id
        && event.kind == claim.kind
        && event.pubkey == claim.pubkey
        && event.created_at == claim.created_at;
    if !claimed {
        return Err(BodyError::Malformed);
    }
    if !filters.iter().any(|filter| matches_filter(filter, &event)) {
        return Err(BodyError::OffFilter);
    }
    if !event.verify_id() {
        return Err(BodyError::WrongId);
    }
    Ok(event)
}

/// Whether an event matches a NIP-01 filter, `limit` and `search` aside. As
/// `Filter::match_event`, without building an index of the event's tags for each call.
pub fn matches_filter(filter: &Filter, event: &Event) -> bool {
    filter.ids.as_ref().is_none_or(|ids| ids.is_empty() || ids.contains(&event.id))
        && filter.kinds.as_ref().is_none_or(|k| k.is_empty() || k.contains(&event.kind))
        && filter.authors.as_ref().is_none_or(|a| a.is_empty() || a.contains(&event.pubkey))
        && filter.since.is_none_or(|since| event.created_at >= since)
        && filter.until.is_none_or(|until| event.created_at <= until)
        && filter.generic_tags.iter().all(|(letter, values)| {
            event.tags.iter().any(|tag| {
                is_letter(tag.kind(), *letter)
                    && tag.content().is_some_and(|value| contains(values, value))
            })
        })
}

fn is_letter(name: &str, letter: SingleLetterTag) -> bool {
    name.as_bytes() == [letter.as_byte()]
}

fn contains(values: &alloc::collections::BTreeSet<String>, value: &str) -> bool {
    values.contains(value)
}
