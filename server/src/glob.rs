//! Redis glob patterns, matched on bytes as `KEYS` and `SCAN MATCH` do.

/// Whether `text` matches `pattern`: `*`, `?`, `[a-z]`, `[^x]`, and `\` before a literal character.
///
/// Linear in the text for each `*` (it goes back to the last star only), so a hostile key costs nothing much.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match step(&pattern[p..], text[t]) {
            Step::Star => {
                star = Some((p + 1, t));
                p += 1;
            }
            Step::Hit(width) => {
                p += width;
                t += 1;
            }
            Step::Miss => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    p = after;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

enum Step {
    Star,
    /// This many bytes of the pattern match one byte of the text.
    Hit(usize),
    Miss,
}

fn step(pattern: &[u8], byte: u8) -> Step {
    match pattern {
        [] => Step::Miss,
        [b'*', ..] => Step::Star,
        [b'?', ..] => Step::Hit(1),
        [b'\\', literal, ..] => hit_if(*literal == byte, 2),
        [b'[', rest @ ..] => {
            let (matched, width) = class(rest, byte);
            hit_if(matched, width + 1)
        }
        [literal, ..] => hit_if(*literal == byte, 1),
    }
}

fn hit_if(matched: bool, width: usize) -> Step {
    if matched { Step::Hit(width) } else { Step::Miss }
}

/// A character class after its `[`: whether the byte is in it, and its length with the `]`.
fn class(pattern: &[u8], byte: u8) -> (bool, usize) {
    let negated = pattern.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    while let Some(&first) = pattern.get(at) {
        match first {
            b']' => {
                at += 1;
                break;
            }
            b'\\' if at + 1 < pattern.len() => {
                found |= pattern[at + 1] == byte;
                at += 2;
            }
            low if pattern.get(at + 1) == Some(&b'-') && at + 2 < pattern.len() => {
                let high = pattern[at + 2];
                found |= (low.min(high)..=low.max(high)).contains(&byte);
                at += 3;
            }
            literal => {
                found |= literal == byte;
                at += 1;
            }
        }
    }
    (found != negated, at)
}

/// Where the first `*` of a pattern stands that is one.
pub(crate) fn first_star(pattern: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += match &pattern[at..] {
            [] => return None,
            [b'*', ..] => return Some(at),
            [b'\\', _, ..] => 2,
            [b'[', rest @ ..] => class(rest, 0).1 + 1,
            _ => 1,
        };
    }
}

/// What the first `*` of a pattern stands for in a text that matches: the shortest with which the rest matches.
pub(crate) fn starred<'a>(pattern: &[u8], text: &'a [u8]) -> Option<&'a [u8]> {
    let star = first_star(pattern)?;
    let begins = (0..=text.len()).find(|&at| matches(&pattern[..star], &text[..at]))?;
    let ends = (begins..=text.len()).find(|&at| matches(&pattern[star + 1..], &text[at..]))?;
    Some(&text[begins..ends])
}

/// What every key that matches begins with.
pub(crate) fn literal_prefix(pattern: &str) -> String {
    let mut prefix = String::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' | '?' | '[' => break,
            '\\' => prefix.extend(rest.next()),
            c => prefix.push(c),
        }
    }
    prefix
}

/// A pattern that only this text matches.
pub(crate) fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| ['\\', c]).collect()
}

/// A pattern for all that another one matches, and for all names that begin with one of `leads` and have such a text in
/// them. It tells most other names apart by their first byte, so that a server is as quick with it as with the other one.
pub(crate) fn within(pattern: &str, leads: impl Iterator<Item = &'static str>) -> String {
    let mut rest = pattern.chars();
    let first = match rest.next() {
        Some('*' | '?' | '[') | None => return format!("*{pattern}*"),
        Some('\\') => rest.next(),
        first => first,
    };
    // In a class each byte stands for itself, and what is left of a character is what the star stands for.
    let first: String = leads.filter_map(|lead| lead.chars().next()).chain(first).collect();
    format!("[{}]*{}*", escaped(&first), rest.as_str())
}

/// The prefixes of several patterns without those that another one covers: Redis refuses overlapping ones. One empty
/// prefix stands for all keys.
pub(crate) fn prefixes(patterns: &[String]) -> Vec<String> {
    let mut all: Vec<String> = patterns.iter().map(|pattern| literal_prefix(pattern)).collect();
    if all.is_empty() {
        return vec![String::new()];
    }
    all.sort();
    let mut kept: Vec<String> = Vec::new();
    for prefix in all {
        if !kept.iter().any(|shorter| prefix.starts_with(shorter.as_str())) {
            kept.push(prefix);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_redis_does() {
        for (pattern, text, expected) in [
            ("lock:*", "lock:a", true),
            ("lock:*", "lock", false),
            ("*:lock", "a:b:lock", true),
            ("h?llo", "hello", true),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("*", "", true),
            ("[", "x", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_star_stands_for_the_shortest_that_fits() {
        for (pattern, text, expected) in [
            ("a:*:lock", "a:1:lock", Some("1")),
            ("a:*:*", "a:1:2:3", Some("1")),
            (r"[*x]?\*-*", "*b*-c", Some("c")),
            ("*", "", Some("")),
            ("a:*", "b:1", None),
            ("a?[b*]", "axb", None),
            ("[*", "x", None),
        ] {
            assert_eq!(starred(pattern.as_bytes(), text.as_bytes()), expected.map(str::as_bytes), "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_is_found_within_names_that_lead_to_it_as_well() {
        let queue = "redisson_lock_queue:";
        for (pattern, expected) in
            [("lock:*", r"[\r\l]*ock:**"), (r"\*x?", r"[\r\*]*x?*"), ("*:a", "**:a*"), ("", "**")]
        {
            assert_eq!(within(pattern, [queue].into_iter()), expected);
        }
        for (pattern, name) in [
            ("lock:*", "lock:a"),
            ("l", "l"),
            (r"\[a]-*", "[a]-b"),
            ("-a*", "-a"),
            ("^a*", "^ab"),
            ("é?x*", "éäx"),
            ("r*", "r"),
            ("[a-c]d*:e", "bd:e"),
            ("a*:b", "ac:b"),
        ] {
            let found = within(pattern, [queue].into_iter());
            for name in [name.to_owned(), format!("{queue}{{{name}}}"), format!("{queue}{name}{{}}")] {
                assert!(matches(found.as_bytes(), name.as_bytes()), "{pattern} {found} {name}");
            }
        }
        let found = within("lock:*", [queue].into_iter());
        assert!(!matches(found.as_bytes(), b"block:1") && !matches(found.as_bytes(), b"redisson_lock_queue:{other}"));
    }

    #[test]
    fn prefixes_do_not_overlap() {
        let said = |patterns: &[&str]| prefixes(&patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
        assert_eq!(said(&["lock:*", "lock:a:*", "mutex:*"]), ["lock:", "mutex:"]);
        assert_eq!(said(&["lock:*", "*:lock"]), [""]);
        assert_eq!(said(&[]), [""]);
        assert_eq!(said(&[r"a\*b*"]), ["a*b"]);
    }
}
