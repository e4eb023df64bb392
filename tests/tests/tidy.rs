//! House rules that a machine can hold: sizes, words, manifests, and documents that name files.

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/manifests.rs"]
mod manifests;
#[path = "tidy/scan.rs"]
mod scan;

use std::collections::BTreeSet;

use manifests::{PACKAGES, dependencies};
use scan::{code, functions, sources};

/// Lines of a file.
const FILE_LINES: usize = 500;
/// Lines of a function.
const FUNCTION_LINES: usize = 70;

/// Fails with one line a finding.
fn none(found: &[String]) {
    assert!(found.is_empty(), "{} found:\n{}", found.len(), found.join("\n"));
}

#[test]
fn no_file_has_more_than_500_lines() {
    let found: Vec<_> = sources()
        .iter()
        .map(|source| (source.text.lines().count(), &source.path))
        .filter(|(lines, _)| *lines > FILE_LINES)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    none(&found);
}

#[test]
fn no_function_has_more_than_70_lines() {
    let mut found = Vec::new();
    for source in sources() {
        for one in functions(&code(&source.text)) {
            if one.lines > FUNCTION_LINES {
                found.push(format!("{}:{}: {} has {}", source.path, one.line, one.name, one.lines));
            }
        }
    }
    none(&found);
}

#[test]
fn every_file_begins_by_saying_what_it_is_for() {
    let found: Vec<_> = sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path)
        .collect();
    none(&found);
}

#[test]
fn nothing_is_left_to_be_done_later() {
    let in_code = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("dbg", "!(")];
    let anywhere = [concat!("FIX", "ME"), concat!("XX", "X"), concat!("To be ", "written")];
    let mut found = Vec::new();
    for source in sources() {
        let code = code(&source.text);
        let ignored = code.contains(concat!("#[", "ignore"));
        let words = in_code.iter().filter(|word| code.contains(**word));
        let words = words.chain(anywhere.iter().filter(|word| source.text.contains(**word)));
        found.extend(words.map(|word| format!("{}: {word}", source.path)));
        if ignored {
            found.push(format!("{}: an ignored test", source.path));
        }
    }
    none(&found);
}

#[test]
fn the_core_has_no_clock_no_standard_library_and_no_tasks() {
    let banned =
        ["std::", "extern crate std", "HashMap", "HashSet", "Instant::now", "async ", ".await"];
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("sync-core/src/")) {
        let code = code(&source.text);
        let words = banned.iter().filter(|word| code.contains(**word));
        found.extend(words.map(|word| format!("{}: {word}", source.path)));
    }
    none(&found);
}

#[test]
fn the_core_depends_on_nothing_but_types_codecs_and_arithmetic() {
    let allowed = ["nostr", "negentropy", "serde", "serde_json", "faster-hex", "thiserror", "idna"];
    let found = dependencies("sync-core/Cargo.toml");
    let names: BTreeSet<_> =
        found.iter().filter(|one| !one.is_dev).map(|one| one.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(allowed));
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let root = dependencies("Cargo.toml");
    let bare = root.iter().filter(|one| !one.has_comment);
    let mut found: Vec<_> = bare.map(|one| format!("Cargo.toml: {}", one.name)).collect();
    for package in PACKAGES {
        let path = format!("{package}/Cargo.toml");
        let bare = dependencies(&path).into_iter().filter(|one| !one.has_group_comment);
        found.extend(bare.map(|one| format!("{path}: {}", one.name)));
    }
    none(&found);
}

#[test]
fn every_dependency_is_used() {
    let sources = sources();
    let mut wanted = BTreeSet::new();
    let mut found = Vec::new();
    for package in PACKAGES {
        for one in dependencies(&format!("{package}/Cargo.toml")) {
            let name = one.name.replace('-', "_");
            let mut own = sources.iter().filter(|s| s.path.starts_with(&format!("{package}/")));
            // In the text: documentation tests count.
            if !own.any(|source| names(&source.text, &name)) {
                found.push(format!("{package}/Cargo.toml: {} is not used", one.name));
            }
            wanted.insert(one.name);
        }
    }
    let offered = dependencies("Cargo.toml").into_iter();
    let idle = offered.filter(|one| !wanted.contains(&one.name));
    found.extend(idle.map(|one| format!("Cargo.toml: {} is in no package", one.name)));
    none(&found);
}

/// Whether the text has this crate in a path, a derive or a `use`.
fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before =
            text[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let after = &text[at + name.len()..];
        before && (after.starts_with("::") || after.starts_with(';') || after.starts_with(" as "))
    })
}
