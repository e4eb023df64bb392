//! How a question is looked up: single ids and addresses, or ranges of one index.

use heed::{RoTxn, WithoutTls};

use super::error::StoreError;
use super::key::{
    Seq, address_key, author_only, author_prefix, closed, fixed, inverted, is_addressable, number,
};
use super::record::Question;
use super::tables::{Fixed, Postings, Table};

/// Addresses that are looked up one by one at most; above it an index is read.
const ADDRESSES_MAX: usize = 1000;

/// Where the records lie that may match. What is found is compared with the question again.
pub(super) enum Plan {
    /// Nothing can match.
    Nothing,
    /// These ids.
    Ids(Vec<[u8; 32]>),
    /// The newest versions of these addresses.
    Addresses(Vec<Vec<u8>>),
    /// Ranges of an index, each in order from new to old.
    Ranges(Vec<Range>),
}

/// One range of one index: everything that begins with the prefix, within the times asked for.
pub(super) struct Range {
    pub(super) index: Index,
    pub(super) prefix: Vec<u8>,
}

/// An index of [`Postings`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    Kinds,
    Authors,
    Tags,
}

impl Index {
    pub(super) fn table(self, postings: Postings) -> Table {
        match self {
            Self::Kinds => postings.kinds,
            Self::Authors => postings.authors,
            Self::Tags => postings.tags,
        }
    }
}

/// The plan for stored events.
pub(super) fn plan(
    question: &Question<'_>,
    fixed: &Fixed,
    postings: Postings,
    txn: &RoTxn<'_, WithoutTls>,
) -> Result<Plan, StoreError> {
    if let Some(addresses) = addresses(question) {
        return Ok(Plan::Addresses(addresses));
    }
    plan_by_index(question, fixed, postings, txn)
}

/// The plan where addresses are not kept: for tombstones, and for have-sets.
pub(super) fn plan_by_index(
    question: &Question<'_>,
    fixed: &Fixed,
    postings: Postings,
    txn: &RoTxn<'_, WithoutTls>,
) -> Result<Plan, StoreError> {
    if question.tags.iter().any(|tag| tag.values.is_empty()) || question.since > question.until {
        return Ok(Plan::Nothing);
    }
    if let Some(ids) = question.ids() {
        return Ok(Plan::Ids(ids.collect()));
    }
    let indexed = question.tags.iter().filter(|tag| fixed.letters.contains(&tag.letter));
    if let Some(tag) = indexed.min_by_key(|tag| tag.values.len()) {
        let hashes = tag.values.iter().map(|(hash, _)| hash.to_vec());
        return Ok(ranges(Index::Tags, hashes));
    }
    let kinds = question.kinds();
    if let Some(authors) = question.authors() {
        let mut prefixes = Vec::new();
        for author in authors {
            match &kinds {
                Some(kinds) => {
                    prefixes.extend(kinds.clone().map(|kind| author_prefix(&author, kind).to_vec()))
                }
                None => {
                    let author = author_only(&author);
                    prefixes.extend(branches(postings.authors, txn, author, author.len() + 2)?);
                }
            }
        }
        return Ok(ranges(Index::Authors, prefixes.into_iter()));
    }
    Ok(match kinds {
        Some(kinds) => ranges(Index::Kinds, kinds.map(|kind| kind.to_be_bytes().to_vec())),
        None => ranges(Index::Kinds, branches(postings.kinds, txn, &[], 2)?.into_iter()),
    })
}

fn ranges(index: Index, prefixes: impl Iterator<Item = Vec<u8>>) -> Plan {
    let mut prefixes: Vec<_> = prefixes.collect();
    prefixes.sort_unstable();
    // Authors that share a prefix share a range.
    prefixes.dedup();
    Plan::Ranges(prefixes.into_iter().map(|prefix| Range { index, prefix }).collect())
}

/// The addresses that a question names, when it can only match versions of those.
fn addresses(question: &Question<'_>) -> Option<Vec<Vec<u8>>> {
    let (kinds, authors) = (question.kinds()?, question.authors()?);
    if question.ids().is_some() || !kinds.clone().all(is_addressable) {
        return None;
    }
    let identifiers = &question.tags.iter().find(|tag| tag.letter == b'd')?.values;
    let count = kinds.len().checked_mul(authors.len())?.checked_mul(identifiers.len())?;
    if count > ADDRESSES_MAX {
        return None;
    }
    let mut found = Vec::with_capacity(count);
    for kind in kinds {
        for author in authors.clone() {
            for (_, identifier) in identifiers {
                found.extend(address_key(kind, &author, identifier));
            }
        }
    }
    Some(found)
}

/// The distinct beginnings, `length` bytes long, of the keys that begin with `prefix`; found by
/// skipping from one to the next.
pub(super) fn branches(
    table: Table,
    txn: &RoTxn<'_, WithoutTls>,
    prefix: &[u8],
    length: usize,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut from = prefix.to_vec();
    from.resize(length, 0);
    while let Some((key, _)) = table.get_greater_than_or_equal_to(txn, &from)? {
        if !key.starts_with(prefix) || key.len() < length {
            break;
        }
        let branch = key[..length].to_vec();
        let next = successor(&branch);
        found.push(branch);
        match next {
            Some(next) => from = next,
            None => break,
        }
    }
    Ok(found)
}

/// The smallest string of bytes of the same length that is greater.
fn successor(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut next = bytes.to_vec();
    for byte in next.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(next);
        }
    }
    None
}

/// An entry of an index.
pub(super) struct Posting {
    /// Inverted time: smaller is newer.
    pub(super) inverted: u64,
    /// The id, in the index of kinds.
    pub(super) id: Option<[u8; 32]>,
    pub(super) seq: Seq,
}

impl Range {
    /// Entries within the question's times, from new to old.
    pub(super) fn iter<'t>(
        &self,
        question: &Question<'_>,
        postings: Postings,
        txn: &'t RoTxn<'_, WithoutTls>,
    ) -> Result<impl Iterator<Item = Result<Posting, StoreError>> + use<'t>, StoreError> {
        let (index, at) = (self.index, self.prefix.len());
        let first = [&self.prefix[..], &inverted(question.until)].concat();
        let mut last = [&self.prefix[..], &inverted(question.since)].concat();
        // Not shorter than what follows the time in any index.
        last.extend([0xff; 40]);
        let items = index.table(postings).range(txn, &closed(&first, &last))?;
        Ok(items.map(move |item| {
            let (key, value) = item?;
            let inverted = key.get(at..at + 8).map(|time| u64::from_be_bytes(fixed(time)));
            let rest = key.get(at + 8..).unwrap_or_default();
            let (id, seq) = match index {
                Index::Kinds => (rest.try_into().ok(), number(value)?),
                Index::Authors | Index::Tags => (None, number(rest)?),
            };
            match inverted {
                Some(inverted) => Ok(Posting { inverted, id, seq }),
                None => Err(StoreError::damaged("a key of an index is cut")),
            }
        }))
    }
}
