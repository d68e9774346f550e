use leptos::prelude::*;
use lockkeeper_model::Time;

use super::copies;
use super::utc::was_shown;
use crate::lang::t;

/// A moment as the wall clock of the person reading says it; the title has it in UTC.
#[component]
pub(crate) fn Moment(
    /// When.
    at: Time,
) -> impl IntoView {
    let utc = at.to_string();
    view! {
        <time datetime=utc.clone() title=utc.clone()>
            {hms(at)}
            {copies(t!(time), Signal::stored(utc.clone()))}
        </time>
    }
}

/// `02:51:03` in the reader's time zone.
pub(crate) fn hms(at: Time) -> String {
    let behind = minutes_behind_utc(at);
    was_shown((at.0.div_euclid(1_000) - behind * 60).rem_euclid(86_400), behind);
    clock_face(at.0, behind)
}

/// `2026-01-01` in the reader's time zone.
pub(crate) fn day(at: Time) -> String {
    let mut text = at.plus(-minutes_behind_utc(at) * 60_000).to_string();
    text.truncate(text.find('T').unwrap_or_default());
    text
}

fn clock_face(ms: i64, minutes_behind_utc: i64) -> String {
    let s = (ms.div_euclid(1_000) - minutes_behind_utc * 60).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60)
}

/// Only the time zone is asked of the browser, for that very moment; whether its clock is right does not matter.
#[cfg(target_arch = "wasm32")]
fn minutes_behind_utc(at: Time) -> i64 {
    let minutes = js_sys::Date::new(&(at.0 as f64).into()).get_timezone_offset();
    if minutes.is_finite() { minutes as i64 } else { 0 }
}

#[cfg(not(target_arch = "wasm32"))]
fn minutes_behind_utc(_: Time) -> i64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_face_is_the_readers() {
        assert_eq!(clock_face(1_767_235_863_999, 0), "02:51:03");
        assert_eq!(clock_face(1_767_235_863_000, -60), "03:51:03");
        assert_eq!(clock_face(1_767_235_863_000, 300), "21:51:03");
        assert_eq!((hms(Time(-1)).as_str(), day(Time(-1)).as_str()), ("23:59:59", "1969-12-31"));
    }
}
