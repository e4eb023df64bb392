//! The data plane, pure as well: what becomes of an event between socket and store.

pub mod announcement;
pub mod facts;
mod graph;
mod hosts;
pub mod kinds;
pub mod maintainers;
pub mod meter;
pub mod order;
pub mod policy;
pub mod reconcile;
pub mod references;
pub mod rejected;
mod rules;
