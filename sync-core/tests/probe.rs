//! A core that only looks: it reconciles, tells what it found, and changes nothing.

mod support;

use support::*;
use sync_core::command::Command;
use sync_core::config::Probe;
use sync_core::event::{Event, NegFallback};
use sync_core::input::{Fact, FactSource, Input, NegOutcome};
use sync_core::item::SyncLevel;
use sync_core::url::RelayUrl;
use sync_core::{Config, SyncCore};

fn looks(config: &mut Config) {
    config.sync.negentropy = true;
    config.once = true;
    config.probe = Some(Probe::default());
}

/// Commands that ask, fetch or write, but for sessions.
fn other_work(commands: &[Command]) -> usize {
    let is_work = |c: &&Command| matches!(c, Command::Subscribe { .. } | Command::Persist(_));
    commands.iter().filter(is_work).count()
}

#[test]
fn every_wanted_filter_is_reconciled_and_what_is_needed_is_told_and_not_fetched() {
    let (mut script, begun) = Script::online(looks, vec![repo_fact("r", SyncLevel::Full)]);
    let mut open = negs(&begun);
    assert_eq!(open.len(), 1, "the first session shows whether the relay speaks it");
    let mut sessions = 0;
    while let Some(neg) = open.pop() {
        sessions += 1;
        let next = script.reconciled(neg, vec![id(sessions)], NegOutcome::Done);
        open.extend(negs(&next));
    }
    assert_eq!(sessions, 5, "layer 1, states and three letters");
    let told: Vec<_> = events(&script.log)
        .into_iter()
        .filter_map(|event| match event {
            Event::Reconciled { need, ids, .. } => Some((*need, ids.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(told, (1..=5).map(|n| (1, vec![id(n)])).collect::<Vec<_>>());
    assert_eq!(other_work(&script.log), 0);
    assert!(script.core.progress().is_over());
}

#[test]
fn a_relay_that_refuses_sessions_is_left_alone() {
    let (mut script, begun) = Script::online(looks, vec![repo_fact("r", SyncLevel::Full)]);
    script.reconciled(negs(&begun)[0], Vec::new(), NegOutcome::Garbage);
    let fell_back = Event::NegentropyFallback {
        relay: sync_core::id::RelayId(0),
        reason: NegFallback::Garbage,
    };
    assert!(events(&script.log).contains(&&fell_back));
    assert_eq!((other_work(&script.log), negs(&script.log).len()), (0, 1));
    assert!(script.core.progress().is_over());
}

#[test]
fn only_the_relays_that_were_named_are_dialed_and_unknown_ones_count_as_configured() {
    let other = "wss://b.example";
    let only = |config: &mut Config| {
        looks(config);
        config.probe = Some(Probe { only: vec![url(other)] });
    };
    let mut script = Script::new(only);
    script.step(sync_core::input::Input::Booted);
    let dialed: Vec<&RelayUrl> = script
        .log
        .iter()
        .filter_map(|command| match command {
            Command::Dial { url, .. } => Some(url),
            _ => None,
        })
        .collect();
    assert_eq!(dialed, [&url(other)]);
    assert!(
        SyncCore::explain(&script.core, script.core.relay_id(&url(A)).expect("known"))
            .is_some_and(|known| !known.wanted)
    );
}

#[test]
fn a_relay_that_was_named_is_trusted_though_an_announcement_named_it_first() {
    // T1: the dial guard is for what strangers name.
    let other = url("wss://b.example");
    let named = other.clone();
    let mut script = Script::new(|config| {
        looks(config);
        config.probe = Some(Probe { only: vec![named] });
    });
    let fact = Fact::Repo { repo: repo("r"), relays: vec![other.clone()], level: SyncLevel::Full };
    script.step(Input::Facts { from: FactSource::Boot, facts: vec![fact] });
    let begun = script.step(Input::Booted);
    let dials = begun.iter().filter_map(|command| match command {
        Command::Dial { url, trusted, .. } => Some((url.clone(), *trusted)),
        _ => None,
    });
    assert_eq!(dials.collect::<Vec<_>>(), [(other, true)]);
}

#[test]
fn what_a_session_found_before_it_split_is_fetched() {
    // The windows are what is still open; these ids lie outside of them.
    let (mut script, begun) = Script::online(
        |config| {
            config.sync.negentropy = true;
        },
        Vec::new(),
    );
    script.answer_all(begun);
    let again = script.operator(sync_core::input::Operator::SyncNow);
    let range = sync_core::item::Range { since: at(0), until: at(9) };
    let split = script.reconciled(negs(&again)[0], vec![id(7)], NegOutcome::Split(vec![range]));
    let asked = by_ids(&split);
    assert_eq!(asked.len(), 1);
    assert!(filters(&split, asked[0])[0].contains(&id(7).to_hex()));
    assert_eq!(negs(&split).len(), 1, "the window");
}
