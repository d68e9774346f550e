//! The app, embedded in the binary as `cargo xtask build` left it.

use std::sync::OnceLock;

use axum::extract::{Path, Request};
use axum::http::HeaderValue;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lockkeeper_model::words;
use rust_embed::RustEmbed;
use sha2::{Digest as _, Sha256};

use super::{ApiError, account, sign_in};
use crate::access::{Person, Via};

const PAGE: &str = "index.html";

/// A file that has this many hexadecimal digits of a hash in its name never changes under that name.
const HASH_DIGITS: usize = 8;

#[derive(RustEmbed)]
#[folder = "../app/dist"]
#[allow_missing = true]
struct Dist;

/// The page, for whoever is known; who that is stands on it.
pub(super) async fn page(request: Request) -> Response {
    let Some(person) = request.extensions().get::<Person>() else {
        let here = request.uri().path_and_query().map_or("/", |both| both.as_str());
        // Somebody who is signed in and follows a link from elsewhere comes without their cookie, once.
        let comes_from_elsewhere =
            request.headers().get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site");
        return if comes_from_elsewhere { sign_in::step(here) } else { sign_in::to_sign_in(here) };
    };
    match Dist::get(PAGE) {
        Some(file) => {
            let page = String::from_utf8_lossy(&file.data).replacen("</body>", &format!("{}</body>", who(person)), 1);
            let hash = Sha256::digest(&page);
            let mut response = serve(PAGE, page.into_bytes(), &hash, request.headers());
            if let Ok(policy) = content_security_policy().parse() {
                response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
            }
            response
        }
        None => not_built(),
    }
}

/// The line that says who is signed in, or that nobody has to be.
fn who(person: &Person) -> String {
    let name = sign_in::escaped(&words::shown(&person.name));
    match person.via {
        Via::Loopback => {
            "<footer class=\"who\" lang=\"en\">No access control: only this machine is served</footer>".to_owned()
        }
        Via::Password | Via::Oidc => format!(
            "<footer class=\"who\" lang=\"en\"><form method=\"post\" action=\"{}\"><span>Signed in as <b>{name}</b></span>\
             <a href=\"{}\">Your account</a><button class=\"plain\">Sign out</button></form></footer>",
            sign_in::OUT,
            account::PATH
        ),
        Via::Token | Via::Proxy => format!("<footer class=\"who\" lang=\"en\">Known as <b>{name}</b></footer>"),
    }
}

/// The links to the app's styles, for the pages that are made here.
pub(super) fn style_sheets() -> String {
    let page = Dist::get(PAGE).map(|file| file.data.into_owned()).unwrap_or_default();
    let page = String::from_utf8_lossy(&page);
    let links = page.split('<').filter(|tag| tag.starts_with("link ") && tag.contains("stylesheet"));
    links.filter_map(|tag| Some(format!("<{}>", tag.split_once('>')?.0))).collect()
}

/// What the page consists of.
pub(super) async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    match Dist::get(&path) {
        Some(file) if path != PAGE => {
            let hash = file.metadata.sha256_hash();
            let packed = Dist::get(&format!("{path}.br")).filter(|_| takes_brotli(&headers));
            let is_packed = packed.is_some();
            let mut response = serve(&path, packed.unwrap_or(file).data.into_owned(), &hash, &headers);
            if is_packed && response.status() == StatusCode::OK {
                // Packed while it was built, better than there is time for while somebody waits.
                response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("br"));
                response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
            }
            response
        }
        _ => super::router::no_such_path(&format!("/{path}")).into_response(),
    }
}

/// Whether whoever asks takes brotli (RFC 9110, 12.5.3), unless they say that they would rather not.
fn takes_brotli(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|one| {
            let (coding, weight) = one.split_once(';').unwrap_or((one, ""));
            let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
            coding.trim().eq_ignore_ascii_case("br") && weight.is_ok_and(|weight| weight > 0.0)
        })
}

fn serve(path: &str, data: Vec<u8>, hash: &[u8], headers: &HeaderMap) -> Response {
    // Weak: the same file goes out compressed in several ways.
    let etag = format!("W/\"{}\"", STANDARD.encode(hash));
    let caching = if has_hash(path) { "public, max-age=31536000, immutable" } else { "private, no-cache" };
    let known = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .any(|value| value.to_str().is_ok_and(|value| value.split(',').any(|one| one.trim() == etag)));
    let about = [(ETAG, etag), (CACHE_CONTROL, caching.to_owned())];
    if known {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    let kind = match mime_guess::from_path(path).first_or_octet_stream() {
        mime if mime.type_() == mime_guess::mime::TEXT => format!("{}; charset=utf-8", mime.essence_str()),
        mime => mime.essence_str().to_owned(),
    };
    let body = axum::body::Body::from(data);
    (about, [(CONTENT_TYPE, kind)], body).into_response()
}

/// `app-3f2c9e0b7a51d4c8_bg.wasm`, as Trunk names files.
fn has_hash(path: &str) -> bool {
    path.rsplit('/').next().unwrap_or(path).split(['-', '_', '.']).any(|part| {
        part.len() >= HASH_DIGITS
            && part.bytes().all(|b| b.is_ascii_hexdigit())
            && part.bytes().any(|b| b.is_ascii_digit())
    })
}

/// Only what comes from here, and of inline scripts only those that the page was built with.
fn content_security_policy() -> &'static str {
    static POLICY: OnceLock<String> = OnceLock::new();
    POLICY.get_or_init(|| {
        let page = Dist::get(PAGE).map(|file| file.data.into_owned()).unwrap_or_default();
        policy_for(&String::from_utf8_lossy(&page))
    })
}

fn policy_for(page: &str) -> String {
    let hashes: String =
        inline_scripts(page).map(|script| format!(" 'sha256-{}'", STANDARD.encode(Sha256::digest(script)))).collect();
    format!(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'{hashes}; style-src 'self'; connect-src 'self'; \
         img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}

/// The texts between `<script …>` and `</script>`; those with a `src` are empty. The page is our own: this need not
/// understand every HTML, and a script that it misses does not run.
fn inline_scripts(page: &str) -> impl Iterator<Item = &str> {
    page.split("<script").skip(1).filter_map(|rest| {
        let (_, after) = rest.split_once('>')?;
        let (script, _) = after.split_once("</script>")?;
        (!script.is_empty()).then_some(script)
    })
}

fn not_built() -> Response {
    let text = "This binary was built without the dashboard.\n\n\
                Build both with `cargo xtask build`, then start target/release/lockkeeper.\n\
                The API is there all the same: see /api/v1/openapi.json.\n";
    (StatusCode::SERVICE_UNAVAILABLE, [(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// An error for a path that is neither the API nor the app.
pub(super) fn unknown(path: &str) -> ApiError {
    ApiError::not_found("no-such-path", "No such path", format!("there is nothing at `{}`", words::shown(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_with_a_hash_in_their_name_are_kept_for_ever() {
        for (path, kept) in [
            ("app-3f2c9e0b7a51d4c8.js", true),
            ("app-3f2c9e0b7a51d4c8_bg.wasm", true),
            ("snippets/x-0123456789abcdef/inline0.js", false),
            ("favicon.svg", false),
            ("index.html", false),
            ("deadbeef.css", false),
        ] {
            assert_eq!(has_hash(path), kept, "{path}");
        }
    }

    #[test]
    fn brotli_is_sent_to_those_who_take_it() {
        for (accepted, taken) in [
            (Some("gzip, deflate, br, zstd"), true),
            (Some("BR;q=0.5"), true),
            (Some("br; q=0, gzip"), false),
            (Some("br;q=x"), false),
            (Some("gzip"), false),
            (Some("*"), false),
            (None, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accepted) = accepted {
                headers.insert(ACCEPT_ENCODING, accepted.parse().unwrap());
            }
            assert_eq!(takes_brotli(&headers), taken, "{accepted:?}");
        }
    }

    #[test]
    fn the_pages_own_inline_scripts_may_run_and_no_others() {
        let policy = policy_for("<script type=\"module\">start()</script><script src=\"a.js\"></script>");
        let hash = STANDARD.encode(Sha256::digest("start()"));
        assert!(policy.contains(&format!("script-src 'self' 'wasm-unsafe-eval' 'sha256-{hash}'; style-src 'self'")));
        assert!(!policy.contains("unsafe-inline"));
    }

    #[test]
    fn wasm_is_served_as_wasm() {
        assert_eq!(mime_guess::from_path("app_bg.wasm").first_raw(), Some("application/wasm"));
    }
}
