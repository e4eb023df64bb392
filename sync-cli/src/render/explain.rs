//! `explain`: why a relay is in its state, and what comes next.

use std::fmt::Write as _;

use sync_runtime::api::Explain;

/// The whole answer.
pub(crate) fn render(explain: &Explain) -> String {
    let mut text = format!("{}\n", explain.summary);
    let because = explain.because.iter().map(|cause| ("because", cause));
    let rest = [("effect", &explain.effect), ("next", &explain.next), ("health", &explain.health)];
    for (name, value) in because.chain(rest).filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(text, "  {name:<9}{value}");
    }
    text
}
