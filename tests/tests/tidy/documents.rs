//! Documents that name files: what they say is there, and what is there is said.

use std::fs;

use super::none;
use super::scan::{root, sources};

/// The paths of the tree in docs/ARCHITECTURE.md, from the root of the repository.
fn tree() -> Vec<String> {
    let text = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("it exists");
    let (_, rest) = text.split_once("## Tree\n").expect("there is a tree");
    let block = rest.split("```").nth(1).expect("the tree is a block");
    let (mut found, mut top) = (Vec::new(), "");
    // The first line is the word after the fence.
    for line in block.lines().skip(1).filter(|line| !line.is_empty()) {
        let path = line.split_whitespace().next().unwrap_or_default();
        if line.starts_with("    ") {
            continue;
        } else if line.starts_with(' ') {
            found.push(format!("{top}{path}"));
        } else {
            top = if path.ends_with('/') { path } else { "" };
            found.push(path.to_owned());
        }
    }
    found
}

#[test]
fn everything_in_the_tree_exists() {
    let missing: Vec<_> = tree().into_iter().filter(|path| !root().join(path).exists()).collect();
    none(&missing);
}

#[test]
fn every_top_level_source_file_and_directory_is_in_the_tree() {
    let tree = tree();
    let mut missing = Vec::new();
    for source in sources() {
        let mut parts = source.path.splitn(4, '/');
        let (top, middle) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (name, below) = (parts.next().unwrap_or_default(), parts.next());
        // Tests lie in a directory of their name; their parts are no entries of their own.
        if middle != "src" {
            continue;
        }
        let path = format!("{top}/{middle}/{name}{}", if below.is_some() { "/" } else { "" });
        if !tree.contains(&path) && !missing.contains(&path) {
            missing.push(path);
        }
    }
    none(&missing);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    let docs = fs::read_dir(root().join("docs")).expect("there are documents");
    let docs = docs.map(|entry| entry.expect("it can be read").path());
    let top = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name));
    for path in docs.chain(top).filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = fs::read_to_string(&path).expect("it can be read");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let dir = path.parent().expect("a file lies in a directory");
            if !link.starts_with("http") && !dir.join(file).exists() {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    none(&broken);
}
