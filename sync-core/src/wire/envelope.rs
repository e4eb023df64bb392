//! The fields of an event that are read before anything is known of it.

use faster_hex::hex_decode;
use nostr::event::{EventId, Kind};
use nostr::filter::Filter;
use nostr::key::PublicKey;
use nostr::types::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::WireError;

/// What an event claims of itself; nothing of it is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The claimed id.
    pub id: EventId,
    /// The claimed author.
    pub pubkey: PublicKey,
    /// The claimed date, below 2^63.
    pub created_at: Timestamp,
    /// The kind.
    pub kind: Kind,
}

impl Envelope {
    /// Whether the fields without tags fit the filter. An event that fails here matches in no
    /// case; one that passes is held against the tags later (ACPT-1).
    pub fn fits(&self, filter: &Filter) -> bool {
        filter.since.is_none_or(|since| self.created_at >= since)
            && filter.until.is_none_or(|until| self.created_at <= until)
            && filter.kinds.as_ref().is_none_or(|kinds| kinds.contains(&self.kind))
            && filter.authors.as_ref().is_none_or(|authors| authors.contains(&self.pubkey))
            && filter.ids.as_ref().is_none_or(|ids| ids.contains(&self.id))
    }

    /// Whether [`Envelope::fits`] holds for one of the filters.
    pub fn fits_any(&self, filters: &[Filter]) -> bool {
        filters.iter().any(|filter| self.fits(filter))
    }
}

#[derive(Deserialize)]
struct Fields<'a> {
    id: &'a str,
    pubkey: &'a str,
    created_at: u64,
    kind: u16,
}

/// Reads the envelope of an event: hex strictly lower-case as NIP-01 has it, dates below 2^63.
/// Other members are skipped, whatever they hold.
pub fn envelope(raw: &RawValue) -> Result<Envelope, WireError> {
    let fields: Fields<'_> = serde_json::from_str(raw.get()).map_err(|_| WireError::Event)?;
    if fields.created_at >= 1 << 63 {
        return Err(WireError::Event);
    }
    Ok(Envelope {
        id: EventId::from_byte_array(hex32(fields.id).ok_or(WireError::Hex)?),
        pubkey: PublicKey::from_byte_array(hex32(fields.pubkey).ok_or(WireError::Hex)?),
        created_at: Timestamp::from_secs(fields.created_at),
        kind: Kind::from_u16(fields.kind),
    })
}

/// Reads exactly 64 lower-case hex digits.
pub(super) fn hex32(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    hex_decode(text.as_bytes(), &mut bytes).ok()?;
    Some(bytes)
}
