//! Dialing and connections over real sockets, against peers that break every rule. Those peers are
//! small servers made here; honest relays are relays written by others.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dialing;
mod hostile;
mod lifecycle;
mod proxied;
mod relays;
mod streams;
mod support;
