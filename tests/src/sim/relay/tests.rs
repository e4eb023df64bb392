//! The simulated relay by itself: what it serves, and what its faults do to it.

use negentropy::{Id, Negentropy as Side, NegentropyStorageVector};
use sync_core::id::RelayId;

use super::*;
use crate::corpus::{Corpus, Options, Signing};
use crate::entropy::Seeded;

const CONN: ConnId = ConnId { relay: RelayId(0), epoch: 1 };

fn corpus() -> Corpus {
    let signing = Signing::Simulated;
    Corpus::generate(Options { events: 300, replaced: 0, signing, ..Options::default() })
}

fn relay(nature: Nature, corpus: &Corpus) -> SimRelay {
    let url = RelayUrl::parse("wss://one.example/").expect("a relay URL");
    let mut relay = SimRelay::new(url, nature);
    for entry in &corpus.entries {
        relay.publish(&Arc::new(entry.event.clone()), Timestamp::from_secs(0));
    }
    relay.open(CONN);
    relay
}

fn ask(relay: &mut SimRelay, sub: u32, filter: Filter) -> Vec<ToClient> {
    let mut entropy = Seeded::new(1, "relay tests");
    let answers = relay.on_frame(CONN, ToRelay::Req(SubId(sub), vec![filter]), &mut entropy);
    answers.into_iter().map(|(_, frame)| frame).collect()
}

#[test]
fn a_page_holds_the_newest_events_up_to_the_cap_and_ends_with_eose() {
    let corpus = corpus();
    let mut relay = relay(Nature { cap: Some(50), ..Nature::default() }, &corpus);
    let frames = ask(&mut relay, 1, Filter::new().limit(500));
    assert_eq!(frames.len(), 51);
    let mut newest: Vec<_> =
        corpus.entries.iter().map(|e| (e.event.created_at, e.event.id)).collect();
    newest.sort_by_key(|(at, id)| (std::cmp::Reverse(*at), *id));
    for (frame, (_, id)) in frames[..50].iter().zip(newest) {
        assert!(matches!(frame, ToClient::Event(SubId(1), event) if event.id == id));
    }
    assert_eq!(frames[50], ToClient::Eose(SubId(1), EoseHints::default()));
}

#[test]
fn a_live_subscription_forwards_later_events_until_it_is_closed() {
    let corpus = corpus();
    let mut relay = relay(Nature::default(), &corpus);
    let frames = ask(&mut relay, 1, Filter::new().kind(nostr::event::Kind::from(1)).limit(0));
    assert_eq!(frames, [ToClient::Eose(SubId(1), EoseHints::default())]);
    let mut event = corpus.entries[0].event.clone();
    event.kind = nostr::event::Kind::from(1);
    event.id = EventId::from_byte_array([9; 32]);
    let event = Arc::new(event);
    let told = relay.publish(&event, Timestamp::from_secs(0));
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1.1, ToClient::Event(SubId(1), Arc::clone(&event)));
    assert!(relay.publish(&event, Timestamp::from_secs(0)).is_empty(), "once");
    relay.on_frame(CONN, ToRelay::Close(SubId(1)), &mut Seeded::new(1, ""));
    assert_eq!(relay.open_on(CONN), 0);
}

#[test]
fn negentropy_finds_exactly_what_one_side_lacks() {
    let corpus = corpus();
    let mut relay = relay(Nature::default(), &corpus);
    let mut entropy = Seeded::new(1, "relay tests");
    let mut ours = NegentropyStorageVector::new();
    let lacking: BTreeSet<EventId> = corpus.entries[40..60].iter().map(|e| e.event.id).collect();
    for entry in corpus.entries.iter().filter(|e| !lacking.contains(&e.event.id)) {
        let id = Id::from_byte_array(entry.event.id.to_bytes());
        ours.insert(entry.event.created_at.as_secs(), id).expect("not sealed");
    }
    ours.seal().expect("sealed once");
    let mut side = Side::borrowed(&ours, 60_000).expect("large enough");
    let mut message = faster_hex::hex_string(&side.initiate().expect("first"));
    let mut frame = ToRelay::NegOpen(NegId(7), Filter::new(), message);
    let (mut have, mut need) = (Vec::new(), Vec::new());
    loop {
        let answers = relay.on_frame(CONN, frame, &mut entropy);
        let [(_, ToClient::NegMsg(NegId(7), reply))] = answers.as_slice() else {
            panic!("{answers:?}");
        };
        let mut bytes = vec![0; reply.len() / 2];
        faster_hex::hex_decode(reply.as_bytes(), &mut bytes).expect("hex");
        let next = side.reconcile_with_ids(&bytes, &mut have, &mut need).expect("a message");
        let Some(next) = next else { break };
        message = faster_hex::hex_string(&next);
        frame = ToRelay::NegMsg(NegId(7), message);
    }
    let need: BTreeSet<_> = need.iter().map(|id| EventId::from_byte_array(id.to_bytes())).collect();
    assert_eq!((need, have.len()), (lacking, 0));
}

#[test]
fn each_way_to_refuse_negentropy_shows_as_its_frame() {
    let corpus = corpus();
    let mut shown = Vec::new();
    for way in Negentropy::ALL {
        let mut relay = relay(Nature { negentropy: way, ..Nature::default() }, &corpus);
        let open = ToRelay::NegOpen(NegId(3), Filter::new(), "6100".to_owned());
        let answers = relay.on_frame(CONN, open, &mut Seeded::new(1, ""));
        shown.push(match answers.first().map(|(_, frame)| frame) {
            None => "nothing",
            Some(ToClient::NegMsg(..)) => "NEG-MSG",
            Some(ToClient::Notice(_)) => "NOTICE",
            Some(ToClient::NegErr(..)) => "NEG-ERR",
            Some(ToClient::Closed(..)) => "CLOSED",
            Some(_) => "another",
        });
    }
    assert_eq!(shown, ["NEG-MSG", "nothing", "NOTICE", "NEG-ERR", "CLOSED", "NEG-MSG"]);
}

#[test]
fn bad_signatures_stay_bad_and_withheld_ids_are_never_served() {
    let corpus = corpus();
    let mut relay = relay(Nature { cap: None, ..Nature::default() }, &corpus);
    let withheld = corpus.entries[..10].iter().map(|e| e.event.id).collect();
    relay.misbehave(Faults { bad_signatures: 100, withheld, ..Faults::default() });
    assert!(!relay.is_honest());
    let bad = |frames: Vec<ToClient>| -> Vec<EventId> {
        let events = frames.into_iter().filter_map(|frame| match frame {
            ToClient::Event(_, event) => Some(event),
            _ => None,
        });
        let events: Vec<_> = events.collect();
        assert_eq!(events.len(), corpus.entries.len() - 10);
        let bad = events.iter().filter(|e| e.sig == Signature::from_byte_array([1; 64]));
        bad.map(|e| e.id).collect()
    };
    let first = bad(ask(&mut relay, 1, Filter::new()));
    assert!(first.len() > 10 && first.len() < 60, "{}", first.len());
    assert_eq!(first, bad(ask(&mut relay, 2, Filter::new())));
}

#[test]
fn a_connection_drops_after_as_many_frames_as_planned() {
    let corpus = corpus();
    let mut relay = relay(Nature::default(), &corpus);
    relay.faults.drop_after = Some(3);
    let drops: Vec<bool> = (0..5).map(|_| relay.drops_now(CONN)).collect();
    assert_eq!(drops, [false, false, false, true, true]);
}
