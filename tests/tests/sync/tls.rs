//! `wss`: a relay behind TLS with a certificate that was made here.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sync_runtime::api::ErrorCategory;
use sync_runtime::dial::{FixedResolver, TlsRoots};
use sync_runtime::service::{Builder, SyncService};
use sync_runtime::settings::{OrOff, Settings};
use sync_runtime::store::EventStore;
use sync_tests::corpus::Options;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::common::input::{corpus, lines, wanted};
use super::common::local_relay::LocalRelay;

/// The name in the certificate.
const NAME: &str = "relay.example";

/// TLS in front of a port of the loopback; returns where it listens.
async fn tls_before(upstream: u16, made: &CertifiedKey<rcgen::KeyPair>) -> u16 {
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("key and certificate belong together");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("a bound listener has an address").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let Ok(mut relay) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await
                else {
                    return;
                };
                // Either side may end it.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut relay).await;
            });
        }
    });
    port
}

/// A service that syncs once from `wss://relay.example`, whose name is answered by the loopback.
fn once(port: u16, roots: TlsRoots) -> (TempDir, Builder) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut settings = Settings {
        data_dir: Some(directory.path().into()),
        http: OrOff::OFF,
        ..Settings::default()
    };
    settings.core.sync.relays = vec![format!("wss://{NAME}:{port}")];
    settings.core.sync.discover = false;
    settings.core.accept.archive = vec!["all".into()];
    settings.core.health.backoff_base = "50ms".parse().expect("a span");
    let names = FixedResolver::new([(NAME, vec![IpAddr::from(Ipv4Addr::LOCALHOST)])]);
    let builder = SyncService::builder(settings).once(true);
    (directory, builder.resolver(Arc::new(names)).roots(roots))
}

fn certificate(name: &str) -> CertifiedKey<rcgen::KeyPair> {
    generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate can be made")
}

fn trusting(der: &CertificateDer<'static>) -> TlsRoots {
    TlsRoots::none().with(der.clone()).expect("a certificate")
}

#[tokio::test]
async fn a_relay_over_tls_is_synced_to_the_last_id() {
    let corpus = corpus(Options { events: 600, repositories: 10, ..Options::default() });
    let relay = LocalRelay::start(lines(&corpus));
    let made = certificate(NAME);
    let port = tls_before(relay.port(), &made).await;
    let (_directory, builder) = once(port, trusting(made.cert.der()));
    let service = builder.start().await.expect("it starts");
    assert!(service.finished().await.is_complete(), "{:?}", service.handle().outcome());
    let mut stored = BTreeSet::new();
    let all = nostr::filter::Filter::new();
    let mut visit = |found: sync_runtime::store::Found<'_>| {
        let event: serde_json::Value = serde_json::from_str(found.raw).expect("an event");
        stored.insert(event["id"].as_str().expect("an id").to_owned());
        std::ops::ControlFlow::Continue(())
    };
    service.store().query(&all, &mut visit).expect("the store can be read");
    assert_eq!(stored, wanted(&corpus));
    service.shutdown().await;
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_or_of_another_name_is_a_failure_of_tls() {
    let relay = LocalRelay::start([]);
    let (right, wrong) = (certificate(NAME), certificate("other.example"));
    let cases = [(&right, TlsRoots::none()), (&wrong, trusting(wrong.cert.der()))];
    for (made, roots) in cases {
        let port = tls_before(relay.port(), made).await;
        let (_directory, builder) = once(port, roots);
        let service = builder.start().await.expect("it starts");
        let end = service.finished().await;
        assert!(end.is_over() && !end.is_complete(), "{end:?}");
        let status = service.handle().status();
        let error = status.relays[0].last_error.clone().expect("it failed");
        assert_eq!(error.category, ErrorCategory::Certificate, "{error:?}");
        service.shutdown().await;
    }
}
