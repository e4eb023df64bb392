//! The terminal: colour, marks, and who wants to hear what. Colour is never the only signal.

use std::env;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;

/// When output is coloured; `auto` is on a terminal, unless NO_COLOR is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    // No doc comments here: clap would give each value a line of its own in help.
    #[default]
    Auto,
    Always,
    Never,
}

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// All is well.
    Good,
    /// In progress.
    Busy,
    /// Somebody should look.
    Warn,
    /// Failed.
    Bad,
    /// What to do.
    Hint,
}

/// Whether a stream takes colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Text only.
    Plain,
    /// ANSI colours.
    Colour,
}

impl Paint {
    /// The text in this style.
    pub(crate) fn with(self, style: Style, text: &str) -> String {
        let code = match (self, style) {
            (Self::Plain, _) => return text.to_owned(),
            (Self::Colour, Style::Good) => "32",
            (Self::Colour, Style::Busy | Style::Hint) => "36",
            (Self::Colour, Style::Warn) => "33",
            (Self::Colour, Style::Bad) => "1;31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// How to speak to the person at the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    /// Colour of stdout.
    pub(crate) out: Paint,
    /// Colour of stderr.
    pub(crate) err: Paint,
    /// Marks in ASCII only.
    pub(crate) ascii: bool,
    /// How many `-q` were given.
    pub(crate) quiet: u8,
    /// Whether stderr is a terminal that bars can be drawn on.
    pub(crate) bars: bool,
    /// Columns of stdout, when it is a terminal.
    pub(crate) width: Option<usize>,
}

impl Term {
    /// What flags, environment and streams say.
    pub(crate) fn detect(color: ColorChoice, ascii: bool, quiet: u8, verbose: u8) -> Self {
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let forced = set("FORCE_COLOR") || set("CLICOLOR_FORCE");
        let paint = |is_terminal| decide(color, set("NO_COLOR"), forced, dumb, is_terminal);
        let on_terminal = io::stderr().is_terminal();
        Self {
            out: paint(io::stdout().is_terminal()),
            err: paint(on_terminal),
            ascii: ascii
                || !is_utf8(["LC_ALL", "LC_CTYPE", "LANG"].map(|name| env::var(name).ok())),
            quiet,
            bars: on_terminal && !dumb && quiet == 0 && verbose == 0,
            width: width(),
        }
    }

    /// The mark of this style on stdout.
    pub(crate) fn mark(self, style: Style) -> String {
        let mark = match (style, self.ascii) {
            (Style::Good, false) => "●",
            (Style::Busy | Style::Hint, false) => "◐",
            (Style::Bad, false) => "✗",
            (Style::Warn, _) => "!",
            (Style::Good, true) => "*",
            (Style::Busy | Style::Hint, true) => "o",
            (Style::Bad, true) => "x",
        };
        self.out.with(style, mark)
    }

    /// A warning on stderr; `-qq` hides it.
    pub(crate) fn warn(self, text: &str) {
        if self.quiet < 2 {
            let _ = writeln!(io::stderr(), "{} {text}", self.err.with(Style::Warn, "warning:"));
        }
    }

    /// A line of progress on stderr; `-q` hides it.
    pub(crate) fn note(self, text: &str) {
        if self.quiet == 0 {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// What to do next, on stderr; `-q` hides it.
    pub(crate) fn hint(self, text: &str) {
        if self.hints() {
            let _ = writeln!(io::stderr(), "{} {text}", self.err.with(Style::Hint, "hint:"));
        }
    }

    /// Whether hints are shown.
    pub(crate) fn hints(self) -> bool {
        self.quiet == 0
    }
}

fn width() -> Option<usize> {
    let stdout = io::stdout();
    let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout).ok())??;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// `--color` beats NO_COLOR, which beats FORCE_COLOR, which beats the terminal; a dumb terminal
/// never gets colour unless the flag says so.
fn decide(color: ColorChoice, no: bool, forced: bool, dumb: bool, is_terminal: bool) -> Paint {
    let colour = match color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => !no && !dumb && (forced || is_terminal),
    };
    if colour { Paint::Colour } else { Paint::Plain }
}

/// Whether the first of these locale variables that is set names UTF-8.
fn is_utf8(locale: [Option<String>; 3]) -> bool {
    let locale = locale.into_iter().flatten().find(|value| !value.is_empty());
    let locale = locale.unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Writes the answer to stdout.
pub(crate) fn answer(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_beats_the_environment_and_the_environment_the_terminal() {
        use ColorChoice::{Always, Auto, Never};
        let cases = [
            // flag, NO_COLOR, FORCE_COLOR, dumb, terminal
            ((Always, true, false, true, false), Paint::Colour),
            ((Never, false, true, false, true), Paint::Plain),
            ((Auto, true, true, false, true), Paint::Plain),
            ((Auto, false, true, false, false), Paint::Colour),
            ((Auto, false, true, true, true), Paint::Plain),
            ((Auto, false, false, false, true), Paint::Colour),
            ((Auto, false, false, false, false), Paint::Plain),
        ];
        for ((flag, no, forced, dumb, terminal), expected) in cases {
            assert_eq!(decide(flag, no, forced, dumb, terminal), expected);
        }
    }

    #[test]
    fn the_first_locale_variable_that_is_set_decides_about_marks() {
        let locale = |all: &str, lang: &str| {
            [Some(all.to_owned()), None, (!lang.is_empty()).then(|| lang.to_owned())]
        };
        assert!(is_utf8(locale("", "en_US.UTF-8")));
        assert!(is_utf8(locale("C.utf8", "C")));
        assert!(!is_utf8(locale("C", "en_US.UTF-8")));
        assert!(!is_utf8(locale("", "")));
    }
}
