//! What is asked of the daemon beyond reading; on the control socket only (T24).

use serde::{Deserialize, Serialize};
use sync_core::id::RowId;
use sync_core::input::Operator;
use sync_core::url::RelayUrl;

use super::Schema;

/// The last part of `POST /v1/relays/{id}/{action}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelayAction {
    /// Sync from it always.
    Add,
    /// Forget that it was configured.
    Remove,
    /// Disconnect and stay so.
    Pause,
    /// Undo [`RelayAction::Pause`].
    Resume,
    /// Dial now.
    Retry,
    /// Prove every item again now.
    Resync,
    /// Accept all its gaps, or the one in the query's `row` (CONN-9).
    AcceptGap,
}

impl RelayAction {
    /// Every action.
    pub const ALL: [Self; 7] = [
        Self::Add,
        Self::Remove,
        Self::Pause,
        Self::Resume,
        Self::Retry,
        Self::Resync,
        Self::AcceptGap,
    ];

    /// The name in the path.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Retry => "retry",
            Self::Resync => "resync",
            Self::AcceptGap => "accept-gap",
        }
    }

    /// The action of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == name)
    }

    /// What the core is asked for; `gap` counts for [`RelayAction::AcceptGap`] only.
    pub fn operator(self, relay: RelayUrl, gap: Option<RowId>) -> Operator {
        match self {
            Self::Add => Operator::AddRelay(relay),
            Self::Remove => Operator::RemoveRelay(relay),
            Self::Pause => Operator::Pause(relay),
            Self::Resume => Operator::Resume(relay),
            Self::Retry => Operator::Retry(relay),
            Self::Resync => Operator::Resync(relay),
            Self::AcceptGap => Operator::AcceptGap { relay, gap },
        }
    }
}

/// `POST /v1/sync`: prove again now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyncRequest {
    /// These relays; all when empty.
    pub relays: Vec<RelayUrl>,
}

/// The answer to a request that was taken; its effect shows in `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// What was asked for.
    pub accepted: String,
}

impl Schema for Accepted {
    const NAME: &'static str = "accepted";
}
