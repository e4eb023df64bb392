//! Tables of frames, and properties over arbitrary and mutated text.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use nostr::event::Kind;
use nostr::filter::{Filter, SingleLetterTag};
use nostr::key::PublicKey;
use nostr::types::Timestamp;
use proptest::prelude::*;

use super::*;

const EVENT: &str = concat!(
    r#"{"content":"a \"quoted\" ]} text","created_at":1700000000,"#,
    r#""id":"aa00000000000000000000000000000000000000000000000000000000000001","kind":1621,"#,
    r#""pubkey":"bb00000000000000000000000000000000000000000000000000000000000002","#,
    r#""sig":"cc","tags":[[],["e","x"]]}"#
);

/// A frame in one line: type, subscription, and what it carries.
fn line(text: &str) -> String {
    let number = |sub: Option<u32>| sub.map_or("-".into(), |sub| sub.to_string());
    match scan(text) {
        Err(error) => format!("error: {error}"),
        Ok(RelayFrame::Event { sub, event }) => {
            format!("EVENT {} {} bytes", number(sub.map(|s| s.0)), event.get().len())
        }
        Ok(RelayFrame::Eose { sub, hints }) => {
            format!("EOSE {} {} {}", number(sub.map(|s| s.0)), hints.finish, hints.more)
        }
        Ok(RelayFrame::Closed { sub, text }) => {
            format!("CLOSED {} {text:?}", number(sub.map(|s| s.0)))
        }
        Ok(RelayFrame::Notice { text }) => format!("NOTICE {text:?}"),
        Ok(RelayFrame::Ok { id, accepted, text }) => {
            format!("OK {} {accepted} {text:?}", &id.to_hex()[..2])
        }
        Ok(RelayFrame::Auth { challenge }) => format!("AUTH {challenge:?}"),
        Ok(RelayFrame::NegMsg { neg, hex }) => {
            format!("NEG-MSG {} {hex}", number(neg.map(|n| n.0)))
        }
        Ok(RelayFrame::NegErr { neg, text, limit }) => {
            format!("NEG-ERR {} {text:?} {limit:?}", number(neg.map(|n| n.0)))
        }
        Ok(RelayFrame::Count) => "COUNT".into(),
        Ok(RelayFrame::Unknown) => "unknown".into(),
    }
}

const ID: &str = "aa00000000000000000000000000000000000000000000000000000000000001";

#[test]
fn every_frame_of_a_relay_is_read_and_sloppy_ones_too() {
    let broken = "error: not a relay frame";
    let table = [
        (r#"["EVENT","7",{}]"#.into(), "EVENT 7 2 bytes"),
        (r#" [ "EVENT" , "7" , {"a":1} , "extra" ] "#.into(), "EVENT 7 7 bytes"),
        (r#"["EVENT","07",{}]"#.into(), "EVENT - 2 bytes"),
        (r#"["EVENT","",{}]"#.into(), "EVENT - 2 bytes"),
        (r#"["EVENT","+7",{}]"#.into(), "EVENT - 2 bytes"),
        (r#"["EVENT","4294967296",{}]"#.into(), "EVENT - 2 bytes"),
        (r#"["EVENT","0",{}]"#.into(), "EVENT 0 2 bytes"),
        (r#"["EVENT","\u0037",{}]"#.into(), "EVENT 7 2 bytes"),
        (r#"["EVENT","7"]"#.into(), broken),
        (r#"["EVENT",7,{}]"#.into(), broken),
        (r#"["EVENT","7",{]"#.into(), broken),
        (r#"["EOSE","7"]"#.into(), "EOSE 7 false false"),
        (r#"["EOSE","7",["finish"]]"#.into(), "EOSE 7 true false"),
        (r#"["EOSE","7",["more","later",1]]"#.into(), "EOSE 7 false true"),
        (r#"["EOSE","7","finish"]"#.into(), "EOSE 7 false false"),
        (r#"["EOSE","7",[],{}]"#.into(), "EOSE 7 false false"),
        (r#"["EOSE"]"#.into(), broken),
        (r#"["CLOSED","7","error: x"]"#.into(), r#"CLOSED 7 "error: x""#),
        (r#"["CLOSED","7"]"#.into(), r#"CLOSED 7 """#),
        (r#"["CLOSED","7",null]"#.into(), r#"CLOSED 7 """#),
        (r#"["NOTICE","a\nb"]"#.into(), r#"NOTICE "a\nb""#),
        (r#"["NOTICE"]"#.into(), r#"NOTICE """#),
        (format!(r#"["OK","{ID}",true]"#), r#"OK aa true """#),
        (format!(r#"["OK","{ID}",false,"blocked: no"]"#), r#"OK aa false "blocked: no""#),
        (format!(r#"["OK","{}",true]"#, ID.to_uppercase()), broken),
        (r#"["OK","",true]"#.into(), broken),
        (format!(r#"["OK","{ID}"]"#), broken),
        (r#"["AUTH","c"]"#.into(), r#"AUTH "c""#),
        (r#"["NEG-MSG","7","61"]"#.into(), "NEG-MSG 7 61"),
        (r#"["NEG-ERR","7","blocked: big",500]"#.into(), r#"NEG-ERR 7 "blocked: big" Some(500)"#),
        (r#"["NEG-ERR","7","closed"]"#.into(), r#"NEG-ERR 7 "closed" None"#),
        (r#"["NEG-ERR","7","closed","x"]"#.into(), r#"NEG-ERR 7 "closed" None"#),
        (r#"["NEG-ERR","7"]"#.into(), r#"NEG-ERR 7 "" None"#),
        (r#"["COUNT","7",{"count":1}]"#.into(), "COUNT"),
        (r#"["HELLO",1,{"a":[]}]"#.into(), "unknown"),
        ("[]".into(), broken),
        ("{}".into(), broken),
        ("".into(), broken),
        (r#"["NOTICE","x"] trailing"#.into(), broken),
        (r#"["NOTICE","x""#.into(), broken),
    ];
    let table: [(String, &str); 40] = table;
    for (text, expected) in table {
        assert_eq!(line(&text), expected, "{text}");
    }
}

#[test]
fn deeply_nested_json_neither_overflows_nor_passes_for_an_event() {
    let deep = format!(r#"["EVENT","1",{}{}]"#, "[".repeat(100_000), "]".repeat(100_000));
    if let Ok(RelayFrame::Event { event, .. }) = scan(&deep) {
        assert_eq!(envelope(event), Err(WireError::Event));
    }
    let text = format!(r#"["NEW",{}{}]"#, "{\"a\":".repeat(100_000), "}".repeat(100_000));
    assert!(scan(&text).is_err());
}

fn event_of(frame: &str) -> Result<Envelope, WireError> {
    match scan(frame).unwrap() {
        RelayFrame::Event { event, .. } => envelope(event),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_envelope_is_read_whatever_the_rest_of_the_event_holds() {
    let envelope = event_of(&format!(r#"["EVENT","1",{EVENT}]"#)).unwrap();
    assert_eq!(envelope.id.to_hex(), ID);
    assert_eq!(envelope.pubkey.to_hex()[..2], *"bb");
    assert_eq!(envelope.created_at, Timestamp::from_secs(1_700_000_000));
    assert_eq!(envelope.kind, Kind::from_u16(1621));
}

#[test]
fn an_event_that_breaks_nip_01_is_named_as_such() {
    let cases = [
        (ID, "AA00000000000000000000000000000000000000000000000000000000000001", WireError::Hex),
        (ID, &ID[..63], WireError::Hex),
        (ID, "note1xyz", WireError::Hex),
        ("1621", "65536", WireError::Event),
        ("1621", "-1", WireError::Event),
        ("1621", "\"1\"", WireError::Event),
        ("1700000000", "9223372036854775808", WireError::Event),
        ("1700000000", "-1", WireError::Event),
        ("1700000000", "1.5", WireError::Event),
        ("\"id\"", "\"xx\"", WireError::Event),
        ("\"sig\"", "\"id\"", WireError::Event),
    ];
    for (from, to, error) in cases {
        let frame = format!(r#"["EVENT","1",{}]"#, EVENT.replace(from, to));
        assert_eq!(event_of(&frame), Err(error), "{to}");
    }
    let newest = EVENT.replace("1700000000", "9223372036854775807");
    assert!(event_of(&format!(r#"["EVENT","1",{newest}]"#)).is_ok());
}

#[test]
fn the_head_of_a_frame_tells_its_type_and_subscription_without_the_rest() {
    let table = [
        (r#"["EVENT","12",{"never closed"#, FrameType::Event, Some(12)),
        (r#" [ "NEG-MSG" , "3" , "6"#, FrameType::NegMsg, Some(3)),
        (r#"["NOTICE","text"#, FrameType::Notice, None),
        (r#"["EVENT","x",{"#, FrameType::Event, None),
        (r#"["\u0045VENT","1""#, FrameType::Unknown, None),
        (r#"["OTHER","1""#, FrameType::Unknown, Some(1)),
        ("", FrameType::Unknown, None),
        (r#"["EVENT"#, FrameType::Unknown, None),
    ];
    for (text, frame_type, sub) in table {
        assert_eq!(head(text), (frame_type, sub.map(SubId)), "{text}");
    }
}

#[test]
fn the_fields_without_tags_decide_whether_an_event_can_fit() {
    let envelope = event_of(&format!(r#"["EVENT","1",{EVENT}]"#)).unwrap();
    let at = |secs| Timestamp::from_secs(secs);
    let now = 1_700_000_000;
    let other = PublicKey::from_byte_array([1; 32]);
    let tagged = Filter::new().custom_tag(SingleLetterTag::from_char('e').unwrap(), "absent");
    let table = [
        (Filter::new(), true),
        (tagged, true),
        (Filter::new().kind(Kind::from_u16(1621)), true),
        (Filter::new().kind(Kind::from_u16(1)), false),
        (Filter::new().author(envelope.pubkey), true),
        (Filter::new().author(other), false),
        (Filter::new().id(envelope.id), true),
        (Filter::new().id(EventId::from_byte_array([1; 32])), false),
        (Filter::new().since(at(now)).until(at(now)), true),
        (Filter::new().since(at(now + 1)), false),
        (Filter::new().until(at(now - 1)), false),
    ];
    for (filter, fits) in &table {
        assert_eq!(envelope.fits(filter), *fits, "{filter:?}");
    }
    assert!(envelope.fits_any(&[table[3].0.clone(), table[2].0.clone()]));
    assert!(!envelope.fits_any(&[]));
}

#[test]
fn the_frames_that_we_send_are_those_of_the_nips() {
    let filter = Filter::new().kind(Kind::from_u16(1621)).limit(0);
    let sub = SubId(4);
    let neg = NegId(5);
    assert_eq!(
        req(sub, &[filter.clone(), filter.clone()]),
        r#"["REQ","4",{"kinds":[1621],"limit":0},{"kinds":[1621],"limit":0}]"#
    );
    assert_eq!(close(sub), r#"["CLOSE","4"]"#);
    assert_eq!(
        neg_open(neg, &filter.remove_limit(), "6100"),
        r#"["NEG-OPEN","5",{"kinds":[1621]},"6100"]"#
    );
    assert_eq!(neg_msg(neg, "61"), r#"["NEG-MSG","5","61"]"#);
    assert_eq!(neg_close(neg), r#"["NEG-CLOSE","5"]"#);
    assert_eq!(auth("{}"), r#"["AUTH",{}]"#);
    assert_eq!(event("{}"), r#"["EVENT",{}]"#);
}

fn sane(text: &str) {
    let (frame_type, sub) = head(text);
    if let Ok(frame) = scan(text) {
        if let RelayFrame::Event { event, sub: scanned } = &frame {
            let _ = envelope(event);
            // An escaped type or id is read by `scan` only.
            if frame_type == FrameType::Event && sub.is_some() {
                assert_eq!(sub, *scanned);
            }
        }
        assert!(frame_type == FrameType::Unknown || frame_type == frame.frame_type());
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_decoder_panic(text in "\\PC{0,200}") {
        sane(&text);
    }

    #[test]
    fn no_change_of_a_frame_makes_the_decoder_panic(
        which in 0usize..6, at in any::<prop::sample::Index>(), insert in "\\PC{0,3}",
        cut in 0usize..4,
    ) {
        let frames = [
            format!(r#"["EVENT","1",{EVENT}]"#),
            r#"["EOSE","1",["finish","more"]]"#.into(),
            r#"["NEG-ERR","1","blocked: too many",5000]"#.into(),
            format!(r#"["OK","{ID}",true,"x"]"#),
            r#"["NEG-MSG","1","6100000200"]"#.into(),
            r#"["CLOSED","1","rate-limited: \u00e9"]"#.into(),
        ];
        let mut chars: Vec<char> = frames[which].chars().collect();
        let at = at.index(chars.len());
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, insert.chars());
        sane(&chars.into_iter().collect::<String>());
    }

    #[test]
    fn what_any_json_library_writes_as_a_frame_is_read_back(
        sub in any::<u32>(), text in "\\PC{0,40}", extra in any::<bool>(),
    ) {
        let mut parts = BTreeMap::from([(0, "CLOSED".to_string()), (1, sub.to_string())]);
        parts.insert(2, text.clone());
        if extra {
            parts.insert(3, "extra".into());
        }
        let frame = serde_json::to_string(&parts.values().collect::<Vec<_>>()).unwrap();
        match scan(&frame) {
            Ok(RelayFrame::Closed { sub: read, text: words }) => {
                prop_assert_eq!(read, Some(SubId(sub)));
                prop_assert_eq!(words, text);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
