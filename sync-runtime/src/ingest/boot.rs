//! What the own store means for what is wanted, at start (DISC-9).

use std::ops::ControlFlow;

use nostr::event::{Event, EventId, Kind};
use sync_core::admit::kinds;
use sync_core::admit::policy::Policy;
use sync_core::input::{Fact, Input};

use crate::store::{EventStore, Known, StoreError};

/// Kinds that the policy holds a view of, those that others hang on first.
const KINDS: [u16; 8] = [
    kinds::ANNOUNCEMENT,
    kinds::STATE,
    kinds::PATCH,
    kinds::PULL_REQUEST,
    kinds::ISSUE,
    kinds::PULL_REQUEST_UPDATE,
    kinds::COMMENT,
    kinds::NOTE,
];

/// Feeds the policy with the store, and hands out the facts of it: at most [`Input::MAX_FACTS`] a
/// call. Rejections of another policy are retired first (REJ-1); those that are wanted are among
/// the facts. With `trusted`, as when there is an own relay, stored announcements are accepted
/// whatever they list.
pub fn boot(
    store: &dyn EventStore,
    policy: &mut Policy,
    trusted: bool,
    emit: &mut dyn FnMut(Vec<Fact>),
) -> Result<(), StoreError> {
    let mut facts = Chunks { store, pending: Vec::new(), emit };
    let revision = policy.revision();
    if store.retire_rejections(revision)? > 0 {
        facts.push(Vec::from([Fact::PolicyChanged { revision }]))?;
    }
    feed(store, policy, trusted, &mut facts)?;
    let mut authors = Vec::new();
    store.authors(&mut |key| authors.extend(policy.hold_author(key).facts))?;
    facts.push(authors)?;
    let wanted = store.wanted()?.into_iter().map(|row| Fact::WantId {
        id: row.id,
        relays: row.relays,
        not_before: None,
    });
    facts.push(wanted.collect())?;
    facts.flush(0)
}

fn feed(
    store: &dyn EventStore,
    policy: &mut Policy,
    trusted: bool,
    facts: &mut Chunks<'_>,
) -> Result<(), StoreError> {
    let mut failed = None;
    store.scan_kinds(&KINDS.map(Kind::from_u16), &mut |found| {
        let Ok(event) = serde_json::from_str::<Event>(found.raw) else {
            tracing::warn!(id = %found.id, "a stored event cannot be read");
            return ControlFlow::Continue(());
        };
        let applied =
            if trusted { policy.apply_trusted(&event, None) } else { policy.apply(&event, None) };
        match facts.push(applied.facts) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(()), Err)
}

/// Facts on their way out, in chunks.
struct Chunks<'a> {
    store: &'a dyn EventStore,
    pending: Vec<Fact>,
    emit: &'a mut dyn FnMut(Vec<Fact>),
}

impl Chunks<'_> {
    fn push(&mut self, facts: Vec<Fact>) -> Result<(), StoreError> {
        self.pending.extend(facts);
        self.flush(Input::MAX_FACTS)
    }

    /// Hands out what exceeds `keep`, without wishes for what is stored.
    fn flush(&mut self, keep: usize) -> Result<(), StoreError> {
        while self.pending.len() > keep {
            let rest = self.pending.split_off(self.pending.len().min(Input::MAX_FACTS));
            let chunk = std::mem::replace(&mut self.pending, rest);
            let chunk = self.missing(chunk)?;
            if !chunk.is_empty() {
                (self.emit)(chunk);
            }
        }
        Ok(())
    }

    fn missing(&self, facts: Vec<Fact>) -> Result<Vec<Fact>, StoreError> {
        let ids: Vec<EventId> = facts.iter().filter_map(wanted_id).collect();
        let mut known = self.store.has(&ids)?.into_iter();
        let mut is_missing = |fact: &Fact| match wanted_id(fact) {
            Some(_) => known.next().is_none_or(|known| known == Known::No),
            None => true,
        };
        Ok(facts.into_iter().filter(|fact| is_missing(fact)).collect())
    }
}

const fn wanted_id(fact: &Fact) -> Option<EventId> {
    match fact {
        Fact::WantId { id, .. } => Some(*id),
        _ => None,
    }
}
