//! The store as the database of other programs: `nostr_database::NostrDatabase`. Not for the
//! pipeline, which speaks [`EventStore`]; every call runs on a blocking thread of tokio.
//!
//! - Saves that come while one is written share the next commit.
//! - A deletion that only names what is known to be others' is refused, as this trait's own
//!   databases do; one with any other target is stored and does what it may.
//! - Events that expired are not shown, whether they were removed yet or not.
//! - An id is `Deleted` when it is known and not wanted for whatever reason: who asks wants to
//!   know whether to fetch it.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use nostr::event::{Event, EventId};
use nostr::filter::Filter;
use nostr::types::Timestamp;
use nostr_database::error::Error;
use nostr_database::{
    DatabaseEventStatus, Features, NostrDatabase, RejectedReason, SaveEventStatus,
};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::key::{Seq, address_author, closed, expiration, number, queue_key};
use super::{Commit, EventStore, Gone, Known, NewEvent, Outcome, Store, StoreError, have, query};

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;
type Saved = Result<SaveEventStatus, Arc<StoreError>>;

/// Events that wait for the next commit, and who waits for them.
#[derive(Default)]
pub(super) struct Saves {
    queue: Mutex<Vec<(Arc<Event>, oneshot::Sender<Saved>)>>,
    writer: Mutex<()>,
}

const DELETION: u16 = 5;

impl NostrDatabase for Store {
    fn backend(&self) -> &'static str {
        "ngit-sync"
    }

    /// A request to vanish removes what its author wrote; gift wraps to them stay (NIP-62).
    fn features(&self) -> Features {
        Features {
            persistent: true,
            event_expiration: true,
            full_text_search: true,
            request_to_vanish: true,
        }
    }

    fn save_event<'a>(&'a self, event: &'a Event) -> Answer<'a, SaveEventStatus> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            lock(&self.shared.saves.queue).push((Arc::new(event.clone()), reply));
            self.blocking(|store| {
                store.save_queued();
                Ok(())
            })
            .await?;
            match answer.await {
                Ok(saved) => saved.map_err(Error::storage),
                Err(_) => Err(Error::storage("the commit was given up")),
            }
        })
    }

    fn check_id<'a>(&'a self, event_id: &'a EventId) -> Answer<'a, DatabaseEventStatus> {
        let id = *event_id;
        self.blocking(move |store| {
            Ok(match store.has(&[id])?.first() {
                Some(Known::Stored) => DatabaseEventStatus::Saved,
                Some(Known::Gone(_)) => DatabaseEventStatus::Deleted,
                Some(Known::No) | None => DatabaseEventStatus::NotExistent,
            })
        })
    }

    fn event_by_id<'a>(&'a self, event_id: &'a EventId) -> Answer<'a, Option<Event>> {
        let id = *event_id;
        self.blocking(move |store| Ok(store.unexpired(&Filter::new().id(id))?.pop_first()))
    }

    fn count(&self, filter: Filter) -> Answer<'_, usize> {
        self.blocking(move |store| {
            let most = filter.limit.unwrap_or(usize::MAX);
            if store.expired()?.is_empty() {
                let count = EventStore::count(store, &filter)?;
                return Ok(usize::try_from(count).unwrap_or(usize::MAX).min(most));
            }
            Ok(store.items(&filter)?.len().min(most))
        })
    }

    fn query(&self, filter: Filter) -> Answer<'_, BTreeSet<Event>> {
        self.blocking(move |store| store.unexpired(&filter))
    }

    fn negentropy_items(&self, filter: Filter) -> Answer<'_, Vec<(EventId, Timestamp)>> {
        self.blocking(move |store| {
            let mut items = store.items(&filter)?;
            items.sort_unstable_by_key(|(id, at)| (Reverse(*at), *id));
            items.truncate(filter.limit.unwrap_or(usize::MAX));
            Ok(items)
        })
    }

    fn delete(&self, filter: Filter) -> Answer<'_, ()> {
        self.blocking(move |store| store.erase(&filter).map(drop))
    }

    fn wipe(&self) -> Answer<'_, ()> {
        self.blocking(Self::clear)
    }
}

impl Store {
    fn blocking<'a, T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'a, T> {
        let store = self.clone();
        Box::pin(async move {
            let worked = spawn_blocking(move || work(&store)).await;
            worked.map_err(Error::other)?.map_err(Error::storage)
        })
    }

    /// Commits whatever waits. An earlier call may have taken the caller's event along.
    fn save_queued(&self) {
        let saves = &self.shared.saves;
        let _one_at_a_time = lock(&saves.writer);
        let (events, replies): (Vec<_>, Vec<_>) =
            std::mem::take(&mut *lock(&saves.queue)).into_iter().unzip();
        if events.is_empty() {
            return;
        }
        let saved = self.save_all(&events);
        for (place, reply) in replies.into_iter().enumerate() {
            // Whoever asked may have gone.
            let _ = reply.send(saved.as_ref().map(|all| all[place]).map_err(Arc::clone));
        }
    }

    fn save_all(&self, events: &[Arc<Event>]) -> Result<Vec<SaveEventStatus>, Arc<StoreError>> {
        let mut saved = Vec::with_capacity(events.len());
        let mut batch = Commit { now: Timestamp::now(), ..Commit::default() };
        for event in events {
            if self.is_all_foreign(event)? {
                saved.push(SaveEventStatus::Rejected(RejectedReason::InvalidDelete));
                continue;
            }
            let raw = event.as_json().into();
            batch.events.push(NewEvent { event: Arc::clone(event), raw, outbox: false });
            saved.push(SaveEventStatus::Success);
        }
        let mut outcomes = self.commit(&batch)?.outcomes.into_iter();
        for status in saved.iter_mut().filter(|status| status.is_success()) {
            *status = outcomes.next().map_or(*status, status_of);
        }
        Ok(saved)
    }

    /// Whether a deletion names something, and all of it is known to be others'.
    fn is_all_foreign(&self, event: &Event) -> Result<bool, StoreError> {
        if event.kind.as_u16() != DELETION {
            return Ok(false);
        }
        let mut named = false;
        for tag in event.tags.iter() {
            let foreign = match (tag.kind(), tag.content()) {
                ("a", Some(address)) => address_author(address) != Some(event.pubkey),
                ("e", Some(id)) => match EventId::from_hex(id) {
                    Ok(id) => self.author(id)?.is_some_and(|author| author != event.pubkey),
                    Err(_) => continue,
                },
                _ => continue,
            };
            if !foreign {
                return Ok(false);
            }
            named = true;
        }
        Ok(named)
    }

    fn author(&self, id: EventId) -> Result<Option<nostr::key::PublicKey>, StoreError> {
        let mut author = None;
        EventStore::query(self, &Filter::new().id(id), &mut |found| {
            author = Some(found.pubkey);
            ControlFlow::Break(())
        })?;
        Ok(author)
    }

    /// Stored events that expired and were not removed yet (NIP-40).
    fn expired(&self) -> Result<BTreeSet<EventId>, StoreError> {
        let environment = &self.shared.environment;
        let tables = &environment.tables;
        let last = queue_key(Timestamp::now().as_secs(), Seq::MAX);
        environment.read(|txn| {
            let mut ids = BTreeSet::new();
            for item in tables.expiry.range(txn, &closed(&[0; 16], &last))? {
                let seq = number(&item?.0[8..])?;
                ids.insert(query::body(tables, txn, seq)?.envelope.event_id());
            }
            Ok(ids)
        })
    }

    /// Stored events that match and are not expired, the newest of them within the limit.
    fn unexpired(&self, filter: &Filter) -> Result<BTreeSet<Event>, StoreError> {
        let now = Timestamp::now().as_secs();
        let most = filter.limit.unwrap_or(usize::MAX);
        let endless = Filter { limit: None, ..filter.clone() };
        let mut events = BTreeSet::new();
        let mut failed = None;
        EventStore::query(self, &endless, &mut |found| {
            if events.len() >= most {
                return ControlFlow::Break(());
            }
            match Event::from_json(found.raw) {
                Ok(event) if expiration(&event).is_some_and(|at| at <= now) => {}
                Ok(event) => {
                    events.insert(event);
                }
                Err(error) => {
                    failed = Some(StoreError::damaged(format!("event {}: {error}", found.id)));
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        failed.map_or(Ok(events), Err)
    }

    /// Ids and times of stored events that match and are not expired, in no order.
    fn items(&self, filter: &Filter) -> Result<Vec<(EventId, Timestamp)>, StoreError> {
        let expired = self.expired()?;
        let environment = &self.shared.environment;
        let mut items = Vec::new();
        environment.read(|txn| {
            have::live(environment, txn, filter, &mut |at, id| {
                if !expired.contains(&id) {
                    items.push((id, at));
                }
            })
        })?;
        Ok(items)
    }
}

const fn status_of(outcome: Outcome) -> SaveEventStatus {
    SaveEventStatus::Rejected(match outcome {
        Outcome::Stored => return SaveEventStatus::Success,
        Outcome::Duplicate => RejectedReason::Duplicate,
        Outcome::Gone(Gone::Superseded) => RejectedReason::Replaced,
        Outcome::Gone(Gone::Deleted) => RejectedReason::Deleted,
        Outcome::Gone(Gone::Vanished) => RejectedReason::Vanished,
        Outcome::Gone(Gone::Expired) => RejectedReason::Expired,
        Outcome::Gone(Gone::Ephemeral) => RejectedReason::Ephemeral,
        Outcome::Gone(Gone::Rejected) => RejectedReason::Other,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
