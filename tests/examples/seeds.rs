//! scratch
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use nostr::event::EventId;
use nostr::types::Timestamp;
use sync_core::admit::reconcile::{Reconciler, Step};
use sync_core::command::NegLimits;
use sync_core::item::Range;
use sync_core::rng::Rng;
fn have(items: u16) -> Vec<(Timestamp, EventId)> {
    let mut rng = Rng::new(u64::from(items));
    (0..items)
        .map(|at| {
            let w: Vec<u8> = (0..4).flat_map(|_| rng.next().to_be_bytes()).collect();
            (Timestamp::from_secs(at.into()), EventId::from_slice(&w).expect("32"))
        })
        .collect()
}
fn main() {
    for (items, drop, extra) in [(0u16, 0usize, 0u8), (3, 1, 1), (300, 7, 2)] {
        let ours = have(items);
        let mut s = NegentropyStorageVector::new();
        for (at, id) in ours.iter().skip(drop) {
            s.insert(at.as_secs(), Id::from_byte_array(id.to_bytes())).expect("x");
        }
        for n in 0..extra {
            s.insert(40 + u64::from(n), Id::from_byte_array([n + 9; 32])).expect("x");
        }
        s.seal().expect("x");
        let limits = NegLimits { rounds: 8, need: 500, frame: 120_000 };
        let mut r = Reconciler::new(ours, Range::up_to(Timestamp::from_secs(65535)), limits, 100);
        let mut msg = r.open();
        let mut out = format!("{items}\n");
        loop {
            let m: Vec<u8> = (0..msg.len() / 2)
                .map(|i| u8::from_str_radix(&msg[2 * i..2 * i + 2], 16).expect("hex"))
                .collect();
            let mut side = Negentropy::borrowed(&s, 0).expect("x");
            let a = side.reconcile(&m).expect("x");
            let hex: String = a.iter().map(|b| format!("{b:02x}")).collect();
            out += &hex;
            out.push('\n');
            match r.on_message(&hex) {
                Step::Send(n) => msg = n,
                Step::End(o) => {
                    eprintln!("{items} {o:?} {}", r.rounds());
                    break;
                }
            }
        }
        std::fs::write(format!("fuzz/corpus/negentropy/honest-{items}"), out).expect("w");
    }
    std::fs::write("fuzz/corpus/negentropy/empty-reply", "3\n61\n").expect("w");
    std::fs::write("fuzz/corpus/negentropy/no-hex", "3\n61zz\n").expect("w");
}
