//! The hot tier of rejected events (REJ-2 to REJ-4), and the codes of reasons.

use std::collections::BTreeSet;
use std::time::Duration;

use nostr::event::{EventId, Kind};
use nostr::types::Timestamp;
use sync_core::admit::rejected::{Dependency, EventType, HotTier, RejectReason, Waiting};
use sync_core::config::{RejectedConfig, Size};
use sync_core::time::Instant;

use crate::model::key;

fn id(n: u8) -> EventId {
    EventId::from_byte_array([n; 32])
}

fn waiting(n: u8, kind: u16, at: u64, bytes: u64, depends_on: &[Dependency]) -> Waiting<u8> {
    let (kind, created_at) = (Kind::from_u16(kind), Timestamp::from_secs(at));
    Waiting { id: id(n), kind, created_at, bytes, depends_on: depends_on.to_vec(), body: n }
}

fn after(secs: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(secs)
}

#[test]
fn any_one_dependency_hands_an_event_out_once_oldest_first() {
    let limits = RejectedConfig::default();
    let mut hot = HotTier::default();
    let (parent, author) = (Dependency::Parent(id(9)), Dependency::Author(key(1)));
    let both = [parent.clone(), author.clone()];
    hot.hold(waiting(1, 30617, 7, 10, &both), after(0), &limits);
    hot.hold(waiting(2, 30618, 5, 10, &both[..1]), after(0), &limits);
    hot.hold(waiting(3, 1, 6, 10, &both[1..]), after(0), &limits);
    hot.hold(waiting(4, 1, 1, 10, &[]), after(0), &limits);
    assert!(hot.satisfied(&[Dependency::Parent(id(8))], &[]).is_empty());
    assert_eq!(hot.satisfied(&[parent], &[]), [2, 1]);
    assert_eq!(hot.satisfied(&[author], &[id(4)]), [4, 3]);
    assert!(hot.is_empty());
    assert_eq!(hot.bytes(), 0);
    let counts = hot.counts(EventType::Announcement);
    assert_eq!((counts.hits, counts.invalidated, counts.current), (1, 1, 0));
    assert_eq!(hot.counts(EventType::State).hits, 1);
    assert_eq!(hot.counts(EventType::Other).hits, 2);
}

#[test]
fn the_oldest_go_when_the_tier_is_full_and_a_giant_is_not_kept() {
    let limits = RejectedConfig { hot_bytes: Size(100), ..RejectedConfig::default() };
    let mut hot = HotTier::default();
    let parent = [Dependency::Parent(id(9))];
    for n in 1..=5 {
        hot.hold(waiting(n, 30617, 1, 40, &parent), after(u64::from(n)), &limits);
        assert!(hot.bytes() <= 100);
    }
    hot.hold(waiting(6, 30617, 1, 101, &parent), after(6), &limits);
    assert_eq!(hot.counts(EventType::Announcement).evicted, 3);
    assert_eq!(hot.satisfied(&parent, &[]), [4, 5]);
}

#[test]
fn events_are_kept_for_two_minutes_and_one_held_again_begins_anew() {
    let limits = RejectedConfig::default();
    let mut hot = HotTier::default();
    let parent = [Dependency::Parent(id(9))];
    hot.hold(waiting(1, 30618, 1, 40, &parent), after(0), &limits);
    hot.hold(waiting(2, 30618, 1, 40, &parent), after(0), &limits);
    hot.hold(waiting(2, 30618, 1, 30, &parent), after(60), &limits);
    assert_eq!((hot.len(), hot.bytes()), (2, 70));
    assert_eq!(hot.sweep(after(119), &limits), 0);
    assert_eq!(hot.sweep(after(120), &limits), 1);
    assert_eq!(hot.counts(EventType::State).expired, 1);
    assert!(!hot.contains(&id(1)) && hot.contains(&id(2)));
    assert_eq!(hot.sweep(after(180), &limits), 1);
    hot.missed(Kind::from_u16(30618));
    let counts = hot.counts(EventType::State);
    assert_eq!((counts.misses, counts.expired, counts.current), (1, 2, 0));
}

#[test]
fn codes_and_labels_of_reasons_are_distinct_and_lead_back() {
    let labels: BTreeSet<&str> = RejectReason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(labels.len(), RejectReason::ALL.len());
    for reason in RejectReason::ALL {
        assert_eq!(RejectReason::from_code(reason.code()), Some(reason));
    }
    assert_eq!(RejectReason::from_code(0), None);
    assert_eq!(RejectReason::from_code(RejectReason::ALL.len() as u8 + 1), None);
}
