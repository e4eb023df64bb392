//! The one table of keys: their names, the environment variables generated from them, and what is
//! nearest to a name that is in neither.

use std::collections::BTreeMap;

use sync_core::config::Key;
use sync_runtime::settings;

use super::Origin;
use crate::failure::Failure;

/// What begins the name of every variable of ours.
pub(super) const PREFIX: &str = "NGIT_SYNC_";

/// All keys, and their variables.
pub(crate) struct Table {
    keys: BTreeMap<&'static str, Key>,
    variables: BTreeMap<String, &'static str>,
}

impl Table {
    /// The table of this build.
    pub(crate) fn new() -> Self {
        let keys: BTreeMap<_, _> =
            settings::keys().into_iter().map(|key| (key.name, key)).collect();
        let variables = keys.keys().map(|name| (variable(name), *name)).collect();
        Self { keys, variables }
    }

    /// Every key by name.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.values()
    }

    /// The key of this name.
    pub(super) fn key(&self, name: &str) -> Option<&Key> {
        self.keys.get(name)
    }

    /// The key of this variable, looked up whole.
    pub(super) fn by_variable(&self, name: &str) -> Option<&Key> {
        self.variables.get(name).and_then(|key| self.keys.get(key))
    }

    /// Whether keys begin with this section.
    pub(super) fn is_section(&self, name: &str) -> bool {
        self.keys.keys().any(|key| key.split_once('.').is_some_and(|(section, _)| section == name))
    }

    /// The failure for a key that does not exist.
    pub(super) fn unknown_key(&self, name: &str, origin: &Origin) -> Failure {
        let failure = Failure::new(origin.exit(), format!("unknown key `{name}`"));
        let failure = match origin {
            Origin::File(place) => failure.at(place),
            Origin::Flag(flag) => failure.at(flag),
            Origin::Default | Origin::Environment(_) => failure,
        };
        match nearest(name, self.keys.keys().copied()) {
            Some(key) => failure.hint(format!("did you mean `{key}`?")),
            None => failure.hint("`ngit-sync check-config --show-origin` lists every key"),
        }
    }

    /// The failure for a variable that does not exist.
    pub(super) fn unknown_variable(&self, name: &str) -> Failure {
        let origin = Origin::Environment(name.to_owned());
        let failure = Failure::new(origin.exit(), format!("unknown environment variable `{name}`"));
        match nearest(name, self.variables.keys().map(String::as_str)) {
            Some(variable) => failure.hint(format!("did you mean `{variable}`?")),
            None => failure.hint("`ngit-sync check-config --show-origin` lists every key"),
        }
    }
}

/// `health.backoff_max` is `NGIT_SYNC_HEALTH_BACKOFF_MAX`.
pub(super) fn variable(key: &str) -> String {
    let name: String = key
        .chars()
        .map(|c| if matches!(c, '.' | '-') { '_' } else { c.to_ascii_uppercase() })
        .collect();
    format!("{PREFIX}{name}")
}

/// The known name that is most like this one: the same last part in another section, or few typing
/// errors away.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |text: &str| text.rsplit('.').next().unwrap_or_default().to_owned();
    let field = last(name);
    let score = |candidate: &str| {
        let whole = strsim::normalized_damerau_levenshtein(name, candidate);
        let part = 0.95 * strsim::normalized_damerau_levenshtein(&field, &last(candidate));
        if whole > part { whole } else { part }
    };
    known
        .map(|candidate| (score(candidate), candidate))
        .filter(|(score, _)| *score >= 0.7)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_variable_of_its_own() {
        let table = Table::new();
        assert_eq!(table.variables.len(), table.keys.len());
        assert_eq!(variable("health.backoff_max"), "NGIT_SYNC_HEALTH_BACKOFF_MAX");
        let key = table.by_variable("NGIT_SYNC_SYNC_RELAYS").map(|key| key.name);
        assert_eq!(key, Some("sync.relays"));
    }

    #[test]
    fn the_nearest_name_is_a_typing_error_or_a_section_away() {
        let table = Table::new();
        let near = |name| nearest(name, table.keys.keys().copied());
        assert_eq!(near("health.backof_max"), Some("health.backoff_max"));
        assert_eq!(near("backoff_max"), Some("health.backoff_max"));
        assert_eq!(near("dial.backoff_base"), Some("health.backoff_base"));
        assert_eq!(near("sync.relay"), Some("sync.relays"));
        assert_eq!(near("colour"), None);
    }
}
