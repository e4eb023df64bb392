//! The shell's configuration: its own sections beside those of the core, and the one table of all
//! keys. Layers, files and environment are the business of whoever fills it in.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::de::IntoDeserializer;
use serde::de::value::StringDeserializer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sync_core::config::{Config, Key, core_keys};
use sync_core::sections;
use sync_core::url::RelayUrl;

/// A place to listen at or to write to, or `off`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrOff<T>(pub Option<T>);

impl<T> OrOff<T> {
    /// Nowhere.
    pub const OFF: Self = Self(None);
}

impl<T: Serialize> Serialize for OrOff<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(place) => place.serialize(serializer),
            None => serializer.serialize_str("off"),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OrOff<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" {
            return Ok(Self(None));
        }
        let place: StringDeserializer<D::Error> = text.into_deserializer();
        T::deserialize(place).map(|place| Self(Some(place)))
    }
}

/// What a recording keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordLevel {
    /// Inputs and outputs of the core, without event bodies.
    #[default]
    Control,
    /// Whole relay frames too, so that a replay goes through the data plane as well.
    Frames,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

sections! { shell_keys;
    /// Metrics.
    "metrics." MetricsConfig {
        /// Whether metrics are kept, exported and rolled up.
        enabled: bool = true,
        /// Repositories that become label values, by bandwidth (OWN-4).
        top_repositories: u32 = 10,
    }
    /// The relay that is served (OWN-1).
    "serve." ServeConfig {
        /// Where clients connect, or `off`.
        listen: OrOff<SocketAddr> = OrOff::OFF,
        /// Connections of one address above which it is flagged (OWN-3).
        abuse_threshold: u32 = 10,
        /// Connections of all clients.
        max_connections: u32 = 1000,
    }
    /// The recording.
    "record." RecordConfig {
        /// Where the recording is written, or `off`.
        file: OrOff<PathBuf> = OrOff::OFF,
        /// What it keeps: `control` or `frames`.
        level: RecordLevel = RecordLevel::Control,
    }
    /// Logs.
    "log." LogConfig {
        /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `sync_runtime=debug`.
        level: String = "info".into(),
        /// `text` or `json`.
        format: LogFormat = LogFormat::Text,
    }
}

/// Everything that can be configured. The core's sections are top-level tables beside the shell's.
///
/// Unknown keys are not found here but by the table [`keys`]: flattened sections cannot tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Directory of the store; `None` is for whoever fills this in to replace by the platform's
    /// state directory.
    pub data_dir: Option<PathBuf>,
    /// Where metrics, status page and reads of the control API listen.
    pub http: OrOff<SocketAddr>,
    /// Path of the control socket; `off` unless whoever fills this in names the platform's runtime
    /// directory.
    pub socket: OrOff<PathBuf>,
    /// Metrics.
    pub metrics: MetricsConfig,
    /// The relay that is served.
    pub serve: ServeConfig,
    /// The recording.
    pub record: RecordConfig,
    /// Logs.
    pub log: LogConfig,
    /// Files with the secret keys that answer AUTH challenges, by relay (TALK-4).
    pub auth: BTreeMap<RelayUrl, PathBuf>,
    /// The machine's sections.
    #[serde(flatten)]
    pub core: Config,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: None,
            http: OrOff(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7335)))),
            socket: OrOff::OFF,
            metrics: MetricsConfig::default(),
            serve: ServeConfig::default(),
            record: RecordConfig::default(),
            log: LogConfig::default(),
            auth: BTreeMap::new(),
            core: Config::default(),
        }
    }
}

/// Every key with its default: first those without a section, then the shell's, then the core's.
pub fn keys() -> Vec<Key> {
    let settings = Settings::default();
    let mut keys = vec![
        top("data_dir", &settings.data_dir, "Directory of the store."),
        top("http", &settings.http, "Where metrics and reads of the API listen, or `off`."),
        top("socket", &settings.socket, "Path of the control socket, or `off`."),
        top("auth", &settings.auth, "Files with keys that answer AUTH, by relay (TALK-4)."),
    ];
    keys.extend(shell_keys());
    keys.extend(core_keys());
    keys
}

fn top(name: &'static str, default: &impl Serialize, doc: &'static str) -> Key {
    Key { name, default: serde_json::to_string(default).unwrap_or_default(), doc }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_survive_a_round_trip() {
        let text = serde_json::to_string(&Settings::default()).expect("settings are plain data");
        let back: Settings = serde_json::from_str(&text).expect("what was written can be read");
        assert_eq!(back, Settings::default());
    }

    #[test]
    fn every_key_of_the_table_is_a_field_and_every_field_is_in_the_table() {
        let value = serde_json::to_value(Settings::default()).expect("settings are plain data");
        let mut fields = Vec::new();
        for (name, value) in value.as_object().expect("a struct is an object") {
            match value.as_object().filter(|_| name != "auth") {
                Some(section) => fields.extend(section.keys().map(|key| format!("{name}.{key}"))),
                None => fields.push(name.clone()),
            }
        }
        // How often the core works is decided by the command, never by configuration.
        fields.retain(|name| name != "once");
        let mut names: Vec<_> = keys().iter().map(|key| key.name.to_owned()).collect();
        fields.sort();
        names.sort();
        assert_eq!(fields, names);
    }

    #[test]
    fn sections_of_the_core_are_read_beside_those_of_the_shell() {
        let text = r#"{"http":"off","serve":{"listen":"127.0.0.1:80"},"page":{"max":7},
            "auth":{"wss://relay.example/":"/keys/a"}}"#;
        let settings: Settings = serde_json::from_str(text).expect("the text is valid");
        assert_eq!(settings.http, OrOff::OFF);
        assert_eq!(settings.serve.listen, OrOff(Some(SocketAddr::from(([127, 0, 0, 1], 80)))));
        assert_eq!(settings.core.page.max, 7);
        assert_eq!(settings.core.page.limit, 500);
        let key = settings.auth.values().next().expect("one relay is named");
        assert_eq!(key, &PathBuf::from("/keys/a"));
    }

    #[test]
    fn an_address_that_cannot_be_read_is_an_error() {
        let result = serde_json::from_str::<Settings>(r#"{"http":"nowhere"}"#);
        assert!(result.expect_err("no address").to_string().contains("socket address"));
    }
}
