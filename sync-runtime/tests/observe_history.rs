//! History on a clock that only the test moves: windows are exact, over restarts and roll-ups, and
//! say what they cover.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sync_core::command::Source;
use sync_core::event::Event;
use sync_core::id::RelayId;
use sync_core::status::{Reason, RelayStatus};
use sync_core::url::RelayUrl;
use sync_runtime::api::WallMs;
use sync_runtime::observe::history::{Delta, History, HistoryError, Keep};
use sync_runtime::observe::{ApplyStage, Build, Registry};
use tempfile::TempDir;

const A: RelayId = RelayId(0);
/// A full hour.
const START: u64 = 1_794_999_600_000;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// A file, a clock, and one process after another.
struct Bench {
    dir: TempDir,
    clock: Arc<AtomicU64>,
    keep: Keep,
}

struct Process {
    registry: Registry,
    history: History,
}

impl Bench {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        Self { dir, clock: Arc::new(AtomicU64::new(START)), keep: Keep::default() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("history.sqlite")
    }

    fn now(&self) -> WallMs {
        WallMs(self.clock.load(Relaxed))
    }

    fn boot(&self) -> Process {
        let clock = self.clock.clone();
        let build = Build { version: "0.1.0", commit: "unknown" };
        let registry = Registry::new(build, Arc::new(move || WallMs(clock.load(Relaxed))));
        let url = RelayUrl::parse("wss://relay.a.example/").expect("a relay");
        registry.on_event(&Event::RelayTracked { relay: A, url, bootstrap: true }, self.now());
        let history = History::open(&self.path(), registry.clone(), self.keep).expect("it opens");
        Process { registry, history }
    }

    /// Lets minutes pass in which one event each is stored, and flushes at each full minute.
    fn run(&self, process: &mut Process, minutes: u64) {
        for _ in 0..minutes {
            self.clock.fetch_add(MINUTE / 2, Relaxed);
            process.store(1);
            self.clock.fetch_add(MINUTE / 2, Relaxed);
            process.history.flush(self.now()).expect("it is written");
        }
    }

    fn stored(&self, process: &Process, since: u64) -> f64 {
        let window = process.history.window(WallMs(since), self.now()).expect("it is read");
        window.count("ngit_sync_events_synced_total", |_| true)
    }
}

impl Process {
    fn store(&self, events: u32) {
        let relay = self.registry.relay(A).expect("it is tracked");
        for _ in 0..events {
            let at = self.registry.now();
            self.registry.stored(Some(&relay), 1617, Source::Live, at);
        }
    }
}

#[test]
fn a_window_counts_what_changed_in_it_and_what_is_not_flushed_yet() {
    let bench = Bench::new();
    let mut process = bench.boot();
    bench.run(&mut process, 90);
    bench.clock.fetch_add(10_000, Relaxed);
    process.store(3);
    let now = bench.now().0;
    assert_eq!(bench.stored(&process, now - HOUR), 63.0, "rows count from their beginning");
    let window = process.history.window(WallMs(now - HOUR), bench.now()).expect("it is read");
    assert_eq!(window.resolution, Duration::from_secs(60));
    assert_eq!(window.since, WallMs(START + 30 * MINUTE));
    assert_eq!((window.coverage(), window.gaps.len()), (1.0, 0));
    let patches = window.count("ngit_sync_kind_events_total", |labels| labels[0] == "1617");
    assert_eq!(patches, 63.0);
    let until = WallMs(START + 10 * MINUTE);
    let window = process.history.window(WallMs(START), until).expect("it is read");
    assert_eq!(window.count("ngit_sync_events_synced_total", |_| true), 10.0);
}

#[test]
fn a_window_over_a_restart_is_exact_and_names_the_time_without_a_daemon() {
    let bench = Bench::new();
    let mut first = bench.boot();
    bench.run(&mut first, 38);
    bench.clock.fetch_add(20_000, Relaxed);
    first.store(5);
    first.history.flush(bench.now()).expect("the last flush");
    drop(first);
    bench.clock.fetch_add(MINUTE + 40_000, Relaxed);
    let mut second = bench.boot();
    bench.run(&mut second, 20);
    let window = second.history.window(WallMs(START), bench.now()).expect("it is read");
    assert_eq!(window.count("ngit_sync_events_synced_total", |_| true), 63.0);
    let down = (WallMs(START + 38 * MINUTE + 20_000), WallMs(START + 40 * MINUTE));
    assert_eq!(window.gaps, [down]);
    assert_eq!(window.coverage(), 1.0 - 100.0 / 3600.0);
    let before = second.history.window(WallMs(START - HOUR), bench.now()).expect("it is read");
    assert_eq!(before.gaps[0], (WallMs(START - HOUR), WallMs(START)), "before there was a daemon");
}

#[test]
fn a_process_that_ends_and_one_that_begins_within_a_minute_share_its_row() {
    let bench = Bench::new();
    let mut first = bench.boot();
    bench.clock.fetch_add(10_000, Relaxed);
    first.store(2);
    first.history.flush(bench.now()).expect("the last flush");
    drop(first);
    bench.clock.fetch_add(5_000, Relaxed);
    let mut second = bench.boot();
    bench.clock.fetch_add(45_000, Relaxed);
    second.store(4);
    second.history.flush(bench.now()).expect("it is written");
    assert_eq!(bench.stored(&second, START), 6.0);
}

#[test]
fn old_minutes_become_quarters_and_hours_and_nothing_is_lost_or_counted_twice() {
    let mut bench = Bench::new();
    bench.keep.minutes = Duration::from_secs(2 * 3600);
    bench.keep.quarters = Duration::from_secs(6 * 3600);
    let mut process = bench.boot();
    bench.run(&mut process, 10 * 60 + 7);
    for (hours, resolution) in [(1, 60), (4, 900), (9, 3600)] {
        let since = START + (10 - hours) * HOUR;
        let window = process.history.window(WallMs(since), bench.now()).expect("it is read");
        let events = window.count("ngit_sync_events_synced_total", |_| true);
        assert_eq!(events, (hours * 60 + 7) as f64, "{hours} hours");
        assert_eq!(window.resolution, Duration::from_secs(resolution), "{hours} hours");
    }
    let db = rusqlite::Connection::open(bench.path()).expect("it opens");
    let oldest = |res: u64| -> u64 {
        let sql = "SELECT min(t) FROM rollup WHERE res = ?1";
        db.query_row(sql, [res.cast_signed()], |row| row.get::<_, i64>(0)).expect("rows") as u64
    };
    assert!(oldest(60) >= START / 1000 + 7 * 3600, "minutes are dropped hourly");
    assert!(oldest(900) >= START / 1000 + 3 * 3600);
    assert_eq!(oldest(3600), START / 1000);
}

#[test]
fn time_in_a_state_is_cut_at_the_window() {
    let bench = Bench::new();
    let mut process = bench.boot();
    let to = |process: &Process, from, to| {
        let event = Event::StatusChanged { relay: A, from, to, reason: Reason::ConnectOk };
        process.registry.on_event(&event, bench.now());
    };
    bench.run(&mut process, 2);
    to(&process, RelayStatus::Disconnected, RelayStatus::Connected);
    bench.run(&mut process, 10);
    let window = process.history.window(WallMs(START + MINUTE), bench.now()).expect("it is read");
    let family = "ngit_sync_relay_state_seconds_total";
    assert_eq!(window.count(family, |labels| labels[1] == "disconnected"), 60.0);
    assert_eq!(window.count(family, |labels| labels[1] == "connected"), 600.0);
}

#[test]
fn quantiles_and_gauges_are_those_of_the_window() {
    let bench = Bench::new();
    let mut process = bench.boot();
    process.registry.apply_stage(ApplyStage::Total, Duration::from_secs(30));
    bench.run(&mut process, 1);
    for ms in [1, 2, 4] {
        process.registry.apply_stage(ApplyStage::Total, Duration::from_millis(ms));
    }
    bench.run(&mut process, 1);
    let window = process.history.window(WallMs(START + MINUTE), bench.now()).expect("it is read");
    let (labels, delta) = window.of("ngit_sync_apply_duration_seconds").next().expect("one");
    let Delta::Histogram(copy) = delta else { panic!("{delta:?}") };
    assert_eq!((labels[0].as_str(), copy.count, copy.sum), ("total", 3, 7000));
    assert!(copy.quantile(99, 100).is_some_and(|us| (4000..=4250).contains(&us)), "{copy:?}");
    let unchanged = window.of("ngit_sync_relays_tracked_total").next();
    assert_eq!(unchanged, None, "what did not change is not written");
}

#[test]
fn the_journal_outlives_the_process() {
    let bench = Bench::new();
    let mut first = bench.boot();
    first.history.flush_journal().expect("it is written");
    drop(first);
    bench.clock.fetch_add(MINUTE, Relaxed);
    let mut second = bench.boot();
    let all = |_: &sync_runtime::api::Entry| true;
    let (entries, more) = second.history.journal(WallMs(0), bench.now(), 10, all).expect("read");
    let kinds: Vec<_> = entries.iter().map(|entry| entry.what.kind()).collect();
    assert_eq!((kinds, more), (vec!["boot", "tracked", "boot", "tracked"], false));
    let boots = |entry: &sync_runtime::api::Entry| entry.what.kind() == "boot";
    let (entries, more) = second.history.journal(WallMs(0), bench.now(), 1, boots).expect("read");
    assert_eq!((entries[0].at_ms, more), (bench.now(), true));
}

#[test]
fn the_file_stays_below_its_limit_and_the_oldest_goes_first() {
    let mut bench = Bench::new();
    bench.keep.bytes = 96 * 1024;
    let mut process = bench.boot();
    bench.run(&mut process, 24 * 60);
    assert!(process.history.size().expect("it is read") <= 120 * 1024);
    assert_eq!(bench.stored(&process, bench.now().0 - HOUR), 60.0, "the newest is kept");
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let bench = Bench::new();
    drop(bench.boot());
    let db = rusqlite::Connection::open(bench.path()).expect("it opens");
    db.pragma_update(None, "user_version", 2).expect("it is written");
    let registry = Registry::system(Build { version: "0.1.0", commit: "unknown" });
    let error = History::open(&bench.path(), registry, bench.keep).expect_err("it is newer");
    assert!(matches!(error, HistoryError::Newer(2)));
}
