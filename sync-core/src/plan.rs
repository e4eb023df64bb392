//! `wanted − confirmed − pending − resting`: the one place where new work is decided. Pure;
//! applied until nothing is left it is a fixed point.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::id::RowId;
use crate::item::{Item, Layer};

/// Items of one layer that were last proven together: they share a watermark, and so a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The items, at most as many as one filter has values.
    pub items: Vec<Item>,
}

/// Groups the wanted items for which `is_open` holds (neither confirmed on this connection, nor
/// pending, nor resting), by layer and by the cohort that they were last proven in.
pub fn plan<'a>(
    wanted: impl IntoIterator<Item = &'a Item>,
    is_open: impl Fn(&Item) -> bool,
    cohort: impl Fn(&Item) -> Option<RowId>,
    chunk: Chunk<'_>,
) -> Vec<Group> {
    let mut groups: BTreeMap<(Layer, Option<RowId>), Vec<Item>> = BTreeMap::new();
    for item in wanted {
        if is_open(item) {
            groups.entry((item.layer(), cohort(item))).or_default().push(item.clone());
        }
    }
    groups.into_values().flat_map(|items| chunk.split(items)).collect()
}

/// How many items share a request (FILT-1).
#[derive(Clone, Copy)]
pub struct Chunk<'a> {
    /// Values of a filter.
    pub values: usize,
    /// Filters of a request, for items that are a filter each.
    pub filters: usize,
    /// Bytes of a request.
    pub bytes: usize,
    /// Bytes that an item adds to a request of its live filters.
    pub weight: &'a dyn Fn(&Item) -> usize,
}

impl Chunk<'_> {
    /// Groups items that fit into a request each.
    pub fn split(&self, items: Vec<Item>) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut bytes = 0;
        for item in items {
            let most = if item.layer() == Layer::Filter { self.filters } else { self.values };
            let weight = (self.weight)(&item);
            bytes += weight;
            match groups.last_mut() {
                Some(group) if group.items.len() < most && bytes <= self.bytes => {
                    group.items.push(item);
                }
                _ => {
                    bytes = weight;
                    groups.push(Group { items: Vec::from([item]) });
                }
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use nostr::event::EventId;
    use proptest::prelude::*;

    fn item(n: u8) -> Item {
        match n % 3 {
            0 => Item::Layer1,
            1 => Item::Filter(u16::from(n)),
            _ => Item::Thread(EventId::from_byte_array([n; 32])),
        }
    }

    proptest! {
        #[test]
        fn a_plan_holds_every_open_item_once_and_then_nothing(
            wanted in proptest::collection::btree_set(any::<u8>(), 0..60),
            closed in proptest::collection::btree_set(any::<u8>(), 0..60),
            values in 1usize..9,
        ) {
            let wanted: BTreeSet<Item> = wanted.into_iter().map(item).collect();
            let mut closed: BTreeSet<Item> = closed.into_iter().map(item).collect();
            let open: BTreeSet<Item> = wanted.difference(&closed).cloned().collect();
            let chunk = Chunk { values, filters: values, bytes: 1000, weight: &|_| 7 };
            let groups = plan(&wanted, |i| !closed.contains(i), |_| None, chunk);
            let planned: Vec<Item> = groups.iter().flat_map(|g| g.items.clone()).collect();
            prop_assert_eq!(planned.len(), open.len());
            prop_assert!(groups.iter().all(|g| g.items.len() <= values));
            prop_assert!(groups.iter().all(|g| g.items.iter().all(|i| i.layer() == g.items[0].layer())));
            prop_assert_eq!(planned.iter().cloned().collect::<BTreeSet<_>>(), open);
            closed.extend(planned);
            prop_assert!(plan(&wanted, |i| !closed.contains(i), |_| None, chunk).is_empty());
        }
    }
}
