//! `sync`: catch up once, say what is there and what is missing, and end.

use std::time::SystemTime;

use sync_core::config::Span;
use sync_runtime::api::SyncOutcome;
use sync_runtime::settings::OrOff;

use crate::args::SyncOptions;
use crate::command::Context;
use crate::command::verify::Look;
use crate::config::require_work;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::progress::{LOOK, Progress};
use crate::render::sync::is_complete;
use crate::service::{Mode, Service};
use crate::signals::Signals;
use crate::term::{Term, answer};
use crate::{logs, render};

/// Arguments of `sync`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sync: SyncOptions,
    /// End after this time, with what is missing named
    #[arg(long, value_name = "SPAN")]
    max_time: Option<Span>,
    /// Say what would be fetched, and fetch nothing
    #[arg(long)]
    dry_run: bool,
    /// Write the summary as a document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Syncs once.
pub(crate) async fn run(args: Args, context: Context) -> Result<Exit, Failure> {
    let loaded = context.load(args.sync.flags())?;
    logs::begin(&loaded, "warn", context.term)?;
    require_work(&loaded.settings)?;
    if args.dry_run {
        let (max_time, json) = (args.max_time, args.json);
        let look = Look { only: Vec::new(), max_time, json, dry_run: true };
        return look.at(loaded.settings, context.term).await;
    }
    let mut settings = loaded.settings;
    // What ends by itself does not listen; a daemon with the same configuration may.
    (settings.http, settings.socket) = (OrOff::OFF, OrOff::OFF);
    let mut signals = Signals::catch()?;
    let service = tokio::select! {
        service = Service::start(settings, Mode::Once) => service?,
        exit = signals.next() => return Ok(exit),
    };
    let end = watch(&service, &mut signals, args.max_time, context.term).await;
    let mut outcome = service.outcome();
    if let Some(cut) = end.cut(args.max_time) {
        outcome.cut = Some(cut);
    }
    signals.unless_again(service.shutdown()).await;
    let complete = matches!(end, End::Finished { complete: true }) && is_complete(&outcome);
    let text = match args.json {
        true => format!("{}\n", document(&outcome, complete)?),
        false => render::sync::render(&outcome),
    };
    answer(&text)?;
    Ok(match end {
        End::Signal(exit) => exit,
        End::Finished { .. } if complete => Exit::Ok,
        End::Finished { .. } | End::TimeOver => Exit::Partial,
    })
}

/// How the wait ended.
pub(crate) enum End {
    Finished { complete: bool },
    TimeOver,
    Signal(Exit),
}

impl End {
    /// The signal that ended it.
    pub(crate) fn signal(&self) -> Option<Exit> {
        match self {
            Self::Finished { .. } | Self::TimeOver => None,
            Self::Signal(exit) => Some(*exit),
        }
    }

    /// Why it came early.
    fn cut(&self, max_time: Option<Span>) -> Option<String> {
        match self {
            Self::Finished { .. } => None,
            Self::TimeOver => max_time.map(|span| format!("--max-time {span} is over")),
            Self::Signal(_) => Some("a signal came".to_owned()),
        }
    }
}

/// Shows progress until the end.
pub(crate) async fn watch(
    service: &Service,
    signals: &mut Signals,
    max_time: Option<Span>,
    term: Term,
) -> End {
    let mut progress = Progress::new(term);
    let mut looks = tokio::time::interval(LOOK);
    let over = async {
        match max_time {
            Some(span) => tokio::time::sleep(span.0).await,
            None => std::future::pending().await,
        }
    };
    let finished = service.finished();
    tokio::pin!(over, finished);
    let end = loop {
        tokio::select! {
            complete = &mut finished => break End::Finished { complete },
            _ = looks.tick() => progress.show(&service.status()),
            () = &mut over => break End::TimeOver,
            exit = signals.next() => break End::Signal(exit),
        }
    };
    progress.end();
    end
}

fn document(outcome: &SyncOutcome, complete: bool) -> Result<serde_json::Value, Failure> {
    let document = render::sync::document(outcome, complete, SystemTime::now().into());
    document.map_err(|error| {
        Failure::new(Exit::Internal, "the summary cannot be written").caused_by(&error)
    })
}
