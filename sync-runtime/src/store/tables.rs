//! The tables of the environment, and what was fixed when it was created.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};

use heed::types::Bytes;
use heed::{Database, Env, RoTxn, RwTxn, WithoutTls};

use super::error::StoreError;
use super::key::{TagHasher, fixed};

/// The format that this program writes.
pub(super) const FORMAT: u32 = 1;

/// Tags that have-sets of the three layers ask for.
pub(super) const LETTERS: &[u8] = b"aAqeEd";

const FORMAT_KEY: &[u8] = b"format";
const HASH_KEY: &[u8] = b"hash";
const LETTERS_KEY: &[u8] = b"letters";

pub(super) type Table = Database<Bytes, Bytes>;

/// Indexes over records of one sort.
#[derive(Clone, Copy)]
pub(super) struct Postings {
    /// kind, time, id → sequence.
    pub(super) kinds: Table,
    /// Part of the author, kind, time, sequence.
    pub(super) authors: Table,
    /// Letter, hash of the value, time, sequence.
    pub(super) tags: Table,
}

/// Every table. Keys are described in `key.rs`.
#[derive(Clone, Copy)]
pub(super) struct Tables {
    meta: Table,
    /// sequence → envelope, event as JSON.
    pub(super) bodies: Table,
    /// sequence → envelope and what became of an event that is not stored.
    pub(super) rows: Table,
    /// id → state, sequence of the body or row.
    pub(super) ids: Table,
    /// Indexes of stored events.
    pub(super) live: Postings,
    /// Indexes of tombstones.
    pub(super) gone: Postings,
    /// Address → its newest version: time, id, whether it is stored, sequence.
    pub(super) addresses: Table,
    /// What stored and vanished deletions cover.
    pub(super) targets: Table,
    /// Author → up to when everything vanished.
    pub(super) vanished: Table,
    /// NIP-40: expiration, sequence.
    pub(super) expiry: Table,
    /// Dependency, row.
    pub(super) waiting: Table,
    /// Rows marked wanted.
    pub(super) wanted: Table,
    /// Time of the outcome, row: what a sweep removes.
    pub(super) aged: Table,
    /// Rows that no sweep removes: what a limit drops first.
    pub(super) kept: Table,
    /// Rows of the ledger as JSON.
    pub(super) ledger: Table,
    /// Sequences of stored events that the own relay has not got.
    pub(super) outbox: Table,
}

impl Tables {
    pub(super) const COUNT: u32 = 24;

    /// Opens all tables; `None` when one is missing, that is when nothing was created yet.
    pub(super) fn open(
        env: &Env<WithoutTls>,
        txn: &RoTxn<'_, WithoutTls>,
    ) -> Result<Option<Self>, StoreError> {
        Self::build(|name| Ok(env.open_database(txn, Some(name))?))
    }

    /// Empties every table; what the environment was created with stays.
    pub(super) fn clear(&self, txn: &mut RwTxn<'_>) -> Result<(), StoreError> {
        let Self { meta: _, bodies, rows, ids, live, gone, addresses, targets, vanished, .. } =
            self;
        let Self { expiry, waiting, wanted, aged, kept, ledger, outbox, .. } = self;
        let events = [bodies, rows, ids, addresses, targets, vanished, expiry];
        let queues = [waiting, wanted, aged, kept, ledger, outbox];
        let postings = [live, gone].map(|p| [&p.kinds, &p.authors, &p.tags]);
        for table in events.iter().chain(&queues).chain(postings.as_flattened()) {
            table.clear(txn)?;
        }
        Ok(())
    }

    pub(super) fn create(env: &Env<WithoutTls>, txn: &mut RwTxn<'_>) -> Result<Self, StoreError> {
        let tables = Self::build(|name| Ok(Some(env.create_database(txn, Some(name))?)))?;
        Ok(tables.expect("every table was created"))
    }

    fn build(
        mut table: impl FnMut(&str) -> Result<Option<Table>, StoreError>,
    ) -> Result<Option<Self>, StoreError> {
        macro_rules! table {
            ($name:literal) => {
                match table($name)? {
                    Some(table) => table,
                    None => return Ok(None),
                }
            };
        }
        Ok(Some(Self {
            meta: table!("meta"),
            bodies: table!("bodies"),
            rows: table!("rows"),
            ids: table!("ids"),
            live: Postings {
                kinds: table!("live_kinds"),
                authors: table!("live_authors"),
                tags: table!("live_tags"),
            },
            gone: Postings {
                kinds: table!("gone_kinds"),
                authors: table!("gone_authors"),
                tags: table!("gone_tags"),
            },
            addresses: table!("addresses"),
            targets: table!("targets"),
            vanished: table!("vanished"),
            expiry: table!("expiry"),
            waiting: table!("waiting"),
            wanted: table!("wanted"),
            aged: table!("aged"),
            kept: table!("kept"),
            ledger: table!("ledger"),
            outbox: table!("outbox"),
        }))
    }
}

/// What the environment was created with.
#[derive(Clone)]
pub(super) struct Fixed {
    pub(super) hasher: TagHasher,
    /// Letters of the tag index.
    pub(super) letters: BTreeSet<u8>,
}

impl Fixed {
    /// Reads it; `None` in an environment that was just created.
    pub(super) fn read(
        tables: &Tables,
        txn: &RoTxn<'_, WithoutTls>,
    ) -> Result<Option<Self>, StoreError> {
        let Some(format) = tables.meta.get(txn, FORMAT_KEY)? else { return Ok(None) };
        let format = <[u8; 4]>::try_from(format)
            .map(u32::from_be_bytes)
            .map_err(|_| StoreError::damaged("no format"))?;
        if format > FORMAT {
            return Err(StoreError::NewerFormat { found: format, supported: FORMAT });
        }
        let key = tables.meta.get(txn, HASH_KEY)?.filter(|key| key.len() == 16);
        let key = key.ok_or_else(|| StoreError::damaged("no hash key"))?;
        let key = [&key[..8], &key[8..]].map(|half| u64::from_be_bytes(fixed(half)));
        let letters = tables.meta.get(txn, LETTERS_KEY)?.unwrap_or_default();
        let letters = letters.iter().copied().collect();
        Ok(Some(Self { hasher: TagHasher { key }, letters }))
    }

    /// Writes it for the first time.
    pub(super) fn create(
        tables: &Tables,
        txn: &mut RwTxn<'_>,
        letters: BTreeSet<u8>,
    ) -> Result<Self, StoreError> {
        let random = || RandomState::new().build_hasher().finish();
        let key = [random(), random()];
        tables.meta.put(txn, FORMAT_KEY, &FORMAT.to_be_bytes())?;
        tables.meta.put(txn, HASH_KEY, key.map(u64::to_be_bytes).as_flattened())?;
        let fixed = Self { hasher: TagHasher { key }, letters };
        fixed.write_letters(tables, txn)?;
        Ok(fixed)
    }

    pub(super) fn write_letters(
        &self,
        tables: &Tables,
        txn: &mut RwTxn<'_>,
    ) -> Result<(), StoreError> {
        let letters: Vec<u8> = self.letters.iter().copied().collect();
        Ok(tables.meta.put(txn, LETTERS_KEY, &letters)?)
    }
}
