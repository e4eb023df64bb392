//! The simulated parts of the world: stores with NIP-01 semantics, relays, what they do wrong.

pub mod events;
pub mod faults;
pub mod plane;
pub mod relay;
pub mod row;
