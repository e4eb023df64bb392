//! Peers that flood, drip, lie about sizes, or stop.

use std::time::Duration;

use futures_util::SinkExt;
use nostr::filter::Filter;
use sync_core::command::{NegLimits, Purpose};
use sync_core::id::{NegId, SubId};
use sync_core::input::{CloseReason, Frame, Input, NegOutcome};
use sync_core::item::{Range, RelayText};
use sync_runtime::connection::ConnCommand;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as WsFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::support::{
    CONN, Counts, Rig, Wish, eventually, frame_of, listen, millis, notes, say, server, text,
};

fn quick() -> Wish {
    let mut wish = Wish::default();
    wish.config.dial.dead_after_silence = millis(400);
    wish.config.dial.ping_interval = millis(100);
    wish
}

#[tokio::test]
async fn a_half_open_connection_is_found_dead() {
    // It upgrades, and neither reads nor writes from then on.
    let url = server(async |peer| {
        std::future::pending::<()>().await;
        drop(peer);
    })
    .await;
    let began = std::time::Instant::now();
    let mut rig = quick().dialed(&url).await;
    let (inputs, reason) = rig.rest().await;
    assert_eq!((inputs, reason), (Vec::new(), CloseReason::Silence));
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert!(rig.counts.sent("PING") >= 3);
}

#[tokio::test]
async fn a_relay_that_only_answers_pings_lives_and_its_round_trip_is_measured() {
    let url = server(listen).await;
    let mut rig = quick().dialed(&url).await;
    eventually("six pongs", || Counts::of(&rig.counts.rtts) >= 6).await;
    rig.send(ConnCommand::Close);
    assert_eq!(rig.rest().await.1, CloseReason::Local);
    assert!(rig.counts.wire.lock().unwrap().0 > 100);
}

#[tokio::test]
async fn a_peer_that_drips_bytes_is_alive_until_its_message_is_whole() {
    let url = server(async |peer| {
        let mut stream: TcpStream = peer.into_inner();
        let text = br#"["NOTICE","slow"]"#;
        let mut bytes = vec![0x81, text.len() as u8];
        bytes.extend(text);
        // Longer in all than the silence that is death.
        for byte in bytes {
            stream.write_all(&[byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        listen(
            tokio_tungstenite::WebSocketStream::from_raw_socket(
                stream,
                tokio_tungstenite::tungstenite::protocol::Role::Server,
                None,
            )
            .await,
        )
        .await;
    })
    .await;
    let mut rig = quick().dialed(&url).await;
    assert_eq!(rig.frame().await.1, Frame::Notice { text: RelayText::new("slow") });
}

#[tokio::test]
async fn a_message_of_ten_megabytes_ends_the_connection() {
    let url = server(async |mut peer| {
        let _ = peer.send(Message::text("x".repeat(10 << 20))).await;
        listen(peer).await;
    })
    .await;
    let mut rig = Wish::default().dialed(&url).await;
    assert_eq!(rig.rest().await.1, CloseReason::Oversize);
}

#[tokio::test]
async fn an_endless_message_of_fragments_ends_the_connection() {
    let url = server(async |mut peer| {
        let part = |opcode| WsFrame::message(vec![b'x'; 60_000], OpCode::Data(opcode), false);
        let mut sent = peer.send(Message::Frame(part(Data::Text))).await;
        while sent.is_ok() {
            sent = peer.send(Message::Frame(part(Data::Continue))).await;
        }
    })
    .await;
    let mut rig = Wish::default().dialed(&url).await;
    assert_eq!(rig.rest().await.1, CloseReason::Oversize);
}

#[tokio::test]
async fn broken_framing_and_a_lost_socket_are_told_apart() {
    let url = server(async |peer| {
        // A reserved bit.
        peer.into_inner().write_all(&[0xf1, 0x01, b'x']).await.unwrap();
    })
    .await;
    let mut rig = Wish::default().dialed(&url).await;
    assert!(matches!(rig.rest().await.1, CloseReason::Protocol(_)));

    let url = server(async |peer| drop(peer)).await;
    let mut rig = Wish::default().dialed(&url).await;
    assert!(matches!(rig.rest().await.1, CloseReason::Io(_)));

    let url = server(async |mut peer| {
        let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame {
            code: 1013.into(),
            reason: "try later".into(),
        };
        peer.close(Some(frame)).await.unwrap();
        listen(peer).await;
    })
    .await;
    let mut rig = Wish::default().dialed(&url).await;
    let reason = rig.rest().await.1;
    assert_eq!(reason, CloseReason::Remote(RelayText::new("1013 try later")));
}

#[tokio::test]
async fn frames_that_cannot_be_read_are_counted_and_skipped() {
    let event = notes(1).remove(0);
    let url = server(async move |mut peer| {
        text(&mut peer).await;
        let upper =
            frame_of(1, &event).replace(&event.id.to_hex(), &event.id.to_hex().to_uppercase());
        for broken in ["", "[", "{}", "null", r#"["EVENT","1",{}]"#, r#"["EVENT","1"]"#, &upper] {
            say(&mut peer, broken).await;
        }
        peer.send(Message::binary(vec![1, 2, 3])).await.unwrap();
        say(&mut peer, r#"["NEW",{}]"#).await;
        say(&mut peer, frame_of(1, &event).replace("]}]", r#"]},"more"]"#)).await;
        say(&mut peer, frame_of(1, &event)).await;
        say(&mut peer, r#"["EOSE","1"]"#).await;
        listen(peer).await;
    })
    .await;
    let mut rig = Wish::default().dialed(&url).await;
    rig.page(1);
    let mut page = None;
    loop {
        match rig.input().await {
            Input::Events(tally) => page = tally.page.or(page),
            Input::Frame { frame: Frame::Eose { .. }, .. } => break,
            other => panic!("{other:?}"),
        }
    }
    let page = page.unwrap();
    assert_eq!((page.malformed, page.distinct), (3, 1));
    assert_eq!(Counts::of(&rig.counts.malformed), 8);
    assert_eq!(Counts::of(&rig.counts.unsolicited), 1);
}

#[tokio::test]
async fn a_frame_above_the_limit_of_its_type_is_skipped_and_leaves_its_trace() {
    let event = notes(1).remove(0);
    let url = server(async move |mut peer| {
        text(&mut peer).await;
        let long = "y".repeat(600 << 10);
        say(&mut peer, format!(r#"["EVENT","1",{{"content":"{long}"}}]"#)).await;
        say(&mut peer, format!(r#"["NOTICE","{}"]"#, "y".repeat(70 << 10))).await;
        let content = format!(r#""content":"{}","#, "y".repeat(400 << 10));
        let large = event.as_json().replacen('{', &format!("{{{content}"), 1);
        say(&mut peer, format!(r#"["EVENT","1",{large}]"#)).await;
        say(&mut peer, r#"["EOSE","1"]"#).await;
        listen(peer).await;
    })
    .await;
    let mut rig = Wish::default().dialed(&url).await;
    rig.page(1);
    let (mut received, mut oversize) = (0, 0);
    loop {
        match rig.input().await {
            Input::Events(tally) => {
                received += tally.received;
                oversize += tally.oversize;
            }
            Input::Frame { frame: Frame::Eose { .. }, .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((received, oversize), (1, 1));
    assert_eq!(Counts::of(&rig.counts.oversize), 2);
}

#[tokio::test]
async fn a_flood_of_events_that_nobody_asked_for_ends_the_connection() {
    let event = notes(1).remove(0);
    let url = server(
        async move |mut peer| {
            while peer.send(Message::text(frame_of(5, &event))).await.is_ok() {}
        },
    )
    .await;
    let mut wish = Wish::default();
    wish.config.limits.off_filter_minute = 10;
    let mut rig = wish.dialed(&url).await;
    let (inputs, reason) = rig.rest().await;
    assert_eq!(reason, CloseReason::Flood);
    let counted = |input: &Input| match input {
        Input::Events(tally) => tally.unsolicited,
        other => panic!("{other:?}"),
    };
    assert_eq!(inputs.iter().map(counted).sum::<u32>(), 11, "F3");
}

#[tokio::test]
async fn events_found_off_filter_behind_the_intake_count_towards_a_flood() {
    let events = notes(2);
    let url = server(async move |mut peer| {
        text(&mut peer).await;
        say(&mut peer, frame_of(1, &events[0])).await;
        text(&mut peer).await;
        say(&mut peer, frame_of(1, &events[1])).await;
        listen(peer).await;
    })
    .await;
    let mut wish = Wish::default();
    wish.config.limits.off_filter_minute = 10;
    let mut rig = wish.dialed(&url).await;
    rig.page(1);
    let feedback = rig.intake.recv().await.unwrap().feedback.unwrap();
    (0..11).for_each(|_| feedback.off_filter());
    rig.page(2);
    assert_eq!(rig.rest().await.1, CloseReason::Flood);
}

#[tokio::test]
async fn a_request_that_never_ends_is_closed_when_its_budget_is_used_up() {
    let events = notes(30);
    let url = server(async move |mut peer| {
        text(&mut peer).await;
        for event in &events {
            say(&mut peer, frame_of(1, event)).await;
        }
        assert_eq!(text(&mut peer).await, r#"["CLOSE","1"]"#);
        say(&mut peer, r#"["NOTICE","done"]"#).await;
        listen(peer).await;
    })
    .await;
    let mut wish = Wish::default();
    wish.config.limits.req_events = 20;
    let mut rig = wish.dialed(&url).await;
    rig.page(1);
    let (received, frame) = rig.frame().await;
    assert_eq!(frame, Frame::Notice { text: RelayText::new("done") });
    assert_eq!(received, 30, "what comes late is counted and excused");
    assert_eq!(rig.intake.len(), 30);
}

#[tokio::test]
async fn a_relay_that_does_not_read_fills_the_queue_and_is_left() {
    let url = server(async |peer| {
        std::future::pending::<()>().await;
        drop(peer);
    })
    .await;
    let mut rig = Wish::default().dialed(&url).await;
    let filter = Filter::new().identifier("x".repeat(60_000));
    let mut sub = 0;
    let reason = loop {
        sub += 1;
        rig.subscribe(sub, filter.clone(), Purpose::Live);
        tokio::task::yield_now().await;
        if let Ok(input) = rig.inputs.try_recv() {
            break input;
        }
        assert!(sub < 100_000);
    };
    assert_eq!(reason, Input::Closed { conn: CONN, reason: CloseReason::SendQueueFull });
}

const LIMITS: NegLimits = NegLimits { rounds: 200, need: 16_000, frame: 120_000 };

fn reconcile(rig: &Rig, neg: u32) {
    let range = Range::up_to(nostr::types::Timestamp::from_secs(2_000_000_000));
    let (neg, filter) = (NegId(neg), Filter::new().kind(nostr::event::Kind::from_u16(1)));
    rig.send(ConnCommand::Reconcile { neg, filter, range, limits: LIMITS });
}

#[tokio::test]
async fn a_relay_that_refuses_or_breaks_negentropy_ends_that_session_only() {
    let url = server(async |mut peer| {
        let open = text(&mut peer).await;
        let head = r#"["NEG-OPEN","1",{"kinds":[1],"until":2000000000},"61"#;
        assert!(open.starts_with(head), "{open}");
        say(&mut peer, r#"["NEG-ERR","1","blocked: too large",5000]"#).await;
        for answer in ["zz", "61", "6100000200"] {
            let neg = text(&mut peer).await.split('"').nth(3).unwrap().to_owned();
            say(&mut peer, format!(r#"["NEG-MSG","{neg}","{answer}"]"#)).await;
            assert_eq!(text(&mut peer).await, format!(r#"["NEG-CLOSE","{neg}"]"#));
        }
        text(&mut peer).await;
        say(&mut peer, r#"["CLOSED","5","error: no"]"#).await;
        say(&mut peer, r#"["NEG-MSG","5","61"]"#).await;
        say(&mut peer, r#"["NOTICE","end"]"#).await;
        listen(peer).await;
    })
    .await;
    let mut rig = Wish { events: notes(3), ..Wish::default() }.dialed(&url).await;
    reconcile(&rig, 1);
    let text = RelayText::new("blocked: too large");
    let refused = Frame::NegErr { neg: NegId(1), text, limit: Some(5000) };
    assert_eq!(rig.frame().await.1, refused);
    let outcomes = [NegOutcome::Garbage, NegOutcome::Truncated, NegOutcome::Done];
    for (number, expected) in (2..).zip(outcomes) {
        reconcile(&rig, number);
        match rig.input().await {
            Input::Reconciled { neg, outcome, have, .. } => {
                assert_eq!((neg, &outcome), (NegId(number), &expected));
                assert_eq!(have, if expected == NegOutcome::Done { 3 } else { 0 });
            }
            other => panic!("{other:?}"),
        }
    }
    reconcile(&rig, 5);
    let text = RelayText::new("error: no");
    assert_eq!(rig.frame().await.1, Frame::Closed { sub: SubId(5), text });
    assert_eq!(rig.frame().await.1, Frame::Notice { text: RelayText::new("end") });
    assert_eq!(Counts::of(&rig.counts.unsolicited), 1, "a message of a session that is over");
}

#[tokio::test]
async fn a_session_that_is_stopped_says_so_and_is_forgotten() {
    let url = server(async |mut peer| {
        text(&mut peer).await;
        assert_eq!(text(&mut peer).await, r#"["NEG-CLOSE","1"]"#);
        say(&mut peer, r#"["NEG-MSG","1","6100000200"]"#).await;
        say(&mut peer, r#"["NOTICE","end"]"#).await;
        listen(peer).await;
    })
    .await;
    let mut rig = Wish::default().dialed(&url).await;
    reconcile(&rig, 1);
    eventually("NEG-OPEN", || rig.counts.sent("NEG-OPEN") == 1).await;
    rig.send(ConnCommand::StopReconcile { neg: NegId(1) });
    assert_eq!(rig.frame().await.1, Frame::Notice { text: RelayText::new("end") });
}

#[tokio::test]
async fn a_peer_that_sends_while_it_does_not_read_is_still_read() {
    let events = notes(200);
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let url = server(async move |mut peer| {
        text(&mut peer).await;
        gone.await.unwrap();
        for event in &events {
            say(&mut peer, frame_of(1, event)).await;
        }
        say(&mut peer, r#"["EOSE","1"]"#).await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut rig = Wish::default().dialed(&url).await;
    rig.page(1);
    eventually("the first request", || rig.counts.sent("REQ") == 1).await;
    // More than all buffers on the way hold: writing is stuck from here on.
    rig.subscribe(2, Filter::new().identifier("x".repeat(32 << 20)), Purpose::Live);
    eventually("the second request", || rig.counts.sent("REQ") == 2).await;
    go.send(()).unwrap();
    assert_eq!(rig.frame().await.1, Frame::Eose { sub: SubId(1), hints: Default::default() });
}
