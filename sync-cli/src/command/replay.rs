//! `replay`: hand a recording to a new core and compare what it does, byte for byte.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::ValueHint;
use sync_core::record::{Replay, ReplayError, Replayed, bless};

use crate::command::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render::units::{count, counted};
use crate::term::{Style, answer};

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The recording, or `-` for stdin
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Rewrite what the machine did by what it does, so that a change can be reviewed as a diff
    #[arg(long)]
    bless: bool,
}

/// Replays, and says what was found.
pub(crate) fn run(args: Args, context: Context) -> Result<Exit, Failure> {
    let file = args.file.as_path();
    if args.bless {
        return rewrite(file);
    }
    let found = if file == Path::new("-") {
        replay(file, std::io::stdin().lock())?
    } else {
        replay(file, BufReader::new(File::open(file).map_err(|error| unreadable(file, &error))?))?
    };
    let (inputs, lines) = (counted(found.inputs, "input", "inputs"), count(found.lines));
    let mark = context.term.mark(Style::Good);
    answer(&format!("{mark} {inputs}, {lines} lines, the same byte for byte\n"))?;
    match (&found.stopped, found.ended) {
        (Some(reason), _) => context.term.note(&format!("the recording ended early: {reason}")),
        (None, false) => context.term.note("the recording was cut: its last line is missing"),
        (None, true) => {}
    }
    Ok(Exit::Ok)
}

fn replay(file: &Path, recording: impl BufRead) -> Result<Replayed, Failure> {
    let mut lines = recording.lines();
    let mut next = || lines.next().transpose().map_err(|error| unreadable(file, &error));
    let header = next()?.unwrap_or_default();
    let mut replay = Replay::begin(&header).map_err(|error| failed(file, &error))?;
    while let Some(line) = next()? {
        replay.line(&line).map_err(|error| failed(file, &error))?;
    }
    replay.finish().map_err(|error| failed(file, &error))
}

/// Writes beside the file and renames, so that a crash leaves the one or the other.
fn rewrite(file: &Path) -> Result<Exit, Failure> {
    let mut text = String::new();
    let mut recording = File::open(file).map_err(|error| unreadable(file, &error))?;
    recording.read_to_string(&mut text).map_err(|error| unreadable(file, &error))?;
    let lines = bless(text.lines()).map_err(|error| failed(file, &error))?;
    let blessed: String = lines.iter().map(|line| format!("{line}\n")).collect();
    if blessed == text {
        answer("nothing changed\n")?;
        return Ok(Exit::Ok);
    }
    let beside = file.with_extension("blessed");
    fs::write(&beside, blessed).and_then(|()| fs::rename(&beside, file)).map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot rewrite {}", file.display())).caused_by(&error)
    })?;
    answer(&format!("rewrote {}\n", file.display()))?;
    Ok(Exit::Ok)
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot read {}", file.display())).caused_by(error)
}

fn failed(file: &Path, error: &ReplayError) -> Failure {
    let place = |line: u64| format!("{}:{line}", file.display());
    match error {
        ReplayError::Differs { line, recorded, replayed } => {
            Failure::new(Exit::Failed, "the machine does something else than what was recorded")
                .at(place(*line))
                .note(format!("recorded: {recorded}"))
                .note(format!("replayed: {replayed}"))
                .hint("if the change is meant, `ngit-sync replay --bless` rewrites the recording")
        }
        ReplayError::Line { line, cause } => {
            Failure::new(Exit::Failed, "no line of a recording").at(place(*line)).because(cause)
        }
        _ => Failure::new(Exit::Failed, format!("{} is no recording", file.display()))
            .caused_by(error),
    }
}
