//! What a walk has seen, as far as later pages overlap it, and the measuring of one page.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use nostr::event::{EventId, Kind};
use nostr::filter::Filter;
use nostr::key::PublicKey;
use nostr::types::Timestamp;

use super::EventHead;
use super::live::LiveIds;
use super::tags::{Edge, TagBits};
use crate::tally::PageTally;

/// An event by the second it claims: overlaps are looked up by second.
pub(super) type Place = (Timestamp, EventId);

fn second(at: Timestamp) -> RangeInclusive<Place> {
    (at, EventId::from_byte_array([0; 32]))..=(at, EventId::from_byte_array([0xff; 32]))
}

/// A page that is being received.
#[derive(Debug)]
pub(super) struct Page {
    filter: Filter,
    split: Option<Timestamp>,
    /// The oldest second that the walk knew when it asked.
    oldest: Option<Timestamp>,
    since: Timestamp,
    until: Timestamp,
    /// Whether the filter cannot be halved, so that authors are what is left to ask by.
    atomic: bool,
    frames: u32,
    malformed: u32,
    oversize: u32,
    above_until: u32,
    events: BTreeMap<Place, Copies>,
    /// Bodies of the oldest second, where tags decide over the parts of a split.
    edge: Option<Edge>,
}

/// One event of a page.
#[derive(Debug)]
struct Copies {
    frames: u32,
    known: Known,
    fits: bool,
}

/// What is remembered of an event beside its place.
#[derive(Clone, Copy, Debug)]
struct Known {
    author: Option<PublicKey>,
    kind: Kind,
    /// See [`TagBits`]; `None` while its tags were not read.
    bits: Option<u128>,
}

impl Known {
    /// Whether the event belongs to a part of a split. What was not read belongs to none.
    fn is_of(&self, part: &Filter, masks: &[u128]) -> bool {
        self.bits.is_some_and(|bits| masks.iter().all(|mask| mask & bits != 0))
            && part.kinds.as_ref().is_none_or(|kinds| kinds.contains(&self.kind))
            && (part.authors.as_ref())
                .is_none_or(|authors| self.author.is_none_or(|author| authors.contains(&author)))
    }
}

impl Page {
    pub(super) fn new(
        filter: &Filter,
        split: Option<Timestamp>,
        oldest: Option<Timestamp>,
    ) -> Self {
        let long_kinds = filter.kinds.as_ref().is_some_and(|kinds| kinds.len() > 1);
        let long_tags = filter.generic_tags.values().any(|values| values.len() > 1);
        Self {
            split,
            oldest,
            filter: filter.clone(),
            since: filter.since.unwrap_or(Timestamp::from_secs(0)),
            until: filter.until.unwrap_or(Timestamp::max()),
            atomic: filter.authors.is_none() && !long_kinds && !long_tags,
            frames: 0,
            malformed: 0,
            oversize: 0,
            above_until: 0,
            events: BTreeMap::new(),
            edge: None,
        }
    }

    /// Takes a frame in; says whether its event came in this page before.
    pub(super) fn take(&mut self, head: &EventHead, event: &str, fits: bool) -> bool {
        self.frames += 1;
        self.above_until += u32::from(head.created_at > self.until);
        let place = (head.created_at, head.id);
        let known = Known { author: head.author, kind: head.kind, bits: None };
        let new = Copies { frames: 0, known, fits };
        if let Some(edge) = &mut self.edge {
            edge.take(place, event);
        }
        let copies = self.events.entry(place).or_insert(new);
        copies.frames += 1;
        copies.frames > 1
    }

    pub(super) fn take_malformed(&mut self) {
        self.frames += 1;
        self.malformed += 1;
    }

    pub(super) fn take_oversize(&mut self) {
        self.frames += 1;
        self.oversize += 1;
    }

    fn oldest_and_newest(&self) -> Option<(Timestamp, Timestamp)> {
        Some((self.events.first_key_value()?.0.0, self.events.last_key_value()?.0.0))
    }

    /// The second of the frame at `part` of `whole`, newest first.
    fn second_at(&self, part: u64, whole: u64) -> Option<Timestamp> {
        let total: u64 = self.events.values().map(|copies| u64::from(copies.frames)).sum();
        let place = (total * part / whole).min(total.checked_sub(1)?);
        let mut passed = 0;
        let mut newest_first = self.events.iter().rev();
        let found = newest_first.find(|(_, copies)| {
            passed += u64::from(copies.frames);
            passed > place
        });
        found.map(|((at, _), _)| *at)
    }

    fn of_second(&self, at: Timestamp) -> impl Iterator<Item = (&Place, &Copies)> {
        self.events.range(second(at))
    }
}

/// What a walk saw: the last page that reached further down, what came since, and its newest
/// second. Older pages are forgotten when the walk moves on.
#[derive(Debug, Default)]
pub(super) struct Seen {
    known: BTreeMap<Place, Known>,
    /// The tag values of the walk's filter.
    tags: TagBits,
    /// The oldest second that the walk knew when it asked last.
    oldest: Option<Timestamp>,
    newest: Option<Timestamp>,
    /// The newest second of the last page.
    last_newest: Option<Timestamp>,
    /// The second that is split, and its known events that no part repeated yet.
    split: Option<(Timestamp, BTreeSet<EventId>)>,
    /// Something was dropped for want of room: pages measured against the rest prove nothing.
    lost: bool,
}

impl Seen {
    /// A walk that begins with this page.
    pub(super) fn begin(page: &Page) -> Self {
        Self { tags: TagBits::of(&page.filter), ..Self::default() }
    }

    /// A walk that was seen before, of which nothing is known any more.
    pub(super) fn lost() -> Self {
        Self { lost: true, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// The walk asks for a page.
    pub(super) fn on_ask(&mut self, page: &mut Page) {
        page.edge = self.tags.are_needed().then(Edge::default);
        if self.oldest != page.oldest {
            self.oldest = page.oldest;
            // One second more than can be asked for: an exclusive `until` names the next one.
            let reach = self.last_newest.map(|at| at + 1);
            let newest = self.newest;
            self.known.retain(|(at, _), _| Some(*at) <= reach || Some(*at) == newest);
        }
        if let Some(at) = page.split.filter(|at| self.split.as_ref().is_none_or(|s| s.0 != *at)) {
            let ids = self.known.range(second(at)).map(|((_, id), _)| *id).collect();
            self.split = Some((at, ids));
        }
    }

    pub(super) fn contains(&self, head: &EventHead) -> bool {
        self.known.contains_key(&(head.created_at, head.id))
    }

    /// Measures a whole page against what is known, and knows it from now on; `room` is how many
    /// events more may be remembered.
    pub(super) fn on_page(&mut self, mut page: Page, live: &LiveIds, room: usize) -> PageTally {
        self.read_tags(&mut page);
        let mut tally = self.measure(&page, live);
        if let Some(at) = page.split {
            tally.missing_in_part = self.missing_in_part(&page, at);
        }
        if let Some((at, unrepeated)) = self.split.as_mut().filter(|s| Some(s.0) == page.split) {
            for ((_, id), _) in page.of_second(*at) {
                unrepeated.remove(id);
            }
            tally.unrepeated = count(unrepeated.len());
        }
        self.remember(page, room);
        tally
    }

    fn read_tags(&self, page: &mut Page) {
        if let Some(edge) = page.edge.take() {
            for (place, body) in edge.bodies() {
                if let Some(copies) = page.events.get_mut(&place) {
                    copies.known.bits = self.tags.read(body);
                }
            }
        } else if !self.tags.are_unknown() {
            page.events.values_mut().for_each(|copies| copies.known.bits = Some(0));
        }
    }

    fn missing_in_part(&self, page: &Page, at: Timestamp) -> u32 {
        let masks = self.tags.masks(&page.filter);
        let of_part = self.known.range(second(at)).filter(|(place, known)| {
            known.is_of(&page.filter, &masks) && !page.events.contains_key(place)
        });
        count(of_part.count())
    }

    fn measure(&self, page: &Page, live: &LiveIds) -> PageTally {
        let edges = page.oldest_and_newest();
        let mut tally = PageTally {
            frames: page.frames,
            malformed: page.malformed,
            oversize: page.oversize,
            distinct: count(page.events.len()),
            oldest: edges.map(|(oldest, _)| oldest),
            newest: edges.map(|(_, newest)| newest),
            middle: page.second_at(1, 2),
            three_quarters: page.second_at(3, 4),
            above_until: page.above_until,
            at_until: count(page.of_second(page.until).count()),
            known_at_until: count(self.known.range(second(page.until)).count()),
            authors: self.authors(page),
            forgotten: self.lost,
            ..PageTally::default()
        };
        for (at, _) in self.new_events(page, live) {
            tally.new += u32::from(page.since <= at && at <= page.until);
            tally.new_at_until += u32::from(at == page.until);
            let Some(oldest) = page.oldest else { continue };
            tally.new_at_known_oldest += u32::from(at == oldest);
            tally.new_above_known_oldest += u32::from(at > oldest);
            tally.new_up_to_known_oldest += u32::from(at <= oldest);
        }
        if let Some(oldest) = page.oldest {
            let missing = self.known.range(second(oldest));
            let missing = missing.filter(|(place, _)| !page.events.contains_key(place));
            tally.missing_at_known_oldest = count(missing.count());
        }
        tally
    }

    /// Events of the page that fit, are not known and did not come live.
    fn new_events(&self, page: &Page, live: &LiveIds) -> Vec<Place> {
        let unknown = page
            .events
            .iter()
            .filter(|(place, copies)| copies.fits && !self.known.contains_key(place));
        let mut unknown: Vec<Place> = unknown.map(|(place, _)| *place).collect();
        if !live.is_empty() && !unknown.is_empty() {
            let ids: BTreeSet<EventId> = unknown.iter().map(|(_, id)| *id).collect();
            let came: BTreeSet<EventId> = live.iter().filter(|id| ids.contains(id)).collect();
            unknown.retain(|(_, id)| !came.contains(id));
        }
        unknown
    }

    fn authors(&self, page: &Page) -> Vec<PublicKey> {
        let whole = page.oldest_and_newest().filter(|(oldest, newest)| oldest == newest);
        let Some(at) = page.split.or(whole.map(|(at, _)| at)).filter(|_| page.atomic) else {
            return Vec::new();
        };
        let here = page.of_second(at).filter(|(_, copies)| copies.fits);
        let here = here.filter_map(|(_, copies)| copies.known.author);
        let known = self.known.range(second(at)).filter(|_| page.split.is_none());
        let known = known.filter_map(|(_, known)| known.author);
        let all: BTreeSet<PublicKey> = here.chain(known).collect();
        all.into_iter().take(PageTally::MAX_AUTHORS).collect()
    }

    fn remember(&mut self, page: Page, room: usize) {
        let edges = page.oldest_and_newest();
        let fitting = page.events.into_iter().filter(|(_, copies)| copies.fits);
        let fitting = fitting.map(|(place, copies)| (place, copies.known));
        if let Some(at) = page.split {
            // A split may bring far more than pages do: it leaves room for other walks.
            self.known.extend(fitting.filter(|((second, _), _)| *second == at).take(room / 2));
            return;
        }
        if let Some((_, newest)) = edges {
            self.last_newest = Some(newest);
        }
        let mut left = room;
        for (place, known) in fitting {
            self.newest = self.newest.max(Some(place.0));
            if left == 0 {
                self.lost = true;
                self.known.clear();
                return;
            }
            left -= usize::from(self.known.insert(place, known).is_none());
        }
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
