//! Have-sets of reconciliations, and counts: everything that matches, in no order.

use heed::{RoTxn, WithoutTls};
use nostr::event::EventId;
use nostr::filter::Filter;
use nostr::types::Timestamp;
use sync_core::item::Range;

use super::environment::Environment;
use super::error::StoreError;
use super::key::{Envelope, Seq};
use super::outcome::{Entry, Row, State};
use super::plan::{Plan, plan_by_index};
use super::query::{body, entry};
use super::record::Question;
use super::tables::Postings;

type Txn<'t> = RoTxn<'t, WithoutTls>;
/// Told of the envelope's time and id.
type Each<'v> = dyn FnMut(u64, [u8; 32]) + 'v;

pub(super) fn have_set(
    environment: &Environment,
    txn: &Txn<'_>,
    filter: &Filter,
    range: Range,
    visit: &mut dyn FnMut(Timestamp, EventId),
) -> Result<(), StoreError> {
    let mut question = Question::new(filter, environment.fixed.hasher);
    question.since = question.since.max(range.since.as_secs());
    question.until = question.until.min(range.until.as_secs());
    let each: &mut Each<'_> =
        &mut |at, id| visit(Timestamp::from_secs(at), EventId::from_byte_array(id));
    for side in [Side::Live, Side::Gone] {
        side.each(environment, txn, &question, each)?;
    }
    Ok(())
}

pub(super) fn count(
    environment: &Environment,
    txn: &Txn<'_>,
    filter: &Filter,
) -> Result<u64, StoreError> {
    let question = Question::new(filter, environment.fixed.hasher);
    let mut count = 0;
    Side::Live.each(environment, txn, &question, &mut |_, _| count += 1)?;
    Ok(count)
}

/// Every stored event that matches, each once, in no order; the limit plays no part.
#[cfg(feature = "nostr-database")]
pub(super) fn live(
    environment: &Environment,
    txn: &Txn<'_>,
    filter: &Filter,
    visit: &mut dyn FnMut(Timestamp, EventId),
) -> Result<(), StoreError> {
    let question = Question::new(filter, environment.fixed.hasher);
    Side::Live.each(environment, txn, &question, &mut |at, id| {
        visit(Timestamp::from_secs(at), EventId::from_byte_array(id));
    })
}

/// Stored events or tombstones: both are indexed in the same way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Live,
    Gone,
}

impl Side {
    fn postings(self, environment: &Environment) -> Postings {
        match self {
            Self::Live => environment.tables.live,
            Self::Gone => environment.tables.gone,
        }
    }

    /// Visits every match once.
    fn each(
        self,
        environment: &Environment,
        txn: &Txn<'_>,
        question: &Question<'_>,
        each: &mut Each<'_>,
    ) -> Result<(), StoreError> {
        let postings = self.postings(environment);
        let ranges = match plan_by_index(question, &environment.fixed, postings, txn)? {
            Plan::Ranges(ranges) => ranges,
            Plan::Ids(ids) => return self.each_id(environment, txn, question, &ids, each),
            Plan::Nothing | Plan::Addresses(_) => return Ok(()),
        };
        let plain = question.is_plain();
        let mut seqs: Vec<Seq> = Vec::new();
        for range in &ranges {
            for posting in range.iter(question, postings, txn)? {
                let posting = posting?;
                match posting.id {
                    // The index of kinds answers alone; nothing is in two of its ranges.
                    Some(id) if plain => each(!posting.inverted, id),
                    _ => seqs.push(posting.seq),
                }
            }
        }
        seqs.sort_unstable();
        seqs.dedup();
        for seq in seqs {
            if let Some(envelope) = self.judge(environment, txn, question, seq)? {
                each(envelope.created_at, envelope.id);
            }
        }
        Ok(())
    }

    fn each_id(
        self,
        environment: &Environment,
        txn: &Txn<'_>,
        question: &Question<'_>,
        ids: &[[u8; 32]],
        each: &mut Each<'_>,
    ) -> Result<(), StoreError> {
        for id in ids {
            let Some(Entry { state, seq }) = entry(&environment.tables, txn, id)? else { continue };
            let here = match state {
                State::Stored => self == Self::Live,
                State::Gone(_) => self == Self::Gone,
                State::Wanted => false,
            };
            if here && let Some(envelope) = self.judge(environment, txn, question, seq)? {
                each(envelope.created_at, envelope.id);
            }
        }
        Ok(())
    }

    /// The envelope of a record that matches.
    fn judge(
        self,
        environment: &Environment,
        txn: &Txn<'_>,
        question: &Question<'_>,
        seq: Seq,
    ) -> Result<Option<Envelope>, StoreError> {
        match self {
            Self::Live => {
                let body = body(&environment.tables, txn, seq)?;
                Ok(question.matches(&body)?.then_some(body.envelope))
            }
            Self::Gone => {
                let Some(record) = environment.tables.rows.get(txn, &seq.to_be_bytes())? else {
                    return Err(StoreError::damaged(format!("row {seq} is missing")));
                };
                let row = Row::read(record)?;
                let kept = |letter| environment.fixed.letters.contains(&letter);
                Ok(question.matches_row(&row, kept).then_some(row.envelope))
            }
        }
    }
}
