//! What the fuzz targets do with bytes: one function each, which panics when something does not
//! hold. Ordinary tests replay the corpora through the same functions.

use std::iter;

use nostr::event::{Event, EventId};
use nostr::types::Timestamp;
use sync_core::admit::reconcile::{Reconciler, Step};
use sync_core::command::NegLimits;
use sync_core::item::Range;
use sync_core::record::{self, Header};
use sync_core::rng::Rng;
use sync_core::url::RelayUrl;
use sync_core::wire::{self, FrameType, RelayFrame};

/// A target by its name; a corpus directory bears the same.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 3] =
    [("frames", frames), ("recordings", recordings), ("negentropy", negentropy)];

/// A frame of a relay: neither reader panics, the quick look at its head agrees with the whole, and
/// whoever else reads the event reads the same id, key, date and kind.
pub fn frames(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (head, _) = wire::head(text);
    let Ok(frame) = wire::scan(text) else { return };
    assert!(head == FrameType::Unknown || head == frame.frame_type(), "{head:?} of {frame:?}");
    let RelayFrame::Event { event: raw, .. } = frame else { return };
    let Ok(envelope) = wire::envelope(raw) else { return };
    if let Ok(event) = serde_json::from_str::<Event>(raw.get()) {
        assert_eq!((envelope.id, envelope.pubkey), (event.id, event.pubkey));
        assert_eq!((envelope.created_at, envelope.kind), (event.created_at, event.kind));
    }
}

/// A recording, line by line: whatever its inputs are, the machine does the same twice (D1): what
/// is blessed replays.
pub fn recordings(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if !text.lines().next().is_some_and(is_header) {
        return;
    }
    // A difference is what a recording may have; only a panic is a finding.
    let _ = record::replay(text.lines());
    if let Ok(blessed) = record::bless(text.lines()) {
        let found = record::replay(blessed.iter().map(String::as_str));
        assert!(found.is_ok(), "what was blessed does not replay: {found:?}");
    }
}

/// Whether the line begins a recording whose relays are URLs: others are a bug of the caller, and
/// asserted against.
fn is_header(line: &str) -> bool {
    serde_json::from_str::<Header>(line).is_ok_and(|header| {
        header.config.sync.relays.iter().all(|url| RelayUrl::parse(url).is_ok())
    })
}

/// A session over as many items as the first line says, then one message of the relay a line: it
/// ends, within its rounds, and what it needs is sorted and said once.
pub fn negentropy(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let items = lines.next().and_then(|line| line.parse::<u16>().ok()).unwrap_or_default();
    let range = Range::up_to(Timestamp::from_secs(u64::from(u16::MAX)));
    let limits = NegLimits { rounds: 8, need: 500, frame: 120_000 };
    let mut session = Reconciler::new(have(items), range, limits, 100);
    session.open();
    let mut ended = false;
    for message in lines.take(limits.rounds as usize) {
        if let Step::End(_) = session.on_message(message) {
            ended = true;
            break;
        }
    }
    assert!(ended || session.rounds() < limits.rounds, "{} rounds", session.rounds());
    let found = session.into_found();
    assert!(found.need.is_sorted_by(|a, b| a < b), "needed ids are sorted and said once");
    assert!(found.have <= u32::from(items), "{} of {items}", found.have);
}

/// Items with ids that are spread like hashes, one a second.
fn have(items: u16) -> Vec<(Timestamp, EventId)> {
    let mut rng = Rng::new(u64::from(items));
    let mut id = || {
        let words: Vec<u8> =
            iter::repeat_with(|| rng.next().to_be_bytes()).take(4).flatten().collect();
        EventId::from_slice(&words).expect("four words are 32 bytes")
    };
    (0..items).map(|at| (Timestamp::from_secs(at.into()), id())).collect()
}
