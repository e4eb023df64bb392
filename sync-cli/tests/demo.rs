//! `demo` as a whole process: no network but loopback, nothing missing, nothing left behind.

mod common;

use common::Cli;

#[test]
fn the_demo_catches_up_through_a_cut_and_a_strict_relay_and_leaves_nothing_behind() {
    let cli = Cli::new();
    let scratch = cli.home().join("tmp");
    std::fs::create_dir(&scratch).expect("a directory can be made");
    let output = cli.command(&["demo"]).env("TMPDIR", &scratch).output();
    let ended = cli.ended(output.expect("the binary can be run"));
    assert_eq!(ended.code, Some(0), "{ended}");
    let last = ended.stdout.lines().last().unwrap_or_default();
    let all = "● one connection was cut, nothing is missing: 372 events in ";
    assert!(last.starts_with(all) && last.ends_with(", and one live"), "{ended}");
    let left = std::fs::read_dir(&scratch).expect("it is there").count();
    assert_eq!(left, 0, "the demo left its store behind");
}
