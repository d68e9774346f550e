//! Signing in without the app: a page, a form, and what follows.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, SET_COOKIE};
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::extract::Query;
use super::signing::{self, Origin, Typed};
use super::{AppState, app, oidc};
use crate::access::{Secret, SignInError};

/// The page.
pub(super) const PATH: &str = "/sign-in";

/// Where the form of the app's page goes.
pub(super) const OUT: &str = "/sign-out";

/// The longest address to go back to. The app's are far shorter.
const MAX_NEXT_BYTES: usize = 2_048;

/// The page to sign in on.
pub(super) async fn page(State(state): State<AppState>, mut query: Query) -> Response {
    let next = query.take("next").unwrap_or_default();
    render(&state, StatusCode::OK, &next, "", None)
}

/// Signs in, and goes back to where the person came from.
pub(super) async fn submit(
    State(state): State<AppState>,
    headers: HeaderMap,
    extensions: Extensions,
    form: String,
) -> Response {
    let mut form = match Query::parse(&form) {
        Ok(form) => form,
        Err(error) => return error.into_response(),
    };
    let mut field = |name| form.take(name).unwrap_or_default();
    let (name, next) = (field("name"), field("next"));
    let typed =
        Typed { name: name.clone(), password: Secret::new(field("password")), code: Secret::new(field("code")) };
    match signing::sign_in(&state, typed, Origin { headers: &headers, extensions: &extensions }).await {
        Ok((key, _)) => {
            let cookie = state.door.cookie(Some(&key));
            (StatusCode::SEE_OTHER, [(LOCATION, own_path(&next).to_owned()), (SET_COOKIE, cookie)]).into_response()
        }
        Err(error) => {
            let status = match error {
                SignInError::Wrong => StatusCode::UNAUTHORIZED,
                SignInError::Wait(_) => StatusCode::TOO_MANY_REQUESTS,
                SignInError::Busy => StatusCode::SERVICE_UNAVAILABLE,
                SignInError::NoUsers => StatusCode::NOT_FOUND,
            };
            render(&state, status, &next, &name, Some(&error.to_string()))
        }
    }
}

/// Signs out, and goes to the page to sign in on.
pub(super) async fn out(State(state): State<AppState>, headers: HeaderMap, extensions: Extensions) -> Response {
    signing::sign_out(&state, Origin { headers: &headers, extensions: &extensions }).await;
    (StatusCode::SEE_OTHER, [(LOCATION, PATH.to_owned()), (SET_COOKIE, state.door.cookie(None))]).into_response()
}

/// Goes on to a page of ours as a step of its own. A browser sends no `SameSite=Strict` cookie with a request that
/// another site began, redirects included; with the next one, which this page begins, it does.
pub(super) fn step(to: &str) -> Response {
    let to = escaped(own_path(to));
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Lockkeeper</title>\
         <meta http-equiv=\"refresh\" content=\"0;url={to}\"><p><a href=\"{to}\">Continue</a></p></html>"
    );
    html(StatusCode::OK, body)
}

/// The way to the page, from another one of ours.
pub(super) fn to_sign_in(next: &str) -> Response {
    let next: String = percent_encoding::utf8_percent_encode(next, percent_encoding::NON_ALPHANUMERIC).collect();
    (StatusCode::SEE_OTHER, [(LOCATION, format!("{PATH}?next={next}")), (CACHE_CONTROL, "no-store".to_owned())])
        .into_response()
}

pub(super) fn render(state: &AppState, status: StatusCode, next: &str, name: &str, problem: Option<&str>) -> Response {
    let door = &state.door;
    let problem =
        problem.map(|problem| format!("<p role=\"alert\">{}.</p>", capital(&escaped(problem)))).unwrap_or_default();
    let code = if door.asks_for_codes() {
        "<label>Code, if you use an authenticator app <input name=\"code\" inputmode=\"numeric\" \
         autocomplete=\"one-time-code\"></label>"
    } else {
        ""
    };
    let form = if door.has_users() {
        format!(
            "<form method=\"post\" action=\"{PATH}\"><input type=\"hidden\" name=\"next\" value=\"{}\">\
             <label>Name <input name=\"name\" value=\"{}\" autocomplete=\"username\" required autofocus></label>\
             <label>Password <input type=\"password\" name=\"password\" autocomplete=\"current-password\" required></label>\
             {code}<button>Sign in</button></form>",
            escaped(own_path(next)),
            escaped(name),
        )
    } else {
        String::new()
    };
    let provider = if door.has_provider() {
        let next: String =
            percent_encoding::utf8_percent_encode(own_path(next), percent_encoding::NON_ALPHANUMERIC).collect();
        format!("<p><a class=\"plain\" href=\"{}?next={next}\">Sign in with your organisation</a></p>", oidc::BEGIN)
    } else {
        String::new()
    };
    let otherwise = if door.is_open() {
        "<p>There is no access control: only this machine is served. <a href=\"/\">To the locks</a></p>"
    } else if form.is_empty() && provider.is_empty() {
        "<p>People come here through the proxy that signs them in, programs with a token.</p>"
    } else {
        ""
    };
    html(
        status,
        format!(
            "<!doctype html><html lang=\"en\" data-theme=\"auto\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>Sign in · Lockkeeper</title>{}</head><body><main class=\"sign-in\"><h1>Lockkeeper</h1>\
             {problem}{form}{provider}{otherwise}</main></body></html>",
            app::style_sheets()
        ),
    )
}

pub(super) fn html(status: StatusCode, body: String) -> Response {
    let policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                  frame-ancestors 'none'";
    let headers =
        [(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "no-store"), (CONTENT_SECURITY_POLICY, policy)];
    (status, headers, body).into_response()
}

/// The path, if it is one of this server's; anything else is the app's page.
pub(super) fn own_path(next: &str) -> &str {
    let is_own = next.starts_with('/')
        && !next.starts_with("//")
        && next.len() <= MAX_NEXT_BYTES
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_own { next } else { "/" }
}

/// Text as it stands in HTML.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        for (next, goes_to) in [
            ("/", "/"),
            ("/?lock=orders%2Flock%3Aa", "/?lock=orders%2Flock%3Aa"),
            ("", "/"),
            ("https://evil.example/", "/"),
            ("//evil.example/", "/"),
            ("/\\evil.example/", "/"),
            ("/\t/evil.example", "/"),
            ("/\r\nSet-Cookie: a=b", "/"),
        ] {
            assert_eq!(own_path(next), goes_to, "{next:?}");
        }
    }

    #[test]
    fn what_was_typed_stays_text() {
        assert_eq!(escaped("<b title='x'>\"&"), "&lt;b title=&#39;x&#39;&gt;&quot;&amp;");
    }
}
