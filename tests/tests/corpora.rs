//! The corpora of the fuzz targets, as ordinary tests: every seed, and a few mutations of each.

use std::fs;
use std::path::{Path, PathBuf};

use sync_tests::entropy::{Entropy, Seeded};
use sync_tests::fuzz::{TARGETS, negentropy, recordings};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// The seeds of a target, in the order of their names.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = fuzz().join("corpus").join(target);
    let entries = fs::read_dir(&dir).expect("every target has a corpus");
    let mut seeds: Vec<_> = entries
        .map(|entry| entry.expect("the corpus can be read").path())
        .map(|path| (path.display().to_string(), fs::read(&path).expect("a seed can be read")))
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn every_seed_of_every_corpus_passes() {
    for (target, run) in TARGETS {
        let seeds = seeds(target);
        assert!(seeds.len() >= 3, "{target} has {} seeds", seeds.len());
        for (name, bytes) in seeds {
            println!("{name}");
            run(&bytes);
        }
    }
}

#[test]
fn mutations_of_the_seeds_pass() {
    for (target, run) in TARGETS {
        let mut choices = Seeded::new(1, target);
        for (name, seed) in seeds(target) {
            for n in 0..100 {
                let bytes = mutated(&seed, &mut choices);
                println!("{name} #{n}: {}", String::from_utf8_lossy(&bytes));
                run(&bytes);
            }
        }
    }
}

/// One to four changes: a byte replaced, a part removed, a part said twice.
fn mutated(seed: &[u8], choices: &mut impl Entropy) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..choices.between(1, 4) {
        let at = choices.index(bytes.len().max(1)).min(bytes.len());
        let end = (at + choices.between(1, 40) as usize).min(bytes.len());
        match choices.below(3) {
            0 if at < bytes.len() => bytes[at] = b"0123456789af[]{}\",:-"[choices.index(20)],
            1 => drop(bytes.drain(at..end)),
            _ => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

#[test]
fn every_target_is_a_file_and_in_the_manifest() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("the manifest exists");
    let named: Vec<_> = manifest.lines().filter_map(|line| line.strip_prefix("path = ")).collect();
    let listed = TARGETS.map(|(name, _)| format!("\"fuzz_targets/{name}.rs\""));
    assert_eq!(named, listed);
    for (name, _) in TARGETS {
        let text = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs")));
        let call = format!("sync_tests::fuzz::{name}(data)");
        assert!(text.expect("the target exists").contains(&call), "{name} does not call {call}");
    }
}

#[test]
fn a_session_of_a_corpus_goes_on_as_far_as_it_says() {
    // The functions must not return early on what the seeds are for.
    for (name, bytes) in seeds("negentropy").into_iter().filter(|(name, _)| name.contains("honest"))
    {
        negentropy(&bytes);
        assert!(bytes.split(|byte| *byte == b'\n').count() >= 2, "{name} has no message");
    }
    let (name, bytes) = seeds("recordings").swap_remove(0);
    recordings(&bytes);
    let text = String::from_utf8(bytes).expect("a recording is text");
    let found = sync_core::record::replay(text.lines());
    assert!(found.is_ok_and(|found| found.inputs > 3), "{name} does not replay");
}
