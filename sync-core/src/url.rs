//! Canonical relay URLs (DISC-3): one spelling for one relay. `canon(canon(x)) == canon(x)`.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use nostr::key::PublicKey;
use nostr::nips::nip19::FromBech32;
use serde::{Deserialize, Deserializer, Serialize};

/// A canonical relay URL: `ws` or `wss`, lower-case ASCII host, no default port, a path that is
/// never empty, no userinfo, query or fragment, at most [`RelayUrl::MAX`] bytes.
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

/// A host as it stands in a canonical URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A name in its ASCII form.
    Name(&'a str),
    /// A literal.
    V4(Ipv4Addr),
    /// A literal; in the URL it stands in brackets.
    V6(Ipv6Addr),
}

impl RelayUrl {
    /// Limit of the canonical form, in bytes.
    pub const MAX: usize = 512;

    /// What is looked at of a text at all; a dropped query may be longer than [`Self::MAX`].
    const MAX_RAW: usize = 4 * Self::MAX;

    /// The canonical form of `text`. White space around it, query and fragment are dropped; the
    /// root dot of a host too, since it names the same host.
    pub fn parse(text: &str) -> Result<Self, RelayUrlError> {
        let text = text.trim();
        if text.len() > Self::MAX_RAW {
            return Err(RelayUrlError::TooLong);
        }
        let (scheme, rest) = text.split_once("://").ok_or(RelayUrlError::Scheme)?;
        if scheme.eq_ignore_ascii_case("wss") {
            canonical(true, rest)
        } else if scheme.eq_ignore_ascii_case("ws") {
            canonical(false, rest)
        } else {
            Err(RelayUrlError::Scheme)
        }
    }

    /// As [`RelayUrl::parse`], for what a person typed: without a scheme it is `wss://` (H-10).
    pub fn parse_operator(text: &str) -> Result<Self, RelayUrlError> {
        let text = text.trim();
        if text.contains("://") { Self::parse(text) } else { Self::parse(&format!("wss://{text}")) }
    }

    /// The relay beside a clone URL of the GRASP shape `https://host/<npub>/<identifier>.git`
    /// (DISC-2): `wss://host/`, or `ws://host/` for `http`, which only an untrusted dial with
    /// `dial.allow_private` accepts. `None` for any other URL: a plain forge is no relay.
    pub fn from_clone_url(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() > Self::MAX_RAW || text.contains(['?', '#']) {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let tls = if scheme.eq_ignore_ascii_case("https") {
            true
        } else if scheme.eq_ignore_ascii_case("http") {
            false
        } else {
            return None;
        };
        let (authority, path) = rest.split_once('/')?;
        let (owner, repository) = path.split_once('/')?;
        let identifier = repository.strip_suffix(".git")?;
        if identifier.is_empty() || identifier.contains('/') || !owner.starts_with("npub1") {
            return None;
        }
        PublicKey::from_bech32(owner).ok()?;
        canonical(tls, authority).ok()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the relay is reached over TLS (`wss`).
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("wss")
    }

    /// The host.
    pub fn host(&self) -> Host<'_> {
        let host = self.host_str();
        if let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            return inner.parse().map_or(Host::Name(host), Host::V6);
        }
        host.parse().map_or(Host::Name(host), Host::V4)
    }

    /// The host as written in the URL: an IPv6 literal keeps its brackets.
    pub fn host_str(&self) -> &str {
        let (authority, _) = self.split();
        match split_port(authority) {
            Some((host, _)) => host,
            None => authority,
        }
    }

    /// The port: what is written, else 443 or 80.
    pub fn port(&self) -> u16 {
        let (authority, _) = self.split();
        let written = split_port(authority).and_then(|(_, port)| port.parse().ok());
        written.unwrap_or(default_port(self.is_tls()))
    }

    /// Host and port as written: the `Host` header of a request to it.
    pub fn authority(&self) -> &str {
        self.split().0
    }

    /// The path, beginning with `/`.
    pub fn path(&self) -> &str {
        self.split().1
    }

    /// Whether the relay is an onion service, which is reached only through a proxy.
    pub fn is_onion(&self) -> bool {
        self.host_str().ends_with(".onion")
    }

    fn split(&self) -> (&str, &str) {
        let rest = &self.0[if self.is_tls() { "wss://".len() } else { "ws://".len() }..];
        rest.split_at(rest.find('/').unwrap_or(rest.len()))
    }
}

const fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// Host and port of an authority; a colon inside brackets belongs to the literal.
fn split_port(authority: &str) -> Option<(&str, &str)> {
    let (host, port) = authority.rsplit_once(':')?;
    if port.ends_with(']') { None } else { Some((host, port)) }
}

fn canonical(tls: bool, rest: &str) -> Result<RelayUrl, RelayUrlError> {
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(RelayUrlError::Userinfo);
    }
    let (host, port) = match split_port(authority) {
        Some((host, port)) => (host, parse_port(port, tls)?),
        None => (authority, default_port(tls)),
    };
    let host = canonical_host(host)?;
    let path = if path.is_empty() { Cow::Borrowed("/") } else { encode_path(path) };
    let scheme = if tls { "wss" } else { "ws" };
    let text = if port == default_port(tls) {
        format!("{scheme}://{host}{path}")
    } else {
        format!("{scheme}://{host}:{port}{path}")
    };
    if text.len() > RelayUrl::MAX { Err(RelayUrlError::TooLong) } else { Ok(RelayUrl(text)) }
}

/// An empty port is the default one, as in the WHATWG URL standard.
fn parse_port(text: &str, tls: bool) -> Result<u16, RelayUrlError> {
    if text.is_empty() {
        return Ok(default_port(tls));
    }
    // `u16::from_str` takes a plus sign.
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RelayUrlError::Port);
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(RelayUrlError::Port),
        Ok(port) => Ok(port),
    }
}

fn canonical_host(host: &str) -> Result<String, RelayUrlError> {
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or(RelayUrlError::Host)?;
        // Zone ids do not parse.
        let address: Ipv6Addr = inner.parse().map_err(|_| RelayUrlError::Host)?;
        return Ok(format!("[{address}]"));
    }
    let ascii = idna::domain_to_ascii_cow(host.as_bytes(), idna::AsciiDenyList::URL)
        .map_err(|_| RelayUrlError::Host)?;
    let name = ascii.strip_suffix('.').unwrap_or(&ascii);
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(RelayUrlError::Host);
    }
    // Octal, hexadecimal, short and decimal spellings of an address are refused, not guessed (T1).
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") {
        let address: Ipv4Addr = name.parse().map_err(|_| RelayUrlError::Host)?;
        return Ok(address.to_string());
    }
    Ok(name.into())
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
}

/// What may not stand in a request line is percent-encoded; what is encoded already stays.
fn encode_path(path: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b);
    if path.bytes().all(plain) {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len() + 16);
    for byte in path.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Cow::Owned(out)
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

#[cfg(test)]
mod tests;
