//! How many new hosts an author may add in a day (DISC-4).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use nostr::key::PublicKey;
use nostr::types::Timestamp;

use crate::url::RelayUrl;

/// Hosts that announcements named, and who added how many today.
#[derive(Debug)]
pub(crate) struct Hosts {
    per_day: u32,
    known: BTreeSet<String>,
    day: u64,
    added: BTreeMap<PublicKey, u32>,
}

impl Hosts {
    /// Hosts that are remembered; one more counts as new whenever it is named.
    const KNOWN_MAX: usize = 65_536;

    pub(crate) fn new(per_day: u32) -> Self {
        Self { per_day, known: BTreeSet::new(), day: 0, added: BTreeMap::new() }
    }

    /// The relays whose hosts are known or still allowed, and how many are not. Without a time
    /// nothing is counted: those were allowed once.
    pub(crate) fn admit(
        &mut self,
        author: &PublicKey,
        relays: Vec<RelayUrl>,
        now: Option<Timestamp>,
    ) -> (Vec<RelayUrl>, u64) {
        let offered = relays.len();
        let admitted: Vec<RelayUrl> =
            relays.into_iter().filter(|url| self.allows(author, url.host_str(), now)).collect();
        let above = (offered - admitted.len()) as u64;
        (admitted, above)
    }

    fn allows(&mut self, author: &PublicKey, host: &str, now: Option<Timestamp>) -> bool {
        if self.known.contains(host) {
            return true;
        }
        if let Some(now) = now {
            let day = now.as_secs() / 86_400;
            if day != self.day {
                self.day = day;
                self.added.clear();
            }
            let added = self.added.entry(*author).or_default();
            if *added >= self.per_day {
                return false;
            }
            *added += 1;
        }
        if self.known.len() < Self::KNOWN_MAX {
            self.known.insert(host.into());
        }
        true
    }
}
