//! Single rules, and real events.

use nostr::event::Event;
use nostr::nips::nip19::ToBech32;
use nostr::types::Timestamp;
use sync_core::admit::announcement::{Announcement, AnnouncementError};
use sync_core::admit::policy::{Policy, PolicyError, Verdict, Why};
use sync_core::admit::rejected::{Dependency, RejectReason};
use sync_core::config::Config;
use sync_core::input::Fact;

use crate::model::{NOW, Pipeline, SERVICE, announcement, config, event, key, repo};

fn reject(reason: RejectReason, depends_on: &[Dependency]) -> Verdict {
    Verdict::Reject { reason, depends_on: depends_on.to_vec() }
}

fn fed(config: &Config, events: &[Event]) -> Pipeline {
    let mut pipeline = Pipeline::new(config);
    events.iter().for_each(|event| pipeline.take(event.clone()));
    pipeline
}

fn corpus() -> Vec<Event> {
    include_str!("../../data/nip34-real.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a real event"))
        .collect()
}

fn stored_kinds(pipeline: &Pipeline) -> (usize, usize) {
    let of = |kind: u16| pipeline.stored.values().filter(|e| e.kind.as_u16() == kind).count();
    (of(30617), of(30618))
}

#[test]
fn real_events_are_taken_in_each_mode_as_they_list_it() {
    let npub = corpus()[0].pubkey.to_bech32().expect("an npub");
    let one = format!("{npub}/noports");
    let cases: [(Config, (usize, usize)); 9] = [
        (config(&[], &["all"]), (13, 12)),
        (config(&["relay.ngit.dev"], &[]), (13, 12)),
        (config(&["Relay.NGIT.dev:443"], &[]), (13, 12)),
        (config(&["relay.ngit.dev:8443"], &[]), (0, 0)),
        (config(&["ngit.dev"], &[]), (0, 0)),
        (config(&["github.com"], &[]), (0, 0)),
        (config(&[], &[&npub]), (13, 12)),
        (config(&[], &[&one]), (1, 1)),
        (config(&[], &["noflow", "grasp:pyramid.treegaze.com"]), (4, 4)),
    ];
    for (config, expected) in cases {
        for reversed in [false, true] {
            let mut events = corpus();
            if reversed {
                events.reverse();
            }
            let mut pipeline = Pipeline::new(&config);
            pipeline.now = 1_800_000_000;
            events.into_iter().for_each(|event| pipeline.take(event));
            assert_eq!(stored_kinds(&pipeline), expected, "{:?}", config.accept);
            assert_eq!(pipeline.wants.repos.len(), expected.0);
        }
    }
}

#[test]
fn a_real_announcement_adds_its_relays_and_those_beside_grasp_clones() {
    let real = corpus().into_iter().find(|event| event.id.to_hex().starts_with("799bbf45"));
    let announcement = Announcement::parse(&real.expect("it is there"), 16).expect("readable");
    let relays: Vec<&str> = announcement.relays.iter().map(|url| url.as_str()).collect();
    assert!(relays.contains(&"wss://relay.ngit.dev/"), "{relays:?}");
    assert!(relays.contains(&"wss://gitnostr.com/"), "{relays:?}");
    assert!(!relays.iter().any(|url| url.contains("github.com")), "{relays:?}");
    assert_eq!(announcement.repo.identifier, "tollgate-module-basic-go");
}

#[test]
fn identifiers_must_be_path_safe() {
    let pipeline = Pipeline::new(&config(&[], &["all"]));
    for (identifier, good) in [
        ("x", true),
        ("with space", true),
        ("🚀", true),
        ("a:b:c", true),
        ("..x", true),
        ("", false),
        (".", false),
        ("..", false),
        ("a/b", false),
        ("a\\b", false),
        ("a\0b", false),
    ] {
        let announcement = event(1, 30617, 1, &[&["d", identifier]]);
        let expected = match good {
            true => Verdict::Accept(Why::Archive),
            false => reject(RejectReason::Identifier, &[]),
        };
        assert_eq!(pipeline.judge(&announcement), expected, "{identifier:?}");
    }
    let none = event(1, 30617, 1, &[&["name", "x"]]);
    assert_eq!(pipeline.judge(&none), reject(RejectReason::Identifier, &[]));
    assert_eq!(Announcement::parse(&none, 16), Err(AnnouncementError::Identifier));
}

#[test]
fn values_of_repeated_tags_are_united_and_capped() {
    let (two, three) = (key(2).to_hex(), key(3).to_hex());
    let tags: [&[&str]; 6] = [
        &["d", "x"],
        &["relays", "wss://a.example", "wss://B.example/"],
        &["relays", "wss://b.example", "not a url", "wss://c.example"],
        &["clone", "https://forge.example/x.git"],
        &["maintainers", &two, &two, "nobody"],
        &["maintainers", &three, &key(1).to_hex()],
    ];
    let announcement = Announcement::parse(&event(1, 30617, 1, &tags), 2).expect("readable");
    let relays: Vec<&str> = announcement.relays.iter().map(|url| url.as_str()).collect();
    assert_eq!(relays, ["wss://a.example/", "wss://b.example/"]);
    assert_eq!(announcement.maintainers, [key(2), key(3)]);
    assert_eq!(announcement.refused.relays, 1);
    assert_eq!(announcement.refused.malformed, 1);
}

#[test]
fn a_service_is_listed_in_clone_and_relays_by_host_and_port() {
    for (domain, clone, relay, listed) in [
        ("git.example", "https://git.example/a/b.git", "wss://git.example", true),
        ("git.example", "https://GIT.example:443/a/b.git", "wss://git.example/sub", true),
        ("git.example", "https://git.example/a/b.git", "wss://other.example", false),
        ("git.example", "https://other.example/a/b.git", "wss://git.example", false),
        ("git.example", "https://git.example:8443/a/b.git", "wss://git.example", false),
        ("git.example", "https://git.example.evil/a.git", "wss://git.example.evil", false),
        ("git.example", "https://evil/git.example/a.git", "wss://evil/git.example", false),
        ("git.example", "https://git.example@evil/a.git", "wss://git.example", false),
        ("git.example", "ssh://git.example/a/b.git", "wss://git.example", false),
        ("localhost:3334", "http://localhost:3334/a/b.git", "ws://localhost:3334", true),
    ] {
        let pipeline = Pipeline::new(&config(&[domain], &[]));
        let tags: [&[&str]; 3] = [&["d", "x"], &["clone", clone], &["relays", relay]];
        let verdict = pipeline.judge(&event(1, 30617, 1, &tags));
        assert_eq!(verdict == Verdict::Accept(Why::Service), listed, "{domain} {clone} {relay}");
    }
}

#[test]
fn maintainers_are_followed_through_cycles_and_forks_stay_apart() {
    let edge = |n: u8| {
        Dependency::MaintainerEdge(sync_core::admit::references::announcement_address(key(n), "x"))
    };
    let mut pipeline = Pipeline::new(&config(&[SERVICE], &[]));
    let third = announcement(3, "x", 1, false, &[1]);
    let fork = announcement(9, "x", 1, false, &[1, 2, 3]);
    assert_eq!(pipeline.judge(&third), reject(RejectReason::NotListed, &[edge(3)]));
    pipeline.take(third.clone());
    pipeline.take(fork.clone());
    pipeline.take(announcement(1, "x", 1, true, &[2]));
    assert_eq!(pipeline.wants.repos.len(), 1);
    pipeline.take(announcement(2, "x", 1, false, &[3]));
    assert_eq!(pipeline.wants.repos.len(), 3);
    assert!(pipeline.stored.contains_key(&third.id));
    assert_eq!(pipeline.judge(&fork), reject(RejectReason::NotListed, &[edge(9)]));
    let state = |n: u8| event(n, 30618, 1, &[&["d", "x"]]);
    assert_eq!(pipeline.judge(&state(3)), Verdict::Accept(Why::Authority));
    assert_eq!(pipeline.judge(&state(9)), reject(RejectReason::NoAuthority, &[edge(9)]));
    let elsewhere = event(3, 30618, 1, &[&["d", "y"]]);
    assert!(matches!(pipeline.judge(&elsewhere), Verdict::Reject { .. }));
    // 3 names 1 and 1 names 2, but nothing of the service names them any more.
    pipeline.take(announcement(1, "x", 2, true, &[]));
    assert_eq!(pipeline.wants.repos.len(), 1);
    assert!(matches!(pipeline.judge(&state(3)), Verdict::Reject { .. }));
}

#[test]
fn an_announcement_that_leaves_the_service_takes_its_repository_along() {
    for reversed in [false, true] {
        let mut events =
            vec![announcement(1, "x", 1, true, &[]), announcement(1, "x", 2, false, &[])];
        let newest = events[1].id;
        if reversed {
            events.reverse();
        }
        let pipeline = fed(&config(&[SERVICE], &[]), &events);
        assert!(pipeline.wants.repos.is_empty());
        assert_eq!(pipeline.stored.keys().collect::<Vec<_>>(), [&newest]);
    }
}

#[test]
fn references_are_matched_as_a_whole() {
    let pipeline = fed(
        &config(&[SERVICE], &[]),
        &[announcement(1, "x", 1, true, &[]), event(2, 1621, 1, &[&["a", &repo(1, "x")]])],
    );
    let issue = *pipeline.wants.roots.keys().next().expect("an issue");
    for (tag, value, taken) in [
        ("a", repo(1, "x"), true),
        ("A", repo(1, "x"), true),
        ("q", repo(1, "x"), true),
        ("e", issue.to_hex(), true),
        ("E", issue.to_hex(), true),
        ("q", issue.to_hex(), true),
        ("p", key(1).to_hex(), false),
        ("i", issue.to_hex(), false),
        ("a", repo(2, "x"), false),
        ("a", repo(1, "x:y"), false),
        ("a", repo(1, "x ").trim_end().to_uppercase(), false),
        ("a", repo(1, "x").replacen("30617", "30618", 1), false),
        ("e", "00".repeat(32), false),
    ] {
        let verdict = pipeline.judge(&event(5, 7, 1, &[&[tag, &value]]));
        assert_eq!(verdict == Verdict::Accept(Why::Reference), taken, "{tag} {value}");
    }
}

#[test]
fn what_an_accepted_event_references_is_wanted_but_carries_nothing_further() {
    let mut pipeline = Pipeline::new(&config(&[SERVICE], &[]));
    pipeline.take(announcement(1, "x", 1, true, &[]));
    let far = event(7, 1, 1, &[&["n", "far"]]);
    let note = event(6, 1, 1, &[&["q", &far.id.to_hex()]]);
    let reply = event(5, 7, 1, &[&["e", &note.id.to_hex()]]);
    let issue = event(2, 1621, 1, &[&["a", &repo(1, "x")], &["q", &note.id.to_hex()]]);
    pipeline.take(note.clone());
    let applied = pipeline.policy.apply(&issue, None);
    assert_eq!(applied.referenced, [note.id]);
    let relays = vec!["wss://git.example".parse().expect("a relay")];
    let want = Fact::WantId { id: note.id, relays, not_before: None };
    assert!(applied.facts.contains(&want), "{:?}", applied.facts);
    assert_eq!(pipeline.judge(&note), Verdict::Accept(Why::Referenced));
    assert!(pipeline.policy.apply(&note, None).referenced.is_empty());
    assert!(matches!(pipeline.judge(&reply), Verdict::Reject { .. }));
    assert!(matches!(pipeline.judge(&far), Verdict::Reject { .. }));
}

#[test]
fn at_most_32_references_of_an_event_are_wanted() {
    let mut pipeline = Pipeline::new(&config(&[SERVICE], &[]));
    pipeline.take(announcement(1, "x", 1, true, &[]));
    let notes: Vec<Event> =
        (0..40).map(|n: u8| event(6, 1, 1, &[&["n", &n.to_string()]])).collect();
    let address = repo(1, "x");
    let hex: Vec<String> = notes.iter().map(|note| note.id.to_hex()).collect();
    let mut tags: Vec<[&str; 2]> = vec![["a", &address]];
    tags.extend(hex.iter().map(|id| ["q", id.as_str()]));
    let tags: Vec<&[&str]> = tags.iter().map(|tag| tag.as_slice()).collect();
    let applied = pipeline.policy.apply(&event(2, 1621, 1, &tags), None);
    assert_eq!(applied.referenced.len(), 31);
    assert_eq!(pipeline.judge(&notes[30]), Verdict::Accept(Why::Referenced));
    assert!(matches!(pipeline.judge(&notes[31]), Verdict::Reject { .. }));
}

#[test]
fn threads_end_at_their_depth_and_number() {
    let mut config = config(&[SERVICE], &[]);
    (config.sync.thread_depth, config.sync.thread_items) = (2, 3);
    let mut pipeline = Pipeline::new(&config);
    pipeline.take(announcement(1, "x", 1, true, &[]));
    let issue = event(2, 1621, 1, &[&["a", &repo(1, "x")]]);
    pipeline.take(issue.clone());
    let below = |parent: &Event, n: u8| {
        event(3, 1111, 1, &[&["e", &parent.id.to_hex()], &["n", &n.to_string()]])
    };
    let first = below(&issue, 1);
    let second = below(&first, 2);
    let third = below(&second, 3);
    let fourth = below(&third, 4);
    for event in [&first, &second, &third, &fourth] {
        pipeline.take(event.clone());
        assert!(pipeline.stored.contains_key(&event.id), "replies stay acceptable");
    }
    let expected = [(first.id, (issue.id, 1)), (second.id, (issue.id, 2))];
    assert_eq!(pipeline.wants.threads, expected.into_iter().collect());
    assert!(pipeline.policy.truncated().is_empty());
    pipeline.take(below(&issue, 5));
    pipeline.take(below(&issue, 6));
    assert_eq!(pipeline.wants.threads.len(), 3);
    assert!(pipeline.policy.truncated().contains(&issue.id));
}

#[test]
fn reactions_statuses_zaps_and_labels_are_no_thread_items() {
    let mut pipeline = Pipeline::new(&config(&[SERVICE], &[]));
    pipeline.take(announcement(1, "x", 1, true, &[]));
    let issue = event(2, 1621, 1, &[&["a", &repo(1, "x")]]);
    pipeline.take(issue.clone());
    for kind in [7, 1630, 1631, 1632, 1633, 9735, 1985] {
        let leaf = event(3, kind, 1, &[&["e", &issue.id.to_hex()]]);
        pipeline.take(leaf.clone());
        assert!(pipeline.stored.contains_key(&leaf.id), "{kind}");
        let on_it = event(4, 7, 1, &[&["e", &leaf.id.to_hex()]]);
        assert!(matches!(pipeline.judge(&on_it), Verdict::Reject { .. }), "{kind}");
    }
    assert!(pipeline.wants.threads.is_empty());
    assert_eq!(pipeline.wants.roots.len(), 1);
}

#[test]
fn an_update_of_a_pull_request_is_a_thread_event_of_it() {
    let pull = event(2, 1618, 1, &[&["a", &repo(1, "x")]]);
    let update = event(2, 1619, 1, &[&["E", &pull.id.to_hex()], &["a", &repo(1, "x")]]);
    let events = [announcement(1, "x", 1, true, &[]), update.clone(), pull.clone()];
    let pipeline = fed(&config(&[SERVICE], &[]), &events);
    assert_eq!(pipeline.wants.roots.keys().collect::<Vec<_>>(), [&pull.id]);
    assert_eq!(pipeline.wants.threads.get(&update.id), Some(&(pull.id, 1)));
}

#[test]
fn deletions_and_grasp_lists_need_an_author_whose_events_we_hold() {
    let mut pipeline = Pipeline::new(&config(&[SERVICE], &[]));
    let deletion = event(1, 5, 1, &[&["e", &"00".repeat(32)]]);
    let list = event(1, 10317, 1, &[]);
    let waits = reject(RejectReason::UnknownAuthor, &[Dependency::Author(key(1))]);
    assert_eq!(pipeline.judge(&deletion), waits);
    assert_eq!(pipeline.judge(&list), waits);
    pipeline.take(announcement(1, "x", 1, true, &[]));
    assert_eq!(pipeline.judge(&deletion), Verdict::Accept(Why::Author));
    assert_eq!(pipeline.judge(&list), Verdict::Accept(Why::Author));
    let archive = Pipeline::new(&config(&[], &["all"]));
    assert_eq!(archive.judge(&deletion), Verdict::Accept(Why::Archive));
}

#[test]
fn vanish_requests_must_name_all_relays_or_us() {
    let mut config = config(&[], &["all"]);
    config.identity.urls = vec!["wss://me.example".into()];
    let pipeline = Pipeline::new(&config);
    for (relay, taken) in [
        ("ALL_RELAYS", true),
        ("wss://me.example/", true),
        ("wss://other.example", false),
        ("all_relays", false),
    ] {
        let verdict = pipeline.judge(&event(1, 62, 1, &[&["relay", relay]]));
        assert_eq!(verdict == Verdict::Accept(Why::Archive), taken, "{relay}");
    }
}

#[test]
fn events_of_the_future_wait_for_their_time() {
    let pipeline = Pipeline::new(&config(&[], &["all"]));
    let at = |created_at| announcement(1, "x", created_at, false, &[]);
    assert_eq!(pipeline.judge(&at(NOW + 900)), Verdict::Accept(Why::Archive));
    let time = Dependency::Time(Timestamp::from_secs(NOW + 1));
    assert_eq!(pipeline.judge(&at(NOW + 901)), reject(RejectReason::Future, &[time]));
    let time = Dependency::Time(Timestamp::from_secs(u64::MAX - 900));
    assert_eq!(pipeline.judge(&at(u64::MAX)), reject(RejectReason::Future, &[time]));
}

#[test]
fn blocks_count_more_than_modes_and_filters() {
    let mut config = config(&[], &["all"]);
    let npub = |n: u8| key(n).to_bech32().expect("an npub");
    config.accept.block = vec![npub(1), format!("{}/x", npub(2)), repo(3, "a:b")];
    config.accept.filters = vec![nostr::filter::Filter::new()];
    let pipeline = Pipeline::new(&config);
    let author = reject(RejectReason::BlockedAuthor, &[]);
    let blocked = reject(RejectReason::BlockedRepository, &[]);
    assert_eq!(pipeline.judge(&event(1, 1, 1, &[])), author);
    assert_eq!(pipeline.judge(&announcement(2, "x", 1, false, &[])), blocked);
    assert_eq!(pipeline.judge(&event(2, 30618, 1, &[&["d", "x"]])), blocked);
    assert_eq!(pipeline.judge(&announcement(3, "a:b", 1, false, &[])), blocked);
    let other = announcement(2, "y", 1, false, &[]);
    assert_eq!(pipeline.judge(&other), Verdict::Accept(Why::Archive));
    assert_eq!(pipeline.judge(&event(4, 1, 1, &[])), Verdict::Accept(Why::Filter));
    assert_eq!(pipeline.judge(&event(4, 20_001, 1, &[])), reject(RejectReason::Ephemeral, &[]));
}

#[test]
fn mirrored_events_make_nothing_else_acceptable() {
    let mut config = config(&[SERVICE], &[]);
    config.accept.filters = vec![nostr::filter::Filter::new().author(key(9))];
    let mut pipeline = Pipeline::new(&config);
    let mirrored = [announcement(9, "x", 1, false, &[]), event(9, 1621, 1, &[&["n", "1"]])];
    for event in mirrored.clone() {
        assert_eq!(pipeline.judge(&event), Verdict::Accept(Why::Filter));
        pipeline.take(event);
    }
    assert_eq!(pipeline.wants, crate::model::Wants::default());
    for tag in [["a", &repo(9, "x")], ["e", &mirrored[1].id.to_hex()]] {
        assert!(matches!(pipeline.judge(&event(1, 7, 1, &[&tag])), Verdict::Reject { .. }));
    }
}

#[test]
fn bad_configuration_is_named() {
    let domain = config(&["a b"], &[]);
    let archive = |text: &str| config(&[], &[text]);
    let mut block = config(&[], &[]);
    block.accept.block = vec!["nobody".into()];
    let error = |config: &Config| Policy::new(config).expect_err("refused");
    assert_eq!(error(&domain), PolicyError::Domain("a b".into()));
    for text in ["npub1nonsense", "grasp:", "a/b", ""] {
        assert_eq!(error(&archive(text)), PolicyError::Archive(text.into()));
    }
    assert_eq!(error(&block), PolicyError::Block("nobody".into()));
}

#[test]
fn the_revision_names_the_rules_and_not_their_order() {
    let revision = |config: &Config| Policy::new(config).expect("sound").revision();
    let base = revision(&config(&["a.example", "b.example"], &[]));
    assert_eq!(base, revision(&config(&["b.example", "a.example", "b.example"], &[])));
    assert_ne!(base, revision(&config(&["a.example"], &[])));
    assert_ne!(base, revision(&config(&["a.example"], &["b.example"])));
    let mut other = config(&["a.example", "b.example"], &[]);
    other.sync.thread_depth = 3;
    assert_eq!(base, revision(&other));
}

#[test]
fn an_author_adds_64_hosts_a_day() {
    let mut pipeline = Pipeline::new(&config(&[], &["all"]));
    let day = |n: u64| Some(Timestamp::from_secs(n * 86_400 + 5));
    let mut admitted = |author: u8, first: u32, now| {
        let mut relays = vec!["relays".to_owned()];
        relays.extend((first..first + 16).map(|n| format!("wss://h{n}.example")));
        let relays: Vec<&str> = relays.iter().map(String::as_str).collect();
        let identifier = format!("{author}-{first}");
        let event = event(author, 30617, 1, &[&["d", &identifier], &relays]);
        let facts = pipeline.policy.apply(&event, now).facts;
        facts.iter().find_map(|fact| match fact {
            Fact::Repo { relays, .. } => Some(relays.len()),
            _ => None,
        })
    };
    for n in 0..4 {
        assert_eq!(admitted(1, n * 16, day(1)), Some(16));
    }
    assert_eq!(admitted(1, 100, day(1)), Some(0));
    assert_eq!(admitted(1, 8, day(1)), Some(16), "known hosts are not new");
    assert_eq!(admitted(2, 100, day(1)), Some(16));
    assert_eq!(admitted(1, 200, day(2)), Some(16));
    assert_eq!(admitted(1, 300, None), Some(16));
    assert_eq!(pipeline.policy.counts().hosts_refused, 16);
}

#[test]
fn a_root_below_a_thread_has_the_repositories_of_the_threads_root() {
    let (one, two) = (repo(1, "x"), repo(1, "y"));
    let issue = event(2, 1621, 1, &[&["a", &one], &["a", &two]]);
    let first = event(3, 1111, 1, &[&["e", &issue.id.to_hex()], &["a", &one]]);
    let second = event(3, 1111, 2, &[&["e", &first.id.to_hex()]]);
    let patch = event(3, 1617, 1, &[&["e", &second.id.to_hex()]]);
    let mut events = vec![announcement(1, "x", 1, true, &[])];
    events.extend([issue, first, second, patch.clone()]);
    let mut pipeline = fed(&config(&[SERVICE], &[]), &events);
    assert_eq!(pipeline.wants.roots[&patch.id].len(), 1);
    pipeline.take(announcement(1, "y", 1, true, &[]));
    assert_eq!(pipeline.wants.roots[&patch.id].len(), 2);
}
