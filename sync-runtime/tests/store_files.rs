//! The store's files: lock, format, growth, a full disk, readers beside a writer, SIGKILL.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod store_support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use heed::types::Bytes;
use nostr::event::{Event, EventId, Kind};
use nostr::filter::Filter;
use sync_runtime::store::{Commit, EventStore, Outcome, Store, StoreError, StoreOptions};

use store_support::*;

const DIR: &str = "STORE_TEST_DIR";
const CONFIRMED: &str = "confirmed ";

/// Event `n` of a writing child: every third is a version of one address.
fn nth(n: u64) -> Arc<Event> {
    let content = "x".repeat(500);
    match n % 3 {
        0 => event_with(1, 30_617, n, &[&["d", "repo"]], &content),
        _ => event_with(2, 1621, n, &[&["a", "30617:x:y"]], &content),
    }
}

fn small(map_size_max: u64) -> StoreOptions {
    StoreOptions { map_size: 1 << 20, map_size_max, ..StoreOptions::default() }
}

/// Not a test: the process that other tests start. Commits five events for every line it reads,
/// `endless` without, and tells what is durable.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let endless = std::env::var_os("STORE_TEST_ENDLESS").is_some();
    let store = Store::open(Path::new(&dir), small(1 << 40)).unwrap();
    let mut n = store.stats().unwrap().events + store.stats().unwrap().tombstones;
    let mut lines = std::io::stdin().lines();
    while endless || lines.next().is_some() {
        let events: Vec<_> = (n..n + 5).map(nth).collect();
        n += 5;
        match store.commit(&batch(&events)) {
            Ok(report) => assert!(!report.outcomes.contains(&Outcome::Duplicate)),
            Err(StoreError::Full { cause }) => {
                println!("\nfull {cause}");
                return;
            }
            Err(error) => panic!("{error}"),
        }
        let ids: Vec<_> = events.iter().map(|event| event.id.to_hex()).collect();
        println!("\n{CONFIRMED}{}", ids.join(" "));
    }
}

/// Starts [`child`] on a directory.
fn start(dir: &Path, endless: bool, limit: Option<&str>) -> Child {
    let this = std::env::current_exe().unwrap();
    let mut command = match limit {
        Some(limit) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("trap '' XFSZ; {limit}; exec \"$0\" \"$@\"")]).arg(this);
            shell
        }
        None => Command::new(this),
    };
    command.args(["--exact", "child", "--nocapture"]).env(DIR, dir);
    if endless {
        command.env("STORE_TEST_ENDLESS", "1");
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// The ids of the next confirmed commit; `None` when the child said something else that matters.
fn confirmed(from: &mut impl BufRead) -> Option<Vec<EventId>> {
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).unwrap() == 0 || line.starts_with("full ") {
            return None;
        }
        if let Some(ids) = line.strip_prefix(CONFIRMED) {
            return Some(ids.split_whitespace().map(|id| EventId::from_hex(id).unwrap()).collect());
        }
    }
}

/// Every id is known, and every index tells the same.
fn check(store: &Store, confirmed: &[EventId]) {
    let known = store.has(confirmed).unwrap();
    assert!(!known.contains(&sync_runtime::store::Known::No));
    let all = have(store, &Filter::new());
    assert!(confirmed.iter().all(|id| all.iter().any(|(_, known)| known == id)));
    let by_kinds: BTreeSet<_> = stored(store);
    let authors = Filter::new().authors([key(1), key(2)]);
    let by_authors: BTreeSet<_> = query(store, &authors).into_iter().collect();
    assert_eq!(by_kinds, by_authors);
    assert_eq!(store.stats().unwrap().events, by_kinds.len() as u64);
    let tagged = Filter::new().custom_tag(nostr::filter::SingleLetterTag::LOWERCASE_A, "30617:x:y");
    let issues = Filter::new().kind(Kind::from_u16(1621));
    assert_eq!(query(store, &tagged), query(store, &issues));
    assert_eq!(query(store, &Filter::new().author(key(1))).len(), 1);
}

#[test]
fn what_was_confirmed_survives_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for commits in [1, 7, 20, 3] {
        let mut child = start(dir.path(), true, None);
        let mut out = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..commits {
            all.extend(confirmed(&mut out).unwrap());
        }
        child.kill().unwrap();
        while let Some(ids) = confirmed(&mut out) {
            all.extend(ids);
        }
        child.wait().unwrap();
        check(&open(dir.path()), &all);
    }
}

#[test]
fn a_full_disk_is_told_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // 2 MiB in blocks of 512 bytes.
    let mut child = start(dir.path(), true, Some("ulimit -f 4096"));
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let all: Vec<_> = std::iter::from_fn(|| confirmed(&mut out)).flatten().collect();
    assert!(child.wait().unwrap().success());
    assert!(all.len() > 100, "{}", all.len());
    let store = open(dir.path());
    check(&store, &all);
    assert_eq!(save(&store, [&event(2, 1621, 1, &[&["a", "30617:x:y"]])]), [Outcome::Stored]);
}

#[test]
fn a_second_writer_is_refused_and_readers_follow_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = start(dir.path(), false, None);
    let (mut to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut from = BufReader::new(from);
    writeln!(to).unwrap();
    let mut all = confirmed(&mut from).unwrap();

    match Store::open(dir.path(), small(1 << 30)) {
        Err(error @ StoreError::Locked { .. }) => {
            assert!(error.to_string().contains(&format!("process {};", child.id())), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let reader = Store::open_read_only(dir.path()).unwrap();
    check(&reader, &all);
    assert!(matches!(reader.commit(&Commit::default()), Err(StoreError::ReadOnly)));
    // Far above the map of 1 MiB that both began with.
    let map = reader.stats().unwrap().map;
    for _ in 0..500 {
        writeln!(to).unwrap();
        all.extend(confirmed(&mut from).unwrap());
    }
    check(&reader, &all);
    assert!(reader.stats().unwrap().map > map);
    drop(to);
    assert!(child.wait().unwrap().success());
    drop(reader);
    check(&open(dir.path()), &all);
}

#[test]
fn this_process_opens_a_store_once() {
    let (dir, store) = fresh();
    let own = std::process::id().to_string();
    match Store::open(dir.path(), StoreOptions::default()) {
        Err(StoreError::Locked { holder, .. }) => assert_eq!(holder, own),
        other => panic!("{other:?}"),
    }
    let twice = Store::open_read_only(dir.path());
    assert!(matches!(twice, Err(StoreError::AlreadyOpen { .. })));
    drop(store);
    open(dir.path());
}

#[test]
fn there_is_nothing_to_read_before_the_first_opening() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Store::open_read_only(dir.path());
    assert!(matches!(missing, Err(StoreError::Missing { .. })));
    let missing = Store::open_read_only(&dir.path().join("none"));
    assert!(matches!(missing, Err(StoreError::Missing { .. })));
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let (dir, store) = fresh();
    save(&store, [&event(1, 1, 1, &[])]);
    drop(store);
    let mut options = heed::EnvOpenOptions::new();
    // SAFETY: nobody else has the environment of this test's own directory.
    let env = unsafe { options.max_dbs(1).open(dir.path()) }.unwrap();
    let mut txn = env.write_txn().unwrap();
    let meta = env.create_database::<Bytes, Bytes>(&mut txn, Some("meta")).unwrap();
    meta.put(&mut txn, b"format", &9u32.to_be_bytes()).unwrap();
    txn.commit().unwrap();
    env.prepare_for_closing().wait();
    for result in
        [Store::open(dir.path(), StoreOptions::default()), Store::open_read_only(dir.path())]
    {
        match result {
            Err(error @ StoreError::NewerFormat { found: 9, supported: 1 }) => assert_eq!(
                error.to_string(),
                "the store has format 9, this program reads up to 1; \
                 use a newer ngit-sync, or another data directory"
            ),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_map_grows_by_itself_up_to_its_maximum() {
    let dir = in_memory();
    let store = Store::open(dir.path(), small(80 << 20)).unwrap();
    let events = |from: u64| -> Vec<_> {
        (from..from + 2000).map(|n| event_with(3, 1, n, &[], &"x".repeat(5000))).collect()
    };
    let mut count = 0;
    let full = loop {
        match store.commit(&batch(&events(count))) {
            Ok(report) => assert_eq!(report.outcomes, vec![Outcome::Stored; 2000]),
            Err(error) => break error,
        }
        count += 2000;
    };
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    assert_eq!(store.stats().unwrap().map, 80 << 20);
    assert!(count >= 8000, "{count}");
    assert_eq!(store.stats().unwrap().events, count);
    drop(store);
    let store = Store::open(dir.path(), small(200 << 20)).unwrap();
    save(&store, &events(count));
    assert_eq!(store.stats().unwrap().events, count + 2000);
}

#[test]
fn the_map_grows_while_others_read() {
    let dir = in_memory();
    let store = Store::open(dir.path(), small(1 << 40)).unwrap();
    let events: Vec<_> = (0..50).map(|n| event_with(3, 1, n, &[], &"x".repeat(50_000))).collect();
    save(&store, &events[..1]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let seen = query(&store, &Filter::new()).len();
                let nested = &mut |_: sync_runtime::store::Found<'_>| {
                    assert!(store.count(&Filter::new()).unwrap() as usize >= seen);
                    ControlFlow::Break(())
                };
                store.query(&Filter::new(), nested).unwrap();
            }
        };
        let readers = [(); 3].map(|()| scope.spawn(reading));
        for event in &events[1..] {
            assert_eq!(save(&store, [event]), [Outcome::Stored]);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert!(store.stats().unwrap().map > 2 << 20);
}

#[test]
fn a_visitor_that_commits_beyond_the_map_is_told_so() {
    let dir = in_memory();
    let store = Store::open(dir.path(), small(1 << 40)).unwrap();
    save(&store, [&event(1, 1, 1, &[])]);
    let big = event_with(1, 1, 2, &[], &"x".repeat(2 << 20));
    let visit = &mut |_: sync_runtime::store::Found<'_>| {
        assert!(matches!(store.commit(&batch([&big])), Err(StoreError::Nested)));
        ControlFlow::Continue(())
    };
    store.query(&Filter::new(), visit).unwrap();
    assert_eq!(save(&store, [&big]), [Outcome::Stored]);
}
