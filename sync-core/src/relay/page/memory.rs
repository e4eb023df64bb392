//! What is learned of the pages of one relay: the bound per shape of filter, and its quirks.

use alloc::collections::BTreeMap;

use nostr::filter::Filter;
use nostr::types::Timestamp;

use crate::config::{PageConfig, Span};

/// Which fields a filter has: one bit a field, one a tag letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape(u64);

impl Shape {
    pub(super) fn of(filter: &Filter) -> Self {
        let fields = [
            filter.ids.is_some(),
            filter.authors.is_some(),
            filter.kinds.is_some(),
            filter.search.is_some(),
        ];
        let mut bits = fields.iter().fold(0, |bits, has| (bits << 1) | u64::from(*has));
        for tag in filter.generic_tags.keys() {
            let letter = tag.as_byte();
            let place = if letter.is_ascii_lowercase() {
                4 + (letter - b'a')
            } else {
                30 + letter.saturating_sub(b'A')
            };
            bits |= 1 << place.min(63);
        }
        Self(bits)
    }
}

/// What is learned of one shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Learned {
    /// The largest page delivered, in distinct ids.
    largest: u32,
    /// The smallest page known to be cut.
    smallest_cut: Option<u32>,
    /// A page was cut below another: cuts come at any size.
    short: bool,
    /// `until` excludes its own second.
    exclusive: bool,
    /// When the first of this was learned.
    learned_at: Timestamp,
}

/// What is learned of the pages of one relay (HIST-5). It outlives connections and is shared by
/// the walks of a relay; [`PageMemory::age`] makes it forget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageMemory {
    shapes: BTreeMap<Shape, Learned>,
    /// Since when `page.floor` is void: a page was cut below it.
    floor_void: Option<Timestamp>,
    /// The largest limit that was not refused, and when the refusal came.
    limit: Option<(u32, Timestamp)>,
    now: Timestamp,
}

impl PageMemory {
    /// Shapes that are remembered; the one learned first goes when another comes.
    pub const MAX_SHAPES: usize = 64;

    /// Takes the wall time in, and forgets what was learned longer than `ttl` ago. To be called
    /// when the wall clock is seen; what is learned next carries this time.
    pub fn age(&mut self, now: Timestamp, ttl: Span) {
        self.now = now;
        let kept = |at: Timestamp| now.as_secs().saturating_sub(at.as_secs()) < ttl.as_secs();
        self.shapes.retain(|_, learned| kept(learned.learned_at));
        self.floor_void = self.floor_void.filter(|at| kept(*at));
        self.limit = self.limit.filter(|(_, at)| kept(*at));
    }

    /// The relay refused a REQ for its `limit`: the next ones carry half of it, down to 1.
    pub fn refuse_limit(&mut self, config: &PageConfig) {
        let refused = self.limit(config);
        self.limit = Some(((refused / 2).max(1), self.now));
    }

    /// The `limit` of a page.
    pub fn limit(&self, config: &PageConfig) -> u32 {
        self.limit.map_or(config.limit, |(limit, _)| limit.min(config.limit))
    }

    /// The bound of pages of this filter: a page as large may be cut.
    pub fn bound(&self, filter: &Filter, config: &PageConfig) -> u32 {
        self.bound_of(Shape::of(filter), config)
    }

    pub(super) fn bound_of(&self, shape: Shape, config: &PageConfig) -> u32 {
        let floor = if self.floor_void.is_some() { 0 } else { config.floor };
        let bound = self.smallest_cut(shape).unwrap_or(self.largest(shape).max(floor));
        // What was learned under a larger limit says nothing under the one that replaced it.
        self.limit.map_or(bound, |_| bound.min(self.limit(config)))
    }

    pub(super) fn smallest_cut(&self, shape: Shape) -> Option<u32> {
        self.shapes.get(&shape).and_then(|learned| learned.smallest_cut)
    }

    pub(super) fn largest(&self, shape: Shape) -> u32 {
        self.shapes.get(&shape).map_or(0, |learned| learned.largest)
    }

    pub(super) fn is_short(&self, shape: Shape) -> bool {
        self.shapes.get(&shape).is_some_and(|learned| learned.short)
    }

    pub(super) fn is_exclusive(&self, shape: Shape) -> bool {
        self.shapes.get(&shape).is_some_and(|learned| learned.exclusive)
    }

    pub(super) fn set_exclusive(&mut self, shape: Shape, exclusive: bool) {
        self.learn(shape).exclusive = exclusive;
    }

    /// A page of so many distinct ids was delivered.
    pub(super) fn delivered(&mut self, shape: Shape, distinct: u32) {
        if distinct > self.largest(shape) {
            self.learn(shape).largest = distinct;
        }
    }

    /// A page of so many distinct ids turned out to be cut.
    pub(super) fn cut(&mut self, shape: Shape, distinct: u32, config: &PageConfig) {
        let learned = self.learn(shape);
        if distinct == 0 {
            learned.short = true;
            return;
        }
        learned.smallest_cut = Some(learned.smallest_cut.map_or(distinct, |k| k.min(distinct)));
        learned.short |= distinct < learned.largest;
        if distinct < config.floor && self.floor_void.is_none() {
            self.floor_void = Some(self.now);
        }
    }

    fn learn(&mut self, shape: Shape) -> &mut Learned {
        if !self.shapes.contains_key(&shape) && self.shapes.len() >= Self::MAX_SHAPES {
            let first = self.shapes.iter().min_by_key(|(shape, l)| (l.learned_at, **shape));
            if let Some(shape) = first.map(|(shape, _)| *shape) {
                self.shapes.remove(&shape);
            }
        }
        let learned_at = self.now;
        self.shapes.entry(shape).or_insert_with(|| Learned { learned_at, ..Learned::default() })
    }
}
