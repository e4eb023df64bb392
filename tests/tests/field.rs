//! Failures seen in the field (`spec/field-failures.md`), as scenarios of the simulated world or
//! scripts against the core. The id is in the name of each test.

#[path = "field/bench.rs"]
mod bench;
#[path = "field/discovery.rs"]
mod discovery;
#[path = "field/fetch.rs"]
mod fetch;
#[path = "field/filters.rs"]
mod filters;
#[path = "field/kills.rs"]
mod kills;
#[path = "field/lifecycle.rs"]
mod lifecycle;
#[path = "field/order.rs"]
mod order;
#[path = "field/reconcile.rs"]
mod reconcile;
#[path = "field/reconnect.rs"]
mod reconnect;
