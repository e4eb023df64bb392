//! `replay`: a recording is the same, or the first difference is shown where it is.

mod common;

use common::Cli;
use nostr::types::Timestamp;
use sync_core::config::Config;
use sync_core::record::Recorder;
use sync_core::time::Instant;
use sync_core::{Input, SyncCore, step};

/// What a core does that boots and lets a minute pass.
fn recording() -> Vec<String> {
    let mut config = Config::default();
    config.sync.relays.push("wss://relay.example/".into());
    let wall = Timestamp::from_secs(1_700_000_000);
    let (mut recorder, header) = Recorder::begin(&config, 42, wall);
    let mut core = SyncCore::new(config, 42, wall);
    let mut lines = vec![header];
    for (at, input) in [(0, Input::Booted), (2_000_000, Input::Tick), (60_000_000, Input::Tick)] {
        let now = Instant::from_micros(at);
        let commands = step(&mut core, now, input.clone());
        lines.extend(recorder.step(now, &input, &commands, core.next_deadline()));
    }
    lines.push(recorder.end());
    lines
}

fn write(cli: &Cli, lines: &[String]) -> String {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    cli.write("a.jsonl", &text);
    text
}

#[test]
fn a_recording_that_is_untouched_is_the_same() {
    let cli = Cli::new();
    let lines = recording();
    write(&cli, &lines);
    let ended = cli.run(&["replay", "a.jsonl"]);
    let same = format!("● 3 inputs, {} lines, the same byte for byte\n", lines.len());
    assert_eq!((ended.code, ended.stdout, ended.stderr), (Some(0), same, String::new()));
}

#[test]
fn a_recording_that_was_cut_is_the_same_as_far_as_it_goes() {
    let cli = Cli::new();
    let lines = recording();
    write(&cli, &lines[..lines.len() - 1]);
    let ended = cli.run(&["replay", "a.jsonl"]);
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_eq!(ended.stderr, "the recording was cut: its last line is missing\n");
}

#[test]
fn the_first_difference_is_shown_with_its_line_and_can_be_blessed() {
    let cli = Cli::new();
    let mut lines = recording();
    let dial = lines.iter().position(|line| line.contains("\"out\":{\"dial\"")).expect("it dials");
    let real = lines[dial].clone();
    lines[dial] = real.replace("\"trusted\":true", "\"trusted\":false");
    write(&cli, &lines);
    let ended = cli.run(&["replay", "a.jsonl"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    let shown = format!(
        "error: the machine does something else than what was recorded\n  --> a.jsonl:{}\n  \
         recorded: {}\n  replayed: {real}\n\
         hint: if the change is meant, `ngit-sync replay --bless` rewrites the recording\n",
        dial + 1,
        lines[dial]
    );
    assert_eq!(ended.stderr, shown);

    assert_eq!(cli.run(&["replay", "--bless", "a.jsonl"]).stdout, "rewrote a.jsonl\n");
    assert_eq!(cli.run(&["replay", "--bless", "a.jsonl"]).stdout, "nothing changed\n");
    assert_eq!(cli.run(&["replay", "a.jsonl"]).code, Some(0));
}

#[test]
fn what_is_no_recording_is_told_so() {
    let cli = Cli::new();
    cli.write("a.jsonl", "hello\n");
    let ended = cli.run(&["replay", "a.jsonl"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("error: a.jsonl is no recording\n"), "{}", ended.stderr);
}
