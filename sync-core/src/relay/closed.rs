//! What a NOTICE or CLOSED means (TALK-1, TALK-2): a closed set of reactions, read from the text
//! in a fixed order.

use crate::item::GapReason;

/// What a relay's words ask of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Too many open subscriptions: the budget shrinks, no cooldown.
    SubscriptionLimit,
    /// Too many requests: a cooldown.
    RateLimit,
    /// `auth-required:`: authenticate, then ask again.
    AuthRequired,
    /// `unsupported:` or `invalid:`: ask in another shape.
    Reshape,
    /// `blocked:` or `restricted:`: parked until a person looks.
    Refused,
    /// `error:`, another prefix or none: ask again after a backoff.
    Retry,
}

impl Meaning {
    /// The gap that a refused request leaves.
    pub const fn gap(self) -> GapReason {
        match self {
            Self::AuthRequired => GapReason::AuthRequired,
            Self::Refused => GapReason::Refused,
            Self::SubscriptionLimit | Self::RateLimit | Self::Reshape | Self::Retry => {
                GapReason::Closed
            }
        }
    }
}

/// Whether any whole word of `text` satisfies `is`, case ignored. Words are runs of letters,
/// digits and `-`.
fn word(text: &str, is: impl Fn(&str) -> bool) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '-'))
        .any(|word| !word.is_empty() && is(&word.to_ascii_lowercase()))
}

fn phrase(text: &str, first: &str, second: &str) -> bool {
    let mut last_was_first = false;
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        if last_was_first && word.eq_ignore_ascii_case(second) {
            return true;
        }
        last_was_first = word.eq_ignore_ascii_case(first);
    }
    false
}

fn prefix(text: &str) -> Option<&str> {
    let (prefix, _) = text.split_once(':')?;
    let machine = !prefix.is_empty()
        && prefix.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    machine.then_some(prefix)
}

fn is_subscription_limit(text: &str) -> bool {
    let rest = text.strip_prefix("rate-limited:").unwrap_or(text);
    let about = word(rest, |w| matches!(w, "subscription" | "subscriptions" | "req" | "reqs"));
    let limit = phrase(rest, "too", "many")
        || word(rest, |w| w.starts_with("max") || matches!(w, "limit" | "limits"));
    let rate = word(rest, |w| {
        matches!(w, "rate" | "slow" | "per" | "second" | "minute" | "hour")
            || w.starts_with("throttl")
    });
    about && limit && !rate
}

fn is_rate_limit(text: &str) -> bool {
    prefix(text) == Some("rate-limited")
        || (word(text, |w| matches!(w, "rate" | "rate-limit" | "rate-limited" | "rate-limiting"))
            && word(text, |w| w.starts_with("limit") || w.starts_with("rate-limit")))
        || phrase(text, "too", "many")
        || phrase(text, "slow", "down")
        || word(text, |w| w.starts_with("throttl"))
}

/// Whether a NEG-ERR refuses a session for its size (HIST-4).
pub fn is_too_large(text: &str) -> bool {
    prefix(text) == Some("blocked")
        && (["many", "big", "large"].iter().any(|much| phrase(text, "too", much))
            || word(text, |w| w.starts_with("max")))
}

/// What the text of a CLOSED means.
pub fn closed(text: &str) -> Meaning {
    if is_subscription_limit(text) {
        return Meaning::SubscriptionLimit;
    }
    if is_rate_limit(text) {
        return Meaning::RateLimit;
    }
    match prefix(text) {
        Some("auth-required") => Meaning::AuthRequired,
        Some("unsupported" | "invalid") => Meaning::Reshape,
        Some("blocked" | "restricted") => Meaning::Refused,
        _ => Meaning::Retry,
    }
}

/// What the text of a NOTICE means, if it asks anything of us.
pub fn notice(text: &str) -> Option<Meaning> {
    if is_subscription_limit(text) {
        Some(Meaning::SubscriptionLimit)
    } else if is_rate_limit(text) {
        Some(Meaning::RateLimit)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_in_use_are_read_in_order() {
        let cases = [
            ("ERROR: too many concurrent REQs", Meaning::SubscriptionLimit),
            ("Maximum concurrent subscription count reached", Meaning::SubscriptionLimit),
            ("rate-limited: too many subscriptions", Meaning::SubscriptionLimit),
            ("too many subscriptions per minute", Meaning::RateLimit),
            ("rate-limited: slow down there chief", Meaning::RateLimit),
            ("you are being rate limited", Meaning::RateLimit),
            ("Rate-limit exceeded", Meaning::RateLimit),
            ("throttled", Meaning::RateLimit),
            ("slow down please", Meaning::RateLimit),
            ("auth-required: we serve friends", Meaning::AuthRequired),
            ("unsupported: filter contains unknown elements", Meaning::Reshape),
            ("invalid: too long", Meaning::Reshape),
            ("blocked: no", Meaning::Refused),
            ("restricted: paid", Meaning::Refused),
            ("error: shutting down", Meaning::Retry),
            ("ERROR: bad req: filter too large", Meaning::Retry),
            ("", Meaning::Retry),
            ("generated content is unlimited", Meaning::Retry),
        ];
        for (text, meaning) in cases {
            assert_eq!(closed(text), meaning, "{text}");
        }
    }

    #[test]
    fn a_notice_without_a_limit_means_nothing() {
        for text in ["could not parse command", "moderate limits apply", "welcome"] {
            assert_eq!(notice(text), None, "{text}");
        }
    }
}
