//! Writes recordings to a file, on a thread of its own: the driver never waits for a disk. A
//! writer that cannot keep up ends the recording with a reason.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nostr::types::Timestamp;
use sync_core::agenda::Deadline;
use sync_core::command::Command;
use sync_core::config::Config;
use sync_core::input::Input;
use sync_core::record;
use sync_core::time::Instant;

/// Steps that wait for the writer.
const QUEUE: usize = 65_536;
/// What was written reaches the file at least so often.
const FLUSH: Duration = Duration::from_millis(200);

/// A recording that cannot be begun.
#[derive(Debug, thiserror::Error)]
#[error("cannot record to {path}")]
pub struct RecordError {
    path: PathBuf,
    source: io::Error,
}

/// A recording under way.
#[derive(Debug)]
pub struct Recording {
    lines: record::Recorder,
    queue: Option<SyncSender<Vec<String>>>,
    writer: Option<JoinHandle<io::Result<()>>>,
    path: PathBuf,
}

impl Recording {
    /// Creates the file and writes its first line. A name that ends in `.zst` is compressed.
    pub fn begin(
        path: &Path,
        config: &Config,
        seed: u64,
        wall: Timestamp,
    ) -> Result<Self, RecordError> {
        let wrong = |source| RecordError { path: path.into(), source };
        let file = File::create(path).map_err(wrong)?;
        let (lines, header) = record::Recorder::begin(config, seed, wall);
        let (queue, steps) = sync_channel(QUEUE);
        let compress = path.extension().is_some_and(|extension| extension == "zst");
        let writer = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || match compress {
                true => {
                    let mut file = zstd::Encoder::new(file, 0)?.auto_finish();
                    write_all(&mut file, header, &steps)
                }
                false => write_all(&mut BufWriter::new(file), header, &steps),
            })
            .map_err(wrong)?;
        Ok(Self { lines, queue: Some(queue), writer: Some(writer), path: path.into() })
    }

    /// Records one step of the core.
    pub fn step(
        &mut self,
        now: Instant,
        input: &Input,
        commands: &[Command],
        deadline: Option<Deadline>,
    ) {
        let Some(queue) = &self.queue else { return };
        let lines = self.lines.step(now, input, commands, deadline);
        match queue.try_send(lines) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.stop("the writer could not keep up"),
            Err(TrySendError::Disconnected(_)) => self.stop("the file could not be written"),
        }
    }

    /// Ends the recording early, with its reason as the last line.
    fn stop(&mut self, reason: &str) {
        tracing::error!(path = %self.path.display(), reason, "the recording ends early");
        let last = self.lines.stopped(reason);
        self.close(last);
    }

    fn close(&mut self, last: String) {
        if let Some(queue) = self.queue.take() {
            // The writer drains its queue; a disk that fails has told so by its result.
            let _ = queue.send(vec![last]);
        }
        if let Some(Ok(Err(error))) = self.writer.take().map(JoinHandle::join) {
            tracing::error!(path = %self.path.display(), %error, "the recording is incomplete");
        }
    }

    /// Ends the recording with its core. Blocks until the file is written.
    pub fn end(mut self) {
        let last = self.lines.end();
        self.close(last);
    }
}

fn write_all(
    file: &mut impl Write,
    header: String,
    steps: &Receiver<Vec<String>>,
) -> io::Result<()> {
    writeln!(file, "{header}")?;
    loop {
        match steps.recv_timeout(FLUSH) {
            Ok(lines) => {
                for line in lines {
                    writeln!(file, "{line}")?;
                }
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => file.flush()?,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return file.flush(),
        }
    }
}

/// Reads a recording's lines; a file that ends in `.zst` is decompressed.
pub fn read(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    match path.extension().is_some_and(|extension| extension == "zst") {
        true => io::read_to_string(zstd::Decoder::new(file)?),
        false => io::read_to_string(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_core::SyncCore;

    fn round_trip(name: &str) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(name);
        let wall = Timestamp::from_secs(1_700_000_000);
        let mut config = Config::default();
        config.sync.relays.push("ws://127.0.0.1:7".into());
        let mut recording = Recording::begin(&path, &config, 7, wall).expect("it is writable");
        let mut core = SyncCore::new(config, 7, wall);
        for (n, input) in [Input::Booted, Input::Tick, Input::Tick].into_iter().enumerate() {
            let now = Instant::from_micros(n as u64 * 2_000_000);
            let commands = sync_core::step(&mut core, now, input.clone());
            recording.step(now, &input, &commands, core.next_deadline());
        }
        recording.end();
        let text = read(&path).expect("it was written");
        let found = record::replay(text.lines()).expect("it replays");
        assert_eq!((found.inputs, found.ended), (3, true));
    }

    #[test]
    fn a_recording_file_replays() {
        round_trip("session.jsonl");
    }

    #[test]
    fn a_compressed_recording_replays() {
        round_trip("session.jsonl.zst");
    }

    #[test]
    fn a_file_that_cannot_be_created_names_its_path() {
        let path = Path::new("/nonexistent/session.jsonl");
        let error = Recording::begin(path, &Config::default(), 0, Timestamp::from_secs(0))
            .expect_err("there is no such directory");
        assert_eq!(error.to_string(), "cannot record to /nonexistent/session.jsonl");
    }
}
