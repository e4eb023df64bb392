//! Section 3: negentropy, and events by id.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nostr::event::EventId;
use sync_core::command::{Command, Purpose};
use sync_core::event::{Event, NegFallback, PassResult};
use sync_core::input::{DialErrorKind, Operator};
use sync_core::item::{GapReason, Item};
use sync_core::status::RelayStatus;
use sync_core::url::RelayUrl;
use sync_tests::corpus::{Corpus, Spread};
use sync_tests::sim::faults::{DialPlan, EosePlan, Faults, Nature, Negentropy};
use sync_tests::world::{Action, World};

use super::bench::*;

/// Items that a ledger claims, by relay.
fn claimed(world: &World) -> BTreeMap<RelayUrl, BTreeSet<Item>> {
    let mut all = BTreeMap::<RelayUrl, BTreeSet<Item>>::new();
    for (relay, cohort) in world.ledger().cohorts() {
        all.entry(relay.clone()).or_default().extend(cohort.items.iter().cloned());
    }
    all
}

fn fallbacks(world: &World, since: Duration) -> Vec<NegFallback> {
    let reasons = world.journal().events(since).filter_map(|(_, event)| match event {
        Event::NegentropyFallback { reason, .. } => Some(*reason),
        _ => None,
    });
    reasons.collect()
}

fn by_id(world: &World, relay: usize, since: Duration) -> Vec<BTreeSet<EventId>> {
    let requests = world.journal().requests(id(world, relay), since);
    requests
        .filter(|(_, purpose, _)| matches!(purpose, Purpose::Ids { .. }))
        .map(|(_, _, filters)| filters.iter().filter_map(|f| f.ids.clone()).flatten().collect())
        .filter(|ids: &BTreeSet<EventId>| !ids.is_empty())
        .collect()
}

/// A synced relay that so many comments on a known root got to while we were away.
fn behind(count: u64, nature: Nature) -> (World, Vec<std::sync::Arc<nostr::event::Event>>) {
    let corpus = Corpus::generate(options(1, 200));
    let mut world = synced(setup(), &corpus, &[nature]);
    let refuse = Faults { dial: DialPlan::Fails(DialErrorKind::Refused), ..Faults::default() };
    world.after(secs(0), Action::Misbehave(0, refuse));
    world.after(secs(0), Action::Cut(0));
    run(&mut world, 5);
    let root = corpus.entries.iter().find(|e| e.event.kind.as_u16() == 1621);
    let root = &root.expect("corpora have issues").event;
    let at = world.wall().as_secs() - 500;
    let missed: Vec<_> =
        (0..count).map(|n| comment(40, root, root, at + n % 400, &format!("{n}"))).collect();
    for event in &missed {
        publish(&mut world, 0, event);
    }
    run(&mut world, 1);
    (world, missed)
}

fn lacking(world: &World, events: &[std::sync::Arc<nostr::event::Event>]) -> usize {
    events.iter().filter(|event| !has(world, event)).count()
}

#[test]
fn h_18_the_method_changes_neither_the_store_nor_the_coverage() {
    let corpus =
        Corpus::generate(sync_tests::corpus::Options { spread: Spread::Halves, ..options(3, 300) });
    let mut first = None;
    for negentropy in Negentropy::ALL {
        let nature = Nature { negentropy, ..Nature::default() };
        let mut world = synced(setup(), &corpus, &[nature.clone(), nature.clone(), nature]);
        run(&mut world, 60);
        let end = (world.stored(), claimed(&world));
        let first = first.get_or_insert_with(|| end.clone());
        assert_eq!(first.0, end.0, "{negentropy:?}: the store");
        assert_eq!(first.1, end.1, "{negentropy:?}: what is claimed");
        // An item is confirmed once, whatever proved it: nothing is asked for again.
        let before = world.elapsed();
        run(&mut world, 600);
        let asked = world.journal().commands(before);
        assert_eq!(asked.filter(|(_, c)| !is_quiet(c)).count(), 0, "{negentropy:?}");
    }
}

fn is_quiet(command: &Command) -> bool {
    matches!(command, Command::Persist(_) | Command::Emit(_))
}

#[test]
fn h_19_every_refusal_of_negentropy_ends_in_a_completed_sync_by_requests() {
    let corpus = Corpus::generate(options(1, 200));
    let cases = [
        (Negentropy::Ignored, NegFallback::Timeout),
        (Negentropy::Notice, NegFallback::Notice),
        (Negentropy::Error, NegFallback::Refused),
        (Negentropy::Closed, NegFallback::Closed),
        (Negentropy::Garbage, NegFallback::Garbage),
    ];
    for (negentropy, reason) in cases {
        let mut world = World::of_corpus(setup(), &corpus);
        // NIP-11 says that it speaks it.
        world.relays[0].misbehave(Faults { negentropy: Some(negentropy), ..Faults::default() });
        converge(&mut world, 600);
        assert_eq!(missing(&world, &corpus), 0, "{negentropy:?}");
        assert!(is_connected(&world, 0), "{negentropy:?}");
        assert_eq!(fallbacks(&world, secs(0)), [reason], "{negentropy:?}: counted once");
        let relay = id(&world, 0);
        assert_eq!(world.journal().reconciliations(relay, secs(0)), 1, "{negentropy:?}");
        let pending = world.journal().events(secs(0)).fold(0, |open, (_, event)| match event {
            Event::BatchStarted { .. } => open + 1,
            Event::BatchEnded { .. } => open - 1,
            _ => open,
        });
        assert_eq!(pending, 0, "{negentropy:?}: no orphan batch");
    }
}

#[test]
fn h_20_a_timeout_is_no_success() {
    for negentropy in [Negentropy::Speaks, Negentropy::Ignored] {
        let corpus = Corpus::generate(options(1, 200));
        let mut world = World::of_corpus(setup(), &corpus);
        world.relays[0].nature.negentropy = negentropy;
        world.relays[0].misbehave(Faults { eose: EosePlan::Missing, ..Faults::default() });
        run(&mut world, 400);
        assert!(!is_connected(&world, 0));
        assert_eq!(world.ledger().cohorts().count(), 0, "nothing is claimed");
        let url = world.relays[0].url.clone();
        let gaps: BTreeSet<GapReason> = world.ledger().gaps(&url).map(|gap| gap.reason).collect();
        assert_eq!(gaps, [GapReason::Timeout].into());
        let ended = world.journal().events(secs(0)).filter_map(|(_, event)| match event {
            Event::PassEnded { result, .. } => Some(*result),
            _ => None,
        });
        assert!(ended.into_iter().all(|result| result == PassResult::Partial));
        world.after(secs(0), Action::Heal(0));
        let healed = world.run_until(secs(7_200), |world| is_connected(world, 0));
        world.expect_sound();
        assert!(healed, "{:?}", world.status(0));
        run(&mut world, 60);
        assert_eq!(missing(&world, &corpus), 0);
    }
}

#[test]
fn h_21_a_relay_that_ignores_negentropy_costs_one_probe_and_delays_nobody() {
    let corpus = Corpus::generate(options(2, 300));
    let play = |silent: bool| {
        let mut world = World::of_corpus(setup(), &corpus);
        if silent {
            let faults = Faults { negentropy: Some(Negentropy::Ignored), ..Faults::default() };
            world.relays[1].misbehave(faults);
        }
        converge(&mut world, 600);
        let relay = id(&world, 0);
        let mut statuses = world.journal().events(secs(0)).filter_map(|(at, event)| match event {
            Event::StatusChanged { relay: of, to: RelayStatus::Connected, .. } if *of == relay => {
                Some(at)
            }
            _ => None,
        });
        let first = statuses.next();
        drop(statuses);
        (first.expect("it was connected"), world)
    };
    let (alone, _) = play(false);
    let (beside, mut world) = play(true);
    // What all relays share is the discovery window: it is longer while announcements may still
    // come (DISC-6), once for announcements and once for roots.
    let window = *world.setup.config.sync.discovery_window;
    assert!(beside <= alone + 2 * window, "{beside:?} after {alone:?}");
    let silent = id(&world, 1);
    assert_eq!(world.journal().reconciliations(silent, secs(0)), 1);
    let timeout = *world.setup.config.sync.neg_timeout;
    assert!(world.elapsed() < timeout + secs(10), "{:?}", world.elapsed());
    // The verdict outlives connection and process.
    for action in [Action::Cut(1), Action::Restart] {
        world.after(secs(0), action);
        run(&mut world, 1);
        converge(&mut world, 600);
        assert_eq!(world.journal().reconciliations(silent, secs(0)), 1);
    }
}

#[test]
fn h_22_ids_that_a_relay_leaves_out_are_asked_for_again() {
    let nature = Nature { cap: Some(10), ..Nature::default() };
    let (mut world, missed) = behind(400, nature);
    let since = world.elapsed();
    world.after(secs(0), Action::Heal(0));
    run(&mut world, 120);
    assert_eq!(lacking(&world, &missed), 0, "each of 50 ids a filter came, 10 at a time");
    assert!(is_connected(&world, 0));
    assert_eq!(fallbacks(&world, since), []);
    let asked: usize = by_id(&world, 0, since).iter().map(BTreeSet::len).sum();
    // 50 ids a filter, of which 10 come, in two filters (`#e` and `#E`) that both need them.
    let rounds = [400, 320, 250, 200, 160, 120, 90, 70, 50, 40, 30, 20, 10];
    assert_eq!(asked, 2 * rounds.iter().sum::<usize>());
}

#[test]
fn h_23_asking_again_ends_with_the_first_round_that_brings_nothing() {
    let (mut world, missed) = behind(400, Nature::default());
    let since = world.elapsed();
    let withheld = missed.iter().map(|event| event.id).collect();
    world.after(secs(0), Action::Misbehave(0, Faults { withheld, ..Faults::default() }));
    run(&mut world, 120);
    let asked: usize = by_id(&world, 0, since).iter().map(BTreeSet::len).sum();
    assert_eq!(asked, 2 * 400, "one round of requests for each of the two filters, `#e` and `#E`");
    assert_eq!(fallbacks(&world, since), [NegFallback::Distrust; 2]);
}

#[test]
fn h_24_a_failed_batch_shows_as_degraded_with_its_gap() {
    let (mut world, missed) = behind(30, Nature::default());
    let withheld = missed.iter().map(|event| event.id).collect();
    world.after(secs(0), Action::Misbehave(0, Faults { withheld, ..Faults::default() }));
    let settled = world.run_until(secs(600), |world| {
        world.is_quiet()
            && world.status(0).is_some_and(RelayStatus::is_live_sync_active)
            && world.status(0) != Some(RelayStatus::Syncing)
    });
    world.expect_sound();
    assert!(settled);
    assert_eq!(world.status(0), Some(RelayStatus::ConnectedDegraded));
    let url = world.relays[0].url.clone();
    let gaps: Vec<_> = world.ledger().gaps(&url).collect();
    assert!(!gaps.is_empty() && gaps.iter().all(|gap| gap.reason == GapReason::RefusedIds));
    let named: BTreeSet<EventId> = gaps.iter().flat_map(|gap| gap.ids.clone()).collect();
    assert_eq!(named, missed.iter().map(|event| event.id).collect(), "it names the ids");
    // Connected again when they are there.
    world.after(secs(0), Action::Heal(0));
    let healed = world.run_until(secs(26 * 3_600), |world| is_connected(world, 0));
    world.expect_sound();
    assert!(healed, "{:?}", world.status(0));
    assert_eq!(lacking(&world, &missed), 0);
}

#[test]
fn h_25_ids_that_were_promised_and_not_served_come_by_pages_and_the_distrust_ages() {
    // The relay serves everything but by id: pages find it.
    let (mut world, missed) = behind(30, Nature::default());
    let since = world.elapsed();
    world.after(secs(0), Action::Misbehave(0, Faults { refuses_ids: true, ..Faults::default() }));
    run(&mut world, 300);
    assert_eq!(fallbacks(&world, since), [NegFallback::Distrust; 2]);
    assert_eq!(lacking(&world, &missed), 0, "pages brought them");
    world.after(secs(0), Action::Heal(0));
    let aged = world.elapsed();
    run(&mut world, 50 * 3_600);
    let relay = id(&world, 0);
    assert!(is_connected(&world, 0), "{:?}", world.status(0));
    assert!(world.journal().reconciliations(relay, aged) > 0, "the verdict is not for good");
}

#[test]
fn h_25_a_copy_that_was_dropped_does_not_keep_the_event_away() {
    // Forged copies come first; remembering their id above policy would drop the real ones.
    let corpus = Corpus::generate(options(1, 300));
    let mut world = World::of_corpus(setup(), &corpus);
    world.relays[0].misbehave(Faults { forged: 1_000, duplicates: 300, ..Faults::default() });
    converge(&mut world, 600);
    assert_eq!(missing(&world, &corpus), 0);
    // An event that policy rejected once is taken when what it lacked has come, long after the
    // copy that was at hand is gone.
    let mut world = super::bench::world(setup(), &[Nature::default()], 1);
    let early = state(1, "late", START - 1_000);
    let lacked = issue(2, &repo(1, "late"), START - 900, "waits");
    let announced = announcement(1, "late", START - 2_000, &[0], &[]);
    let neighbour = announcement(3, "late", START - 3_000, &[0], &[]);
    for event in [&neighbour, &early, &lacked] {
        put(&mut world, 0, event);
    }
    world.boot();
    converge(&mut world, 600);
    assert!(has(&world, &neighbour) && !has(&world, &early));
    assert!(world.plane.rejection(&early.id).is_some(), "it was served for `#d` and rejected");
    run(&mut world, 3_600);
    publish(&mut world, 0, &announced);
    run(&mut world, 60);
    for event in [&announced, &early, &lacked] {
        assert!(has(&world, event), "kind {}", event.kind.as_u16());
    }
}

#[test]
fn h_28_what_policy_rejects_is_transferred_once() {
    for negentropy in [Negentropy::Speaks, Negentropy::Notice] {
        let mut setup = setup();
        setup.config.accept.archive = vec![];
        setup.config.accept.domains = vec!["r0.example".into()];
        let nature = Nature { negentropy, ..Nature::default() };
        let mut world = super::bench::world(setup, &[nature], 1);
        let ours = announcement(1, "ours", START - 900_000, &[0], &[]);
        put(&mut world, 0, &ours);
        for n in 0..700 {
            // Foreign announcements, and foreign states of our identifier.
            let at = START - 800_000 + 1_000 * n;
            put(&mut world, 0, &announcement(2 + n as usize % 20, &format!("{n}"), at, &[5], &[]));
            if n < 200 {
                put(&mut world, 0, &state(200 + n as usize, "ours", at + 1));
            }
        }
        world.boot();
        converge(&mut world, 900);
        assert_eq!(world.stored(), [ours.id].into());
        assert!(is_connected(&world, 0), "what is rejected for good is no gap");
        let relay = id(&world, 0);
        let first = world.journal().received(relay, secs(0));
        assert!((901..2_000).contains(&first), "{negentropy:?}: {first}");
        for action in [Action::Cut(0), Action::Restart, Action::Operator(Operator::SyncNow)] {
            let since = world.elapsed();
            let proves = negentropy != Negentropy::Speaks
                && matches!(action, Action::Operator(Operator::SyncNow));
            world.after(secs(0), action.clone());
            run(&mut world, 1);
            converge(&mut world, 900);
            let again = world.journal().received(relay, since);
            // Pages have an overlap of an hour, which holds the newest four of them; a full proof
            // by pages transfers everything, which is why only a person or a day asks for it.
            let bound = match (negentropy, proves) {
                (Negentropy::Speaks, _) => 0,
                (_, false) => 8,
                (_, true) => 2_000,
            };
            assert!(again <= bound, "{negentropy:?}, {action:?}: {again} events again");
            assert_eq!(world.stored(), [ours.id].into());
        }
    }
}
