//! Canonical relay URLs (DISC-3): one spelling for one relay. `canon(canon(x)) == canon(x)`.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// A canonical relay URL: `ws` or `wss`, lower-case host, no default port, no userinfo, query or
/// fragment, at most 512 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RelayUrl(String);

/// A URL that names no relay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayUrlError {
    /// Longer than 512 bytes.
    #[error("longer than 512 bytes")]
    TooLong,
    /// Not `ws://` or `wss://`.
    #[error("a relay URL begins with wss:// or ws://")]
    Scheme,
    /// The host is missing or no host name.
    #[error("no valid host")]
    Host,
    /// The port is no number from 1 to 65535.
    #[error("no valid port")]
    Port,
    /// Userinfo is not allowed.
    #[error("a relay URL has no user or password")]
    Userinfo,
}

impl RelayUrl {
    /// The canonical form of `text`.
    pub fn parse(text: &str) -> Result<Self, RelayUrlError> {
        // PLACEHOLDER: replaced by the full rule of DISC-3.
        if !(text.starts_with("ws://") || text.starts_with("wss://")) {
            return Err(RelayUrlError::Scheme);
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::str::FromStr for RelayUrl {
    type Err = RelayUrlError;

    fn from_str(text: &str) -> Result<Self, RelayUrlError> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for RelayUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
