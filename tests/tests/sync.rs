//! `sync` as a process, against relays written by others: what ends up in the store is what the
//! relays hold and policy wants, id by id, and what is missing is named.

mod common;
#[path = "sync/complete.rs"]
mod complete;
#[path = "sync/explained.rs"]
mod explained;
#[path = "sync/tls.rs"]
mod tls;
