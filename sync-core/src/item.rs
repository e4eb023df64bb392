//! What coverage is kept of, and how much of it is wanted.

use alloc::string::String;
use core::fmt;

use nostr::event::EventId;
use nostr::nips::nip01::Coordinate;
use nostr::types::Timestamp;
use serde::{Deserialize, Serialize};

/// A unit of coverage (spec §1). Ordered: layer 1 before repositories before threads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// Announcements of the whole relay: kinds 30617 and 10317.
    Layer1,
    /// What belongs to one repository, by the coordinate of its announcement.
    Repo(Coordinate),
    /// What hangs on a root or thread event.
    Thread(EventId),
    /// The n-th configured filter (filters mode).
    Filter(u16),
    /// One event asked for by id.
    Id(EventId),
}

impl Item {
    /// The layer as a label: `1`, `2`, `3`, `filter` or `id`.
    pub fn layer(&self) -> Layer {
        match self {
            Self::Layer1 => Layer::One,
            Self::Repo(_) => Layer::Two,
            Self::Thread(_) => Layer::Three,
            Self::Filter(_) => Layer::Filter,
            Self::Id(_) => Layer::Id,
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer1 => f.write_str("layer1"),
            Self::Repo(address) => write!(f, "repo {address}"),
            Self::Thread(id) => write!(f, "thread {id}"),
            Self::Filter(n) => write!(f, "filter {n}"),
            Self::Id(id) => write!(f, "id {id}"),
        }
    }
}

/// The layer an item belongs to; a batch holds items of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Announcements.
    One,
    /// Repositories.
    Two,
    /// Threads.
    Three,
    /// Configured filters.
    Filter,
    /// Single events.
    Id,
}

impl Layer {
    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::One => "1",
            Self::Two => "2",
            Self::Three => "3",
            Self::Filter => "filter",
            Self::Id => "id",
        }
    }
}

/// How much of a repository is wanted (spec §2).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum SyncLevel {
    /// State events by `#d` only: the announcement waits for git data.
    StateOnly,
    /// Everything of layers 2 and 3.
    #[default]
    Full,
}

/// A closed range of `created_at`, both ends included, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Range {
    /// First second.
    pub since: Timestamp,
    /// Last second.
    pub until: Timestamp,
}

impl Range {
    /// Every second up to `until`.
    pub fn up_to(until: Timestamp) -> Self {
        Self { since: Timestamp::from_secs(0), until }
    }

    /// Whether `at` lies inside.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.since <= at && at <= self.until
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.since.as_secs(), self.until.as_secs())
    }
}

/// Why a part of history is not proven. Closed for users by `#[non_exhaustive]`, a label in
/// metrics and documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GapReason {
    /// No EOSE or page within the deadline; asked again with backoff.
    Timeout,
    /// The relay closed the request; asked again as its prefix says (TALK-1).
    Closed,
    /// The relay refuses this request for good (`blocked`, `restricted`); a person must look.
    Refused,
    /// A message above its limit was skipped (TALK-5).
    Oversize,
    /// One second holds more than a page and cannot be split (HIST-5).
    DenseSecond,
    /// Events known to be there did not come, three times (HIST-5).
    EmptyPage,
    /// An event newer than the page's `until` came (HIST-5).
    UntilIgnored,
    /// Events came after the EOSE of a page (HIST-5).
    EarlyEose,
    /// A cut page was smaller than another of the walk (HIST-5).
    ShortPages,
    /// A page did not hold the newest events (HIST-5).
    PagesNotNewest,
    /// Three asks brought no progress (HIST-5).
    NoProgress,
    /// The walk reached its limit of pages (HIST-5).
    TooLong,
    /// A second or an end could not be proven (HIST-5).
    Unproven,
    /// The page held frames that could not be read (HIST-5).
    Malformed,
    /// The walk was cut by the end of the connection and goes on from here (HIST-6).
    Cut,
    /// Ids that the relay named and does not serve (HIST-2).
    RefusedIds,
    /// The store could not take an event that was served (S6).
    StoreFailed,
    /// The relay asks for authentication that is not configured (TALK-4).
    AuthRequired,
    /// A byte or count budget of the subscription was used up (T5).
    Budget,
}

impl GapReason {
    /// The label in metrics and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Refused => "refused",
            Self::Oversize => "oversize",
            Self::DenseSecond => "dense_second",
            Self::EmptyPage => "empty_page",
            Self::UntilIgnored => "until_ignored",
            Self::EarlyEose => "early_eose",
            Self::ShortPages => "short_pages",
            Self::PagesNotNewest => "pages_not_newest",
            Self::NoProgress => "no_progress",
            Self::TooLong => "too_long",
            Self::Unproven => "unproven",
            Self::Malformed => "malformed",
            Self::Cut => "cut",
            Self::RefusedIds => "refused_ids",
            Self::StoreFailed => "store_failed",
            Self::AuthRequired => "auth_required",
            Self::Budget => "budget",
        }
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Text that a relay sent: control characters stripped, at most 256 bytes (T16).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RelayText(String);

impl RelayText {
    /// Limit in bytes.
    pub const MAX: usize = 256;

    /// Takes a relay's text in: strips control characters, cuts at [`Self::MAX`] bytes on a
    /// character boundary.
    pub fn new(text: &str) -> Self {
        let mut out = String::with_capacity(text.len().min(Self::MAX));
        for c in text.chars().filter(|c| !c.is_control()) {
            if out.len() + c.len_utf8() > Self::MAX {
                break;
            }
            out.push(c);
        }
        Self(out)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RelayText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
