//! The shell of ngit-sync: sockets, store, clock, recorder, metrics and control API around
//! [`sync_core`]. The core decides; nothing here does.
//!
//! [`service::SyncService`] is the whole daemon as a library. `examples/embed.rs` is a complete
//! program; this is its skeleton:
//!
//! ```no_run
//! use sync_runtime::service::{StartError, SyncService};
//! use sync_runtime::settings::Settings;
//!
//! # async fn run() -> Result<(), StartError> {
//! let mut settings = Settings { data_dir: Some("store".into()), ..Settings::default() };
//! settings.core.sync.relays.push("wss://relay.example".into());
//! settings.core.accept.archive.push("all".into());
//! let service = SyncService::builder(settings).start().await?;
//! let mut happened = service.handle().subscribe();
//! while let Ok(event) = happened.recv().await {
//!     println!("{event:?}");
//! }
//! service.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Map
//!
//! - [`service`] starts and ends everything; [`settings`] is its configuration.
//! - *Control plane*: a driver task owns the core and hands its commands out; [`recorder`] writes
//!   what went in and out; [`clock`] is the only clock.
//! - *Data plane*: [`dial`] opens sockets, [`transport`] speaks WebSocket over them, [`connection`]
//!   turns commands into frames and frames into inputs, [`verify`] checks bodies on all cores,
//!   [`ingest`] judges and commits them, [`store`] holds them with outcomes and ledger.
//! - *What others see*: [`observe`] measures, [`api`] has the documents, [`http`] serves them.

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
