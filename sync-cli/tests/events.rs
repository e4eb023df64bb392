//! `events`: what is in a store that a library of the same workspace wrote.

mod common;

use std::process::Stdio;
use std::sync::Arc;

use common::Cli;
use nostr::event::{EventBuilder, FinalizeEvent, Kind};
use nostr::key::{Keys, SecretKey};
use nostr::types::Timestamp;
use sync_runtime::store::{Commit, EventStore, NewEvent, Store, StoreOptions};

/// A store below the home with these events: (kind, created_at).
fn store(cli: &Cli, events: &[(u16, u64)]) {
    let key = SecretKey::from_slice(&[7; 32]).expect("the key is valid");
    let keys = Keys::new(key);
    let events = events.iter().map(|(kind, at)| {
        let event = EventBuilder::new(Kind::from(*kind), format!("{kind} at {at}"))
            .custom_created_at(Timestamp::from_secs(*at))
            .finalize(&keys)
            .expect("the event can be signed");
        let raw = Arc::from(serde_json::to_string(&event).expect("an event is plain data"));
        NewEvent { event: Arc::new(event), raw, outbox: false }
    });
    let options = StoreOptions { map_size: 64 << 20, ..StoreOptions::default() };
    let store = Store::open(&cli.home().join("d"), options).expect("the directory is ours");
    let now = Timestamp::from_secs(2_000_000_000);
    let commit = Commit { now, events: events.collect(), ..Commit::default() };
    store.commit(&commit).expect("there is space");
}

#[test]
fn events_are_exported_newest_first_one_a_line_and_counted() {
    let cli = Cli::new();
    store(&cli, &[(1621, 10), (1617, 30), (1621, 20)]);
    let ended = cli.run(&["events", "export", "--data-dir", "d"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let contents: Vec<_> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line is JSON"))
        .map(|event| event["content"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(contents, ["1617 at 30", "1621 at 20", "1621 at 10"]);

    let filter = "{\"kinds\":[1621],\"limit\":1}";
    let ended = cli.run(&["events", "export", "--data-dir", "d", "--filter", filter]);
    assert_eq!(ended.stdout.lines().count(), 1);
    assert!(ended.stdout.contains("1621 at 20"), "{}", ended.stdout);
    let ended = cli.run(&["events", "count", "--data-dir", "d", "--filter", "{\"kinds\":[1621]}"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "2\n"));
}

#[test]
fn a_store_that_is_not_there_says_where_it_was_looked_for() {
    let ended = Cli::new().run(&["events", "count", "--data-dir", "d"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(13), ""));
    assert_eq!(
        ended.stderr,
        "error: cannot read the store\n  caused by: there is no store in d\n\
         hint: name its directory with --data-dir\n"
    );
}

#[test]
fn an_export_ends_quietly_when_its_reader_does() {
    let cli = Cli::new();
    // More than the buffers of a pipe and of the process hold.
    let events: Vec<_> = (0..1000).map(|at| (1621, at)).collect();
    store(&cli, &events);
    let mut command = cli.command(&["events", "export", "--data-dir", "d"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn a_filter_that_is_none_is_wrong_usage() {
    let ended = Cli::new().run(&["events", "count", "--filter", "{\"kinds\":1}"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    assert!(ended.stderr.contains("no NIP-01 filter"), "{}", ended.stderr);
}
