//! Log lines on stderr, as configured.

use std::io;

use sync_runtime::settings::LogFormat;
use tracing_subscriber::EnvFilter;

use crate::config::Loaded;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::term::{Paint, Term};

/// Begins to log. `unless_set` is the level when nobody configured one; `-qq` leaves errors only.
pub(crate) fn begin(loaded: &Loaded, unless_set: &str, term: Term) -> Result<(), Failure> {
    let log = &loaded.settings.log;
    let level = match (loaded.is_set("log.level"), term.quiet) {
        (true, _) => log.level.as_str(),
        (false, 0 | 1) => unless_set,
        (false, 2..) => "error",
    };
    let filter = EnvFilter::try_new(level).map_err(|error| {
        Failure::new(Exit::ConfigInvalid, format!("`log.level` is wrong: `{level}`"))
            .caused_by(&error)
            .hint("write for example `info`, or `info,sync_runtime=debug`")
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(term.err == Paint::Colour);
    // Only a test that runs two commands in one process begins twice; the first stays.
    let _ = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    Ok(())
}
