//! Variables: names come from the table and are looked up whole, never split. Older names are
//! accepted with one warning each.

use serde_json::Value;

use super::table::PREFIX;
use super::{Layers, Origin, Table, value, wrong_value};

/// How the value of an older name becomes one of today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// As it is.
    Same,
    /// One more of a list.
    OneMore,
    /// A plain number of this unit.
    Unit(&'static str),
}

/// Older name, key, how it is read.
const OLDER: [(&str, &str, Reading); 8] = [
    ("NGIT_SYNC_RELAY_URL", "sync.relays", Reading::OneMore),
    ("NGIT_SYNC_MAX_BACKOFF_SECS", "health.backoff_max", Reading::Unit("s")),
    ("NGIT_SYNC_STARTUP_DELAY_SECS", "sync.startup_delay", Reading::Unit("s")),
    ("NGIT_SYNC_RECONNECT_DELAY_SECS", "sync.reconnect_delay", Reading::Unit("s")),
    ("NGIT_SYNC_RECONNECT_LOOKBACK_DAYS", "sync.reconnect_overlap", Reading::Unit("d")),
    ("NGIT_METRICS_ENABLED", "metrics.enabled", Reading::Same),
    ("NGIT_ABUSE_THRESHOLD", "serve.abuse_threshold", Reading::Same),
    ("NGIT_TOP_N_REPOS", "metrics.top_repositories", Reading::Same),
];

/// Reads the variables into the layers: first those of today, then the older ones, which never win
/// against them.
pub(super) fn read(variables: &[(String, String)], table: &Table, layers: &mut Layers) {
    let mut ours: Vec<_> = variables.iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    ours.sort();
    for (name, text) in ours {
        match table.by_variable(name) {
            Some(key) => match value::from_text(key, text) {
                Ok(value) => layers.put(key.name, value, Origin::Environment(name.clone())),
                Err(reason) => {
                    let origin = Origin::Environment(name.clone());
                    layers.failures.push(wrong_value(key.name, &origin, &reason));
                }
            },
            None if OLDER.iter().any(|(older, _, _)| older == name) => {}
            None => layers.failures.push(table.unknown_variable(name)),
        }
    }
    for (older, key, reading) in OLDER {
        if let Some((_, text)) = variables.iter().find(|(name, _)| name == older) {
            take_older(older, key, reading, text, table, layers);
        }
    }
}

fn take_older(
    older: &str,
    name: &str,
    reading: Reading,
    text: &str,
    table: &Table,
    layers: &mut Layers,
) {
    let Some(key) = table.key(name) else { return };
    let newer = super::table::variable(name);
    let before = layers.values.get(name);
    let newer_is_set =
        before.is_some_and(|setting| matches!(setting.origin, Origin::Environment(_)));
    if newer_is_set && reading != Reading::OneMore {
        layers.warnings.push(format!("{older} is ignored, because {newer} is set as well"));
        return;
    }
    layers.warnings.push(format!("{older} is an older name; use {newer} (`{name}`)"));
    let origin = Origin::Environment(older.to_owned());
    let value = match reading {
        Reading::Same => value::from_text(key, text),
        Reading::Unit(unit) => match text.parse::<u64>() {
            Ok(number) => Ok(Value::from(format!("{number}{unit}"))),
            Err(_) => Err(format!("expected a plain number, found `{text}`")),
        },
        Reading::OneMore => {
            let mut list = before.and_then(|setting| setting.value.as_array().cloned());
            list.get_or_insert_default().push(Value::from(text));
            Ok(Value::from(list.unwrap_or_default()))
        }
    };
    match value {
        Ok(value) => layers.put(name, value, origin),
        Err(reason) => layers.failures.push(wrong_value(name, &origin, &reason)),
    }
}
