//! Numbers, sizes, spans and names for people.

use sync_core::url::RelayUrl;
use sync_runtime::api::WallMs;

/// `105,432`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 relay`, `2 relays`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `0 B`, `402 kB`, `98.1 MB`.
pub(crate) fn bytes(size: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match UNITS.into_iter().find(|(_, factor)| size >= *factor) {
        None => format!("{size} B"),
        Some(("kB", factor)) => format!("{} kB", size / factor),
        Some((unit, factor)) => {
            // One decimal, cut and not rounded, so that 999.99 MB never shows as 1000.0 MB.
            let tenths = size / (factor / 10);
            format!("{}.{} {unit}", count(tenths / 10), tenths % 10)
        }
    }
}

/// `145ms`, `1.9s`, `41s`, `9m 12s`, `2h 34m`, `3d 4h`.
pub(crate) fn span(seconds: f64) -> String {
    let ms = (seconds.max(0.0) * 1000.0) as u64;
    let two = |a: u64, unit_a: &str, b: u64, unit_b: &str| match b {
        0 => format!("{a}{unit_a}"),
        _ => format!("{a}{unit_a} {b}{unit_b}"),
    };
    match ms {
        0 => "0s".to_owned(),
        1..1_000 => format!("{ms}ms"),
        1_000..10_000 if ms % 1_000 >= 100 => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
        1_000..60_000 => format!("{}s", ms / 1_000),
        60_000..3_600_000 => two(ms / 60_000, "m", ms % 60_000 / 1_000, "s"),
        3_600_000..86_400_000 => two(ms / 3_600_000, "h", ms % 3_600_000 / 60_000, "m"),
        _ => two(ms / 86_400_000, "d", ms % 86_400_000 / 3_600_000, "h"),
    }
}

/// `now`, `12s ago`, `never`.
pub(crate) fn age(at: Option<WallMs>, now: WallMs) -> String {
    let Some(at) = at else { return "never".to_owned() };
    // Whole seconds: tenths of an age say nothing.
    match now.since(at).as_secs() {
        0 => "now".to_owned(),
        seconds => format!("{} ago", span(seconds as f64)),
    }
}

/// `relay.example` for `wss://relay.example/`; other schemes stay.
pub(crate) fn relay(url: &RelayUrl) -> String {
    let text = url.as_str();
    let text = text.strip_prefix("wss://").unwrap_or(text);
    text.strip_suffix('/').unwrap_or(text).to_owned()
}

/// `rate limited` for `rate_limited`.
pub(crate) fn words(name: &str) -> String {
    name.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_thousands_separators_and_sizes_si_units() {
        assert_eq!(["0", "999", "1,000", "105,432"], [0, 999, 1_000, 105_432].map(count).as_ref());
        assert_eq!(
            ["0 B", "402 kB", "98.1 MB", "999.9 MB", "1.0 GB"],
            [0, 402_999, 98_100_000, 999_999_999, 1_000_000_000].map(bytes).as_ref()
        );
        assert_eq!(counted(1, "relay", "relays"), "1 relay");
    }

    #[test]
    fn spans_show_at_most_two_units() {
        let cases = [
            (0.0, "0s"),
            (0.145, "145ms"),
            (1.94, "1.9s"),
            (2.0, "2s"),
            (41.9, "41s"),
            (60.0, "1m"),
            (552.0, "9m 12s"),
            (9_240.0, "2h 34m"),
            (273_600.0, "3d 4h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn ages_are_whole_seconds() {
        let now = WallMs(100_000);
        assert_eq!(age(None, now), "never");
        assert_eq!(age(Some(WallMs(99_100)), now), "now");
        assert_eq!(age(Some(WallMs(97_900)), now), "2s ago");
        assert_eq!(age(Some(WallMs(101_000)), now), "now");
    }

    #[test]
    fn a_relay_is_shown_without_what_every_relay_has() {
        let shown = |text| relay(&RelayUrl::parse(text).expect("the URL is valid"));
        assert_eq!(shown("wss://relay.example/"), "relay.example");
        assert_eq!(shown("wss://relay.example/path"), "relay.example/path");
        assert_eq!(shown("ws://127.0.0.1:8080/"), "ws://127.0.0.1:8080");
    }
}
