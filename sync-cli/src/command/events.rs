//! `events`: what is in the store, also while a daemon writes to it.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use clap::Subcommand;
use nostr::filter::Filter;
use sync_runtime::store::{EventStore, Store, StoreError};

use crate::args::StoreOptions;
use crate::command::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::term::answer;

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What to do with them.
#[derive(Debug, Subcommand)]
enum Command {
    /// Write events to stdout, one JSON object a line, newest first
    Export(Options),
    /// Count events
    Count(Options),
}

/// Which events.
#[derive(Debug, clap::Args)]
struct Options {
    /// Only what matches this NIP-01 filter
    #[arg(long, value_name = "JSON", value_parser = filter)]
    filter: Option<Filter>,
    #[command(flatten)]
    store: StoreOptions,
}

fn filter(text: &str) -> Result<Filter, String> {
    serde_json::from_str(text).map_err(|error| format!("no NIP-01 filter: {error}"))
}

/// Reads the store.
pub(crate) fn run(args: Args, context: Context) -> Result<Exit, Failure> {
    let (Command::Export(options) | Command::Count(options)) = &args.command;
    let filter = options.filter.clone().unwrap_or_default();
    let loaded = context.load(options.store.flags())?;
    let dir = loaded.settings.data_dir.ok_or_else(|| {
        Failure::new(Exit::StoreUnusable, "no directory of a store is known")
            .hint("name it with --data-dir")
    })?;
    let store = Store::open_read_only(&dir).map_err(failed)?;
    match args.command {
        Command::Count(_) => answer(&format!("{}\n", store.count(&filter).map_err(failed)?))?,
        Command::Export(_) => export(&store, &filter)?,
    }
    Ok(Exit::Ok)
}

fn export(store: &Store, filter: &Filter) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let mut visit = |found: sync_runtime::store::Found<'_>| {
        written = writeln!(out, "{}", found.raw);
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    store.query(filter, &mut visit).map_err(failed)?;
    written?;
    Ok(out.flush()?)
}

fn failed(error: StoreError) -> Failure {
    let failure = Failure::new(Exit::from(&error), "cannot read the store").caused_by(&error);
    match error {
        StoreError::Missing { .. } => failure.hint("name its directory with --data-dir"),
        _ => failure,
    }
}
