//! Explanations that need no state: error codes and metrics.

use crate::api::Explain;
use crate::observe::alerts::RULES;
use crate::observe::{CODES, family};

/// What an error code, or the name of a metric or alert, means.
pub(super) fn term(subject: &str) -> Option<Explain> {
    code(subject).or_else(|| metric(subject)).or_else(|| alert(subject))
}

fn code(subject: &str) -> Option<Explain> {
    let text = CODES.iter().find(|text| text.code.0.eq_ignore_ascii_case(subject))?;
    Some(Explain {
        subject: text.code.0.into(),
        summary: format!("{} is an error of type {}", text.code.0, text.kind.as_str()),
        because: vec![text.what.into()],
        next: text.hint.into(),
        ..Explain::default()
    })
}

fn metric(subject: &str) -> Option<Explain> {
    let family = family(subject)?;
    let labels = match family.labels {
        [] => "no labels".into(),
        labels => format!("by {}", labels.join(", ")),
    };
    Some(Explain {
        subject: family.name.into(),
        summary: format!("{} is a {}, {labels}", family.name, family.kind.as_str()),
        effect: family.help.into(),
        ..Explain::default()
    })
}

fn alert(subject: &str) -> Option<Explain> {
    let rule = RULES.iter().find(|rule| rule.name == subject)?;
    Some(Explain {
        subject: rule.name.into(),
        summary: format!("{} is an alert of severity {}", rule.name, rule.severity),
        because: vec![rule.summary.replace("{}", "a relay, queue or type")],
        effect: format!("looks at {}", rule.condition.families().join(", ")),
        ..Explain::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_metrics_are_explained_and_nothing_else() {
        let code = term("e107").expect("a code");
        assert_eq!(code.summary, "E107 is an error of type tls");
        assert_eq!(code.because, ["the certificate is not accepted"]);
        let metric = term("ngit_sync_gap_events_total").expect("a metric");
        assert_eq!(metric.summary, "ngit_sync_gap_events_total is a counter, by relay");
        assert_eq!(term("E999"), None);
    }
}
