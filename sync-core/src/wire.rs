//! Frames of relays, read without copying bodies, and the frames that we send.
//!
//! Relays are sloppy where `nostr`'s parser is strict, so this one is thin and lenient: elements
//! beyond those known are skipped, a missing message is empty, unknown types are
//! [`RelayFrame::Unknown`]. It never panics. What an event holds is read by [`envelope`] and, in
//! full, only by whoever verifies it.

mod client;
mod envelope;

use alloc::borrow::Cow;
use core::fmt;

use nostr::event::EventId;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

pub use self::client::{auth, close, event, neg_close, neg_msg, neg_open, req};
pub use self::envelope::{Envelope, envelope};
use crate::id::{NegId, SubId};
use crate::input::EoseHints;

/// A frame or an event that cannot be read; it is counted and skipped (TALK-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// No JSON array that begins with a text, or an element of another type than its frame has.
    #[error("not a relay frame")]
    Frame,
    /// The event lacks `id`, `pubkey`, `created_at` or `kind`, or one is out of its range.
    #[error("not an event")]
    Event,
    /// `id` or `pubkey` is not 64 lower-case hex digits.
    #[error("an id or key is not 64 lower-case hex digits")]
    Hex,
}

/// The type of a frame, as the label of its counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrameType {
    /// An event of a subscription.
    Event,
    /// Stored events are through.
    Eose,
    /// A subscription was closed.
    Closed,
    /// Text for people.
    Notice,
    /// The answer to an EVENT or AUTH.
    Ok,
    /// A challenge.
    Auth,
    /// A step of a negentropy session.
    NegMsg,
    /// A negentropy session was refused.
    NegErr,
    /// The answer to a COUNT.
    Count,
    /// Anything else.
    Unknown,
}

impl FrameType {
    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "EVENT",
            Self::Eose => "EOSE",
            Self::Closed => "CLOSED",
            Self::Notice => "NOTICE",
            Self::Ok => "OK",
            Self::Auth => "AUTH",
            Self::NegMsg => "NEG-MSG",
            Self::NegErr => "NEG-ERR",
            Self::Count => "COUNT",
            Self::Unknown => "other",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "EVENT" => Self::Event,
            "EOSE" => Self::Eose,
            "CLOSED" => Self::Closed,
            "NOTICE" => Self::Notice,
            "OK" => Self::Ok,
            "AUTH" => Self::Auth,
            "NEG-MSG" => Self::NegMsg,
            "NEG-ERR" => Self::NegErr,
            "COUNT" => Self::Count,
            _ => Self::Unknown,
        }
    }
}

/// A frame of a relay. A subscription is `None` when its text is no number that we give out.
#[derive(Clone, Debug)]
pub enum RelayFrame<'a> {
    /// An event of a subscription.
    Event {
        /// The subscription.
        sub: Option<SubId>,
        /// The event as it was sent.
        event: &'a RawValue,
    },
    /// Stored events are through.
    Eose {
        /// The subscription.
        sub: Option<SubId>,
        /// NIP-67 hints.
        hints: EoseHints,
    },
    /// A subscription was closed.
    Closed {
        /// The subscription.
        sub: Option<SubId>,
        /// Prefix and text, as sent.
        text: Cow<'a, str>,
    },
    /// Text for people.
    Notice {
        /// The text, as sent.
        text: Cow<'a, str>,
    },
    /// The answer to an EVENT or AUTH.
    Ok {
        /// The event.
        id: EventId,
        /// Whether it was taken.
        accepted: bool,
        /// Prefix and text, as sent.
        text: Cow<'a, str>,
    },
    /// A challenge.
    Auth {
        /// The challenge, as sent: it never enters the core.
        challenge: Cow<'a, str>,
    },
    /// A step of a negentropy session.
    NegMsg {
        /// The session.
        neg: Option<NegId>,
        /// The message in hex.
        hex: Cow<'a, str>,
    },
    /// A negentropy session was refused or ended.
    NegErr {
        /// The session.
        neg: Option<NegId>,
        /// Prefix and text, as sent.
        text: Cow<'a, str>,
        /// The 4th element, when it is a number (HIST-4).
        limit: Option<u64>,
    },
    /// The answer to a COUNT; nothing here asks one.
    Count,
    /// A type that we do not know.
    Unknown,
}

impl RelayFrame<'_> {
    /// The type.
    pub const fn frame_type(&self) -> FrameType {
        match self {
            Self::Event { .. } => FrameType::Event,
            Self::Eose { .. } => FrameType::Eose,
            Self::Closed { .. } => FrameType::Closed,
            Self::Notice { .. } => FrameType::Notice,
            Self::Ok { .. } => FrameType::Ok,
            Self::Auth { .. } => FrameType::Auth,
            Self::NegMsg { .. } => FrameType::NegMsg,
            Self::NegErr { .. } => FrameType::NegErr,
            Self::Count => FrameType::Count,
            Self::Unknown => FrameType::Unknown,
        }
    }
}

/// Reads a frame. The event of an EVENT is checked to be JSON, nothing more.
pub fn scan(text: &str) -> Result<RelayFrame<'_>, WireError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let frame = deserializer.deserialize_seq(FrameVisitor).map_err(|_| WireError::Frame)?;
    deserializer.end().map_err(|_| WireError::Frame)?;
    Ok(frame)
}

/// What the first elements of a frame tell, without reading the rest: enough to hold its size
/// against the limit of its type, and to know whom a skipped one belonged to (TALK-5).
pub fn head(text: &str) -> (FrameType, Option<SubId>) {
    let Some((name, rest)) = text.trim_start().strip_prefix('[').and_then(plain_string) else {
        return (FrameType::Unknown, None);
    };
    let second = rest.trim_start().strip_prefix(',').and_then(plain_string);
    (FrameType::parse(name), second.and_then(|(sub, _)| parse_sub(sub)))
}

/// A JSON string without escapes at the start of `text`, and what follows it.
fn plain_string(text: &str) -> Option<(&str, &str)> {
    let (inner, rest) = text.trim_start().strip_prefix('"')?.split_once('"')?;
    if inner.contains('\\') { None } else { Some((inner, rest)) }
}

/// Reads a subscription id of ours: the decimal number exactly as we write it.
fn parse_sub(text: &str) -> Option<SubId> {
    let canonical = match text.as_bytes() {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if canonical { text.parse().ok().map(SubId) } else { None }
}

/// A string that is borrowed unless it holds escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.into())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

struct FrameVisitor;

impl<'de> Visitor<'de> for FrameVisitor {
    type Value = RelayFrame<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a relay frame")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RelayFrame<'de>, A::Error> {
        let name: Text<'de> = required(&mut seq)?;
        let frame = match FrameType::parse(&name.0) {
            FrameType::Event => {
                RelayFrame::Event { sub: sub(&mut seq)?, event: required(&mut seq)? }
            }
            FrameType::Eose => RelayFrame::Eose { sub: sub(&mut seq)?, hints: hints(&mut seq)? },
            FrameType::Closed => RelayFrame::Closed { sub: sub(&mut seq)?, text: text(&mut seq)? },
            FrameType::Notice => RelayFrame::Notice { text: text(&mut seq)? },
            FrameType::Ok => ok(&mut seq)?,
            FrameType::Auth => {
                RelayFrame::Auth { challenge: required::<Text<'de>, _>(&mut seq)?.0 }
            }
            FrameType::NegMsg => RelayFrame::NegMsg {
                neg: neg(&mut seq)?,
                hex: required::<Text<'de>, _>(&mut seq)?.0,
            },
            FrameType::NegErr => RelayFrame::NegErr {
                neg: neg(&mut seq)?,
                text: text(&mut seq)?,
                limit: optional(&mut seq)?.and_then(|raw| serde_json::from_str(raw.get()).ok()),
            },
            FrameType::Count => RelayFrame::Count,
            FrameType::Unknown => RelayFrame::Unknown,
        };
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(frame)
    }
}

fn required<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(seq: &mut A) -> Result<T, A::Error> {
    seq.next_element()?.ok_or_else(|| A::Error::custom("a missing element"))
}

fn optional<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<Option<&'de RawValue>, A::Error> {
    seq.next_element()
}

fn sub<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<Option<SubId>, A::Error> {
    Ok(parse_sub(&required::<Text<'de>, A>(seq)?.0))
}

fn neg<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<Option<NegId>, A::Error> {
    Ok(sub(seq)?.map(|SubId(number)| NegId(number)))
}

/// A message; missing or of another type it is empty.
fn text<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<Cow<'de, str>, A::Error> {
    let text = optional(seq)?.and_then(|raw| serde_json::from_str::<Text<'de>>(raw.get()).ok());
    Ok(text.map_or(Cow::Borrowed(""), |text| text.0))
}

/// NIP-67: unknown hints, and a third element that is no list, are as if absent.
fn hints<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<EoseHints, A::Error> {
    let mut hints = EoseHints::default();
    let Some(raw) = optional(seq)? else { return Ok(hints) };
    let words: alloc::vec::Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    for word in words {
        match word.get() {
            "\"finish\"" => hints.finish = true,
            "\"more\"" => hints.more = true,
            _ => {}
        }
    }
    Ok(hints)
}

fn ok<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<RelayFrame<'de>, A::Error> {
    let id = required::<Text<'de>, A>(seq)?.0;
    let id = envelope::hex32(&id).ok_or_else(|| A::Error::custom("no event id"))?;
    let accepted = required(seq)?;
    Ok(RelayFrame::Ok { id: EventId::from_byte_array(id), accepted, text: text(seq)? })
}

#[cfg(test)]
mod tests;
