//! `relays`: the relays of a running daemon, and what a person can do about them.

use std::time::SystemTime;

use clap::Subcommand;
use sync_core::url::RelayUrl;
use sync_runtime::api::{Accepted, RelayAction, RelayView, Relays};

use crate::args::DaemonOptions;
use crate::command::Context;
use crate::control::{Endpoint, segment};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render;
use crate::term::answer;

/// Arguments of `relays`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What to do with them.
#[derive(Debug, Subcommand)]
enum Command {
    /// List the relays
    List {
        /// Write the daemon's document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        daemon: DaemonOptions,
    },
    /// Show everything about one relay
    Show {
        /// The relay, by URL or host
        relay: String,
        /// Write the daemon's document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        daemon: DaemonOptions,
    },
    /// Sync from this relay until the daemon ends
    Add(One),
    /// Forget that it was configured; it goes when nothing wants it
    Remove(One),
    /// Disconnect, and stay so
    Pause(One),
    /// Undo `pause`
    Resume(One),
    /// Dial now
    Retry(One),
    /// Prove everything again now
    Resync(One),
    /// Accept that something is missing: it stays listed, is retried daily and no longer degrades
    AcceptGap {
        #[command(flatten)]
        one: One,
        /// Number of one gap, as `relays show` lists it; all of the relay without
        #[arg(value_name = "GAP")]
        row: Option<u32>,
    },
}

/// One relay.
#[derive(Debug, clap::Args)]
struct One {
    /// The relay, by URL or host
    relay: String,
    #[command(flatten)]
    daemon: DaemonOptions,
}

impl Args {
    /// Whether failures are told as JSON.
    pub(crate) fn speaks_json(&self) -> bool {
        matches!(self.command, Command::List { json: true, .. } | Command::Show { json: true, .. })
    }
}

/// Asks, and shows.
pub(crate) async fn run(args: Args, context: Context) -> Result<Exit, Failure> {
    let (action, one, row) = match args.command {
        Command::List { json, daemon } => {
            return list(json, &context.endpoint(&daemon)?, &context).await;
        }
        Command::Show { relay, json, daemon } => {
            return show(&relay, json, &context.endpoint(&daemon)?).await;
        }
        Command::Add(one) => (RelayAction::Add, one, None),
        Command::Remove(one) => (RelayAction::Remove, one, None),
        Command::Pause(one) => (RelayAction::Pause, one, None),
        Command::Resume(one) => (RelayAction::Resume, one, None),
        Command::Retry(one) => (RelayAction::Retry, one, None),
        Command::Resync(one) => (RelayAction::Resync, one, None),
        Command::AcceptGap { one, row } => (RelayAction::AcceptGap, one, row),
    };
    let endpoint = context.endpoint(&one.daemon)?;
    let relay = match action {
        RelayAction::Add => new_relay(&one.relay)?.to_string(),
        _ => one.relay,
    };
    let mut path = format!("/v1/relays/{}/{}", segment(&relay), action.as_str());
    if let Some(row) = row {
        path.push_str(&format!("?row={row}"));
    }
    let taken = endpoint.post::<Accepted>(&path).await?.document.data.accepted;
    answer(&format!("taken: {taken}\n"))?;
    Ok(Exit::Ok)
}

async fn list(json: bool, endpoint: &Endpoint, context: &Context) -> Result<Exit, Failure> {
    let reply = endpoint.get::<Relays>("/v1/relays").await?;
    let relays = &reply.document.data.relays;
    let text = match json {
        true => format!("{}\n", reply.raw),
        false => render::status::relays(relays, SystemTime::now().into(), context.term),
    };
    answer(&text)?;
    Ok(Exit::Ok)
}

async fn show(relay: &str, json: bool, endpoint: &Endpoint) -> Result<Exit, Failure> {
    let reply = endpoint.get::<RelayView>(&format!("/v1/relays/{}", segment(relay))).await?;
    let text = match json {
        true => format!("{}\n", reply.raw),
        false => render::relay::render(&reply.document.data, SystemTime::now().into()),
    };
    answer(&text)?;
    Ok(Exit::Ok)
}

/// What to add must be a whole URL; what is known, the daemon finds by as much as is unique.
fn new_relay(name: &str) -> Result<RelayUrl, Failure> {
    let url = if name.contains("://") { name.to_owned() } else { format!("wss://{name}") };
    RelayUrl::parse(&url).map_err(|error| {
        Failure::new(Exit::Usage, format!("`{name}` names no relay")).caused_by(&error)
    })
}
