//! Every stage of a dial: what works, what its failure is called, and its deadline.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sync_core::config::DialConfig;
use sync_core::input::DialErrorKind;
use sync_core::url::RelayUrl;
use sync_runtime::dial::{
    Dialer, FixedResolver, Resolve, ResolveError, ResolveFuture, StageTimings, TlsRoots,
};
use sync_runtime::transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::accept_async;

use crate::support::{certificate, dial_config, dialer, listener, names, peer};

const MESSAGE_MAX: usize = 2 << 20;

async fn dial(dialer: &Dialer, url: &RelayUrl) -> Result<StageTimings, DialErrorKind> {
    let dialed = transport::dial(dialer, url, true, MESSAGE_MAX).await;
    dialed.map(|(_, timings)| timings).map_err(|error| error.kind)
}

/// A relay behind TLS, and a dialer that trusts it.
async fn tls_relay() -> (TcpListener, RelayUrl, tokio_rustls::TlsAcceptor, TlsRoots) {
    let (certificate, acceptor) = certificate();
    let (listener, url) = listener("wss").await;
    (listener, url, acceptor, TlsRoots::none().with(certificate).unwrap())
}

#[tokio::test]
async fn a_relay_behind_tls_is_dialed_and_every_stage_is_timed() {
    let (listener, url, acceptor, roots) = tls_relay().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        accept_async(acceptor.accept(stream).await.unwrap()).await.unwrap()
    });
    let dialer = Dialer::new(&dial_config(), names(), &roots).unwrap();
    let (socket, timings) = transport::dial(&dialer, &url, true, MESSAGE_MAX).await.unwrap();
    let StageTimings { dns, tcp, tls, upgrade } = timings;
    assert!([dns, tcp, tls, upgrade].iter().all(Option::is_some), "{timings:?}");
    let traffic = socket.get_ref().traffic();
    assert!(traffic.received() > 500 && traffic.sent() > 300, "{traffic:?}");
}

#[tokio::test]
async fn a_certificate_of_another_name_or_authority_is_not_accepted() {
    let (listener, url, acceptor, roots) = tls_relay().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = acceptor.accept(stream).await;
        }
    });
    let local = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let other = Arc::new(FixedResolver::new([("other.test", local)]));
    let by_other_name = RelayUrl::parse(&url.as_str().replace("relay.test", "other.test")).unwrap();
    let trusting = Dialer::new(&dial_config(), other, &roots).unwrap();
    assert_eq!(dial(&trusting, &by_other_name).await, Err(DialErrorKind::Certificate));
    let distrusting = Dialer::new(&dial_config(), names(), &TlsRoots::none()).unwrap();
    assert_eq!(dial(&distrusting, &url).await, Err(DialErrorKind::Certificate));
    let by_address = RelayUrl::parse(&url.as_str().replace("relay.test", "127.0.0.1")).unwrap();
    assert_eq!(dial(&trusting, &by_address).await, Err(DialErrorKind::Certificate));
}

#[tokio::test]
async fn a_server_without_tls_or_one_that_hangs_up_fails_as_tls() {
    let (listener, url) = listener("wss").await;
    tokio::spawn(async move {
        let (mut plain, _) = listener.accept().await.unwrap();
        plain.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        let _ = plain.read_to_end(&mut rest).await;
        drop(listener.accept().await.unwrap());
    });
    let dialer = dialer(&dial_config());
    assert_eq!(dial(&dialer, &url).await, Err(DialErrorKind::Tls));
    assert_eq!(dial(&dialer, &url).await, Err(DialErrorKind::Tls));
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let (listener, url) = listener("ws").await;
    drop(listener);
    assert_eq!(dial(&dialer(&dial_config()), &url).await, Err(DialErrorKind::Refused));
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_told_from_a_resolver_that_is_silent() {
    struct Silent;
    impl Resolve for Silent {
        fn resolve<'a>(&'a self, _: &'a str) -> ResolveFuture<'a> {
            Box::pin(std::future::pending())
        }
    }
    struct Unreachable;
    impl Resolve for Unreachable {
        fn resolve<'a>(&'a self, _: &'a str) -> ResolveFuture<'a> {
            let error = std::io::Error::from_raw_os_error(101);
            Box::pin(std::future::ready(Err(ResolveError::Unavailable(error))))
        }
    }
    let url = RelayUrl::parse("wss://nowhere.test").unwrap();
    assert_eq!(dial(&dialer(&dial_config()), &url).await, Err(DialErrorKind::Dns));
    for resolver in [Arc::new(Silent) as Arc<dyn Resolve>, Arc::new(Unreachable)] {
        let dialer = Dialer::new(&dial_config(), resolver, &TlsRoots::none()).unwrap();
        assert_eq!(dial(&dialer, &url).await, Err(DialErrorKind::Resolver));
    }
}

/// The failure of a dial, which came after one deadline and before two.
async fn after_deadline(dialer: &Dialer, url: &RelayUrl, deadline: Duration) -> DialErrorKind {
    let began = Instant::now();
    let kind = dial(dialer, url).await.unwrap_err();
    let took = began.elapsed();
    assert!(took >= deadline && took < deadline * 6, "{took:?}");
    kind
}

#[tokio::test]
async fn a_peer_that_accepts_and_stays_silent_runs_into_the_deadline_of_the_stage() {
    let deadline = *dial_config().upgrade_timeout;
    let long = DialConfig::default();
    let config = |change: fn(&mut DialConfig, &DialConfig)| {
        let mut config = dial_config();
        change(&mut config, &long);
        config
    };
    // The other deadlines are long, so only that of the stage can end the dial.
    let tls_only = config(|config, long| config.upgrade_timeout = long.upgrade_timeout);
    let upgrade_only = config(|config, long| config.tls_timeout = long.tls_timeout);
    for (scheme, config) in [("wss", tls_only), ("ws", upgrade_only)] {
        let (listener, url) = listener(scheme).await;
        let kind = after_deadline(&dialer(&config), &url, deadline).await;
        assert_eq!(kind, DialErrorKind::Timeout, "{scheme}");
        drop(listener);
    }
}

#[tokio::test]
async fn a_host_that_never_completes_the_tcp_handshake_runs_into_its_deadline() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut fillers = Vec::new();
    let wait = Duration::from_millis(200);
    while let Ok(stream) = tokio::time::timeout(wait, TcpStream::connect(address)).await {
        fillers.push(stream.unwrap());
    }
    let url = RelayUrl::parse(&format!("ws://relay.test:{}", address.port())).unwrap();
    let config = dial_config();
    let kind = after_deadline(&dialer(&config), &url, *config.tcp_timeout).await;
    assert_eq!(kind, DialErrorKind::Timeout);
}

#[tokio::test]
async fn an_answer_that_comes_byte_by_byte_does_not_outlast_the_deadline() {
    let url = peer(async |mut stream: TcpStream| {
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nX-Slow: ".iter().chain([&b'a'; 4000]);
        for byte in answer {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let config = dial_config();
    let kind = after_deadline(&dialer(&config), &url, *config.upgrade_timeout).await;
    assert_eq!(kind, DialErrorKind::Timeout);
}

#[tokio::test]
async fn an_endless_head_a_redirect_or_a_web_page_is_no_upgrade() {
    let endless = format!("HTTP/1.1 101 Switching Protocols\r\nX-Long: {}", "a".repeat(60_000));
    let moved = "HTTP/1.1 301 Moved\r\nLocation: ws://relay.test/\r\nContent-Length: 0\r\n\r\n";
    let page = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let wrong = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: AAAA\r\n\r\n";
    for answer in [endless.as_str(), moved, page, wrong, ""] {
        let bytes = answer.to_owned();
        let url = peer(async move |mut stream: TcpStream| {
            let mut request = vec![0; 2048];
            let read = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            assert!(request.contains("User-Agent: ngit-sync/") || request.contains("user-agent"));
            let _ = stream.write_all(bytes.as_bytes()).await;
            let _ = stream.shutdown().await;
        })
        .await;
        let kind = dial(&dialer(&dial_config()), &url).await;
        assert_eq!(kind, Err(DialErrorKind::Upgrade), "{}", &answer[..answer.len().min(40)]);
    }
}

/// Answers differently each time, and counts how often it is asked.
struct Rebinding {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Resolve for Rebinding {
    fn resolve<'a>(&'a self, _: &'a str) -> ResolveFuture<'a> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers.lock().unwrap().pop().unwrap_or_default();
        Box::pin(std::future::ready(Ok(answer)))
    }
}

#[tokio::test]
async fn a_name_that_leads_home_is_not_dialed_and_is_resolved_once_a_dial() {
    let home = |text: &str| vec![text.parse::<IpAddr>().unwrap()];
    let answers = vec![
        home("169.254.169.254"),
        home("::ffff:127.0.0.1"),
        [home("10.0.0.1"), home("127.0.0.1")].concat(),
        home("127.0.0.1"),
    ];
    let resolver = Arc::new(Rebinding { answers: answers.into(), asked: AtomicUsize::new(0) });
    let dialer = Dialer::new(&dial_config(), resolver.clone(), &TlsRoots::none()).unwrap();
    let (listener, url) = listener("wss").await;
    for asked in 1..=4 {
        let error = dialer.connect(&url, false).await.unwrap_err();
        assert_eq!(error.kind, DialErrorKind::Guard);
        assert_eq!(resolver.asked.load(Ordering::SeqCst), asked);
    }
    drop(listener);
}

#[tokio::test]
async fn the_guard_holds_for_literals_and_is_lifted_for_trusted_relays_and_private_networks() {
    let (listener, url) = listener("ws").await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(accept_async(stream));
        }
    });
    let guarded = dialer(&dial_config());
    let lifted = dialer(&DialConfig { allow_private: true, ..dial_config() });
    for text in ["relay.test", "127.0.0.1"] {
        let url = RelayUrl::parse(&url.as_str().replace("relay.test", text)).unwrap();
        let error = transport::dial(&guarded, &url, false, MESSAGE_MAX).await.unwrap_err();
        assert_eq!(error.kind, DialErrorKind::Guard, "plain ws of a stranger");
        let secure = RelayUrl::parse(&url.as_str().replace("ws://", "wss://")).unwrap();
        let error = guarded.connect(&secure, false).await.unwrap_err();
        assert_eq!(error.kind, DialErrorKind::Guard, "a private address of a stranger");
        assert!(transport::dial(&guarded, &url, true, MESSAGE_MAX).await.is_ok(), "{text}");
        assert!(transport::dial(&lifted, &url, false, MESSAGE_MAX).await.is_ok(), "{text}");
    }
}
