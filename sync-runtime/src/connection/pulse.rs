//! Whether the other side still lives: pings, and how long no byte came (CONN-6).

use std::time::Duration;

use tokio::time::Instant;

/// Pings and silence of one connection.
#[derive(Debug)]
pub(super) struct Pulse {
    ping_every: Duration,
    dead_after: Duration,
    next_ping: Instant,
    /// Bytes received when a change was last seen, and when.
    seen: (u64, Instant),
    /// The number of the last ping, and when it was sent, until it is answered.
    count: u64,
    asked: Option<Instant>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing.
    Quiet,
    /// Send a ping with this payload.
    Ping([u8; 8]),
    /// Nothing came for too long.
    Dead,
}

impl Pulse {
    pub(super) fn new(ping_every: Duration, dead_after: Duration, now: Instant) -> Self {
        Self {
            ping_every,
            dead_after,
            next_ping: now + ping_every,
            seen: (0, now),
            count: 0,
            asked: None,
        }
    }

    /// When [`Pulse::beat`] is to be called at the latest.
    pub(super) fn deadline(&self) -> Instant {
        self.next_ping.min(self.seen.1 + self.dead_after)
    }

    /// The counter of received bytes was read.
    pub(super) fn on_bytes(&mut self, received: u64, now: Instant) {
        if received != self.seen.0 {
            self.seen = (received, now);
        }
    }

    /// What is due `now`, after `received` bytes in all.
    pub(super) fn beat(&mut self, received: u64, now: Instant) -> Beat {
        self.on_bytes(received, now);
        if now >= self.seen.1 + self.dead_after {
            return Beat::Dead;
        }
        if now < self.next_ping {
            return Beat::Quiet;
        }
        self.next_ping = now + self.ping_every;
        self.count += 1;
        self.asked = Some(now);
        Beat::Ping(self.count.to_be_bytes())
    }

    /// A pong came: the time since its ping, when it answers the last one.
    pub(super) fn on_pong(&mut self, payload: &[u8], now: Instant) -> Option<Duration> {
        if payload != self.count.to_be_bytes() {
            return None;
        }
        self.asked.take().map(|asked| now - asked)
    }

    /// The socket is read again after a pause of ours: its silence meant nothing (CONN-7).
    pub(super) fn resume(&mut self, now: Instant) {
        self.seen.1 = now;
        self.next_ping = now + self.ping_every;
        self.asked = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_relay_that_never_answers_pings_but_sends_is_alive() {
        let began = Instant::now();
        let mut pulse = Pulse::new(secs(25), secs(90), began);
        for n in 1..40 {
            let now = began + secs(25 * n);
            assert_eq!(pulse.deadline(), now);
            assert_eq!(pulse.beat(n, now), Beat::Ping(n.to_be_bytes()));
        }
    }

    #[test]
    fn silence_is_death_after_its_time_and_not_a_moment_before() {
        let began = Instant::now();
        let mut pulse = Pulse::new(secs(25), secs(90), began);
        pulse.on_bytes(10, began + secs(1));
        for n in 1..=3 {
            assert!(matches!(pulse.beat(10, began + secs(25 * n)), Beat::Ping(_)));
        }
        assert_eq!(pulse.deadline(), began + secs(91));
        assert_eq!(pulse.beat(10, began + secs(90)), Beat::Quiet);
        assert_eq!(pulse.beat(10, began + secs(91)), Beat::Dead);
    }

    #[test]
    fn a_pause_of_ours_is_no_silence() {
        let began = Instant::now();
        let mut pulse = Pulse::new(secs(25), secs(90), began);
        pulse.resume(began + secs(600));
        assert_eq!(pulse.deadline(), began + secs(625));
        assert!(matches!(pulse.beat(0, began + secs(625)), Beat::Ping(_)));
    }

    #[test]
    fn only_the_last_ping_measures_the_round_trip() {
        let began = Instant::now();
        let mut pulse = Pulse::new(secs(25), secs(90), began);
        let Beat::Ping(first) = pulse.beat(1, began + secs(25)) else { panic!("no ping") };
        assert_eq!(pulse.on_pong(b"other", began + secs(26)), None);
        assert_eq!(pulse.on_pong(&first, began + secs(27)), Some(secs(2)));
        assert_eq!(pulse.on_pong(&first, began + secs(28)), None);
    }
}
