//! The simulated world, checkers and corpora of ngit-sync.

pub mod corpus;
pub mod paging_relay;
