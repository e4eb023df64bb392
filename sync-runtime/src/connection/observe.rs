//! What a connection tells whoever measures it.

use std::time::Duration;

use sync_core::command::Purpose;
use sync_core::wire::FrameType;

use crate::dial::StageTimings;

/// Watches one connection. Called from its task for every frame: keep it cheap, never block. All
/// methods do nothing unless implemented.
pub trait ConnObserver: Send + Sync {
    /// The dial succeeded; how long its stages took.
    fn dialed(&self, _timings: &StageTimings) {}
    /// A frame of ours was handed to the socket: `REQ`, `CLOSE`, `NEG-OPEN`, `NEG-MSG`,
    /// `NEG-CLOSE`, `AUTH`, `EVENT` or `PING`.
    fn sent(&self, _frame: &'static str, _bytes: usize) {}
    /// A frame came.
    fn received(&self, _frame: FrameType, _bytes: usize) {}
    /// Bytes on the wire since the last call, TLS and handshakes included.
    fn wire(&self, _received: u64, _sent: u64) {}
    /// A ping was answered.
    fn rtt(&self, _rtt: Duration) {}
    /// A request had its first EVENT or EOSE; `None` for the first NEG-MSG of a session.
    fn first_answer(&self, _purpose: Option<Purpose>, _after: Duration) {}
    /// A frame named no subscription or session of ours (T15).
    fn unsolicited(&self, _frame: FrameType) {}
    /// A frame could not be read and was skipped.
    fn malformed(&self, _frame: FrameType) {}
    /// A frame above its limit was skipped (TALK-5).
    fn oversize(&self, _frame: FrameType, _bytes: usize) {}
    /// An event could not match its subscription.
    fn off_filter(&self) {}
    /// NIP-11 could not be fetched or read.
    fn info_failed(&self) {}
}

/// Measures nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl ConnObserver for NoObserver {}
