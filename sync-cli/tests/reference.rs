//! docs/cli.md is what the program says of itself, and docs/OPERATING.md names its exit codes.
//! `UPDATE_DOCS=1 cargo test -p ngit-sync --test reference` writes the former anew.

mod common;

use std::fs;
use std::path::PathBuf;

use common::Cli;

const HEAD: &str = "# Command line\n\n\
    What the program says of itself; a test holds that this is so. To write it anew:\n\
    `UPDATE_DOCS=1 cargo test -p ngit-sync --test reference`.\n";

fn document(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

/// The help of a command and of those below it.
fn describe(cli: &Cli, command: &[&str], text: &mut String) {
    let args = [command, &["--help"]].concat();
    let ended = cli.run(&args);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{command:?}");
    let help: Vec<_> = ended.stdout.lines().map(str::trim_end).collect();
    let title = [&["ngit-sync"], command].concat().join(" ");
    text.push_str(&format!("\n## {title}\n\n```text\n{}\n```\n", help.join("\n")));
    let commands = help.iter().skip_while(|line| **line != "Commands:").skip(1);
    for line in commands.take_while(|line| !line.is_empty()) {
        // What is wrapped is indented further.
        let name = line.strip_prefix("  ").and_then(|rest| rest.split(' ').next());
        match name.unwrap_or_default() {
            "" | "help" => {}
            name => describe(cli, &[command, &[name]].concat(), text),
        }
    }
}

#[test]
fn the_reference_of_the_command_line_is_what_the_program_says() {
    let mut text = HEAD.to_owned();
    describe(&Cli::new(), &[], &mut text);
    let path = document("cli.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).expect("the document can be written");
    }
    let written = fs::read_to_string(&path).expect("the document exists");
    assert!(written == text, "docs/cli.md is old; its second paragraph says how it is written");
}

#[test]
fn the_exit_codes_of_the_operators_guide_are_those_of_the_help() {
    let help = Cli::new().run(&["--help"]).stdout;
    let codes = help.lines().skip_while(|line| *line != "Exit codes:").skip(1);
    let codes: Vec<_> = codes.map(str::trim).take_while(|line| !line.is_empty()).collect();
    let rows: Vec<_> = codes
        .iter()
        .filter_map(|line| line.split_once("  "))
        .map(|(code, meaning)| format!("| {code} | {} |", meaning.trim()))
        .collect();
    assert_eq!(rows.len(), 16);
    let text = fs::read_to_string(document("OPERATING.md")).expect("the document exists");
    assert!(text.contains(&rows.join("\n")), "docs/OPERATING.md should have\n{}", rows.join("\n"));
}
