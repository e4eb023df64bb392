//! Sessions against the `negentropy` crate as the relay's side, and against liars.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::rng::Rng;

type Item = (Timestamp, EventId);

/// Ids are spread like hashes: fingerprints are sums, and sums of small numbers collide.
fn item(at: u64, id: u64) -> Item {
    let mut rng = Rng::new(id);
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&rng.next().to_be_bytes());
    }
    // Few first bytes, so that bounds within a second need longer prefixes.
    bytes[0] %= 5;
    (Timestamp::from_secs(at), EventId::from_byte_array(bytes))
}

fn range(since: u64, until: u64) -> Range {
    Range { since: Timestamp::from_secs(since), until: Timestamp::from_secs(until) }
}

const ALL: Range = Range { since: Timestamp::from_secs(0), until: Timestamp::from_secs(1 << 40) };
const WIDE: NegLimits = NegLimits { rounds: 10_000, need: 1_000_000, frame: 120_000 };

/// The relay's side over its whole store, limited to a range as a filter does it.
struct Relay {
    items: NegentropyStorageVector,
    frame: u64,
}

impl Relay {
    fn new(items: &[Item], range: Range, frame: u64) -> Self {
        let mut storage = NegentropyStorageVector::new();
        for (at, id) in items.iter().filter(|(at, _)| range.contains(*at)) {
            storage.insert(at.as_secs(), Id::from_byte_array(id.to_bytes())).unwrap();
        }
        storage.seal().unwrap();
        Self { items: storage, frame }
    }

    fn answer(&self, hex: &str) -> String {
        let mut message = vec![0; hex.len() / 2];
        faster_hex::hex_decode(hex.as_bytes(), &mut message).unwrap();
        assert!(message.len() as u64 <= FRAME_MAX);
        let mut side = Negentropy::borrowed(&self.items, self.frame).unwrap();
        faster_hex::hex_string(&side.reconcile(&message).unwrap())
    }
}

fn within(items: &[Item], range: Range) -> Vec<Item> {
    items.iter().filter(|(at, _)| range.contains(*at)).copied().collect()
}

/// One session with an honest relay.
fn session(
    ours: &[Item],
    theirs: &[Item],
    range: Range,
    limits: NegLimits,
    frame: u64,
) -> (NegOutcome, Found, u32) {
    let relay = Relay::new(theirs, range, frame);
    let mut side = Reconciler::new(within(ours, range), range, limits, 100);
    let mut message = side.open();
    loop {
        match side.on_message(&relay.answer(&message)) {
            Step::Send(next) => message = next,
            Step::End(outcome) => {
                let rounds = side.rounds();
                return (outcome, side.into_found(), rounds);
            }
        }
    }
}

/// Follows every split, fetching what is needed between sessions as the core does.
fn follow(ours: &[Item], theirs: &[Item], limits: NegLimits, frame: u64) -> BTreeSet<EventId> {
    let mut ours: Vec<Item> = ours.to_vec();
    let mut all = BTreeSet::new();
    let mut ranges = vec![ALL];
    let mut sessions = 0;
    while let Some(range) = ranges.pop() {
        sessions += 1;
        assert!(sessions < 5_000, "splits do not end");
        let (outcome, found, _) = session(&ours, theirs, range, limits, frame);
        let need: BTreeSet<EventId> = found.need.into_iter().collect();
        ours.extend(theirs.iter().filter(|(_, id)| need.contains(id)));
        all.extend(need);
        match outcome {
            NegOutcome::Done => {}
            NegOutcome::Split(parts) => ranges.extend(parts),
            other => panic!("an honest relay is called {other:?}"),
        }
    }
    all
}

fn minus(a: &[Item], b: &[Item]) -> Vec<EventId> {
    let b: BTreeSet<EventId> = b.iter().map(|(_, id)| *id).collect();
    let a: BTreeSet<EventId> = a.iter().map(|(_, id)| *id).collect();
    a.difference(&b).copied().collect()
}

#[test]
fn equal_sets_end_in_one_round_without_ids() {
    let items: Vec<Item> = (0..1000).map(|n| item(n, n)).collect();
    let (outcome, found, rounds) = session(&items, &items, ALL, WIDE, 0);
    assert_eq!((outcome, found, rounds), (NegOutcome::Done, Found::default(), 1));
}

#[test]
fn an_empty_store_needs_all_that_the_relay_has() {
    let theirs: Vec<Item> = (0..100).map(|n| item(n / 3, n)).collect();
    let (outcome, found, rounds) = session(&[], &theirs, ALL, WIDE, 0);
    assert_eq!((outcome, rounds), (NegOutcome::Done, 1));
    assert_eq!(found, Found { need: minus(&theirs, &[]), have: 0 });
}

#[test]
fn an_empty_relay_lacks_all_that_we_have() {
    let ours: Vec<Item> = (0..100).map(|n| item(n / 3, n)).collect();
    let (outcome, found, _) = session(&ours, &[], ALL, WIDE, 0);
    assert_eq!((outcome, found), (NegOutcome::Done, Found { need: Vec::new(), have: 100 }));
}

#[test]
fn a_message_stays_within_the_frame_that_is_left_beside_the_filter() {
    let ours: Vec<Item> = (0..40_000).map(|n| item(n, n)).collect();
    let theirs: Vec<Item> = (0..40_000).map(|n| item(n, n + n % 2 * 100_000)).collect();
    let limits = NegLimits { frame: 20_000, ..WIDE };
    let relay = Relay::new(&theirs, ALL, 0);
    let mut side = Reconciler::new(ours, ALL, limits, 5_000);
    let mut message = side.open();
    let mut longest = message.len();
    while let Step::Send(next) = side.on_message(&relay.answer(&message)) {
        longest = longest.max(next.len());
        message = next;
    }
    assert!((10_000..=15_000).contains(&longest), "{longest}");
}

#[test]
fn a_large_difference_becomes_windows_of_the_wanted_size() {
    let ours: Vec<Item> =
        (0..10_000).map(|n| item(n, n)).filter(|i| i.0.as_secs() % 10 > 0).collect();
    let theirs: Vec<Item> = (0..10_000).map(|n| item(n, n)).collect();
    let limits = NegLimits { need: 1_000, ..WIDE };
    let (outcome, _, rounds) = session(&ours, &theirs, range(0, 9_999), limits, 0);
    let NegOutcome::Split(windows) = outcome else { panic!("{outcome:?}") };
    assert_eq!(rounds, 1);
    assert_eq!(windows.len(), 9);
    assert_eq!((windows[0].since.as_secs(), windows[8].until.as_secs()), (0, 9_999));
    for pair in windows.windows(2) {
        assert_eq!(pair[0].until.as_secs() + 1, pair[1].since.as_secs());
    }
    for window in &windows {
        assert!(within(&ours, *window).len() <= 1_000);
    }
    assert_eq!(follow(&ours, &theirs, limits, 0).len(), 1_000);
}

#[test]
fn few_differences_in_a_large_set_stay_one_session() {
    let theirs: Vec<Item> = (0..20_000).map(|n| item(n, n)).collect();
    let ours: Vec<Item> = theirs.iter().filter(|i| i.0.as_secs() % 9_000 != 7).copied().collect();
    let limits = NegLimits { need: 1_000, ..WIDE };
    let (outcome, found, rounds) = session(&ours, &theirs, ALL, limits, 60_000);
    assert_eq!((outcome, found.need.len()), (NegOutcome::Done, 3));
    assert!(rounds <= 3, "{rounds}");
}

#[test]
fn a_second_larger_than_a_window_is_reconciled_all_the_same() {
    let theirs: Vec<Item> = (0..3_000).map(|n| item(7, n)).collect();
    let ours: Vec<Item> = theirs.iter().step_by(2).copied().collect();
    let limits = NegLimits { need: 100, ..WIDE };
    assert_eq!(follow(&ours, &theirs, limits, 4_096).len(), 1_500);
}

#[test]
fn a_session_that_lasts_too_long_ends_as_a_split_of_the_rest() {
    let theirs: Vec<Item> = (0..5_000).map(|n| item(n, n)).collect();
    let ours: Vec<Item> = theirs.iter().filter(|i| i.0.as_secs() % 7 > 0).copied().collect();
    let limits = NegLimits { rounds: 4, ..WIDE };
    let (outcome, found, rounds) = session(&ours, &theirs, ALL, limits, 4_096);
    let NegOutcome::Split(rest) = outcome else { panic!("{outcome:?}") };
    assert_eq!((rounds, rest.len()), (4, 1));
    assert!(rest[0].since.as_secs() > 0 && !found.need.is_empty());
    assert_eq!(follow(&ours, &theirs, limits, 4_096).len(), 715);
}

fn first_reply(ours: u64, reply: &str) -> Step {
    let ours = (0..ours).map(|n| item(n, n)).collect();
    let mut side = Reconciler::new(ours, ALL, WIDE, 0);
    side.open();
    side.on_message(reply)
}

#[test]
fn a_list_that_is_not_answered_is_a_truncated_reply() {
    let hex = |bytes: &[u8]| faster_hex::hex_string(bytes);
    // Nothing, and a skip over everything.
    assert_eq!(first_reply(3, "61"), Step::End(NegOutcome::Truncated));
    assert_eq!(first_reply(3, &hex(&[0x61, 0, 0, 0])), Step::End(NegOutcome::Truncated));
    // A list that ends before ours, nothing for the rest.
    assert_eq!(first_reply(3, &hex(&[0x61, 2, 0, 2, 0])), Step::End(NegOutcome::Truncated));
    // A skip first, then a list: the beginning is left out.
    let late = [0x61, 2, 0, 0, 0, 0, 2, 0];
    assert_eq!(first_reply(3, &hex(&late)), Step::End(NegOutcome::Truncated));
    // The whole list; and a list with a fingerprint of the rest, which differs.
    assert_eq!(first_reply(3, &hex(&[0x61, 0, 0, 2, 0])), Step::End(NegOutcome::Done));
    let mut rest = vec![0x61, 2, 0, 2, 0, 0, 0, 1];
    rest.extend([7; 16]);
    assert!(matches!(first_reply(3, &hex(&rest)), Step::Send(_)));
    // Without a list of ours, silence is the relay's claim that all is equal.
    assert_eq!(first_reply(100, "61"), Step::End(NegOutcome::Done));
}

#[test]
fn every_list_of_an_honest_reply_is_needed() {
    let ours: Vec<Item> = (0..600).map(|n| item(n, n)).collect();
    let theirs: Vec<Item> = (0..600).map(|n| item(n, n + n % 3 * 1_000)).collect();
    let relay = Relay::new(&theirs, ALL, 0);
    let mut side = Reconciler::new(ours, ALL, WIDE, 0);
    let first = side.open();
    let Step::Send(lists) = side.on_message(&relay.answer(&first)) else { panic!("one round") };
    let asked = side.sent.iter().filter(|part| part.mode == Mode::Ids).count();
    let reply = relay.answer(&lists);
    let mut bytes = vec![0; reply.len() / 2];
    faster_hex::hex_decode(reply.as_bytes(), &mut bytes).unwrap();
    let parts = decode(&bytes).unwrap();
    assert!(asked > 10 && answers_every_list(&side.sent, &parts));
    for left_out in 0..parts.len() {
        let mut cut = parts.clone();
        if cut[left_out].mode == Mode::Ids {
            cut[left_out].mode = Mode::Skip;
            assert!(!answers_every_list(&side.sent, &cut), "without part {left_out}");
        }
    }
}

#[test]
fn what_is_no_message_is_garbage() {
    let cases = [
        "",                             // no version
        "6",                            // half a byte
        "6z",                           // no hex
        "620000020",                    // half a byte
        "62000002",                     // another version
        "6100",                         // a bound that is cut
        "61000003",                     // an unknown mode
        "6100000201",                   // an id that is missing
        "61000002ffffffff7f",           // more ids than fit in memory
        "610021",                       // an id of 33 bytes
        "61808080808080808080800000",   // a number of eleven bytes
        "61ffffffffffffffffff7f0000",   // a number above 64 bits
        "6181808080808080808001000000", // a date above 2^63
        "610280",                       // a length that is cut
        "610201020001010100",           // bounds that go backwards
    ];
    for reply in cases {
        assert_eq!(first_reply(3, reply), Step::End(NegOutcome::Garbage), "{reply}");
    }
}

#[test]
fn a_relay_that_never_moves_on_is_garbage() {
    let mut bytes = vec![0x61, 0, 0, 1];
    bytes.extend([9; 16]);
    let reply = faster_hex::hex_string(&bytes);
    assert_eq!(first_reply(100, &reply), Step::End(NegOutcome::Garbage));
}

#[test]
fn items_dated_beyond_the_protocol_are_left_out() {
    let mut side = Reconciler::new(vec![item(1 << 63, 1), item(5, 2)], ALL, WIDE, 0);
    let mut alone = Reconciler::new(vec![item(5, 2)], ALL, WIDE, 0);
    assert_eq!(side.open(), alone.open());
}

fn sets() -> impl Strategy<Value = (Vec<Item>, Vec<Item>)> {
    // Seconds from one to thousands, so that some are dense; three in ten are on one side only.
    (1u64..3_000, prop::collection::vec((any::<u16>(), 0u8..20), 0..1_500)).prop_map(
        |(seconds, rows)| {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for (n, (at, side)) in rows.into_iter().enumerate() {
                let row = item(u64::from(at) % seconds, n as u64);
                if side > 2 {
                    ours.push(row);
                }
                if !(3..=5).contains(&side) {
                    theirs.push(row);
                }
            }
            (ours, theirs)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_two_sets_reconcile_exactly_with_any_frame_limit(
        (ours, theirs) in sets(), frame in 0u32..120_000,
        relay in prop_oneof![Just(0u64), 4_096u64..60_000],
    ) {
        let limits = NegLimits { frame, ..WIDE };
        let (outcome, found, _) = session(&ours, &theirs, ALL, limits, relay);
        prop_assert_eq!(outcome, NegOutcome::Done);
        prop_assert_eq!(found.need, minus(&theirs, &ours));
        prop_assert_eq!(found.have as usize, minus(&ours, &theirs).len());
    }

    #[test]
    fn splits_followed_to_the_end_find_every_missing_id(
        (ours, theirs) in sets(), need in 1u32..400, rounds in 2u32..50,
        relay in prop_oneof![Just(0u64), 4_096u64..8_000],
    ) {
        let limits = NegLimits { rounds, need, frame: 8_192 };
        let all: Vec<EventId> = follow(&ours, &theirs, limits, relay).into_iter().collect();
        prop_assert_eq!(all, minus(&theirs, &ours));
    }

    #[test]
    fn no_reply_makes_a_session_panic_or_last_for_ever(
        (ours, theirs) in sets(),
        changes in prop::collection::vec((any::<u16>(), any::<u8>()), 0..6),
        noise in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let limits = NegLimits { rounds: 50, ..WIDE };
        let relay = Relay::new(&theirs, ALL, 5_000);
        let mut side = Reconciler::new(ours, ALL, limits, 0);
        let mut message = side.open();
        loop {
            let mut reply: Vec<char> = relay.answer(&message).chars().collect();
            for (at, digit) in &changes {
                let at = usize::from(*at) % reply.len();
                reply[at] = char::from_digit(u32::from(*digit) % 16, 16).unwrap();
            }
            let mut reply: String = reply.into_iter().collect();
            reply.push_str(&faster_hex::hex_string(&noise));
            match side.on_message(&reply) {
                Step::Send(next) => message = next,
                Step::End(_) => break,
            }
            prop_assert!(side.rounds() < 50);
        }
    }
}
