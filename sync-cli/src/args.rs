//! The command line: what every command shares, and the options of syncing with their keys.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, ValueEnum, ValueHint};
use serde_json::{Value, json};

use crate::command::Command;
use crate::config::{Assignment, CommandLine, parse_filter};
use crate::exit::Exit;
use crate::term::ColorChoice;

/// Keep a store of Nostr events complete and current.
#[derive(Debug, Parser)]
#[command(
    name = "ngit-sync",
    version,
    max_term_width = 100,
    after_help = "Every key of the configuration is also `--set key=value` and an environment \
        variable NGIT_SYNC_KEY.\n`ngit-sync check-config --show-origin` lists them all.",
    after_long_help = format!(
        "{}\n\nEvery key of the configuration is also `--set key=value` and an environment variable:\n\
         `health.backoff_max` is NGIT_SYNC_HEALTH_BACKOFF_MAX. Flags win over the environment, the\n\
         environment over the file, the file over the defaults.\n\
         `ngit-sync check-config --show-origin` lists every key, its value and where it came from.\n\n\
         Examples:\n  \
         ngit-sync demo\n  \
         ngit-sync run --relay wss://relay.example --domain git.example\n  \
         ngit-sync sync --relay wss://relay.example --archive-all",
        Exit::help()
    ),
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Read this configuration file
    #[arg(short, long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Set a key of the configuration (repeatable)
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// When to colour the output
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
    /// Write marks in ASCII
    #[arg(long, global = true)]
    pub(crate) ascii: bool,
    /// Say less: -q no progress and hints, -qq errors only
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) quiet: u8,
    /// Log more: -v info, -vv debug, -vvv trace
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// How log lines are written [key=log.format]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// `--log-format`: for people, or one JSON object a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Global {
    /// What the command line says to the configuration.
    pub(crate) fn with(&self, mut flags: Vec<Assignment>) -> CommandLine {
        if let Some(format) = self.log_format {
            let text = match format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            };
            flags.push(flag("log.format", "--log-format", text));
        }
        let level = match self.verbose {
            0 => None,
            1 => Some(("-v", "info")),
            2 => Some(("-vv", "debug")),
            3.. => Some(("-vvv", "trace")),
        };
        flags.extend(level.map(|(name, level)| flag("log.level", name, level)));
        CommandLine { file: self.config.clone(), set: self.set.clone(), flags }
    }
}

fn flag(key: &'static str, flag: &'static str, value: impl Into<Value>) -> Assignment {
    Assignment { key, flag, value: value.into() }
}

/// Where the store is.
#[derive(Debug, Default, Args)]
pub(crate) struct StoreOptions {
    /// Directory of the store [key=data_dir]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data_dir: Option<PathBuf>,
}

impl StoreOptions {
    /// The keys that these flags set.
    pub(crate) fn flags(&self) -> Vec<Assignment> {
        let dir = self.data_dir.as_ref();
        dir.map(|dir| flag("data_dir", "--data-dir", dir.to_string_lossy())).into_iter().collect()
    }
}

/// What is synced, and whose events are taken.
#[derive(Debug, Default, Args)]
pub(crate) struct SyncOptions {
    /// Sync from this relay (repeatable) [key=sync.relays]
    #[arg(long = "relay", value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) relays: Vec<String>,
    #[command(flatten)]
    pub(crate) want: WantOptions,
}

/// What is wanted of the relays, and where the store is.
#[derive(Debug, Default, Args)]
pub(crate) struct WantOptions {
    /// Take announcements that list this domain (repeatable) [key=accept.domains]
    #[arg(long = "domain", value_name = "HOST", value_hint = ValueHint::Hostname)]
    pub(crate) domains: Vec<String>,
    /// Take every announcement [key=accept.archive]
    #[arg(long)]
    pub(crate) archive_all: bool,
    /// Take these announcements: npub, npub/identifier, identifier or grasp:host (repeatable)
    /// [key=accept.archive]
    #[arg(long, value_name = "WHAT")]
    pub(crate) archive: Vec<String>,
    /// Mirror what matches this NIP-01 filter (repeatable) [key=accept.filters]
    #[arg(long = "filter", value_name = "JSON", value_parser = parse_filter)]
    pub(crate) filters: Vec<Value>,
    /// Keep to the relays that are named [key=sync.discover]
    #[arg(long)]
    pub(crate) no_discovery: bool,
    /// Never use NIP-77 [key=sync.negentropy]
    #[arg(long)]
    pub(crate) no_negentropy: bool,
    /// Dial private addresses and plain ws:// of discovered relays [key=dial.allow_private]
    #[arg(long)]
    pub(crate) allow_private: bool,
    /// Write a recording that replays byte for byte [key=record.file]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) record: Option<PathBuf>,
    /// Run beside this relay: read from it, and send it what is accepted [key=sync.own_relay]
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) own_relay: Option<String>,
    /// A URL under which the served relay is reached (repeatable) [key=identity.urls]
    #[arg(long = "own-url", value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) own_urls: Vec<String>,
    #[command(flatten)]
    pub(crate) store: StoreOptions,
}

impl SyncOptions {
    /// The keys that these flags set.
    pub(crate) fn flags(&self) -> Vec<Assignment> {
        let mut flags = self.want.flags();
        if !self.relays.is_empty() {
            flags.push(flag("sync.relays", "--relay", json!(self.relays)));
        }
        flags
    }
}

impl WantOptions {
    /// The keys that these flags set.
    pub(crate) fn flags(&self) -> Vec<Assignment> {
        let mut archive = self.archive.clone();
        if self.archive_all {
            archive.insert(0, "all".into());
        }
        let archive_flag = if self.archive_all { "--archive-all" } else { "--archive" };
        let lists = [
            ("accept.domains", "--domain", &self.domains),
            ("accept.archive", archive_flag, &archive),
            ("identity.urls", "--own-url", &self.own_urls),
        ];
        let mut flags = self.store.flags();
        for (key, name, values) in lists {
            if !values.is_empty() {
                flags.push(flag(key, name, json!(values)));
            }
        }
        if !self.filters.is_empty() {
            flags.push(flag("accept.filters", "--filter", json!(self.filters)));
        }
        let switches = [
            (self.no_discovery, "sync.discover", "--no-discovery", false),
            (self.no_negentropy, "sync.negentropy", "--no-negentropy", false),
            (self.allow_private, "dial.allow_private", "--allow-private", true),
        ];
        for (given, key, name, value) in switches {
            if given {
                flags.push(flag(key, name, value));
            }
        }
        let record = self.record.as_ref().map(|file| file.to_string_lossy());
        flags.extend(record.map(|file| flag("record.file", "--record", file)));
        flags.extend(
            self.own_relay.iter().map(|url| flag("sync.own_relay", "--own-relay", url.as_str())),
        );
        flags
    }
}

/// Where the daemon listens.
#[derive(Debug, Default, Args)]
pub(crate) struct ListenOptions {
    /// Metrics, status page and reads of the API listen here, or `off` [key=http]
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<String>,
    /// The control socket, or `off` [key=socket]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) socket: Option<String>,
    /// Whether metrics are kept and exported [key=metrics.enabled]
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) metrics_enabled: Option<bool>,
}

impl ListenOptions {
    /// The keys that these flags set.
    pub(crate) fn flags(&self) -> Vec<Assignment> {
        let texts = [("http", "--http", &self.http), ("socket", "--socket", &self.socket)];
        let texts = texts
            .into_iter()
            .filter_map(|(key, name, text)| Some(flag(key, name, text.as_deref()?)));
        let enabled = self.metrics_enabled;
        texts
            .chain(enabled.map(|enabled| flag("metrics.enabled", "--metrics-enabled", enabled)))
            .collect()
    }
}

/// Which daemon is asked.
#[derive(Debug, Default, Args)]
pub(crate) struct DaemonOptions {
    /// Its control socket, or http://HOST:PORT for reading [key=socket]
    #[arg(long, value_name = "PLACE", value_hint = ValueHint::FilePath)]
    pub(crate) socket: Option<String>,
}
