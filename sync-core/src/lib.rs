//! The pure half of ngit-sync.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod admit;
pub mod command;
pub mod config;
pub mod event;
pub mod id;
pub mod input;
pub mod item;
pub mod ledger;
pub mod relay;
pub mod rng;
pub mod status;
pub mod tally;
pub mod time;
pub mod url;
pub mod wire;
