//! `check-config`: whether the configuration can be used, and where each value came from.

use crate::command::Context;
use crate::config::{Origin, to_toml};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::term::{Style, answer};

/// Arguments of `check-config`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show every key with its value and where it came from
    #[arg(long)]
    show_origin: bool,
}

/// Checks, and shows.
pub(crate) fn run(args: Args, context: Context) -> Result<Exit, Failure> {
    let loaded = context.load(Vec::new())?;
    if args.show_origin {
        let rows = loaded.values.iter().map(|(key, setting)| {
            (format!("{key} = {}", to_toml(&setting.value)), setting.origin.to_string())
        });
        let rows: Vec<_> = rows.collect();
        // One long list must not push every origin off the screen.
        let width = rows.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0).min(60);
        let lines = rows.iter().map(|(text, origin)| format!("{text:width$}  # {origin}\n"));
        answer(&lines.collect::<String>())?;
        return Ok(Exit::Ok);
    }
    let set = loaded.values.values().filter(|setting| setting.origin != Origin::Default).count();
    let file = match &loaded.file {
        Some(path) => path.display().to_string(),
        None => "no file".to_owned(),
    };
    let keys = if set == 1 { "key" } else { "keys" };
    answer(&format!("{} {file}, {set} {keys} set\n", context.term.mark(Style::Good)))?;
    Ok(Exit::Ok)
}
