//! Stable error codes: each error that is counted has one, from its type and never from its text
//! (HLTH-5). `E1xx` network, `E2xx` protocol and gaps, `E3xx` validation, `E4xx` acceptance,
//! `E5xx` store, `E9xx` internal.

use sync_core::input::{CloseReason, DialErrorKind};
use sync_core::item::GapReason;

use super::labels::ErrorType;
use crate::api::ErrorCategory;

/// An error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub &'static str);

/// What an error code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeText {
    /// The code.
    pub code: Code,
    /// What it is counted as.
    pub kind: ErrorType,
    /// What happened.
    pub what: &'static str,
    /// What to do about it.
    pub hint: &'static str,
}

macro_rules! codes {
    ($($code:literal $kind:ident $what:literal, $hint:literal;)*) => {
        /// Every code, in order.
        pub const CODES: &[CodeText] = &[
            $(CodeText { code: Code($code), kind: ErrorType::$kind, what: $what, hint: $hint },)*
        ];
    };
}

codes! {
    "E101" Dns "the host name does not exist or has no address",
        "check the URL; a relay that is gone for good can be removed";
    "E102" Dns "the resolver did not answer",
        "check the resolver of this machine";
    "E103" Network "the address is one that is not dialed for discovered relays",
        "configure the relay, or set dial.allow_private for a private network";
    "E104" Network "nobody listens at the address",
        "the relay is down, or the port is wrong";
    "E105" Network "no route to the address",
        "check the network of this machine";
    "E106" Timeout "a stage of the dial ran into its deadline",
        "the relay is overloaded or filtered; the deadlines are dial.*_timeout";
    "E107" Tls "the certificate is not accepted",
        "the operator of the relay must renew or repair it";
    "E108" Tls "TLS failed", "the relay speaks no TLS that is accepted here";
    "E109" Protocol "the server did not upgrade to WebSocket",
        "is there a relay at this path?";
    "E111" Network "the proxy failed", "check dial.proxy";
    "E112" Network "the socket failed while dialing", "it is tried again";
    "E120" Timeout "nothing came for too long", "it is dialed again";
    "E121" Network "the connection was lost", "it is dialed again";
    "E122" Network "the relay does not read what is sent to it", "it is dialed again";
    "E201" Protocol "a message was above the maximum of the socket",
        "the relay is dialed again; the limits are limits.*";
    "E202" Protocol "the WebSocket framing is broken", "it is dialed again";
    "E203" Protocol "too many events that were not asked for", "it is dialed again later";
    "E204" RateLimited "the relay asked for less", "it is left alone until the cooldown ends";
    "E205" Auth "the relay asks for authentication", "configure a key for it";
    "E210" Timeout "a request had no end within the deadline", "it is asked again";
    "E211" Protocol "the relay closed a request", "it is asked again";
    "E212" Protocol "the relay refuses a request for good", "ask its operator";
    "E213" Protocol "an event was above its limit and skipped", "raise limits.event_bytes";
    "E214" Protocol "one second holds more events than a page and cannot be split",
        "the relay needs NIP-77 or larger pages";
    "E215" Protocol "events known to be there did not come", "it is asked again";
    "E216" Protocol "the relay ignores `until`", "the relay cannot be paged through";
    "E217" Protocol "events came after the end of their page", "it is asked again";
    "E218" Protocol "a page was smaller than another of its walk", "it is asked again";
    "E219" Protocol "a page did not hold the newest events", "it is asked again";
    "E220" Protocol "three requests brought no progress", "it is asked again";
    "E221" Protocol "the walk reached its limit of pages", "raise page.max";
    "E222" Protocol "an end could not be proven", "it is asked again";
    "E223" Protocol "a page held frames that could not be read", "it is asked again";
    "E226" Protocol "a request used up its budget", "raise limits.req_events or req_bytes";
    "E231" Protocol "the relay named ids that it does not serve", "it is asked again";
    "E501" Database "the store could not take an event", "check the disk of the store";
    "E502" Database "the disk of the store is full", "make room; nothing is lost meanwhile";
}

impl Code {
    /// What it means.
    pub fn text(self) -> Option<&'static CodeText> {
        CODES.iter().find(|text| text.code == self)
    }

    /// What it is counted as.
    pub fn kind(self) -> ErrorType {
        self.text().map_or(ErrorType::Internal, |text| text.kind)
    }

    /// The code of a failed dial.
    pub fn of_dial(kind: DialErrorKind) -> Self {
        Self(match kind {
            DialErrorKind::Dns => "E101",
            DialErrorKind::Resolver => "E102",
            DialErrorKind::Guard => "E103",
            DialErrorKind::Refused => "E104",
            DialErrorKind::Unreachable => "E105",
            DialErrorKind::Timeout => "E106",
            DialErrorKind::Certificate => "E107",
            DialErrorKind::Tls => "E108",
            DialErrorKind::Upgrade => "E109",
            DialErrorKind::Proxy => "E111",
            _ => "E112",
        })
    }

    /// The code of a connection's end; none when we closed it or the relay closed it properly.
    pub fn of_close(reason: &CloseReason) -> Option<Self> {
        Some(Self(match reason {
            CloseReason::Local | CloseReason::Remote(_) => return None,
            CloseReason::Silence => "E120",
            CloseReason::Io(_) => "E121",
            CloseReason::SendQueueFull => "E122",
            CloseReason::Oversize => "E201",
            CloseReason::Protocol(_) => "E202",
            CloseReason::Flood => "E203",
            _ => "E121",
        }))
    }

    /// The code of a gap; none for one that only waits for its continuation.
    pub fn of_gap(reason: GapReason) -> Option<Self> {
        Some(Self(match reason {
            GapReason::Cut => return None,
            GapReason::Timeout => "E210",
            GapReason::Closed => "E211",
            GapReason::Refused => "E212",
            GapReason::Oversize => "E213",
            GapReason::DenseSecond => "E214",
            GapReason::EmptyPage => "E215",
            GapReason::UntilIgnored => "E216",
            GapReason::EarlyEose => "E217",
            GapReason::ShortPages => "E218",
            GapReason::PagesNotNewest => "E219",
            GapReason::NoProgress => "E220",
            GapReason::TooLong => "E221",
            GapReason::Malformed => "E223",
            GapReason::RefusedIds => "E231",
            GapReason::StoreFailed => "E501",
            GapReason::AuthRequired => "E205",
            GapReason::Budget => "E226",
            _ => "E222",
        }))
    }

    /// The category under which `status` lists it (HLTH-5).
    pub fn category(self) -> ErrorCategory {
        match self.kind() {
            ErrorType::Dns => ErrorCategory::Dns,
            ErrorType::Tls => ErrorCategory::Certificate,
            ErrorType::Protocol => ErrorCategory::Protocol,
            _ if self.0 == "E103" => ErrorCategory::Guard,
            _ => ErrorCategory::Network,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_is_given_has_a_text() {
        use DialErrorKind as D;
        for kind in [
            D::Dns,
            D::Resolver,
            D::Guard,
            D::Refused,
            D::Unreachable,
            D::Timeout,
            D::Certificate,
            D::Tls,
            D::Upgrade,
            D::Proxy,
            D::Io,
        ] {
            assert!(Code::of_dial(kind).text().is_some(), "{kind}");
        }
        use GapReason as G;
        for reason in [
            G::Timeout,
            G::Closed,
            G::Refused,
            G::Oversize,
            G::DenseSecond,
            G::EmptyPage,
            G::UntilIgnored,
            G::EarlyEose,
            G::ShortPages,
            G::PagesNotNewest,
            G::NoProgress,
            G::TooLong,
            G::Unproven,
            G::Malformed,
            G::RefusedIds,
            G::StoreFailed,
            G::AuthRequired,
            G::Budget,
        ] {
            assert!(Code::of_gap(reason).is_some_and(|code| code.text().is_some()), "{reason}");
        }
        assert!(CODES.is_sorted_by_key(|text| text.code));
    }

    #[test]
    fn the_category_comes_from_the_type_of_the_error() {
        let of = |kind| Code::of_dial(kind).category();
        assert_eq!(of(DialErrorKind::Resolver), ErrorCategory::Dns);
        assert_eq!(of(DialErrorKind::Certificate), ErrorCategory::Certificate);
        assert_eq!(of(DialErrorKind::Upgrade), ErrorCategory::Protocol);
        assert_eq!(of(DialErrorKind::Refused), ErrorCategory::Network);
        assert_eq!(of(DialErrorKind::Guard), ErrorCategory::Guard);
    }
}
