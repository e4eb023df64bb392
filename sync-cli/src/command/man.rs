//! `man`: manual pages, one a command.

use std::path::PathBuf;

use clap::{CommandFactory, ValueHint};

use crate::args::Cli;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::term::answer;

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write one page a command into this directory, instead of the main page to stdout
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

/// Writes the pages.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    match args.dir {
        Some(dir) => clap_mangen::generate_to(Cli::command(), &dir).map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot write manual pages to {}", dir.display()))
                .caused_by(&error)
                .hint("the directory must exist")
        })?,
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            answer(&String::from_utf8_lossy(&page))?;
        }
    }
    Ok(Exit::Ok)
}
