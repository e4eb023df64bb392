//! Fixtures of the interop tests: relays written by others, a scripted one, a proxy.
#![allow(dead_code, reason = "each test binary uses its own part of the fixtures")]

pub(crate) mod client;
pub(crate) mod input;
pub(crate) mod local_relay;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod python_relay;
pub(crate) mod script_relay;

use std::net::{Ipv4Addr, TcpListener};

/// A port of the loopback that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback has ports");
    listener.local_addr().expect("a bound listener has an address").port()
}
