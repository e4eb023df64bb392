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
    message: String,
    at: Option<String>,
    causes: Vec<String>,
    hints: Vec<String>,
    more: Vec<Failure>,
    quiet: bool,
}

impl Failure {
    /// A failure of this kind; the message is lower-case and has no period.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            at: None,
            causes: Vec::new(),
            hints: Vec::new(),
            more: Vec::new(),
            quiet: false,
        }
    }

    /// The reader of stdout went away: nothing to say, and no failure of ours.
    pub(crate) fn pipe_closed() -> Self {
        Self { quiet: true, ..Self::new(Exit::Ok, "") }
    }

    /// One failure out of several; the first decides the exit code. `None` when there is none.
    pub(crate) fn all(failures: Vec<Self>) -> Option<Self> {
        let mut failures = failures.into_iter();
        let mut first = failures.next()?;
        first.more.extend(failures);
        Some(first)
    }

    /// Where: `file:line:column`.
    pub(crate) fn at(mut self, place: impl Into<String>) -> Self {
        self.at = Some(place.into());
        self
    }

    /// The error behind it and its sources.
    pub(crate) fn caused_by(mut self, error: &(dyn Error + 'static)) -> Self {
        let mut source = Some(error);
        while let Some(error) = source {
            let text = error.to_string();
            // Some errors repeat their source in their own text.
            if self.causes.last() != Some(&text) {
                self.causes.push(text);
            }
            source = error.source();
        }
        self
    }

    /// The text behind it.
    pub(crate) fn because(mut self, text: impl Into<String>) -> Self {
        self.causes.push(text.into());
        self
    }

    /// What to do.
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(text.into());
        self
    }

    /// The text for stderr; empty when there is nothing to say. `hints` is false under `-q`.
    pub(crate) fn render(&self, paint: Paint, hints: bool) -> String {
        let mut text = String::new();
        if self.quiet {
            return text;
        }
        self.write(&mut text, paint, hints);
        for failure in &self.more {
            text.push('\n');
            failure.write(&mut text, paint, hints);
        }
        text
    }

    fn write(&self, text: &mut String, paint: Paint, hints: bool) {
        let error = paint.with(Style::Bad, "error:");
        let _ = writeln!(text, "{error} {}", self.message);
        if let Some(place) = &self.at {
            let _ = writeln!(text, "  --> {place}");
        }
        for cause in &self.causes {
            let _ = writeln!(text, "  caused by: {cause}");
        }
        for hint in self.hints.iter().filter(|_| hints) {
            let label = paint.with(Style::Hint, "hint:");
            let _ = writeln!(text, "{label} {hint}");
        }
    }

    /// The last line of a JSON stream on stderr.
    pub(crate) fn to_json(&self) -> Option<serde_json::Value> {
        (!self.quiet).then(|| {
            serde_json::json!({
                "type": "exit_error",
                "code": self.exit.code(),
                "message": self.message,
                "at": self.at,
                "causes": self.causes,
                "hint": self.hints.first(),
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
