//! What can go wrong with the store, by type; texts name the cause and what to do.

use std::io;
use std::path::PathBuf;

use heed::MdbError;

/// A failure of the store. After any of them the store holds what it held before the call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process, or another handle of this one, writes to it.
    #[error(
        "the store in {} is in use by process {holder}; stop it first, or open the store read-only",
        .dir.display()
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The process as its lock file names it, or `unknown`.
        holder: String,
    },
    /// This process has the store open already; clone that handle instead.
    #[error("the store in {} is open in this process already; clone its handle", .dir.display())]
    AlreadyOpen {
        /// The directory.
        dir: PathBuf,
    },
    /// There is no store to read.
    #[error("there is no store in {}", .dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// A newer program wrote it.
    #[error(
        "the store has format {found}, this program reads up to {supported}; \
         use a newer ngit-sync, or another data directory"
    )]
    NewerFormat {
        /// The format on disk.
        found: u32,
        /// The newest format that is known here.
        supported: u32,
    },
    /// No space is left, on the disk or below the configured maximum. Nothing was written: the
    /// same commit succeeds once there is space.
    #[error("no space left for the store: {cause}")]
    Full {
        /// What is full.
        cause: &'static str,
    },
    /// A write through a handle that was opened read-only.
    #[error("the store was opened read-only")]
    ReadOnly,
    /// The store must grow, and the calling thread holds a read of it open: a visitor called
    /// [`commit`](super::EventStore::commit).
    #[error("the store cannot be written from within a read of it")]
    Nested,
    /// What is stored cannot be read back.
    #[error("the store is damaged: {what}; move its directory away and sync again")]
    Damaged {
        /// What was found.
        what: String,
    },
    /// The file system failed.
    #[error("the store's files failed")]
    Io(#[from] io::Error),
    /// LMDB failed.
    #[error("the store's database failed")]
    Database(#[source] heed::Error),
}

impl StoreError {
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }
}

impl From<heed::Error> for StoreError {
    fn from(error: heed::Error) -> Self {
        match error {
            heed::Error::Io(error) => match error.kind() {
                io::ErrorKind::StorageFull => Self::Full { cause: "the disk is full" },
                io::ErrorKind::QuotaExceeded => Self::Full { cause: "the disk quota is used up" },
                io::ErrorKind::FileTooLarge => Self::Full { cause: "the limit of file sizes" },
                _ => Self::Io(error),
            },
            heed::Error::Mdb(MdbError::Corrupted | MdbError::PageNotFound | MdbError::Invalid) => {
                Self::damaged(error.to_string())
            }
            _ => Self::Database(error),
        }
    }
}
