//! Reads of stored events: by id, by filter newest first, by kind oldest first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::sync::Arc;

use heed::{RoTxn, WithoutTls};
use nostr::event::{EventId, Kind};
use nostr::filter::Filter;
use nostr::key::PublicKey;

use super::environment::Environment;
use super::error::StoreError;
use super::key::{Seq, number};
use super::outcome::{Entry, State};
use super::plan::{Plan, Posting, Range, branches, plan};
use super::record::{Body, Question};
use super::tables::Tables;
use super::write::{Newest, found};
use super::{Known, StoreStats, Visit};

type Txn<'t> = RoTxn<'t, WithoutTls>;

pub(super) fn entry(
    tables: &Tables,
    txn: &Txn<'_>,
    id: &[u8; 32],
) -> Result<Option<Entry>, StoreError> {
    tables.ids.get(txn, id)?.map(Entry::read).transpose()
}

pub(super) fn body<'t>(
    tables: &Tables,
    txn: &'t Txn<'_>,
    seq: Seq,
) -> Result<Body<'t>, StoreError> {
    match tables.bodies.get(txn, &seq.to_be_bytes())? {
        Some(record) => Body::read(record),
        None => Err(StoreError::damaged(format!("body {seq} is missing"))),
    }
}

pub(super) fn has(
    environment: &Environment,
    txn: &Txn<'_>,
    ids: &[EventId],
) -> Result<Vec<Known>, StoreError> {
    let known = |id: &EventId| {
        Ok(match entry(&environment.tables, txn, id.as_bytes())?.map(|entry| entry.state) {
            None | Some(State::Wanted) => Known::No,
            Some(State::Stored) => Known::Stored,
            Some(State::Gone(why)) => Known::Gone(why),
        })
    };
    ids.iter().map(known).collect()
}

pub(super) fn by_ids(
    environment: &Environment,
    txn: &Txn<'_>,
    ids: &[EventId],
) -> Result<Vec<Option<Arc<str>>>, StoreError> {
    let tables = &environment.tables;
    let json = |id: &EventId| match entry(tables, txn, id.as_bytes())? {
        Some(Entry { state: State::Stored, seq }) => Ok(Some(body(tables, txn, seq)?.raw.into())),
        _ => Ok(None),
    };
    ids.iter().map(json).collect()
}

pub(super) fn query(
    environment: &Environment,
    txn: &Txn<'_>,
    filter: &Filter,
    visit: &mut Visit<'_>,
) -> Result<(), StoreError> {
    let Environment { tables, fixed, .. } = environment;
    let question = Question::new(filter, fixed.hasher);
    let mut left = filter.limit.unwrap_or(usize::MAX);
    let mut emit = |mut bodies: Vec<Body<'_>>| -> Result<ControlFlow<()>, StoreError> {
        bodies.sort_unstable_by_key(|body| (Reverse(body.envelope.created_at), body.envelope.id));
        for body in bodies {
            if left == 0 || visit(found(&body)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            left -= 1;
        }
        Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    if filter.limit == Some(0) {
        return Ok(());
    }
    match plan(&question, fixed, tables.live, txn)? {
        Plan::Nothing => {}
        Plan::Ids(ids) => {
            let seqs = ids.iter().map(|id| stored(tables, txn, id)).collect::<Result<_, _>>()?;
            let _ = emit(matching(tables, txn, &question, flat(seqs))?)?;
        }
        Plan::Addresses(keys) => {
            let seqs = keys.iter().map(|key| newest(tables, txn, key)).collect::<Result<_, _>>()?;
            let _ = emit(matching(tables, txn, &question, flat(seqs))?)?;
        }
        Plan::Ranges(ranges) => {
            let mut merge = Merge::new(&ranges, &question, tables, txn)?;
            while let Some(second) = merge.next_second()? {
                if emit(matching(tables, txn, &question, second)?)?.is_break() {
                    break;
                }
            }
        }
    }
    Ok(())
}

fn flat(seqs: Vec<Option<Seq>>) -> Vec<Seq> {
    seqs.into_iter().flatten().collect()
}

fn stored(tables: &Tables, txn: &Txn<'_>, id: &[u8; 32]) -> Result<Option<Seq>, StoreError> {
    let entry = entry(tables, txn, id)?;
    Ok(entry.filter(|entry| entry.state == State::Stored).map(|entry| entry.seq))
}

fn newest(tables: &Tables, txn: &Txn<'_>, address: &[u8]) -> Result<Option<Seq>, StoreError> {
    let newest = tables.addresses.get(txn, address)?.map(Newest::read).transpose()?;
    Ok(newest.and_then(|newest| newest.stored))
}

/// The bodies at these places that match.
fn matching<'t>(
    tables: &Tables,
    txn: &'t Txn<'_>,
    question: &Question<'_>,
    seqs: Vec<Seq>,
) -> Result<Vec<Body<'t>>, StoreError> {
    let mut bodies = Vec::with_capacity(seqs.len());
    for seq in seqs {
        let body = body(tables, txn, seq)?;
        if question.matches(&body)? {
            bodies.push(body);
        }
    }
    Ok(bodies)
}

/// Ranges of an index merged into one walk from new to old, a second at a time: within a second
/// the ids decide, and those are on the bodies.
struct Merge<I> {
    ranges: Vec<I>,
    /// The first entry of each range that has one: inverted time, sequence, range.
    heads: BinaryHeap<Reverse<(u64, Seq, usize)>>,
}

impl Merge<()> {
    fn new<'t>(
        ranges: &[Range],
        question: &Question<'_>,
        tables: &Tables,
        txn: &'t Txn<'_>,
    ) -> Result<Merge<impl Iterator<Item = Result<Posting, StoreError>> + use<'t>>, StoreError>
    {
        let ranges = ranges.iter().map(|range| range.iter(question, tables.live, txn));
        let ranges = ranges.collect::<Result<Vec<_>, _>>()?;
        let mut merge = Merge { heads: BinaryHeap::with_capacity(ranges.len()), ranges };
        for range in 0..merge.ranges.len() {
            merge.advance(range)?;
        }
        Ok(merge)
    }
}

impl<I: Iterator<Item = Result<Posting, StoreError>>> Merge<I> {
    fn advance(&mut self, range: usize) -> Result<(), StoreError> {
        if let Some(posting) = self.ranges[range].next() {
            let Posting { inverted, seq, .. } = posting?;
            self.heads.push(Reverse((inverted, seq, range)));
        }
        Ok(())
    }

    /// The places of the next second's records, each once.
    fn next_second(&mut self) -> Result<Option<Vec<Seq>>, StoreError> {
        let Some(Reverse((second, ..))) = self.heads.peek().copied() else { return Ok(None) };
        let mut seqs = Vec::new();
        while let Some(Reverse((at, seq, range))) = self.heads.peek().copied()
            && at == second
        {
            self.heads.pop();
            seqs.push(seq);
            self.advance(range)?;
        }
        // An event with two of the values that were asked for is in two ranges.
        seqs.sort_unstable();
        seqs.dedup();
        Ok(Some(seqs))
    }
}

pub(super) fn scan_kinds(
    environment: &Environment,
    txn: &Txn<'_>,
    kinds: &[Kind],
    visit: &mut Visit<'_>,
) -> Result<(), StoreError> {
    let tables = &environment.tables;
    for kind in kinds {
        let prefix = kind.as_u16().to_be_bytes();
        for item in tables.live.kinds.rev_prefix_iter(txn, &prefix)? {
            let body = body(tables, txn, number(item?.1)?)?;
            if visit(found(&body)).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// One body a prefix of the index tells the author: two keys that share 64 bits are as hard to
/// make as a broken key.
pub(super) fn authors(
    environment: &Environment,
    txn: &Txn<'_>,
    visit: &mut dyn FnMut(PublicKey),
) -> Result<(), StoreError> {
    let tables = &environment.tables;
    let length = super::key::author_only(&[0; 32]).len();
    for prefix in branches(tables.live.authors, txn, &[], length)? {
        if let Some((key, _)) = tables.live.authors.get_greater_than_or_equal_to(txn, &prefix)? {
            visit(body(tables, txn, number(&key[18..])?)?.envelope.author());
        }
    }
    Ok(())
}

pub(super) fn outbox(
    environment: &Environment,
    txn: &Txn<'_>,
    limit: usize,
) -> Result<Vec<EventId>, StoreError> {
    let tables = &environment.tables;
    let waiting = tables.outbox.iter(txn)?.take(limit);
    waiting.map(|item| Ok(body(tables, txn, number(item?.0)?)?.envelope.event_id())).collect()
}

pub(super) fn stats(environment: &Environment, txn: &Txn<'_>) -> Result<StoreStats, StoreError> {
    let tables = &environment.tables;
    let mut kinds = Vec::new();
    for prefix in branches(tables.live.kinds, txn, &[], 2)? {
        let count = tables.live.kinds.prefix_iter(txn, &prefix)?.count() as u64;
        kinds.push((Kind::from_u16(u16::from_be_bytes(super::key::fixed(&prefix))), count));
    }
    Ok(StoreStats {
        events: tables.bodies.len(txn)?,
        kinds,
        tombstones: tables.gone.kinds.len(txn)?,
        aging: tables.aged.len(txn)?,
        tombstones_dropped: 0,
        wanted: tables.wanted.len(txn)?,
        outbox: tables.outbox.len(txn)?,
        ledger: tables.ledger.len(txn)?,
        disk: environment.disk_size()?,
        map: environment.map_size(),
    })
}
