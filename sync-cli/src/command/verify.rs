//! `verify`, and `sync --dry-run`: compares the store with the relays and fetches nothing.

use std::time::SystemTime;

use clap::ValueHint;
use sync_core::config::Span;
use sync_core::url::RelayUrl;
use sync_runtime::api::Verification;
use sync_runtime::settings::{OrOff, Settings};

use crate::args::WantOptions;
use crate::command::Context;
use crate::command::sync::watch;
use crate::config::require_work;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::service::{Mode, Service};
use crate::signals::Signals;
use crate::term::{Term, answer};
use crate::{logs, render};

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Compare with this relay only (repeatable); one that is not known is taken as configured
    #[arg(long = "relay", value_name = "URL", value_hint = ValueHint::Url)]
    relays: Vec<RelayUrl>,
    #[command(flatten)]
    want: WantOptions,
    /// End after this time; relays that were not through are unfinished
    #[arg(long, value_name = "SPAN")]
    max_time: Option<Span>,
    /// Write the findings as a document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Compares once.
pub(crate) async fn run(args: Args, context: Context) -> Result<Exit, Failure> {
    let loaded = context.load(args.want.flags())?;
    logs::begin(&loaded, "warn", context.term)?;
    let mut work = loaded.settings.clone();
    work.core.sync.relays.extend(args.relays.iter().map(ToString::to_string));
    require_work(&work)?;
    let look = Look { only: args.relays, max_time: args.max_time, json: args.json, dry_run: false };
    look.at(loaded.settings, context.term).await
}

/// How it looks, and how it tells.
pub(crate) struct Look {
    /// These relays, or all.
    pub(crate) only: Vec<RelayUrl>,
    pub(crate) max_time: Option<Span>,
    pub(crate) json: bool,
    pub(crate) dry_run: bool,
}

impl Look {
    pub(crate) async fn at(self, mut settings: Settings, term: Term) -> Result<Exit, Failure> {
        (settings.http, settings.socket) = (OrOff::OFF, OrOff::OFF);
        let mut signals = Signals::catch()?;
        let service = tokio::select! {
            service = Service::start(settings, Mode::Probe(self.only.clone())) => service?,
            exit = signals.next() => return Ok(exit),
        };
        let end = watch(&service, &mut signals, self.max_time, term).await;
        let found = service.verification().await;
        signals.unless_again(service.shutdown()).await;
        answer(&self.text(&found)?)?;
        Ok(match end.signal() {
            Some(exit) => exit,
            None if found.is_complete() => Exit::Ok,
            None => Exit::Partial,
        })
    }

    fn text(&self, found: &Verification) -> Result<String, Failure> {
        Ok(match (self.json, self.dry_run) {
            (true, dry_run) => {
                let at = SystemTime::now().into();
                let document = render::verify::document(found, dry_run, at).map_err(|error| {
                    Failure::new(Exit::Internal, "the findings cannot be written").caused_by(&error)
                })?;
                format!("{document}\n")
            }
            (false, true) => render::verify::render_dry_run(found),
            (false, false) => render::verify::render(found),
        })
    }
}
