//! What a simulated relay is like, and what it does wrong for a while.

use std::collections::BTreeSet;
use std::time::Duration;

use nostr::event::EventId;
use sync_core::input::DialErrorKind;

use crate::entropy::Entropy;

/// What a relay is like for good: an honest relay may have any of these.
#[derive(Clone, Debug)]
pub struct Nature {
    /// Events that one filter brings at most.
    pub cap: Option<usize>,
    /// Whether and how it speaks NIP-77.
    pub negentropy: Negentropy,
    /// How long a frame takes, in each direction.
    pub latency: Duration,
    /// Open subscriptions; one more is answered by a NOTICE without its id.
    pub subscriptions: Option<usize>,
    /// Whether events of a page come in no order.
    pub shuffled: bool,
    /// Whether it says in EOSE if there is more (NIP-67).
    pub hints: bool,
}

impl Default for Nature {
    fn default() -> Self {
        Self {
            cap: Some(500),
            negentropy: Negentropy::Speaks,
            latency: Duration::from_millis(20),
            subscriptions: None,
            shuffled: false,
            hints: false,
        }
    }
}

/// How NEG-OPEN is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negentropy {
    /// As NIP-77 says.
    Speaks,
    /// Not at all.
    Ignored,
    /// By a NOTICE without the session's id.
    Notice,
    /// By NEG-ERR.
    Error,
    /// By CLOSED.
    Closed,
    /// By a NEG-MSG that is no message.
    Garbage,
}

impl Negentropy {
    /// Every way, the honest one first.
    pub const ALL: [Self; 6] =
        [Self::Speaks, Self::Ignored, Self::Notice, Self::Error, Self::Closed, Self::Garbage];
}

/// What happens to a dial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DialPlan {
    /// It succeeds.
    #[default]
    Ok,
    /// It fails so.
    Fails(DialErrorKind),
    /// Nothing answers; the shell's own deadlines end it.
    Hangs,
}

/// What happens to the EOSE of a REQ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EosePlan {
    /// It comes after the events.
    #[default]
    Normal,
    /// It never comes.
    Missing,
    /// It comes twice.
    Doubled,
    /// It comes so much later.
    Late(Duration),
}

/// How a relay asks for less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedBy {
    /// A NOTICE, and no answer.
    Notice,
    /// CLOSED of the REQ.
    Closed,
}

/// What a relay does wrong. Shares are per thousand frames or events.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// What happens to dials.
    pub dial: DialPlan,
    /// A connection ends after so many frames.
    pub drop_after: Option<u32>,
    /// Each frame may take so much longer.
    pub jitter: Duration,
    /// What happens to EOSE.
    pub eose: EosePlan,
    /// REQs that are closed, and the text.
    pub closed: Option<(u32, &'static str)>,
    /// Every n-th REQ meets a rate limit.
    pub limited: Option<(u32, LimitedBy)>,
    /// Events that come twice.
    pub duplicates: u32,
    /// REQs that bring an event which does not match.
    pub off_filter: u32,
    /// REQs that bring an event of a subscription nobody opened.
    pub unsolicited: u32,
    /// Events that come with a wrong signature, and never with the right one.
    pub bad_signatures: u32,
    /// Events that come as a forged copy first: their id, another content.
    pub forged: u32,
    /// How NEG-OPEN is answered instead of as the nature says.
    pub negentropy: Option<Negentropy>,
    /// NEG-OPENs that are refused, each in a way that is drawn.
    pub neg_refused: u32,
    /// NEG-OPENs of more items than this are blocked for their size.
    pub neg_blocked_above: Option<usize>,
    /// Filters by id bring nothing.
    pub refuses_ids: bool,
    /// A REQ that asks for stored events is closed by the relay after its EOSE.
    pub closes_after_eose: bool,
    /// Ids that reconciliation promises and no REQ brings.
    pub withheld: BTreeSet<EventId>,
    /// The relay stops sending and reading; its sockets stay open.
    pub frozen: bool,
}

/// Texts of CLOSED, one of every prefix that TALK-1 names.
pub const CLOSED_TEXTS: [&str; 8] = [
    "auth-required: sign in first",
    "rate-limited: slow down",
    "error: could not query the database",
    "",
    "unsupported: filter has too many tags",
    "invalid: filter is too large",
    "blocked: you are not welcome",
    "restricted: members only",
];

impl Faults {
    /// Draws faults; `hostile` allows those after which an honest answer is no longer to be had.
    pub fn draw(entropy: &mut impl Entropy, hostile: bool) -> Self {
        let mut faults = Self::default();
        if entropy.chance(300) {
            faults.dial = match entropy.below(4) {
                0 => DialPlan::Fails(DialErrorKind::Refused),
                1 => DialPlan::Fails(DialErrorKind::Tls),
                2 => DialPlan::Fails(DialErrorKind::Dns),
                _ => DialPlan::Hangs,
            };
        }
        if entropy.chance(400) {
            faults.drop_after = Some(entropy.between(1, 400) as u32);
        }
        faults.jitter = Duration::from_millis(entropy.below(300));
        faults.eose = match entropy.below(8) {
            0 => EosePlan::Missing,
            1 => EosePlan::Doubled,
            2 => EosePlan::Late(Duration::from_secs(entropy.between(1, 60))),
            _ => EosePlan::Normal,
        };
        if entropy.chance(250) {
            let text = CLOSED_TEXTS[entropy.index(CLOSED_TEXTS.len())];
            faults.closed = Some((entropy.between(50, 1_000) as u32, text));
        }
        if entropy.chance(200) {
            let by = if entropy.chance(500) { LimitedBy::Notice } else { LimitedBy::Closed };
            faults.limited = Some((entropy.between(3, 40) as u32, by));
        }
        faults.duplicates = if entropy.chance(300) { 100 } else { 0 };
        faults.off_filter = if entropy.chance(200) { 100 } else { 0 };
        faults.unsolicited = if entropy.chance(200) { 100 } else { 0 };
        if entropy.chance(300) {
            let way = Negentropy::ALL[1 + entropy.index(Negentropy::ALL.len() - 1)];
            faults.negentropy = Some(way);
        }
        if hostile {
            faults.bad_signatures = if entropy.chance(300) { 50 } else { 0 };
            faults.forged = if entropy.chance(300) { 50 } else { 0 };
        }
        faults.frozen = entropy.chance(50);
        faults
    }
}

impl Nature {
    /// Draws what a relay is like, within what `spec/paging.md` assumes of an honest one.
    pub fn draw(entropy: &mut impl Entropy) -> Self {
        let caps = [Some(500), None, Some(100), Some(75), Some(50), Some(10)];
        Self {
            cap: caps[entropy.index(caps.len())],
            negentropy: match entropy.below(3) {
                0 => Negentropy::ALL[entropy.index(5)],
                _ => Negentropy::Speaks,
            },
            latency: Duration::from_millis(entropy.between(1, 120)),
            subscriptions: entropy.chance(200).then(|| entropy.between(8, 40) as usize),
            shuffled: entropy.chance(200),
            hints: entropy.chance(150),
        }
    }
}
