//! What values mean, beyond their types.

use serde_json::Value;
use sync_core::url::RelayUrl;
use sync_runtime::dial::Hosts;
use sync_runtime::settings::Settings;

use super::nest;
use crate::exit::Exit;
use crate::failure::Failure;

/// Whether this value alone is one that its key takes.
pub(super) fn one(key: &str, value: &Value) -> Result<(), String> {
    if let Some(reason) = secret(key, value) {
        return Err(reason);
    }
    let nested = nest([(key, value)].into_iter());
    let settings: Settings = serde_json::from_value(nested).map_err(|error| error.to_string())?;
    let config = &settings.core;
    let urls = config.sync.relays.iter().chain(&config.sync.own_relay).chain(&config.identity.urls);
    for url in urls {
        RelayUrl::parse(url).map_err(|error| format!("`{url}`: {error}"))?;
    }
    if let Some(key) = &config.identity.key {
        nostr::key::PublicKey::parse(key).map_err(|_| format!("`{key}` is no public key"))?;
    }
    Hosts::parse(&config.dial.hosts).map_err(|error| error.to_string())?;
    match &settings.socket.0 {
        Some(path) if path.to_string_lossy().contains("://") => {
            Err(format!("`{}` is no path", path.display()))
        }
        Some(_) | None => Ok(()),
    }
}

/// Keys are named by file; the text of one that was written here is not shown again.
fn secret(key: &str, value: &Value) -> Option<String> {
    let files = value.as_object().filter(|_| key == "auth")?;
    let is_secret = |text: &str| {
        text.starts_with("nsec1")
            || (text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    files
        .values()
        .any(|file| file.as_str().is_some_and(is_secret))
        .then(|| "it holds a secret key; write the key into a file and name that file".to_owned())
}

/// Fails when there is nothing to sync from, or nothing that would be accepted.
pub(crate) fn require_work(settings: &Settings) -> Result<(), Failure> {
    let config = &settings.core;
    if config.sync.own_relay.is_some() {
        return Ok(());
    }
    if config.sync.relays.is_empty() {
        return Err(Failure::new(Exit::Usage, "no relay to sync from")
            .hint("name one with `--relay wss://…`, or in the file as `sync.relays`"));
    }
    let accept = &config.accept;
    if accept.domains.is_empty() && accept.archive.is_empty() && accept.filters.is_empty() {
        return Err(Failure::new(Exit::Usage, "nothing would be accepted")
            .hint("`--domain HOST` takes what is announced there, `--archive-all` everything")
            .hint("`--filter JSON` mirrors any NIP-01 filter"));
    }
    Ok(())
}
