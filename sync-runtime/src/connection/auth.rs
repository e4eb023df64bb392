//! NIP-42 (TALK-4): the text of a challenge stays here; the core knows its number. Opt-in per
//! relay, the latest challenge only, and one answer in ten seconds (T10).

use std::time::Duration;

use nostr::event::{EventBuilder, FinalizeEvent, Kind, Tag};
use nostr::key::Keys;
use sync_core::id::ChallengeId;
use sync_core::url::RelayUrl;
use sync_core::wire;
use tokio::time::Instant;

/// Time between two answers, and between two challenges that the core hears of.
const PAUSE: Duration = Duration::from_secs(10);
/// Longer ones are no challenges but an attempt to have much text signed.
const MAX_CHALLENGE: usize = 1024;

/// Challenges of one connection.
#[derive(Debug, Default)]
pub(super) struct Auth {
    latest: Option<(ChallengeId, String)>,
    told_at: Option<Instant>,
    answered_at: Option<Instant>,
    due: Option<Instant>,
}

impl Auth {
    /// Takes a challenge in; its number when the core is to hear of it. Within ten seconds of
    /// another the text is replaced under the same number.
    pub(super) fn on_challenge(&mut self, text: &str, now: Instant) -> Option<ChallengeId> {
        if text.is_empty() || text.len() > MAX_CHALLENGE {
            return None;
        }
        let soon = self.told_at.is_some_and(|told| now < told + PAUSE);
        match &mut self.latest {
            Some((_, latest)) if soon => {
                *latest = text.into();
                None
            }
            latest => {
                let number = latest.as_ref().map_or(0, |(ChallengeId(number), _)| *number);
                let id = ChallengeId(number + 1);
                *latest = Some((id, text.into()));
                self.told_at = Some(now);
                Some(id)
            }
        }
    }

    /// The core asks to answer this challenge; an older one is ignored.
    pub(super) fn answer(&mut self, challenge: ChallengeId, now: Instant) {
        if self.latest.as_ref().is_some_and(|(id, _)| *id == challenge) {
            let earliest = self.answered_at.map_or(now, |at| at + PAUSE);
            self.due = Some(earliest.max(now));
        }
    }

    /// When an answer is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// The AUTH frame when one is due and a key is configured. The `relay` tag is the URL that was
    /// dialed, so that the answer is of no use anywhere else.
    pub(super) fn poll(
        &mut self,
        url: &RelayUrl,
        keys: Option<&Keys>,
        now: Instant,
    ) -> Option<String> {
        self.due.filter(|due| *due <= now)?;
        self.due = None;
        let (_, challenge) = self.latest.as_ref()?;
        let tags = [["relay", url.as_str()], ["challenge", challenge]];
        let tags = tags.into_iter().filter_map(|tag| Tag::parse(tag).ok());
        let event = EventBuilder::new(Kind::Authentication, "").tags(tags).finalize(keys?).ok()?;
        self.answered_at = Some(now);
        Some(wire::auth(&event.as_json()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use nostr::event::Event;

    use super::*;

    fn signed(frame: &str) -> Event {
        let body = frame.strip_prefix(r#"["AUTH","#).unwrap().strip_suffix(']').unwrap();
        let event = Event::from_json(body).unwrap();
        event.verify().unwrap();
        event
    }

    #[test]
    fn the_latest_challenge_is_answered_once_in_ten_seconds() {
        let url = RelayUrl::parse("wss://relay.example/x").unwrap();
        let keys = Keys::generate();
        let now = Instant::now();
        let mut auth = Auth::default();
        let id = auth.on_challenge("one", now).unwrap();
        assert_eq!(auth.on_challenge("two", now), None);
        auth.answer(id, now);
        let event = signed(&auth.poll(&url, Some(&keys), now).unwrap());
        let tags: Vec<Vec<String>> = event.tags.iter().map(|tag| tag.clone().to_vec()).collect();
        assert_eq!(tags, [["relay", "wss://relay.example/x"], ["challenge", "two"]]);
        assert_eq!((event.kind.as_u16(), event.pubkey), (22_242, keys.public_key()));

        auth.answer(id, now);
        assert_eq!(auth.poll(&url, Some(&keys), now), None);
        assert_eq!(auth.deadline(), Some(now + PAUSE));
        assert!(auth.poll(&url, Some(&keys), now + PAUSE).is_some());
        assert_eq!(auth.deadline(), None);
    }

    #[test]
    fn without_a_key_or_with_an_old_number_nothing_is_signed() {
        let url = RelayUrl::parse("wss://relay.example").unwrap();
        let now = Instant::now();
        let mut auth = Auth::default();
        assert_eq!(auth.on_challenge(&"x".repeat(1025), now), None);
        let first = auth.on_challenge("one", now).unwrap();
        let second = auth.on_challenge("two", now + PAUSE).unwrap();
        assert_ne!(first, second);
        auth.answer(first, now + PAUSE);
        assert_eq!(auth.deadline(), None);
        auth.answer(second, now + PAUSE);
        assert_eq!(auth.poll(&url, None, now + PAUSE), None);
    }
}
