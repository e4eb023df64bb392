//! SOCKS5: onion services unresolved, everything through it when so configured.

use std::sync::{Arc, Mutex};

use sync_core::config::DialConfig;
use sync_core::input::DialErrorKind;
use sync_core::url::RelayUrl;
use sync_runtime::transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_async;

use crate::support::{dial_config, dialer};

/// A proxy that leads every request to one address, or refuses it with a code, and remembers what
/// was asked for.
async fn proxy(target: Option<u16>, code: u8) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut greeting = [0; 2];
            client.read_exact(&mut greeting).await.unwrap();
            let mut methods = vec![0; usize::from(greeting[1])];
            client.read_exact(&mut methods).await.unwrap();
            client.write_all(&[5, 0]).await.unwrap();
            let mut head = [0; 4];
            client.read_exact(&mut head).await.unwrap();
            let host = read_host(&mut client, head[3]).await;
            let port = client.read_u16().await.unwrap();
            log.lock().unwrap().push(format!("{host}:{port}"));
            client.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
            if let (Some(target), 0) = (target, code) {
                let mut relay = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                tokio::spawn(async move {
                    tokio::io::copy_bidirectional(&mut client, &mut relay).await
                });
            }
        }
    });
    (port, asked)
}

async fn read_host(client: &mut TcpStream, kind: u8) -> String {
    if kind == 1 {
        let mut address = [0; 4];
        client.read_exact(&mut address).await.unwrap();
        return std::net::Ipv4Addr::from(address).to_string();
    }
    assert_eq!(kind, 3);
    let mut name = vec![0; usize::from(client.read_u8().await.unwrap())];
    client.read_exact(&mut name).await.unwrap();
    String::from_utf8(name).unwrap()
}

/// A relay that upgrades whoever comes; its port.
async fn relay() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(accept_async(stream));
        }
    });
    port
}

fn with_proxy(proxy: String) -> DialConfig {
    DialConfig { proxy: Some(proxy), ..dial_config() }
}

async fn dial(config: &DialConfig, url: &str) -> Result<(), DialErrorKind> {
    let url = RelayUrl::parse(url).unwrap();
    let dialed = transport::dial(&dialer(config), &url, true, 2 << 20).await;
    dialed.map(|_| ()).map_err(|error| error.kind)
}

#[tokio::test]
async fn an_onion_service_is_reached_through_the_proxy_unresolved() {
    let relay = relay().await;
    let (port, asked) = proxy(Some(relay), 0).await;
    let config = with_proxy(format!("onion=127.0.0.1:{port}"));
    assert_eq!(dial(&config, "ws://abc.onion").await, Ok(()));
    assert_eq!(dial(&config, &format!("ws://relay.test:{relay}")).await, Ok(()));
    assert_eq!(*asked.lock().unwrap(), ["abc.onion:80"]);
}

#[tokio::test]
async fn without_a_proxy_no_onion_service_is_dialed() {
    assert_eq!(dial(&dial_config(), "ws://abc.onion").await, Err(DialErrorKind::Proxy));
}

#[tokio::test]
async fn a_proxy_for_all_gets_names_of_trusted_relays() {
    let (port, asked) = proxy(Some(relay().await), 0).await;
    let config = with_proxy(format!("socks5://127.0.0.1:{port}"));
    assert_eq!(dial(&config, "ws://relay.test:7777").await, Ok(()));
    assert_eq!(*asked.lock().unwrap(), ["relay.test:7777"]);
}

#[tokio::test]
async fn a_proxy_does_not_lead_around_the_guard() {
    let (port, asked) = proxy(Some(relay().await), 0).await;
    let config = with_proxy(format!("127.0.0.1:{port}"));
    let url = RelayUrl::parse("wss://relay.test").unwrap();
    let error = dialer(&config).connect(&url, false).await.unwrap_err();
    assert_eq!(error.kind, DialErrorKind::Guard);
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_the_proxy_says_of_the_relay_is_told_from_its_own_failure() {
    for (code, kind) in [(5, DialErrorKind::Refused), (1, DialErrorKind::Proxy)] {
        let (port, _) = proxy(None, code).await;
        let config = with_proxy(format!("127.0.0.1:{port}"));
        assert_eq!(dial(&config, "ws://relay.test").await, Err(kind), "{code}");
    }
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = with_proxy(gone.local_addr().unwrap().to_string());
    drop(gone);
    assert_eq!(dial(&config, "ws://relay.test").await, Err(DialErrorKind::Proxy));
}
