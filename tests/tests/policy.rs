//! Acceptance (§9): tables of cases, real announcements, and properties against a plain model that
//! computes everything anew.

#[path = "policy/hot.rs"]
mod hot;
#[path = "policy/model.rs"]
mod model;
#[path = "policy/order.rs"]
mod order;
#[path = "policy/tables.rs"]
mod tables;
