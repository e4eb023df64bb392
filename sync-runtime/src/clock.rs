//! The clocks of the process: the monotonic one drives deadlines, the wall clock dates claims
//! (T25). The core sees both as inputs only.

use std::time::{SystemTime, UNIX_EPOCH};

use nostr::types::Timestamp;
use sync_core::time::Instant;

/// Both clocks since the core began.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: tokio::time::Instant,
}

impl Clock {
    /// The core begins now.
    pub fn start() -> Self {
        Self { began: tokio::time::Instant::now() }
    }

    /// The core's time.
    pub fn now(&self) -> Instant {
        Instant::from_micros(self.began.elapsed().as_micros() as u64)
    }

    /// When an instant of the core is.
    pub fn at(&self, instant: Instant) -> tokio::time::Instant {
        self.began + std::time::Duration::from_micros(instant.as_micros())
    }

    /// Wall time in whole seconds.
    pub fn wall() -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_secs(since.as_secs())
    }
}
