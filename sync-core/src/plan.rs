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
    values: usize,
) -> Vec<Group> {
    let mut groups: BTreeMap<(Layer, Option<RowId>), Vec<Item>> = BTreeMap::new();
    for item in wanted {
        if is_open(item) {
            groups.entry((item.layer(), cohort(item))).or_default().push(item.clone());
        }
    }
    groups
        .into_values()
        .flat_map(|items| {
            items
                .chunks(values.max(1))
                .map(|chunk| Group { items: chunk.to_vec() })
                .collect::<Vec<_>>()
        })
        .collect()
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
            let groups = plan(&wanted, |i| !closed.contains(i), |_| None, values);
            let planned: Vec<Item> = groups.iter().flat_map(|g| g.items.clone()).collect();
            prop_assert_eq!(planned.len(), open.len());
            prop_assert!(groups.iter().all(|g| g.items.len() <= values));
            prop_assert!(groups.iter().all(|g| g.items.iter().all(|i| i.layer() == g.items[0].layer())));
            prop_assert_eq!(planned.iter().cloned().collect::<BTreeSet<_>>(), open);
            closed.extend(planned);
            prop_assert!(plan(&wanted, |i| !closed.contains(i), |_| None, values).is_empty());
        }
    }
}
