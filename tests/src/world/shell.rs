//! What the shell does: commands become frames and dials, frames become inputs (F1 to F4).

use std::sync::Arc;
use std::time::Duration;

use nostr::event::Event;
use nostr::filter::Filter;
use sync_core::admit::meter::{Breach, EventHead, Meter, Verdict};
use sync_core::admit::reconcile::{Reconciler, Step};
use sync_core::command::{Command, NegLimits, Purpose};
use sync_core::event::Event as Emitted;
use sync_core::id::{ConnId, NegId, SubId};
use sync_core::input::{CloseReason, DialError, DialErrorKind, Frame, InfoLimits, Input};
use sync_core::item::{Range, RelayText};
use sync_core::tally::EventTally;
use sync_core::url::RelayUrl;

use super::link::{Link, Negotiation};
use super::{Happening, World};
use crate::entropy::Entropy;
use crate::sim::faults::{DialPlan, Negentropy};
use crate::sim::plane::Received;
use crate::sim::relay::{ToClient, ToRelay};

/// F2: how long a tally waits at most.
const FLUSH_AFTER: Duration = Duration::from_millis(20);
/// Events settled in one commit at most.
const COMMIT: usize = 256;

impl World {
    pub(super) fn execute(&mut self, command: Command) {
        match command {
            Command::Dial { conn, url, .. } => self.dial(conn, &url),
            Command::Hangup { conn } => self.hang_up(conn),
            Command::Subscribe { conn, sub, filters, purpose } => {
                let Some(link) = self.links.get_mut(&conn) else { return };
                link.meter.on_subscribe(sub, &filters, purpose);
                if matches!(purpose, Purpose::Ids { .. }) {
                    link.by_id.push(sub);
                }
                self.send(conn, ToRelay::Req(sub, filters));
            }
            Command::Unsubscribe { conn, sub } => {
                self.end_sub(conn, sub);
                self.send(conn, ToRelay::Close(sub));
            }
            Command::Reconcile { conn, neg, filter, range, limits } => {
                self.reconcile(conn, neg, filter, range, limits);
            }
            Command::StopReconcile { conn, neg } => {
                let link = self.links.get_mut(&conn);
                if link.is_some_and(|link| link.negs.remove(&neg).is_some()) {
                    self.send(conn, ToRelay::NegClose(neg));
                }
            }
            Command::Emit(Emitted::Ended) => self.ended = true,
            Command::Persist(change) => self.persist(change),
            // The world has no keys and no own relay.
            Command::Emit(_) | Command::Authenticate { .. } | Command::Publish { .. } => {}
        }
    }

    fn dial(&mut self, conn: ConnId, url: &RelayUrl) {
        let config = &self.setup.config.dial;
        let hang = *config.dns_timeout
            + *config.tcp_timeout
            + *config.tls_timeout
            + *config.upgrade_timeout;
        let relay = self.relays.iter().find(|relay| relay.url == *url);
        let round = relay.map_or(Duration::ZERO, |relay| 3 * relay.nature.latency);
        let (after, result) = match relay.map(|relay| (relay.faults.dial, relay.faults.frozen)) {
            None => (Duration::from_millis(5), Err(DialErrorKind::Dns)),
            Some((DialPlan::Fails(kind), _)) => (round, Err(kind)),
            Some((DialPlan::Hangs, _) | (DialPlan::Ok, true)) => {
                (hang, Err(DialErrorKind::Timeout))
            }
            Some((DialPlan::Ok, false)) => (round, Ok(())),
        };
        let result = result.map_err(|kind| DialError { kind, detail: RelayText::default() });
        self.schedule(self.now + after, Happening::Dialed(conn, result));
    }

    fn hang_up(&mut self, conn: ConnId) {
        self.flush(conn);
        if let Some(link) = self.links.remove(&conn) {
            self.relays[link.relay].close(conn);
        }
        self.queue.retain(|_, h| !matches!(h, Happening::Dialed(of, _) if *of == conn));
        self.schedule(self.now + Duration::from_millis(1), Happening::HungUp(conn));
    }

    /// Puts a frame on its way to the relay.
    fn send(&mut self, conn: ConnId, frame: ToRelay) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.up = link.up.max(self.now + self.relays[link.relay].nature.latency);
        let at = link.up;
        self.schedule(at, Happening::AtRelay(conn, frame));
    }

    fn reconcile(
        &mut self,
        conn: ConnId,
        neg: NegId,
        filter: Filter,
        range: Range,
        limits: NegLimits,
    ) {
        let items = self.plane.have(&filter, range, self.wall());
        let filter = filter.since(range.since).until(range.until);
        let overhead = serde_json::to_string(&filter).map_or(0, |json| json.len()) + 64;
        let Some(link) = self.links.get_mut(&conn) else { return };
        let mut reconciler = Reconciler::new(items, range, limits, overhead);
        let message = reconciler.open();
        let bytes = message.len() as u64;
        link.negs.insert(neg, Negotiation { reconciler, bytes });
        self.send(conn, ToRelay::NegOpen(neg, filter, message));
    }

    pub(super) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Scenario(action) => self.act(action),
            Happening::Dialed(conn, result) => self.dialed(conn, result),
            Happening::AtRelay(conn, frame) => self.at_relay(conn, frame),
            Happening::Sends(conn, frame) => self.sends(conn, frame),
            Happening::AtClient(conn, frame) => self.at_client(conn, frame),
            Happening::Info(conn) => self.info(conn),
            Happening::Lost(conn, reason) => self.lose(conn, reason),
            Happening::HungUp(conn) => {
                self.deliver(Input::Closed { conn, reason: CloseReason::Local });
            }
            Happening::Flush(conn) => {
                if let Some(link) = self.links.get_mut(&conn) {
                    link.flushing = false;
                }
                self.flush(conn);
                self.deliver_inbox();
            }
            Happening::Settle => self.settle(),
            Happening::Commit => self.commit(),
            Happening::Silent(conn) => {
                let link = self.links.get(&conn);
                if link.is_some_and(|link| self.relays[link.relay].faults.frozen) {
                    self.lose(conn, CloseReason::Silence);
                }
            }
        }
    }

    fn dialed(&mut self, conn: ConnId, result: Result<(), DialError>) {
        if result.is_ok()
            && let Some(url) = self.core.relay_url(conn.relay)
            && let Some(relay) = self.relays.iter().position(|relay| relay.url == *url)
        {
            self.relays[relay].open(conn);
            let meter = Meter::new(conn, &self.setup.config.limits);
            self.links.insert(conn, Link::new(relay, meter, self.now));
            self.schedule(self.now + self.relays[relay].nature.latency, Happening::Info(conn));
        }
        self.deliver(Input::Dialed { conn, result });
    }

    fn info(&mut self, conn: ConnId) {
        let Some(link) = self.links.get(&conn) else { return };
        let speaks = self.relays[link.relay].nature.negentropy == Negentropy::Speaks;
        let limits = InfoLimits { negentropy: Some(speaks), ..InfoLimits::default() };
        self.deliver(Input::RelayInfo { conn, limits, self_key: None });
    }

    fn at_relay(&mut self, conn: ConnId, frame: ToRelay) {
        let Some(link) = self.links.get(&conn) else { return };
        let answers = self.relays[link.relay].on_frame(conn, frame, &mut self.entropy);
        for (after, frame) in answers {
            match after {
                Duration::ZERO => self.sends(conn, frame),
                after => self.schedule(self.now + after, Happening::Sends(conn, frame)),
            }
        }
    }

    /// The relay sends a frame, unless its connection ends first.
    fn sends(&mut self, conn: ConnId, frame: ToClient) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let relay = &mut self.relays[link.relay];
        if relay.faults.frozen {
            return;
        }
        let way = relay.nature.latency + self.entropy.span(Duration::ZERO, relay.faults.jitter);
        link.down = link.down.max(self.now + way);
        let at = link.down;
        let happening = match relay.drops_now(conn) {
            true => Happening::Lost(conn, CloseReason::Remote(RelayText::default())),
            false => Happening::AtClient(conn, frame),
        };
        self.schedule(at, happening);
    }

    pub(super) fn lose(&mut self, conn: ConnId, reason: CloseReason) {
        if !self.links.contains_key(&conn) {
            return;
        }
        self.flush(conn); // F3
        self.deliver_inbox();
        if let Some(link) = self.links.remove(&conn) {
            self.relays[link.relay].close(conn);
            self.deliver(Input::Closed { conn, reason });
        }
    }

    pub(super) fn conns_of(&self, relay: usize) -> Vec<ConnId> {
        let of = self.links.iter().filter(|(_, link)| link.relay == relay);
        of.map(|(conn, _)| *conn).collect()
    }

    fn at_client(&mut self, conn: ConnId, frame: ToClient) {
        let frame = match frame {
            ToClient::Event(sub, event) => return self.on_event(conn, sub, &event),
            ToClient::NegMsg(neg, message) => return self.on_neg_msg(conn, neg, &message),
            ToClient::Eose(sub, hints) => {
                let Some(link) = self.links.get_mut(&conn) else { return };
                let mut tallies = Vec::new();
                link.meter.on_eose(sub, &mut tallies);
                self.push(tallies);
                Frame::Eose { sub, hints }
            }
            ToClient::Closed(sub, text) => {
                self.end_sub(conn, sub);
                if let Some(link) = self.links.get_mut(&conn) {
                    link.negs.remove(&NegId(sub.0));
                }
                Frame::Closed { sub, text: RelayText::new(&text) }
            }
            ToClient::Notice(text) => Frame::Notice { text: RelayText::new(&text) },
            ToClient::NegErr(neg, text) => {
                let link = self.links.get_mut(&conn);
                // An error of a session that is over is not the core's affair.
                if link.is_none_or(|link| link.negs.remove(&neg).is_none()) {
                    return;
                }
                Frame::NegErr { neg, text: RelayText::new(&text), limit: None }
            }
        };
        if !self.links.contains_key(&conn) {
            return;
        }
        self.flush(conn); // F1
        self.deliver_inbox();
        self.deliver(Input::Frame { conn, frame });
    }

    fn on_event(&mut self, conn: ConnId, sub: SubId, event: &Arc<Event>) {
        let now = self.core_now();
        let Some(link) = self.links.get_mut(&conn) else { return };
        let head = EventHead {
            id: event.id,
            author: Some(event.pubkey),
            created_at: event.created_at,
            kind: event.kind,
        };
        let judged = link.meter.on_event(now, Some(sub), &head, &event.as_json());
        let flood = judged.breach == Some(Breach::Flood);
        if judged.verdict != Verdict::Unsolicited
            && let Some((_, filters)) = link.meter.subscription(sub)
        {
            let received = Received {
                conn,
                sub,
                relay: self.relays[link.relay].url.clone(),
                event: Arc::clone(event),
                filters: Arc::new(filters.to_vec()),
                track_ids: link.by_id.contains(&sub),
            };
            self.pipeline.push_back(received);
        }
        let (full, timer) = (link.meter.wants_flush(), !link.flushing);
        link.flushing = true;
        if !self.settling && !self.pipeline.is_empty() {
            self.settling = true;
            self.schedule(self.now + self.store_delay, Happening::Settle);
        }
        if flood {
            return self.lose(conn, CloseReason::Flood);
        }
        if full {
            self.flush(conn);
            self.deliver_inbox();
        } else if timer {
            self.schedule(self.now + FLUSH_AFTER, Happening::Flush(conn));
        }
    }

    fn on_neg_msg(&mut self, conn: ConnId, neg: NegId, message: &str) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let Some(negotiation) = link.negs.get_mut(&neg) else { return };
        negotiation.bytes += message.len() as u64;
        let step = negotiation.reconciler.on_message(message);
        if let Step::Send(answer) = &step {
            negotiation.bytes += answer.len() as u64;
        }
        let (bytes, need) = (negotiation.bytes, negotiation.reconciler.need());
        let round = negotiation.reconciler.rounds();
        self.flush(conn);
        self.deliver_inbox();
        match step {
            Step::Send(answer) => {
                self.send(conn, ToRelay::NegMsg(neg, answer));
                self.deliver(Input::NegRound { conn, neg, round, bytes, need });
            }
            Step::End(outcome) => {
                let ended = self.links.get_mut(&conn).and_then(|link| link.negs.remove(&neg));
                let Some(ended) = ended else { return };
                self.send(conn, ToRelay::NegClose(neg));
                let found = ended.reconciler.into_found();
                let (need, have) = (found.need, found.have);
                self.deliver(Input::Reconciled { conn, neg, need, have, bytes, outcome });
            }
        }
    }

    fn end_sub(&mut self, conn: ConnId, sub: SubId) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let mut tallies = Vec::new();
        link.meter.on_unsubscribe(sub, &mut tallies);
        self.push(tallies);
    }

    fn flush(&mut self, conn: ConnId) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let mut tallies = Vec::new();
        link.meter.flush(&mut tallies);
        self.push(tallies);
    }

    fn push(&mut self, tallies: Vec<EventTally>) {
        self.inbox.extend(tallies.into_iter().map(Input::Events));
    }

    fn deliver_inbox(&mut self) {
        while let Some(input) = self.inbox.pop_front() {
            self.deliver(input);
        }
    }

    fn settle(&mut self) {
        let batch: Vec<Received> = self.pipeline.drain(..self.pipeline.len().min(COMMIT)).collect();
        self.settling = !self.pipeline.is_empty();
        if self.settling {
            self.schedule(self.now + self.store_delay, Happening::Settle);
        }
        // What settles was received before, also where its tally was not handed in yet.
        let mut conns: Vec<ConnId> = batch.iter().map(|received| received.conn).collect();
        conns.dedup();
        for conn in conns {
            self.flush(conn);
        }
        self.deliver_inbox();
        let inputs = self.plane.settle(batch, self.core_now(), self.wall());
        self.commit();
        for input in inputs {
            self.deliver(input);
        }
    }
}
