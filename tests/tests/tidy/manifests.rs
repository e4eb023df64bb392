//! The manifests, read line by line: which dependencies there are, and what is said of them.

use std::fs;

use super::scan::root;

/// A line of a dependency table.
#[derive(Debug)]
pub(crate) struct Dependency {
    /// Its name in the table.
    pub(crate) name: String,
    /// Whether a comment stands right above it.
    pub(crate) has_comment: bool,
    /// Whether a comment stands above the lines that it is one of.
    pub(crate) has_group_comment: bool,
    /// Whether it is of `dev-dependencies`.
    pub(crate) is_dev: bool,
}

/// The packages, by directory.
pub(crate) const PACKAGES: [&str; 4] = ["sync-core", "sync-runtime", "sync-cli", "tests"];

/// The dependencies of a manifest, in order. Tables are written in lines here, never as headers
/// of their own.
pub(crate) fn dependencies(path: &str) -> Vec<Dependency> {
    let text = fs::read_to_string(root().join(path)).expect("the manifest exists");
    let (mut found, mut table) = (Vec::new(), "");
    let (mut comment, mut group) = (false, false);
    for line in text.lines() {
        if let Some(header) = line.strip_prefix('[') {
            (table, comment, group) = (header.trim_end_matches(']'), false, false);
        } else if line.starts_with('#') {
            (comment, group) = (true, true);
        } else if line.is_empty() {
            (comment, group) = (false, false);
        } else if table.ends_with("dependencies") {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
            let is_dev = table == "dev-dependencies";
            found.push(Dependency { name, has_comment: comment, has_group_comment: group, is_dev });
            comment = false;
        }
    }
    found
}
