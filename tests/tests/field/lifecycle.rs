//! Section 1, and what of sections 4, 7 and 8 is about connections and their words.

use std::collections::BTreeSet;
use std::time::Duration;

use nostr::types::Timestamp;
use sync_core::SyncCore;
use sync_core::command::{Command, Purpose};
use sync_core::event::{Event, Stale, Trigger};
use sync_core::id::{ConnId, RelayId, SubId};
use sync_core::input::{
    CloseReason, DialError, DialErrorKind, EoseHints, Frame, InfoLimits, Input, Operator,
};
use sync_core::item::RelayText;
use sync_core::record::step;
use sync_core::status::{HealthStatus, Reason, RelayStatus};
use sync_core::tally::{EventTally, SettleTally};
use sync_core::time::Instant;
use sync_core::url::RelayUrl;
use sync_tests::corpus::Corpus;
use sync_tests::sim::faults::{DialPlan, EosePlan, Faults, Nature, Negentropy};
use sync_tests::world::{Action, World};

use super::bench::*;

/// A booted core with one configured relay, dialing.
fn dialing(url: &str) -> (SyncCore, ConnId) {
    let mut config = setup().config;
    config.sync.relays = vec![url.to_owned()];
    let mut core = SyncCore::new(config, 1, Timestamp::from_secs(START));
    let said = step(&mut core, Instant::ZERO, Input::Booted);
    let conn = said.iter().find_map(|command| match command {
        Command::Dial { conn, .. } => Some(*conn),
        _ => None,
    });
    (core, conn.expect("a configured relay is dialed"))
}

fn ms(ms: u64) -> Instant {
    Instant::from_micros(1_000 * ms)
}

fn only_stale(said: &[Command]) -> bool {
    said.iter().all(|command| matches!(command, Command::Emit(Event::StaleInput { .. })))
}

fn eose(conn: ConnId, sub: u32) -> Input {
    Input::Frame { conn, frame: Frame::Eose { sub: SubId(sub), hints: EoseHints::default() } }
}

fn dials(world: &World) -> usize {
    let said = world.journal().commands(secs(0));
    said.filter(|(_, command)| matches!(command, Command::Dial { .. })).count()
}

#[test]
fn h_01_closed_of_one_subscription_leaves_the_others_alone() {
    let corpus = Corpus::generate(options(1, 300));
    for negentropy in [Negentropy::Speaks, Negentropy::Error] {
        let mut world = World::of_corpus(setup(), &corpus);
        world.relays[0].nature.negentropy = negentropy;
        world.relays[0].misbehave(Faults { closes_after_eose: true, ..Faults::default() });
        converge(&mut world, 600);
        assert_eq!(missing(&world, &corpus), 0);
        assert!(is_connected(&world, 0));
        expect_live(&mut world, &corpus, 0, "live");
        assert_eq!(dials(&world), 1, "the connection stays");
    }
}

#[test]
fn h_02_the_first_contact_proves_all_of_history() {
    for negentropy in [Negentropy::Speaks, Negentropy::Error] {
        let corpus = Corpus::generate(options(1, 200));
        let mut world = World::of_corpus(setup(), &corpus);
        world.relays[0].nature.negentropy = negentropy;
        // The process ends right after the connection was noted, before anything was proven.
        world.after(Duration::from_millis(130), Action::Restart);
        run(&mut world, 1);
        converge(&mut world, 600);
        assert_eq!(missing(&world, &corpus), 0);
        let relay = id(&world, 0);
        for (_, purpose, filters) in world.journal().requests(relay, secs(0)) {
            // The first page of each walk: later ones may split a second.
            let begins = matches!(purpose, Purpose::Page { oldest: None, split: None, .. });
            let whole = |f: &nostr::filter::Filter| f.since.is_none_or(|at| at.as_secs() == 0);
            assert!(!begins || filters.iter().all(whole), "{filters:?}");
        }
        let first = world.journal().events(secs(0)).find_map(|(_, event)| match event {
            Event::PassStarted { trigger, .. } => Some(*trigger),
            _ => None,
        });
        assert_eq!(first, Some(Trigger::Startup));
    }
}

#[test]
fn h_03_what_drains_after_a_close_changes_nothing() {
    let (mut core, conn) = dialing("wss://r0.example/");
    step(&mut core, ms(50), Input::Dialed { conn, result: Ok(()) });
    let url = RelayUrl::parse("wss://r0.example/").expect("a URL");
    step(&mut core, ms(60), Input::Operator(Operator::RemoveRelay(url)));
    assert_eq!(core.status(conn.relay), Some(RelayStatus::Disconnected));
    let late = |conn| {
        let events = EventTally {
            conn: Some(conn),
            sub: Some(SubId(1)),
            received: 5,
            ..EventTally::default()
        };
        let settled = SettleTally {
            conn: Some(conn),
            sub: Some(SubId(1)),
            stored: 5,
            ..SettleTally::default()
        };
        let text = RelayText::new("error: shutting down");
        [
            Input::Events(events),
            eose(conn, 1),
            Input::Frame { conn, frame: Frame::Closed { sub: SubId(2), text } },
            Input::Settled(settled),
            Input::RelayInfo { conn, limits: InfoLimits::default(), self_key: None },
        ]
    };
    let unknown = ConnId { relay: RelayId(77), epoch: 1 };
    for (n, input) in late(conn).into_iter().chain(late(unknown)).enumerate() {
        let said = step(&mut core, ms(61 + n as u64), input.clone());
        assert!(only_stale(&said), "while it drains: {input:?} led to {said:?}");
    }
    step(&mut core, ms(80), Input::Closed { conn, reason: CloseReason::Local });
    for (n, input) in late(conn).into_iter().enumerate() {
        let said = step(&mut core, ms(81 + n as u64), input.clone());
        assert!(only_stale(&said), "after it ended: {input:?} led to {said:?}");
    }
    assert_eq!(core.status(conn.relay), Some(RelayStatus::Disconnected));
    assert_eq!(core.relays().count(), 1, "no relay was made");
    assert_eq!(core.next_deadline(), None);
}

#[test]
fn h_04_a_configured_relay_stays_though_it_has_nothing() {
    let mut world = world(setup(), &[Nature::default()], 1);
    world.boot();
    converge(&mut world, 120);
    run(&mut world, 3_600);
    assert!(is_connected(&world, 0));
    assert_eq!(dials(&world), 1);
    let at = world.wall().as_secs();
    let first = announcement(1, "first", at, &[0], &[]);
    publish(&mut world, 0, &first);
    run(&mut world, 2);
    assert!(has(&world, &first));
}

#[test]
fn h_05_inputs_of_a_connection_may_come_in_any_order() {
    let text = RelayText::new("hello");
    let kinds = |conn| {
        [
            Input::Dialed { conn, result: Ok(()) },
            Input::RelayInfo { conn, limits: InfoLimits::default(), self_key: None },
            Input::Frame { conn, frame: Frame::Notice { text: text.clone() } },
            eose(conn, 1),
            Input::Closed { conn, reason: CloseReason::Silence },
        ]
    };
    let mut orders = sync_tests::entropy::Exhaustive::default();
    let mut played = 0;
    while let Some(run) = orders.next_run() {
        use sync_tests::entropy::Entropy;
        let (mut core, conn) = dialing("wss://r0.example/");
        let mut left: Vec<Input> = kinds(conn).into();
        let mut now = 10;
        while !left.is_empty() {
            let input = left.remove(run.index(left.len()));
            let ends = matches!(input, Input::Closed { .. });
            let said = step(&mut core, ms(now), input);
            let sends =
                |c: &Command| matches!(c, Command::Subscribe { .. } | Command::Hangup { .. });
            assert!(!ends || !said.iter().any(sends), "S5");
            now += 10;
        }
        // Whatever the order, it is dialed again and comes online.
        let retry = core.next_deadline().expect("a dial is due").at;
        let said = step(&mut core, retry, Input::Tick);
        let again = said.iter().find_map(|command| match command {
            Command::Dial { conn, .. } => Some(*conn),
            _ => None,
        });
        let again = again.expect("the retry dials");
        assert_eq!(again.epoch, conn.epoch + 1);
        step(&mut core, retry + secs(1), Input::Dialed { conn: again, result: Ok(()) });
        assert_eq!(core.status(conn.relay), Some(RelayStatus::Syncing));
        played += 1;
    }
    assert_eq!(played, 120);
}

#[test]
fn h_06_a_half_open_connection_is_noticed_in_time() {
    let corpus = Corpus::generate(options(1, 100));
    let mut world = synced(setup(), &corpus, &[Nature::default()]);
    let silence = *world.setup.config.dial.dead_after_silence;
    world.after(secs(0), Action::Misbehave(0, Faults { frozen: true, ..Faults::default() }));
    let began = world.elapsed();
    let lost = |world: &World| !world.status(0).is_some_and(RelayStatus::is_live_sync_active);
    assert!(world.run_until(silence + secs(1), lost), "{:?}", world.status(0));
    assert!(world.elapsed() >= began + silence, "not before its time");
    world.after(secs(0), Action::Heal(0));
    converge(&mut world, 600);
    expect_live(&mut world, &corpus, 0, "back");
}

#[test]
fn h_07_a_dial_that_hangs_longer_than_the_backoff_is_alone() {
    let mut world = world(setup(), &[Nature::default()], 1);
    world.relays[0].misbehave(Faults { dial: DialPlan::Hangs, ..Faults::default() });
    world.boot();
    run(&mut world, 600);
    let mut flying = 0;
    let mut failures = Vec::new();
    for (at, line) in world.journal().lines(secs(0)) {
        use sync_tests::world::journal::Line;
        match line {
            Line::Said(Command::Dial { .. }) => {
                flying += 1;
                assert_eq!(flying, 1, "a second dial at {at:?}");
            }
            Line::Heard(Input::Dialed { .. }) => flying -= 1,
            Line::Said(Command::Emit(Event::DialEnded { failures: n, .. })) => failures.push(*n),
            _ => {}
        }
    }
    assert_eq!(failures, (1..=failures.len() as u32).collect::<Vec<_>>(), "one failure a dial");
    assert!(failures.len() >= 5, "{failures:?}");
}

#[test]
fn h_10_urls_have_one_form_and_a_missing_scheme_is_forgiven_to_a_person_only() {
    for text in ["wss://Relay.Example", "wss://relay.example:443/", "WSS://relay.example."] {
        let url = RelayUrl::parse(text).expect("a URL");
        assert_eq!(url.as_str(), "wss://relay.example/");
        assert_eq!(RelayUrl::parse(url.as_str()).as_ref(), Ok(&url));
    }
    assert!(RelayUrl::parse("relay.example").is_err(), "an announcement must say the scheme");
    let typed = RelayUrl::parse_operator("relay.example").expect("a person may leave it out");
    assert_eq!(typed.as_str(), "wss://relay.example/");
}

/// Statuses, health and reasons of a run with one relay, in order.
fn story(url: &str, detail: &str) -> Vec<String> {
    let mut story = Vec::new();
    let (mut core, mut conn) = dialing(url);
    let mut now = ms(50);
    let detail = RelayText::new(detail);
    let kinds = [
        Some(DialErrorKind::Refused),
        Some(DialErrorKind::Dns),
        Some(DialErrorKind::Tls),
        Some(DialErrorKind::Io),
        Some(DialErrorKind::Upgrade),
        None,
    ];
    for kind in kinds {
        let result = kind.map_or(Ok(()), |kind| Err(DialError { kind, detail: detail.clone() }));
        let mut said = step(&mut core, now, Input::Dialed { conn, result });
        if kind.is_some() {
            now = core.next_deadline().expect("a dial is due").at;
            said.extend(step(&mut core, now, Input::Tick));
        }
        for command in &said {
            match command {
                Command::Dial { conn: next, .. } => conn = *next,
                Command::Emit(
                    event @ (Event::StatusChanged { .. } | Event::HealthChanged { .. }),
                ) => story.push(format!("{event:?}")),
                _ => {}
            }
        }
        now += Duration::from_millis(50);
    }
    story
}

#[test]
fn h_58_no_url_and_no_words_change_what_an_error_is() {
    let plain = story("wss://r0.example/", "");
    assert!(plain.iter().any(|line| line.contains("DnsError")));
    assert!(plain.iter().any(|line| line.contains("TlsError")));
    let urls = [
        "wss://dns-ssl-tls.example/",
        "wss://rate-limited.example/timeout/refused",
        "wss://npub1dnsssltls.example/certificate",
        "wss://r0.example:4443/blocked/auth-required/",
    ];
    let words = ["dns error: ssl tls certificate expired", "rate-limited: 429", "banned", "EOF"];
    for url in urls {
        for detail in words {
            assert_eq!(story(url, detail), plain, "{url}, {detail}");
        }
    }
}

#[test]
fn h_64_a_late_or_doubled_eose_is_a_typed_no_op() {
    let (mut core, conn) = dialing("wss://r0.example/");
    let said = step(&mut core, ms(50), Input::Dialed { conn, result: Ok(()) });
    let sub = said.iter().find_map(|command| match command {
        Command::Subscribe { sub, .. } => Some(sub.0),
        _ => None,
    });
    let sub = sub.expect("live comes first");
    step(&mut core, ms(60), eose(conn, sub));
    let stale = [Command::Emit(Event::StaleInput { relay: conn.relay, what: Stale::Subscription })];
    assert_eq!(step(&mut core, ms(61), eose(conn, sub)), stale, "doubled");
    assert_eq!(step(&mut core, ms(62), eose(conn, 4_000)), stale, "of nothing that was opened");
    let epoch = [Command::Emit(Event::StaleInput { relay: conn.relay, what: Stale::Epoch })];
    let old = ConnId { epoch: conn.epoch - 1, ..conn };
    assert_eq!(step(&mut core, ms(63), eose(old, sub)), epoch);
}

#[test]
fn h_64_doubled_and_late_eose_change_nothing_in_the_end() {
    let corpus = Corpus::generate(options(1, 200));
    for eose in [EosePlan::Doubled, EosePlan::Late(secs(40)), EosePlan::Late(secs(3))] {
        let mut world = World::of_corpus(setup(), &corpus);
        world.relays[0].nature.negentropy = Negentropy::Error;
        world.relays[0].misbehave(Faults { eose, ..Faults::default() });
        run(&mut world, 900);
        world.after(secs(0), Action::Heal(0));
        let healed = world.run_until(secs(7_200), |world| is_connected(world, 0));
        world.expect_sound();
        assert!(healed, "{eose:?}: {:?}", world.status(0));
        run(&mut world, 60);
        assert_eq!(missing(&world, &corpus), 0, "{eose:?}");
        let stale: BTreeSet<Stale> = world
            .journal()
            .events(secs(0))
            .filter_map(|(_, event)| match event {
                Event::StaleInput { what, .. } => Some(*what),
                _ => None,
            })
            .collect();
        assert!(stale.is_subset(&[Stale::Subscription].into()), "{stale:?}");
        assert!(eose == EosePlan::Late(secs(3)) || !stale.is_empty(), "{eose:?}");
    }
}

#[test]
fn h_65_states_are_told_as_numbers_of_one_table() {
    let statuses = [
        (RelayStatus::Disconnected, 0, false),
        (RelayStatus::Connecting, 1, false),
        (RelayStatus::Syncing, 2, true),
        (RelayStatus::Connected, 3, true),
        (RelayStatus::ConnectedDegraded, 4, true),
    ];
    for (status, number, live) in statuses {
        assert_eq!((status as u8, status.is_live_sync_active()), (number, live));
    }
    let health = [
        (HealthStatus::Healthy, 1),
        (HealthStatus::Disconnected, 2),
        (HealthStatus::Degraded, 3),
        (HealthStatus::Dead, 4),
        (HealthStatus::RateLimited, 5),
    ];
    for (health, number) in health {
        assert_eq!(health as u8, number);
    }
    // The emitted changes add up to what the core says of itself.
    let corpus = Corpus::generate(options(3, 200));
    let mut world = World::of_corpus(setup(), &corpus);
    for at in [1, 2, 30, 60, 90] {
        world.after(secs(at), Action::Cut(at as usize % 3));
    }
    for _ in 0..40 {
        run(&mut world, 5);
        let mut shown = std::collections::BTreeMap::new();
        for (_, event) in world.journal().events(secs(0)) {
            match event {
                Event::RelayTracked { relay, .. } => {
                    shown.insert(*relay, RelayStatus::Disconnected);
                }
                Event::StatusChanged { relay, from, to, .. } => {
                    assert_eq!(shown.insert(*relay, *to), Some(*from));
                }
                _ => {}
            }
        }
        assert!(world.core.relays().eq(shown));
    }
    let reasons = world.journal().events(secs(0)).filter_map(|(_, event)| match event {
        Event::StatusChanged { reason, .. } => Some(*reason),
        _ => None,
    });
    assert!(reasons.into_iter().any(|reason| reason == Reason::HistoricComplete));
}
