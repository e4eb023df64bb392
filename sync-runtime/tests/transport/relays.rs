//! Against a relay written by others, with NIP-77.

use std::collections::BTreeSet;

use nostr::event::{Event, EventId, Kind};
use nostr::filter::Filter;
use nostr::types::Timestamp;
use nostr_database_v44::{MemoryDatabase, MemoryDatabaseOptions, NostrDatabase};
use nostr_relay_builder::{LocalRelay, RelayBuilder};
use nostr_v44::JsonUtil;
use sync_core::command::{NegLimits, Purpose, Source};
use sync_core::id::NegId;
use sync_core::input::{Frame, Input, NegOutcome};
use sync_core::item::Range;
use sync_core::url::RelayUrl;
use sync_runtime::connection::ConnCommand;

use crate::support::{Wish, notes};

/// A relay that holds these events.
async fn relay(events: &[Event]) -> (LocalRelay, RelayUrl) {
    let options = MemoryDatabaseOptions { events: true, max_events: Some(100_000) };
    let database = MemoryDatabase::with_opts(options);
    for event in events {
        let event = nostr_v44::Event::from_json(event.as_json()).unwrap();
        database.save_event(&event).await.unwrap();
    }
    let relay = LocalRelay::new(RelayBuilder::default().database(database));
    relay.run().await.unwrap();
    let url = RelayUrl::parse(relay.url().await.as_str()).unwrap();
    (relay, url)
}

fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<EventId> {
    events.into_iter().map(|event| event.id).collect()
}

#[tokio::test]
async fn a_real_relay_is_read_to_its_eose() {
    let events = notes(200);
    let (_relay, url) = relay(&events).await;
    let mut rig = Wish::default().dialed(&url).await;
    rig.subscribe(1, Filter::new().kind(Kind::from_u16(1)).limit(500), crate::support::page());
    let (received, frame) = rig.frame().await;
    assert!(matches!(frame, Frame::Eose { .. }));
    assert_eq!(received, 200);
    let mut arrived = BTreeSet::new();
    while let Ok(arrival) = rig.intake.try_recv() {
        arrived.insert(arrival.envelope.id);
    }
    assert_eq!(arrived, ids(&events));
}

#[tokio::test]
async fn a_real_relay_is_reconciled_and_what_is_needed_is_fetched() {
    let events = notes(3_000);
    let (ours, theirs): (Vec<_>, Vec<_>) = (events[200..].to_vec(), events[..2_900].to_vec());
    let (_relay, url) = relay(&theirs).await;
    let mut rig = Wish { events: ours, ..Wish::default() }.dialed(&url).await;
    let limits = NegLimits { rounds: 200, need: 16_000, frame: 10_000 };
    let range = Range::up_to(Timestamp::from_secs(1_900_000_000));
    let filter = Filter::new().kind(Kind::from_u16(1));
    rig.send(ConnCommand::Reconcile { neg: NegId(1), filter, range, limits });
    let mut rounds = 0;
    let need = loop {
        match rig.input().await {
            Input::NegRound { round, bytes, .. } => {
                rounds += 1;
                assert_eq!(round, rounds);
                assert!(bytes > 0);
            }
            Input::Reconciled { neg, need, have, outcome, bytes, .. } => {
                assert_eq!((neg, have, outcome), (NegId(1), 100, NegOutcome::Done));
                assert!(bytes > 32 * 200);
                break need;
            }
            Input::RelayInfo { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    let expected: Vec<EventId> = ids(&events[..200]).into_iter().collect();
    assert_eq!(need, expected);
    let first: Vec<EventId> = need[..50].to_vec();
    let purpose = Purpose::Ids { source: Source::Startup };
    rig.subscribe(2, Filter::new().ids(first.clone()), purpose);
    let mut named = Vec::new();
    loop {
        match rig.input().await {
            Input::Events(tally) => named.extend(tally.ids),
            Input::Frame { frame: Frame::Eose { .. }, .. } => break,
            other => panic!("{other:?}"),
        }
    }
    named.sort_unstable();
    assert_eq!(named, first);
}
