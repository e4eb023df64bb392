//! Events from socket to intake: order of tallies, verdicts, back-pressure.

use nostr::event::Kind;
use nostr::filter::Filter;
use nostr::types::Timestamp;
use sync_core::command::{Purpose, Source};
use sync_core::id::SubId;
use sync_core::input::{CloseReason, EoseHints, Frame, Input};
use sync_core::item::RelayText;
use sync_core::tally::SettleTally;
use sync_runtime::connection::ConnCommand;

use crate::support::{CONN, Counts, Wish, frame_of, listen, notes, say, server, text};

#[tokio::test]
async fn events_reach_the_intake_and_their_tally_precedes_the_eose() {
    let events = notes(600);
    let sent = events.clone();
    let url = server(async move |mut peer| {
        assert_eq!(text(&mut peer).await, r#"["REQ","1",{"kinds":[1]}]"#);
        for event in &sent {
            say(&mut peer, frame_of(1, event)).await;
        }
        say(&mut peer, r#"["EOSE","1",["finish"]]"#).await;
        assert_eq!(text(&mut peer).await, r#"["CLOSE","1"]"#);
        listen(peer).await;
    })
    .await;
    let mut rig = Wish::default().dialed(&url).await;
    rig.page(1);
    let mut received = 0;
    let mut pages = Vec::new();
    let eose = loop {
        match rig.input().await {
            Input::Events(tally) => {
                assert!(tally.received <= 256, "F2");
                assert_eq!((tally.conn, tally.sub), (Some(CONN), Some(SubId(1))));
                received += tally.received;
                pages.extend(tally.page);
            }
            Input::Frame { frame, .. } => break frame,
            other => panic!("{other:?}"),
        }
    };
    let hints = EoseHints { finish: true, more: false };
    assert_eq!(eose, Frame::Eose { sub: SubId(1), hints });
    assert_eq!(received, 600);
    assert_eq!((pages.len(), pages[0].distinct), (1, 600));
    for event in &events {
        let arrival = rig.intake.recv().await.unwrap();
        assert_eq!(arrival.envelope.id, event.id);
        assert_eq!(*arrival.json, *event.as_json());
        assert_eq!((arrival.conn, arrival.sub, arrival.live), (CONN, SubId(1), false));
        assert_eq!(*arrival.filters, [Filter::new().kind(Kind::from_u16(1))]);
    }
    rig.send(ConnCommand::Unsubscribe { sub: SubId(1) });
    rig.send(ConnCommand::Unsubscribe { sub: SubId(1) });
    rig.send(ConnCommand::Close);
    let (inputs, reason) = rig.rest().await;
    assert_eq!((inputs, reason), (Vec::new(), CloseReason::Local));
    assert_eq!(rig.counts.sent("CLOSE"), 1);
    assert_eq!(Counts::of(&rig.counts.answers), 1);
}

#[tokio::test]
async fn a_tally_comes_without_an_eose_too_and_events_after_the_eose_are_live() {
    let events = notes(3);
    let url = server(async move |mut peer| {
        text(&mut peer).await;
        say(&mut peer, frame_of(7, &events[0])).await;
        assert_eq!(text(&mut peer).await, r#"["REQ","99",{"kinds":[1]}]"#);
        say(&mut peer, r#"["EOSE","7"]"#).await;
        say(&mut peer, frame_of(7, &events[1])).await;
        say(&mut peer, frame_of(7, &events[2])).await;
        listen(peer).await;
    })
    .await;
    let mut rig = Wish::default().dialed(&url).await;
    rig.subscribe(7, Filter::new().kind(Kind::from_u16(1)), Purpose::Live);
    let Input::Events(tally) = rig.input().await else { panic!("no tally by time") };
    assert_eq!((tally.received, tally.oldest), (1, Some(Timestamp::from_secs(1_700_000_000))));
    // The peer goes on when it has this.
    rig.page(99);
    let _ = rig.frame().await;
    let mut live = Vec::new();
    for _ in 0..3 {
        live.push(rig.intake.recv().await.unwrap().live);
    }
    assert_eq!(live, [false, true, true]);
}

#[tokio::test]
async fn what_cannot_match_is_settled_and_what_nobody_asked_for_only_counted() {
    let events = notes(3);
    let url = server(async move |mut peer| {
        text(&mut peer).await;
        for event in &events {
            say(&mut peer, frame_of(1, event)).await;
        }
        say(&mut peer, frame_of(2, &events[0])).await;
        say(&mut peer, frame_of(2, &events[0]).replace("\"2\"", "\"who\"")).await;
        say(&mut peer, r#"["EOSE","2"]"#).await;
        say(&mut peer, r#"["CLOSED","3","x"]"#).await;
        say(&mut peer, r#"["EOSE","1"]"#).await;
        listen(peer).await;
    })
    .await;
    let mut rig = Wish::default().dialed(&url).await;
    let since = Filter::new().kind(Kind::from_u16(1)).since(Timestamp::from_secs(1_700_000_001));
    rig.subscribe(1, since, Purpose::Ids { source: Source::Daily });
    let (mut received, mut unsolicited, mut off_filter) = (0, 0, 0);
    loop {
        match rig.input().await {
            Input::Events(tally) => {
                received += tally.received;
                unsolicited += tally.unsolicited;
            }
            Input::Settled(settled) => {
                assert_eq!(u64::from(settled.off_filter), SettleTally::total(&settled));
                off_filter += settled.off_filter;
            }
            Input::Frame { frame: Frame::Eose { sub: SubId(1), .. }, .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((received, off_filter, unsolicited), (3, 1, 2));
    assert_eq!(Counts::of(&rig.counts.unsolicited), 4);
    assert_eq!(Counts::of(&rig.counts.off_filter), 1);
    assert_eq!(rig.intake.len(), 2);
}

#[tokio::test]
async fn a_full_intake_stops_the_reading_and_nothing_is_lost() {
    let events = notes(500);
    let sent = events.clone();
    let url = server(async move |mut peer| {
        text(&mut peer).await;
        for event in &sent {
            say(&mut peer, frame_of(1, event)).await;
        }
        say(&mut peer, r#"["EOSE","1"]"#).await;
        listen(peer).await;
    })
    .await;
    let mut wish = Wish { intake: 8, ..Wish::default() };
    wish.config.limits.verify_share_percent = 100;
    // While we do not read, silence is ours and no reason to end (CONN-7).
    wish.config.dial.dead_after_silence = crate::support::millis(200);
    wish.config.dial.ping_interval = crate::support::millis(50);
    let mut rig = wish.dialed(&url).await;
    rig.page(1);
    let mut received = 0;
    loop {
        match rig.input().await {
            Input::Events(tally) => received += tally.received,
            Input::Stalled { conn } => break assert_eq!(conn, CONN),
            other => panic!("{other:?}"),
        }
    }
    // Commands go on, and the tally of what was read comes.
    while received < 9 {
        let Input::Events(tally) = rig.input().await else { panic!("no tally") };
        received += tally.received;
    }
    assert_eq!(received, 9);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let mut stalls = 1;
    let mut flows = 0;
    let mut arrived = Vec::new();
    let eose = loop {
        tokio::select! {
            Some(arrival) = rig.intake.recv() => arrived.push(arrival.envelope.id),
            Some(input) = rig.inputs.recv() => match input {
                Input::Events(tally) => received += tally.received,
                Input::Stalled { .. } => stalls += 1,
                Input::Flowing { .. } => flows += 1,
                Input::Frame { frame, .. } => break frame,
                other => panic!("{other:?}"),
            },
        }
    };
    assert!(matches!(eose, Frame::Eose { .. }));
    while arrived.len() < 500 {
        arrived.push(rig.intake.recv().await.unwrap().envelope.id);
    }
    assert_eq!((received, flows), (500, stalls));
    let ids: Vec<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(arrived, ids);
}

#[tokio::test]
async fn a_connection_holds_its_share_of_the_intake_and_no_more() {
    let events = notes(10);
    let url = server(async move |mut peer| {
        text(&mut peer).await;
        for event in &events {
            say(&mut peer, frame_of(1, event)).await;
        }
        say(&mut peer, r#"["EOSE","1"]"#).await;
        listen(peer).await;
    })
    .await;
    let mut rig = Wish { intake: 8, ..Wish::default() }.dialed(&url).await;
    rig.page(1);
    while !matches!(rig.input().await, Input::Stalled { .. }) {}
    assert_eq!(rig.intake.len(), 4, "half of the places are for others");
    let mut arrived = Vec::new();
    while arrived.len() < 9 {
        // An arrival that the intake keeps has its place until it is let go.
        arrived.push(rig.intake.recv().await.unwrap());
        arrived.iter_mut().for_each(|arrival| arrival.place = None);
    }
    let last = rig.intake.recv().await.unwrap();
    assert!(last.place.is_some() && rig.intake.is_empty());
    while !matches!(rig.input().await, Input::Frame { frame: Frame::Eose { .. }, .. }) {}
}

#[tokio::test]
async fn a_page_comes_with_the_live_requests_that_stand() {
    let events = notes(3);
    let url = server(async move |mut peer| {
        text(&mut peer).await;
        text(&mut peer).await;
        say(&mut peer, frame_of(2, &events[0])).await;
        say(&mut peer, r#"["EOSE","1"]"#).await;
        say(&mut peer, frame_of(2, &events[1])).await;
        assert_eq!(text(&mut peer).await, r#"["CLOSE","1"]"#);
        say(&mut peer, frame_of(2, &events[2])).await;
        listen(peer).await;
    })
    .await;
    let mut rig = Wish::default().dialed(&url).await;
    rig.subscribe(1, Filter::new().kind(Kind::from_u16(1)).limit(0), Purpose::Live);
    rig.page(2);
    let before = Timestamp::now();
    assert!(rig.intake.recv().await.unwrap().standing.is_none());
    let standing = rig.intake.recv().await.unwrap().standing.unwrap();
    assert_eq!(standing.len(), 1);
    assert_eq!(*standing[0].filters, [Filter::new().kind(Kind::from_u16(1)).limit(0)]);
    assert!((before..=Timestamp::now()).contains(&standing[0].since));
    rig.send(ConnCommand::Unsubscribe { sub: SubId(1) });
    assert!(rig.intake.recv().await.unwrap().standing.is_none());
}

#[tokio::test]
async fn a_closed_subscription_is_over_and_late_events_of_it_are_excused() {
    let events = notes(4);
    let url = server(async move |mut peer| {
        text(&mut peer).await;
        say(&mut peer, frame_of(1, &events[0])).await;
        say(&mut peer, "[\"CLOSED\",\"1\",\"rate-limited: slow\\u0007 down\"]").await;
        say(&mut peer, frame_of(1, &events[1])).await;
        say(&mut peer, r#"["NOTICE","bye"]"#).await;
        listen(peer).await;
    })
    .await;
    let mut rig = Wish::default().dialed(&url).await;
    rig.page(1);
    let text = RelayText::new("rate-limited: slow down");
    assert_eq!(rig.frame().await, (1, Frame::Closed { sub: SubId(1), text }));
    assert_eq!(rig.frame().await, (1, Frame::Notice { text: RelayText::new("bye") }));
    rig.send(ConnCommand::Close);
    rig.rest().await;
    assert_eq!(rig.counts.sent("CLOSE"), 0);
    assert_eq!(Counts::of(&rig.counts.unsolicited), 0);
    assert_eq!(rig.intake.len(), 2);
}
