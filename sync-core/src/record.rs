//! Recordings: every input with its outputs, one JSON document a line, and their replay byte for
//! byte. No file access: lines come in and go out as text. The format is docs/RECORDING.md's.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use nostr::types::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::agenda::Deadline;
use crate::command::Command;
use crate::config::Config;
use crate::core::SyncCore;
use crate::input::Input;
use crate::time::Instant;

/// Names the format in the first line.
pub const FORMAT: &str = "ngit-sync-recording";
/// The version of the format that is written and read.
pub const VERSION: u32 = 1;
/// A digest line follows so many inputs.
pub const DIGEST_EVERY: u64 = 1024;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// Version of the core that wrote it.
    pub core: String,
    /// Seed of the core.
    pub seed: u64,
    /// Wall time at which the core began.
    pub wall: Timestamp,
    /// Its configuration.
    pub config: Config,
}

#[derive(Serialize)]
struct InLine<'a> {
    n: u64,
    t: Instant,
    r#in: &'a Input,
}

#[derive(Serialize)]
struct OutLine<'a> {
    n: u64,
    out: &'a Command,
}

#[derive(Serialize)]
struct DeadlineLine {
    n: u64,
    deadline: Option<Deadline>,
}

#[derive(Serialize)]
struct DigestLine {
    inputs: u64,
    digest: String,
}

/// The lines that replay must tell apart. Unknown keys are those of the other lines.
#[derive(Deserialize)]
struct AnyLine<'a> {
    t: Option<Instant>,
    #[serde(borrow)]
    r#in: Option<&'a RawValue>,
    inputs: Option<u64>,
    end: Option<u64>,
    stopped: Option<String>,
}

/// A recording that cannot be replayed, or that differs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The first line is no header of this format and version.
    #[error("line 1 is no header of an {FORMAT} of version {VERSION}: {cause}")]
    Header {
        /// What is wrong.
        cause: String,
    },
    /// A line is no line of a recording.
    #[error("line {line} cannot be read: {cause}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong.
        cause: String,
    },
    /// The machine does something else than what was recorded.
    #[error("line {line} differs\n  recorded: {recorded}\n  replayed: {replayed}")]
    Differs {
        /// Its number, from 1.
        line: u64,
        /// The line of the recording.
        recorded: String,
        /// What the machine does.
        replayed: String,
    },
}

/// FNV-1a over lines: it tells a torn or edited file, it is no protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Digest(u64);

impl Digest {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, line: &str) {
        for byte in line.bytes().chain([b'\n']) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn hex(self) -> String {
        format!("{:016x}", self.0)
    }
}

fn line_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("lines have string keys and no maps of other keys")
}

/// Writes a recording.
#[derive(Clone, Debug)]
pub struct Recorder {
    inputs: u64,
    digest: Digest,
}

impl Recorder {
    /// Begins a recording: its first line.
    pub fn begin(config: &Config, seed: u64, wall: Timestamp) -> (Self, String) {
        let header = line_of(&Header {
            format: FORMAT.into(),
            version: VERSION,
            core: env!("CARGO_PKG_VERSION").into(),
            seed,
            wall,
            config: config.clone(),
        });
        let mut digest = Digest::new();
        digest.add(&header);
        (Self { inputs: 0, digest }, header)
    }

    /// The lines of one input: itself, its commands, the next deadline, and a digest where one is
    /// due.
    pub fn step(
        &mut self,
        now: Instant,
        input: &Input,
        commands: &[Command],
        deadline: Option<Deadline>,
    ) -> Vec<String> {
        self.inputs += 1;
        let n = self.inputs;
        let mut lines = Vec::with_capacity(commands.len() + 3);
        lines.push(line_of(&InLine { n, t: now, r#in: input }));
        lines.extend(commands.iter().map(|out| line_of(&OutLine { n, out })));
        lines.push(line_of(&DeadlineLine { n, deadline }));
        lines.iter().for_each(|line| self.digest.add(line));
        if n.is_multiple_of(DIGEST_EVERY) {
            lines.push(line_of(&DigestLine { inputs: n, digest: self.digest.hex() }));
        }
        lines
    }

    /// The last line of a recording that ends with its core.
    pub fn end(&self) -> String {
        format!(r#"{{"end":{},"digest":"{}"}}"#, self.inputs, self.digest.hex())
    }

    /// The last line of a recording that ends early.
    pub fn stopped(&self, reason: &str) -> String {
        format!(
            r#"{{"stopped":{},"inputs":{}}}"#,
            serde_json::to_string(reason).expect("text serialises"),
            self.inputs
        )
    }
}

/// Hands an input to the core and takes its commands.
pub fn step(core: &mut SyncCore, now: Instant, input: Input) -> Vec<Command> {
    core.handle(now, input);
    core::iter::from_fn(|| core.poll_command()).collect()
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Lines read, the header included.
    pub lines: u64,
    /// Inputs handed to the core.
    pub inputs: u64,
    /// Whether the recording ended with its core; one that was cut has no last line.
    pub ended: bool,
    /// Why the recording ended early, where it says so.
    pub stopped: Option<String>,
}

/// Replays a recording line by line against a new core.
#[derive(Debug)]
pub struct Replay {
    core: SyncCore,
    recorder: Recorder,
    expected: VecDeque<String>,
    found: Replayed,
}

impl Replay {
    /// Begins with the first line.
    pub fn begin(text: &str) -> Result<Self, ReplayError> {
        let wrong = |cause: String| ReplayError::Header { cause };
        let header: Header = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        if header.format != FORMAT || header.version != VERSION {
            return Err(wrong(format!("it says {} {}", header.format, header.version)));
        }
        let (recorder, _) = Recorder::begin(&header.config, header.seed, header.wall);
        // The digest covers the header as it was written: its version of the core, and the keys
        // that the configuration had then.
        let mut replay = Self {
            core: SyncCore::new(header.config.clone(), header.seed, header.wall),
            recorder,
            expected: VecDeque::new(),
            found: Replayed { lines: 1, ..Replayed::default() },
        };
        replay.recorder.digest = Digest::new();
        replay.recorder.digest.add(text);
        Ok(replay)
    }

    /// The core as it is after the lines so far.
    pub fn core(&self) -> &SyncCore {
        &self.core
    }

    /// Takes the next line.
    pub fn line(&mut self, text: &str) -> Result<(), ReplayError> {
        self.found.lines += 1;
        let line = self.found.lines;
        if let Some(expected) = self.expected.pop_front() {
            return if expected == text { Ok(()) } else { Err(differs(line, text, &expected)) };
        }
        let unreadable = |cause: String| ReplayError::Line { line, cause };
        let any: AnyLine<'_> =
            serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        if let Some(reason) = any.stopped {
            self.found.stopped = Some(reason);
            return Ok(());
        }
        if any.end.is_some() {
            self.found.ended = true;
            let end = self.recorder.end();
            return if end == text { Ok(()) } else { Err(differs(line, text, &end)) };
        }
        let (Some(now), Some(input), None) = (any.t, any.r#in, any.inputs) else {
            return Err(differs(line, text, "the next input"));
        };
        let input: Input =
            serde_json::from_str(input.get()).map_err(|error| unreadable(error.to_string()))?;
        self.take(now, input);
        let canonical = self.expected.pop_front().expect("a step begins with its input");
        if canonical == text { Ok(()) } else { Err(differs(line, text, &canonical)) }
    }

    fn take(&mut self, now: Instant, input: Input) {
        self.found.inputs += 1;
        let commands = step(&mut self.core, now, input.clone());
        let deadline = self.core.next_deadline();
        self.expected.extend(self.recorder.step(now, &input, &commands, deadline));
    }

    /// Ends the replay.
    pub fn finish(self) -> Result<Replayed, ReplayError> {
        match self.expected.front() {
            // A recording that was cut by a crash may lack the last lines of its last input.
            Some(line) if self.found.ended => {
                Err(differs(self.found.lines + 1, "the end of the recording", line))
            }
            Some(_) | None => Ok(self.found),
        }
    }
}

fn differs(line: u64, recorded: &str, replayed: &str) -> ReplayError {
    ReplayError::Differs { line, recorded: recorded.into(), replayed: replayed.into() }
}

/// Replays a whole recording.
pub fn replay<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Replayed, ReplayError> {
    let mut lines = lines.into_iter();
    let mut replay = Replay::begin(lines.next().unwrap_or_default())?;
    lines.try_for_each(|line| replay.line(line))?;
    replay.finish()
}

/// Rewrites the outputs of a recording by what this core does with its inputs, so that a change
/// of behaviour is a difference that can be reviewed.
pub fn bless<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>, ReplayError> {
    let mut lines = lines.into_iter();
    let header = lines.next().unwrap_or_default();
    let mut replay = Replay::begin(header)?;
    let mut out = Vec::from([header.to_string()]);
    for (n, text) in lines.enumerate() {
        let line = n as u64 + 2;
        let any: AnyLine<'_> = serde_json::from_str(text)
            .map_err(|error| ReplayError::Line { line, cause: error.to_string() })?;
        if let (Some(now), Some(input)) = (any.t, any.r#in) {
            let input: Input = serde_json::from_str(input.get())
                .map_err(|error| ReplayError::Line { line, cause: error.to_string() })?;
            replay.take(now, input);
            out.extend(replay.expected.drain(..));
        } else if any.end.is_some() {
            out.push(replay.recorder.end());
        } else if any.stopped.is_some() {
            out.push(text.to_string());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ConnId, RelayId};

    fn record() -> Vec<String> {
        let mut config = Config::default();
        config.sync.relays.push("wss://relay.example".into());
        let wall = Timestamp::from_secs(1_700_000_000);
        let (mut recorder, header) = Recorder::begin(&config, 42, wall);
        let mut core = SyncCore::new(config, 42, wall);
        let mut lines = Vec::from([header]);
        let conn = ConnId { relay: RelayId(0), epoch: 1 };
        let inputs = [
            (0, Input::Booted),
            (1_000_000, Input::Tick),
            (1_200_000, Input::Dialed { conn, result: Ok(()) }),
            (40_000_000, Input::Tick),
        ];
        for (at, input) in inputs {
            let now = Instant::from_micros(at);
            let commands = step(&mut core, now, input.clone());
            lines.extend(recorder.step(now, &input, &commands, core.next_deadline()));
        }
        lines.push(recorder.end());
        lines
    }

    #[test]
    fn a_recording_replays_byte_for_byte() {
        let lines = record();
        let found = replay(lines.iter().map(String::as_str)).expect("it is untouched");
        assert_eq!((found.inputs, found.ended), (4, true));
        assert_eq!(found.lines, lines.len() as u64);
        assert_eq!(bless(lines.iter().map(String::as_str)).expect("it is untouched"), lines);
    }

    #[test]
    fn a_changed_line_is_found_at_its_number() {
        let lines = record();
        let dial =
            lines.iter().position(|line| line.contains("{\"dial\":{\"conn\"")).expect("it dials");
        let mut changed = lines.clone();
        changed[dial] = changed[dial].replace("\"trusted\":true", "\"trusted\":false");
        match replay(changed.iter().map(String::as_str)) {
            Err(ReplayError::Differs { line, .. }) => assert_eq!(line, dial as u64 + 1),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_recording_of_another_configuration_differs() {
        let mut lines = record();
        lines[0] = lines[0].replace("\"eose_timeout\":\"30s\"", "\"eose_timeout\":\"31s\"");
        let found = replay(lines.iter().map(String::as_str));
        assert!(matches!(found, Err(ReplayError::Differs { .. })), "{found:?}");
    }

    #[test]
    fn a_recording_from_before_a_key_existed_replays() {
        let mut lines = record();
        lines[0] = lines[0].replace("\"eose_timeout\":\"30s\",", "");
        let mut digest = Digest::new();
        lines.pop();
        lines.iter().for_each(|line| digest.add(line));
        lines.push(format!(r#"{{"end":4,"digest":"{}"}}"#, digest.hex()));
        let found = replay(lines.iter().map(String::as_str)).expect("the default is the same");
        assert_eq!((found.inputs, found.ended), (4, true));
    }

    #[test]
    fn a_cut_recording_replays_up_to_its_end() {
        let lines = record();
        let cut = &lines[..lines.len() - 2];
        let found = replay(cut.iter().map(String::as_str)).expect("what is there is the same");
        assert!(!found.ended);
    }
}
