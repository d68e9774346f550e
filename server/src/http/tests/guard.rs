use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, StatusCode};

use super::{Rim, ask, json};
use crate::access::{Door, Policy, Settings};
use crate::watched::Watched;

#[tokio::test]
async fn only_names_of_this_machine_are_answered() {
    let rim = Rim::new();
    for (host, status) in [
        ("localhost", StatusCode::OK),
        ("LOCALHOST:9", StatusCode::OK),
        ("127.0.0.1:7420", StatusCode::OK),
        ("127.8.8.8", StatusCode::OK),
        ("[::1]:7420", StatusCode::OK),
        ("evil.example", StatusCode::MISDIRECTED_REQUEST),
        ("evil.example:7420", StatusCode::MISDIRECTED_REQUEST),
        ("localhost.evil.example", StatusCode::MISDIRECTED_REQUEST),
        ("127.0.0.1.evil.example", StatusCode::MISDIRECTED_REQUEST),
        ("192.168.1.5:7420", StatusCode::MISDIRECTED_REQUEST),
        ("localhost@evil.example", StatusCode::MISDIRECTED_REQUEST),
        ("", StatusCode::MISDIRECTED_REQUEST),
    ] {
        for path in ["/api/v1/sources", "/healthz", "/"] {
            let mut request = ask(Method::GET, path, Body::empty());
            request.headers_mut().insert("host", host.parse().unwrap());
            let answered = rim.send(request).await.status();
            let refused = answered == StatusCode::MISDIRECTED_REQUEST;
            assert_eq!(refused, status == StatusCode::MISDIRECTED_REQUEST, "`{host}` for {path}: {answered}");
        }
    }
    let mut request = ask(Method::GET, "/api/v1/sources", Body::empty());
    request.headers_mut().remove("host");
    assert_eq!(rim.send(request).await.status(), StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn what_may_change_something_must_come_from_our_own_page() {
    let rim = Rim::new();
    for (header, value, status) in [
        ("origin", "http://localhost:7420", StatusCode::BAD_REQUEST),
        ("origin", "http://localhost:3000", StatusCode::FORBIDDEN),
        ("origin", "http://evil.example", StatusCode::FORBIDDEN),
        ("origin", "null", StatusCode::FORBIDDEN),
        ("sec-fetch-site", "same-origin", StatusCode::BAD_REQUEST),
        ("sec-fetch-site", "none", StatusCode::BAD_REQUEST),
        ("sec-fetch-site", "same-site", StatusCode::FORBIDDEN),
        ("sec-fetch-site", "cross-site", StatusCode::FORBIDDEN),
    ] {
        for path in ["/api/v1/releases", "/api/v1/releases/preview"] {
            let mut request = ask(Method::POST, path, "not json".into());
            request.headers_mut().insert("content-type", "application/json".parse().unwrap());
            request.headers_mut().insert(header, value.parse().unwrap());
            // 400 is as far as a body of nonsense comes.
            assert_eq!(rim.send(request).await.status(), status, "{header}: {value}");
        }
    }
}

#[tokio::test]
async fn a_foreign_page_may_link_to_the_api_and_not_use_it() {
    let rim = Rim::new();
    for (site, mode, status) in [
        ("same-origin", "cors", StatusCode::OK),
        ("none", "navigate", StatusCode::OK),
        ("cross-site", "navigate", StatusCode::OK),
        ("cross-site", "no-cors", StatusCode::FORBIDDEN),
        ("same-site", "cors", StatusCode::FORBIDDEN),
    ] {
        for path in ["/api/v1/sources", "/api/v1/events"] {
            let mut request = ask(Method::GET, path, Body::empty());
            request.headers_mut().insert("sec-fetch-site", site.parse().unwrap());
            request.headers_mut().insert("sec-fetch-mode", mode.parse().unwrap());
            assert_eq!(rim.send(request).await.status(), status, "{site} {mode} {path}");
        }
    }
}

#[tokio::test]
async fn a_foreign_page_cannot_open_the_websocket() {
    let rim = Rim::new();
    let mut request = ask(Method::GET, "/api/v1/stream", Body::empty());
    request.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    request.headers_mut().insert("origin", "http://evil.example".parse().unwrap());
    assert_eq!(rim.send(request).await.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn bodies_that_a_foreign_form_could_send_are_refused() {
    let rim = Rim::new();
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")] {
        let mut request = ask(Method::POST, "/api/v1/releases", "{}".into());
        if let Some(kind) = kind {
            request.headers_mut().insert("content-type", kind.parse().unwrap());
        }
        assert_eq!(rim.send(request).await.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind:?}");
    }
    let mut request = ask(Method::POST, "/api/v1/releases", "nonsense".into());
    request.headers_mut().insert("content-type", "Application/JSON; charset=utf-8".parse().unwrap());
    assert_eq!(rim.send(request).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn every_answer_is_hardened_and_the_api_is_never_kept() {
    let rim = Rim::new();
    for path in ["/", "/api/v1/sources", "/api/v1/nothing", "/healthz", "/nothing"] {
        let response = rim.send(ask(Method::GET, path, Body::empty())).await;
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"));
        assert_eq!(header("referrer-policy").as_deref(), Some("same-origin"));
        assert_eq!(header("cross-origin-opener-policy").as_deref(), Some("same-origin"));
        assert_eq!(header("cross-origin-resource-policy").as_deref(), Some("same-origin"));
        assert!(header("content-security-policy").unwrap().starts_with("default-src 'none';"));
        assert!(header("access-control-allow-origin").is_none());
        if path.starts_with("/api/") {
            assert_eq!(header("cache-control").as_deref(), Some("no-store"), "{path}");
        }
    }
}

#[tokio::test]
async fn mistakes_in_the_path_and_the_method_are_problems_too() {
    let rim = Rim::new();
    for (method, path, status, kind) in [
        (Method::GET, "/nothing", StatusCode::NOT_FOUND, "/problems/no-such-path"),
        (Method::GET, "/api/v1/nothing", StatusCode::NOT_FOUND, "/problems/no-such-path"),
        (Method::GET, "/api/v1/locks/orders/a/b", StatusCode::NOT_FOUND, "/problems/no-such-path"),
        (Method::GET, "/index.html/x", StatusCode::NOT_FOUND, "/problems/no-such-path"),
        (Method::DELETE, "/api/v1/locks/orders/a", StatusCode::METHOD_NOT_ALLOWED, "/problems/no-such-method"),
        (Method::GET, "/api/v1/releases", StatusCode::METHOD_NOT_ALLOWED, "/problems/no-such-method"),
        (Method::POST, "/api/v1/locks", StatusCode::METHOD_NOT_ALLOWED, "/problems/no-such-method"),
        (Method::GET, "/api/v1/locks?q=%zz", StatusCode::BAD_REQUEST, "/problems/bad-encoding"),
        (Method::GET, "/api/v1/locks/orders/100%", StatusCode::BAD_REQUEST, "/problems/bad-encoding"),
        (Method::GET, "/api/v1/locks?q=%ff", StatusCode::BAD_REQUEST, "/problems/bad-query"),
        (Method::GET, "/api/v1/locks/orders/%ff", StatusCode::BAD_REQUEST, "/problems/bad-path"),
        (Method::GET, "/api/v1/stream", StatusCode::UPGRADE_REQUIRED, "/problems/not-a-websocket"),
    ] {
        let mut request = ask(method, path, Body::empty());
        request.headers_mut().insert("content-type", "application/json".parse().unwrap());
        let (answered, problem) = json(rim.send(request).await).await;
        assert_eq!((answered, problem["type"].as_str()), (status, Some(kind)), "{path}: {problem}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_not_read() {
    let rim = Rim::new();
    let (status, problem) = rim.post("/api/v1/releases", " ".repeat(200 * 1024)).await;
    assert_eq!((status, problem["type"].as_str()), (StatusCode::PAYLOAD_TOO_LARGE, Some("/problems/large-body")));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for_without_end() {
    let rim = Rim::new();
    let body = Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let (status, problem) = rim.post("/api/v1/releases", body).await;
    assert_eq!((status, problem["type"].as_str()), (StatusCode::GATEWAY_TIMEOUT, Some("/problems/slow")));
}

#[tokio::test]
async fn nothing_may_be_framed() {
    let rim = Rim::new();
    for path in ["/", "/audit", "/index.html", "/sign-in", "/api/v1/locks", "/healthz", "/metrics", "/nothing"] {
        let response = rim.send(ask(Method::GET, path, Body::empty())).await;
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        for directive in ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"] {
            assert!(policy.contains(directive), "{path}: {policy}");
        }
    }
}

#[tokio::test]
async fn where_browsers_come_over_tls_they_are_told_to_come_so_for_a_year() {
    let mut rim = Rim::new();
    let answer = rim.send(ask(Method::GET, "/healthz", Body::empty())).await;
    assert!(!answer.headers().contains_key("strict-transport-security"), "without TLS nobody could come again");
    let settings = Settings { secure: true, ..Settings::default() };
    let policy = Watched::fixed(Policy::default());
    rim.state.door = Arc::new(Door::new(settings, policy, &rim.state.closing).unwrap());
    for path in ["/", "/sign-in", "/api/v1/locks", "/healthz", "/nothing"] {
        let answer = rim.send(ask(Method::GET, path, Body::empty())).await;
        let told = answer.headers()["strict-transport-security"].to_str().unwrap();
        assert_eq!(told, "max-age=31536000; includeSubDomains", "{path}");
    }
}

#[tokio::test]
async fn no_path_leads_out_of_the_app() {
    let rim = Rim::new();
    for path in [
        "/../Cargo.toml",
        "/../../../../etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/Cargo.toml",
        "/....//....//etc/passwd",
        "/..%5c..%5cCargo.toml",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
        "/index.html%00.css",
        "/./Cargo.toml",
    ] {
        let (status, problem) = json(rim.send(ask(Method::GET, path, Body::empty())).await).await;
        assert_eq!(
            (status, problem["type"].as_str()),
            (StatusCode::NOT_FOUND, Some("/problems/no-such-path")),
            "{path}"
        );
    }
    for id in ["..", "..%2f..", "%2e%2e%2flock:stock:4711", "lock:stock:4711%00", "lock:stock:4711%2f..", "b64:Li4"] {
        let (status, problem) = rim.get(&format!("/api/v1/locks/orders/{id}")).await;
        assert_eq!((status, problem["type"].as_str()), (StatusCode::NOT_FOUND, Some("/problems/not-held")), "{id}");
    }
}

#[tokio::test]
async fn what_comes_with_a_request_reaches_no_header() {
    let rim = Rim::new();
    let line = "%0d%0aset-cookie:%20planted=1";
    for path in [
        format!("/{line}"),
        format!("/audit?next={line}"),
        format!("/sign-in?next=/{line}"),
        format!("/api/v1/locks?q={line}"),
        format!("/api/v1/locks?source={line}"),
        format!("/api/v1/locks/orders/{line}"),
        format!("/api/v1/locks/{line}/a"),
        format!("/api/v1/audit?format=csv&source={line}"),
    ] {
        let mut request = ask(Method::GET, &path, Body::empty());
        request.headers_mut().insert("x-request-id", "planted id".parse().unwrap());
        request.headers_mut().insert("x-forwarded-for", "planted".parse().unwrap());
        let response = rim.send(request).await;
        assert!(!response.headers().contains_key("set-cookie"), "{path}");
        for (name, value) in response.headers() {
            assert!(!String::from_utf8_lossy(value.as_bytes()).contains("planted"), "{path}: {name}: {value:?}");
        }
    }
}

#[tokio::test]
async fn what_a_panic_said_stays_in_the_log() {
    let (status, problem) = json(super::super::router::broken(Box::new("secret detail"))).await;
    assert_eq!((status, problem["type"].as_str()), (StatusCode::INTERNAL_SERVER_ERROR, Some("/problems/internal")));
    assert!(!problem.to_string().contains("secret detail"));
}
