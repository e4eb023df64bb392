//! The pure half of ngit-sync: what to ask which Nostr relay, when, and what the answers prove.
//!
//! No clock, socket, thread or randomly seeded map exists here. One [`Input`] goes in, ordered
//! [`Command`]s come out, and one deadline says when time alone matters. The same inputs give the
//! same commands, byte for byte ([`record`]).
//!
//! # The loop
//!
//! ```
//! use nostr::types::Timestamp;
//! use sync_core::event::Event;
//! use sync_core::id::{ConnId, RelayId};
//! use sync_core::status::RelayStatus;
//! use sync_core::time::Instant;
//! use sync_core::{Command, Config, Input, SyncCore};
//!
//! let mut config = Config::default();
//! config.sync.relays.push("wss://relay.example".into());
//! let mut core = SyncCore::new(config, 42, Timestamp::from_secs(1_700_000_000));
//!
//! // Ledger rows and facts of the own store come first; nothing is dialed before `Booted`.
//! core.handle(Instant::ZERO, Input::Booted);
//! while core.poll_command().is_some() {}
//!
//! // The next thing that time alone brings: the first dial, with its jitter.
//! let deadline = core.next_deadline().expect("a configured relay is dialed");
//! core.handle(deadline.at, Input::Tick);
//! let commands: Vec<Command> = std::iter::from_fn(|| core.poll_command()).collect();
//! assert!(matches!(commands[0], Command::Dial { .. }));
//!
//! // The shell dials and says how it went.
//! let conn = ConnId { relay: RelayId(0), epoch: 1 };
//! core.handle(deadline.at, Input::Dialed { conn, result: Ok(()) });
//! let commands: Vec<Command> = std::iter::from_fn(|| core.poll_command()).collect();
//! assert!(commands.iter().any(|command| matches!(command, Command::Subscribe { .. })));
//! assert!(commands.iter().any(|command| matches!(
//!     command,
//!     Command::Emit(Event::StatusChanged { to: RelayStatus::Syncing, .. })
//! )));
//! ```
//!
//! # Map
//!
//! - *Control plane*: [`core`] holds the machine; [`want`] what is wanted, [`plan`] what of it is
//!   open, [`filters`] how it is asked for, [`relay`] one relay's connection, [`coverage`] what is
//!   proven and what is missing, [`health`] its backoff; [`explain`] says why.
//! - *Data plane*: [`wire`] reads frames, [`admit`] decides what becomes of an event.
//! - *The face*: [`input`], [`command`], [`event`], [`tally`], [`ledger`], [`status`], [`config`].
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
