//! Which of the tag values that a walk asks for an event carries: enough to tell which parts of a
//! split must hold it, without keeping its body.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use nostr::filter::{Filter, SingleLetterTag};
use nostr::types::Timestamp;
use serde::Deserialize;

use super::page::Place;

/// The tag values of a walk's filter, a bit each.
#[derive(Debug, Default)]
pub(super) struct TagBits {
    /// In the order of the filter; the bits of a list follow those of the one before.
    lists: Vec<(SingleLetterTag, Vec<String>)>,
    too_many: bool,
}

#[derive(Deserialize)]
struct Tags<'a> {
    #[serde(borrow)]
    tags: Vec<Vec<Cow<'a, str>>>,
}

impl TagBits {
    const MAX: usize = 128;

    pub(super) fn of(filter: &Filter) -> Self {
        let lists: Vec<(SingleLetterTag, Vec<String>)> = (filter.generic_tags.iter())
            .map(|(letter, values)| (*letter, values.iter().cloned().collect()))
            .collect();
        let total: usize = lists.iter().map(|(_, values)| values.len()).sum();
        if lists.iter().all(|(_, values)| values.len() < 2) {
            // No part is made by tags, so they decide nothing.
            return Self::default();
        }
        if total > Self::MAX {
            return Self { lists: Vec::new(), too_many: true };
        }
        Self { lists, too_many: false }
    }

    /// Whether events have to be read for their bits.
    pub(super) fn are_needed(&self) -> bool {
        !self.lists.is_empty()
    }

    /// Whether bits say nothing: the filter lists more values than there are.
    pub(super) fn are_unknown(&self) -> bool {
        self.too_many
    }

    /// The bits of an event; `None` when it cannot be read.
    pub(super) fn read(&self, event: &str) -> Option<u128> {
        let event: Tags<'_> = serde_json::from_str(event).ok()?;
        let mut bits = 0;
        for tag in &event.tags {
            let [name, value, ..] = tag.as_slice() else { continue };
            bits |= self.bit(name, value);
        }
        Some(bits)
    }

    fn bit(&self, name: &str, value: &str) -> u128 {
        let mut passed = 0;
        for (letter, values) in &self.lists {
            if letter.as_str() == name
                && let Ok(place) = values.binary_search_by(|listed| listed.as_str().cmp(value))
            {
                return 1 << (passed + place);
            }
            passed += values.len();
        }
        0
    }

    /// The bits of a part, a mask per list: an event of the part has one of each.
    pub(super) fn masks(&self, part: &Filter) -> Vec<u128> {
        let mask = |(letter, _): &(SingleLetterTag, Vec<String>)| {
            let values = part.generic_tags.get(letter);
            values.map_or(u128::MAX, |values| {
                values.iter().fold(0, |mask, value| mask | self.bit(letter.as_str(), value))
            })
        };
        self.lists.iter().map(mask).collect()
    }
}

/// The bodies of the events of a page's oldest second so far, for their tags.
#[derive(Debug, Default)]
pub(super) struct Edge {
    of: Option<Timestamp>,
    text: String,
    /// Where each body ends.
    ends: Vec<(Place, usize)>,
}

impl Edge {
    /// Bytes that are kept; bodies above it are not read.
    const MAX: usize = 4 << 20;

    pub(super) fn take(&mut self, place: Place, event: &str) {
        let at = place.0;
        if self.of.is_some_and(|of| of < at) {
            return;
        }
        if self.of != Some(at) {
            self.of = Some(at);
            self.text.clear();
            self.ends.clear();
        }
        if self.text.len() + event.len() <= Self::MAX {
            self.text.push_str(event);
            self.ends.push((place, self.text.len()));
        }
    }

    pub(super) fn bodies(&self) -> impl Iterator<Item = (Place, &str)> {
        let mut begin = 0;
        self.ends.iter().map(move |(place, end)| {
            let body = &self.text[begin..*end];
            begin = *end;
            (*place, body)
        })
    }
}
