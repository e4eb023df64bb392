//! The pure half of ngit-sync.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod admit;
pub mod agenda;
pub mod command;
pub mod config;
mod context;
pub mod core;
pub mod coverage;
pub mod event;
pub mod explain;
pub mod filters;
pub mod health;
pub mod id;
pub mod input;
pub mod item;
pub mod ledger;
pub mod plan;
pub mod record;
pub mod relay;
pub mod rng;
pub mod status;
pub mod tally;
pub mod time;
pub mod url;
pub mod want;
pub mod wire;

pub use crate::command::Command;
pub use crate::config::Config;
pub use crate::core::SyncCore;
pub use crate::input::Input;
pub use crate::record::step;
