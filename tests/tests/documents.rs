//! The tables of docs/OPERATING.md: the keys of the configuration, and those that nothing reads.
//! `UPDATE_DOCS=1 cargo test -p sync-tests --test documents` writes the first anew.

#[path = "tidy/scan.rs"]
mod scan;

use std::collections::BTreeSet;
use std::fs;

use scan::{code, root, sources};
use sync_runtime::settings::keys;

const BEGIN: &str = "<!-- keys: generated -->\n";
const END: &str = "<!-- end of keys -->";

fn operating() -> String {
    fs::read_to_string(root().join("docs/OPERATING.md")).expect("the document exists")
}

#[test]
fn the_table_of_the_configuration_is_the_one_of_the_code() {
    let mut table = "| key | default | meaning |\n|---|---|---|\n".to_owned();
    for key in keys() {
        // A bar would end the cell.
        let (default, doc) = (key.default.replace('|', "\\|"), key.doc.replace('|', "\\|"));
        table.push_str(&format!("| `{}` | `{default}` | {doc} |\n", key.name));
    }
    let text = operating();
    let (head, rest) = text.split_once(BEGIN).expect("the table has a beginning");
    let (written, tail) = rest.split_once(END).expect("the table has an end");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let text = format!("{head}{BEGIN}{table}{END}{tail}");
        fs::write(root().join("docs/OPERATING.md"), text).expect("the document can be written");
    } else {
        assert!(
            written == table,
            "the table is old; tests/tests/documents.rs says how to renew it"
        );
    }
}

#[test]
fn keys_that_are_said_to_do_nothing_are_keys_that_no_code_reads() {
    let names: BTreeSet<_> = keys().into_iter().map(|key| key.name).collect();
    let text = operating();
    let (_, list) = text.split_once("## Keys that nothing reads\n").expect("the list is there");
    let list = list.split("\n## ").next().unwrap_or_default();
    let idle: Vec<_> = list.split('`').skip(1).step_by(2).collect();
    // What only checks a key, or what it is checked against, does not act on it.
    let defined = ["sync-core/src/config.rs", "sync-runtime/src/settings.rs"];
    let acts =
        |path: &str| path.starts_with("sync-core/src") || path.starts_with("sync-runtime/src");
    let readers: Vec<_> = sources()
        .into_iter()
        .filter(|source| acts(&source.path) && !defined.contains(&&*source.path))
        .map(|source| (source.path, code(&source.text)))
        .collect();
    let unknown: Vec<_> = idle.iter().filter(|key| !names.contains(*key)).collect();
    assert!(unknown.is_empty(), "no keys: {unknown:?}");
    let read: Vec<_> = idle
        .iter()
        .flat_map(|key| readers.iter().map(move |(path, code)| (key, path, code)))
        .filter(|(key, _, code)| code.contains(&format!(".{key}")))
        .map(|(key, path, _)| format!("{key} is read in {path}"))
        .collect();
    assert!(read.is_empty(), "take from the list what is read: {read:#?}");
}
