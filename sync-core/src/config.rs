//! Every number of the machine: one struct a section, one key a field, with its default. The
//! table [`core_keys`] is generated from the same lines; the shell adds its own sections beside it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::{Add, Deref};
use core::str::FromStr;
use core::time::Duration;

use nostr::filter::Filter;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::Instant;
use crate::url::RelayUrl;

/// A configured span of time, written `200ms`, `5s`, `15m`, `1h`, `1d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A configured size in bytes, written `512KiB`, `2MiB`, `1GiB` or as a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A span or size that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}; write for example {example}")]
pub struct UnitError {
    text: String,
    what: &'static str,
    example: &'static str,
}

const SPANS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

fn parse_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn write_unit(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let smallest = units[units.len() - 1];
    let (unit, factor) = units
        .iter()
        .find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor))
        .unwrap_or(&smallest);
    write!(f, "{}{unit}", value / factor)
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match parse_unit(text, &SPANS) {
            Some(millis) => Ok(Self(Duration::from_millis(millis))),
            None => Err(UnitError {
                text: text.into(),
                what: "span of time",
                example: "`200ms`, `5s`, `15m`, `1h` or `1d`",
            }),
        }
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match text.parse().ok().or_else(|| parse_unit(text, &SIZES)) {
            Some(bytes) => Ok(Self(bytes)),
            None => Err(UnitError {
                text: text.into(),
                what: "size",
                example: "`64KiB`, `2MiB` or `1GiB`",
            }),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        // `0ms` never shows here; a span is whole milliseconds by its grammar.
        write_unit(f, self.0.as_millis() as u64, &SPANS)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_unit(f, self.0, &SIZES)
    }
}

impl Deref for Span {
    type Target = Duration;

    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl Add<Span> for Instant {
    type Output = Self;

    fn add(self, span: Span) -> Self {
        self + span.0
    }
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(Span, Size);

const fn ms(n: u64) -> Span {
    Span(Duration::from_millis(n))
}
const fn secs(n: u64) -> Span {
    Span(Duration::from_secs(n))
}
const fn mins(n: u64) -> Span {
    secs(n * 60)
}
const fn hours(n: u64) -> Span {
    mins(n * 60)
}
const fn days(n: u64) -> Span {
    hours(n * 24)
}
const fn kib(n: u64) -> Size {
    Size(n << 10)
}
const fn mib(n: u64) -> Size {
    Size(n << 20)
}

/// A configuration key: its name, its default as it is written, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Dotted name.
    pub name: &'static str,
    /// The default, as JSON.
    pub default: String,
    /// One sentence.
    pub doc: &'static str,
}

/// Defines sections of configuration: structs, defaults and a function that lists the keys.
/// `sections! { keys_fn; /// doc  "prefix" Name { /// doc  field: Type = default, … } … }`; the
/// doc line of each field is the key's description in help and docs.
#[macro_export]
macro_rules! sections {
    ($keys:ident; $($(#[doc = $sdoc:literal])+ $prefix:literal $name:ident {
        $($(#[doc = $doc:literal])+ $field:ident: $ty:ty = $default:expr,)*
    })*) => {
        $(
            $(#[doc = $sdoc])+
            #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
            #[serde(deny_unknown_fields, default)]
            pub struct $name {
                $($(#[doc = $doc])+ pub $field: $ty,)*
            }

            impl Default for $name {
                fn default() -> Self {
                    Self { $($field: $default,)* }
                }
            }
        )*

        /// The keys of these sections with their defaults.
        pub fn $keys() -> Vec<$crate::config::Key> {
            let mut keys = Vec::new();
            $(
                let section = $name::default();
                $(keys.push($crate::config::Key {
                    name: concat!($prefix, stringify!($field)),
                    default: serde_json::to_string(&section.$field).unwrap_or_default(),
                    doc: concat!($($doc),+).trim_ascii(),
                });)*
            )*
            keys
        }
    };
}

sections! { core_keys;
    /// What is synced, and when.
    "sync." SyncConfig {
        /// Relays that are always synced from (DISC-1).
        relays: Vec<String> = Vec::new(),
        /// The relay that this daemon runs beside (OWN-2).
        own_relay: Option<String> = None,
        /// Whether relays found through announcements become targets (DISC-8).
        discover: bool = true,
        /// Whether NIP-77 is used where a relay speaks it.
        negentropy: bool = true,
        /// How long updates are collected before they become targets (DISC-6).
        discovery_window: Span = secs(5),
        /// How long they are collected when nothing is pending (DISC-6).
        discovery_quiet: Span = ms(200),
        /// When a settling pass is reported as slow (HIST-8).
        settle_fallback: Span = secs(6),
        /// A pause before the first dial.
        startup_delay: Span = secs(0),
        /// A pause before each dial after a connection was lost.
        reconnect_delay: Span = secs(0),
        /// Jitter of the first dial of discovered relays (CONN-8).
        startup_jitter: Span = secs(10),
        /// Jitter of the first dial of configured relays (CONN-8).
        bootstrap_jitter: Span = secs(1),
        /// A connection lost for no longer than this is resumed quickly (CONN-4).
        quick_reconnect: Span = mins(15),
        /// How far a resumed history overlaps what is proven (HIST-1).
        reconnect_overlap: Span = hours(1),
        /// Daily reconciliation: not before (CONN-5).
        resync_min: Span = hours(23),
        /// Daily reconciliation: not after (CONN-5).
        resync_max: Span = hours(25),
        /// A request without progress for so long has failed.
        eose_timeout: Span = secs(30),
        /// A negentropy session without progress for so long has failed (HIST-4).
        neg_timeout: Span = secs(10),
        /// Historic work starts at the live EOSE or after this (FILT-3).
        live_wait: Span = secs(5),
        /// The live request of a relay that refuses `limit: 0` begins so long ago (FILT-3).
        live_overlap: Span = secs(60),
        /// First retry of a failed batch; doubles (HIST-9).
        refetch_base: Span = secs(30),
        /// Last retry of a failed batch (HIST-9).
        refetch_max: Span = days(1),
        /// How often live sync is audited (HIST-11).
        audit_interval: Span = mins(15),
        /// How far back an audit looks (HIST-11).
        audit_window: Span = hours(1),
        /// How often the live watermark is written to the ledger (§2).
        live_write: Span = secs(60),
        /// How deep replies are followed (ACPT-6).
        thread_depth: u32 = 8,
        /// How many thread events are followed per root (ACPT-6).
        thread_items: u32 = 2000,
        /// Whether deletions by authors of stored events are asked for (FILT-6).
        author_deletions: bool = true,
        /// Failed dials after which `sync` calls a given relay explained (DISC-10).
        explained_after: u32 = 2,
        /// Failed dials after which `sync` calls a discovered relay explained (DISC-10).
        explained_after_discovered: u32 = 1,
    }
    /// Requests for ids.
    "fetch." FetchConfig {
        /// Ids in one filter (HIST-2).
        ids_per_filter: u32 = 50,
        /// Filters of ids in one request (HIST-2).
        filters_per_req: u32 = 10,
        /// Values of a tag in one filter (FILT-1).
        values_per_filter: u32 = 100,
    }
    /// Standing subscriptions.
    "live." LiveConfig {
        /// Filters at which live requests are consolidated (FILT-2).
        consolidate_at: u32 = 70,
        /// Filters in one live request.
        filters_per_req: u32 = 10,
        /// Live subscriptions per relay at first (TALK-3).
        subscriptions: u32 = 12,
    }
    /// Walks through pages (HIST-5).
    "page." PageConfig {
        /// `limit` of a page.
        limit: u32 = 500,
        /// Smallest page that is taken for a whole answer.
        floor: u32 = 10,
        /// Requests of a walk.
        max: u32 = 10_000,
        /// Requests of splits of a walk.
        splits: u32 = 256,
    }
    /// What is learned of a relay.
    "learn." LearnConfig {
        /// Age at which it is forgotten (TALK-3).
        ttl: Span = days(1),
        /// Open subscriptions at first (TALK-3).
        subscriptions: u32 = 20,
    }
    /// Health and backoff (HLTH).
    "health." HealthConfig {
        /// Backoff after the first failure; doubles.
        backoff_base: Span = secs(5),
        /// Longest backoff.
        backoff_max: Span = hours(1),
        /// A connection that lasts so long clears the streak.
        stable_after: Span = mins(5),
        /// A streak that lasts so long makes a relay dead.
        dead_after: Span = hours(24),
        /// A dead relay is tried so often.
        dead_retry: Span = hours(24),
        /// How long a relay is left alone after a rate limit (TALK-2).
        cooldown: Span = secs(65),
        /// Failures within this time tell that the network is down (HLTH-4).
        network_window: Span = secs(30),
    }
    /// Dialing (CONN-6 to CONN-8).
    "dial." DialConfig {
        /// Private and local addresses, plain `ws` and any port are dialed for discovered relays.
        allow_private: bool = false,
        /// SOCKS5 proxy, for `.onion` or for all.
        proxy: Option<String> = None,
        /// Names with their addresses, `name=address`, asked before the resolver; `*=address`
        /// answers every other name.
        hosts: Vec<String> = Vec::new(),
        /// Deadline of name resolution.
        dns_timeout: Span = secs(5),
        /// Deadline of the TCP handshake.
        tcp_timeout: Span = secs(10),
        /// Deadline of the TLS handshake.
        tls_timeout: Span = secs(10),
        /// Deadline of the WebSocket upgrade.
        upgrade_timeout: Span = secs(10),
        /// A ping is sent so often.
        ping_interval: Span = secs(25),
        /// A connection without any byte for so long is dead.
        dead_after_silence: Span = secs(90),
        /// Dials a second, all relays together.
        per_second: u32 = 20,
        /// Dials a minute to one address.
        per_address_minute: u32 = 4,
        /// Dials a minute to one /24 or /48.
        per_net_minute: u32 = 8,
        /// Dials a minute to one registrable domain.
        per_domain_minute: u32 = 16,
        /// How long a connection may take to close.
        drain: Span = secs(5),
    }
    /// What is remembered of rejected events (REJ).
    "rejected." RejectedConfig {
        /// How long whole events are kept.
        hot: Span = mins(2),
        /// Their size in all.
        hot_bytes: Size = mib(20),
        /// How long rows are kept.
        cold: Span = days(7),
        /// Rows in all.
        cold_rows: u32 = 1_000_000,
        /// How often the hot tier is swept.
        hot_sweep: Span = secs(60),
        /// How often the rows are swept.
        cold_sweep: Span = days(1),
    }
    /// When maintenance is deferred (§11).
    "load." LoadConfig {
        /// A queue fuller than this, in percent; 0 is off.
        queue_percent: u32 = 80,
        /// CPU above this over a minute, in percent; 0 is off.
        cpu_percent: u32 = 90,
        /// More clients than this; 0 is off.
        clients: u32 = 200,
        /// By how much work is put off.
        step: Span = mins(5),
        /// How often at most.
        steps: u32 = 12,
    }
    /// Limits (S10).
    "limits." LimitsConfig {
        /// Memory above which new historic batches wait.
        memory: Size = mib(1024),
        /// Relays taken from one announcement (DISC-4).
        relays_per_announcement: u32 = 16,
        /// Discovered relays (DISC-4).
        relays: u32 = 2000,
        /// New hosts per author and day (DISC-4).
        hosts_per_author_day: u32 = 64,
        /// Events of one request (T5).
        req_events: u32 = 20_000,
        /// Bytes of one request (T5).
        req_bytes: Size = mib(64),
        /// Off-filter events a minute, then the connection ends (T6).
        off_filter_minute: u32 = 100,
        /// Share of a full verification queue that one relay may hold, in percent (T9).
        verify_share_percent: u32 = 50,
        /// Rounds of one negentropy session (T11).
        neg_rounds: u32 = 200,
        /// Needed ids held per relay (HIST-2).
        neg_need: u32 = 16_000,
        /// Bytes of NEG-MSG of one pass (T11).
        neg_pass_bytes: Size = mib(64),
        /// An EVENT frame (TALK-5).
        event_bytes: Size = kib(512),
        /// A NEG-MSG frame (TALK-5).
        neg_bytes: Size = mib(2),
        /// Any other frame (TALK-5).
        frame_bytes: Size = kib(64),
        /// A request of ours (FILT-1).
        req_frame_bytes: Size = kib(64),
        /// A negentropy frame of ours, in characters (FILT-1).
        neg_frame_bytes: Size = Size(120_000),
        /// Gaps kept per relay; the oldest of one reason are merged above it.
        gaps: u32 = 1000,
        /// Wanted items in all.
        items: u32 = 2_000_000,
    }
    /// Whose events are taken (§9).
    "accept." AcceptConfig {
        /// Domains of the service: an announcement lists one in `clone` and `relays`.
        domains: Vec<String> = Vec::new(),
        /// `all`, npub, npub/identifier, identifier or grasp:host.
        archive: Vec<String> = Vec::new(),
        /// NIP-01 filters that are mirrored.
        filters: Vec<Filter> = Vec::new(),
        /// Authors and repositories that are refused.
        block: Vec<String> = Vec::new(),
        /// Events further ahead are held out (ACPT-8).
        future_max: Span = mins(15),
    }
    /// Who we are, so that we never dial ourselves (DISC-5).
    "identity." IdentityConfig {
        /// URLs under which we are reached.
        urls: Vec<String> = Vec::new(),
        /// Public key of the relay that is served.
        key: Option<String> = None,
    }
}

/// The machine's configuration: what a recording carries in its header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What is synced, and when.
    pub sync: SyncConfig,
    /// Requests for ids.
    pub fetch: FetchConfig,
    /// Standing subscriptions.
    pub live: LiveConfig,
    /// Walks through pages.
    pub page: PageConfig,
    /// What is learned of a relay.
    pub learn: LearnConfig,
    /// Health and backoff.
    pub health: HealthConfig,
    /// Dialing.
    pub dial: DialConfig,
    /// What is remembered of rejected events.
    pub rejected: RejectedConfig,
    /// When maintenance is deferred.
    pub load: LoadConfig,
    /// Limits.
    pub limits: LimitsConfig,
    /// Whose events are taken.
    pub accept: AcceptConfig,
    /// Who we are.
    pub identity: IdentityConfig,
    /// Whether this core works once and ends (`sync`): no jitter, no live requests, and progress
    /// is judged (DISC-10).
    pub once: bool,
    /// Whether it only looks (`verify`): wanted items are reconciled, nothing is fetched, claimed
    /// or written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
}

/// What a core that only looks looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Probe {
    /// These relays; all that are wanted when empty. One that nothing wants is taken as if it
    /// were configured.
    pub only: Vec<RelayUrl>,
}

impl Config {
    /// Whether this relay is dialed at all: a core that looks at some leaves the others alone.
    pub fn looks_at(&self, relay: &RelayUrl) -> bool {
        self.probe.as_ref().is_none_or(|probe| probe.only.is_empty() || probe.only.contains(relay))
    }

    /// Whether a person named this relay for a look: it is trusted like a configured one (T1).
    pub fn is_named(&self, relay: &RelayUrl) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.only.contains(relay))
    }
}
