//! The commands: one file each, with its arguments and a `run` that answers how it ended.

use clap::Subcommand;

use crate::args::{DaemonOptions, Global};
use crate::config::{self, Assignment, Loaded, Surroundings};
use crate::control::Endpoint;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::term::Term;

mod check_config;
mod completions;
#[cfg(feature = "serve")]
mod demo;
mod events;
mod explain;
mod man;
mod relays;
mod replay;
mod run;
mod status;
mod sync;
mod verify;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon in the foreground
    Run(run::Args),
    /// Catch up once, say what is there and what is missing, and end
    Sync(sync::Args),
    /// Compare the store with the relays, fetch nothing, and say what is missing
    Verify(verify::Args),
    /// Show what a running daemon is doing
    Status(status::Args),
    /// List, add, pause, retry the relays of a running daemon
    Relays(relays::Args),
    /// Say why a relay is in its state and what comes next, or what a code means
    Explain(explain::Args),
    /// Export or count the events of the store
    Events(events::Args),
    /// Watch it work: three relays on loopback, a cut connection, a strict relay
    #[cfg(feature = "serve")]
    Demo(demo::Args),
    /// Replay a recording and compare it byte for byte
    Replay(replay::Args),
    /// Check the configuration, or show every key and where its value came from
    CheckConfig(check_config::Args),
    /// Write a completion script for a shell
    Completions(completions::Args),
    /// Write manual pages
    Man(man::Args),
}

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    /// Options of every command.
    pub(crate) global: Global,
    /// How to speak to the person at the terminal.
    pub(crate) term: Term,
}

impl Context {
    /// Reads the configuration, with these flags above all other layers; warnings are shown.
    pub(crate) fn load(&self, flags: Vec<Assignment>) -> Result<Loaded, Failure> {
        let loaded = config::load(&self.global.with(flags), &Surroundings::of_process())?;
        for warning in &loaded.warnings {
            self.term.warn(warning);
        }
        Ok(loaded)
    }

    /// Where the daemon answers: the flag, or what the configuration says.
    pub(crate) fn endpoint(&self, daemon: &DaemonOptions) -> Result<Endpoint, Failure> {
        if let Some(place) = &daemon.socket {
            return Ok(Endpoint::parse(place));
        }
        let settings = self.load(Vec::new())?.settings;
        match (settings.socket.0, settings.http.0) {
            (Some(path), _) => Ok(Endpoint::Socket(path)),
            (None, Some(address)) => Ok(Endpoint::Http(address.to_string())),
            (None, None) => Err(Failure::new(Exit::NoDaemon, "the daemon has no control socket")
                .hint("`socket` and `http` are off in the configuration; set one of them")),
        }
    }
}

impl Command {
    /// Does it.
    pub(crate) async fn run(self, context: Context) -> Result<Exit, Failure> {
        match self {
            Self::Run(args) => run::run(args, context).await,
            Self::Sync(args) => sync::run(args, context).await,
            Self::Verify(args) => verify::run(args, context).await,
            Self::Events(args) => events::run(args, context),
            #[cfg(feature = "serve")]
            Self::Demo(args) => demo::run(args, context).await,
            Self::Status(args) => status::run(args, context).await,
            Self::Relays(args) => relays::run(args, context).await,
            Self::Explain(args) => explain::run(args, context).await,
            Self::Replay(args) => replay::run(args, context),
            Self::CheckConfig(args) => check_config::run(args, context),
            Self::Completions(args) => completions::run(args),
            Self::Man(args) => man::run(args),
        }
    }

    /// Whether failures are told as JSON.
    pub(crate) fn speaks_json(&self) -> bool {
        match self {
            Self::Sync(args) => args.json,
            Self::Verify(args) => args.json,
            Self::Status(args) => args.json,
            Self::Relays(args) => args.speaks_json(),
            Self::Explain(args) => args.json,
            Self::Run(_) | Self::Events(_) | Self::Replay(_) | Self::CheckConfig(_) => false,
            #[cfg(feature = "serve")]
            Self::Demo(_) => false,
            Self::Completions(_) | Self::Man(_) => false,
        }
    }
}
