//! What the subscriptions of one connection received: tallies for the control plane, whole pages
//! for walks, and which events are new, before anything of them is verified.
//!
//! One meter per connection, driven by its task. Every EVENT frame goes to [`Meter::on_event`],
//! [`Meter::on_malformed`] or [`Meter::on_oversize`]. F1: before any other frame is handed to the
//! core, [`Meter::flush`] is; an EOSE has [`Meter::on_eose`], which flushes as well, and measures
//! the page of a walk. F2: the shell flushes 20 ms after the first event, and when
//! [`Meter::wants_flush`]. F3: before the end of the connection.

mod live;
mod page;
mod tags;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use nostr::event::{EventId, Kind};
use nostr::filter::Filter;
use nostr::key::PublicKey;
use nostr::types::Timestamp;

use self::live::LiveIds;
use self::page::{Page, Seen};
use crate::command::Purpose;
use crate::config::LimitsConfig;
use crate::id::{ConnId, SubId, WalkId};
use crate::tally::{EventTally, PageTally};
use crate::time::Instant;

/// What an event claims of itself, as far as the meter looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHead {
    /// The claimed id.
    pub id: EventId,
    /// The claimed author, when it was read.
    pub author: Option<PublicKey>,
    /// The claimed date.
    pub created_at: Timestamp,
    /// The kind.
    pub kind: Kind,
}

/// What an event is to its subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To be taken on: nothing speaks against it so far.
    New,
    /// This walk saw an event of this id before. The claim is not verified: a copy may be dropped
    /// only when the first one was stored or rejected (ACPT-1).
    Duplicate,
    /// It cannot match; it is settled as off-filter.
    OffFilter,
    /// Of no subscription that is or was open (T15); it is not settled.
    Unsolicited,
}

/// A limit that was passed; the shell acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// The budget of this request is used up (T5): close the subscription, its gap is
    /// [`crate::item::GapReason::Budget`]. Said once.
    RequestBudget,
    /// Too many events off-filter or of no subscription within a minute (T6): hang up with
    /// [`crate::input::CloseReason::Flood`].
    Flood,
}

/// What the meter says of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What it is.
    pub verdict: Verdict,
    /// The limit that it passed.
    pub breach: Option<Breach>,
}

/// One subscription.
#[derive(Debug)]
struct Sub {
    filters: Vec<Filter>,
    purpose: Purpose,
    eose: bool,
    page: Option<Box<Page>>,
    /// Events and bytes that count for its budget.
    spent: (u64, u64),
    over: bool,
    tally: EventTally,
}

/// The meter of one connection (see the module). It never fails, whatever comes.
#[derive(Debug)]
pub struct Meter {
    conn: ConnId,
    req_events: u64,
    req_bytes: u64,
    off_filter_minute: u32,
    subs: BTreeMap<SubId, Sub>,
    /// Subscriptions closed last: what is still on its way for them is excused (T6).
    closed: VecDeque<(SubId, Sub)>,
    /// With the number of the last ask when it was used last.
    walks: BTreeMap<WalkId, (u64, Seen)>,
    asks: u64,
    live: LiveIds,
    unsolicited: u32,
    /// Events since the last flush.
    pending: u32,
    /// Begin of the minute, and what came in it.
    minute: (Instant, u32),
}

impl Meter {
    /// Events after which the shell flushes (F2).
    pub const FLUSH_AT: u32 = 256;
    /// Closed subscriptions that are remembered.
    pub const MAX_CLOSED: usize = 64;
    /// Walks that are remembered; above it the one that was used longest ago is forgotten, and its
    /// next page proves nothing.
    pub const MAX_WALKS: usize = 64;
    /// Events that all walks of a connection remember, at about 110 bytes each. A walk needs its
    /// last page, the overlaps with it and its newest second: some 1,000 where pages hold 500.
    pub const MAX_KNOWN: usize = 131_072;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A meter for this connection.
    pub fn new(conn: ConnId, limits: &LimitsConfig) -> Self {
        Self {
            conn,
            req_events: u64::from(limits.req_events),
            req_bytes: limits.req_bytes.0,
            off_filter_minute: limits.off_filter_minute,
            subs: BTreeMap::new(),
            closed: VecDeque::new(),
            walks: BTreeMap::new(),
            asks: 0,
            live: LiveIds::default(),
            unsolicited: 0,
            pending: 0,
            minute: (Instant::ZERO, 0),
        }
    }

    /// A REQ is about to be sent ([`crate::command::Command::Subscribe`]).
    pub fn on_subscribe(&mut self, sub: SubId, filters: &[Filter], purpose: Purpose) {
        let page = match (purpose, filters.first()) {
            (Purpose::Page { walk, split, oldest, .. }, Some(filter)) => {
                let mut page = Page::new(filter, split, oldest);
                self.walk_asks(walk, &mut page, oldest.is_none());
                Some(Box::new(page))
            }
            (Purpose::Page { .. } | Purpose::Live | Purpose::Ids { .. }, _) => None,
        };
        let (eose, spent, over) = (false, (0, 0), false);
        let tally = self.fresh(Some(sub));
        let filters = filters.to_vec();
        self.subs.insert(sub, Sub { filters, purpose, eose, page, spent, over, tally });
    }

    fn walk_asks(&mut self, walk: WalkId, page: &mut Page, begins: bool) {
        self.asks += 1;
        if !self.walks.contains_key(&walk) && self.walks.len() >= Self::MAX_WALKS {
            self.forget_walk();
        }
        let entry = self.walks.entry(walk).or_insert_with(|| (0, Seen::lost()));
        if begins {
            entry.1 = Seen::begin(page);
        }
        entry.0 = self.asks;
        entry.1.on_ask(page);
    }

    /// Forgets the walk that was used longest ago, one whose page is on its way only when there is
    /// no other: a slow answer must not lose its place to many quick ones.
    fn forget_walk(&mut self) {
        let waits = |sub: &Sub| match sub.purpose {
            Purpose::Page { walk, .. } if sub.page.is_some() => Some(walk),
            _ => None,
        };
        let waiting: BTreeSet<WalkId> = self.subs.values().filter_map(waits).collect();
        let used = |(walk, (used, _)): &(&WalkId, &(u64, Seen))| (waiting.contains(walk), *used);
        if let Some(walk) = self.walks.iter().min_by_key(used).map(|(walk, _)| *walk) {
            self.walks.remove(&walk);
        }
    }

    /// A CLOSE is sent, or a CLOSED came; what was received is pushed to `out` first. Events that
    /// still come for the subscription are excused and tallied under it, while it is among the
    /// last [`Meter::MAX_CLOSED`].
    pub fn on_unsubscribe(&mut self, sub: SubId, out: &mut Vec<EventTally>) {
        let Some(mut closed) = self.subs.remove(&sub) else { return };
        // Without its EOSE a page proves nothing (HIST-6), and the walk did not see it.
        closed.page = None;
        drain(self.conn, sub, &mut closed, out);
        if self.closed.len() >= Self::MAX_CLOSED
            && let Some((sub, mut first)) = self.closed.pop_front()
        {
            drain(self.conn, sub, &mut first, out);
        }
        self.closed.push_back((sub, closed));
    }

    /// An event came; `event` is its JSON as it was sent. Its tags are looked at only where they
    /// decide whether a second is proven, and need not be readable.
    pub fn on_event(
        &mut self,
        now: Instant,
        sub: Option<SubId>,
        head: &EventHead,
        event: &str,
    ) -> Judgement {
        self.pending = self.pending.saturating_add(1);
        let Some((sub, excused)) = sub.and_then(|sub| find(&mut self.subs, &mut self.closed, sub))
        else {
            self.unsolicited = self.unsolicited.saturating_add(1);
            let breach = self.count_foreign(now, 1);
            return Judgement { verdict: Verdict::Unsolicited, breach };
        };
        let fits = sub.fits(head);
        let seen = match sub.purpose {
            Purpose::Page { walk, .. } => self.walks.get(&walk).map(|(_, seen)| seen),
            Purpose::Live | Purpose::Ids { .. } => None,
        };
        let repeated = sub.take(head, event, fits, self.req_events);
        let known = repeated || seen.is_some_and(|seen| seen.contains(head));
        if fits && sub.eose && sub.purpose == Purpose::Live {
            self.live.push(head.id);
        }
        let mut breach = sub.spend(event.len() as u64, self.req_events, self.req_bytes);
        if !fits && !excused {
            breach = self.count_foreign(now, 1).or(breach);
        }
        let verdict = match (fits, known) {
            (false, _) => Verdict::OffFilter,
            (true, true) => Verdict::Duplicate,
            (true, false) => Verdict::New,
        };
        Judgement { verdict, breach }
    }

    /// An EVENT frame of this subscription could not be read. It is not settled; a page counts it.
    pub fn on_malformed(&mut self, sub: Option<SubId>, bytes: u64) -> Option<Breach> {
        let (sub, _) = find(&mut self.subs, &mut self.closed, sub?)?;
        if let Some(page) = &mut sub.page {
            page.take_malformed();
        }
        sub.spend(bytes, self.req_events, self.req_bytes)
    }

    /// An EVENT frame of this subscription was above its limit and skipped (TALK-5).
    pub fn on_oversize(&mut self, sub: Option<SubId>, bytes: u64) -> Option<Breach> {
        let (sub, _) = find(&mut self.subs, &mut self.closed, sub?)?;
        self.pending = self.pending.saturating_add(1);
        sub.tally.oversize = sub.tally.oversize.saturating_add(1);
        if let Some(page) = &mut sub.page {
            page.take_oversize();
        }
        sub.spend(bytes, self.req_events, self.req_bytes)
    }

    /// So many events that were let through turned out not to match by their tags (T6).
    pub fn on_off_filter(&mut self, now: Instant, events: u32) -> Option<Breach> {
        self.count_foreign(now, events)
    }

    /// Stored events of this subscription are through. Pushes what all subscriptions received to
    /// `out`, and with it the whole page when this is one; another EOSE only flushes.
    pub fn on_eose(&mut self, sub: SubId, out: &mut Vec<EventTally>) {
        let known: usize = self.walks.values().map(|(_, seen)| seen.len()).sum();
        if let Some(open) = self.subs.get_mut(&sub) {
            open.eose = true;
            if let (Some(page), Purpose::Page { walk, .. }) = (open.page.take(), open.purpose) {
                let room = Self::MAX_KNOWN.saturating_sub(known);
                let mut tally = match self.walks.get_mut(&walk) {
                    Some((used, seen)) => {
                        *used = self.asks;
                        seen.on_page(*page, &self.live, room)
                    }
                    None => PageTally { forgotten: true, ..PageTally::default() },
                };
                // Above its budget not every event of a page was looked at.
                tally.forgotten |= open.over;
                open.tally.page = Some(tally);
            }
        }
        self.flush(out);
    }

    /// Whether enough came since the last flush (F2).
    pub fn wants_flush(&self) -> bool {
        self.pending >= Self::FLUSH_AT
    }

    /// Whether anything came since the last flush, so that its timer must run (F2).
    pub fn has_pending(&self) -> bool {
        self.pending > 0
    }

    /// Whether events of this subscription are live: it stands, and its EOSE has passed.
    pub fn is_live(&self, sub: SubId) -> bool {
        self.subs.get(&sub).is_some_and(|sub| sub.eose && sub.purpose == Purpose::Live)
    }

    /// What an open or lately closed subscription is for, and its filters.
    pub fn subscription(&self, sub: SubId) -> Option<(Purpose, &[Filter])> {
        let closed = || self.closed.iter().rev().find(|(id, _)| *id == sub).map(|(_, sub)| sub);
        let found = self.subs.get(&sub).or_else(closed)?;
        Some((found.purpose, &found.filters))
    }

    /// Pushes what was received since the last flush, a tally per subscription, by its number.
    pub fn flush(&mut self, out: &mut Vec<EventTally>) {
        self.pending = 0;
        if self.unsolicited > 0 {
            let unsolicited = mem::take(&mut self.unsolicited);
            out.push(EventTally { unsolicited, ..self.fresh(None) });
        }
        for (sub, closed) in &mut self.closed {
            drain(self.conn, *sub, closed, out);
        }
        for (sub, open) in &mut self.subs {
            drain(self.conn, *sub, open, out);
        }
    }

    fn fresh(&self, sub: Option<SubId>) -> EventTally {
        EventTally { conn: Some(self.conn), sub, ..EventTally::default() }
    }

    fn count_foreign(&mut self, now: Instant, events: u32) -> Option<Breach> {
        if now.since(self.minute.0) >= Self::MINUTE {
            self.minute = (now, 0);
        }
        self.minute.1 = self.minute.1.saturating_add(events);
        (self.minute.1 > self.off_filter_minute).then_some(Breach::Flood)
    }
}

/// The subscription, and whether what comes for it is excused.
fn find<'a>(
    subs: &'a mut BTreeMap<SubId, Sub>,
    closed: &'a mut VecDeque<(SubId, Sub)>,
    sub: SubId,
) -> Option<(&'a mut Sub, bool)> {
    if let Some(open) = subs.get_mut(&sub) {
        return Some((open, false));
    }
    let closed = closed.iter_mut().rev().find(|(id, _)| *id == sub);
    closed.map(|(_, sub)| (sub, true))
}

/// Pushes the tally of a subscription if it says anything, and begins another.
fn drain(conn: ConnId, id: SubId, sub: &mut Sub, out: &mut Vec<EventTally>) {
    let tally = &sub.tally;
    if tally.received == 0 && tally.oversize == 0 && tally.page.is_none() {
        return;
    }
    let fresh = EventTally { conn: Some(conn), sub: Some(id), ..EventTally::default() };
    let mut tally = mem::replace(&mut sub.tally, fresh);
    tally.ids.sort_unstable();
    tally.ids.dedup();
    out.push(tally);
}

impl Sub {
    fn is_page(&self) -> bool {
        matches!(self.purpose, Purpose::Page { .. })
    }

    /// Whether the event can match. Dates outside a page's range do not speak against an event:
    /// relays that ignore `since` or `until` are seen by their pages.
    fn fits(&self, head: &EventHead) -> bool {
        let at = head.created_at;
        let dated = |filter: &Filter| {
            filter.since.is_none_or(|since| at >= since)
                && filter.until.is_none_or(|until| at <= until)
        };
        let author = |authors: &BTreeSet<PublicKey>| {
            head.author.is_none_or(|author| authors.contains(&author))
        };
        self.filters.iter().any(|filter| {
            filter.kinds.as_ref().is_none_or(|kinds| kinds.contains(&head.kind))
                && filter.ids.as_ref().is_none_or(|ids| ids.contains(&head.id))
                && filter.authors.as_ref().is_none_or(author)
                && (self.is_page() || dated(filter))
        })
    }

    /// Counts an event; says whether it came in this page before.
    fn take(&mut self, head: &EventHead, event: &str, fits: bool, limit: u64) -> bool {
        let tally = &mut self.tally;
        tally.received = tally.received.saturating_add(1);
        tally.bytes = tally.bytes.saturating_add(event.len() as u64);
        tally.oldest = Some(tally.oldest.map_or(head.created_at, |at| at.min(head.created_at)));
        tally.newest = tally.newest.max(Some(head.created_at));
        if fits && matches!(self.purpose, Purpose::Ids { .. }) {
            tally.ids.push(head.id);
        }
        if self.eose && self.is_page() {
            self.tally.after_eose = self.tally.after_eose.saturating_add(1);
        }
        // Above its budget a page is closed, and measures nothing any more.
        let page = self.page.as_mut().filter(|_| self.spent.0 < limit);
        page.is_some_and(|page| page.take(head, event, fits))
    }

    /// Counts against the budget of the request (T5); what stands for what comes now has none.
    fn spend(&mut self, bytes: u64, events_max: u64, bytes_max: u64) -> Option<Breach> {
        if self.eose && self.purpose == Purpose::Live {
            return None;
        }
        self.spent.0 = self.spent.0.saturating_add(1);
        self.spent.1 = self.spent.1.saturating_add(bytes);
        let over = self.spent.0 > events_max || self.spent.1 > bytes_max;
        let first = over && !self.over;
        self.over |= over;
        first.then_some(Breach::RequestBudget)
    }
}
