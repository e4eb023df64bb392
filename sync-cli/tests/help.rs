//! What a person reads before anything runs: help, completions, manual pages, wrong usage.

mod common;

use common::Cli;

/// Every command, as its help is asked for.
const COMMANDS: [&str; 16] = [
    "run",
    "sync",
    "verify",
    "status",
    "relays",
    "relays list",
    "relays accept-gap",
    "explain",
    "events",
    "events export",
    "events count",
    "demo",
    "replay",
    "check-config",
    "completions",
    "man",
];

#[test]
fn help_is_as_it_was_reviewed() {
    let cli = Cli::new();
    for (name, args) in [("short", &["-h"][..]), ("long", &["--help"])] {
        let ended = cli.run(args);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        insta::assert_snapshot!(name, ended.stdout);
    }
    for command in COMMANDS {
        let args: Vec<_> = command.split(' ').chain(["-h"]).collect();
        let ended = cli.run(&args);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{command}");
        insta::assert_snapshot!(command.replace(' ', "_"), ended.stdout);
    }
}

#[test]
fn every_command_of_the_main_help_is_in_the_list() {
    let help = Cli::new().run(&["--help"]).stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let named: Vec<_> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    let listed: Vec<_> = COMMANDS.into_iter().filter(|name| !name.contains(' ')).collect();
    assert_eq!(named, listed);
}

#[test]
fn the_help_is_never_wider_than_100_columns() {
    let cli = Cli::new();
    for command in COMMANDS {
        let args: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let output =
            cli.command(&args).env("COLUMNS", "200").output().expect("the binary can be run");
        let help = String::from_utf8(output.stdout).expect("help is UTF-8");
        let widest = help.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{command}: {widest:?}");
    }
}

#[test]
fn unknown_flags_and_commands_are_wrong_usage_and_name_the_nearest() {
    let cli = Cli::new();
    let ended = cli.run(&["run", "--relais", "wss://a"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    insta::assert_snapshot!("unknown_flag", ended.stderr);
    let ended = cli.run(&["statsu"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    insta::assert_snapshot!("unknown_command", ended.stderr);
}

#[test]
fn a_filter_that_is_no_json_is_wrong_usage() {
    let ended = Cli::new().run(&["sync", "--filter", "kinds=1"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    assert!(ended.stderr.contains("`kinds=1` is no JSON"), "{}", ended.stderr);
}

#[test]
fn completions_name_every_command_for_every_shell() {
    let cli = Cli::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = cli.run(&["completions", shell]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{shell}");
        for command in COMMANDS.iter().filter(|name| !name.contains(' ')) {
            assert!(ended.stdout.contains(command), "{shell} does not know {command}");
        }
    }
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let cli = Cli::new();
    let page = cli.run(&["man"]);
    assert_eq!((page.code, page.stderr.as_str()), (Some(0), ""));
    assert!(page.stdout.contains(".TH ngit-sync 1"), "{}", page.stdout);
    std::fs::create_dir(cli.home().join("pages")).expect("a directory can be made");
    assert_eq!(cli.run(&["man", "--dir", "pages"]).code, Some(0));
    for command in COMMANDS {
        let name = format!("pages/ngit-sync-{}.1", command.replace(' ', "-"));
        let page = std::fs::read_to_string(cli.home().join(&name)).unwrap_or_default();
        assert!(page.contains(".SH SYNOPSIS"), "{name}");
    }
}
