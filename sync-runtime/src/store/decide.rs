//! What becomes of new events: the rules of NIP-01, NIP-09, NIP-40 and NIP-62.
//!
//! The events of a commit are one set: vanish requests take effect first, then deletions, then the
//! others are judged, versions of one address together. So nothing that this commit stores is
//! removed by it again, and the order within a commit means nothing.

use std::collections::BTreeMap;

use nostr::event::{Event, EventId};
use nostr::key::PublicKey;
use sync_core::url::RelayUrl;

use super::error::StoreError;
use super::key::{
    Envelope, Seq, address_key, address_of, author_only, expiration, inverted, is_addressable,
    is_ephemeral, is_replaceable, number, target_address_key, target_id_key,
};
use super::outcome::{Gone, State};
use super::write::{Newest, Writer};
use super::{NewEvent, Outcome};

const DELETION: u16 = 5;
const VANISH: u16 = 62;
const ALL_RELAYS: &str = "ALL_RELAYS";

/// Stores what is to be stored, leaves tombstones of what is not, removes what new events remove.
/// Index entries wait for [`Writer::flush`].
pub(super) fn events(
    writer: &mut Writer<'_, '_>,
    relay_urls: &[RelayUrl],
    events: &[NewEvent],
) -> Result<Vec<Outcome>, StoreError> {
    let mut outcomes = vec![Outcome::Duplicate; events.len()];
    let (fresh, copies) = fresh(writer, events, &mut outcomes)?;
    vanish(writer, relay_urls, events, &fresh)?;
    delete(writer, events, &fresh)?;
    let newest = judge(writer, events, &fresh, &mut outcomes)?;

    let mut arrival = fresh;
    arrival.sort_unstable();
    let mut scratch = Vec::new();
    let mut stored = BTreeMap::new();
    for at in arrival {
        match outcomes[at] {
            Outcome::Stored => {
                stored.insert(at, writer.store(&events[at], &mut scratch)?);
            }
            Outcome::Gone(why) => writer.refuse(&events[at].event, why)?,
            Outcome::Duplicate => unreachable!("every fresh event was judged"),
        }
    }
    for (address, at) in newest {
        let stored = stored.get(&at).copied();
        let Envelope { created_at, id, .. } = Envelope::of(&events[at].event);
        let newest = Newest { created_at, id, stored };
        writer.tables.addresses.put(writer.txn, &address, &newest.bytes())?;
    }
    for (copy, first) in copies {
        if outcomes[first] != Outcome::Stored {
            outcomes[copy] = outcomes[first];
        }
    }
    Ok(outcomes)
}

/// Places of copies within the commit: of the copy, of the first one.
type Copies = Vec<(usize, usize)>;

/// The events whose fate is open, by ascending id; what is known gets its outcome. Rejections
/// are known no more, and forgotten.
fn fresh(
    writer: &mut Writer<'_, '_>,
    events: &[NewEvent],
    outcomes: &mut [Outcome],
) -> Result<(Vec<usize>, Copies), StoreError> {
    let mut order: Vec<usize> = (0..events.len()).collect();
    order.sort_unstable_by_key(|at| (events[*at].event.id, *at));
    let mut fresh: Vec<usize> = Vec::with_capacity(order.len());
    let mut copies = Vec::new();
    for same in order.chunk_by(|a, b| events[*a].event.id == events[*b].event.id) {
        let (first, rest) = (same[0], &same[1..]);
        copies.extend(rest.iter().map(|copy| (*copy, first)));
        match writer.entry(events[first].event.id.as_bytes())? {
            None => fresh.push(first),
            Some(entry) => match entry.state {
                State::Stored => {}
                State::Gone(Gone::Rejected) | State::Wanted => {
                    writer.remove_row(entry.seq)?;
                    fresh.push(first);
                }
                State::Gone(why) => outcomes[first] = Outcome::Gone(why),
            },
        }
    }
    Ok((fresh, copies))
}

/// NIP-62: notes how far authors vanished, and removes what they had.
fn vanish(
    writer: &mut Writer<'_, '_>,
    relay_urls: &[RelayUrl],
    events: &[NewEvent],
    fresh: &[usize],
) -> Result<(), StoreError> {
    let mut requests: BTreeMap<PublicKey, (u64, EventId)> = BTreeMap::new();
    for event in fresh.iter().map(|at| &events[*at].event) {
        if event.kind.as_u16() == VANISH && concerns_us(event, relay_urls) {
            let request = (event.created_at.as_secs(), event.id);
            let known = requests.entry(event.pubkey).or_insert(request);
            *known = (*known).max(request);
        }
    }
    for (author, (until, by)) in requests {
        let author = author.to_bytes();
        if vanished_until(writer, &author)?.is_some_and(|known| known >= until) {
            continue;
        }
        writer.tables.vanished.put(writer.txn, &author, &until.to_be_bytes())?;
        for seq in stored_until(writer, &author, until)? {
            writer.remove(seq, Gone::Vanished, Some(by))?;
        }
    }
    Ok(())
}

fn concerns_us(event: &Event, relay_urls: &[RelayUrl]) -> bool {
    event.tags.iter().filter(|tag| tag.kind() == "relay").filter_map(|tag| tag.content()).any(
        |relay| {
            relay == ALL_RELAYS
                || RelayUrl::parse(relay).is_ok_and(|relay| relay_urls.contains(&relay))
        },
    )
}

fn vanished_until(writer: &Writer<'_, '_>, author: &[u8; 32]) -> Result<Option<u64>, StoreError> {
    writer.tables.vanished.get(writer.txn, author)?.map(number).transpose()
}

/// The stored events of an author up to a second, but vanish requests.
fn stored_until(
    writer: &Writer<'_, '_>,
    author: &[u8; 32],
    until: u64,
) -> Result<Vec<Seq>, StoreError> {
    let mut found = Vec::new();
    for item in writer.tables.live.authors.prefix_iter(writer.txn, author_only(author))? {
        let (key, _) = item?;
        if key[10..18] < inverted(until)[..] {
            continue;
        }
        let seq = number(&key[18..])?;
        let envelope = envelope_of(writer, seq)?;
        if envelope.pubkey == *author && envelope.kind != VANISH {
            found.push(seq);
        }
    }
    Ok(found)
}

fn envelope_of(writer: &Writer<'_, '_>, seq: Seq) -> Result<Envelope, StoreError> {
    match writer.tables.bodies.get(writer.txn, &seq.to_be_bytes())? {
        Some(record) => Ok(Envelope::read(record)?.0),
        None => Err(StoreError::damaged(format!("body {seq} is missing"))),
    }
}

/// NIP-09: notes what deletions cover, and removes it. What is not the author's own is ignored.
fn delete(
    writer: &mut Writer<'_, '_>,
    events: &[NewEvent],
    fresh: &[usize],
) -> Result<(), StoreError> {
    for event in fresh.iter().map(|at| &events[*at].event) {
        if event.kind.as_u16() != DELETION {
            continue;
        }
        for tag in event.tags.iter() {
            match (tag.kind(), tag.content()) {
                ("e", Some(id)) => {
                    if let Ok(id) = EventId::from_hex(id) {
                        delete_id(writer, event, id)?;
                    }
                }
                ("a", Some(address)) => {
                    if let Some(address) = own_address(event, address) {
                        delete_address(writer, event, &address)?;
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn delete_id(writer: &mut Writer<'_, '_>, by: &Event, id: EventId) -> Result<(), StoreError> {
    let author = by.pubkey.to_bytes();
    let id = id.to_bytes();
    writer.tables.targets.put(writer.txn, &target_id_key(&id, &author), &[])?;
    if let Some(entry) = writer.entry(&id)?
        && entry.state == State::Stored
    {
        let target = envelope_of(writer, entry.seq)?;
        if target.pubkey == author && !matches!(target.kind, DELETION | VANISH) {
            writer.remove(entry.seq, Gone::Deleted, Some(by.id))?;
        }
    }
    Ok(())
}

fn delete_address(
    writer: &mut Writer<'_, '_>,
    by: &Event,
    address: &[u8],
) -> Result<(), StoreError> {
    let until = by.created_at.as_secs();
    let key = target_address_key(address);
    let known = writer.tables.targets.get(writer.txn, &key)?.map(number).transpose()?;
    if known.is_none_or(|known| known < until) {
        writer.tables.targets.put(writer.txn, &key, &until.to_be_bytes())?;
    }
    let newest = writer.tables.addresses.get(writer.txn, address)?.map(Newest::read).transpose()?;
    if let Some(Newest { created_at, stored: Some(seq), .. }) = newest
        && created_at <= until
    {
        writer.remove(seq, Gone::Deleted, Some(by.id))?;
    }
    Ok(())
}

/// The address of an `a` tag when it is the deletion's own author's. An identifier may hold
/// colons: only the first two separate.
fn own_address(deletion: &Event, text: &str) -> Option<Vec<u8>> {
    let mut parts = text.splitn(3, ':');
    let (kind, author, identifier) = (parts.next()?, parts.next()?, parts.next().unwrap_or(""));
    let author = PublicKey::from_hex(author).ok()?;
    let kind: u16 = kind.parse().ok()?;
    let named = is_addressable(kind) || (is_replaceable(kind) && identifier.is_empty());
    if author != deletion.pubkey || !named {
        return None;
    }
    address_key(kind, author.as_bytes(), identifier)
}

/// An event that is a version of an address.
struct Version {
    address: Vec<u8>,
    rank: (u64, [u8; 32]),
    at: usize,
    refused: Option<Gone>,
}

/// Gives every fresh event its outcome, and removes older versions of what came. Returns the
/// addresses whose newest version came, with its place.
fn judge(
    writer: &mut Writer<'_, '_>,
    events: &[NewEvent],
    fresh: &[usize],
    outcomes: &mut [Outcome],
) -> Result<Vec<(Vec<u8>, usize)>, StoreError> {
    let rules = Rules {
        targets: !writer.tables.targets.is_empty(writer.txn)?,
        vanished: !writer.tables.vanished.is_empty(writer.txn)?,
    };
    let mut versions = Vec::new();
    for &at in fresh {
        let event = &events[at].event;
        let address = address_of(event);
        let refused = rules.refusal(writer, event, address.as_deref())?;
        outcomes[at] = refused.map_or(Outcome::Stored, Outcome::Gone);
        if let Some(address) = address {
            let rank = (!event.created_at.as_secs(), event.id.to_bytes());
            versions.push(Version { address, rank, at, refused });
        }
    }
    versions.sort_unstable_by(|a, b| (&a.address, a.rank).cmp(&(&b.address, b.rank)));
    let mut newest = Vec::new();
    for versions in versions.chunk_by_mut(|a, b| a.address == b.address) {
        if let Some((address, at)) = newest_of(writer, events, versions, outcomes)? {
            newest.push((address, at));
        }
    }
    Ok(newest)
}

/// Judges versions of one address, newest first. A version that is refused for itself still
/// supersedes older ones: else the order of arrival would matter.
fn newest_of(
    writer: &mut Writer<'_, '_>,
    events: &[NewEvent],
    versions: &mut [Version],
    outcomes: &mut [Outcome],
) -> Result<Option<(Vec<u8>, usize)>, StoreError> {
    let best = &mut versions[0];
    let address = std::mem::take(&mut best.address);
    let known = writer.tables.addresses.get(writer.txn, &address)?.map(Newest::read).transpose()?;
    let wins = known.is_none_or(|known| best.rank < known.rank());
    let older = if wins { &versions[1..] } else { &versions[..] };
    for version in older.iter().filter(|version| version.refused.is_none()) {
        outcomes[version.at] = Outcome::Gone(Gone::Superseded);
    }
    if !wins {
        return Ok(None);
    }
    let at = versions[0].at;
    if let Some(Newest { stored: Some(seq), .. }) = known {
        writer.remove(seq, Gone::Superseded, Some(events[at].event.id))?;
    }
    Ok(Some((address, at)))
}

/// Which rules have anything to look up.
struct Rules {
    targets: bool,
    vanished: bool,
}

impl Rules {
    /// Why an event is not stored, its address's other versions aside.
    fn refusal(
        &self,
        writer: &Writer<'_, '_>,
        event: &Event,
        address: Option<&[u8]>,
    ) -> Result<Option<Gone>, StoreError> {
        let Envelope { kind, created_at, id, pubkey } = Envelope::of(event);
        if kind == VANISH {
            return Ok(None);
        }
        if self.vanished
            && vanished_until(writer, &pubkey)?.is_some_and(|until| created_at <= until)
        {
            return Ok(Some(Gone::Vanished));
        }
        if kind != DELETION && self.targets && is_target(writer, &id, &pubkey)? {
            return Ok(Some(Gone::Deleted));
        }
        if self.targets
            && let Some(address) = address
        {
            let until = writer.tables.targets.get(writer.txn, &target_address_key(address))?;
            if until.map(number).transpose()?.is_some_and(|until| created_at <= until) {
                return Ok(Some(Gone::Deleted));
            }
        }
        if expiration(event).is_some_and(|at| at <= writer.now.as_secs()) {
            return Ok(Some(Gone::Expired));
        }
        Ok(is_ephemeral(kind).then_some(Gone::Ephemeral))
    }
}

fn is_target(
    writer: &Writer<'_, '_>,
    id: &[u8; 32],
    author: &[u8; 32],
) -> Result<bool, StoreError> {
    Ok(writer.tables.targets.get(writer.txn, &target_id_key(id, author))?.is_some())
}
