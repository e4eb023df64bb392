//! The registry as the observer of connections and of the ingest pipeline.

use std::sync::Arc;
use std::time::Duration;

use nostr::event::Kind;
use sync_core::admit::rejected::{EventType, HotCounts};
use sync_core::command::Purpose;
use sync_core::id::RelayId;
use sync_core::wire::FrameType;

use super::error::Code;
use super::labels::{
    ApplyStage, DialStage, Outcome, Received, RejectedClass, Resolution, Sent, StoreOp,
};
use super::{Registry, RelayObs};
use crate::api::WallMs;
use crate::connection::{ConnObserver, NoObserver};
use crate::dial::StageTimings;
use crate::ingest;
use crate::store::Swept;

/// The meter of one connection: it holds the relay's counters.
struct ConnMeter {
    registry: Registry,
    relay: Arc<RelayObs>,
}

impl Registry {
    /// The observer for a new connection of a relay; one that measures nothing when the relay is
    /// not tracked.
    pub fn connection(&self, relay: RelayId) -> Arc<dyn ConnObserver> {
        match self.relay(relay) {
            Some(relay) => Arc::new(ConnMeter { registry: self.clone(), relay }),
            None => Arc::new(NoObserver),
        }
    }
}

impl ConnObserver for ConnMeter {
    fn dialed(&self, timings: &StageTimings) {
        for (stage, took) in [
            (DialStage::Dns, timings.dns),
            (DialStage::Tcp, timings.tcp),
            (DialStage::Tls, timings.tls),
            (DialStage::Upgrade, timings.upgrade),
        ] {
            if let Some(took) = took {
                self.registry.dial_stage(stage, took);
            }
        }
    }

    fn sent(&self, frame: &'static str, bytes: usize) {
        let what = match frame {
            "REQ" => Sent::Req,
            "CLOSE" => Sent::Close,
            "NEG-OPEN" => Sent::NegOpen,
            "NEG-MSG" => Sent::NegMsg,
            "NEG-CLOSE" => Sent::NegClose,
            "AUTH" => Sent::Auth,
            "PING" => Sent::Ping,
            _ => Sent::Event,
        };
        self.relay.sent(what, bytes);
        // A session sends one message a round.
        if matches!(what, Sent::NegOpen | Sent::NegMsg) {
            self.relay.negentropy_round();
        }
    }

    fn received(&self, frame: FrameType, bytes: usize) {
        let what = match frame {
            FrameType::Event => Received::Event,
            FrameType::Eose => Received::Eose,
            FrameType::Closed => Received::Closed,
            FrameType::Notice => Received::Notice,
            FrameType::Ok => Received::Ok,
            FrameType::Auth => Received::Auth,
            FrameType::NegMsg => Received::NegMsg,
            FrameType::NegErr => Received::NegErr,
            FrameType::Count | FrameType::Unknown => Received::Other,
        };
        self.relay.received(what, bytes, self.registry.now());
        if frame == FrameType::Event {
            self.relay.events_received(1);
        }
    }

    fn rtt(&self, rtt: Duration) {
        self.relay.received(Received::Pong, 0, self.registry.now());
        self.relay.round_trip(rtt);
    }

    fn first_answer(&self, purpose: Option<Purpose>, after: Duration) {
        self.registry.first_event(purpose.is_none(), after);
    }

    fn unsolicited(&self, frame: FrameType) {
        self.dropped(frame, Outcome::Dropped);
    }

    fn malformed(&self, frame: FrameType) {
        self.dropped(frame, Outcome::Invalid);
    }

    fn oversize(&self, frame: FrameType, _bytes: usize) {
        self.dropped(frame, Outcome::Dropped);
    }

    fn off_filter(&self) {
        self.dropped(FrameType::Event, Outcome::Dropped);
    }
}

impl ConnMeter {
    /// An event ended before the pipeline, where nobody looks at its kind.
    fn dropped(&self, frame: FrameType, outcome: Outcome) {
        if frame == FrameType::Event {
            self.registry.outcome(Some(&self.relay), None, outcome);
        }
    }
}

impl ingest::Observer for Registry {
    fn settled(&self, event: &ingest::SettledEvent) {
        // What clients and the embedder write has no relay and is not synced.
        let Some(relay) = event.relay.and_then(|relay| self.relay(relay)) else { return };
        let kind = event.kind.as_u16();
        let outcome = match event.outcome {
            ingest::EventOutcome::Stored => {
                let at = WallMs::from(event.wall);
                self.stored(Some(&relay), kind, event.source, at);
                self.live_delay_of(event);
                return;
            }
            ingest::EventOutcome::Duplicate => Outcome::Duplicate,
            ingest::EventOutcome::Rejected => Outcome::Rejected,
            ingest::EventOutcome::Invalid => Outcome::Invalid,
            ingest::EventOutcome::Dropped => Outcome::Dropped,
            ingest::EventOutcome::Failed => Outcome::Failed,
        };
        self.outcome(Some(&relay), Some(kind), outcome);
        if let Some(reason) = event.reason {
            self.rejection(kind, reason.as_str());
        }
    }

    /// It was received and rejected once, and re-enters as received (spec of outcomes).
    fn revived(&self, event: &ingest::SettledEvent) {
        let Some(relay) = event.relay.and_then(|relay| self.relay(relay)) else { return };
        relay.events_received(1);
        self.stored(Some(&relay), event.kind.as_u16(), event.source, self.now());
    }

    fn conflict(&self, kind: Kind, resolution: ingest::Resolution) {
        let resolution = match resolution {
            ingest::Resolution::NewerCreatedAt => Resolution::Newer,
            ingest::Resolution::LowestIdTiebreak => Resolution::LowestId,
            ingest::Resolution::Deleted => Resolution::Deleted,
        };
        Self::conflict(self, kind.as_u16(), resolution);
    }

    fn stage(&self, stage: ingest::Stage, took: Duration, _events: usize) {
        match stage {
            ingest::Stage::Known => self.store_op(StoreOp::Get, took),
            ingest::Stage::Verify => self.apply_stage(ApplyStage::Verify, took),
            ingest::Stage::Judge => self.apply_stage(ApplyStage::Policy, took),
            ingest::Stage::Commit => {
                self.apply_stage(ApplyStage::Store, took);
                self.store_op(StoreOp::Put, took);
            }
        }
    }

    fn store_failed(&self, full: bool) {
        let code = if full { Code("E502") } else { Code("E501") };
        self.error(code, self.now());
    }

    fn hot(&self, class: EventType, counts: HotCounts) {
        if let Some(class) = rejected_class(class) {
            self.rejected_hot(class, counts);
        }
    }

    fn cold_expired(&self, swept: &Swept) {
        self.rejected_cold_expired(RejectedClass::Announcement, swept.announcements);
        self.rejected_cold_expired(RejectedClass::State, swept.states);
    }
}

impl Registry {
    fn live_delay_of(&self, event: &ingest::SettledEvent) {
        if event.source == sync_core::command::Source::Live {
            let delay = event.wall.as_secs().saturating_sub(event.created_at.as_secs());
            self.live_delay(Duration::from_secs(delay));
        }
    }
}

/// The class of a rejected event, when metrics tell it apart.
fn rejected_class(class: EventType) -> Option<RejectedClass> {
    match class {
        EventType::Announcement => Some(RejectedClass::Announcement),
        EventType::State => Some(RejectedClass::State),
        EventType::Other => None,
    }
}
