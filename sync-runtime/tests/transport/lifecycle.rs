//! Hangups, AUTH, NIP-11 and publishing.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use nostr::event::Event;
use nostr::key::Keys;
use sync_core::id::ChallengeId;
use sync_core::input::{CloseReason, DialErrorKind, Frame, InfoLimits, Input};
use sync_core::item::RelayText;
use sync_runtime::connection::ConnCommand;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    CONN, Counts, Wish, eventually, listen, listener, notes, peer, say, server, text,
};

#[tokio::test]
async fn a_hangup_while_dialing_gives_up_the_dial() {
    let url = peer(async |stream: TcpStream| {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let mut rig = Wish::default().open(&url);
    rig.send(ConnCommand::Close);
    let closed = Input::Closed { conn: CONN, reason: CloseReason::Local };
    assert_eq!(rig.input().await, closed);
    assert!(rig.inputs.recv().await.is_none(), "nothing follows");
}

#[tokio::test]
async fn a_failed_dial_says_so_and_nothing_follows() {
    let (listener, url) = listener("ws").await;
    drop(listener);
    let mut rig = Wish::default().open(&url);
    match rig.input().await {
        Input::Dialed { conn: CONN, result: Err(error) } => {
            assert_eq!(error.kind, DialErrorKind::Refused);
        }
        other => panic!("{other:?}"),
    }
    assert!(rig.inputs.recv().await.is_none());
}

#[tokio::test]
async fn a_hangup_closes_politely_and_a_lost_handle_is_one() {
    for by_drop in [false, true] {
        let (said, mut heard) = tokio::sync::mpsc::channel(1);
        let url = server(async move |mut peer| {
            while let Some(Ok(message)) = peer.next().await {
                if matches!(message, Message::Close(_)) {
                    said.send(()).await.unwrap();
                }
            }
        })
        .await;
        let mut rig = Wish::default().dialed(&url).await;
        if by_drop {
            rig.handle = None;
        } else {
            rig.send(ConnCommand::Close);
        }
        assert_eq!(rig.rest().await, (Vec::new(), CloseReason::Local));
        assert_eq!(heard.recv().await, Some(()));
    }
}

#[tokio::test]
async fn a_peer_that_never_answers_a_close_is_left_after_the_drain() {
    let url = server(async |peer| {
        std::future::pending::<()>().await;
        drop(peer);
    })
    .await;
    let mut rig = Wish::default().dialed(&url).await;
    let began = std::time::Instant::now();
    rig.send(ConnCommand::Close);
    assert_eq!(rig.rest().await.1, CloseReason::Local);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_challenge_is_answered_with_the_key_of_the_relay_only() {
    let (answers, mut answered) = tokio::sync::mpsc::channel(1);
    let url = server(async move |mut peer| {
        say(&mut peer, r#"["AUTH","first"]"#).await;
        say(&mut peer, r#"["AUTH","second"]"#).await;
        let frame = text(&mut peer).await;
        answers.send(frame).await.unwrap();
        let id = "ab".repeat(32);
        say(&mut peer, format!(r#"["OK","{id}",false,"restricted: no"]"#)).await;
        listen(peer).await;
    })
    .await;
    let keys = Keys::generate();
    let wish = Wish { keys: BTreeMap::from([(url.clone(), keys.clone())]), ..Wish::default() };
    let mut rig = wish.dialed(&url).await;
    let challenge = ChallengeId(1);
    assert_eq!(rig.frame().await.1, Frame::Auth { challenge });
    eventually("both challenges", || rig.counts.received.lock().unwrap()["AUTH"] == 2).await;
    rig.send(ConnCommand::Authenticate { challenge });
    let frame = answered.recv().await.unwrap();
    let body = frame.strip_prefix(r#"["AUTH","#).unwrap().strip_suffix(']').unwrap();
    let event = Event::from_json(body).unwrap();
    event.verify().unwrap();
    let tags: Vec<Vec<String>> = event.tags.iter().map(|tag| tag.clone().to_vec()).collect();
    assert_eq!(tags, [["relay", url.as_str()], ["challenge", "second"]]);
    assert_eq!(event.pubkey, keys.public_key());
    match rig.frame().await.1 {
        Frame::Ok { accepted, text, .. } => {
            assert_eq!((accepted, text), (false, RelayText::new("restricted: no")));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn stored_events_are_published_in_order() {
    let events = notes(3);
    let expected: Vec<String> =
        [2, 0].iter().map(|n: &usize| format!(r#"["EVENT",{}]"#, events[*n].as_json())).collect();
    let (said, mut heard) = tokio::sync::mpsc::channel(4);
    let url = server(async move |mut peer| {
        for _ in 0..2 {
            said.send(text(&mut peer).await).await.unwrap();
        }
        listen(peer).await;
    })
    .await;
    let unknown = nostr::event::EventId::from_byte_array([7; 32]);
    let ids = vec![events[2].id, unknown, events[0].id];
    let rig = Wish { events, ..Wish::default() }.dialed(&url).await;
    rig.send(ConnCommand::Publish { ids });
    for frame in expected {
        assert_eq!(heard.recv().await.unwrap(), frame);
    }
}

/// A relay that serves a WebSocket and, to whoever asks for it, this answer.
async fn relay_with_info(answer: String) -> sync_core::url::RelayUrl {
    let (listener, url) = listener("ws").await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move { listen(accept_async(stream).await.unwrap()).await });
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let read = stream.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..read]).to_ascii_lowercase();
        assert!(request.starts_with("get / http/1.1\r\n"), "{request}");
        assert!(request.contains("accept: application/nostr+json\r\n"), "{request}");
        assert!(request.contains("host: relay.test:"), "{request}");
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    });
    url
}

fn http(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn the_relay_s_own_description_is_fetched_beside_the_connection() {
    let body = r#"{"supported_nips":[1,77],"limitation":{"max_subscriptions":20}}"#;
    let url = relay_with_info(http(body)).await;
    let mut rig = Wish::default().dialed(&url).await;
    let limits =
        InfoLimits { max_subscriptions: Some(20), negentropy: Some(true), ..InfoLimits::default() };
    assert_eq!(rig.input().await, Input::RelayInfo { conn: CONN, limits, self_key: None });
}

#[tokio::test]
async fn a_description_that_is_too_large_broken_or_moved_is_only_counted() {
    let large = http(&format!(r#"{{"name":"{}"}}"#, "x".repeat(70_000)));
    let moved = "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".to_owned();
    for answer in [large, moved, http("<html>"), String::new()] {
        let url = relay_with_info(answer).await;
        let mut rig = Wish::default().dialed(&url).await;
        eventually("a failed fetch", || Counts::of(&rig.counts.info_failed) == 1).await;
        rig.send(ConnCommand::Close);
        assert_eq!(rig.rest().await, (Vec::new(), CloseReason::Local));
    }
}
