//! What a person reads when something failed: what, where, why, and what to do about it.

use std::error::Error;
use std::fmt::Write as _;
use std::io;

use crate::exit::Exit;
use crate::term::{Paint, Style};

/// Why a command did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// Nothing when nobody is there to read it.
    told: Option<Box<Told>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    message: String,
    at: Option<String>,
    causes: Vec<String>,
    notes: Vec<String>,
    hints: Vec<String>,
    more: Vec<Failure>,
}

impl Failure {
    /// A failure of this kind; the message is lower-case and has no period.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let told = Told { message: message.into(), ..Told::default() };
        Self { exit, told: Some(Box::new(told)) }
    }

    /// The reader of stdout went away: nothing to say, and no failure of ours.
    pub(crate) fn pipe_closed() -> Self {
        Self { exit: Exit::Ok, told: None }
    }

    /// One failure out of several; the first decides the exit code. `None` when there is none.
    pub(crate) fn all(failures: Vec<Self>) -> Option<Self> {
        let mut failures = failures.into_iter();
        let first = failures.next()?;
        Some(first.tell(|told| told.more.extend(failures)))
    }

    /// Where: `file:line:column`.
    pub(crate) fn at(self, place: impl Into<String>) -> Self {
        self.tell(|told| told.at = Some(place.into()))
    }

    /// The error behind it and its sources.
    pub(crate) fn caused_by(self, error: &(dyn Error + 'static)) -> Self {
        self.tell(|told| {
            let mut source = Some(error);
            while let Some(error) = source {
                let text = error.to_string();
                // Some errors repeat their source in their own text.
                if told.causes.last() != Some(&text) {
                    told.causes.push(text);
                }
                source = error.source();
            }
        })
    }

    /// The text behind it.
    pub(crate) fn because(self, text: impl Into<String>) -> Self {
        self.tell(|told| told.causes.push(text.into()))
    }

    /// A line that belongs to it, with a label of its own.
    pub(crate) fn note(self, text: impl Into<String>) -> Self {
        self.tell(|told| told.notes.push(text.into()))
    }

    /// What to do.
    pub(crate) fn hint(self, text: impl Into<String>) -> Self {
        self.tell(|told| told.hints.push(text.into()))
    }

    fn tell(mut self, what: impl FnOnce(&mut Told)) -> Self {
        if let Some(told) = &mut self.told {
            what(told);
        }
        self
    }

    /// The text for stderr; empty when there is nothing to say. `hints` is false under `-q`.
    pub(crate) fn render(&self, paint: Paint, hints: bool) -> String {
        let mut text = String::new();
        let Some(told) = &self.told else { return text };
        let error = paint.with(Style::Bad, "error:");
        let _ = writeln!(text, "{error} {}", told.message);
        if let Some(place) = &told.at {
            let _ = writeln!(text, "  --> {place}");
        }
        for cause in &told.causes {
            let _ = writeln!(text, "  caused by: {cause}");
        }
        for note in &told.notes {
            let _ = writeln!(text, "  {note}");
        }
        for hint in told.hints.iter().filter(|_| hints) {
            let label = paint.with(Style::Hint, "hint:");
            let _ = writeln!(text, "{label} {hint}");
        }
        for failure in &told.more {
            let _ = write!(text, "\n{}", failure.render(paint, hints));
        }
        text
    }

    /// The last line of a JSON stream on stderr.
    pub(crate) fn to_json(&self) -> Option<serde_json::Value> {
        self.told.as_ref().map(|told| {
            serde_json::json!({
                "type": "exit_error",
                "code": self.exit.code(),
                "message": told.message,
                "at": told.at,
                "causes": told.causes,
                "notes": told.notes,
                "hint": told.hints.first(),
            })
        })
    }
}

impl From<io::Error> for Failure {
    /// Writing to stdout failed.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::pipe_closed();
        }
        Self::new(Exit::Failed, "cannot write the answer").caused_by(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_where_why_and_what_to_do() {
        let cause = io::Error::from_raw_os_error(2);
        let failure = Failure::new(Exit::NoDaemon, "cannot reach the daemon")
            .at("a.toml:1:2")
            .caused_by(&cause)
            .hint("start it");
        assert_eq!(
            failure.render(Paint::Plain, true),
            "error: cannot reach the daemon\n  --> a.toml:1:2\n  \
             caused by: No such file or directory (os error 2)\nhint: start it\n"
        );
        assert!(!failure.render(Paint::Plain, false).contains("hint"));
    }

    #[test]
    fn several_failures_are_shown_together_and_the_first_decides() {
        let failures = vec![Failure::new(Exit::ConfigInvalid, "a"), Failure::new(Exit::Usage, "b")];
        let failure = Failure::all(failures).expect("there are two");
        assert_eq!(failure.exit, Exit::ConfigInvalid);
        assert_eq!(failure.render(Paint::Plain, true), "error: a\n\nerror: b\n");
    }

    #[test]
    fn a_closed_pipe_is_no_failure_and_says_nothing() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit, failure.render(Paint::Plain, true)), (Exit::Ok, String::new()));
        assert_eq!(failure.to_json(), None);
    }
}
