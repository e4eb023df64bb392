//! Records of stored events, and whether they match a filter.

use std::borrow::Cow;
use std::collections::BTreeSet;

use nostr::event::Event;
use nostr::filter::{Filter, MatchEventOptions};
use serde::Deserialize;

use super::error::StoreError;
use super::key::{Envelope, TagHash, TagHasher, letter};
use super::outcome::Row;

/// A stored event as it lies in the map.
#[derive(Clone, Copy)]
pub(super) struct Body<'a> {
    pub(super) envelope: Envelope,
    pub(super) raw: &'a str,
}

impl<'a> Body<'a> {
    pub(super) fn read(record: &'a [u8]) -> Result<Self, StoreError> {
        let (envelope, raw) = Envelope::read(record)?;
        let raw = std::str::from_utf8(raw);
        let raw = raw.map_err(|_| StoreError::damaged("an event is not UTF-8"))?;
        Ok(Self { envelope, raw })
    }

    pub(super) fn write(event: &Event, raw: &str, out: &mut Vec<u8>) {
        out.clear();
        out.reserve(Envelope::LEN + raw.len());
        Envelope::of(event).write(out);
        out.extend_from_slice(raw.as_bytes());
    }

    pub(super) fn event(&self) -> Result<Event, StoreError> {
        Event::from_json(self.raw).map_err(|error| {
            StoreError::damaged(format!("event {}: {error}", self.envelope.event_id()))
        })
    }
}

/// A filter, prepared. What it says equals [`Filter::match_event`]: an empty list of ids, authors
/// or kinds restricts nothing, an empty list of tag values matches nothing.
pub(super) struct Question<'f> {
    filter: &'f Filter,
    /// Every condition on a tag: its letter, and its values with their hashes.
    pub(super) tags: Vec<TagCondition<'f>>,
    pub(super) since: u64,
    pub(super) until: u64,
}

/// One of these values must be there.
pub(super) struct TagCondition<'f> {
    pub(super) letter: u8,
    pub(super) values: Vec<(TagHash, &'f str)>,
}

impl<'f> Question<'f> {
    pub(super) fn new(filter: &'f Filter, hasher: TagHasher) -> Self {
        let condition = |letter: u8, values: &'f BTreeSet<String>| {
            let values = values.iter().map(|value| (hasher.hash(letter, value), value.as_str()));
            TagCondition { letter, values: values.collect() }
        };
        let tags = filter.generic_tags.iter();
        Self {
            filter,
            tags: tags.map(|(letter, values)| condition(letter.as_byte(), values)).collect(),
            since: filter.since.map_or(0, |at| at.as_secs()),
            until: filter.until.map_or(u64::MAX, |at| at.as_secs()),
        }
    }

    pub(super) fn ids(&self) -> Option<impl ExactSizeIterator<Item = [u8; 32]> + Clone> {
        let ids = self.filter.ids.as_ref().filter(|ids| !ids.is_empty())?;
        Some(ids.iter().map(|id| id.to_bytes()))
    }

    pub(super) fn authors(&self) -> Option<impl ExactSizeIterator<Item = [u8; 32]> + Clone> {
        let authors = self.filter.authors.as_ref().filter(|authors| !authors.is_empty())?;
        Some(authors.iter().map(|author| author.to_bytes()))
    }

    pub(super) fn kinds(&self) -> Option<impl ExactSizeIterator<Item = u16> + Clone> {
        let kinds = self.filter.kinds.as_ref().filter(|kinds| !kinds.is_empty())?;
        Some(kinds.iter().map(|kind| kind.as_u16()))
    }

    /// Whether only kinds and times are asked for: an index answers that alone.
    pub(super) fn is_plain(&self) -> bool {
        self.ids().is_none()
            && self.authors().is_none()
            && self.tags.is_empty()
            && self.filter.search.is_none()
    }

    fn matches_envelope(&self, envelope: &Envelope) -> bool {
        let Filter { ids, authors, kinds, .. } = self.filter;
        let at = envelope.created_at;
        let ids = ids.as_ref().filter(|ids| !ids.is_empty());
        let authors = authors.as_ref().filter(|authors| !authors.is_empty());
        let kinds = kinds.as_ref().filter(|kinds| !kinds.is_empty());
        self.since <= at
            && at <= self.until
            && kinds.is_none_or(|kinds| kinds.contains(&envelope.kind.into()))
            && authors.is_none_or(|authors| authors.contains(&envelope.author()))
            && ids.is_none_or(|ids| ids.contains(&envelope.event_id()))
    }

    /// Whether a stored event matches; tags are compared in full.
    pub(super) fn matches(&self, body: &Body<'_>) -> Result<bool, StoreError> {
        if !self.matches_envelope(&body.envelope) {
            return Ok(false);
        }
        if self.filter.search.is_some() {
            return Ok(self.filter.match_event(&body.event()?, MatchEventOptions::new()));
        }
        if self.tags.is_empty() {
            return Ok(true);
        }
        let tagged: Tagged<'_> = serde_json::from_str(body.raw).map_err(|error| {
            StoreError::damaged(format!("event {}: {error}", body.envelope.event_id()))
        })?;
        Ok(self.tags.iter().all(|condition| condition.holds(&tagged)))
    }

    /// Whether a tombstone matches as far as its row tells. One too many does no harm: its event
    /// is not wanted anyway. A stored `search` cannot be judged and is not.
    pub(super) fn matches_row(&self, row: &Row<'_>, kept: impl Fn(u8) -> bool) -> bool {
        self.matches_envelope(&row.envelope)
            && self.tags.iter().all(|condition| {
                row.truncated
                    || !kept(condition.letter)
                    || condition.values.iter().any(|(hash, _)| row.tags().any(|tag| tag == hash))
            })
    }
}

impl TagCondition<'_> {
    fn holds(&self, tagged: &Tagged<'_>) -> bool {
        tagged.tags.iter().any(|tag| match tag.as_slice() {
            [name, value, ..] => {
                // The values come from an ordered set.
                letter(&name.0) == Some(self.letter)
                    && self.values.binary_search_by(|(_, wanted)| (*wanted).cmp(&value.0)).is_ok()
            }
            _ => false,
        })
    }
}

/// An event's tags, borrowed where they need no unescaping.
#[derive(Deserialize)]
struct Tagged<'a> {
    #[serde(borrow)]
    tags: Vec<Vec<Text<'a>>>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
