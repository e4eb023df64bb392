//! Opening the environment: lock, format, growth of the map; and the frame of every transaction.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use heed::{Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls};
use rustix::fs::{FlockOperation, flock, statvfs};
use rustix::process::{Resource, getrlimit};

use super::StoreOptions;
use super::error::StoreError;
use super::gate::Gate;
use super::tables::{Fixed, Tables};

const LOCK_FILE: &str = "writer.lock";
const DATA_FILE: &str = "data.mdb";
/// Maps are whole multiples of it: a page on every platform.
const STEP: u64 = 1 << 20;
/// A full map grows by a half, at least by this and at most by that.
const GROWTH: (u64, u64) = (64 << 20, 64 << 30);
/// What a large commit may need.
const LITTLE_ROOM: u64 = 64 << 20;
/// Read transactions at a time, of all processes.
const READERS: u32 = 1024;

/// The open environment.
pub(super) struct Environment {
    env: Env<WithoutTls>,
    gate: Gate,
    dir: PathBuf,
    pub(super) tables: Tables,
    pub(super) fixed: Fixed,
    map_size_max: u64,
    /// Held by who writes; its lock ends with it.
    writer: Option<Mutex<File>>,
}

impl Environment {
    /// Opens for writing; creates what is not there.
    pub(super) fn open(
        dir: &Path,
        options: &StoreOptions,
        letters: BTreeSet<u8>,
    ) -> Result<Self, StoreError> {
        fs::create_dir_all(dir)?;
        let lock = lock(dir)?;
        let mut open = EnvOpenOptions::new().read_txn_without_tls();
        open.map_size(whole_steps(options.map_size.max(STEP)) as usize);
        let env = open_env(&mut open, dir)?;
        // Readers that were killed keep their slots, and with them old pages.
        env.clear_stale_readers()?;
        let mut txn = env.write_txn()?;
        let tables = Tables::create(&env, &mut txn)?;
        let fixed = match Fixed::read(&tables, &txn)? {
            Some(fixed) => fixed,
            None => Fixed::create(&tables, &mut txn, letters)?,
        };
        txn.commit()?;
        Ok(Self {
            env,
            gate: Gate::default(),
            dir: dir.to_owned(),
            tables,
            fixed,
            map_size_max: options.map_size_max,
            writer: Some(Mutex::new(lock)),
        })
    }

    /// Opens for reading, also while another process writes.
    pub(super) fn open_read_only(dir: &Path) -> Result<Self, StoreError> {
        if !dir.join(DATA_FILE).exists() {
            return Err(StoreError::Missing { dir: dir.to_owned() });
        }
        let mut open = EnvOpenOptions::new().read_txn_without_tls();
        // SAFETY: READ_ONLY takes nothing from LMDB's guarantees.
        unsafe { open.flags(EnvFlags::READ_ONLY) };
        let env = open_env(&mut open, dir)?;
        let txn = env.read_txn()?;
        let tables = Tables::open(&env, &txn)?;
        let fixed = match &tables {
            Some(tables) => Fixed::read(tables, &txn)?,
            None => None,
        };
        // Table handles of a read transaction live on only when it is committed.
        txn.commit()?;
        let Some((tables, fixed)) = tables.zip(fixed) else {
            return Err(StoreError::Missing { dir: dir.to_owned() });
        };
        let (gate, dir) = (Gate::default(), dir.to_owned());
        Ok(Self { env, gate, dir, tables, fixed, map_size_max: 0, writer: None })
    }

    /// Runs `read` on one snapshot.
    pub(super) fn read<R>(
        &self,
        read: impl FnOnce(&RoTxn<'_, WithoutTls>) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        loop {
            let pass = self.gate.enter();
            match self.env.read_txn() {
                Ok(txn) => return read(&txn),
                Err(heed::Error::Mdb(MdbError::MapResized)) => {
                    drop(pass);
                    // SAFETY: nobody of this process has a transaction; zero adopts the size
                    // that the writing process chose.
                    self.gate.alone(|| Ok(unsafe { self.env.resize(0) }?))?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Runs `write` and commits durably; runs it again from the start when the map had to grow.
    pub(super) fn write<R>(
        &self,
        mut write: impl FnMut(&mut RwTxn<'_>) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let writer = self.writer.as_ref().ok_or(StoreError::ReadOnly)?;
        let _one_at_a_time = writer.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match self.write_once(&mut write) {
                Err(StoreError::Database(heed::Error::Mdb(MdbError::MapFull))) => self.grow()?,
                Err(StoreError::Io(error)) => return Err(self.explain(error)),
                result => return result,
            }
        }
    }

    fn write_once<R>(
        &self,
        write: &mut impl FnMut(&mut RwTxn<'_>) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let _pass = self.gate.enter();
        let mut txn = self.env.write_txn()?;
        let result = write(&mut txn)?;
        txn.commit()?;
        Ok(result)
    }

    /// LMDB reports a write that was cut short as EIO. Where hardly any room is left, that is why.
    fn explain(&self, error: io::Error) -> StoreError {
        if error.raw_os_error() != Some(rustix::io::Errno::IO.raw_os_error()) {
            return StoreError::Io(error);
        }
        let room = statvfs(&self.dir).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        if room.is_ok_and(|room| room < LITTLE_ROOM) {
            return StoreError::Full { cause: "the disk is full" };
        }
        let limit = getrlimit(Resource::Fsize).current;
        let size = self.env.real_disk_size().unwrap_or_default();
        if limit.is_some_and(|limit| limit.saturating_sub(size) < LITTLE_ROOM) {
            return StoreError::Full { cause: "the limit of file sizes" };
        }
        StoreError::Io(error)
    }

    fn grow(&self) -> Result<(), StoreError> {
        let size = self.map_size();
        let step = (size / 2).clamp(GROWTH.0, GROWTH.1);
        let new = whole_steps(size + step).min(self.map_size_max / STEP * STEP);
        if new <= size {
            return Err(StoreError::Full { cause: "it reached its configured maximum" });
        }
        tracing::info!(dir = %self.dir.display(), from = size, to = new, "the store's map grows");
        // SAFETY: nobody of this process has a transaction, and no other process writes.
        self.gate.alone(|| Ok(unsafe { self.env.resize(new as usize) }?))
    }

    /// Bytes of the memory map: what the store may hold before it grows.
    pub(super) fn map_size(&self) -> u64 {
        self.env.info().map_size as u64
    }

    /// Bytes of the data file.
    pub(super) fn disk_size(&self) -> Result<u64, StoreError> {
        Ok(self.env.real_disk_size()?)
    }
}

fn open_env(
    options: &mut EnvOpenOptions<WithoutTls>,
    dir: &Path,
) -> Result<Env<WithoutTls>, StoreError> {
    options.max_dbs(Tables::COUNT).max_readers(READERS);
    // SAFETY: the files belong to this program alone, LMDB's own locks are on, and the directory
    // is documented to be on a local file system.
    match unsafe { options.open(dir) } {
        Ok(env) => Ok(env),
        Err(heed::Error::EnvAlreadyOpened) => Err(StoreError::AlreadyOpen { dir: dir.to_owned() }),
        Err(error) => Err(error.into()),
    }
}

/// Takes the writer's lock and leaves our process id in the file, for who meets it.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK_FILE);
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let read = file.read_to_string(&mut holder);
            let known = read.is_ok() && !holder.trim().is_empty();
            let holder = if known { holder.trim().to_owned() } else { "unknown".to_owned() };
            return Err(StoreError::Locked { dir: dir.to_owned(), holder });
        }
        Err(error) => return Err(StoreError::Io(error.into())),
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

fn whole_steps(size: u64) -> u64 {
    size.div_ceil(STEP) * STEP
}
