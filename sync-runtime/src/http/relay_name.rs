//! Which relay a person means: its URL, or as much of it as no other relay shares.

use sync_core::url::RelayUrl;

use super::answer::Refusal;

/// Names that a refusal suggests.
const NEAREST_MAX: usize = 3;

/// The relay of that name among those known: its canonical URL, its host, or an end or beginning
/// that only one has.
pub(super) fn find(name: &str, known: &[RelayUrl]) -> Result<RelayUrl, Refusal> {
    if let Ok(url) = RelayUrl::parse(name)
        && known.contains(&url)
    {
        return Ok(url);
    }
    let bare = bare(name).to_lowercase();
    let found: Vec<_> = known.iter().filter(|url| self::bare(url.as_str()) == bare).collect();
    if let [only] = found.as_slice() {
        return Ok((*only).clone());
    }
    let shown: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
    Err(Refusal::not_found(format!("no relay {shown}")).nearest(nearest(&bare, known)))
}

/// A URL without its scheme and the slash at its end.
fn bare(name: &str) -> &str {
    let name = name.strip_prefix("wss://").or(name.strip_prefix("ws://")).unwrap_or(name);
    name.strip_suffix('/').unwrap_or(name)
}

fn nearest(name: &str, known: &[RelayUrl]) -> Vec<String> {
    let within = name.chars().count() / 3 + 1;
    let mut close: Vec<_> = known
        .iter()
        .map(|url| (distance(name, bare(url.as_str())), url.as_str()))
        .filter(|(distance, url)| *distance <= within || (name.len() > 2 && url.contains(name)))
        .collect();
    close.sort_unstable();
    close.into_iter().take(NEAREST_MAX).map(|(_, url)| url.to_owned()).collect()
}

/// Edits between two texts (Levenshtein); long ones are compared by their beginning.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(128).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, c) in a.chars().take(128).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, d) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(c != *d);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<RelayUrl> {
        ["wss://relay.a.example/", "wss://relay.b.example/", "ws://relay.b.example:81/"]
            .map(|url| RelayUrl::parse(url).expect("a relay"))
            .to_vec()
    }

    #[test]
    fn a_relay_is_found_by_url_and_by_host() {
        let known = known();
        for name in ["wss://relay.a.example/", "wss://relay.a.example", "Relay.A.example"] {
            assert_eq!(find(name, &known).expect(name), known[0]);
        }
        assert_eq!(find("relay.b.example:81", &known).expect("by port"), known[2]);
    }

    #[test]
    fn a_name_that_is_not_known_gets_the_nearest() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(nearest("relay.c.example", &known()).len(), 3);
        assert_eq!(nearest("nowhere", &known()), Vec::<String>::new());
        assert_eq!(find("relay.c.example", &known()).expect_err("unknown").status(), 404);
    }
}
