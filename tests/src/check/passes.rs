//! S1: what a pass waits for before it ends, and what Connected may hide.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::command::{Command, Purpose, Source};
use sync_core::event::Event;
use sync_core::id::{BatchId, ConnId, RelayId, SubId};
use sync_core::input::Input;
use sync_core::status::RelayStatus;
use sync_core::url::RelayUrl;

use super::{Findings, Ledger};

/// Counts of one subscription of a pass.
#[derive(Debug, Default)]
struct Count {
    received: u64,
    settled: u64,
}

#[derive(Debug, Default)]
pub(super) struct Passes {
    urls: BTreeMap<RelayId, RelayUrl>,
    /// Batches of a pass that are not over.
    pending: BTreeMap<RelayId, BTreeSet<BatchId>>,
    /// Subscriptions of passes, of the connection that lives.
    counts: BTreeMap<(ConnId, SubId), Count>,
    /// Relays that became Connected by commands of this input.
    connected: Vec<RelayId>,
}

impl Passes {
    pub(super) fn on_input(&mut self, input: &Input) {
        match input {
            Input::Events(tally) => {
                if let Some(count) = self.count(tally.conn, tally.sub) {
                    count.received += u64::from(tally.received);
                }
            }
            Input::Settled(tally) => {
                if let Some(count) = self.count(tally.conn, tally.sub) {
                    count.settled += tally.total();
                }
            }
            Input::Closed { conn, .. } => {
                self.counts.retain(|(of, _), _| of != conn);
                self.pending.remove(&conn.relay);
            }
            _ => {}
        }
    }

    fn count(&mut self, conn: Option<ConnId>, sub: Option<SubId>) -> Option<&mut Count> {
        self.counts.get_mut(&(conn?, sub?))
    }

    pub(super) fn on_command(&mut self, command: &Command, findings: &mut Findings) {
        match command {
            Command::Subscribe { conn, sub, purpose, .. } => {
                let of_pass = match purpose {
                    Purpose::Page { source, .. } | Purpose::Ids { source } => {
                        matches!(source, Source::Startup | Source::Reconnect)
                    }
                    Purpose::Live => false,
                };
                if of_pass {
                    self.counts.insert((*conn, *sub), Count::default());
                }
            }
            Command::Emit(event) => self.on_event(event, findings),
            _ => {}
        }
    }

    fn on_event(&mut self, event: &Event, findings: &mut Findings) {
        match event {
            Event::RelayTracked { relay, url, .. } => {
                self.urls.insert(*relay, url.clone());
            }
            Event::BatchStarted { relay, batch, pass: true, .. } => {
                self.pending.entry(*relay).or_default().insert(*batch);
            }
            Event::BatchEnded { relay, batch, .. } => {
                self.pending.entry(*relay).or_default().remove(batch);
            }
            Event::StatusChanged { relay, from, to, .. } => {
                if *from == RelayStatus::Syncing && *to != RelayStatus::Disconnected {
                    self.on_pass_ended(*relay, findings);
                }
                if *to == RelayStatus::Connected {
                    self.connected.push(*relay);
                }
            }
            _ => {}
        }
    }

    fn on_pass_ended(&self, relay: RelayId, findings: &mut Findings) {
        let pending = self.pending.get(&relay).map_or(0, BTreeSet::len);
        findings.check(pending == 0, "S1", || {
            format!("relay {relay} left Syncing with {pending} batches of the pass pending")
        });
        for ((conn, sub), count) in self.counts.iter().filter(|((c, _), _)| c.relay == relay) {
            findings.check(count.received <= count.settled, "S1", || {
                format!(
                    "relay {relay} left Syncing while {conn} has received {} and settled {} on {sub}",
                    count.received, count.settled
                )
            });
        }
    }

    pub(super) fn on_drained(&mut self, ledger: &Ledger, findings: &mut Findings) {
        for relay in std::mem::take(&mut self.connected) {
            let Some(url) = self.urls.get(&relay) else { continue };
            let gaps = ledger.standing_gaps(url);
            findings.check(gaps == 0, "S1", || {
                format!("relay {relay} is shown as Connected with {gaps} gaps standing")
            });
        }
    }
}
