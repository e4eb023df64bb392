//! Layers of configuration: defaults < file < environment < flags, as one map of dotted keys. Each
//! value keeps its origin, so that an error points at the line, variable or flag it came from.

mod check;
mod environment;
mod file;
mod table;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sync_runtime::settings::Settings;

use crate::exit::Exit;
use crate::failure::Failure;
pub(crate) use check::require_work;
pub(crate) use table::Table;
pub(crate) use value::parse_filter;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody set it.
    Default,
    /// `file:line:column`.
    File(String),
    /// The name of the variable.
    Environment(String),
    /// The flag as it is written.
    Flag(String),
}

impl Origin {
    /// What a wrong value from here means for the exit code.
    fn exit(&self) -> Exit {
        match self {
            Self::Flag(_) => Exit::Usage,
            Self::Default | Self::File(_) | Self::Environment(_) => Exit::ConfigInvalid,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(place) => f.write_str(place),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// Directories of the platform, and what the process was started with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// The file that is read when no other is named and it exists.
    pub(crate) config_file: Option<PathBuf>,
    /// Where the store goes.
    pub(crate) state_dir: Option<PathBuf>,
    /// Where the control socket goes.
    pub(crate) runtime_dir: Option<PathBuf>,
    /// The environment.
    pub(crate) variables: Vec<(String, String)>,
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        let dirs = directories::ProjectDirs::from("", "", "ngit-sync");
        let dir = |pick: fn(&directories::ProjectDirs) -> Option<&Path>| {
            dirs.as_ref().and_then(pick).map(Path::to_path_buf)
        };
        let variables = std::env::vars_os();
        Self {
            config_file: dir(|dirs| Some(dirs.config_dir())).map(|dir| dir.join("config.toml")),
            state_dir: dir(|dirs| Some(dirs.state_dir().unwrap_or(dirs.data_local_dir()))),
            runtime_dir: dir(directories::ProjectDirs::runtime_dir),
            variables: variables
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
        }
    }
}

/// What the command line says: the file, and values by key in the order of their flags.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommandLine {
    /// `-c`.
    pub(crate) file: Option<PathBuf>,
    /// `--set`, unread.
    pub(crate) set: Vec<String>,
    /// Flags with a key of their own.
    pub(crate) flags: Vec<Assignment>,
}

/// A flag that sets a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Assignment {
    pub(crate) key: &'static str,
    pub(crate) flag: &'static str,
    pub(crate) value: Value,
}

/// The merged configuration.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// Ready to use.
    pub(crate) settings: Settings,
    /// Every key with its value and origin.
    pub(crate) values: BTreeMap<String, Setting>,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    /// What a person should change, one line each.
    pub(crate) warnings: Vec<String>,
}

impl Loaded {
    /// Whether anybody set this key.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|setting| setting.origin != Origin::Default)
    }
}

/// Reads and merges all layers. The failure names everything that is wrong, not only the first.
pub(crate) fn load(line: &CommandLine, around: &Surroundings) -> Result<Loaded, Failure> {
    let table = Table::new();
    let mut layers = Layers::new(&table, around);
    let file = match (&line.file, &around.config_file) {
        (Some(named), _) => Some(named.clone()),
        (None, Some(usual)) if usual.exists() => Some(usual.clone()),
        (None, _) => None,
    };
    if let Some(path) = &file {
        file::read(path, &table, &mut layers)?;
    }
    environment::read(&around.variables, &table, &mut layers);
    for Assignment { key, flag, value } in &line.flags {
        layers.put(key, value.clone(), Origin::Flag((*flag).to_owned()));
    }
    for text in &line.set {
        set(text, &table, &mut layers);
    }
    layers.finish(file)
}

/// One `--set key=value`.
fn set(text: &str, table: &Table, layers: &mut Layers) {
    let origin = Origin::Flag(format!("--set {text}"));
    let Some((key, value)) = text.split_once('=') else {
        let failure = Failure::new(Exit::Usage, format!("`--set {text}` has no `=`"))
            .hint("write `--set key=value`, for example `--set health.backoff_max=30m`");
        return layers.failures.push(failure);
    };
    let key = key.trim();
    match table.key(key) {
        Some(known) => match value::from_text(known, value.trim()) {
            Ok(value) => layers.put(key, value, origin),
            Err(reason) => layers.failures.push(wrong_value(key, &origin, &reason)),
        },
        None => layers.failures.push(table.unknown_key(key, &origin)),
    }
}

/// A value that its key does not take.
fn wrong_value(key: &str, origin: &Origin, reason: &str) -> Failure {
    let failure = Failure::new(origin.exit(), format!("`{key}` is wrong: {reason}"));
    match origin {
        Origin::Default => failure,
        Origin::File(place) => failure.at(place),
        Origin::Environment(name) => failure.at(format!("environment variable {name}")),
        Origin::Flag(flag) => failure.at(flag),
    }
}

/// Values while they are merged; later layers win.
struct Layers {
    values: BTreeMap<String, Setting>,
    warnings: Vec<String>,
    failures: Vec<Failure>,
    runtime_dir: Option<PathBuf>,
}

impl Layers {
    fn new(table: &Table, around: &Surroundings) -> Self {
        let mut values: BTreeMap<_, _> = table
            .keys()
            .map(|key| {
                let value = serde_json::from_str(&key.default).unwrap_or(Value::Null);
                (key.name.to_owned(), Setting { value, origin: Origin::Default })
            })
            .collect();
        if let Some(dir) = &around.state_dir {
            let value = Value::from(dir.to_string_lossy().into_owned());
            values.insert("data_dir".into(), Setting { value, origin: Origin::Default });
        }
        Self {
            values,
            warnings: Vec::new(),
            failures: Vec::new(),
            runtime_dir: around.runtime_dir.clone(),
        }
    }

    fn put(&mut self, key: &str, value: Value, origin: Origin) {
        self.values.insert(key.to_owned(), Setting { value, origin });
    }

    /// Checks every value alone, so that each error has its origin, then all of them together.
    fn finish(mut self, file: Option<PathBuf>) -> Result<Loaded, Failure> {
        self.place_socket();
        for (key, setting) in &self.values {
            if setting.origin == Origin::Default {
                continue;
            }
            if let Err(reason) = check::one(key, &setting.value) {
                self.failures.push(wrong_value(key, &setting.origin, &reason));
            }
        }
        if let Some(failure) = Failure::all(self.failures) {
            return Err(failure);
        }
        let nested = nest(self.values.iter().map(|(key, setting)| (key.as_str(), &setting.value)));
        let settings = serde_json::from_value(nested).map_err(|error| {
            Failure::new(Exit::ConfigInvalid, "the configuration is invalid").caused_by(&error)
        })?;
        Ok(Loaded { settings, values: self.values, file, warnings: self.warnings })
    }

    /// The control socket goes to the runtime directory, or beside the store where there is none.
    fn place_socket(&mut self) {
        let Some(socket) = self.values.get_mut("socket") else { return };
        if socket.origin != Origin::Default {
            if let Some(path) = socket.value.as_str().and_then(|text| text.strip_prefix("unix:")) {
                socket.value = Value::from(path);
            }
            return;
        }
        let data_dir = self.values.get("data_dir").and_then(|dir| dir.value.as_str());
        let path = match (&self.runtime_dir, data_dir) {
            (Some(dir), _) => dir.join("control.sock"),
            (None, Some(dir)) => Path::new(dir).join("control.sock"),
            (None, None) => return,
        };
        let value = Value::from(path.to_string_lossy().into_owned());
        self.values.insert("socket".into(), Setting { value, origin: Origin::Default });
    }
}

/// Dotted keys as nested objects.
fn nest<'a>(values: impl Iterator<Item = (&'a str, &'a Value)>) -> Value {
    let mut root = serde_json::Map::new();
    for (key, value) in values {
        match key.split_once('.') {
            None => {
                root.insert(key.to_owned(), value.clone());
            }
            Some((section, field)) => {
                let section =
                    root.entry(section).or_insert_with(|| Value::Object(Default::default()));
                if let Value::Object(fields) = section {
                    fields.insert(field.to_owned(), value.clone());
                }
            }
        }
    }
    Value::Object(root)
}

/// A value as TOML writes it.
pub(crate) fn to_toml(value: &Value) -> String {
    value::to_toml(value)
}

#[cfg(test)]
mod tests;
