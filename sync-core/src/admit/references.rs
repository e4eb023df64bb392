//! What an event references: `a`, `A`, `q`, `e` and `E` tags, each read as a whole (ACPT-5).

use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec::Vec;

use nostr::event::{Event, EventId, Kind, Tags};
use nostr::key::PublicKey;
use nostr::nips::nip01::Coordinate;

use crate::admit::kinds;
use crate::admit::rejected::{Dependency, Rejection};
use crate::item::Item;

/// One reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// By id.
    Event(EventId),
    /// By address.
    Address(Coordinate),
}

impl Reference {
    /// What an event waits for that has only this reference.
    pub fn dependency(&self) -> Dependency {
        match self {
            Self::Event(id) => Dependency::Parent(*id),
            Self::Address(address) => Dependency::Announcement(address.clone()),
        }
    }
}

/// The distinct references of an event in the order of its tags. Only canonical spellings count:
/// others match no filter of a relay either.
pub fn references(tags: &Tags) -> Vec<Reference> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for tag in tags.iter() {
        let Some(value) = tag.content() else { continue };
        let reference = match tag.kind() {
            "e" | "E" => event_id(value).map(Reference::Event),
            "a" | "A" => address(value).map(Reference::Address),
            "q" => event_id(value)
                .map(Reference::Event)
                .or_else(|| address(value).map(Reference::Address)),
            _ => None,
        };
        if let Some(reference) = reference
            && seen.insert(reference.clone())
        {
            found.push(reference);
        }
    }
    found
}

/// An id in lower-case hex.
pub fn event_id(text: &str) -> Option<EventId> {
    is_lower_hex(text).then(|| EventId::from_hex(text).ok()).flatten()
}

/// An address `<kind>:<pubkey>:<identifier>`. Only the first two colons separate: identifiers may
/// hold more of them, which `Coordinate::parse` of the nostr crate cuts off.
pub fn address(text: &str) -> Option<Coordinate> {
    let mut parts = text.splitn(3, ':');
    let (kind, key, identifier) = (parts.next()?, parts.next()?, parts.next()?);
    let number: u16 = kind.parse().ok()?;
    if number.to_string() != kind || !is_lower_hex(key) {
        return None;
    }
    let public_key = PublicKey::from_hex(key).ok()?;
    let kind = Kind::from_u16(number);
    // Another kind has no address, and a replaceable one no identifier (NIP-01).
    let sound = kind.is_addressable() || (kind.is_replaceable() && identifier.is_empty());
    sound.then(|| Coordinate { kind, public_key, identifier: identifier.into() })
}

/// The address under which an event is replaced, with the first value of its first `d`, as
/// relays read it (NIP-01).
pub fn address_of(event: &Event) -> Option<Coordinate> {
    if event.kind.is_addressable() {
        let identifier = identifier(&event.tags).unwrap_or_default();
        return Some(Coordinate {
            kind: event.kind,
            public_key: event.pubkey,
            identifier: identifier.into(),
        });
    }
    event.kind.is_replaceable().then(|| Coordinate::new(event.kind, event.pubkey))
}

/// The value of the first `d` tag.
pub fn identifier(tags: &Tags) -> Option<&str> {
    tags.iter().find(|tag| tag.kind() == "d")?.content()
}

/// The items an event may be served for, for the row that remembers its rejection.
pub fn items(event: &Event) -> Vec<Item> {
    let mut items = Vec::new();
    let kind = event.kind.as_u16();
    if matches!(kind, kinds::ANNOUNCEMENT | kinds::GRASP_LIST) {
        items.push(Item::Layer1);
    }
    if matches!(kind, kinds::ANNOUNCEMENT | kinds::STATE)
        && let Some(identifier) = identifier(&event.tags)
    {
        items.push(Item::Repo(announcement_address(event.pubkey, identifier)));
    }
    for reference in references(&event.tags) {
        if items.len() >= Rejection::MAX_ITEMS {
            break;
        }
        items.push(match reference {
            Reference::Event(id) => Item::Thread(id),
            Reference::Address(address) => Item::Repo(address),
        });
    }
    items
}

/// The address of an announcement.
pub fn announcement_address(author: PublicKey, identifier: &str) -> Coordinate {
    Coordinate {
        kind: Kind::from_u16(kinds::ANNOUNCEMENT),
        public_key: author,
        identifier: identifier.into(),
    }
}

/// The address of a state event.
pub fn state_address(author: PublicKey, identifier: &str) -> Coordinate {
    Coordinate { kind: Kind::from_u16(kinds::STATE), ..announcement_address(author, identifier) }
}

fn is_lower_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use nostr::event::Tag;

    const KEY: &str = "bbb5dda0e15567979f0543407bdc2033d6f0bbb30f72512a981cfdb2f09e2747";

    #[test]
    fn only_the_first_two_colons_of_an_address_separate() {
        let address = address(&format!("30617:{KEY}:a:b: c")).expect("an address");
        assert_eq!(address.identifier, "a:b: c");
        assert_eq!(address.kind.as_u16(), 30617);
        assert_eq!(address.public_key.to_hex(), KEY);
    }

    #[test]
    fn other_spellings_of_an_address_are_no_reference() {
        for text in [
            format!("030617:{KEY}:x"),
            format!("+30617:{KEY}:x"),
            format!("30617:{}:x", KEY.to_uppercase()),
            format!("30617:{KEY}"),
            format!("30617:{}:x", &KEY[1..]),
            format!("1617:{KEY}:x"),
            format!("10317:{KEY}:x"),
            format!("70000:{KEY}:x"),
            "30617".into(),
        ] {
            assert_eq!(address(&text), None, "{text}");
        }
        assert!(address(&format!("10317:{KEY}:")).is_some());
        assert!(address(&format!("30617:{KEY}:")).is_some());
    }

    #[test]
    fn references_are_distinct_and_in_the_order_of_the_tags() {
        let tags = Tags::parse([
            ["p", KEY],
            ["E", KEY],
            ["q", &format!("30617:{KEY}:r")],
            ["e", KEY],
            ["a", &format!("30617:{KEY}:r")],
            ["q", "nonsense"],
            ["i", KEY],
        ])
        .expect("tags");
        let found = references(&tags);
        let id = EventId::from_hex(KEY).expect("an id");
        let repo = address(&format!("30617:{KEY}:r")).expect("an address");
        assert_eq!(found, [Reference::Event(id), Reference::Address(repo)]);
        assert!(
            references(&Tags::from_list([Tag::parse(["e"]).expect("a tag")].into())).is_empty()
        );
    }
}
