//! Dials per address and network (T3): many names of strangers may lead to one victim. Budgets per
//! second and per registrable domain are the core's.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sync_core::config::DialConfig;
use tokio::time::Instant;

/// Addresses and networks that are remembered; those unused for a minute go first.
const MAX_KEYS: usize = 8192;
const MINUTE: Duration = Duration::from_secs(60);

/// Counts dials within the last minute.
#[derive(Debug)]
pub(super) struct Budget {
    per_address: usize,
    per_net: usize,
    dials: Mutex<HashMap<Key, Vec<Instant>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    Net(IpAddr),
}

impl Budget {
    pub(super) fn new(config: &DialConfig) -> Self {
        Self {
            per_address: config.per_address_minute as usize,
            per_net: config.per_net_minute as usize,
            dials: Mutex::new(HashMap::new()),
        }
    }

    /// Whether this address may be dialed; counts the dial if so.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> bool {
        let keys =
            [(Key::Address(address), self.per_address), (Key::Net(net(address)), self.per_net)];
        // A panic while it was held leaves nothing half written.
        let mut dials = self.dials.lock().unwrap_or_else(PoisonError::into_inner);
        if dials.len() + keys.len() > MAX_KEYS {
            dials.retain(|_, times| times.iter().any(|at| now.duration_since(*at) < MINUTE));
        }
        let mut free = dials.len() + keys.len() <= MAX_KEYS;
        for (key, limit) in keys {
            if let Some(times) = dials.get_mut(&key) {
                times.retain(|at| now.duration_since(*at) < MINUTE);
                free &= times.len() < limit;
            }
        }
        if free {
            for (key, _) in keys {
                dials.entry(key).or_default().push(now);
            }
        }
        free
    }
}

/// The /24 or /48 of an address.
fn net(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, 0))
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_its_network_are_dialed_so_often_a_minute() {
        let budget = Budget::new(&DialConfig::default());
        let now = Instant::now();
        let v4 = |last| IpAddr::V4(Ipv4Addr::new(1, 2, 3, last));
        for _ in 0..4 {
            assert!(budget.take(v4(1), now));
        }
        assert!(!budget.take(v4(1), now), "four dials an address");
        for last in 2..6 {
            assert!(budget.take(v4(last), now));
        }
        assert!(!budget.take(v4(6), now), "eight dials a network");
        assert!(budget.take(IpAddr::V4(Ipv4Addr::new(1, 2, 4, 1)), now));
        let later = now + MINUTE;
        assert!(budget.take(v4(1), later), "a minute later");
    }

    #[test]
    fn what_is_remembered_stays_under_its_limit() {
        let budget = Budget::new(&DialConfig::default());
        let now = Instant::now();
        let taken = (0..=u16::MAX)
            .filter(|n| {
                let [b, c] = n.to_be_bytes();
                budget.take(IpAddr::V4(Ipv4Addr::new(1, b, c, 1)), now)
            })
            .count();
        assert_eq!(taken, MAX_KEYS / 2);
        assert!(budget.take(IpAddr::V6(Ipv6Addr::LOCALHOST), now + MINUTE));
    }
}
