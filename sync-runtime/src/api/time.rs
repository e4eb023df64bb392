//! Moments and spans as documents write them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nostr::types::Timestamp;
use serde::{Deserialize, Serialize};

/// A moment of the wall clock in milliseconds since the epoch; displayed as RFC 3339 in UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct WallMs(pub u64);

/// A span in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub f64);

/// Text that is no RFC 3339 moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no moment; write for example 2026-11-20T08:41:12Z")]
pub struct MomentError(String);

impl WallMs {
    /// The moment in whole seconds.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The moment in seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Time since `earlier`; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment that much later.
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl From<SystemTime> for WallMs {
    fn from(at: SystemTime) -> Self {
        // A clock before the epoch reads as the epoch.
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Timestamp> for WallMs {
    fn from(at: Timestamp) -> Self {
        Self(at.as_secs().saturating_mul(1000))
    }
}

impl From<Duration> for Seconds {
    fn from(span: Duration) -> Self {
        Self(span.as_secs_f64())
    }
}

impl fmt::Display for WallMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let (year, month, day) = civil(days);
        let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z", ms % 1000)
    }
}

impl FromStr for WallMs {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        parse(text).ok_or_else(|| MomentError(text.chars().take(64).collect()))
    }
}

/// Year, month and day of a day since the epoch, in the proleptic Gregorian calendar (Hinnant's
/// algorithm; years begin in March so that the leap day is the last).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

/// The day since the epoch of a date from 1970 on.
fn day_of(year: u64, month: u64, day: u64) -> Option<u64> {
    let y = year - u64::from(month <= 2);
    let (era, yoe) = (y / 400, y % 400);
    let mp = if month > 2 { month - 3 } else { month + 9 };
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + (153 * mp + 2) / 5 + day - 1;
    (era * 146_097 + doe).checked_sub(719_468)
}

fn parse(text: &str) -> Option<WallMs> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let mut parts = date.splitn(3, '-').map(|n| n.parse::<u64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let (clock, offset) = split_offset(rest)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.splitn(3, ':').map(|n| n.parse::<u64>().ok());
    let (h, m, s) = (parts.next()??, parts.next()??, parts.next()??);
    let valid = (1970..=9999).contains(&year) && (1..=12).contains(&month) && h < 24 && m < 60;
    if !valid || s > 60 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let days = day_of(year, month, day)?;
    if civil(days) != (year, month, day) {
        return None;
    }
    let ms = format!("{fraction:0<3}").get(..3)?.parse::<u64>().ok()?;
    let at = i64::try_from(((days * 24 + h) * 60 + m) * 60 + s).ok()?;
    Some(WallMs(u64::try_from(at - offset).ok()? * 1000 + ms))
}

/// Splits the time of day from its offset, in seconds east of UTC.
fn split_offset(rest: &str) -> Option<(&str, i64)> {
    if let Some(clock) = rest.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let at = rest.rfind(['+', '-'])?;
    let (clock, offset) = rest.split_at(at);
    let (h, m) = offset[1..].split_once(':')?;
    let seconds = (h.parse::<i64>().ok()? * 60 + m.parse::<i64>().ok()?) * 60;
    Some((clock, if offset.starts_with('-') { -seconds } else { seconds }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_and_read_as_rfc_3339() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_164_072_004, "2026-11-20T08:41:12.004Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(WallMs(ms).to_string(), text);
            assert_eq!(text.parse(), Ok(WallMs(ms)));
        }
        assert_eq!("2026-11-20T09:41:12+01:00".parse(), Ok(WallMs(1_795_164_072_000)));
        assert_eq!("2026-11-20 03:11:12.5-05:30".parse(), Ok(WallMs(1_795_164_072_500)));
    }

    #[test]
    fn text_that_is_no_moment_is_refused() {
        for text in ["", "yesterday", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z"] {
            assert!(text.parse::<WallMs>().is_err(), "{text}");
        }
        for text in ["2026-01-01T25:00:00Z", "2026-01-01T00:00:00", "1969-12-31T00:00:00Z"] {
            assert!(text.parse::<WallMs>().is_err(), "{text}");
        }
    }
}
