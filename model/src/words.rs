//! How numbers are said to a person: the same words on the screen, in evidence and on a terminal.

/// What became of a release that its store lost.
pub const RELEASE_LOST: &str = "released on a primary that was replaced before it had told its replicas; the lock is held \
                                again by the former holder";

/// A duration in two figures that matter: `840 ms`, `1.2 s`, `58 s`, `4 m 31 s`, `1 h 52 m`, `3 d 4 h`.
#[must_use]
pub fn duration(ms: i64) -> String {
    let ms = ms.max(0);
    let s = ms / 1000;
    match s {
        _ if ms < 100 => format!("{ms} ms"),
        0..20 => format!("{}.{} s", s, ms % 1000 / 100),
        20..60 => format!("{s} s"),
        60..3_600 => format!("{} m {:02} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {:02} m", s / 3_600, s % 3_600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// A whole number with thin groups of three: `12,403`.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in the unit a person would use: `512 B`, `64 KiB`, `100 MiB`.
#[must_use]
pub fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{} KiB", n / 1024),
        _ => format!("{} MiB", n / 1_048_576),
    }
}

/// The longest text of a stranger that is shown in one piece, in characters. Longer ones are cut and say so.
pub const MAX_SHOWN_CHARS: usize = 200;

/// A string that somebody else chose, made safe to look at: control and direction-changing characters become visible
/// escapes, and it is cut at [`MAX_SHOWN_CHARS`] with the number of characters left out.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == MAX_SHOWN_CHARS {
            out.push_str(&format!("… (+{})", text.chars().count() - i));
            break;
        }
        match c {
            _ if c.is_control() || is_invisible(c) => out.extend(c.escape_unicode()),
            _ => out.push(c),
        }
    }
    out
}

/// Format characters that reorder or hide what stands around them (Unicode TR36 and TR39).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A token shortened to its ends, `0f8e41…a2c9`, for a column; the whole stays a hover or a drawer away.
#[must_use]
pub fn short_token(token: &str) -> String {
    let chars: Vec<char> = token.chars().collect();
    if chars.len() <= 14 {
        return shown(token);
    }
    let head: String = chars[..6].iter().collect();
    let tail: String = chars[chars.len() - 4..].iter().collect();
    shown(&format!("{head}…{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_the_figures_that_matter() {
        let said: Vec<String> =
            [0, 99, 840, 1_234, 58_900, 271_000, 6_720_000, 273_600_000].into_iter().map(duration).collect();
        assert_eq!(said, ["0 ms", "99 ms", "0.8 s", "1.2 s", "58 s", "4 m 31 s", "1 h 52 m", "3 d 4 h"]);
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([7, 999, 12_403, 1_000_000].map(count).join(" "), "7 999 12,403 1,000,000");
    }

    #[test]
    fn hostile_text_is_shown_harmless_and_bounded() {
        assert_eq!(shown("a\u{202e}b\n\u{7}"), "a\\u{202e}b\\u{a}\\u{7}");
        assert_eq!(shown("<script>"), "<script>");
        let long = shown(&"x".repeat(5_000));
        assert!(long.len() < 300 && long.ends_with("(+4800)"), "{long}");
    }
}
