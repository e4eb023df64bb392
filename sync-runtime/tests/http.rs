//! The HTTP interface over real sockets: what each door answers, and what it refuses.

#[path = "http/bench.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by test binaries")]
mod bench;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bench::{Bench, RELAY, ask};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sync_core::id::RowId;
use sync_core::input::Operator;
use sync_core::url::RelayUrl;
use sync_runtime::api::{Document, ErrorView, Explain, Ready, RelayDetail, Relays, Status};
use sync_runtime::http::{BindError, Options, Server, Token};
use sync_runtime::observe::{Build, Registry};
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixListener, UnixStream};

#[tokio::test]
async fn documents_are_the_same_through_both_doors() {
    let bench = Bench::new().await;
    let reply = bench.get("/v1/status").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.header("x-ngit-sync-api"), "1");
    assert_eq!(reply.header("cache-control"), "no-store");
    let document: Document<Status> = reply.document();
    assert_eq!(document.schema, "ngit-sync/status/1");
    assert_eq!(document.daemon.pid, std::process::id());
    assert!(document.generated_at.ends_with('Z'));
    assert_eq!(document.data.relays[0].url.as_str(), RELAY);
    let reply = bench.control(Method::GET, "/v1/relays", "").await;
    let relays: Document<Relays> = reply.document();
    assert_eq!(relays.data.relays, document.data.relays);
    for path in ["/v1/relays/wss%3A%2F%2Frelay.a.example%2F", "/v1/relays/relay.a.example"] {
        let relay: Document<RelayDetail> = bench.get(path).await.document();
        assert_eq!(relay.data.relay, document.data.relays[0], "{path}");
    }
}

#[tokio::test]
async fn metrics_are_negotiated_and_can_be_turned_off() {
    let bench = Bench::new().await;
    let classic = bench.get("/metrics").await;
    assert_eq!(classic.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(classic.body.contains("# TYPE ngit_sync_events_total counter\n"));
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1";
    let stream = UnixStream::connect(&bench.socket).await.expect("it listens");
    let headers = [("host", "x"), ("accept", accept)];
    let open = ask(stream, Method::GET, "/metrics", &headers, "").await;
    assert!(open.header("content-type").starts_with("application/openmetrics-text"));
    assert!(open.body.ends_with("# EOF\n"));
    let counted = r#"ngit_sync_api_requests_total{route="metrics",code="200"} 1"#;
    assert!(open.body.contains(counted), "requests are counted by route and code");
    let bench = Bench::with(true, |options| options.metrics = false).await;
    assert_eq!(bench.get("/metrics").await.error(), (404, "not_found".into()));
}

#[tokio::test]
async fn readiness_follows_the_daemon_and_health_only_its_answering() {
    let bench = Bench::with(false, |_| {}).await;
    assert_eq!(bench.get("/healthz").await.body, "ok\n");
    let ready = bench.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.document::<Ready>().data.waiting_for, ["the facts of the store"]);
    assert_eq!(Bench::new().await.get("/readyz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn tcp_takes_no_requests_and_no_foreign_host() {
    let bench = Bench::new().await;
    for method in [Method::POST, Method::DELETE, Method::OPTIONS, Method::PUT] {
        let stream = TcpStream::connect(&bench.host).await.expect("it listens");
        let reply = ask(stream, method, "/v1/stop", &[("host", &bench.host)], "").await;
        assert_eq!(reply.error(), (405, "forbidden".into()));
    }
    for headers in [&[("host", "evil.example")][..], &[("host", "evil.example:7335")], &[]] {
        let stream = TcpStream::connect(&bench.host).await.expect("it listens");
        let reply = ask(stream, Method::GET, "/v1/status", headers, "").await;
        assert_eq!(reply.error(), (403, "forbidden".into()));
        assert_eq!(reply.header("access-control-allow-origin"), "");
    }
    assert!(bench.asked().is_empty());
}

#[tokio::test]
async fn a_token_guards_the_tcp_listener_and_not_the_socket() {
    let bench = Bench::with(true, |options| options.token = Some(Token::new("secret"))).await;
    let refused = bench.get("/v1/status").await;
    assert_eq!(refused.error(), (401, "forbidden".into()));
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    let stream = TcpStream::connect(&bench.host).await.expect("it listens");
    let headers = [("host", bench.host.as_str()), ("authorization", "Bearer secret")];
    assert_eq!(ask(stream, Method::GET, "/v1/status", &headers, "").await.status, StatusCode::OK);
    assert_eq!(bench.control(Method::GET, "/v1/status", "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_socket_takes_requests_for_relays() {
    let bench = Bench::new().await;
    let url = RelayUrl::parse(RELAY).expect("a relay");
    let id = "wss%3A%2F%2Frelay.a.example";
    for (action, operator) in [
        ("pause", Operator::Pause(url.clone())),
        ("resume", Operator::Resume(url.clone())),
        ("retry", Operator::Retry(url.clone())),
        ("resync", Operator::Resync(url.clone())),
        ("remove", Operator::RemoveRelay(url.clone())),
        ("accept-gap?row=7", Operator::AcceptGap { relay: url.clone(), gap: Some(RowId(7)) }),
        ("accept-gap", Operator::AcceptGap { relay: url.clone(), gap: None }),
    ] {
        let reply = bench.post(&format!("/v1/relays/{id}/{action}")).await;
        assert_eq!(reply.status, StatusCode::OK, "{action}: {}", reply.body);
        assert_eq!(bench.asked(), [operator], "{action}");
    }
    let added = bench.post("/v1/relays/wss%3A%2F%2Fnew.example/add").await;
    assert_eq!(added.status, StatusCode::OK);
    let new = RelayUrl::parse("wss://new.example/").expect("a relay");
    assert!(
        matches!(&bench.asked()[..], [Operator::AddRelay(url)] if url.as_str().starts_with(new.as_str().trim_end_matches('/')))
    );
    assert_eq!(bench.post("/v1/relays/http%3A%2F%2Fx/add").await.error().0, 400);
    assert_eq!(bench.post(&format!("/v1/relays/{id}/explode")).await.error().0, 404);
    assert_eq!(bench.post(&format!("/v1/relays/{id}/accept-gap?row=x")).await.error().0, 400);
    assert!(bench.asked().is_empty());
}

#[tokio::test]
async fn sync_and_stop_are_asked_for_on_the_socket() {
    let bench = Bench::new().await;
    let url = RelayUrl::parse(RELAY).expect("a relay");
    assert_eq!(bench.post("/v1/sync").await.status, StatusCode::OK);
    let body = format!(r#"{{"relays":["{RELAY}"]}}"#);
    assert_eq!(bench.control(Method::POST, "/v1/sync", &body).await.status, StatusCode::OK);
    assert_eq!(bench.post("/v1/stop").await.status, StatusCode::OK);
    assert_eq!(bench.asked(), [Operator::SyncNow, Operator::Resync(url), Operator::Shutdown]);
    let unknown = r#"{"relay":"typo"}"#;
    assert_eq!(bench.control(Method::POST, "/v1/sync", unknown).await.error().0, 400);
    let long = "x".repeat(65 * 1024);
    assert_eq!(bench.control(Method::POST, "/v1/sync", &long).await.error().0, 400);
    let busy = Bench::with(false, |_| {}).await;
    assert_eq!(busy.post("/v1/sync").await.error(), (503, "unavailable".into()));
}

#[tokio::test]
async fn what_is_not_known_is_answered_with_the_nearest_names() {
    let bench = Bench::new().await;
    let reply = bench.get("/v1/relays/relay.b.example").await;
    assert_eq!(reply.error(), (404, "not_found".into()));
    assert_eq!(reply.document::<ErrorView>().data.nearest, [RELAY]);
    assert_eq!(bench.get("/v1/nothing").await.error(), (404, "not_found".into()));
    let explained: Document<Explain> =
        bench.get("/v1/explain/wss://relay.a.example").await.document();
    assert_eq!(explained.data.because, ["nobody listens"]);
    let code: Document<Value> = bench.get("/v1/explain/E101").await.document();
    assert_eq!(code.data["subject"], "E101");
}

#[tokio::test]
async fn the_socket_is_private_from_the_start_and_goes_at_the_end() {
    let mut bench = Bench::new().await;
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&bench.socket), 0o600);
    let directory = bench.socket.parent().expect("a directory").to_owned();
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(std::fs::read_dir(&directory).expect("readable").count(), 1, "nothing is left over");
    bench.end().await;
    assert!(!bench.socket.exists());
}

fn socket_only(path: &Path) -> Options {
    Options { socket: Some(path.to_owned()), ..Options::default() }
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_names_its_process() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("control.sock");
    let registry = Registry::system(Build { version: "0.1.0", commit: "unknown" });
    drop(UnixListener::bind(&path).expect("a socket whose process is gone"));
    assert!(path.exists());
    let first = Server::bind(socket_only(&path), registry.clone()).await.expect("it is replaced");
    let second = Server::bind(socket_only(&path), registry.clone()).await;
    let error = second.expect_err("the first one lives");
    let pid = i32::try_from(std::process::id()).expect("a pid");
    assert!(matches!(&error, BindError::Taken { pid: Some(p), .. } if *p == pid), "{error:?}");
    assert!(error.to_string().contains(&format!("pid {pid}")));
    drop(first);
    assert!(!path.exists());
    std::fs::write(&path, "a file of somebody").expect("writable");
    let error = Server::bind(socket_only(&path), registry).await.expect_err("it stays");
    assert!(matches!(error, BindError::NotASocket(_)));
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "a file of somebody");
}

#[tokio::test]
async fn no_socket_is_made_where_others_may_write() {
    let dir = TempDir::new().expect("a directory");
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(dir.path(), open).expect("it is ours");
    let registry = Registry::system(Build { version: "0.1.0", commit: "unknown" });
    let result = Server::bind(socket_only(&dir.path().join("control.sock")), registry).await;
    assert!(matches!(result, Err(BindError::OpenDirectory(_))));
}

#[tokio::test]
async fn another_address_than_loopback_needs_a_token() {
    let registry = Registry::system(Build { version: "0.1.0", commit: "unknown" });
    let mut options = Options { listen: Some(([0, 0, 0, 0], 0).into()), ..Options::default() };
    let result = Server::bind(options.clone(), registry.clone()).await;
    assert!(matches!(result, Err(BindError::Exposed(_))));
    options.token = Some(Token::new("secret"));
    assert!(Server::bind(options, registry).await.is_ok());
}

#[tokio::test]
async fn a_taken_port_is_told() {
    let bench = Bench::new().await;
    let listen = Some(bench.host.parse().expect("an address"));
    let options = Options { listen, ..Options::default() };
    let error = Server::bind(options, bench.daemon.registry.clone()).await.expect_err("taken");
    assert_eq!(error.to_string(), format!("cannot listen on {}", bench.host));
}

#[tokio::test]
async fn at_the_end_idle_connections_close_and_nobody_is_waited_for() {
    let mut bench = Bench::new().await;
    let stream = TcpStream::connect(&bench.host).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .expect("a handshake");
    let connection = tokio::spawn(connection);
    let request = Request::get("/healthz").header("host", &bench.host);
    let request = request.body(Full::default()).expect("valid");
    assert_eq!(sender.send_request(request).await.expect("answered").status(), StatusCode::OK);
    bench.end().await;
    connection.await.expect("no panic").expect("it was closed properly");
    assert!(TcpStream::connect(&bench.host).await.is_err(), "the port is free");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let bench = Bench::new().await;
    let stream = TcpStream::connect(&bench.host).await.expect("it listens");
    let large = "x".repeat(20 * 1024);
    let headers = [("host", bench.host.as_str()), ("x-large", &large)];
    let reply = ask(stream, Method::GET, "/healthz", &headers, "").await;
    assert_eq!(reply.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}
