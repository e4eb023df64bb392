//! History that proves itself, as a process against relays written by others: a large corpus
//! arrives complete, what is there is not transferred again, and what is missing is fetched
//! exactly. The figures are printed: `cargo test -p sync-tests --test history -- --nocapture`.

mod common;
#[path = "history/corpus.rs"]
mod corpus;
#[path = "history/negentropy.rs"]
mod negentropy;
#[path = "history/pages.rs"]
mod pages;
