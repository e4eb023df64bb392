//! What `demo` syncs: three relays on loopback, written by others, with a small NIP-34 corpus spread
//! over them. One connection is cut once, one relay takes few requests at a time.

mod corpus;
mod proxy;
mod relays;

pub(crate) use corpus::Corpus;
pub(crate) use relays::Relays;
