//! The three layers as filters, chunked to a relay's limits (FILT-1). Never an empty list, never
//! a filter without a kind, tag, author or id.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use nostr::event::{EventId, Kind};
use nostr::filter::{Filter, SingleLetterTag};
use nostr::nips::nip01::Coordinate;

use crate::config::FetchConfig;
use crate::item::{Item, SyncLevel};

/// Announcements and lists of GRASP servers.
pub const LAYER_1: [u16; 2] = [30617, 10317];
/// States of repositories.
pub const STATE: u16 = 30618;

/// A coordinate as tags write it. The identifier may contain `:`; it is never split.
pub fn address(repo: &Coordinate) -> String {
    format!("{}:{}:{}", repo.kind.as_u16(), repo.public_key.to_hex(), repo.identifier)
}

fn by_tag(letter: SingleLetterTag, values: &[String]) -> Filter {
    Filter::new().custom_tags(letter, values.iter().cloned())
}

fn repo_filters(repos: &[(&Coordinate, SyncLevel)], out: &mut Vec<Filter>) {
    let identifiers: BTreeSet<String> = repos.iter().map(|(r, _)| r.identifier.clone()).collect();
    out.push(Filter::new().kind(Kind::from(STATE)).identifiers(identifiers));
    let full: Vec<String> = repos
        .iter()
        .filter(|(_, level)| *level == SyncLevel::Full)
        .map(|(repo, _)| address(repo))
        .collect();
    if !full.is_empty() {
        for letter in [
            SingleLetterTag::LOWERCASE_A,
            SingleLetterTag::UPPERCASE_A,
            SingleLetterTag::LOWERCASE_Q,
        ] {
            out.push(by_tag(letter, &full));
        }
    }
}

fn thread_filters(ids: &[EventId], out: &mut Vec<Filter>) {
    let values: Vec<String> = ids.iter().map(ToString::to_string).collect();
    for letter in
        [SingleLetterTag::LOWERCASE_E, SingleLetterTag::UPPERCASE_E, SingleLetterTag::LOWERCASE_Q]
    {
        out.push(by_tag(letter, &values));
    }
}

/// The filters of items of one layer, each with at most `fetch.values_per_filter` values (ids:
/// `fetch.ids_per_filter`). They have no `since`, `until` or `limit`.
pub fn of_items(
    items: &[Item],
    level: impl Fn(&Coordinate) -> SyncLevel,
    configured: &[Filter],
    config: &FetchConfig,
) -> Vec<Filter> {
    let mut out = Vec::new();
    let mut repos = Vec::new();
    let mut threads = Vec::new();
    let mut ids = Vec::new();
    for item in items {
        match item {
            Item::Layer1 => out.push(Filter::new().kinds(LAYER_1.map(Kind::from))),
            Item::Repo(repo) => repos.push((repo, level(repo))),
            Item::Thread(id) => threads.push(*id),
            Item::Filter(n) => out.extend(configured.get(usize::from(*n)).cloned()),
            Item::Id(id) => ids.push(*id),
        }
    }
    let values = config.values_per_filter.max(1) as usize;
    repos.chunks(values).for_each(|chunk| repo_filters(chunk, &mut out));
    threads.chunks(values).for_each(|chunk| thread_filters(chunk, &mut out));
    out.extend(of_ids(&ids, config));
    out
}

/// About how many bytes an item adds to a request of its filters (FILT-1).
pub fn weight(item: &Item, configured: &[Filter]) -> usize {
    // A value with its quotes and comma; identifiers are escaped in the worst case.
    const HEX: usize = 64 + 3;
    match item {
        Item::Layer1 => 64,
        Item::Repo(repo) => {
            let identifier = json_len(&repo.identifier);
            let address = "30617:".len() + HEX + 1 + identifier;
            identifier + 3 + 3 * address
        }
        Item::Thread(_) => 3 * HEX,
        Item::Filter(n) => configured
            .get(usize::from(*n))
            .and_then(|filter| serde_json::to_string(filter).ok())
            .map_or(0, |text| text.len()),
        Item::Id(_) => HEX,
    }
}

fn json_len(text: &str) -> usize {
    let escaped =
        |c: char| if c.is_control() { 6 } else { 1 + usize::from(matches!(c, '"' | '\\')) };
    text.chars().map(|c| if c.is_ascii() { escaped(c) } else { c.len_utf8() }).sum()
}

/// Filters that ask for events by id.
pub fn of_ids(ids: &[EventId], config: &FetchConfig) -> Vec<Filter> {
    let per_filter = config.ids_per_filter.max(1) as usize;
    ids.chunks(per_filter).map(|chunk| Filter::new().ids(chunk.iter().copied())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nostr::key::PublicKey;

    fn repo(identifier: &str) -> Coordinate {
        Coordinate {
            kind: Kind::from(30617),
            public_key: PublicKey::from_byte_array([7; 32]),
            identifier: identifier.into(),
        }
    }

    fn json(items: &[Item], level: SyncLevel) -> Vec<String> {
        of_items(items, |_| level, &[], &FetchConfig::default())
            .iter()
            .map(|filter| serde_json::to_string(filter).expect("filters serialise"))
            .collect()
    }

    #[test]
    fn layer_1_is_announcements_and_grasp_lists_only() {
        assert_eq!(json(&[Item::Layer1], SyncLevel::Full), [r#"{"kinds":[10317,30617]}"#]);
    }

    #[test]
    fn a_repository_is_asked_for_by_state_and_three_tags() {
        let address = format!("30617:{}:a:b", "07".repeat(32));
        assert_eq!(
            json(&[Item::Repo(repo("a:b"))], SyncLevel::Full),
            [
                r##"{"kinds":[30618],"#d":["a:b"]}"##.to_string(),
                format!(r##"{{"#a":["{address}"]}}"##),
                format!(r##"{{"#A":["{address}"]}}"##),
                format!(r##"{{"#q":["{address}"]}}"##),
            ]
        );
    }

    #[test]
    fn a_waiting_repository_is_asked_for_by_state_only() {
        assert_eq!(
            json(&[Item::Repo(repo("w"))], SyncLevel::StateOnly),
            [r##"{"kinds":[30618],"#d":["w"]}"##]
        );
    }

    #[test]
    fn values_are_chunked() {
        let items: Vec<Item> =
            (0..250u8).map(|n| Item::Thread(EventId::from_byte_array([n; 32]))).collect();
        let filters = of_items(&items, |_| SyncLevel::Full, &[], &FetchConfig::default());
        assert_eq!(filters.len(), 9);
        let sizes: Vec<usize> = filters
            .iter()
            .map(|filter| filter.generic_tags.values().map(BTreeSet::len).sum())
            .collect();
        assert_eq!(sizes, [100, 100, 100, 100, 100, 100, 50, 50, 50]);
    }
}
