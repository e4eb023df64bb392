//! The status page: one document, rendered here so that it says everything without a script, and
//! kept current by its script from the event stream. It loads nothing and shows text as text.

use std::fmt::Write;
use std::sync::OnceLock;

use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY};
use hyper::{Response, StatusCode};
use sync_core::status::{HealthStatus, RelayStatus};

use super::answer::{Body, bytes};
use crate::api::{DaemonView, Entry, Phase, RelayView, Status, WallMs, What};

const HTML: &str = include_str!("page/page.html");
const CSS: &str = include_str!("page/page.css");
const JS: &str = include_str!("page/page.js");

/// Entries of the journal that the page shows.
pub(super) const ENTRIES_SHOWN: usize = 50;

/// The page of this moment.
pub(super) fn page(
    status: &Status,
    daemon: &DaemonView,
    latest: &[Entry],
    at: WallMs,
) -> Response<Body> {
    let mut response =
        bytes(StatusCode::OK, "text/html; charset=utf-8", html(status, daemon, latest, at));
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy().clone());
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn html(status: &Status, daemon: &DaemonView, latest: &[Entry], at: WallMs) -> String {
    let gaps: u64 = status.relays.iter().map(|relay| relay.gap_count).sum();
    let queued: u64 = status.queues.iter().map(|queue| queue.depth).sum();
    let store = daemon.data_dir.as_ref().map_or_else(String::new, |dir| format!(" · {dir}"));
    let none = if status.relays.is_empty() { "" } else { " hidden" };
    let partial = status.relays.iter().filter(|relay| relay.gap_count > 0).count();
    let gaps_text = match partial {
        0 => "nothing is missing".into(),
        1 => "gaps on 1 relay".into(),
        many => format!("gaps on {many} relays"),
    };
    let fill = |name: &str| -> String {
        match name {
            "css" => CSS.into(),
            "js" => JS.into(),
            "phase" => status.phase.as_str().into(),
            "phase_tone" => phase_tone(status.phase).into(),
            "version" => escape(&daemon.version),
            "uptime" => span(daemon.uptime_s.0),
            "store_dir" => escape(&store),
            "generated_at" => escape(&at.to_string()),
            "connected" => format!("{} / {}", status.counts.connected, status.counts.tracked),
            "relays_text" => "relays connected".into(),
            "stored" => thousands(status.store.events),
            "synced" => thousands(status.events_synced),
            "repos" => thousands(status.repos),
            "roots_text" => format!("repositories · {} roots", thousands(status.roots)),
            "queued" => thousands(queued),
            "gaps" => thousands(gaps),
            "gaps_text" => gaps_text.clone(),
            "rows" => rows(status, at),
            "none_hidden" => none.into(),
            "feed" => latest.iter().rev().map(item).collect(),
            _ => String::new(),
        }
    };
    render(HTML, fill)
}

/// Replaces each `{{name}}` once; what is filled in is not looked at again.
fn render(template: &str, fill: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(64 * 1024);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, tail) = after.split_once("}}").unwrap_or((after, ""));
        out.push_str(before);
        out.push_str(&fill(name));
        rest = tail;
    }
    out.push_str(rest);
    out
}

fn rows(status: &Status, at: WallMs) -> String {
    let mut relays: Vec<&RelayView> = status.relays.iter().collect();
    relays.sort_by_key(|relay| (severity(relay.connection), relay.url.clone()));
    relays.into_iter().map(|relay| row(relay, at)).collect()
}

fn row(relay: &RelayView, at: WallMs) -> String {
    let url = relay.url.as_str();
    let short = url.strip_prefix("wss://").unwrap_or(url).trim_end_matches('/');
    let (glyph, words, tone) = connection(relay.connection);
    let (health, health_tone) = health(relay.health);
    let or_dash = |seconds: Option<f64>| seconds.map_or_else(|| "–".into(), span);
    let seen = relay.last_seen_ms.map_or_else(
        || "never".into(),
        |seen| format!("{} ago", span(at.since(seen).as_secs_f64().max(1.0))),
    );
    let note = match relay.retry_in_s {
        Some(left) if relay.note.is_empty() => format!("retry in {}", span(left.0)),
        Some(left) => format!("retry in {} · {}", span(left.0), relay.note),
        None => relay.note.clone(),
    };
    let mut out = String::new();
    let _ = write!(
        out,
        r#"<tr><th scope="row" title="{}">{}</th><td class="{tone}">{glyph} {words}</td><td class="{health_tone}">{health}</td>"#,
        escape(url),
        escape(short),
    );
    for cell in [
        thousands(relay.events.stored),
        size(relay.bytes_in),
        size(relay.bytes_out),
        or_dash(relay.lag_s.map(|s| s.0)),
        or_dash(relay.rtt_s.map(|s| s.0)),
        seen,
    ] {
        let _ = write!(out, r#"<td class="n">{cell}</td>"#);
    }
    let _ = write!(out, r#"<td class="note">{}</td></tr>"#, escape(&note));
    out
}

fn severity(status: RelayStatus) -> u8 {
    match status {
        RelayStatus::Disconnected => 0,
        RelayStatus::ConnectedDegraded => 1,
        RelayStatus::Connecting | RelayStatus::Syncing => 2,
        RelayStatus::Connected => 3,
    }
}

fn connection(status: RelayStatus) -> (&'static str, &'static str, &'static str) {
    match status {
        RelayStatus::Disconnected => ("✗", "disconnected", "bad"),
        RelayStatus::Connecting => ("◐", "connecting", "work"),
        RelayStatus::Syncing => ("◐", "syncing", "work"),
        RelayStatus::Connected => ("●", "connected", "good"),
        RelayStatus::ConnectedDegraded => ("!", "connected, partial history", "warn"),
    }
}

fn health(status: HealthStatus) -> (&'static str, &'static str) {
    match status {
        HealthStatus::Healthy => ("healthy", "good"),
        HealthStatus::Disconnected => ("disconnected", "soft"),
        HealthStatus::Degraded => ("degraded", "warn"),
        HealthStatus::Dead => ("dead", "bad"),
        HealthStatus::RateLimited => ("rate limited", "warn"),
    }
}

fn phase_tone(phase: Phase) -> &'static str {
    match phase {
        Phase::Live => "good",
        Phase::Starting | Phase::Syncing => "work",
        Phase::Partial => "warn",
        Phase::Offline => "bad",
        Phase::Paused | Phase::Stopping => "soft",
    }
}

fn item(entry: &Entry) -> String {
    let at = entry.at_ms.to_string();
    let who = entry.relay.as_ref().map_or("", |url| url.as_str());
    let who = who.strip_prefix("wss://").unwrap_or(who).trim_end_matches('/');
    let tone = match &entry.what {
        What::Error { .. } => "bad",
        What::Gap { open: true, .. } | What::Alert { firing: true, .. } => "warn",
        _ => "",
    };
    format!(
        r#"<li><time datetime="{at}">{}</time><span class="who">{}</span><span class="{tone}">{}</span></li>"#,
        &at[11..19],
        escape(who),
        escape(&entry.what.to_string()),
    )
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn size(n: u64) -> String {
    let (mut value, mut unit) = (n as f64, 0);
    while value >= 1000.0 && unit < 4 {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 10.0);
    format!("{value:.digits$} {}", ["B", "kB", "MB", "GB", "TB"][unit])
}

fn span(seconds: f64) -> String {
    let s = seconds as u64;
    match s {
        0 => format!("{:.0} ms", seconds * 1000.0),
        1..60 => format!("{s} s"),
        60..3600 => format!("{} min", s / 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// The policy of the page: only this style and this script, named by their hashes.
fn policy() -> &'static HeaderValue {
    static POLICY: OnceLock<HeaderValue> = OnceLock::new();
    POLICY.get_or_init(|| {
        let text = format!(
            "default-src 'none'; connect-src 'self'; img-src data:; style-src 'sha256-{}'; \
             script-src 'sha256-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            sha256(CSS),
            sha256(JS),
        );
        HeaderValue::from_str(&text).expect("base64 and ASCII")
    })
}

/// SHA-256 in base64, by the provider that TLS uses anyway.
fn sha256(text: &str) -> String {
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let suite = suite.tls13().expect("it is a suite of TLS 1.3");
    base64(suite.common.hash_provider.hash(text.as_bytes()).as_ref())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group = (0..3).fold(0, |group, at| {
            group << 8 | u32::from(chunk.get(at).copied().unwrap_or_default())
        });
        for at in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * at)) as usize & 63];
            out.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_standard() {
        assert_eq!(base64(b"a"), "YQ==");
        assert_eq!(base64(b"ab"), "YWI=");
        assert_eq!(sha256("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 999, 1500, 98_100_000].map(size), ["0 B", "999 B", "1.5 kB", "98 MB"]);
        let spans = [0.041, 7.9, 150.0, 9_000.0, 273_600.0].map(span);
        assert_eq!(spans, ["41 ms", "7 s", "2 min", "2 h 30 min", "3 d 4 h"]);
    }

    #[test]
    fn what_is_filled_in_is_not_filled_in_again() {
        let out = render("<b>{{a}}</b>{{b}}", |name| format!("{{{{{name}}}}}!"));
        assert_eq!(out, "<b>{{a}}!</b>{{b}}!");
        assert_eq!(escape("<b a='\"'>&\u{1b}[0m"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;[0m");
    }
}
