//! Writing records and their index entries: single steps of a commit, without any rule.

use std::collections::BTreeSet;

use heed::{PutFlags, RwTxn};
use nostr::event::{Event, EventId, Kind};
use nostr::key::PublicKey;
use nostr::nips::nip01::Coordinate;
use nostr::types::Timestamp;

use super::environment::Environment;
use super::error::StoreError;
use super::key::{
    AuthorKey, Envelope, KindKey, Seq, TagHash, TagKey, address_of, closed, expiration, identifier,
    letter, number, queue_key,
};
use super::outcome::{Detail, Entry, Gone, Row, State, dependency_key};
use super::record::Body;
use super::tables::{Fixed, Postings, Table, Tables};
use super::{NewEvent, Removed};

/// The writing side of one transaction.
pub(super) struct Writer<'a, 'e> {
    pub(super) tables: &'a Tables,
    pub(super) fixed: &'a Fixed,
    pub(super) txn: &'a mut RwTxn<'e>,
    pub(super) now: Timestamp,
    /// Events that were stored before this transaction and are not any more.
    pub(super) removed: Vec<Removed>,
    next_body: Seq,
    next_row: Seq,
    ids: Vec<([u8; 32], [u8; 9])>,
    live: Pending,
    gone: Pending,
}

/// Index entries that wait to be written in order.
#[derive(Default)]
struct Pending {
    kinds: Vec<(KindKey, [u8; 8])>,
    authors: Vec<AuthorKey>,
    tags: Vec<TagKey>,
}

impl Pending {
    fn push(&mut self, envelope: &Envelope, tags: &[TagHash], seq: Seq) {
        self.kinds.push((envelope.kind_key(), seq.to_be_bytes()));
        self.authors.push(envelope.author_key(seq));
        self.tags.extend(tags.iter().map(|tag| envelope.tag_key(tag, seq)));
    }

    fn write(&mut self, to: Postings, txn: &mut RwTxn<'_>) -> Result<(), StoreError> {
        self.kinds.sort_unstable();
        self.authors.sort_unstable();
        self.tags.sort_unstable();
        for (key, seq) in self.kinds.drain(..) {
            to.kinds.put(txn, &key, &seq)?;
        }
        for key in self.authors.drain(..) {
            to.authors.put(txn, &key, &[])?;
        }
        for key in self.tags.drain(..) {
            to.tags.put(txn, &key, &[])?;
        }
        Ok(())
    }
}

impl<'a, 'e> Writer<'a, 'e> {
    pub(super) fn new(
        environment: &'a Environment,
        txn: &'a mut RwTxn<'e>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let Environment { tables, fixed, .. } = environment;
        Ok(Self {
            next_body: next(&tables.bodies, txn)?,
            next_row: next(&tables.rows, txn)?,
            tables,
            fixed,
            txn,
            now,
            removed: Vec::new(),
            ids: Vec::new(),
            live: Pending::default(),
            gone: Pending::default(),
        })
    }

    pub(super) fn entry(&self, id: &[u8; 32]) -> Result<Option<Entry>, StoreError> {
        self.tables.ids.get(self.txn, id)?.map(Entry::read).transpose()
    }

    /// Writes the index entries that wait. Until then they are invisible in this transaction.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        self.ids.sort_unstable();
        for (id, entry) in self.ids.drain(..) {
            self.tables.ids.put(self.txn, &id, &entry)?;
        }
        self.live.write(self.tables.live, self.txn)?;
        self.gone.write(self.tables.gone, self.txn)
    }

    /// Stores an event whose id is not in the id table.
    pub(super) fn store(
        &mut self,
        new: &NewEvent,
        scratch: &mut Vec<u8>,
    ) -> Result<Seq, StoreError> {
        let seq = self.next_body;
        self.next_body += 1;
        Body::write(&new.event, &new.raw, scratch);
        let key = seq.to_be_bytes();
        self.tables.bodies.put_with_flags(self.txn, PutFlags::APPEND, &key, scratch)?;
        let envelope = Envelope::of(&new.event);
        self.ids.push((envelope.id, Entry { state: State::Stored, seq }.bytes()));
        let tags = index_tags(self.fixed, &new.event);
        self.live.push(&envelope, &tags, seq);
        if let Some(at) = expiration(&new.event) {
            self.tables.expiry.put(self.txn, &queue_key(at, seq), &[])?;
        }
        if new.outbox {
            self.tables.outbox.put(self.txn, &key, &[])?;
        }
        Ok(seq)
    }

    /// Leaves a tombstone of an event that was refused; its id is not in the id table.
    pub(super) fn refuse(&mut self, event: &Event, why: Gone) -> Result<(), StoreError> {
        let entry = self.bury(event, why, None)?;
        self.ids.push((event.id.to_bytes(), entry.bytes()));
        Ok(())
    }

    /// Records a rejection; its id is not in the id table.
    pub(super) fn reject(&mut self, event: &Event, detail: &Detail) -> Result<(), StoreError> {
        let entry = self.bury(event, Gone::Rejected, Some(detail))?;
        self.ids.push((event.id.to_bytes(), entry.bytes()));
        for on in &detail.depends_on {
            self.tables.waiting.put(self.txn, &waiting_key(&dependency_key(on), entry.seq), &[])?;
        }
        Ok(())
    }

    /// Writes the row of an event that is not stored.
    fn bury(
        &mut self,
        event: &Event,
        why: Gone,
        detail: Option<&Detail>,
    ) -> Result<Entry, StoreError> {
        let seq = self.next_row;
        self.next_row += 1;
        let state = State::Gone(why);
        let envelope = Envelope::of(event);
        let tags = index_tags(self.fixed, event);
        let row = Row::write(&envelope, state, &tags, detail);
        let key = seq.to_be_bytes();
        self.tables.rows.put_with_flags(self.txn, PutFlags::APPEND, &key, &row)?;
        let indexed = &tags[..tags.len().min(Row::MAX_TAGS)];
        self.gone.push(&envelope, indexed, seq);
        if matches!(why, Gone::Rejected | Gone::Ephemeral) {
            self.tables.aged.put(self.txn, &queue_key(self.now.as_secs(), seq), &[])?;
        } else {
            self.tables.kept.put_with_flags(self.txn, PutFlags::APPEND, &key, &[])?;
        }
        Ok(Entry { state, seq })
    }

    /// Takes a stored event out and leaves its tombstone.
    pub(super) fn remove(
        &mut self,
        seq: Seq,
        why: Gone,
        by: Option<EventId>,
    ) -> Result<(), StoreError> {
        let event = self.take_out(seq)?;
        let entry = self.bury(&event, why, None)?;
        // Not with those that wait: a second deletion of this transaction must see it.
        self.tables.ids.put(self.txn, event.id.as_bytes(), &entry.bytes())?;
        let address = self.vacate(&event)?;
        self.removed.push(Removed {
            id: event.id,
            kind: event.kind,
            pubkey: event.pubkey,
            created_at: event.created_at,
            address,
            why,
            by,
        });
        Ok(())
    }

    /// Takes a stored event out as if it had never come. What it removed stays away.
    pub(super) fn erase(&mut self, seq: Seq) -> Result<(), StoreError> {
        let event = self.take_out(seq)?;
        self.tables.ids.delete(self.txn, event.id.as_bytes())?;
        if let Some(key) = address_of(&event) {
            self.tables.addresses.delete(self.txn, &key)?;
        }
        Ok(())
    }

    /// Removes a body and its index entries; the entry of the id table stays.
    fn take_out(&mut self, seq: Seq) -> Result<Event, StoreError> {
        let key = seq.to_be_bytes();
        let event = match self.tables.bodies.get(self.txn, &key)? {
            Some(record) => Body::read(record)?.event()?,
            None => return Err(StoreError::damaged(format!("body {seq} is missing"))),
        };
        let envelope = Envelope::of(&event);
        let Tables { bodies, live, expiry, outbox, .. } = self.tables;
        bodies.delete(self.txn, &key)?;
        live.kinds.delete(self.txn, &envelope.kind_key())?;
        live.authors.delete(self.txn, &envelope.author_key(seq))?;
        for tag in index_tags(self.fixed, &event) {
            live.tags.delete(self.txn, &envelope.tag_key(&tag, seq))?;
        }
        if let Some(at) = expiration(&event) {
            expiry.delete(self.txn, &queue_key(at, seq))?;
        }
        outbox.delete(self.txn, &key)?;
        Ok(event)
    }

    /// Notes that the newest version of the event's address is not stored any more.
    fn vacate(&mut self, event: &Event) -> Result<Option<Coordinate>, StoreError> {
        let Some(key) = address_of(event) else { return Ok(None) };
        let newest = self.tables.addresses.get(self.txn, &key)?;
        if let Some(newest) = newest.map(Newest::read).transpose()?
            && newest.id == event.id.to_bytes()
        {
            let vacant = Newest { stored: None, ..newest };
            self.tables.addresses.put(self.txn, &key, &vacant.bytes())?;
        }
        Ok(Some(Coordinate {
            kind: event.kind,
            public_key: event.pubkey,
            identifier: identifier(event).to_owned(),
        }))
    }

    /// Takes a row out with everything that leads to it, but the entry of the id table.
    pub(super) fn remove_row(&mut self, seq: Seq) -> Result<(), StoreError> {
        let key = seq.to_be_bytes();
        let record = match self.tables.rows.get(self.txn, &key)? {
            Some(record) => record.to_vec(),
            None => return Err(StoreError::damaged(format!("row {seq} is missing"))),
        };
        let row = Row::read(&record)?;
        match row.state {
            State::Wanted => {
                self.tables.wanted.delete(self.txn, &key)?;
            }
            State::Gone(_) | State::Stored => self.unlist(&row, seq)?,
        }
        self.tables.rows.delete(self.txn, &key)?;
        Ok(())
    }

    /// Takes a row out of the tombstones' indexes and out of the queues of what it waits for.
    pub(super) fn unlist(&mut self, row: &Row<'_>, seq: Seq) -> Result<(), StoreError> {
        let Tables { gone, waiting, aged, kept, .. } = self.tables;
        kept.delete(self.txn, &seq.to_be_bytes())?;
        gone.kinds.delete(self.txn, &row.envelope.kind_key())?;
        gone.authors.delete(self.txn, &row.envelope.author_key(seq))?;
        for tag in row.tags() {
            gone.tags.delete(self.txn, &row.envelope.tag_key(tag, seq))?;
        }
        if let Some(detail) = row.detail()? {
            for on in &detail.depends_on {
                waiting.delete(self.txn, &waiting_key(&dependency_key(on), seq))?;
            }
            aged.delete(self.txn, &queue_key(detail.rejected_at.as_secs(), seq))?;
        }
        Ok(())
    }
}

/// The key of a row that waits for something.
pub(super) fn waiting_key(on: &[u8; 33], seq: Seq) -> [u8; 41] {
    let mut key = [0; 41];
    key[..33].copy_from_slice(on);
    key[33..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// The newest version of an address that ever came.
#[derive(Clone, Copy)]
pub(super) struct Newest {
    pub(super) created_at: u64,
    pub(super) id: [u8; 32],
    /// Its body; `None` when it was refused or removed.
    pub(super) stored: Option<Seq>,
}

impl Newest {
    pub(super) fn bytes(&self) -> [u8; 49] {
        let mut bytes = [0; 49];
        bytes[..8].copy_from_slice(&self.created_at.to_be_bytes());
        bytes[8..40].copy_from_slice(&self.id);
        bytes[40] = u8::from(self.stored.is_some());
        bytes[41..].copy_from_slice(&self.stored.unwrap_or_default().to_be_bytes());
        bytes
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        let Ok(bytes) = <&[u8; 49]>::try_from(bytes) else {
            return Err(StoreError::damaged("the newest version of an address"));
        };
        Ok(Self {
            created_at: number(&bytes[..8])?,
            id: super::key::fixed(&bytes[8..40]),
            stored: (bytes[40] != 0).then_some(number(&bytes[41..])?),
        })
    }

    /// NIP-01: newer first, of one second the lower id first.
    pub(super) fn rank(&self) -> (u64, [u8; 32]) {
        (!self.created_at, self.id)
    }
}

/// The indexed tags of an event, each once.
fn index_tags(fixed: &Fixed, event: &Event) -> Vec<TagHash> {
    let mut tags: Vec<TagHash> = Vec::with_capacity(event.tags.len());
    for tag in event.tags.iter() {
        if let (Some(letter), Some(value)) = (letter(tag.kind()), tag.content())
            && fixed.letters.contains(&letter)
        {
            tags.push(fixed.hasher.hash(letter, value));
        }
    }
    tags.sort_unstable();
    tags.dedup();
    tags
}

fn next(table: &Table, txn: &RwTxn<'_>) -> Result<Seq, StoreError> {
    Ok(match table.last(txn)? {
        Some((key, _)) => number(key)? + 1,
        None => 0,
    })
}

/// Adds letters to the tag index of a store that was created without them. Older tombstones know
/// only the tags that they were written with: asked for by other letters they are missing, and
/// their events are downloaded once in vain.
pub(super) fn index_letters(
    environment: &mut Environment,
    letters: BTreeSet<u8>,
) -> Result<(), StoreError> {
    const STEP: usize = 10_000;
    if environment.fixed.letters.is_superset(&letters) {
        return Ok(());
    }
    let mut wider = environment.fixed.clone();
    wider.letters.extend(letters);
    let mut from: Option<Seq> = Some(0);
    while let Some(start) = from {
        from = environment.write(|txn| index_some(environment, &wider, txn, start, STEP))?;
    }
    environment.write(|txn| wider.write_letters(&environment.tables, txn))?;
    environment.fixed = wider;
    Ok(())
}

fn index_some(
    environment: &Environment,
    wider: &Fixed,
    txn: &mut RwTxn<'_>,
    start: Seq,
    step: usize,
) -> Result<Option<Seq>, StoreError> {
    let Tables { bodies, live, .. } = environment.tables;
    let mut keys = Vec::new();
    let mut next = None;
    let start = start.to_be_bytes();
    for (nth, item) in bodies.range(txn, &closed(&start, &[0xff; 8]))?.enumerate() {
        let (key, record) = item?;
        let seq = number(key)?;
        if nth == step {
            next = Some(seq);
            break;
        }
        let body = Body::read(record)?;
        let tags = index_tags(wider, &body.event()?);
        keys.extend(tags.iter().map(|tag| body.envelope.tag_key(tag, seq)));
    }
    keys.sort_unstable();
    for key in keys {
        live.tags.put(txn, &key, &[])?;
    }
    Ok(next)
}

/// The envelope as reads show it.
pub(super) fn found<'a>(body: &Body<'a>) -> super::Found<'a> {
    let Body { envelope, raw } = *body;
    super::Found {
        id: envelope.event_id(),
        pubkey: PublicKey::from_byte_array(envelope.pubkey),
        created_at: envelope.time(),
        kind: Kind::from_u16(envelope.kind),
        raw,
    }
}
