//! What people see and change of their own access, without the app: a page of forms, as signing in is one. It costs the
//! app's download nothing, and works where the app does not.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use lockkeeper_model::{Time, words};
use qrcode::{Color, EcLevel, QrCode};

use super::caller::{self, Caller};
use super::extract::Query;
use super::sign_in::{self, capital, escaped, html};
use super::signing::Origin;
use super::{ApiError, AppState, app};
use crate::access::{Listed, PasswordError, Secret, SessionId, SignInError, Via, password, totp};
use crate::clock;

/// The page.
pub(super) const PATH: &str = "/account";

/// What its forms' addresses begin with.
pub(super) const FORMS: &str = "/account/";

/// Where the form for another password goes.
pub(super) const PASSWORD: &str = "/account/password";

/// Where the forms that end sessions go.
pub(super) const SESSIONS: &str = "/account/sessions";

/// Where the forms of the second factor go.
pub(super) const SECOND_FACTOR: &str = "/account/second-factor";

/// Sessions that are listed: more than anybody has browsers. The rest can be ended all at once.
const MAX_LISTED: usize = 50;

/// Modules around a QR code that have to be light (ISO/IEC 18004, 6.3.8).
const QUIET_ZONE: usize = 4;

/// What the page says.
mod text {
    pub(super) const TITLE: &str = "Your account";
    pub(super) const TO_LOCKS: &str = "To the locks";
    pub(super) const NOT_LOCAL: &str = "You did not sign in with a password of this server: your password and your second \
                                        factor are changed where you sign in.";
    pub(super) const PASSWORD: &str = "Password";
    pub(super) const OLD: &str = "Password so far";
    pub(super) const NEW: &str = "New password";
    pub(super) const CHANGE: &str = "Change the password";
    pub(super) const JUDGED: &str = "What is common, or follows from common words, names, dates or rows of keys, is refused, \
                                     and why is said here. Four words that have nothing to do with each other are good. \
                                     Every other session of yours ends.";
    pub(super) const SESSIONS: &str = "Where you are signed in";
    pub(super) const THIS_ONE: &str = "this browser";
    pub(super) const END: &str = "End";
    pub(super) const END_OTHERS: &str = "End all others";
    pub(super) const NO_SESSIONS: &str = "You have no session here: nothing of yours has to be ended.";
    pub(super) const SECOND_FACTOR: &str = "Second factor";
    pub(super) const HAS_ONE: &str = "Signing in needs a code of your authenticator app beside the password. Whoever runs \
                                      this server can take it away, if you lose the device: `lockkeeper user totp`.";
    pub(super) const HAS_NONE: &str = "The password is enough to sign in. With a second factor, a code of an authenticator \
                                       app is needed as well.";
    pub(super) const SET_UP: &str = "Set one up";
    pub(super) const SCAN: &str =
        "Scan this with your authenticator app, or type the secret into it. It is shown once.";
    pub(super) const PICTURE: &str = "The secret as a QR code";
    pub(super) const SECRET: &str = "Secret";
    pub(super) const CODE: &str = "Code that the app shows";
    pub(super) const CONFIRM: &str = "Switch it on";
    pub(super) const REMOVE: &str = "Switch it off";
    pub(super) const CANCEL: &str = "Not now";
    pub(super) const YOUR_PASSWORD: &str = "Your password";
}

/// What was done, by the word for it in the page's address.
const DONE: [(&str, &str); 5] = [
    ("password", "The password was changed. Your other sessions ended."),
    ("ended", "The session has ended, and what was open in it."),
    ("others", "Your other sessions have ended, and what was open in them."),
    ("factor-on", "The second factor is on. Your other sessions ended."),
    ("factor-off", "The second factor is off. Your other sessions ended."),
];

/// Why nothing was changed. The name is known, as against signing in.
const WRONG: &str = "the password is wrong, or a code was needed and is wrong, missing or used already";

/// What the page tells beside what is so.
#[derive(Default)]
struct Notice {
    done: Option<&'static str>,
    refused: Option<String>,
    /// A second factor that is being set up, and the `otpauth:` URL by which apps take it.
    setting_up: Option<(Secret, Secret)>,
}

impl Notice {
    fn refused(error: &impl ToString) -> Notice {
        Notice { refused: Some(error.to_string()), ..Notice::default() }
    }
}

/// The page, for whoever is known.
pub(super) async fn page(
    State(state): State<AppState>,
    caller: Result<Caller, ApiError>,
    mut query: Query,
) -> Response {
    let Ok(caller) = caller else { return sign_in::to_sign_in(PATH) };
    let word = query.take("done").unwrap_or_default();
    let done = DONE.into_iter().find(|(known, _)| *known == word).map(|(_, said)| said);
    render(&state, &caller, StatusCode::OK, Notice { done, ..Notice::default() })
}

/// Gives whoever asks another password.
pub(super) async fn change_password(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    extensions: Extensions,
    form: String,
) -> Result<Response, ApiError> {
    let mut form = Query::parse(&form)?;
    let mut field = |name| Secret::new(form.take(name).unwrap_or_default());
    let (old, new) = (field("old"), field("new"));
    let from = Origin { headers: &headers, extensions: &extensions };
    let changed = state.door.change_password(&caller.person, old, new, &headers, caller::peer(&extensions)).await;
    let detail = ["changed their password; their other sessions ended", "the old password is wrong"];
    let told = ["password_changed", "password_not_changed"];
    Ok(answer(&state, &caller, from, changed, "password", told, detail).await)
}

/// Sets up, switches on or switches off the second factor of whoever asks.
pub(super) async fn change_second_factor(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    extensions: Extensions,
    form: String,
) -> Result<Response, ApiError> {
    let mut form = Query::parse(&form)?;
    let step = form.take("step").unwrap_or_default();
    let mut field = |name| Secret::new(form.take(name).unwrap_or_default());
    let (password, code, secret) = (field("password"), field("code"), field("secret"));
    let (from, peer) = (Origin { headers: &headers, extensions: &extensions }, caller::peer(&extensions));
    let person = &caller.person;
    match &*step {
        "begin" => {
            // Somebody who has one by now sees so.
            if state.door.second_factor_of(person) != Some(false) {
                return Ok(to("", None));
            }
            let made = totp::new_secret(&person.name).ok_or_else(ApiError::internal)?;
            Ok(render(&state, &caller, StatusCode::OK, Notice { setting_up: Some(made), ..Notice::default() }))
        }
        "on" => {
            let again = secret.clone();
            let changed = state.door.add_second_factor(person, password, secret, &code, &headers, peer).await;
            // What was scanned already is good for the next try.
            if let Err(error @ (PasswordError::Code | PasswordError::Old(SignInError::Wrong))) = &changed {
                let url = totp::url_of(&person.name, &again).ok_or_else(|| ApiError::from(PasswordError::Code))?;
                let is_wrong = *error != PasswordError::Code;
                if is_wrong {
                    from.tell(&state, person, "second_factor_not_changed", "the password is wrong").await;
                }
                let refused = Some(if is_wrong { WRONG.to_owned() } else { error.to_string() });
                let notice = Notice { refused, setting_up: Some((again, url)), ..Notice::default() };
                return Ok(render(&state, &caller, StatusCode::UNPROCESSABLE_ENTITY, notice));
            }
            let detail = ["switched their second factor on; their other sessions ended", "the password is wrong"];
            let told = ["second_factor_on", "second_factor_not_changed"];
            Ok(answer(&state, &caller, from, changed, "factor-on", told, detail).await)
        }
        "off" => {
            let changed = state.door.remove_second_factor(person, password, &code, &headers, peer).await;
            let detail =
                ["switched their second factor off; their other sessions ended", "the password or the code is wrong"];
            let told = ["second_factor_off", "second_factor_not_changed"];
            Ok(answer(&state, &caller, from, changed, "factor-off", told, detail).await)
        }
        other => {
            let detail = format!("`step` is `{}`, expected `begin`, `on` or `off`", words::shown(other));
            Err(ApiError::bad_request("bad-parameter", detail))
        }
    }
}

/// Ends one session of whoever asks, or all but the one that asks.
pub(super) async fn end_sessions(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    extensions: Extensions,
    form: String,
) -> Result<Response, ApiError> {
    let mut form = Query::parse(&form)?;
    let (door, person) = (&state.door, &caller.person);
    let from = Origin { headers: &headers, extensions: &extensions };
    let id = form.take("id").unwrap_or_default();
    if id == "others" {
        let others = door.sessions(Some(person)).into_iter().filter(|one| Some(one.id) != person.session);
        let ended = others.filter(|one| door.end_session(one.id, Some(person)).is_some()).count();
        from.tell(&state, person, "signed_out", &format!("ended their other sessions: {ended}")).await;
        return Ok(to("others", None));
    }
    let ended = id.parse::<SessionId>().ok().and_then(|id| door.end_session(id, Some(person)));
    if ended.is_none() {
        let refused = Notice::refused(&"there is no such session of yours, or not any more");
        return Ok(render(&state, &caller, StatusCode::NOT_FOUND, refused));
    }
    from.tell(&state, person, "session_ended", "ended a session of their own").await;
    Ok(to("ended", None))
}

/// What follows a change: the page again, in the new session; or why there was none, written down where somebody guesses.
async fn answer(
    state: &AppState,
    caller: &Caller,
    from: Origin<'_>,
    changed: Result<Secret, PasswordError>,
    done: &str,
    [told, not_told]: [&str; 2],
    [detail, not_detail]: [&str; 2],
) -> Response {
    match changed {
        Ok(key) => {
            from.tell(state, &caller.person, told, detail).await;
            to(done, Some(state.door.cookie(Some(&key))))
        }
        Err(error) => {
            let is_wrong = error == PasswordError::Old(SignInError::Wrong);
            let error = ApiError::from(error);
            if is_wrong {
                from.tell(state, &caller.person, not_told, not_detail).await;
            }
            let said = if is_wrong { WRONG.to_owned() } else { error.in_words() };
            render(state, caller, error.status(), Notice { refused: Some(said), ..Notice::default() })
        }
    }
}

/// Goes on to the page, so that reloading it sends nothing again.
fn to(done: &str, cookie: Option<String>) -> Response {
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, format!("{PATH}?done={done}"))]).into_response();
    if let Some(cookie) = cookie.and_then(|cookie| cookie.parse().ok()) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

fn render(state: &AppState, caller: &Caller, status: StatusCode, notice: Notice) -> Response {
    let Notice { done, refused, setting_up } = notice;
    let mut body = String::new();
    if let Some(said) = done {
        let _ = write!(body, "<p role=\"status\">{said}</p>");
    }
    if let Some(said) = refused {
        let _ = write!(body, "<p role=\"alert\">{}.</p>", escaped(capital(&said).trim_end_matches('.')));
    }
    match state.door.second_factor_of(&caller.person) {
        None => {
            let _ = write!(body, "<p>{}</p>", text::NOT_LOCAL);
        }
        Some(has_one) => body.push_str(&match setting_up {
            Some((secret, url)) => set_up_form(&secret, &url),
            None => password_form(&caller.person.name) + &second_factor_form(has_one),
        }),
    }
    body.push_str(&sessions_list(state, caller));
    html(
        status,
        format!(
            "<!doctype html><html lang=\"en\" data-theme=\"auto\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{title} · Lockkeeper</title>{styles}</head><body><main class=\"sign-in account\">\
             <p><a href=\"/\">{back}</a></p><h1>{title}</h1><p>{name}</p>{body}</main></body></html>",
            title = text::TITLE,
            back = text::TO_LOCKS,
            styles = app::style_sheets(),
            name = escaped(&words::shown(&caller.person.name)),
        ),
    )
}

fn password_form(name: &str) -> String {
    let (least, most) = (password::PASSWORD_CHARS.start(), password::PASSWORD_CHARS.end());
    // A password manager stores the new one under this name.
    let name = escaped(name);
    format!(
        "<h2>{}</h2><form method=\"post\" action=\"{PASSWORD}\">\
         <input hidden name=\"username\" value=\"{name}\" autocomplete=\"username\" readonly>\
         <label>{} <input type=\"password\" name=\"old\" autocomplete=\"current-password\" required></label>\
         <label>{} <input type=\"password\" name=\"new\" autocomplete=\"new-password\" minlength=\"{least}\" \
         maxlength=\"{most}\" required aria-describedby=\"judged\"></label>\
         <small id=\"judged\">{least} to {most} characters. {}</small><button>{}</button></form>",
        text::PASSWORD,
        text::OLD,
        text::NEW,
        text::JUDGED,
        text::CHANGE,
    )
}

/// A password and a code.
fn fields() -> String {
    format!(
        "<label>{} <input type=\"password\" name=\"password\" autocomplete=\"current-password\" required></label>\
         <label>{} <input name=\"code\" inputmode=\"numeric\" autocomplete=\"one-time-code\" required></label>",
        text::YOUR_PASSWORD,
        text::CODE,
    )
}

fn second_factor_form(has_one: bool) -> String {
    let (said, step, fields, button) = match has_one {
        true => (text::HAS_ONE, "off", fields(), text::REMOVE),
        false => (text::HAS_NONE, "begin", String::new(), text::SET_UP),
    };
    format!(
        "<h2>{}</h2><p>{said}</p><form method=\"post\" action=\"{SECOND_FACTOR}\">\
         <input type=\"hidden\" name=\"step\" value=\"{step}\">{fields}<button>{button}</button></form>",
        text::SECOND_FACTOR
    )
}

fn set_up_form(secret: &Secret, url: &Secret) -> String {
    let picture = drawn(url).map_or_else(String::new, |(path, size)| {
        format!(
            "<svg class=\"qr\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {size} {size}\" \
             shape-rendering=\"crispEdges\"><rect width=\"{size}\" height=\"{size}\" fill=\"#fff\"/>\
             <path fill=\"#000\" d=\"{path}\"/></svg>",
            text::PICTURE
        )
    });
    let secret = escaped(secret.expose());
    format!(
        "<h2>{}</h2><p>{}</p>{picture}<p>{}: <code>{}</code></p><form method=\"post\" action=\"{SECOND_FACTOR}\">\
         <input type=\"hidden\" name=\"step\" value=\"on\"><input type=\"hidden\" name=\"secret\" value=\"{secret}\">\
         {}<button>{}</button></form><p><a href=\"{PATH}\">{}</a></p>",
        text::SECOND_FACTOR,
        text::SCAN,
        text::SECRET,
        in_fours(&secret),
        fields(),
        text::CONFIRM,
        text::CANCEL,
    )
}

/// A secret as people type it.
fn in_fours(secret: &str) -> String {
    let mut out = String::new();
    for (at, c) in secret.chars().enumerate() {
        if at > 0 && at % 4 == 0 {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

/// A QR code as an SVG path, and its width with the light edge around it.
fn drawn(url: &Secret) -> Option<(String, usize)> {
    let code = QrCode::with_error_correction_level(url.expose().as_bytes(), EcLevel::M).ok()?;
    let width = code.width();
    let mut path = String::new();
    for (at, color) in code.to_colors().into_iter().enumerate() {
        if color == Color::Dark {
            let _ = write!(path, "M{} {}h1v1h-1z", at % width + QUIET_ZONE, at / width + QUIET_ZONE);
        }
    }
    Some((path, width + 2 * QUIET_ZONE))
}

fn sessions_list(state: &AppState, caller: &Caller) -> String {
    let own = caller.person.session;
    let is_signed_in = matches!(caller.person.via, Via::Password | Via::Oidc);
    let sessions = if is_signed_in { state.door.sessions(Some(&caller.person)) } else { Vec::new() };
    if sessions.is_empty() {
        return format!("<h2>{}</h2><p>{}</p>", text::SESSIONS, text::NO_SESSIONS);
    }
    let rows: String = sessions.iter().take(MAX_LISTED).map(|session| row(session, own)).collect();
    let others = match sessions.len() {
        1 => String::new(),
        _ => end_form("others", "", text::END_OTHERS),
    };
    format!("<h2>{}</h2><ul class=\"sessions\">{rows}</ul>{others}", text::SESSIONS)
}

fn row(session: &Listed, own: Option<SessionId>) -> String {
    let now = clock::now();
    let ago = |ago: std::time::Duration| now.plus(-i64::try_from(ago.as_millis()).unwrap_or(i64::MAX));
    let (from, began) = (session.from, shown(ago(session.age)));
    let end = match own == Some(session.id) {
        true => text::THIS_ONE.to_owned(),
        false => end_form(&session.id.to_string(), &format!(" the session from {from} since {began}"), text::END),
    };
    format!("<li><span>{from}<small>since {began}, last used {}</small></span>{end}</li>", shown(ago(session.unused)))
}

fn end_form(id: &str, whose: &str, button: &str) -> String {
    let label = if whose.is_empty() { String::new() } else { format!(" aria-label=\"{button}{whose}\"") };
    format!(
        "<form method=\"post\" action=\"{SESSIONS}\"><input type=\"hidden\" name=\"id\" value=\"{id}\">\
         <button{label}>{button}</button></form>"
    )
}

/// A moment to the second.
fn shown(at: Time) -> String {
    let text = at.to_string();
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qr_code_is_drawn_with_a_light_edge_around_it() {
        let (secret, url) = totp::new_secret("ada").unwrap();
        let (path, size) = drawn(&url).unwrap();
        // The finder pattern of the corner, and nothing before it.
        assert!(path.starts_with("M4 4h1v1h-1zM5 4h1v1h-1z"), "{}", &path[..40]);
        assert!(size > 21 + 2 * QUIET_ZONE && !path.contains("M0 ") && !path.contains("M3 "));
        assert_eq!(drawn(&Secret::new("x".repeat(5_000))), None, "more than any code holds");
        assert_eq!(totp::url_of("ada", &secret), Some(url));
    }

    #[test]
    fn a_secret_stands_in_groups_that_can_be_typed() {
        assert_eq!(in_fours("ABCDEFGHIJ"), "ABCD EFGH IJ");
        assert_eq!(shown(Time(7_000)), "1970-01-01 00:00:07 UTC");
    }
}
