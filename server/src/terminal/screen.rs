//! Where answers are written: how wide it is, whether it shows colours, and what is harmless there.

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _, Write};

use anstyle::{AnsiColor, Effects, Style};
use lockkeeper_model::words::shown;
use terminal_size::{Width, terminal_size_of};
use textwrap::core::display_width;

/// Columns of a terminal that does not say how many it has, and the fewest that anything is laid out for.
const DEFAULT_WIDTH: usize = 80;
const MIN_WIDTH: usize = 20;

/// How a text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As everything.
    Plain,
    /// A heading.
    Strong,
    /// Beside the point, or not live.
    Dim,
    /// As it should be.
    Good,
    /// Something to look at.
    Warn,
    /// Something is wrong.
    Bad,
}

/// What answers are laid out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Columns; `None`: nobody looks at it, so nothing is cut or wrapped.
    pub(super) width: Option<usize>,
    /// Whether colours are shown.
    pub(super) colours: bool,
}

impl Look {
    /// What a program reads.
    pub(super) const PLAIN: Look = Look { width: None, colours: false };

    /// What standard output is: a terminal has a width, and colours unless `NO_COLOR` is set (<https://no-color.org>) or
    /// it says that it has none.
    pub(super) fn of_stdout() -> Look {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return Look::PLAIN;
        }
        let width = terminal_size_of(&stdout).map_or(DEFAULT_WIDTH, |(Width(columns), _)| usize::from(columns));
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").as_deref() == Some(OsStr::new("dumb"));
        Look { width: Some(width.max(MIN_WIDTH)), colours: !is_set("NO_COLOR") && !is_dumb }
    }

    /// A text that is harmless already, in this tone.
    pub(super) fn paint(self, text: &str, tone: Tone) -> String {
        let style = match tone {
            _ if !self.colours => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Strong => Style::new().effects(Effects::BOLD),
            Tone::Dim => Style::new().effects(Effects::DIMMED),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Warn => AnsiColor::Yellow.on_default(),
            Tone::Bad => AnsiColor::Red.on_default().effects(Effects::BOLD),
        };
        format!("{style}{text}{style:#}")
    }

    /// A heading, on a line of its own.
    pub(super) fn heading(self, text: &str) -> String {
        format!("\n{}\n", self.paint(text, Tone::Strong))
    }

    /// A text, wrapped where there is a width; further lines begin under `indent` spaces.
    pub(super) fn wrapped(self, text: &str, indent: usize) -> String {
        let Some(width) = self.width else { return format!("{text}\n") };
        // A name of hundreds of columns on a narrow terminal would be a column of letters.
        let hang = " ".repeat(indent.min(width / 2));
        let options = textwrap::Options::new(width).subsequent_indent(&hang);
        textwrap::wrap(text, options).join("\n") + "\n"
    }

    /// Terms and what is known of each, the latter under each other.
    pub(super) fn facts(self, facts: &[(&str, String)]) -> String {
        let terms = facts.iter().map(|(term, _)| display_width(term)).max().unwrap_or(0);
        let line = |(term, text): &(&str, String)| {
            let pad = " ".repeat(terms - display_width(term) + 2);
            self.wrapped(&format!("  {term}{pad}{text}"), terms + 4)
        };
        facts.iter().map(line).collect()
    }
}

/// Standard output.
pub(super) struct Screen<'a> {
    out: &'a mut dyn Write,
    /// What is laid out for it.
    pub(super) look: Look,
}

impl<'a> Screen<'a> {
    pub(super) fn new(out: &'a mut dyn Write, look: Look) -> Screen<'a> {
        Screen { out, look }
    }

    /// Writes a text that is harmless already, and lets it be seen at once.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Writes what a server answered in JSON, as it came but for characters that a terminal might obey: those are
    /// written as the escapes that JSON has for them.
    pub(super) fn json(&mut self, body: &str) -> io::Result<()> {
        self.say(&(escaped(body.trim_end()) + "\n"))
    }

    /// Writes bytes as they are, for files.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }
}

/// JSON with the same meaning and without anything invisible. Outside of strings JSON has no such characters.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        let is_harmless =
            matches!(c, ' '..='~' | '\n' | '\t' | '\r') || shown(c.encode_utf8(&mut [0; 4])).chars().eq([c]);
        if is_harmless {
            out.push(c);
        } else {
            out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    out
}

/// Tells a person something that is no part of the answer.
pub(super) fn aside(text: &str) {
    // Nobody is left to tell that there is nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_means_the_same_and_a_terminal_obeys_nothing_of_it() {
        let value = serde_json::json!({ "id": "a\u{9b}31m\u{202e}\u{7f}é\u{e0041}\"\\", "n": [1, null] });
        let body = serde_json::to_string(&value).unwrap();
        let said = escaped(&body);
        assert_eq!(said, r#"{"id":"a\u009b31m\u202e\u007fé\udb40\udc41\"\\","n":[1,null]}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&said).unwrap(), value);
    }

    #[test]
    fn colours_are_for_those_who_see_them() {
        let seen = Look { width: Some(80), colours: true };
        assert_eq!(seen.paint("alive", Tone::Good), "\u{1b}[32malive\u{1b}[0m");
        assert_eq!(Look::PLAIN.paint("alive", Tone::Good), "alive");
    }

    #[test]
    fn facts_stand_under_each_other_and_within_the_width() {
        let facts = [("Who", "worker-3".to_owned()), ("Held since", "x ".repeat(20))];
        let narrow = Look { width: Some(30), colours: false }.facts(&facts);
        assert!(narrow.starts_with("  Who         worker-3\n  Held since  x x x"), "{narrow}");
        assert!(narrow.lines().all(|line| display_width(line) <= 30), "{narrow}");
        assert!(narrow.lines().skip(2).all(|line| line.starts_with("              x")), "{narrow}");
        assert_eq!(Look::PLAIN.facts(&facts).lines().count(), 2);
    }

    #[test]
    fn a_wide_script_is_wrapped_by_what_it_takes_on_the_screen() {
        let wrapped = Look { width: Some(20), colours: false }.wrapped(&"錠".repeat(30), 2);
        assert!(wrapped.lines().all(|line| display_width(line) <= 20), "{wrapped}");
    }
}
