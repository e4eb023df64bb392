//! Identifiers. Those of a connection carry its epoch, so that a late input is recognised (S9).

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A relay of this core, by order of first mention. Stable while the core lives; the ledger
    /// knows relays by URL.
    RelayId(u32)
}
number! {
    /// A subscription of one connection, never reused within it (FILT-4). Its text on the wire is
    /// the decimal number.
    SubId(u32)
}
number! {
    /// A negentropy session of one connection; shares its numbers with [`SubId`], so that both
    /// are distinct on the wire.
    NegId(u32)
}
number! {
    /// A walk through pages; its pages are subscriptions that share what was seen (HIST-5).
    WalkId(u32)
}
number! {
    /// A batch of one relay, counted over the life of the core.
    BatchId(u32)
}
number! {
    /// A cohort or a gap of one relay in the ledger, counted over the life of the ledger.
    RowId(u32)
}
number! {
    /// An AUTH challenge that the shell keeps; its text never enters the core or a recording.
    ChallengeId(u32)
}

/// A connection of a relay. A dial begins a new epoch; inputs that name an old one only count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnId {
    /// The relay.
    pub relay: RelayId,
    /// The dial, from 1.
    pub epoch: u32,
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.relay, self.epoch)
    }
}
