//! Configuration as a whole process reads it: files, environment, flags, and what is wrong with them.

mod common;

use std::io::Read;
use std::process::Stdio;

use common::Cli;

#[test]
fn without_anything_configured_all_is_well() {
    let ended = Cli::new().run(&["check-config"]);
    assert_eq!(
        ended.to_string(),
        "exit Some(0)\n----- stdout\n● no file, 0 keys set\n----- stderr\n"
    );
}

#[test]
fn the_usual_file_is_read_and_another_one_when_it_is_named() {
    let cli = Cli::new();
    cli.write(".config/ngit-sync/config.toml", "[page]\nmax = 1\n");
    cli.write("other.toml", "data_dir = \"d\"\n[page]\nmax = 2\n");
    let stdout = cli.run(&["check-config"]).stdout;
    assert_eq!(stdout, "● [HOME]/.config/ngit-sync/config.toml, 1 key set\n");
    let stdout = cli.run(&["check-config", "--ascii", "-c", "other.toml"]).stdout;
    assert_eq!(stdout, "* other.toml, 2 keys set\n");
}

#[test]
fn every_key_is_shown_with_its_value_and_origin() {
    let cli = Cli::new();
    cli.write(
        "a.toml",
        "[sync]\nrelays = [\"wss://a.example/\"]\n\n[health]\nbackoff_max = \"2h\"\n",
    );
    let args = ["check-config", "--show-origin", "-c", "a.toml", "--set", "socket=/s", "-v"];
    let ended = cli.run_with(&args, &[("NGIT_SYNC_HTTP", "off"), ("NGIT_SYNC_DATA_DIR", "/d")]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!("show_origin", ended.stdout);
}

#[test]
fn what_is_wrong_with_a_file_is_shown_with_line_column_and_hint() {
    let cli = Cli::new();
    cli.write("a.toml", "[health]\nbackof_max = \"1h\"\n\n[page]\nmax = \"many\"\nlimit = 5\n");
    let ended = cli.run(&["check-config", "-c", "a.toml"]);
    assert_eq!(ended.code, Some(14));
    insta::assert_snapshot!("wrong_file", ended);
}

#[test]
fn quiet_leaves_the_error_and_drops_the_hint() {
    let ended = Cli::new().run(&["check-config", "-q", "--set", "page.maxx=1"]);
    assert_eq!(ended.code, Some(2));
    assert_eq!(ended.stderr, "error: unknown key `page.maxx`\n  --> --set page.maxx=1\n");
}

#[test]
fn an_unknown_variable_is_an_error_and_an_older_one_a_warning() {
    let cli = Cli::new();
    let ended = cli.run_with(&["check-config"], &[("NGIT_SYNC_DATADIR", "/d")]);
    assert_eq!(ended.code, Some(14));
    insta::assert_snapshot!("unknown_variable", ended.stderr);
    let ended = cli.run_with(&["check-config"], &[("NGIT_SYNC_MAX_BACKOFF_SECS", "90")]);
    assert_eq!(ended.code, Some(0));
    assert_eq!(
        ended.stderr,
        "warning: NGIT_SYNC_MAX_BACKOFF_SECS is an older name; \
         use NGIT_SYNC_HEALTH_BACKOFF_MAX (`health.backoff_max`)\n"
    );
    let quiet = cli.run_with(&["check-config", "-qq"], &[("NGIT_SYNC_MAX_BACKOFF_SECS", "90")]);
    assert_eq!(quiet.stderr, "");
}

#[test]
fn colour_comes_when_asked_for_and_never_into_a_pipe_by_itself() {
    let cli = Cli::new();
    let plain = cli.command(&["check-config"]).env_remove("NO_COLOR").output();
    assert_eq!(cli.ended(plain.expect("the binary can be run")).stdout, "● no file, 0 keys set\n");
    let asked = cli.run(&["check-config", "--color", "always"]).stdout;
    assert_eq!(asked, "\u{1b}[32m●\u{1b}[0m no file, 0 keys set\n");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let cli = Cli::new();
    let mut command = cli.command(&["completions", "zsh"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    let mut stderr = String::new();
    let mut pipe = child.stderr.take().expect("it is piped");
    pipe.read_to_string(&mut stderr).expect("stderr is text");
    let status = child.wait().expect("it ends");
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn syncing_needs_a_relay_and_something_to_accept() {
    let cli = Cli::new();
    for command in ["run", "sync"] {
        let ended = cli.run(&[command]);
        assert_eq!(ended.code, Some(2));
        assert_eq!(
            ended.stderr,
            "error: no relay to sync from\n\
             hint: name one with `--relay wss://…`, or in the file as `sync.relays`\n"
        );
        let ended = cli.run(&[command, "--relay", "wss://a.example"]);
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.starts_with("error: nothing would be accepted\n"), "{}", ended.stderr);
    }
}

#[test]
fn a_failure_of_a_command_that_speaks_json_is_json() {
    let ended = Cli::new().run(&["sync", "--json"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    let line: serde_json::Value = serde_json::from_str(&ended.stderr).expect("stderr is JSON");
    assert_eq!(line["type"], "exit_error");
    assert_eq!(line["code"], 2);
    assert_eq!(line["message"], "no relay to sync from");
}
