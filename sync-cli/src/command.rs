//! The commands: one file each, with its arguments and a `run` that answers how it ended.

use clap::Subcommand;

use crate::args::Global;
use crate::config::{self, Assignment, Loaded, Surroundings};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::term::Term;

mod check_config;
mod completions;
mod man;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
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
}

impl Command {
    /// Does it.
    pub(crate) async fn run(self, context: Context) -> Result<Exit, Failure> {
        match self {
            Self::CheckConfig(args) => check_config::run(args, context),
            Self::Completions(args) => completions::run(args),
            Self::Man(args) => man::run(args),
        }
    }

    /// Whether failures are told as JSON.
    pub(crate) fn speaks_json(&self) -> bool {
        match self {
            Self::CheckConfig(_) | Self::Completions(_) | Self::Man(_) => false,
        }
    }
}
