//! A relay that answers paged REQs with every habit of the paging model (`spec/paging.md`): a
//! hidden cap, hints, unordered or short pages, ignored bounds, early EOSE, events that come and
//! go during a walk. It knows nothing of sockets; a REQ is a call.

use std::collections::BTreeSet;

use nostr::event::{EventId, Kind};
use nostr::filter::{Filter, SingleLetterTag};
use nostr::key::PublicKey;
use nostr::types::Timestamp;
use sync_core::admit::meter::EventHead;
use sync_core::input::EoseHints;
use sync_core::rng::Rng;

/// An event, as far as filters look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// `created_at`.
    pub at: u64,
    /// Number of the event; its id is made of it.
    pub id: u64,
    /// Kind.
    pub kind: u16,
    /// Values of its `t` tags, a bit each.
    pub values: u128,
    /// Number of its author.
    pub author: u8,
}

impl Row {
    /// Its envelope.
    pub fn head(&self) -> EventHead {
        EventHead {
            id: event_id(self.id),
            author: Some(author(self.author)),
            created_at: Timestamp::from_secs(self.at),
            kind: Kind::from_u16(self.kind),
        }
    }

    /// Its JSON, as much of it as the meter looks at.
    pub fn json(&self) -> String {
        let values = (0..128).filter(|bit| self.values & (1 << bit) != 0);
        let tags: Vec<String> = values.map(|bit| format!(r#"["t","{bit}"]"#)).collect();
        format!(r#"{{"kind":{},"tags":[{}]}}"#, self.kind, tags.join(","))
    }
}

/// The id of the event of this number.
pub fn event_id(number: u64) -> EventId {
    let mut bytes = [0; 32];
    // Ids say nothing of their order: spread them.
    bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    EventId::from_byte_array(bytes)
}

/// The author of this number.
pub fn author(number: u8) -> PublicKey {
    PublicKey::from_byte_array([number.wrapping_add(1); 32])
}

/// A filter by `t` values, kinds and authors; `None` leaves the field out.
pub fn filter(values: Option<u32>, kinds: Option<&[u16]>, authors: Option<&[u8]>) -> Filter {
    let mut filter = Filter::new();
    if let Some(values) = values {
        filter = filter.custom_tags(tag_letter(), (0..values).map(|value| value.to_string()));
    }
    if let Some(kinds) = kinds {
        filter = filter.kinds(kinds.iter().map(|kind| Kind::from_u16(*kind)));
    }
    if let Some(authors) = authors {
        filter = filter.authors(authors.iter().map(|number| author(*number)));
    }
    filter
}

/// The letter of the tag that rows have.
fn tag_letter() -> SingleLetterTag {
    SingleLetterTag::LOWERCASE_T
}

/// A filter in the form that rows are held against.
#[derive(Clone, Debug)]
pub struct Query {
    values: Option<u128>,
    kinds: Option<Vec<u16>>,
    authors: Option<BTreeSet<[u8; 32]>>,
}

impl Query {
    /// The query of a filter, without `since`, `until` and `limit`.
    pub fn of(filter: &Filter) -> Self {
        let values = filter.generic_tags.get(&tag_letter()).map(|values| {
            let bits = values.iter().filter_map(|value| value.parse::<u32>().ok());
            bits.fold(0, |all, bit| all | 1_u128 << bit)
        });
        let kinds = filter.kinds.as_ref();
        let authors = filter.authors.as_ref();
        Self {
            values,
            kinds: kinds.map(|kinds| kinds.iter().map(|kind| kind.as_u16()).collect()),
            authors: authors.map(|keys| keys.iter().map(|key| key.to_bytes()).collect()),
        }
    }

    /// Whether a row matches.
    pub fn matches(&self, row: &Row) -> bool {
        self.values.is_none_or(|values| values & row.values != 0)
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&row.kind))
            && self
                .authors
                .as_ref()
                .is_none_or(|keys| keys.contains(&author(row.author).to_bytes()))
    }

    /// The values asked for, each as a bit.
    fn each_value(&self) -> Vec<u128> {
        let values = self.values.unwrap_or(0);
        (0..128).map(|bit| 1_u128 << bit).filter(|bit| values & bit != 0).collect()
    }
}

/// In which order a page comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Newest first.
    #[default]
    Newest,
    /// Oldest first.
    Oldest,
    /// Any.
    Shuffled,
}

/// Which events a cut page holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pick {
    /// The newest: what the rule assumes.
    #[default]
    Newest,
    /// The oldest.
    Oldest,
    /// Any.
    Random,
    /// An equal share of each tag value.
    PerValue,
    /// The cap for each tag value, merged.
    Merged,
    /// The newest, and the oldest of all in place of the last.
    OldBogus,
    /// The newest but one in the middle.
    Hole,
}

/// How pages fall short of the cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Short {
    /// They do not.
    #[default]
    Never,
    /// Half of it, at times.
    Half,
    /// Any size from 1, at times.
    Any,
    /// Empty, at times.
    Empty,
    /// The first page is empty, and others at times.
    EmptyFirst,
}

/// What comes of a page after its EOSE, at times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Early {
    /// Nothing.
    #[default]
    Never,
    /// The rest of it.
    RestFollows,
    /// Nothing, though there was more.
    RestLost,
}

/// NIP-67 hints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hints {
    /// None.
    #[default]
    None,
    /// `finish` where it holds.
    Finish,
    /// `finish` and `more` where they hold.
    Both,
}

/// The habits of a relay. Chances are in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Habits {
    /// Order of a page.
    pub order: Order,
    /// What a cut page holds.
    pub pick: Pick,
    /// Ties are broken anew in every page.
    pub ties_random: bool,
    /// `until` is ignored.
    pub ignores_until: bool,
    /// `since` is ignored.
    pub ignores_since: bool,
    /// `until` excludes its second.
    pub exclusive: bool,
    /// Hints.
    pub hints: Hints,
    /// How pages fall short.
    pub short: Short,
    /// How often they do.
    pub short_chance: u64,
    /// How often a frame is doubled.
    pub doubles: u64,
    /// Whether doubled frames count for the cap.
    pub doubles_eat_cap: bool,
    /// EOSE before the end.
    pub early: Early,
    /// How often an event with any date comes during the walk.
    pub late: u64,
    /// How often an event goes.
    pub deletes: u64,
    /// How many rows the relay looks at.
    pub scan: Option<usize>,
    /// A smaller cap for filters with tags.
    pub tag_cap: Option<usize>,
    /// A cap where no limit is given.
    pub default_cap: Option<usize>,
    /// How often a frame cannot be read.
    pub malformed: u64,
    /// A cap in bytes.
    pub byte_cap: Option<u64>,
}

/// The answer to a REQ.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// What came live since the last REQ.
    pub live: Vec<Row>,
    /// Frames before the EOSE.
    pub frames: Vec<Row>,
    /// Frames that cannot be read, before the EOSE.
    pub malformed: u32,
    /// Hints of the EOSE.
    pub hints: EoseHints,
    /// Frames after the EOSE.
    pub late: Vec<Row>,
}

/// The relay.
#[derive(Clone, Debug)]
pub struct PagingRelay {
    /// What it stores, newest first.
    pub rows: Vec<Row>,
    /// Its hidden cap.
    pub cap: Option<usize>,
    /// Its habits.
    pub habits: Habits,
    /// Ids of deleted rows.
    pub deleted: BTreeSet<u64>,
    rng: Rng,
    coming: Vec<Row>,
    requests: u32,
    next_id: u64,
    horizon: u64,
}

impl PagingRelay {
    /// A relay that stores these rows.
    pub fn new(mut rows: Vec<Row>, cap: Option<usize>, habits: Habits, rng: Rng) -> Self {
        sort(&mut rows);
        let horizon = rows.first().map_or(1000, |row| row.at);
        Self {
            rows,
            cap,
            habits,
            deleted: BTreeSet::new(),
            rng,
            coming: Vec::new(),
            requests: 0,
            next_id: 10_000_000,
            horizon,
        }
    }

    /// Stores more rows.
    pub fn store(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.rows.extend(rows);
        sort(&mut self.rows);
    }

    /// What was to come live at the next REQ.
    pub fn take_coming(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.coming)
    }

    fn chance(&mut self, percent: u64) -> bool {
        percent > 0 && self.rng.below(100) < percent
    }

    /// Time passes: events come and go.
    fn tick(&mut self) -> Vec<Row> {
        let mut live = self.take_coming();
        if self.chance(self.habits.late) {
            let model = self.any_row();
            let at = match model {
                Some(row) if self.chance(50) => row.at,
                _ => 1 + self.rng.below(self.horizon.max(2)),
            };
            let like = model.unwrap_or(Row { at, id: 0, kind: 1, values: 1, author: 0 });
            let row = Row { at, id: self.next_id, ..like };
            self.next_id += 1;
            self.store([row]);
            // One in five comes live only after the page that shows it.
            if self.chance(20) { self.coming.push(row) } else { live.push(row) }
        }
        if self.chance(self.habits.deletes) && !self.rows.is_empty() {
            let place = self.rng.below(self.rows.len() as u64) as usize;
            self.deleted.insert(self.rows.remove(place).id);
        }
        live
    }

    fn any_row(&mut self) -> Option<Row> {
        let place = self.rng.below(self.rows.len() as u64) as usize;
        self.rows.get(place).copied()
    }

    /// Answers a REQ of one filter.
    pub fn req(&mut self, filter: &Filter) -> Answer {
        self.requests += 1;
        let live = self.tick();
        let query = Query::of(filter);
        let (mut matching, mut complete) = self.look_up(filter, &query);
        if self.habits.ties_random {
            let rng = &mut self.rng;
            matching.sort_by_cached_key(|row| (std::cmp::Reverse(row.at), rng.next()));
        }
        let cap = self.cap_of(filter, &query, &matching);
        let full = matching.len();
        let mut page = self.pick(matching, cap, &query);
        complete &= page.len() == full;
        if self.habits.doubles > 0 {
            page = self.double(page, cap);
            let distinct: BTreeSet<u64> = page.iter().map(|row| row.id).collect();
            complete &= distinct.len() == full;
        }
        match self.habits.order {
            Order::Newest => {}
            Order::Oldest => page.reverse(),
            Order::Shuffled => shuffle(&mut page, &mut self.rng),
        }
        let sent = page.len();
        if self.habits.malformed > 0 {
            let chance = self.habits.malformed;
            page.retain(|_| self.rng.below(100) >= chance);
        }
        let malformed = (sent - page.len()) as u32;
        let mut late = Vec::new();
        if self.habits.early != Early::Never && !page.is_empty() && self.chance(15) {
            let kept = self.rng.below(page.len() as u64) as usize;
            let rest = page.split_off(kept);
            complete = false;
            if self.habits.early == Early::RestFollows {
                late = rest;
            }
        }
        let hints = EoseHints {
            finish: complete && self.habits.hints != Hints::None,
            more: !complete && self.habits.hints == Hints::Both,
        };
        Answer { live, frames: page, malformed, hints, late }
    }

    fn look_up(&self, filter: &Filter, query: &Query) -> (Vec<Row>, bool) {
        let habits = &self.habits;
        let until = filter.until.filter(|_| !habits.ignores_until).map(|until| until.as_secs());
        let since = filter.since.filter(|_| !habits.ignores_since).map(|since| since.as_secs());
        let begin = until.map_or(0, |until| {
            let below = |row: &Row| row.at > until || (habits.exclusive && row.at == until);
            self.rows.partition_point(below)
        });
        let end =
            since.map_or(self.rows.len(), |since| self.rows.partition_point(|row| row.at >= since));
        let mut rows = &self.rows[begin..end.max(begin)];
        let mut complete = true;
        if let Some(scan) = habits.scan.filter(|scan| rows.len() > *scan) {
            rows = &rows[..scan];
            complete = false;
        }
        (rows.iter().filter(|row| query.matches(row)).copied().collect(), complete)
    }

    fn cap_of(&mut self, filter: &Filter, query: &Query, matching: &[Row]) -> usize {
        let habits = self.habits;
        let mut cap = self.cap.unwrap_or(usize::MAX);
        if let Some(tag_cap) = habits.tag_cap.filter(|_| query.values.is_some()) {
            cap = cap.min(tag_cap);
        }
        cap = cap.min(filter.limit.or(habits.default_cap).unwrap_or(usize::MAX));
        let falls_short =
            habits.short != Short::Never && self.chance(habits.short_chance) && self.requests > 1;
        if falls_short || (habits.short == Short::EmptyFirst && self.requests == 1) {
            let full = cap.min(matching.len());
            cap = match habits.short {
                Short::Half => (full / 2).max(1),
                Short::Any => 1 + self.rng.below(full.max(1) as u64) as usize,
                Short::Empty | Short::EmptyFirst | Short::Never => 0,
            };
        }
        if let Some(bytes) = habits.byte_cap {
            let mut sum = 0;
            let fits = matching.iter().enumerate().take_while(|(place, row)| {
                sum += 100 + (row.id * 7919) % 1900;
                *place == 0 || sum <= bytes
            });
            cap = cap.min(fits.count());
        }
        cap
    }

    fn pick(&mut self, mut matching: Vec<Row>, cap: usize, query: &Query) -> Vec<Row> {
        let per_value = |share: usize| {
            let mut page: Vec<Row> = Vec::new();
            for value in query.each_value() {
                page.extend(matching.iter().filter(|row| row.values & value != 0).take(share));
            }
            sort(&mut page);
            page.dedup();
            page
        };
        if matching.len() <= cap {
            return matching;
        }
        match self.habits.pick {
            Pick::PerValue if query.values.is_some() => {
                return per_value((cap / query.each_value().len()).max(1));
            }
            Pick::Merged if query.values.is_some() => return per_value(cap),
            Pick::Newest | Pick::PerValue | Pick::Merged => matching.truncate(cap),
            Pick::Oldest => drop(matching.drain(..matching.len() - cap)),
            Pick::Random => {
                shuffle(&mut matching, &mut self.rng);
                matching.truncate(cap);
            }
            Pick::OldBogus => {
                let oldest = matching[matching.len() - 1];
                matching.truncate(cap);
                if cap > 1 {
                    matching[cap - 1] = oldest;
                }
            }
            Pick::Hole => {
                matching.truncate(cap + 1);
                matching.remove(cap / 2);
            }
        }
        matching
    }

    fn double(&mut self, page: Vec<Row>, cap: usize) -> Vec<Row> {
        let mut frames = Vec::new();
        for row in page {
            frames.push(row);
            if self.chance(self.habits.doubles) {
                frames.push(row);
            }
        }
        if self.habits.doubles_eat_cap {
            frames.truncate(cap.max(1));
        }
        frames
    }
}

/// Newest first; ties by id.
fn sort(rows: &mut [Row]) {
    rows.sort_unstable_by_key(|row| (std::cmp::Reverse(row.at), row.id));
}

/// Any order.
pub fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for place in (1..items.len()).rev() {
        items.swap(place, rng.below(place as u64 + 1) as usize);
    }
}
