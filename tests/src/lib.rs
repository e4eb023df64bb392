//! The simulated world, checkers and corpora of ngit-sync.

pub mod check;
pub mod corpus;
pub mod entropy;
pub mod fuzz;
pub mod paging_relay;
pub mod scenario;
pub mod sim;
pub mod world;
