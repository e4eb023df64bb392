//! Checkers of the invariants, outside the core: they see what goes in, what comes out, and what
//! the simulated relays and store hold. Each failure names its invariant (`design`, "Invariants").

mod claims;
mod connections;
mod passes;
mod requests;
mod streaks;

use std::fmt;

use nostr::event::Event;
use nostr::types::Timestamp;
use sync_core::command::Command;
use sync_core::config::Config;
use sync_core::input::Input;
use sync_core::time::Instant;
use sync_core::url::RelayUrl;

pub use self::claims::{Ledger, items_match};

/// What must hold and does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant.
    pub id: &'static str,
    /// When, in the core's time.
    pub at: Instant,
    /// What was seen.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not hold at {}: {}", self.id, self.at, self.text)
    }
}

/// What the world knows and the core cannot see.
pub trait Truth {
    /// The events that a relay had at `as_of` and serves honestly; none when it cannot be trusted.
    fn held(&self, relay: &RelayUrl, as_of: Timestamp) -> Vec<&Event>;
    /// Whether an event is durable, as stored or as rejected.
    fn is_settled(&self, event: &Event) -> bool;
}

/// Where checkers report.
#[derive(Clone, Debug, Default)]
struct Findings {
    now: Instant,
    found: Vec<Violation>,
}

impl Findings {
    fn fail(&mut self, id: &'static str, text: impl Into<String>) {
        self.found.push(Violation { id, at: self.now, text: text.into() });
    }

    fn check(&mut self, holds: bool, id: &'static str, text: impl FnOnce() -> String) {
        if !holds {
            self.fail(id, text());
        }
    }
}

/// All checkers over one core's life.
#[derive(Debug)]
pub struct Watch {
    findings: Findings,
    connections: connections::Connections,
    requests: requests::Requests,
    passes: passes::Passes,
    claims: claims::Claims,
    streaks: streaks::Streaks,
}

impl Watch {
    /// Watches a core that begins with these rows in its ledger.
    pub fn new(config: &Config, ledger: Ledger) -> Self {
        Self {
            findings: Findings::default(),
            connections: connections::Connections::new(config),
            requests: requests::Requests::new(config),
            passes: passes::Passes::default(),
            streaks: streaks::Streaks::new(config, &ledger),
            claims: claims::Claims::new(config, ledger),
        }
    }

    /// Before an input is handled.
    pub fn on_input(&mut self, now: Instant, input: &Input) {
        self.findings.now = now;
        self.connections.on_input(input);
        self.passes.on_input(input);
    }

    /// For each command, in order.
    pub fn on_command(&mut self, command: &Command) {
        let findings = &mut self.findings;
        self.connections.on_command(command, findings);
        self.requests.on_command(command, findings);
        self.passes.on_command(command, self.claims.ledger(), findings);
        self.claims.on_command(command);
        self.streaks.on_command(command, findings);
    }

    /// After the commands of an input: `deadline` is the core's next.
    pub fn on_drained(&mut self, deadline: Option<Instant>, truth: &impl Truth) {
        let now = self.findings.now;
        self.findings.check(deadline.is_none_or(|at| at > now), "T1", || {
            format!("the next deadline {deadline:?} is not after {now}")
        });
        self.passes.on_drained(self.claims.ledger(), &mut self.findings);
        self.claims.on_drained(truth, &mut self.findings);
    }

    /// What the ledger holds now.
    pub fn ledger(&self) -> &Ledger {
        self.claims.ledger()
    }

    /// Subscriptions and reconciliations that are open on all connections.
    pub fn open(&self) -> usize {
        self.connections.open()
    }

    /// Reports what the world found itself.
    pub fn fail(&mut self, id: &'static str, text: impl Into<String>) {
        self.findings.fail(id, text);
    }

    /// The first failure.
    pub fn first(&self) -> Option<&Violation> {
        self.findings.found.first()
    }
}

#[cfg(test)]
mod tests;
