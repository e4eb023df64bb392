//! Which events live sync should have brought before history did (HIST-11).

use nostr::event::Event;
use nostr::types::Timestamp;
use sync_core::admit::order::matches_filter;

use crate::connection::Standing;

/// A live request must have stood for so long before the event was made: clocks differ.
const BEFORE_SECS: u64 = 60;

/// Whether a live request that matches stood from before the event was made until it came, at
/// `arrived`. What is dated ahead of its own arrival tells nothing.
pub(super) fn is_missed(event: &Event, arrived: Timestamp, standing: &[Standing]) -> bool {
    let latest = event.created_at.as_secs().saturating_sub(BEFORE_SECS);
    event.created_at <= arrived
        && standing.iter().any(|live| {
            live.since.as_secs() < latest
                && live.filters.iter().any(|filter| matches_filter(filter, event))
        })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nostr::event::{EventBuilder, FinalizeEvent, Kind};
    use nostr::filter::Filter;
    use nostr::key::Keys;

    use super::*;

    #[test]
    fn only_what_a_request_that_stood_long_enough_matches_was_missed() {
        let event = EventBuilder::new(Kind::TextNote, "")
            .custom_created_at(Timestamp::from_secs(1_000))
            .finalize(&Keys::generate())
            .expect("signed");
        let notes = Filter::new().kind(Kind::TextNote).limit(0);
        let issues = Filter::new().kind(Kind::from_u16(1621));
        let cases = [
            (939, 1_000, vec![notes.clone()], true),
            (939, 5_000, vec![issues.clone(), notes.clone()], true),
            (940, 1_000, vec![notes.clone()], false),
            (939, 999, vec![notes.clone()], false),
            (939, 1_000, vec![issues.clone()], false),
        ];
        for (since, arrived, filters, expected) in cases {
            let live = Standing { since: Timestamp::from_secs(since), filters: filters.into() };
            let missed =
                is_missed(&event, Timestamp::from_secs(arrived), std::slice::from_ref(&live));
            assert_eq!(missed, expected, "{since} {arrived} {:?}", live.filters);
        }
        let late = Standing { since: Timestamp::from_secs(990), filters: Arc::from([notes]) };
        let other = Standing { since: Timestamp::from_secs(1), filters: Arc::from([issues]) };
        assert!(!is_missed(&event, Timestamp::from_secs(1_000), &[late, other]));
    }
}
