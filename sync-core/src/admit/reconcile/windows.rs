//! What becomes of a session that is too large: windows by time (HIST-2).

use alloc::vec::Vec;

use nostr::types::Timestamp;

use super::below;
use super::message::{Bound, Mode, Part};
use crate::item::Range;

/// The open ranges of a message as windows of whole seconds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Windows {
    /// The windows, in order, disjoint.
    pub(super) ranges: Vec<Range>,
    /// Whether a run of open ranges holds more of our items than a window.
    pub(super) larger: bool,
}

/// Cuts what `parts` leaves open into windows of at most `size` of our items; only a second that
/// alone holds more makes a larger one. `times` is sorted.
pub(super) fn windows(parts: &[Part], times: &[u64], range: Range, size: usize) -> Windows {
    let mut out = Windows { ranges: Vec::new(), larger: false };
    for run in runs(parts, range) {
        let first = below(times, bound(run.since));
        let last = times.partition_point(|at| *at <= run.until.as_secs());
        out.larger |= last - first > size;
        cut(run, &times[first..last], size, &mut out.ranges);
    }
    out
}

fn bound(at: Timestamp) -> Bound {
    Bound { at: at.as_secs(), ..Bound::START }
}

/// Open ranges in whole seconds within `range`, neighbours joined.
fn runs(parts: &[Part], range: Range) -> Vec<Range> {
    let mut runs: Vec<Range> = Vec::new();
    for part in parts.iter().filter(|p| p.mode != Mode::Skip && p.lower < p.upper) {
        // A bound without an id lies before its second.
        let last = if part.upper.id == [0; 32] { part.upper.at - 1 } else { part.upper.at };
        let since = range.since.max(Timestamp::from_secs(part.lower.at));
        let until = range.until.min(Timestamp::from_secs(last));
        if since > until {
            continue;
        }
        match runs.last_mut() {
            Some(run) if since.as_secs() <= run.until.as_secs().saturating_add(1) => {
                run.until = run.until.max(until);
            }
            _ => runs.push(Range { since, until }),
        }
    }
    runs
}

/// Cuts a run before the second of every item that would be one too many.
fn cut(run: Range, mut times: &[u64], size: usize, out: &mut Vec<Range>) {
    let mut since = run.since;
    while times.len() > size {
        let second = times[size];
        let mut end = times.partition_point(|at| *at < second);
        if end == 0 {
            // The window begins with a second that is larger than a window.
            end = times.partition_point(|at| *at <= second);
        }
        let Some(next) = times.get(end) else { break };
        out.push(Range { since, until: Timestamp::from_secs(next - 1) });
        since = Timestamp::from_secs(*next);
        times = &times[end..];
    }
    out.push(Range { since, until: run.until });
}
