//! `run`: the daemon in the foreground.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::args::{ListenOptions, SyncOptions};
use crate::command::Context;
use crate::config::require_work;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::logs;
use crate::render::units::counted;
use crate::service::{Mode, Service};
use crate::signals::Signals;

/// How often the service manager is told how things stand.
const TELL: Duration = Duration::from_secs(10);

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sync: SyncOptions,
    #[command(flatten)]
    listen: ListenOptions,
}

/// Runs until a signal.
pub(crate) async fn run(args: Args, context: Context) -> Result<Exit, Failure> {
    let mut flags = args.sync.flags();
    flags.extend(args.listen.flags());
    let loaded = context.load(flags)?;
    logs::begin(&loaded, "info", context.term)?;
    require_work(&loaded.settings)?;
    let mut signals = Signals::catch()?;
    let service = tokio::select! {
        service = Service::start(loaded.settings, Mode::Daemon) => service?,
        exit = signals.next() => return Ok(exit),
    };
    tell(NotifyState::Ready);
    // Twice within each deadline of the watchdog, when there is one.
    let mut deadline_us = 0;
    let watched = sd_notify::watchdog_enabled(false, &mut deadline_us) && deadline_us > 1;
    let watchdog = if watched { Duration::from_micros(deadline_us / 2) } else { TELL };
    let mut ticks = tokio::time::interval(watchdog.min(TELL));
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let status = service.status();
                // A driver that is stuck must not look alive.
                if service.is_alive().await {
                    tell(NotifyState::Watchdog);
                }
                let relays = counted(status.counts.connected, "relay", "relays");
                tell(NotifyState::Status(&format!("{}, {relays} connected", status.phase.as_str())));
            }
            exit = signals.next() => {
                tracing::info!(code = exit.code(), "ending in order; a second signal ends at once");
                break;
            }
        }
    }
    tell(NotifyState::Stopping);
    signals.unless_again(service.shutdown()).await;
    Ok(Exit::Ok)
}

/// Tells the service manager; without one this does nothing.
fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, &[state]) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
