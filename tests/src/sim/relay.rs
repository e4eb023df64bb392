//! A simulated remote relay: an honest store, and a plan of what it does wrong.

mod reconcile;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nostr::event::{Event, EventId, Signature};
use nostr::filter::{Filter, MatchEventOptions};
use nostr::types::Timestamp;
use sync_core::id::{ConnId, NegId, SubId};
use sync_core::input::EoseHints;
use sync_core::url::RelayUrl;

use super::events::{Events, Inserted};
use super::faults::{EosePlan, Faults, LimitedBy, Nature, Negentropy};
use crate::entropy::Entropy;

/// A frame of ours.
#[derive(Clone, Debug, PartialEq)]
pub enum ToRelay {
    /// REQ.
    Req(SubId, Vec<Filter>),
    /// CLOSE.
    Close(SubId),
    /// NEG-OPEN, with its message in hex; the filter carries the range.
    NegOpen(NegId, Filter, String),
    /// NEG-MSG, in hex.
    NegMsg(NegId, String),
    /// NEG-CLOSE.
    NegClose(NegId),
}

/// A frame of the relay.
#[derive(Clone, Debug, PartialEq)]
pub enum ToClient {
    /// EVENT.
    Event(SubId, Arc<Event>),
    /// EOSE.
    Eose(SubId, EoseHints),
    /// CLOSED; of a session when the number is one.
    Closed(SubId, String),
    /// NOTICE.
    Notice(String),
    /// NEG-MSG, in hex.
    NegMsg(NegId, String),
    /// NEG-ERR.
    NegErr(NegId, String),
}

/// A frame, and how long the relay takes to send it; the way is the world's affair.
pub type Answer = (Duration, ToClient);

/// A relay.
#[derive(Debug)]
pub struct SimRelay {
    /// Where it is.
    pub url: RelayUrl,
    /// What it is like.
    pub nature: Nature,
    /// What it does wrong now.
    pub faults: Faults,
    /// What it holds.
    pub store: Events,
    /// When it got what it holds, wall time.
    arrived: BTreeMap<EventId, Timestamp>,
    /// Whether it ever lied in a way that cannot be told from an honest answer.
    lied: bool,
    sessions: BTreeMap<ConnId, Session>,
    requests: u32,
}

/// What it keeps of a connection.
#[derive(Debug, Default)]
struct Session {
    live: BTreeMap<SubId, Vec<Filter>>,
    negs: BTreeMap<NegId, reconcile::Responder>,
    sent: u32,
}

impl SimRelay {
    /// A relay that holds nothing.
    pub fn new(url: RelayUrl, nature: Nature) -> Self {
        Self {
            url,
            nature,
            faults: Faults::default(),
            store: Events::default(),
            arrived: BTreeMap::new(),
            lied: false,
            sessions: BTreeMap::new(),
            requests: 0,
        }
    }

    /// Whether all that it ever answered can be taken at its word.
    pub fn is_honest(&self) -> bool {
        !self.lied
    }

    /// Does these things wrong from now on, and nothing else. What it is like stays.
    pub fn misbehave(&mut self, faults: Faults) {
        self.lied |= faults.bad_signatures > 0 || !faults.withheld.is_empty();
        self.faults = faults;
    }

    /// What it had before this second and still has.
    pub fn held(&self, as_of: Timestamp) -> impl Iterator<Item = &Arc<Event>> {
        self.store.iter().filter(move |event| self.arrived[&event.id] < as_of)
    }

    /// Ends every connection.
    pub fn close_all(&mut self) {
        self.sessions.clear();
    }

    /// Open subscriptions and reconciliations of a connection.
    pub fn open_on(&self, conn: ConnId) -> usize {
        self.sessions.get(&conn).map_or(0, |session| session.live.len() + session.negs.len())
    }

    /// A connection begins.
    pub fn open(&mut self, conn: ConnId) {
        self.sessions.insert(conn, Session::default());
    }

    /// A connection ended.
    pub fn close(&mut self, conn: ConnId) {
        self.sessions.remove(&conn);
    }

    /// Whether the connection ends before one more frame is sent on it.
    pub fn drops_now(&mut self, conn: ConnId) -> bool {
        let Some(session) = self.sessions.get_mut(&conn) else { return true };
        session.sent += 1;
        self.faults.drop_after.is_some_and(|limit| session.sent > limit)
    }

    /// Puts an event in and tells whoever has a matching subscription open.
    pub fn publish(&mut self, event: &Arc<Event>, wall: Timestamp) -> Vec<(ConnId, Answer)> {
        if !matches!(self.store.insert(Arc::clone(event), wall), Inserted::Stored(_)) {
            return Vec::new();
        }
        self.arrived.insert(event.id, wall);
        let mut out = Vec::new();
        for (conn, session) in &self.sessions {
            for (sub, filters) in &session.live {
                if matches_any(filters, event) {
                    let frame = ToClient::Event(*sub, Arc::clone(event));
                    out.push((*conn, (Duration::ZERO, frame)));
                }
            }
        }
        out
    }

    /// Answers a frame.
    pub fn on_frame(
        &mut self,
        conn: ConnId,
        frame: ToRelay,
        entropy: &mut impl Entropy,
    ) -> Vec<Answer> {
        if self.faults.frozen || !self.sessions.contains_key(&conn) {
            return Vec::new();
        }
        match frame {
            ToRelay::Req(sub, filters) => self.on_req(conn, sub, filters, entropy),
            ToRelay::NegOpen(neg, filter, message) => {
                self.on_neg_open(conn, neg, &filter, &message)
            }
            ToRelay::NegMsg(neg, message) => self.on_neg_msg(conn, neg, &message),
            ToRelay::Close(sub) => {
                self.session(conn).live.remove(&sub);
                Vec::new()
            }
            ToRelay::NegClose(neg) => {
                self.session(conn).negs.remove(&neg);
                Vec::new()
            }
        }
    }

    fn session(&mut self, conn: ConnId) -> &mut Session {
        self.sessions.get_mut(&conn).expect("checked before a frame is answered")
    }

    fn on_req(
        &mut self,
        conn: ConnId,
        sub: SubId,
        filters: Vec<Filter>,
        entropy: &mut impl Entropy,
    ) -> Vec<Answer> {
        self.requests += 1;
        let now = Duration::ZERO;
        if let Some((every, by)) = self.faults.limited
            && self.requests.is_multiple_of(every)
        {
            let text = "rate-limited: slow down, please".to_owned();
            return vec![match by {
                LimitedBy::Notice => (now, ToClient::Notice(text)),
                LimitedBy::Closed => (now, ToClient::Closed(sub, text)),
            }];
        }
        if let Some((share, text)) = self.faults.closed
            && entropy.chance(share)
        {
            return vec![(now, ToClient::Closed(sub, text.to_owned()))];
        }
        let open = self.open_on(conn);
        if self.nature.subscriptions.is_some_and(|most| open >= most) {
            return vec![(now, ToClient::Notice("too many concurrent REQs".to_owned()))];
        }
        let (events, more) = self.answer(&filters, entropy);
        self.session(conn).live.insert(sub, filters);
        let mut answers = Vec::new();
        for event in events {
            self.serve(sub, event, entropy, &mut answers);
        }
        if entropy.chance(self.faults.off_filter)
            && let Some(event) = self.store.iter().next()
        {
            answers.push((now, ToClient::Event(sub, Arc::clone(event))));
        }
        if entropy.chance(self.faults.unsolicited)
            && let Some(event) = self.store.iter().next_back()
        {
            answers.push((now, ToClient::Event(SubId(900_000), Arc::clone(event))));
        }
        let hints = match self.nature.hints {
            true => EoseHints { finish: !more, more },
            false => EoseHints::default(),
        };
        let eose = ToClient::Eose(sub, hints);
        match self.faults.eose {
            EosePlan::Normal => answers.push((now, eose)),
            EosePlan::Missing => {}
            EosePlan::Doubled => answers.extend([(now, eose.clone()), (now, eose)]),
            EosePlan::Late(by) => answers.push((by, eose)),
        }
        answers
    }

    /// Stored events of these filters, each within its limit and the cap; whether one was cut.
    fn answer(&self, filters: &[Filter], entropy: &mut impl Entropy) -> (Vec<Arc<Event>>, bool) {
        let mut seen = BTreeSet::new();
        let (mut events, mut more) = (Vec::new(), false);
        for filter in filters {
            let cap = self.nature.cap.unwrap_or(usize::MAX);
            let most = filter.limit.unwrap_or(usize::MAX).min(cap);
            let mut matching = self.store.matching(filter);
            let page: Vec<_> = matching.by_ref().take(most).cloned().collect();
            more |= filter.limit != Some(0) && matching.next().is_some();
            events.extend(page.into_iter().filter(|event| seen.insert(event.id)));
        }
        events.retain(|event| !self.faults.withheld.contains(&event.id));
        if self.nature.shuffled {
            for at in (1..events.len()).rev() {
                events.swap(at, entropy.index(at + 1));
            }
        }
        (events, more)
    }

    fn serve(
        &self,
        sub: SubId,
        event: Arc<Event>,
        entropy: &mut impl Entropy,
        answers: &mut Vec<Answer>,
    ) {
        let now = Duration::ZERO;
        if entropy.chance(self.faults.forged) {
            let mut forged = (*event).clone();
            forged.content.push_str(" (not by its author)");
            answers.push((now, ToClient::Event(sub, Arc::new(forged))));
        }
        // Which events come badly signed depends on their id only: asking again does not help.
        if is_drawn(&event.id, self.faults.bad_signatures) {
            let mut bad = (*event).clone();
            bad.sig = Signature::from_byte_array([1; 64]);
            answers.push((now, ToClient::Event(sub, Arc::new(bad))));
            return;
        }
        if entropy.chance(self.faults.duplicates) {
            answers.push((now, ToClient::Event(sub, Arc::clone(&event))));
        }
        answers.push((now, ToClient::Event(sub, event)));
    }

    fn on_neg_open(
        &mut self,
        conn: ConnId,
        neg: NegId,
        filter: &Filter,
        message: &str,
    ) -> Vec<Answer> {
        let now = Duration::ZERO;
        match self.faults.negentropy.unwrap_or(self.nature.negentropy) {
            Negentropy::Speaks => {
                let items =
                    self.store.matching(filter).map(|event| (event.created_at, event.id)).collect();
                self.session(conn).negs.insert(neg, reconcile::Responder::new(items));
                self.on_neg_msg(conn, neg, message)
            }
            Negentropy::Ignored => Vec::new(),
            Negentropy::Notice => {
                vec![(now, ToClient::Notice("could not parse command".to_owned()))]
            }
            Negentropy::Error => {
                vec![(now, ToClient::NegErr(neg, "blocked: no negentropy here".to_owned()))]
            }
            Negentropy::Closed => {
                vec![(now, ToClient::Closed(SubId(neg.0), "unsupported: NEG-OPEN".to_owned()))]
            }
            Negentropy::Garbage => vec![(now, ToClient::NegMsg(neg, "6100zz".to_owned()))],
        }
    }

    fn on_neg_msg(&mut self, conn: ConnId, neg: NegId, message: &str) -> Vec<Answer> {
        let Some(responder) = self.session(conn).negs.get(&neg) else {
            let text = "closed: unknown session".to_owned();
            return vec![(Duration::ZERO, ToClient::NegErr(neg, text))];
        };
        let frame = match responder.answer(message) {
            Some(reply) => ToClient::NegMsg(neg, reply),
            None => ToClient::NegErr(neg, "invalid: cannot read this message".to_owned()),
        };
        vec![(Duration::ZERO, frame)]
    }
}

/// Whether an event matches one of these filters.
pub fn matches_any(filters: &[Filter], event: &Event) -> bool {
    filters.iter().any(|filter| filter.match_event(event, MatchEventOptions::default()))
}

/// Whether an id falls into a share of a thousand.
fn is_drawn(id: &EventId, per_thousand: u32) -> bool {
    let bytes = id.as_bytes();
    u32::from(u16::from_be_bytes([bytes[0], bytes[1]])) * 1_000 < per_thousand << 16
}

#[cfg(test)]
mod tests;
