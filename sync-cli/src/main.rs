//! `ngit-sync`: arguments, configuration and rendering around `sync-runtime`. No logic of its own.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::command::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::term::Term;

mod args;
mod command;
mod config;
mod control;
#[cfg(feature = "serve")]
mod demo;
mod exit;
mod failure;
mod logs;
mod progress;
mod render;
mod service;
mod signals;
mod term;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let term = Term::detect(global.color, global.ascii, global.quiet, global.verbose);
    let json = command.speaks_json();
    let result = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command.run(Context { global, term })),
        Err(error) => {
            Err(Failure::new(Exit::Internal, "cannot start the async runtime").caused_by(&error))
        }
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let text = match failure.to_json().filter(|_| json) {
                Some(line) => format!("{line}\n"),
                None => failure.render(term.err, term.hints()),
            };
            // Nobody is left to tell when stderr is gone too.
            let _ = io::stderr().write_all(text.as_bytes());
            failure.exit.into()
        }
    }
}
