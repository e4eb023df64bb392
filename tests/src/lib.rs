//! The simulated world, checkers and corpora of ngit-sync.

pub mod corpus;
