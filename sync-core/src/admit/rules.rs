//! `accept.*` as read once: services, archive entries, filters and block lists (§9).

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use nostr::event::Event;
use nostr::filter::Filter;
use nostr::key::PublicKey;
use nostr::nips::nip01::Coordinate;
use nostr::nips::nip19::FromBech32;

use crate::admit::announcement::{Announcement, Service, is_path_safe, lists_service};
use crate::admit::kinds;
use crate::admit::order::matches_filter;
use crate::admit::references::{self, announcement_address};
use crate::config::AcceptConfig;

/// A value of `accept.*` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A value of `accept.domains`.
    #[error("accept.domains: `{0}` is no host; write `example.com` or `example.com:8443`")]
    Domain(String),
    /// A value of `accept.archive`.
    #[error(
        "accept.archive: `{0}` is none of `all`, npub, npub/identifier, identifier, `grasp:host`"
    )]
    Archive(String),
    /// A value of `accept.block`.
    #[error("accept.block: `{0}` is no npub, npub/identifier or `30617:<key>:<identifier>`")]
    Block(String),
}

/// Why a mode takes an announcement by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    Service,
    Archive,
}

/// The rules of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    services: BTreeSet<Service>,
    archive_all: bool,
    archive_authors: BTreeSet<PublicKey>,
    archive_repos: BTreeSet<Coordinate>,
    archive_identifiers: BTreeSet<String>,
    archive_grasp: BTreeSet<Service>,
    filters: Vec<Filter>,
    blocked_authors: BTreeSet<PublicKey>,
    blocked_repos: BTreeSet<Coordinate>,
    revision: u64,
}

enum Entry {
    Author(PublicKey),
    Repo(Coordinate),
}

impl Rules {
    pub(crate) fn new(config: &AcceptConfig) -> Result<Self, PolicyError> {
        let mut rules = Self {
            services: BTreeSet::new(),
            archive_all: false,
            archive_authors: BTreeSet::new(),
            archive_repos: BTreeSet::new(),
            archive_identifiers: BTreeSet::new(),
            archive_grasp: BTreeSet::new(),
            filters: config.filters.clone(),
            blocked_authors: BTreeSet::new(),
            blocked_repos: BTreeSet::new(),
            revision: revision(config),
        };
        for text in &config.domains {
            let service = Service::parse(text).ok_or_else(|| PolicyError::Domain(text.clone()))?;
            rules.services.insert(service);
        }
        for text in &config.archive {
            rules.archive(text).ok_or_else(|| PolicyError::Archive(text.clone()))?;
        }
        for text in &config.block {
            rules.block(text).ok_or_else(|| PolicyError::Block(text.clone()))?;
        }
        Ok(rules)
    }

    fn archive(&mut self, text: &str) -> Option<()> {
        if text == "all" {
            self.archive_all = true;
        } else if let Some(host) = text.strip_prefix("grasp:") {
            self.archive_grasp.insert(Service::parse(host)?);
        } else if text.starts_with("npub1") {
            match npub_entry(text)? {
                Entry::Author(key) => self.archive_authors.insert(key),
                Entry::Repo(repo) => self.archive_repos.insert(repo),
            };
        } else {
            self.archive_identifiers.insert(is_path_safe(text).then(|| text.into())?);
        }
        Some(())
    }

    fn block(&mut self, text: &str) -> Option<()> {
        let entry = match references::address(text) {
            Some(repo) if repo.kind.as_u16() == kinds::ANNOUNCEMENT => Entry::Repo(repo),
            Some(_) => return None,
            None if text.starts_with("npub1") => npub_entry(text)?,
            None => Entry::Author(PublicKey::from_hex(text).ok()?),
        };
        match entry {
            Entry::Author(key) => self.blocked_authors.insert(key),
            Entry::Repo(repo) => self.blocked_repos.insert(repo),
        };
        Some(())
    }

    /// Whether a mode takes the announcement by itself.
    pub(crate) fn ground(&self, event: &Event, announcement: &Announcement) -> Option<Ground> {
        if self.archives(announcement) || lists_service(&event.tags, &self.archive_grasp) {
            return Some(Ground::Archive);
        }
        lists_service(&event.tags, &self.services).then_some(Ground::Service)
    }

    fn archives(&self, announcement: &Announcement) -> bool {
        let repo = &announcement.repo;
        self.archive_all
            || self.archive_authors.contains(&repo.public_key)
            || self.archive_repos.contains(repo)
            || self.archive_identifiers.contains(&repo.identifier)
    }

    /// Whether kinds 5, 62 and 10317 of this author are taken though we hold nothing of theirs.
    pub(crate) fn archives_author(&self, author: &PublicKey) -> bool {
        self.archive_all || self.archive_authors.contains(author)
    }

    pub(crate) fn blocks_author(&self, author: &PublicKey) -> bool {
        self.blocked_authors.contains(author)
    }

    pub(crate) fn blocks_repo(&self, author: &PublicKey, identifier: &str) -> bool {
        !self.blocked_repos.is_empty()
            && self.blocked_repos.contains(&announcement_address(*author, identifier))
    }

    /// Whether a configured filter takes the event. Such an event is mirrored and makes nothing
    /// else acceptable.
    pub(crate) fn mirrors(&self, event: &Event) -> bool {
        self.filters.iter().any(|filter| matches_filter(filter, event))
    }

    pub(crate) const fn revision(&self) -> u64 {
        self.revision
    }
}

fn npub_entry(text: &str) -> Option<Entry> {
    match text.split_once('/') {
        None => PublicKey::from_bech32(text).ok().map(Entry::Author),
        Some((npub, identifier)) => {
            let author = PublicKey::from_bech32(npub).ok()?;
            is_path_safe(identifier).then(|| Entry::Repo(announcement_address(author, identifier)))
        }
    }
}

/// FNV-1a over the section as JSON, its lists in order and without repetition: the same rules in
/// another order are the same policy.
fn revision(config: &AcceptConfig) -> u64 {
    let mut config = config.clone();
    for list in [&mut config.domains, &mut config.archive, &mut config.block] {
        list.sort();
        list.dedup();
    }
    config.filters.sort();
    config.filters.dedup();
    let json = serde_json::to_vec(&config).expect("a section of plain values is JSON");
    json.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
