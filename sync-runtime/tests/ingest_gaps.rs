//! What the core does when history brings what live sync should have brought (HIST-11).

use nostr::types::Timestamp;
use sync_core::command::Purpose;
use sync_core::event::Event;
use sync_core::id::{ConnId, RelayId, SubId};
use sync_core::input::{EoseHints, Frame};
use sync_core::tally::{EventTally, SettleTally};
use sync_core::time::Instant;
use sync_core::{Command, Config, Input, SyncCore, step};

const START: u64 = 1_700_000_000;
const CONN: ConnId = ConnId { relay: RelayId(0), epoch: 1 };

/// Subscriptions that the commands open, live ones or others.
fn opened(commands: &[Command], live: bool) -> Vec<SubId> {
    let open = commands.iter().filter_map(|command| match command {
        Command::Subscribe { sub, purpose, .. } if (*purpose == Purpose::Live) == live => {
            Some(*sub)
        }
        _ => None,
    });
    open.collect()
}

fn missed(commands: &[Command]) -> Vec<u32> {
    let events = commands.iter().filter_map(|command| match command {
        Command::Emit(Event::GapEvents { relay: RelayId(0), count }) => Some(*count),
        _ => None,
    });
    events.collect()
}

fn eose(sub: SubId) -> Input {
    Input::Frame { conn: CONN, frame: Frame::Eose { sub, hints: EoseHints::default() } }
}

/// A core whose live request stands and whose first page is asked for; both.
fn syncing() -> (SyncCore, Instant, SubId, SubId) {
    let mut config = Config::default();
    config.sync.relays.push("wss://relay.example".into());
    config.sync.negentropy = false;
    let mut core = SyncCore::new(config, 1, Timestamp::from_secs(START));
    step(&mut core, Instant::ZERO, Input::Booted);
    let now = core.next_deadline().expect("the first dial").at;
    step(&mut core, now, Input::Tick);
    let commands = step(&mut core, now, Input::Dialed { conn: CONN, result: Ok(()) });
    let live = opened(&commands, true)[0];
    let page = opened(&step(&mut core, now, eose(live)), false)[0];
    (core, now, live, page)
}

/// An event of a page is settled, and was missed.
fn settle(core: &mut SyncCore, now: Instant, page: SubId) -> Vec<Command> {
    let (conn, sub) = (Some(CONN), Some(page));
    let events = EventTally { conn, sub, received: 1, ..EventTally::default() };
    step(core, now, Input::Events(events));
    let settled = SettleTally { conn, sub, stored: 1, gap_events: 1, ..SettleTally::default() };
    step(core, now, Input::Settled(settled))
}

#[test]
fn gap_events_are_told_and_their_live_request_is_renewed_once() {
    let (mut core, now, live, page) = syncing();
    step(&mut core, now, Input::WallClock(Timestamp::from_secs(START + 1_000)));
    let commands = settle(&mut core, now, page);
    assert_eq!(missed(&commands), [1]);
    let [renewed] = opened(&commands, true)[..] else { panic!("{commands:?}") };
    assert_ne!(renewed, live);
    let closes =
        |commands: &[Command]| commands.contains(&Command::Unsubscribe { conn: CONN, sub: live });
    assert!(!closes(&commands), "the new one stands first");

    let commands = settle(&mut core, now, page);
    assert_eq!((missed(&commands), opened(&commands, true)), (vec![1], vec![]));
    assert!(closes(&step(&mut core, now, eose(renewed))));
    // What came before the renewal is still being settled.
    let commands = settle(&mut core, now, page);
    assert_eq!((missed(&commands), opened(&commands, true)), (vec![1], vec![]));
}

#[test]
fn a_live_request_that_is_younger_than_its_overlap_is_not_renewed() {
    let (mut core, now, _, page) = syncing();
    let commands = settle(&mut core, now, page);
    assert_eq!((missed(&commands), opened(&commands, true)), (vec![1], vec![]));
}
