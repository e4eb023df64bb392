//! `explain`: why a relay is in its state and what comes next, or what a code or metric means.

use sync_runtime::api::Explain;

use crate::args::DaemonOptions;
use crate::command::Context;
use crate::control::segment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render;
use crate::term::answer;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A relay by URL or host, an error code such as E107, or the name of a metric
    subject: String,
    /// Write the daemon's document
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

/// Asks, and shows.
pub(crate) async fn run(args: Args, context: Context) -> Result<Exit, Failure> {
    let endpoint = context.endpoint(&args.daemon)?;
    let path = format!("/v1/explain/{}", segment(&args.subject));
    let reply = endpoint.get::<Explain>(&path).await?;
    let text = match args.json {
        true => format!("{}\n", reply.raw),
        false => render::explain::render(&reply.document.data),
    };
    answer(&text)?;
    Ok(Exit::Ok)
}
