//! Times on the screen are those of the reader's wall clock. Whoever points at one is told it in UTC, in which people of several
//! time zones talk about an incident.
//!
//! Clock faces stand in many sentences. How far from UTC each one was is kept here as it is written, so that no sentence needs a
//! form of its own for the times in it, and none has its zone guessed from its digits.

use std::sync::atomic::{AtomicI16, Ordering};

use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::Element;

const DAY_S: usize = 86_400;

/// For each second of a day: how many minutes behind UTC the clock was that showed it, counted from [`ZERO`].
static SHOWN: [AtomicI16; DAY_S] = [const { AtomicI16::new(NOT_SHOWN) }; DAY_S];

const NOT_SHOWN: i16 = 0;
/// It was shown by clocks of two zones, before and after a change to summer time: which one is meant is not known.
const BY_TWO: i16 = i16::MAX;
/// Stands for UTC itself: more than the minutes by which any zone is ahead of it.
const ZERO: i16 = 2_000;

/// A text longer than this is a part of the page, not a value that somebody points at, in bytes.
const LONGEST: usize = 400;

/// Keeps in mind that a clock so many minutes behind UTC showed this second of the day.
pub(crate) fn was_shown(second: i64, minutes_behind: i64) {
    let Some(known) = usize::try_from(second).ok().and_then(|second| SHOWN.get(second)) else { return };
    let behind = i16::try_from(minutes_behind).map_or(BY_TWO, |behind| behind.saturating_add(ZERO));
    let before = known.load(Ordering::Relaxed);
    known.store(if before == NOT_SHOWN || before == behind { behind } else { BY_TWO }, Ordering::Relaxed);
}

/// The clock faces in a text as UTC has them, in their order; `None` where it has none whose zone is known, or says its own.
pub(crate) fn in_utc(text: &str) -> Option<String> {
    if text.len() > LONGEST || text.contains("UTC") {
        return None;
    }
    let bytes = text.as_bytes();
    let mut told = Vec::new();
    for (at, face) in bytes.windows(8).enumerate() {
        let Some(second) = second_of(face) else { continue };
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        let after = bytes.get(at + 8);
        // A part of a longer number, or of a moment that is written as RFC 3339 has it.
        if [before, after].into_iter().flatten().any(|next| next.is_ascii_alphanumeric() || *next == b':') {
            continue;
        }
        let behind = SHOWN.get(second)?.load(Ordering::Relaxed);
        if behind == NOT_SHOWN || behind == BY_TWO {
            return None;
        }
        let utc = (second as i64 + i64::from(behind - ZERO) * 60).rem_euclid(DAY_S as i64);
        told.push(format!("{:02}:{:02}:{:02}", utc / 3_600, utc / 60 % 60, utc % 60));
    }
    (!told.is_empty()).then(|| format!("{} UTC", told.join(", ")))
}

/// The second of the day that `02:51:03` is.
fn second_of(face: &[u8]) -> Option<usize> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = *face else { return None };
    let two = |tens: u8, ones: u8, below: usize| {
        let digit = |byte: u8| byte.is_ascii_digit().then(|| usize::from(byte - b'0'));
        Some(digit(tens)? * 10 + digit(ones)?).filter(|number| *number < below)
    };
    Some(two(h1, h2, 24)? * 3_600 + two(m1, m2, 60)? * 60 + two(s1, s2, 60)?)
}

/// Has whatever somebody points at say its times in UTC, where it says nothing else then.
pub(super) fn follow_times() {
    let pointing = window_event_listener(leptos::ev::pointerover, |event| {
        let Some(at) = event.target().and_then(|at| at.dyn_into::<Element>().ok()) else { return };
        let is_ours = at.has_attribute("data-utc");
        if at.child_element_count() > 3 || (at.has_attribute("title") && !is_ours) {
            return;
        }
        match in_utc(&at.text_content().unwrap_or_default()) {
            Some(utc) => {
                let _ = at.set_attribute("data-utc", "");
                let _ = at.set_attribute("title", &utc);
            }
            // It said a time before, and says another thing now.
            None if is_ours => drop(at.remove_attribute("title")),
            None => {}
        }
    });
    on_cleanup(move || pointing.remove());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_utc_as_the_clock_was_that_showed_them() {
        let second = |hour: i64, minute: i64| hour * 3_600 + minute * 60 + 7;
        was_shown(second(23, 30), 300);
        was_shown(second(0, 10), -60);
        assert_eq!(in_utc("between 23:30:07 and 00:10:07, seen").as_deref(), Some("04:30:07, 23:10:07 UTC"));
        assert_eq!(in_utc("since 23:30:07.").as_deref(), Some("04:30:07 UTC"));
        assert_eq!(in_utc("2026-01-01 23:30:07").as_deref(), Some("04:30:07 UTC"));
        for text in ["23:30:07 UTC", "2026-01-01T23:30:07Z", "23:30:07Z", "for 23:30", "", "123:30:07", "29:30:07"] {
            assert_eq!(in_utc(text), None, "{text}");
        }
        assert_eq!(in_utc("05:05:05, which nobody showed"), None);
        // The hour that is there twice when summer time ends.
        was_shown(second(2, 30), -120);
        was_shown(second(2, 30), -60);
        assert_eq!(in_utc("since 02:30:07"), None);
    }
}
