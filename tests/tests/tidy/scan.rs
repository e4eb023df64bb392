//! A small reader of Rust source: blanks comments and literals, and measures functions. It knows
//! braces and literals, not the language.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file of the repository.
pub(crate) struct Source {
    /// Its path from the root of the repository, with `/`.
    pub(crate) path: String,
    /// As it is written.
    pub(crate) text: String,
}

/// A function and how many lines it has, from its name to its closing brace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the package lies in the repository").to_owned()
}

/// Every Rust file of the crates and of the fuzz targets, in order.
pub(crate) fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for part in ["sync-core", "sync-runtime", "sync-cli", "tests", "fuzz"] {
        collect(&root().join(part), &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(dir: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).expect("the directory exists") {
        let path = entry.expect("the directory can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, found);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).expect("source is UTF-8");
            let below = path.strip_prefix(root()).expect("it lies below the root");
            let path = below.to_string_lossy().replace('\\', "/");
            found.push(Source { path, text });
        }
    }
}

/// Comments and the inside of literals become spaces; lines stay where they are.
pub(crate) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = skip(bytes, at);
        if end > at {
            out[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        }
        at = end.max(at + 1);
    }
    String::from_utf8(out).expect("whole characters were blanked")
}

/// Where the comment or literal that begins at `at` ends; `at` when none begins there.
fn skip(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let in_name = at > 0 && is_name(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => at + position(rest, b"\n").unwrap_or(rest.len()),
        [b'/', b'*', ..] => at + block_comment(rest),
        [b'"', ..] => at + string(rest),
        [b'r' | b'b' | b'c', ..] if !in_name => at + raw_string(rest),
        [b'\'', ..] => at + character(rest),
        _ => at,
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn position(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn block_comment(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < bytes.len() {
        match bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn string(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `r"…"`, `r#"…"#`, and the same after `b` or `c`; 0 when it is a name.
fn raw_string(bytes: &[u8]) -> usize {
    let prefix = bytes.iter().take(2).take_while(|byte| b"rbc".contains(byte)).count();
    let hashes = bytes[prefix..].iter().take_while(|byte| **byte == b'#').count();
    let raw = bytes[..prefix].contains(&b'r');
    match bytes.get(prefix + hashes) {
        Some(b'"') if raw => {
            let end = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            let inside = prefix + hashes + 1;
            position(&bytes[inside..], &end).map_or(bytes.len(), |n| inside + n + end.len())
        }
        Some(b'"') if hashes == 0 => prefix + string(&bytes[prefix..]),
        _ => 0,
    }
}

/// A character; 0 for a lifetime.
fn character(bytes: &[u8]) -> usize {
    match bytes.get(1) {
        Some(b'\\') => 3 + position(&bytes[3..], b"'").map_or(0, |n| n + 1),
        Some(first) => {
            let width = match first {
                0xf0.. => 4,
                0xe0.. => 3,
                0xc0.. => 2,
                _ => 1,
            };
            if bytes.get(1 + width) == Some(&b'\'') { width + 2 } else { 0 }
        }
        None => 0,
    }
}

/// The functions of blanked source that have a body.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = position(&bytes[at..], b"fn ") {
        let start = at + next;
        at = start + 3;
        if start > 0 && is_name(bytes[start - 1]) {
            continue;
        }
        let name: String =
            code[at..].chars().take_while(|c| *c == '_' || c.is_alphanumeric()).collect();
        let Some(end) = body_end(&bytes[at..]).filter(|_| !name.is_empty()) else { continue };
        let line = 1 + code[..start].matches('\n').count();
        let lines = 1 + code[start..at + end].matches('\n').count();
        found.push(Function { name, line, lines });
    }
    found
}

/// Where the body ends that begins before the next `;` outside of brackets.
fn body_end(bytes: &[u8]) -> Option<usize> {
    let (mut braces, mut brackets) = (0, 0);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets -= 1,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(at);
                }
            }
            b';' if braces == 0 && brackets == 0 => return None,
            _ => {}
        }
    }
    None
}

#[test]
fn comments_and_literals_are_blanked() {
    let text = "let a = \"fn x() {\"; // fn y() {\nlet b = r#\"\"fn\"#; let c = '{'; fn z<'a>() {}";
    let code = code(text);
    assert_eq!(code.lines().count(), 2);
    assert!(!code.contains("fn x") && !code.contains("fn y") && !code.contains("'{'"), "{code}");
    let names: Vec<_> = functions(&code).into_iter().map(|one| (one.name, one.line)).collect();
    assert_eq!(names, [("z".to_owned(), 2)]);
}

#[test]
fn the_lines_of_a_function_are_counted_from_its_name_to_its_brace() {
    let text = "trait T {\n    fn a(&self) -> [u8; 2];\n    fn b(\n        c: u8,\n    ) {\n        if c == b'{' {}\n    }\n}\n";
    let found = functions(&code(text));
    assert_eq!(found, [Function { name: "b".into(), line: 3, lines: 5 }]);
}
