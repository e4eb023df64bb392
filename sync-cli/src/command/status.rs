//! `status`: the ten-second glance at a running daemon.

use std::time::SystemTime;

use sync_runtime::api::{Phase, Status};

use crate::args::DaemonOptions;
use crate::command::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render;
use crate::term::answer;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write the daemon's document
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit with 4 when something is missing, unreachable or needs a person
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

/// Asks, and shows.
pub(crate) async fn run(args: Args, context: Context) -> Result<Exit, Failure> {
    let endpoint = context.endpoint(&args.daemon)?;
    let reply = endpoint.get::<Status>("/v1/status").await?;
    let status = &reply.document.data;
    let term = context.term;
    if args.json {
        answer(&format!("{}\n", reply.raw))?;
    } else {
        let now = SystemTime::now().into();
        answer(&render::status::render(status, &reply.document.daemon, now, term))?;
        if let Some(hint) = render::status::hint(status) {
            term.hint(&hint);
        }
    }
    let unhealthy = matches!(status.phase, Phase::Partial | Phase::Offline)
        || status.counts.dead > 0
        || !status.problems.is_empty();
    Ok(if args.check && unhealthy { Exit::Unhealthy } else { Exit::Ok })
}
