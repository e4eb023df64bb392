//! The shell of ngit-sync.

pub mod api;
pub mod clock;
pub mod connection;
mod control;
pub mod dial;
mod driver;
pub mod http;
pub mod ingest;
pub mod observe;
pub mod recorder;
mod sampler;
pub mod service;
pub mod settings;
pub mod store;
pub mod transport;
mod verification;
pub mod verify;
