//! NEG-MSG payloads, read strictly: what the `negentropy` crate forgives (cut or overlong
//! numbers, bounds that go backwards) is refused here, before it reads them (T11).

use alloc::vec::Vec;

/// The version that both sides speak.
const VERSION: u8 = 0x61;
/// Numbers end after 64 bits: nine groups of seven, and one bit more.
const VARINT_MAX: usize = 10;

/// The end of a range: items below it belong to the range. An id shorter than 32 bytes is filled
/// with zeros, which orders it before every id that begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bound {
    /// `created_at`; [`Bound::END`] has the largest number.
    pub(super) at: u64,
    /// Id.
    pub(super) id: [u8; 32],
}

impl Bound {
    /// Before everything.
    pub(super) const START: Self = Self { at: 0, id: [0; 32] };
    /// After everything.
    pub(super) const END: Self = Self { at: u64::MAX, id: [0; 32] };
}

/// What a range says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing more to say.
    Skip,
    /// The fingerprint of what the sender holds.
    Fingerprint,
    /// The ids that the sender holds.
    Ids,
}

/// A range of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Where it begins.
    pub(super) lower: Bound,
    /// Where it ends.
    pub(super) upper: Bound,
    /// What it says.
    pub(super) mode: Mode,
}

/// Reads a message; `None` when it is not well-formed.
pub(super) fn decode(message: &[u8]) -> Option<Vec<Part>> {
    let (version, mut rest) = message.split_first()?;
    if *version != VERSION {
        return None;
    }
    let mut parts = Vec::new();
    let mut lower = Bound::START;
    while !rest.is_empty() {
        let upper = bound(&mut rest, lower.at)?;
        if upper < lower {
            return None;
        }
        let mode = match varint(&mut rest)? {
            0 => Mode::Skip,
            1 => {
                take(&mut rest, 16)?;
                Mode::Fingerprint
            }
            2 => {
                let count = usize::try_from(varint(&mut rest)?).ok()?;
                take(&mut rest, count.checked_mul(32)?)?;
                Mode::Ids
            }
            _ => return None,
        };
        parts.push(Part { lower, upper, mode });
        lower = upper;
    }
    Some(parts)
}

fn bound(rest: &mut &[u8], last: u64) -> Option<Bound> {
    // 0 is the end; otherwise one more than the difference to the bound before.
    let at = match varint(rest)? {
        0 => Bound::END.at,
        delta => last.checked_add(delta - 1).filter(|at| *at < 1 << 63)?,
    };
    let length = usize::try_from(varint(rest)?).ok().filter(|length| *length <= 32)?;
    let mut id = [0; 32];
    id[..length].copy_from_slice(take(rest, length)?);
    Some(Bound { at, id })
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value: u64 = 0;
    for (index, byte) in rest.iter().take(VARINT_MAX).enumerate() {
        value = value.checked_mul(128)? | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            *rest = &rest[index + 1..];
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(head)
}
