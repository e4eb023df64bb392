//! Section 2: reconnects, daily work, what is live and what is history.

use std::collections::BTreeSet;

use sync_core::command::{Command, Purpose, Source};
use sync_core::event::{Event, Trigger};
use sync_core::input::Operator;
use sync_core::item::Range;
use sync_core::status::RelayStatus;
use sync_tests::corpus::Corpus;
use sync_tests::sim::faults::{DialPlan, Faults, Nature, Negentropy};
use sync_tests::world::{Action, World};

use super::bench::*;

const NATURES: [Negentropy; 2] = [Negentropy::Speaks, Negentropy::Notice];

fn nature(negentropy: Negentropy) -> Nature {
    Nature { negentropy, ..Nature::default() }
}

/// A synced world of one relay that speaks NIP-77 or not.
fn one(negentropy: Negentropy) -> (World, Corpus) {
    let corpus = Corpus::generate(options(1, 150));
    let world = synced(setup(), &corpus, &[nature(negentropy)]);
    (world, corpus)
}

/// The relay refuses dials for so long; what is published meanwhile is missed.
fn away(world: &mut World, span: u64) {
    let faults = Faults {
        dial: DialPlan::Fails(sync_core::input::DialErrorKind::Refused),
        ..Faults::default()
    };
    world.after(secs(0), Action::Misbehave(0, faults));
    world.after(secs(0), Action::Cut(0));
    world.after(secs(span), Action::Heal(0));
}

fn back(world: &mut World) {
    let done = world.run_until(secs(7_200), |world| is_connected(world, 0) && world.is_quiet());
    world.expect_sound();
    assert!(done, "not back: {:?}", world.status(0));
}

#[test]
fn h_12_a_reconnect_opens_every_wanted_live_filter_again() {
    for (negentropy, span) in NATURES.into_iter().flat_map(|n| [(n, 0), (n, 30), (n, 3_600)]) {
        let (mut world, corpus) = one(negentropy);
        expect_live(&mut world, &corpus, 0, "before");
        match span {
            0 => world.after(secs(0), Action::Cut(0)),
            span => away(&mut world, span),
        }
        run(&mut world, 1);
        assert_eq!(world.status(0), Some(RelayStatus::Disconnected));
        back(&mut world);
        expect_live(&mut world, &corpus, 0, "after");
    }
}

#[test]
fn h_13_daily_reconciliation_leaves_every_live_filter_open() {
    for negentropy in NATURES {
        let (mut world, corpus) = one(negentropy);
        let began = world.elapsed();
        let relay = id(&world, 0);
        let day = secs(26 * 3_600);
        // A probe in the middle of the daily work, and one after it.
        let end = began + day;
        let full = |world: &World| {
            match negentropy {
            Negentropy::Speaks => world.journal().commands(began).any(|(_, command)| {
                matches!(command, Command::Reconcile { range, .. } if range.since.as_secs() == 0)
            }),
            _ => world.journal().requests(relay, began).any(|(_, purpose, filters)| {
                matches!(purpose, Purpose::Page { .. })
                    && filters.iter().all(|f| f.since.is_none_or(|s| s.as_secs() == 0))
            }),
        }
        };
        while !full(&world) && world.elapsed() < end {
            run(&mut world, 120);
        }
        assert!(full(&world), "no daily reconciliation within {day:?}");
        expect_live(&mut world, &corpus, 0, "meanwhile");
        let rest = end.saturating_sub(world.elapsed());
        run(&mut world, rest.as_secs());
        let connections =
            world.journal().commands(began).filter(|(_, c)| matches!(c, Command::Dial { .. }));
        assert_eq!(connections.count(), 0, "the connection stays");
        assert!(is_connected(&world, 0));
        expect_live(&mut world, &corpus, 0, "afterwards");
    }
}

#[test]
fn h_14_only_live_requests_stay_open_when_history_is_done() {
    for negentropy in NATURES {
        let (mut world, corpus) = one(negentropy);
        for round in 0..4 {
            match round {
                0 => {}
                1 => world.after(secs(0), Action::Cut(0)),
                2 => world.after(secs(0), Action::Operator(Operator::SyncNow)),
                _ => run(&mut world, 3_600),
            }
            run(&mut world, 60);
            back(&mut world);
            let relay = id(&world, 0);
            let (live, historic) = world.journal().open(relay);
            assert_eq!(historic, 0, "round {round}");
            assert!((1..=12).contains(&live), "round {round}: {live} live requests");
            assert_eq!(world.open(), live, "round {round}: the checkers agree");
            expect_live(&mut world, &corpus, 0, &format!("round {round}"));
        }
    }
}

#[test]
fn h_15_what_came_while_away_is_fetched_with_all_of_its_history() {
    for negentropy in NATURES {
        let (mut world, corpus) = one(negentropy);
        away(&mut world, 60);
        run(&mut world, 5);
        // A repository of long ago, and its thread, get to the relay while we are away.
        let old = START - 90 * 86_400;
        let announced = announcement(50, "late", old, &[0], &[]);
        let root = issue(51, &repo(50, "late"), old + 10, "old");
        let reply = comment(52, &root, &root, old + 20, "old reply");
        let known = corpus.entries.iter().find(|e| e.event.kind.as_u16() == 1621);
        let known = &known.expect("corpora have issues").event;
        let recent = comment(53, known, known, world.wall().as_secs(), "on a known root");
        for event in [&announced, &root, &reply, &recent] {
            publish(&mut world, 0, event);
        }
        run(&mut world, 60);
        back(&mut world);
        run(&mut world, 30);
        assert!(has(&world, &recent), "{negentropy:?}: what is recent comes with the reconnect");
        if negentropy == Negentropy::Speaks {
            assert!(has(&world, &announced), "one reconciliation covers all of history");
        }
        // Without NIP-77 an old announcement that arrives late comes with the daily proof.
        run(&mut world, 26 * 3_600);
        for event in [&announced, &root, &reply] {
            assert!(has(&world, event), "{negentropy:?}: kind {}", event.kind.as_u16());
        }
    }
}

#[test]
fn h_16_events_count_by_the_subscription_that_brought_them() {
    for negentropy in NATURES {
        let (mut world, corpus) = one(negentropy);
        let relay = id(&world, 0);
        let sources = |world: &World, since| -> BTreeSet<Source> {
            let purposes = world.journal().requests(relay, since);
            let source = |purpose| match purpose {
                Purpose::Live => Source::Live,
                Purpose::Page { source, .. } | Purpose::Ids { source } => source,
            };
            purposes.map(|(_, purpose, _)| source(purpose)).collect()
        };
        let start = sources(&world, secs(0));
        assert!(start.contains(&Source::Startup) && !start.contains(&Source::Reconnect));
        let cut = world.elapsed();
        away(&mut world, 10);
        let known = &corpus.entries.iter().find(|e| e.event.kind.as_u16() == 1621);
        let known = &known.expect("corpora have issues").event;
        run(&mut world, 2);
        let missed = comment(53, known, known, world.wall().as_secs(), "missed");
        publish(&mut world, 0, &missed);
        run(&mut world, 20);
        back(&mut world);
        assert!(has(&world, &missed));
        let again = sources(&world, cut);
        assert!(again.contains(&Source::Reconnect), "{again:?}");
        assert!(!again.contains(&Source::Startup), "only the first pass is the startup");
        let triggers: Vec<Trigger> = world
            .journal()
            .events(secs(0))
            .filter_map(|(_, event)| match event {
                Event::PassStarted { trigger, .. } => Some(*trigger),
                _ => None,
            })
            .filter(|trigger| *trigger != Trigger::Repository)
            .collect();
        assert_eq!(triggers, [Trigger::Startup, Trigger::Reconnect]);
        // Without NIP-77 the audit asks by pages.
        let calm = world.elapsed();
        run(&mut world, 1_800);
        let later = sources(&world, calm);
        assert!(later.is_subset(&[Source::Live, Source::Daily].into()), "{later:?}");
    }
}

#[test]
fn h_17_since_is_the_absolute_time_up_to_which_all_is_proven_less_the_overlap() {
    let (mut world, _) = one(Negentropy::Notice);
    // Live for an hour, so that the live watermark is what counts.
    run(&mut world, 3_600);
    let lost = world.wall().as_secs();
    away(&mut world, 60);
    let cut = world.elapsed();
    run(&mut world, 61);
    back(&mut world);
    let relay = id(&world, 0);
    let overlap = world.setup.config.sync.reconnect_overlap.as_secs();
    let live_write = world.setup.config.sync.live_write.as_secs();
    let pages =
        world.journal().requests(relay, cut).filter(|(_, p, _)| !matches!(p, Purpose::Live));
    let since: Vec<u64> = pages
        .flat_map(|(_, _, filters)| filters)
        .map(|filter| filter.since.map_or(0, |since| since.as_secs()))
        .collect();
    assert!(!since.is_empty());
    for since in since {
        let newest = lost - overlap;
        assert!((newest - live_write - 2..=newest).contains(&since), "{since} for {newest}");
    }
    let full = Range::up_to(world.wall());
    assert_eq!(full.since.as_secs(), 0);
}
