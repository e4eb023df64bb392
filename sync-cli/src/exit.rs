//! The exit codes: one list, shown in help and documented nowhere else.

use sync_runtime::store::StoreError;

/// How the process ends. An unknown code must be read as failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Ok = 0,
    /// It was not done.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// It finished, and what is missing was named.
    Partial = 3,
    /// A check found something.
    Unhealthy = 4,
    /// The same command may work later.
    Temporary = 5,
    /// No daemon answers at the control socket.
    NoDaemon = 10,
    /// Daemon and command speak different versions of the control API.
    VersionMismatch = 11,
    /// Another process holds the store.
    StoreLocked = 12,
    /// The store is not there or cannot be read.
    StoreUnusable = 13,
    /// A file or the environment configures something that does not exist.
    ConfigInvalid = 14,
    /// The daemon knows no such relay, repository or event.
    NotFound = 15,
    /// A bug.
    Internal = 70,
    /// A deadline of the command line passed.
    Timeout = 124,
    /// SIGINT cut work short.
    Interrupted = 130,
    /// SIGTERM cut work short.
    Terminated = 143,
}

impl Exit {
    /// Every code with its meaning, in ascending order.
    pub(crate) const ALL: [(Self, &'static str); 16] = [
        (Self::Ok, "done"),
        (Self::Failed, "failed"),
        (Self::Usage, "the command line is wrong"),
        (Self::Partial, "finished, but something is missing and was named"),
        (Self::Unhealthy, "a check found something"),
        (Self::Temporary, "temporary, retry later"),
        (Self::NoDaemon, "the daemon is not running"),
        (Self::VersionMismatch, "daemon and command have different versions"),
        (Self::StoreLocked, "another process holds the store"),
        (Self::StoreUnusable, "the store is missing or corrupt"),
        (Self::ConfigInvalid, "the configuration is invalid"),
        (Self::NotFound, "no such relay, repository or event"),
        (Self::Internal, "internal error, a bug"),
        (Self::Timeout, "a deadline passed"),
        (Self::Interrupted, "interrupted (SIGINT) before the work was done"),
        (Self::Terminated, "terminated (SIGTERM) before the work was done"),
    ];

    /// The number.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    /// The list as help shows it.
    pub(crate) fn help() -> String {
        let lines = Self::ALL.map(|(exit, meaning)| format!("  {:>3}  {meaning}", exit.code()));
        format!("Exit codes:\n{}", lines.join("\n"))
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<&StoreError> for Exit {
    /// What a failure of the store means.
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Locked { .. } | StoreError::AlreadyOpen { .. } => Self::StoreLocked,
            StoreError::Missing { .. }
            | StoreError::Damaged { .. }
            | StoreError::NewerFormat { .. } => Self::StoreUnusable,
            StoreError::Full { .. } => Self::Temporary,
            _ => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_the_contract() {
        let codes = Exit::ALL.map(|(exit, _)| exit.code());
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 70, 124, 130, 143]);
    }
}
