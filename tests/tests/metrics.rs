//! `/metrics` of a running daemon: what the contract names is there, and moves.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::client::Client;
use common::input::{corpus, issue, lines, wanted};
use common::local_relay::LocalRelay;
use common::program::{PROMPT, Program, until};
use serde_json::Value;
use sync_tests::corpus::Options;

const PATIENCE: Duration = Duration::from_secs(30);

/// The metrics that others rely on, one `name<TAB>type<TAB>labels<TAB>group` a line.
const CATALOGUE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/alerts/metrics.tsv"));

/// Names and types of the group *contract*.
fn contract() -> BTreeMap<&'static str, &'static str> {
    let rows = CATALOGUE.lines().filter(|line| !line.starts_with('#'));
    let rows = rows.map(|line| line.split('\t').collect::<Vec<_>>());
    rows.filter(|row| row[3] == "contract").map(|row| (row[0], row[1])).collect()
}

/// The types that an exposition registers.
fn registered(text: &str) -> BTreeMap<&str, &str> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split_once(' ')).collect()
}

/// The value of a sample; its labels as they are written.
fn value(text: &str, sample: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("values are numbers"))
}

#[tokio::test]
async fn the_contract_is_registered_and_what_a_relay_does_moves_it() {
    let corpus = corpus(Options { events: 400, repositories: 8, ..Options::default() });
    let total = wanted(&corpus).len() as f64;
    let mut relay = LocalRelay::start(lines(&corpus));
    let program = Program::new();
    let url = relay.url();
    let args = ["--no-discovery", "--relay", &url, "--set", "health.backoff_base=200ms"];
    let daemon = program.daemon(&[&args[..], &PROMPT].concat()).await;
    daemon.relay_until("connected", PATIENCE, |relay| relay["connection"] == "connected").await;

    let text = daemon.metrics().await;
    let types = registered(&text);
    assert_eq!(contract().len(), 17);
    for (name, kind) in contract() {
        assert_eq!(types.get(name), Some(&kind), "{name}");
    }
    let of = |text: &str, family: &str| value(text, &format!("{family}{{relay=\"{url}/\"}}"));
    let attempts = |text: &str, result| {
        let labels = format!("{{relay=\"{url}/\",result=\"{result}\"}}");
        value(text, &format!("ngit_sync_connection_attempts_total{labels}"))
    };
    let source =
        |text: &str, source| value(text, &format!("ngit_sync_events_total{{source=\"{source}\"}}"));
    assert_eq!(of(&text, "ngit_sync_relay_connected"), Some(3.0));
    assert_eq!(of(&text, "ngit_sync_relay_status"), Some(1.0));
    assert_eq!(of(&text, "ngit_sync_relay_failures"), Some(0.0));
    assert_eq!(attempts(&text, "success"), Some(1.0));
    assert_eq!(value(&text, "ngit_sync_events_synced_total"), Some(total));
    assert_eq!(source(&text, "startup"), Some(total));
    assert_eq!(source(&text, "live"), Some(0.0));
    assert_eq!(value(&text, "ngit_sync_relays_tracked_total"), Some(1.0));
    assert_eq!(value(&text, "ngit_sync_relays_connected_total"), Some(1.0));
    assert_eq!(value(&text, "ngit_sync_relays_dead_total"), Some(0.0));

    let (id, event) = issue(&corpus, "is this counted?");
    assert_eq!(Client::connect(&url).await.publish([event.as_str()]).await.0, 1);
    until("the live event is stored", PATIENCE, || program.holds(&id)).await;
    let text = daemon.metrics().await;
    assert_eq!(source(&text, "live"), Some(1.0));
    assert_eq!(value(&text, "ngit_sync_events_synced_total"), Some(total + 1.0));

    relay.stop();
    let lost = |relay: &Value| relay["failures"].as_u64() >= Some(2);
    daemon.relay_until("lost", PATIENCE, lost).await;
    let text = daemon.metrics().await;
    assert!(of(&text, "ngit_sync_relay_connected") < Some(2.0));
    assert_eq!(of(&text, "ngit_sync_relay_status"), Some(2.0));
    assert!(of(&text, "ngit_sync_relay_failures") >= Some(2.0));
    assert!(attempts(&text, "failure") >= Some(1.0));
    assert_eq!(value(&text, "ngit_sync_relays_connected_total"), Some(0.0));

    let (id, event) = issue(&corpus, "is this counted after the reconnect?");
    relay.insert([event.as_str()]);
    relay.resume();
    daemon.relay_until("connected", PATIENCE, |relay| relay["connection"] == "connected").await;
    assert!(program.holds(&id).await);
    let text = daemon.metrics().await;
    assert_eq!(source(&text, "reconnect"), Some(1.0));
    assert_eq!(attempts(&text, "success"), Some(2.0));
    // Within its streak until it was stable.
    assert_eq!(of(&text, "ngit_sync_relay_status"), Some(3.0));
}

#[tokio::test]
async fn promtool_finds_the_three_gauges_named_total_and_nothing_else() {
    let corpus = corpus(Options { events: 200, ..Options::default() });
    let relay = LocalRelay::start(lines(&corpus));
    let program = Program::new();
    let url = relay.url();
    let daemon =
        program.daemon(&[&["--no-discovery", "--relay", &url][..], &PROMPT].concat()).await;
    daemon.relay_until("connected", PATIENCE, |relay| relay["connection"] == "connected").await;
    let text = daemon.metrics().await;
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.stdout(Stdio::piped()).spawn() else {
        let missing = "promtool is missing; it is in Debian's package `prometheus`";
        assert!(std::env::var_os("CI").is_none(), "{missing}");
        return eprintln!("skipped: {missing}");
    };
    child.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    let found = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = ["connected", "dead", "tracked"].map(|name| {
        format!(
            "ngit_sync_relays_{name}_total non-counter metrics should not have \"_total\" suffix"
        )
    });
    let findings: BTreeSet<&str> = found.lines().collect();
    assert_eq!(findings, expected.iter().map(String::as_str).collect());
}
