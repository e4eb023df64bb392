//! The status page: what it says without a script, and in a browser.

#[path = "http/bench.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by test binaries")]
mod bench;
#[path = "http/browser.rs"]
#[allow(unreachable_pub, reason = "a module of this test")]
mod browser;

use bench::Bench;
use browser::Browser;
use sync_core::event::{BatchResult, Event, PassResult, Trigger};
use sync_core::id::{BatchId, RelayId, RowId};
use sync_core::input::{DialError, DialErrorKind};
use sync_core::item::{GapReason, Layer, Range, RelayText};
use sync_core::ledger::Method;
use sync_core::status::{HealthStatus, Reason, RelayStatus};
use sync_core::url::RelayUrl;
use sync_runtime::observe::{Outcome, Received, Sampled, Sent};

const HOSTILE: &str = "<script>document.title='owned'</script><img src=x onerror=alert(1)>";

fn emit(bench: &Bench, event: Event) {
    bench.daemon.registry.on_event(&event, bench.daemon.registry.now());
}

fn track(bench: &Bench, n: u32, name: &str) -> RelayId {
    let relay = RelayId(n);
    let url = RelayUrl::parse(&format!("wss://{name}/")).expect("a relay");
    emit(bench, Event::RelayTracked { relay, url, bootstrap: false });
    relay
}

fn to(bench: &Bench, relay: RelayId, path: &[RelayStatus]) {
    let mut from = RelayStatus::Disconnected;
    for status in path {
        let reason = Reason::ConnectOk;
        emit(bench, Event::StatusChanged { relay, from, to: *status, reason });
        from = *status;
    }
}

/// A relay of each state.
fn fill(bench: &Bench) {
    use RelayStatus::{Connected, ConnectedDegraded, Connecting, Syncing};
    let registry = &bench.daemon.registry;
    let relay = track(bench, 1, "relay.b.example");
    to(bench, relay, &[Connecting, Syncing]);
    emit(bench, Event::PassStarted { relay, trigger: Trigger::Startup });
    for n in 0..4 {
        let (batch, layer, method) = (BatchId(n), Layer::Two, Method::Negentropy);
        emit(bench, Event::BatchStarted { relay, batch, layer, method, items: 9, pass: true });
    }
    let (batch, layer, method, result) =
        (BatchId(0), Layer::Two, Method::Negentropy, BatchResult::Ok);
    let ended = Event::BatchEnded { relay, batch, layer, method, result, received: 9, took_ms: 40 };
    emit(bench, ended);
    let relay = track(bench, 2, "relay.c.example");
    to(bench, relay, &[Connecting, Syncing, ConnectedDegraded]);
    let range = Range::up_to(1_700_000_000.into());
    let (row, reason, detail) = (RowId(1), GapReason::Refused, RelayText::new(HOSTILE));
    emit(bench, Event::GapOpened { relay, row, items: 3, range, reason, detail });
    let (from, health) = (HealthStatus::Disconnected, HealthStatus::Degraded);
    emit(bench, Event::HealthChanged { relay, from, to: health, reason: Reason::ConnectOk });
    let relay = track(bench, 3, "relay.d.example");
    let error = DialError { kind: DialErrorKind::Certificate, detail: RelayText::new(HOSTILE) };
    let (result, retry_in_ms) = (Err(error), Some(75_630_000));
    emit(bench, Event::DialEnded { relay, result, failures: 31, retry_in_ms });
    let (from, health) = (HealthStatus::Disconnected, HealthStatus::Dead);
    emit(bench, Event::HealthChanged { relay, from, to: health, reason: Reason::DeadThreshold });
    let relay = RelayId(0);
    to(bench, relay, &[Connecting, Syncing, Connected]);
    let (trigger, result) = (Trigger::Startup, PassResult::Ok);
    emit(bench, Event::PassEnded { relay, trigger, result, took_ms: 8400 });
    let (from, health) = (HealthStatus::Disconnected, HealthStatus::Healthy);
    emit(bench, Event::HealthChanged { relay, from, to: health, reason: Reason::ConnectOk });
    let obs = registry.relay(relay).expect("tracked");
    obs.sent(Sent::Req, 220_000);
    obs.received(Received::Event, 98_100_000, registry.now());
    obs.round_trip(std::time::Duration::from_millis(41));
    for _ in 0..1234 {
        registry.outcome(Some(&obs), Some(1617), Outcome::Stored);
    }
    registry.sample(Sampled {
        store_kinds: Some(vec![(1617, 105_432)]),
        store_size_bytes: Some(312_400_000),
        repositories: Some(214),
        roots: Some(1932),
        ..Sampled::default()
    });
}

#[tokio::test]
async fn the_page_says_everything_without_a_script() {
    let bench = Bench::new().await;
    fill(&bench);
    let page = bench.get("/").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    for text in [
        r#"<th scope="row" title="wss://relay.a.example/">relay.a.example</th>"#,
        "● connected</td>",
        "◐ syncing</td>",
        "! connected, partial history</td>",
        r#"<td class="bad">dead</td>"#,
        r#"<td class="n">1,234</td>"#,
        r#"<td class="n">98 MB</td>"#,
        r#"<td class="n">41 ms</td>"#,
        r#"<b id="t-stored">105,432</b>"#,
        "retry in 21 h 0 min",
        "gaps on 1 relay",
        "E107 certificate not accepted: &lt;script&gt;",
    ] {
        assert!(page.body.contains(text), "{text} is not in\n{}", page.body);
    }
    assert!(!page.body.contains("<script>document.title"));
    let scripts = page.body.matches("<script").count();
    assert_eq!(scripts, 1, "only its own");
}

#[tokio::test]
async fn the_page_is_small_and_asks_nobody_else() {
    let bench = Bench::new().await;
    let page = bench.get("/").await;
    assert!(page.body.len() < 60_000, "{} bytes", page.body.len());
    assert!(
        page.body.contains("No relay is known yet.") && page.body.contains("id=\"none\" hidden")
    );
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with(
            "default-src 'none'; connect-src 'self'; img-src data:; style-src 'sha256-"
        )
    );
    assert!(!policy.contains("unsafe"));
    let links = page.body.split("http").skip(1).filter(|rest| rest.starts_with("://"));
    // The name space of the icon is no address.
    assert!(links.into_iter().all(|rest| rest.starts_with("://www.w3.org/2000/svg")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_shows_what_happens_as_it_happens() {
    let Some(mut browser) = Browser::start().await else { return };
    let bench = Bench::new().await;
    fill(&bench);
    let url = format!("http://{}/", bench.host);
    browser.open(&url).await;
    browser.wait_for("document.querySelector('#link').textContent === '● live'").await;
    browser.wait_for("document.querySelectorAll('#relays > tr').length === 4").await;
    browser.wait_for("document.querySelector('#relays progress')?.value === 1").await;
    let first = "document.querySelector('#relays button').textContent";
    assert_eq!(browser.evaluate(first).await, "relay.d.example", "trouble is first");
    let begun = std::time::Instant::now();
    let (from, status) = (RelayStatus::Connected, RelayStatus::Disconnected);
    let reason = Reason::PingTimeout;
    emit(&bench, Event::StatusChanged { relay: RelayId(0), from, to: status, reason });
    let entry = "document.querySelector('#feed li').textContent.includes('ping timeout')";
    browser.wait_for(entry).await;
    let row = "[...document.querySelectorAll('#relays tr')].some(tr => \
        tr.textContent.includes('relay.a') && tr.textContent.includes('✗ disconnected'))";
    browser.wait_for(row).await;
    assert!(begun.elapsed().as_millis() < 2500, "{:?}", begun.elapsed());
    browser.evaluate("document.querySelectorAll('#relays button')[2].click()").await;
    browser
        .wait_for(
            "document.querySelector('tr.detail')?.textContent.includes('nobody listens') ?? false",
        )
        .await;
    browser.picture("status-page.png").await;
    let title = browser.evaluate("document.title").await;
    assert_eq!(title, "ngit-sync", "text of relays is text");
    assert_eq!(browser.evaluate("document.querySelectorAll('img, script[src]').length").await, 0);
    let foreign: Vec<_> = browser
        .requests
        .iter()
        .filter(|r| !r.starts_with(&url) && !r.starts_with("data:"))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_survives_a_restart_and_two_hundred_relays() {
    let Some(mut browser) = Browser::start().await else { return };
    let mut bench = Bench::new().await;
    for n in 1..200 {
        track(&bench, n, &format!("relay{n}.example"));
    }
    browser.open(&format!("http://{}/", bench.host)).await;
    browser.wait_for("document.querySelectorAll('#relays > tr').length === 200").await;
    browser.wait_for("document.querySelector('#link').textContent === '● live'").await;
    bench.end().await;
    browser.wait_for("!document.querySelector('#stale').hidden").await;
    let listen = bench.host.parse().expect("an address");
    let again = Bench::with(true, |options| options.listen = Some(listen)).await;
    browser.wait_for("document.querySelector('#stale').hidden").await;
    browser.wait_for("document.querySelectorAll('#relays > tr').length === 1").await;
    to(&again, RelayId(0), &[RelayStatus::Connecting]);
    let entries = "document.querySelectorAll('#feed li').length === 1";
    browser.wait_for(entries).await;
}
