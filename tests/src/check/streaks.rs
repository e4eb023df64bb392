//! S13: the backoff stays within its bound, and the streak grows one by one.

use std::collections::BTreeMap;
use std::time::Duration;

use sync_core::command::Command;
use sync_core::config::Config;
use sync_core::event::Event;
use sync_core::id::RelayId;
use sync_core::url::RelayUrl;

use super::{Findings, Ledger};

#[derive(Debug)]
pub(super) struct Streaks {
    base: Duration,
    max: Duration,
    dead_retry: Duration,
    before: BTreeMap<RelayUrl, u32>,
    failures: BTreeMap<RelayId, u32>,
}

impl Streaks {
    /// Streaks outlive the process (HLTH-2): the rows of the ledger begin them.
    pub(super) fn new(config: &Config, ledger: &Ledger) -> Self {
        Self {
            before: ledger.failures().map(|(url, failures)| (url.clone(), failures)).collect(),
            base: *config.health.backoff_base,
            max: *config.health.backoff_max,
            dead_retry: *config.health.dead_retry,
            failures: BTreeMap::new(),
        }
    }

    pub(super) fn on_command(&mut self, command: &Command, findings: &mut Findings) {
        if let Command::Emit(Event::RelayTracked { relay, url, .. }) = command {
            self.failures.insert(*relay, self.before.get(url).copied().unwrap_or(0));
        }
        let Command::Emit(Event::DialEnded { relay, result, failures, retry_in_ms }) = command
        else {
            return;
        };
        let before = self.failures.insert(*relay, *failures).unwrap_or(0);
        findings.check(*failures <= before.saturating_add(2), "S13", || {
            format!("the streak of relay {relay} went from {before} to {failures}")
        });
        if let (Err(_), Some(retry)) = (result, retry_in_ms) {
            let doubled = self.base * 2_u32.saturating_pow(failures.saturating_sub(1).min(20));
            let bound = doubled.min(self.max);
            let retry = Duration::from_millis(*retry);
            // A dead relay is tried once a day instead; a down network every 30 s.
            let other = retry == self.dead_retry || retry <= Duration::from_secs(30);
            findings.check(retry <= bound || other, "S13", || {
                format!("failure {failures} of relay {relay} waits {retry:?}, bound {bound:?}")
            });
        }
    }
}
