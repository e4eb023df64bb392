//! A repository announcement (kind 30617) as admission reads it: its address, the relays that it
//! adds (DISC-2), whom it names a maintainer, and which services it lists (GRASP-01).

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use nostr::event::{Event, EventId, Tags};
use nostr::key::PublicKey;
use nostr::nips::nip01::Coordinate;
use nostr::nips::nip19::FromBech32;
use nostr::types::Timestamp;

use crate::admit::kinds;
use crate::admit::references::{announcement_address, identifier};
use crate::url::RelayUrl;

/// What admission keeps of an announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Its address.
    pub repo: Coordinate,
    /// The event.
    pub id: EventId,
    /// Its `created_at`.
    pub created_at: Timestamp,
    /// The relays that it adds, canonical and distinct: those of `relays`, then those beside GRASP
    /// clone URLs (DISC-2), in the order of the tags.
    pub relays: Vec<RelayUrl>,
    /// The keys that it names, without its author, at most [`Announcement::MAX_MAINTAINERS`].
    pub maintainers: Vec<PublicKey>,
    /// What the caps refused.
    pub refused: Refused,
}

/// What the caps of one announcement refused (DISC-4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Relays above `limits.relays_per_announcement`.
    pub relays: u32,
    /// Relay values that name no relay.
    pub malformed: u32,
    /// Maintainers above [`Announcement::MAX_MAINTAINERS`].
    pub maintainers: u32,
}

/// An announcement that admission does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnouncementError {
    /// Another kind.
    #[error("not a repository announcement")]
    Kind,
    /// Its `d` is missing or not path-safe (ACPT-2).
    #[error("the identifier is missing or cannot be a path")]
    Identifier,
}

impl Announcement {
    /// Maintainers of one announcement.
    pub const MAX_MAINTAINERS: usize = 256;

    /// Values looked at in the tags of one name; an event of 512 KiB holds more only if they are
    /// too short for a URL.
    const MAX_VALUES: usize = 16_384;

    /// Reads an announcement; takes at most `relays_max` relays from it.
    pub fn parse(event: &Event, relays_max: u32) -> Result<Self, AnnouncementError> {
        if event.kind.as_u16() != kinds::ANNOUNCEMENT {
            return Err(AnnouncementError::Kind);
        }
        let identifier = identifier(&event.tags)
            .filter(|text| is_path_safe(text))
            .ok_or(AnnouncementError::Identifier)?;
        let mut refused = Refused::default();
        let relays = relays(&event.tags, relays_max as usize, &mut refused);
        let maintainers = maintainers(event, &mut refused);
        Ok(Self {
            repo: announcement_address(event.pubkey, identifier),
            id: event.id,
            created_at: event.created_at,
            relays,
            maintainers,
            refused,
        })
    }
}

/// Whether an identifier can be the name of a directory: not empty, `.` or `..`, without `/`, `\`
/// and NUL (ACPT-2).
pub fn is_path_safe(identifier: &str) -> bool {
    !matches!(identifier, "" | "." | "..") && !identifier.contains(['/', '\\', '\0'])
}

/// The values of every tag of this name: one multi-value tag, several tags, or both (H-59).
pub fn values<'a>(tags: &'a Tags, name: &'a str) -> impl Iterator<Item = &'a str> {
    tags.iter()
        .filter(move |tag| tag.kind() == name)
        .flat_map(|tag| tag.as_slice()[1..].iter().map(String::as_str))
        .take(Announcement::MAX_VALUES)
}

/// Host and port of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    host: String,
    port: u16,
}

impl Service {
    /// Reads `host`, `host:port` or a `wss`, `ws`, `https` or `http` URL.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.split_once("://") {
            Some((scheme, _)) if is_http(scheme) => Self::of_web(text),
            Some(_) => RelayUrl::parse(text).ok().map(|url| Self::of_relay(&url)),
            None => RelayUrl::parse_operator(text).ok().map(|url| Self::of_relay(&url)),
        }
    }

    fn of_relay(url: &RelayUrl) -> Self {
        Self { host: url.host_str().into(), port: url.port() }
    }

    /// Of an `http` or `https` URL; its host has the same canonical form as a relay's.
    fn of_web(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once("://")?;
        if !is_http(scheme) {
            return None;
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let relay = if scheme.eq_ignore_ascii_case("https") { "wss://" } else { "ws://" };
        let url = RelayUrl::parse(&alloc::format!("{relay}{authority}")).ok()?;
        Some(Self::of_relay(&url))
    }
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http")
}

/// Whether an announcement lists one of `services` in both `clone` and `relays`, by host and port
/// (GRASP-01).
pub fn lists_service(tags: &Tags, services: &BTreeSet<Service>) -> bool {
    if services.is_empty() {
        return false;
    }
    let cloned: BTreeSet<Service> = values(tags, "clone")
        .filter_map(Service::of_web)
        .filter(|service| services.contains(service))
        .collect();
    !cloned.is_empty()
        && values(tags, "relays")
            .filter_map(|text| RelayUrl::parse(text).ok())
            .any(|url| cloned.contains(&Service::of_relay(&url)))
}

fn relays(tags: &Tags, max: usize, refused: &mut Refused) -> Vec<RelayUrl> {
    let mut found: Vec<RelayUrl> = Vec::new();
    let listed = values(tags, "relays").map(|text| match RelayUrl::parse(text) {
        Ok(url) => Some(url),
        Err(_) => {
            refused.malformed += 1;
            None
        }
    });
    let listed: Vec<RelayUrl> = listed.flatten().collect();
    for url in listed.into_iter().chain(values(tags, "clone").filter_map(RelayUrl::from_clone_url))
    {
        if found.contains(&url) {
            continue;
        }
        if found.len() < max {
            found.push(url);
        } else {
            refused.relays += 1;
        }
    }
    found
}

fn maintainers(event: &Event, refused: &mut Refused) -> Vec<PublicKey> {
    let mut seen = BTreeSet::from([event.pubkey]);
    let mut found = Vec::new();
    for text in values(&event.tags, "maintainers") {
        let key = PublicKey::from_hex(text).or_else(|_| PublicKey::from_bech32(text));
        let Ok(key) = key else { continue };
        if !seen.insert(key) {
            continue;
        }
        if found.len() < Announcement::MAX_MAINTAINERS {
            found.push(key);
        } else {
            refused.maintainers += 1;
        }
    }
    found
}
