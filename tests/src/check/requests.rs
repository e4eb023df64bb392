//! S4, S12 and the shape of requests (FILT-1, HIST-5).

use std::collections::BTreeMap;

use nostr::filter::Filter;
use sync_core::command::{Command, Purpose};
use sync_core::config::Config;
use sync_core::id::{ConnId, WalkId};

use super::Findings;

#[derive(Debug)]
pub(super) struct Requests {
    values: usize,
    ids: usize,
    filters: usize,
    bytes: u64,
    pages: u32,
    asked: BTreeMap<(ConnId, WalkId), u32>,
}

impl Requests {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            values: config.fetch.values_per_filter as usize,
            ids: config.fetch.ids_per_filter as usize,
            filters: config.live.filters_per_req.max(config.fetch.filters_per_req) as usize,
            bytes: config.limits.req_frame_bytes.0,
            pages: config.page.max + config.page.splits,
            asked: BTreeMap::new(),
        }
    }

    pub(super) fn on_command(&mut self, command: &Command, findings: &mut Findings) {
        if let Command::Subscribe { conn, sub, filters, purpose } = command {
            let what = format!("REQ {sub} of {conn}");
            self.shape(filters, &what, findings);
            match purpose {
                Purpose::Page { walk, .. } => self.page(*conn, *walk, filters, &what, findings),
                Purpose::Live => {
                    for filter in filters {
                        let bounded = filter.limit == Some(0) || filter.since.is_some();
                        findings.check(bounded, "FILT-3", || format!("{what} asks for history"));
                    }
                }
                Purpose::Ids { .. } => {}
            }
        }
    }

    fn shape(&self, filters: &[Filter], what: &str, findings: &mut Findings) {
        findings.check(!filters.is_empty(), "S4", || format!("{what} has no filter"));
        findings.check(filters.len() <= self.filters, "S4", || {
            format!("{what} has {} filters", filters.len())
        });
        let bytes: usize = filters
            .iter()
            .map(|filter| serde_json::to_string(filter).map_or(0, |json| json.len() + 1))
            .sum();
        findings
            .check(bytes as u64 + 32 <= self.bytes, "S4", || format!("{what} has {bytes} bytes"));
        for filter in filters {
            let lists = [
                filter.ids.as_ref().map(|set| (set.len(), self.ids)),
                filter.authors.as_ref().map(|set| (set.len(), 500)),
                filter.kinds.as_ref().map(|set| (set.len(), usize::MAX)),
            ];
            let tags = filter.generic_tags.values().map(|set| (set.len(), self.values));
            let lists: Vec<_> = lists.into_iter().flatten().chain(tags).collect();
            findings.check(!lists.is_empty(), "FILT-1", || format!("{what} asks for anything"));
            for (length, most) in lists {
                findings.check(length > 0 && length <= most, "FILT-1", || {
                    format!("{what} has a list of {length} values")
                });
            }
        }
    }

    fn page(
        &mut self,
        conn: ConnId,
        walk: WalkId,
        filters: &[Filter],
        what: &str,
        findings: &mut Findings,
    ) {
        let asked = self.asked.entry((conn, walk)).or_default();
        *asked += 1;
        findings.check(*asked <= self.pages, "S12", || {
            format!("{what} is request {asked} of walk {walk}")
        });
        for filter in filters {
            let ordered = match (filter.since, filter.until) {
                (Some(since), Some(until)) => since <= until,
                _ => true,
            };
            findings.check(ordered, "HIST-5", || format!("{what} has since above until"));
            let limited = filter.limit.is_some_and(|limit| limit > 0);
            findings.check(limited, "HIST-5", || format!("{what} has no limit"));
        }
    }
}
