//! Precedence, origins and errors of the layers.

use std::fs;

use serde_json::json;

use super::*;
use crate::term::Paint;

fn around(variables: &[(&str, &str)]) -> Surroundings {
    let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Surroundings {
        state_dir: Some("/state/ngit-sync".into()),
        runtime_dir: Some("/run/ngit-sync".into()),
        variables: variables.collect(),
        ..Surroundings::default()
    }
}

fn with_file(text: &str) -> (tempfile::TempDir, CommandLine) {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let path = dir.path().join("a.toml");
    fs::write(&path, text).expect("the file can be written");
    (dir, CommandLine { file: Some(path), ..CommandLine::default() })
}

fn rendered(line: &CommandLine, around: &Surroundings) -> (Exit, String) {
    let failure = load(line, around).expect_err("the configuration is wrong");
    let mut text = failure.render(Paint::Plain, true);
    if let Some(dir) = line.file.as_ref().and_then(|file| file.parent()) {
        text = text.replace(&format!("{}/", dir.display()), "");
    }
    (failure.exit, text)
}

fn origin(loaded: &Loaded, key: &str) -> String {
    loaded.values[key].origin.to_string()
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_the_defaults() {
    let (_dir, mut line) = with_file("[page]\nlimit = 1\nfloor = 1\nmax = 1\n");
    line.set = vec!["page.limit=3".into()];
    let around =
        around(&[("NGIT_SYNC_PAGE_LIMIT", "2"), ("NGIT_SYNC_PAGE_FLOOR", "2"), ("HOME", "/")]);
    let loaded = load(&line, &around).expect("the configuration is right");
    let page = &loaded.settings.core.page;
    assert_eq!((page.limit, page.floor, page.max, page.splits), (3, 2, 1, 256));
    assert_eq!(origin(&loaded, "page.limit"), "--set page.limit=3");
    assert_eq!(origin(&loaded, "page.floor"), "environment NGIT_SYNC_PAGE_FLOOR");
    assert!(origin(&loaded, "page.max").ends_with("a.toml:4:1"));
    assert_eq!(origin(&loaded, "page.splits"), "default");
}

#[test]
fn a_flag_with_a_key_of_its_own_wins_over_the_environment_too() {
    let flag =
        Assignment { key: "sync.relays", flag: "--relay", value: json!(["wss://a.example/"]) };
    let line = CommandLine { flags: vec![flag], ..CommandLine::default() };
    let loaded = load(&line, &around(&[("NGIT_SYNC_SYNC_RELAYS", "wss://b.example/")]))
        .expect("the configuration is right");
    assert_eq!(loaded.settings.core.sync.relays, ["wss://a.example/"]);
}

#[test]
fn store_and_socket_go_to_the_platforms_directories_unless_set() {
    let loaded = load(&CommandLine::default(), &around(&[])).expect("defaults are right");
    assert_eq!(loaded.settings.data_dir, Some("/state/ngit-sync".into()));
    assert_eq!(loaded.settings.socket.0, Some("/run/ngit-sync/control.sock".into()));

    let around = Surroundings { runtime_dir: None, ..around(&[("NGIT_SYNC_DATA_DIR", "/d")]) };
    let loaded = load(&CommandLine::default(), &around).expect("the configuration is right");
    assert_eq!(loaded.settings.socket.0, Some("/d/control.sock".into()));

    let line = CommandLine { set: vec!["socket=off".into()], ..CommandLine::default() };
    let loaded = load(&line, &around).expect("the configuration is right");
    assert_eq!(loaded.settings.socket.0, None);
}

#[test]
fn unknown_keys_of_a_file_name_line_column_and_the_nearest_key() {
    let (_dir, line) = with_file("http = \"off\"\n\n[health]\n  backof_max = \"1h\"\n[helth]\n");
    let (exit, text) = rendered(&line, &around(&[]));
    assert_eq!(exit, Exit::ConfigInvalid);
    assert_eq!(
        text,
        "error: unknown key `health.backof_max`\n  --> a.toml:4:3\n\
         hint: did you mean `health.backoff_max`?\n\n\
         error: unknown key `helth`\n  --> a.toml:5:2\n\
         hint: `ngit-sync check-config --show-origin` lists every key\n"
    );
}

#[test]
fn wrong_values_name_where_they_are_and_what_is_expected() {
    let (_dir, mut line) =
        with_file("[dial]\ndns_timeout = 5\n[page]\nmax = \"many\"\n[sync]\nrelays = [\"x\"]\n");
    line.set = vec!["page.floor=x".into()];
    let (_, text) = rendered(&line, &around(&[("NGIT_SYNC_HTTP", "here")]));
    assert_eq!(
        text,
        "error: `page.floor` is wrong: expected a number, found `x`\n  --> --set page.floor=x\n\n\
         error: `dial.dns_timeout` is wrong: `5` is no span of time; \
         write for example `200ms`, `5s`, `15m`, `1h` or `1d`\n  --> a.toml:2:1\n\n\
         error: `http` is wrong: invalid socket address syntax\n  \
         --> environment variable NGIT_SYNC_HTTP\n\n\
         error: `page.max` is wrong: invalid type: string \"many\", expected u32\n  \
         --> a.toml:4:1\n\n\
         error: `sync.relays` is wrong: `x`: a relay URL begins with wss:// or ws://\n  \
         --> a.toml:6:1\n"
    );
}

#[test]
fn what_is_no_toml_names_line_and_column() {
    let (_dir, line) = with_file("[page]\nmax = \n");
    let (exit, text) = rendered(&line, &around(&[]));
    assert_eq!(exit, Exit::ConfigInvalid);
    assert!(text.starts_with("error: no valid TOML: "), "{text}");
    assert!(text.contains("  --> a.toml:2:"), "{text}");
}

#[test]
fn a_variable_outside_the_table_is_an_error_that_names_the_nearest() {
    let (exit, text) =
        rendered(&CommandLine::default(), &around(&[("NGIT_SYNC_HEALTH_BACKOF_MAX", "1h")]));
    assert_eq!(exit, Exit::ConfigInvalid);
    assert_eq!(
        text,
        "error: unknown environment variable `NGIT_SYNC_HEALTH_BACKOF_MAX`\n\
         hint: did you mean `NGIT_SYNC_HEALTH_BACKOFF_MAX`?\n"
    );
}

#[test]
fn an_unknown_key_of_a_flag_is_wrong_usage() {
    let line = CommandLine { set: vec!["pages.max=1".into(), "x".into()], ..Default::default() };
    let (exit, text) = rendered(&line, &around(&[]));
    assert_eq!(exit, Exit::Usage);
    assert_eq!(
        text,
        "error: unknown key `pages.max`\n  --> --set pages.max=1\nhint: did you mean `page.max`?\n\n\
         error: `--set x` has no `=`\nhint: write `--set key=value`, \
         for example `--set health.backoff_max=30m`\n"
    );
}

#[test]
fn older_variables_are_taken_in_their_unit_with_one_warning_each() {
    let around = around(&[
        ("NGIT_SYNC_RELAY_URL", "wss://old.example/"),
        ("NGIT_SYNC_SYNC_RELAYS", "wss://new.example/"),
        ("NGIT_SYNC_MAX_BACKOFF_SECS", "90"),
        ("NGIT_SYNC_STARTUP_DELAY_SECS", "30"),
        ("NGIT_SYNC_RECONNECT_DELAY_SECS", "10"),
        ("NGIT_SYNC_RECONNECT_LOOKBACK_DAYS", "3"),
        ("NGIT_METRICS_ENABLED", "false"),
        ("NGIT_ABUSE_THRESHOLD", "11"),
        ("NGIT_TOP_N_REPOS", "12"),
        ("NGIT_DOMAIN", "belongs to another program"),
    ]);
    let loaded = load(&CommandLine::default(), &around).expect("the configuration is right");
    let settings = &loaded.settings;
    assert_eq!(settings.core.sync.relays, ["wss://new.example/", "wss://old.example/"]);
    assert_eq!(settings.core.health.backoff_max.to_string(), "90s");
    assert_eq!(settings.core.sync.startup_delay.to_string(), "30s");
    assert_eq!(settings.core.sync.reconnect_delay.to_string(), "10s");
    assert_eq!(settings.core.sync.reconnect_overlap.to_string(), "3d");
    assert!(!settings.metrics.enabled);
    assert_eq!(settings.serve.abuse_threshold, 11);
    assert_eq!(settings.metrics.top_repositories, 12);
    assert_eq!(loaded.warnings.len(), 8, "{:?}", loaded.warnings);
    let first = "NGIT_SYNC_RELAY_URL is an older name; use NGIT_SYNC_SYNC_RELAYS (`sync.relays`)";
    assert_eq!(loaded.warnings[0], first);
}

#[test]
fn an_older_variable_never_wins_against_todays() {
    let around =
        around(&[("NGIT_SYNC_MAX_BACKOFF_SECS", "90"), ("NGIT_SYNC_HEALTH_BACKOFF_MAX", "30m")]);
    let loaded = load(&CommandLine::default(), &around).expect("the configuration is right");
    assert_eq!(loaded.settings.core.health.backoff_max.to_string(), "30m");
    let ignored = "NGIT_SYNC_MAX_BACKOFF_SECS is ignored, because NGIT_SYNC_HEALTH_BACKOFF_MAX is set as well";
    assert_eq!(loaded.warnings, [ignored]);
}

#[test]
fn filters_of_a_file_are_json_texts_or_tables() {
    let (_dir, line) =
        with_file("[accept]\nfilters = ['{\"kinds\":[1]}', { kinds = [1], \"#d\" = [\"x\"] }]\n");
    let loaded = load(&line, &around(&[])).expect("the configuration is right");
    let filters = serde_json::to_value(&loaded.settings.core.accept.filters);
    assert_eq!(
        filters.expect("filters are plain data"),
        json!([{"kinds": [1]}, {"kinds": [1], "#d": ["x"]}])
    );
}

#[test]
fn a_secret_key_in_the_configuration_is_refused_and_not_shown() {
    let (_dir, line) = with_file("[auth]\n\"wss://a.example/\" = \"nsec1qqqqqq\"\n");
    let (exit, text) = rendered(&line, &around(&[]));
    assert_eq!(exit, Exit::ConfigInvalid);
    assert!(text.contains("`auth` is wrong: it holds a secret key"), "{text}");
    assert!(!text.contains("nsec1"), "{text}");
}

#[test]
fn a_file_that_was_named_must_exist_and_the_usual_one_need_not() {
    let line = CommandLine { file: Some("/nowhere/a.toml".into()), ..CommandLine::default() };
    let (exit, text) = rendered(&line, &around(&[]));
    assert_eq!(exit, Exit::ConfigInvalid);
    assert!(text.starts_with("error: cannot read "), "{text}");
    let around = Surroundings { config_file: Some("/nowhere/a.toml".into()), ..around(&[]) };
    let loaded = load(&CommandLine::default(), &around).expect("the usual file is optional");
    assert_eq!(loaded.file, None);
}
