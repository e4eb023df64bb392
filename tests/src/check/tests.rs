use nostr::event::{EventId, Kind};
use sync_core::id::{ConnId, RelayId, RowId, SubId};
use sync_core::input::CloseReason;
use sync_core::item::Item;
use sync_core::ledger::{Cohort, LedgerChange, LedgerRow, Method};

use super::*;
use crate::corpus::{Corpus, Options, Signing};

const CONN: ConnId = ConnId { relay: RelayId(0), epoch: 1 };

/// A relay that holds these events, and a store that settled all but one.
struct Held(Vec<Event>, Option<EventId>);

impl Truth for Held {
    fn held(&self, _: &RelayUrl, _: Timestamp) -> Vec<&Event> {
        self.0.iter().collect()
    }

    fn is_settled(&self, event: &Event) -> bool {
        self.1 != Some(event.id)
    }
}

fn url() -> RelayUrl {
    RelayUrl::parse("wss://one.example/").expect("a relay URL")
}

fn watch() -> Watch {
    Watch::new(&Config::default(), Ledger::default())
}

fn first(watch: &Watch) -> Option<&'static str> {
    watch.first().map(|violation| violation.id)
}

fn dial(epoch: u32) -> Command {
    Command::Dial { conn: ConnId { epoch, ..CONN }, url: url(), trusted: true }
}

fn online(watch: &mut Watch) {
    watch.on_command(&dial(1));
    watch.on_input(Instant::ZERO, &Input::Dialed { conn: CONN, result: Ok(()) });
}

#[test]
fn a_claim_over_an_event_that_is_not_settled_breaks_s7() {
    let signing = Signing::Simulated;
    let corpus = Corpus::generate(Options { events: 60, signing, ..Options::default() });
    let events: Vec<Event> = corpus.entries.into_iter().map(|entry| entry.event).collect();
    let announcement = events.iter().find(|e| e.kind == Kind::from(30617)).map(|e| e.id);
    let issue = events.iter().find(|e| e.kind == Kind::from(1621)).map(|e| e.id);
    let claim = |until: u64| {
        let cohort = Cohort {
            items: vec![Item::Layer1],
            until: Timestamp::from_secs(until),
            as_of: Timestamp::from_secs(u64::MAX),
            full_as_of: Timestamp::from_secs(u64::MAX),
            method: Method::Pages,
            live_until: None,
        };
        let row = LedgerRow::Cohort { relay: url(), row: RowId(1), cohort };
        Command::Persist(LedgerChange::Put(row))
    };
    let judged = |unsettled, until| {
        let mut watch = watch();
        watch.on_command(&claim(until));
        watch.on_drained(None, &Held(events.clone(), unsettled));
        first(&watch)
    };
    assert_eq!(judged(announcement, u64::MAX), Some("S7"));
    assert_eq!(judged(None, u64::MAX), None);
    assert_eq!(judged(announcement, 5), None, "newer than what is claimed");
    assert_eq!(judged(issue, u64::MAX), None, "of another layer");
}

#[test]
fn a_second_dial_before_the_first_connection_ended_breaks_s2() {
    let mut watch = watch();
    online(&mut watch);
    watch.on_command(&dial(2));
    assert_eq!(first(&watch), Some("S2"));
}

#[test]
fn a_dial_after_the_end_of_the_connection_before_is_fine() {
    let mut watch = watch();
    online(&mut watch);
    watch.on_input(Instant::ZERO, &Input::Closed { conn: CONN, reason: CloseReason::Silence });
    watch.on_command(&dial(2));
    assert_eq!(first(&watch), None);
}

#[test]
fn ending_a_subscription_twice_breaks_s3() {
    let mut watch = watch();
    online(&mut watch);
    let filters = vec![nostr::filter::Filter::new().kind(Kind::from(1)).limit(0)];
    let purpose = sync_core::command::Purpose::Live;
    watch.on_command(&Command::Subscribe { conn: CONN, sub: SubId(1), filters, purpose });
    watch.on_command(&Command::Unsubscribe { conn: CONN, sub: SubId(1) });
    assert_eq!(first(&watch), None);
    watch.on_command(&Command::Unsubscribe { conn: CONN, sub: SubId(1) });
    assert_eq!(first(&watch), Some("S3"));
}

#[test]
fn naming_a_connection_after_its_hangup_breaks_s5() {
    let mut watch = watch();
    online(&mut watch);
    watch.on_command(&Command::Hangup { conn: CONN });
    watch.on_command(&Command::Unsubscribe { conn: CONN, sub: SubId(1) });
    assert_eq!(first(&watch), Some("S5"));
}

#[test]
fn a_deadline_that_is_not_ahead_breaks_t1() {
    let mut watch = watch();
    let now = Instant::from_micros(7);
    watch.on_input(now, &Input::Tick);
    watch.on_drained(Some(now), &Held(Vec::new(), None));
    assert_eq!(first(&watch), Some("T1"));
}
