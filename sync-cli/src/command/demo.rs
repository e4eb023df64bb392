//! `demo`: three relays on loopback, a cut connection, a strict relay, and the daemon between them.
//! Needs no network and leaves nothing behind.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use sync_runtime::api::{DaemonView, WallMs};

use crate::command::Context;
use crate::config::{Assignment, CommandLine, Surroundings};
use crate::demo::{Corpus, Relays};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::progress::{LOOK, Progress};
use crate::render::units::{count, span};
use crate::service::{Mode, Service};
use crate::signals::Signals;
use crate::term::{Style, answer};
use crate::{config, logs, render};

/// Each of its two parts is over by then, whatever happens.
const LONGEST: Duration = Duration::from_secs(120);

/// All of them are found and complete in the end.
const RELAYS: u64 = 3;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Shows it.
pub(crate) async fn run(_: Args, context: Context) -> Result<Exit, Failure> {
    let mut signals = Signals::catch()?;
    let relays = Relays::start().await?;
    let corpus = Corpus::generate(relays.urls())?;
    relays.fill(&corpus).await?;
    let term = context.term;
    term.note(&format!(
        "three relays on loopback, {} events, none of them has all:\n  \
         {}  is the one we name; announcements are there alone\n  \
         {}  will cut its connection once\n  \
         {}  takes six requests at a time",
        count(corpus.len()),
        relays.urls()[0],
        relays.urls()[1],
        relays.urls()[2],
    ));
    let begun = SystemTime::now();
    let store = Scratch::new()?;
    let service = Service::start(settings(&context, &relays, &store)?, Mode::Daemon).await?;
    let mut show = Show { service: &service, progress: Progress::new(term) };
    let work = async {
        if !show.until(corpus.len()).await? {
            return Ok(None);
        }
        let caught_up = begun.elapsed().unwrap_or_default();
        term.note("everything is there; somebody publishes a comment on the first relay");
        relays.publish(&corpus.news).await?;
        let live = show.until(corpus.len() + 1).await?;
        Ok::<_, Failure>(live.then_some(caught_up))
    };
    let done = tokio::select! {
        done = work => done?,
        exit = signals.next() => {
            signals.unless_again(service.shutdown()).await;
            return Ok(exit);
        }
    };
    show.progress.end();
    let now: WallMs = SystemTime::now().into();
    let daemon = DaemonView {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_s: now.since(begun.into()).into(),
        started_ms: begun.into(),
        data_dir: None,
    };
    let status = service.status();
    let stored = service.stored()?;
    signals.unless_again(service.shutdown()).await;
    answer(&render::status::render(&status, &daemon, now, term))?;
    let Some(caught_up) = done else {
        return Err(Failure::new(
            Exit::Partial,
            format!(
                "after {} seconds {} of {} events are there",
                LONGEST.as_secs(),
                count(stored),
                count(corpus.len() + 1),
            ),
        ));
    };
    let cut = if relays.has_cut() { "one connection was cut, " } else { "" };
    let (all, took) = (count(corpus.len()), span(caught_up.as_secs_f64()));
    let mark = term.mark(Style::Good);
    answer(&format!("\n{mark} {cut}nothing is missing: {all} events in {took}, and one live\n"))?;
    Ok(Exit::Ok)
}

struct Show<'a> {
    service: &'a Service,
    progress: Progress,
}

impl Show<'_> {
    /// Shows progress until the store holds so many events and every relay is complete and live;
    /// false when that takes too long.
    async fn until(&mut self, events: u64) -> Result<bool, Failure> {
        let mut looks = tokio::time::interval(LOOK);
        let begun = Instant::now();
        while begun.elapsed() < LONGEST {
            looks.tick().await;
            let status = self.service.status();
            self.progress.show(&status);
            let all_live = status.counts.live == RELAYS && status.counts.tracked == RELAYS;
            if all_live && self.service.stored()? >= events {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The first relay is named, the others are discovered; nothing of this machine's configuration
/// plays a part.
fn settings(
    context: &Context,
    relays: &Relays,
    store: &Scratch,
) -> Result<sync_runtime::settings::Settings, Failure> {
    let flag = |key, value| Assignment { key, flag: "demo", value };
    let flags = vec![
        flag("sync.relays", json!([relays.urls()[0]])),
        flag("accept.archive", json!(["all"])),
        flag("dial.allow_private", json!(true)),
        flag("data_dir", json!(store.0.to_string_lossy())),
        flag("http", json!("off")),
        flag("socket", json!("off")),
        flag("health.backoff_base", json!("1s")),
    ];
    let line = CommandLine { file: None, ..context.global.with(flags) };
    let loaded = config::load(&line, &Surroundings::default())?;
    logs::begin(&loaded, "error", context.term)?;
    Ok(loaded.settings)
}

/// A directory that goes when the demo ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let dir = std::env::temp_dir().join(format!("ngit-sync-demo-{}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot make {}", dir.display())).caused_by(&error)
        })?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind is in the directory for what may be.
        let _ = fs::remove_dir_all(&self.0);
    }
}
