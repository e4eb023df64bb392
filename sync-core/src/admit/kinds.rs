//! The kinds that admission tells apart. Numbers, because `Kind` compares by number and matching
//! on its variants would miss `Kind::Custom`.

/// Repository announcement (NIP-34).
pub const ANNOUNCEMENT: u16 = 30617;
/// Repository state (NIP-34).
pub const STATE: u16 = 30618;
/// Patch (NIP-34).
pub const PATCH: u16 = 1617;
/// Pull request (NIP-34).
pub const PULL_REQUEST: u16 = 1618;
/// Update of a pull request (NIP-34).
pub const PULL_REQUEST_UPDATE: u16 = 1619;
/// Issue (NIP-34).
pub const ISSUE: u16 = 1621;
/// Comment (NIP-22).
pub const COMMENT: u16 = 1111;
/// Text note (NIP-10).
pub const NOTE: u16 = 1;
/// Deletion (NIP-09).
pub const DELETION: u16 = 5;
/// Request to vanish (NIP-62).
pub const VANISH: u16 = 62;
/// User's list of GRASP servers (NIP-34).
pub const GRASP_LIST: u16 = 10317;

/// Whether a kind is a root event (spec §1).
pub const fn is_root(kind: u16) -> bool {
    matches!(kind, PATCH | PULL_REQUEST | ISSUE)
}

/// Whether replies can hang on a kind below a root (ACPT-6).
pub const fn is_thread(kind: u16) -> bool {
    matches!(kind, COMMENT | NOTE | PULL_REQUEST_UPDATE)
}

/// Whether what an accepted event of this kind references is acceptable (ACPT-5).
pub const fn brings_targets(kind: u16) -> bool {
    is_root(kind) || matches!(kind, PULL_REQUEST_UPDATE | COMMENT)
}
