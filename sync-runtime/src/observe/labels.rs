//! Closed lists of label values (T17): whatever becomes a label is one of these or a relay.

/// Relays with series of their own; counters of those beyond are summed in [`OTHER`].
pub const RELAYS_MAX: usize = 500;

/// The value that stands for what has no label of its own.
pub const OTHER: &str = "other";

/// Kinds with a label of their own; every other kind is [`OTHER`], the last of [`KIND_LABELS`].
pub const KINDS: [u16; 23] = [
    1, 5, 7, 62, 1063, 1111, 1617, 1618, 1619, 1621, 1622, 1630, 1631, 1632, 1633, 1984, 1985,
    9735, 9802, 10_317, 30_023, 30_617, 30_618,
];

/// Labels of [`KINDS`], in their order, then [`OTHER`].
pub const KIND_LABELS: [&str; 24] = [
    "1", "5", "7", "62", "1063", "1111", "1617", "1618", "1619", "1621", "1622", "1630", "1631",
    "1632", "1633", "1984", "1985", "9735", "9802", "10317", "30023", "30617", "30618", OTHER,
];

/// The place of a kind in [`KIND_LABELS`].
pub(crate) fn kind_at(kind: u16) -> usize {
    KINDS.binary_search(&kind).unwrap_or(KINDS.len())
}

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
        }

        impl $name {
            /// Every value, in order.
            pub const ALL: [Self; [$($text),*].len()] = [$(Self::$variant),*];
            /// Their labels, in the same order.
            pub const LABELS: [&'static str; [$($text),*].len()] = [$($text),*];

            /// The label.
            pub const fn as_str(self) -> &'static str {
                Self::LABELS[self as usize]
            }
        }
    };
}

labels! {
    /// A message to a relay.
    Sent {
        /// REQ.
        Req = "req",
        /// CLOSE.
        Close = "close",
        /// NEG-OPEN.
        NegOpen = "neg_open",
        /// NEG-MSG.
        NegMsg = "neg_msg",
        /// NEG-CLOSE.
        NegClose = "neg_close",
        /// EVENT.
        Event = "event",
        /// AUTH.
        Auth = "auth",
        /// A WebSocket ping.
        Ping = "ping",
    }
}

labels! {
    /// A message of a relay.
    Received {
        /// EVENT.
        Event = "event",
        /// EOSE.
        Eose = "eose",
        /// CLOSED.
        Closed = "closed",
        /// NOTICE.
        Notice = "notice",
        /// OK.
        Ok = "ok",
        /// AUTH.
        Auth = "auth",
        /// NEG-MSG.
        NegMsg = "neg_msg",
        /// NEG-ERR.
        NegErr = "neg_err",
        /// A WebSocket pong.
        Pong = "pong",
        /// Anything else, readable or not.
        Other = "other",
    }
}

labels! {
    /// What became of a received event; each has exactly one.
    Outcome {
        /// Newly saved.
        Stored = "stored",
        /// Known already.
        Duplicate = "duplicate",
        /// Refused by policy and remembered.
        Rejected = "rejected",
        /// Held for git data.
        Held = "held",
        /// A wrong id or signature.
        Invalid = "invalid",
        /// Off-filter, unsolicited or oversize.
        Dropped = "dropped",
        /// The store could not take it; it is asked for again.
        Failed = "failed",
    }
}

labels! {
    /// What an error is about.
    ErrorType {
        /// A socket, address or proxy.
        Network = "network",
        /// The store.
        Database = "database",
        /// Acceptance of an event.
        Apply = "apply",
        /// An id, signature or shape of an event.
        Validation = "validation",
        /// Name resolution.
        Dns = "dns",
        /// TLS and certificates.
        Tls = "tls",
        /// A deadline.
        Timeout = "timeout",
        /// What NIPs ask for and a relay did not do.
        Protocol = "protocol",
        /// Authentication.
        Auth = "auth",
        /// The relay asked for less.
        RateLimited = "rate_limited",
        /// A bug of ours.
        Internal = "internal",
    }
}

labels! {
    /// A stage of a dial.
    DialStage {
        /// Name resolution.
        Dns = "dns",
        /// The TCP handshake.
        Tcp = "tcp",
        /// The TLS handshake.
        Tls = "tls",
        /// The WebSocket upgrade.
        Upgrade = "ws",
    }
}

labels! {
    /// A stage between a frame and its commit.
    ApplyStage {
        /// Id and signature.
        Verify = "verify",
        /// Acceptance.
        Policy = "policy",
        /// The commit.
        Store = "store",
        /// All of it.
        Total = "total",
    }
}

labels! {
    /// An operation of the store.
    StoreOp {
        /// Lookup by id.
        Get = "get",
        /// A batch written.
        Put = "put",
        /// A filter.
        Query = "query",
        /// Removal.
        Delete = "delete",
        /// A have-set.
        Snapshot = "snapshot",
    }
}

labels! {
    /// A bounded queue.
    Queue {
        /// Received events.
        Ingest = "ingest",
        /// Signature checks.
        Verify = "verify",
        /// Commits.
        Store = "store",
        /// Facts that wait for the discovery window.
        Discovery = "discovery",
        /// Events for the own relay.
        Publish = "publish",
    }
}

labels! {
    /// The class of a rejected event.
    RejectedClass {
        /// 30617.
        Announcement = "announcement",
        /// 30618.
        State = "state",
    }
}

labels! {
    /// How two versions of one address were decided.
    Resolution {
        /// The newer `created_at` won.
        Newer = "newer_created_at",
        /// The same second: the lower id won (NIP-01).
        LowestId = "lowest_id_tiebreak",
        /// A deletion decided.
        Deleted = "deleted",
    }
}

labels! {
    /// What the own relay answered to an event.
    Published {
        /// Taken.
        Accepted = "accepted",
        /// Refused for good.
        Refused = "refused",
        /// To be sent again.
        Retried = "retried",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_sorted_and_their_labels_are_their_numbers() {
        assert!(KINDS.is_sorted());
        for (kind, label) in KINDS.iter().zip(KIND_LABELS) {
            assert_eq!(kind.to_string(), label);
            assert_eq!(KIND_LABELS[kind_at(*kind)], label);
        }
        assert_eq!(KIND_LABELS[kind_at(31_337)], "other");
    }
}
