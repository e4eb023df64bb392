//! What becomes of a frame (TALK-5, ACPT-1): its size against the limit of its type, the scan, the
//! subscription, the envelope against the filters, the meter, the intake.

use std::sync::Arc;

use nostr::filter::Filter;
use nostr::types::Timestamp;
use serde_json::value::RawValue;
use sync_core::admit::meter::{Breach, EventHead, Verdict};
use sync_core::command::Purpose;
use sync_core::id::{NegId, SubId};
use sync_core::input::{CloseReason, Frame, Input};
use sync_core::item::RelayText;
use sync_core::wire::{self, Envelope, FrameType, RelayFrame};
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use super::Arrival;
use super::task::Connection;

type Result<T = ()> = std::result::Result<T, CloseReason>;

impl Connection {
    /// Takes a text message in.
    pub(super) async fn on_text(&mut self, text: &str) -> Result {
        let (frame_type, sub) = wire::head(text);
        self.observer.received(frame_type, text.len());
        if text.len() as u64 > self.limit(frame_type) {
            return self.on_oversize(frame_type, sub, text.len()).await;
        }
        match wire::scan(text) {
            Ok(RelayFrame::Event { sub, event }) => self.on_event(sub, event, text.len()).await,
            Ok(frame) => self.on_control(frame, text.len()).await,
            Err(_) => self.on_malformed(frame_type, sub, text.len()).await,
        }
    }

    fn limit(&self, frame_type: FrameType) -> u64 {
        let limits = &self.context.config.limits;
        match frame_type {
            FrameType::Event => limits.event_bytes.0,
            FrameType::NegMsg => limits.neg_bytes.0,
            FrameType::Eose
            | FrameType::Closed
            | FrameType::Notice
            | FrameType::Ok
            | FrameType::Auth
            | FrameType::NegErr
            | FrameType::Count
            | FrameType::Unknown => limits.frame_bytes.0,
        }
    }

    async fn on_oversize(
        &mut self,
        frame_type: FrameType,
        sub: Option<SubId>,
        bytes: usize,
    ) -> Result {
        self.observer.oversize(frame_type, bytes);
        match (frame_type, sub) {
            (FrameType::Event, sub) => {
                let breach = self.meter.on_oversize(sub, bytes as u64);
                self.arm_flush();
                self.on_breach(sub, breach).await
            }
            (FrameType::NegMsg, Some(SubId(number))) => {
                match self.sessions.on_oversize(NegId(number)) {
                    Some(outcome) => self.act(outcome).await,
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    async fn on_malformed(
        &mut self,
        frame_type: FrameType,
        sub: Option<SubId>,
        bytes: usize,
    ) -> Result {
        self.observer.malformed(frame_type);
        if frame_type != FrameType::Event {
            return Ok(());
        }
        let breach = self.meter.on_malformed(sub, bytes as u64);
        self.on_breach(sub, breach).await
    }

    async fn on_event(&mut self, sub: Option<SubId>, event: &RawValue, bytes: usize) -> Result {
        let Ok(envelope) = wire::envelope(event) else {
            return self.on_malformed(FrameType::Event, sub, bytes).await;
        };
        let head = EventHead {
            id: envelope.id,
            author: Some(envelope.pubkey),
            created_at: envelope.created_at,
            kind: envelope.kind,
        };
        let judgement = self.meter.on_event(self.elapsed(), sub, &head, event.get());
        self.arm_flush();
        if let Some(sub) = sub {
            self.first_answer(sub);
        }
        match (judgement.verdict, sub) {
            (Verdict::New | Verdict::Duplicate, Some(sub)) => {
                self.hand_over(sub, envelope, event.get()).await?;
            }
            (Verdict::OffFilter, Some(sub)) => {
                self.observer.off_filter();
                *self.off_filter.entry(sub).or_default() += 1;
            }
            (Verdict::Unsolicited, _) | (_, None) => {
                self.observer.unsolicited(FrameType::Event);
            }
        }
        if self.meter.wants_flush() {
            self.flush().await?;
        }
        self.on_breach(sub, judgement.breach).await
    }

    /// Gives an event to the intake; when that is full the reading stops with this event held.
    async fn hand_over(&mut self, sub: SubId, envelope: Envelope, json: &str) -> Result {
        let Some((purpose, filters)) = self.meter.subscription(sub) else { return Ok(()) };
        // Late events of a closed subscription are rare; their filters are copied.
        let late = |filters: &[Filter]| Arc::from(filters.to_vec());
        let filters =
            self.subs.get(&sub).map_or_else(|| late(filters), |open| open.filters.clone());
        let arrival = Arrival {
            conn: self.conn,
            sub,
            purpose,
            live: self.meter.is_live(sub),
            filters,
            envelope,
            json: json.into(),
            at: Instant::now(),
            wall: Timestamp::now(),
            standing: match purpose {
                Purpose::Live => None,
                Purpose::Page { .. } | Purpose::Ids { .. } => self.standing.clone(),
            },
            place: Arc::clone(&self.places).try_acquire_owned().ok().map(Arc::new),
            feedback: Some(self.feedback.clone()),
        };
        if arrival.place.is_none() {
            return self.hold(arrival).await;
        }
        match self.context.intake.try_send(arrival) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(arrival)) => self.hold(arrival).await,
            Err(TrySendError::Closed(_)) => Err(CloseReason::Local),
        }
    }

    /// Stops reading until there is room for this event.
    async fn hold(&mut self, arrival: Arrival) -> Result {
        self.held = Some(Arrival { place: None, ..arrival });
        self.tell(Input::Stalled { conn: self.conn }).await
    }

    async fn on_breach(&mut self, sub: Option<SubId>, breach: Option<Breach>) -> Result {
        match (breach, sub) {
            (None, _) => Ok(()),
            (Some(Breach::Flood), _) => Err(CloseReason::Flood),
            (Some(Breach::RequestBudget), Some(sub)) => {
                // T5: the tallies tell the core that the budget is used up.
                self.flush().await?;
                self.unsubscribe(sub).await
            }
            (Some(Breach::RequestBudget), None) => Ok(()),
        }
    }

    async fn on_control(&mut self, frame: RelayFrame<'_>, bytes: usize) -> Result {
        match frame {
            RelayFrame::NegMsg { neg, hex } => {
                let first = neg.and_then(|neg| self.sessions.first_answer(neg));
                if let Some(after) = first {
                    self.observer.first_answer(None, after);
                }
                if !neg.is_some_and(|neg| self.sessions.on_message(neg, &hex, bytes)) {
                    self.observer.unsolicited(FrameType::NegMsg);
                }
                Ok(())
            }
            RelayFrame::Eose { sub: Some(sub), hints } if self.is_known(sub) => {
                self.first_answer(sub);
                self.meter.on_eose(sub, &mut self.tallies);
                self.on_answered(sub);
                self.send_tallies().await?;
                self.tell_frame(Frame::Eose { sub, hints }).await
            }
            RelayFrame::Closed { sub: Some(sub), text } if self.is_known(sub) => {
                self.flush().await?;
                self.forget(sub);
                self.tell_frame(Frame::Closed { sub, text: RelayText::new(&text) }).await
            }
            RelayFrame::NegErr { neg: Some(neg), text, limit } if self.sessions.remove(neg) => {
                let text = RelayText::new(&text);
                self.tell_after_flush(Frame::NegErr { neg, text, limit }).await
            }
            RelayFrame::Notice { text } => {
                self.tell_after_flush(Frame::Notice { text: RelayText::new(&text) }).await
            }
            RelayFrame::Ok { id, accepted, text } => {
                let text = RelayText::new(&text);
                self.tell_after_flush(Frame::Ok { id, accepted, text }).await
            }
            RelayFrame::Auth { challenge } => {
                match self.auth.on_challenge(&challenge, Instant::now()) {
                    Some(challenge) => self.tell_after_flush(Frame::Auth { challenge }).await,
                    None => Ok(()),
                }
            }
            frame @ (RelayFrame::Eose { .. }
            | RelayFrame::Closed { .. }
            | RelayFrame::NegErr { .. }
            | RelayFrame::Event { .. }
            | RelayFrame::Count
            | RelayFrame::Unknown) => {
                self.observer.unsolicited(frame.frame_type());
                Ok(())
            }
        }
    }

    /// Whether the number is of a subscription that is open or was lately, or of a session (T15).
    fn is_known(&self, sub: SubId) -> bool {
        self.meter.subscription(sub).is_some() || self.sessions.contains(NegId(sub.0))
    }

    async fn tell_after_flush(&mut self, frame: Frame) -> Result {
        self.flush().await?;
        self.tell_frame(frame).await
    }

    async fn tell_frame(&mut self, frame: Frame) -> Result {
        self.tell(Input::Frame { conn: self.conn, frame }).await
    }
}
