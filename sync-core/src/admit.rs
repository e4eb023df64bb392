//! The data plane, pure as well: what becomes of an event between socket and store.

pub mod announcement;
pub mod facts;
pub mod graph;
pub mod kinds;
pub mod maintainers;
pub mod meter;
pub mod order;
pub mod policy;
pub mod reconcile;
pub mod references;
pub mod rejected;
pub mod rules;
