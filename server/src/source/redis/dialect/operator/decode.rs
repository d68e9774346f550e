//! How a token reads: a template such as `{host}:{pid}:{_}`.

use lockkeeper_model::Identity;
use regex::Regex;

/// The longest template, in bytes. Tokens longer than a kilobyte are not read.
const MAX_BYTES: usize = 256;

/// The most placeholders: each that says something once, and as many that are skipped.
const MAX_PLACEHOLDERS: usize = 16;

const IGNORED: &str = "_";
const PID: &str = "pid";

/// What a placeholder may be called.
const PLACEHOLDERS: [&str; 7] = ["host", PID, "thread", "instance", "name", "metadata", IGNORED];

/// A template for tokens, checked.
///
/// Each placeholder stands for at least one character and for as few as fit, `pid` only for digits. A token that does not
/// fit as a whole says nothing.
#[derive(Clone, Debug)]
pub struct Decode {
    template: String,
    /// Matches in linear time, whatever a token is.
    regex: Regex,
}

impl PartialEq for Decode {
    fn eq(&self, other: &Decode) -> bool {
        self.template == other.template
    }
}

impl Eq for Decode {}

impl Decode {
    /// Checks a template.
    ///
    /// # Errors
    /// In words: what the template should be.
    pub fn parse(template: &str) -> Result<Decode, String> {
        let known = || format!("one of {}", PLACEHOLDERS.map(|name| format!("`{{{name}}}`")).join(", "));
        if template.is_empty() || template.len() > MAX_BYTES {
            return Err(format!("a template of 1 to {MAX_BYTES} bytes, such as `{{host}}:{{pid}}:{{_}}`"));
        }
        let mut pattern = String::from("^(?s:");
        let mut named: Vec<&str> = Vec::new();
        let (mut rest, mut touches) = (template, false);
        while !rest.is_empty() {
            let literal = &rest[..rest.find(['{', '}']).unwrap_or(rest.len())];
            rest = &rest[literal.len()..];
            pattern.push_str(&regex::escape(literal));
            touches &= literal.is_empty();
            if rest.is_empty() {
                break;
            }
            let Some((name, after)) = rest.strip_prefix('{').and_then(|inside| inside.split_once('}')) else {
                return Err(format!("a `{{` and a `}}` around each placeholder, which is {}", known()));
            };
            let Some(name) = PLACEHOLDERS.into_iter().find(|known| *known == name) else {
                return Err(format!("only placeholders that are {}", known()));
            };
            if touches {
                return Err("something between two placeholders, by which they can be told apart".to_owned());
            }
            if name != IGNORED && named.contains(&name) {
                return Err(format!("`{{{name}}}` once"));
            }
            named.push(name);
            if named.len() > MAX_PLACEHOLDERS {
                return Err(format!("at most {MAX_PLACEHOLDERS} placeholders"));
            }
            pattern.push_str(&match name {
                IGNORED => ".+?".to_owned(),
                PID => format!("(?P<{PID}>[0-9]+?)"),
                name => format!("(?P<{name}>.+?)"),
            });
            (rest, touches) = (after, true);
        }
        if named.iter().all(|name| *name == IGNORED) {
            return Err("at least one placeholder that says something, such as `{host}`".to_owned());
        }
        pattern.push_str(")$");
        let regex = Regex::new(&pattern).map_err(|_| "a simpler template".to_owned())?;
        Ok(Decode { template: template.to_owned(), regex })
    }

    /// What a token says of its holder; nothing where it does not read like the template.
    pub(super) fn identity(&self, token: &[u8]) -> Identity {
        let Some(read) = std::str::from_utf8(token).ok().and_then(|token| self.regex.captures(token)) else {
            return Identity::NOBODY;
        };
        let text = |name| read.name(name).map(|found| found.as_str().to_owned());
        let pid = read.name(PID).map(|pid| pid.as_str().parse().ok());
        if pid == Some(None) {
            // A number that no process has: the token is something else.
            return Identity::NOBODY;
        }
        Identity {
            host: text("host"),
            pid: pid.flatten(),
            thread: text("thread"),
            instance: text("instance"),
            client_name: text("name"),
            metadata: text("metadata"),
            ..Identity::NOBODY
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(template: &str, token: &str) -> Identity {
        Decode::parse(template).unwrap().identity(token.as_bytes())
    }

    #[test]
    fn a_token_is_read_as_the_template_says() {
        let who = read("{host}:{pid}:{_}", "web-1:4711:6f:1a");
        assert_eq!((who.host.as_deref(), who.pid), (Some("web-1"), Some(4_711)));
        let who = read("{host}-{pid}", "web-1-b-4711");
        assert_eq!((who.host.as_deref(), who.pid), (Some("web-1-b"), Some(4_711)));
        let who = read("v1.({name})/{instance}#{thread} {metadata}", "v1.(bills)/a1#main since noon\nand on");
        assert_eq!((who.client_name.as_deref(), who.instance.as_deref()), (Some("bills"), Some("a1")));
        assert_eq!((who.thread.as_deref(), who.metadata.as_deref()), (Some("main"), Some("since noon\nand on")));
    }

    #[test]
    fn a_token_that_does_not_fit_as_a_whole_says_nothing() {
        for token in ["", "web-1", "web-1:", ":1:x", "web-1:x:y", "web-1:1", "web-1:99999999999:x"] {
            assert_eq!(read("{host}:{pid}:{_}", token), Identity::NOBODY, "{token}");
        }
        assert_eq!(Decode::parse("{host}").unwrap().identity(b"\xff"), Identity::NOBODY);
    }

    #[test]
    fn a_template_that_cannot_be_meant_is_explained() {
        for (template, expected) in [
            ("", "a template of 1 to 256 bytes, such as `{host}:{pid}:{_}`"),
            ("{host}{pid}", "something between two placeholders, by which they can be told apart"),
            ("{host}:{host}", "`{host}` once"),
            ("{_}:{_}", "at least one placeholder that says something, such as `{host}`"),
            ("worker", "at least one placeholder that says something, such as `{host}`"),
            (
                "{hots}",
                "only placeholders that are one of `{host}`, `{pid}`, `{thread}`, `{instance}`, `{name}`, `{metadata}`, \
                 `{_}`",
            ),
        ] {
            assert_eq!(Decode::parse(template).unwrap_err(), expected, "{template}");
        }
        for template in ["{host", "host}", "{host}:{", "}{"] {
            assert!(Decode::parse(template).unwrap_err().starts_with("a `{` and a `}` around"), "{template}");
        }
        assert_eq!(Decode::parse(&"{_}.".repeat(17)).unwrap_err(), "at most 16 placeholders");
    }
}
