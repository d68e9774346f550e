//! The contract as a client meets it: requests into the router, or a real socket where a stream is the point.

mod auditing;
mod described;
mod guard;
mod matrix;
mod metrics;
mod pages;
mod reading;
mod releasing;
mod remembering;
mod streams;
mod tracing;

use std::net::SocketAddr;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{AppState, router};
use crate::fake::Fake;
use crate::recorder::audit::Audit;

/// The rim in front of a scripted world.
struct Rim {
    fake: Fake,
    state: AppState,
}

impl Rim {
    /// `orders` is live and `lock:stock:4711` is held by `alice`; `a/b` is empty.
    fn new() -> Rim {
        Rim::with_releases(true)
    }

    fn with_releases(enabled: bool) -> Rim {
        let fake = Fake::new(&["orders", "a/b"]);
        fake.hold("lock:stock:4711", "alice", "g1");
        Rim::of(fake, enabled)
    }

    /// In front of another world.
    fn around(fake: Fake) -> Rim {
        Rim::of(fake, true)
    }

    fn of(fake: Fake, enabled: bool) -> Rim {
        let listen = SocketAddr::from(([127, 0, 0, 1], 7420));
        let state = AppState::new(
            fake.board.clone(),
            Audit::in_memory().unwrap(),
            crate::release::Rules::with_releasing(enabled),
            enabled,
            listen,
            CancellationToken::new(),
        )
        .unwrap();
        Rim { fake, state }
    }

    async fn send(&self, request: Request<Body>) -> Response {
        router(self.state.clone()).oneshot(request).await.unwrap()
    }

    /// A GET as a browser on this machine sends it.
    async fn get(&self, path: &str) -> (StatusCode, Value) {
        json(self.send(ask(Method::GET, path, Body::empty())).await).await
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
        let mut request = ask(Method::POST, path, body.into());
        request.headers_mut().insert("content-type", "application/json".parse().unwrap());
        json(self.send(request).await).await
    }

    /// On a real socket; ends with the state's `closing`.
    async fn listen(&self) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (address, tokio::spawn(super::serve(listener, self.state.clone())))
    }
}

fn ask(method: Method, path: &str, body: Body) -> Request<Body> {
    Request::builder().method(method).uri(path).header("host", "localhost:7420").body(body).unwrap()
}

async fn json(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let value: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    if value["type"].is_string() {
        assert_eq!(kind.as_deref(), Some("application/problem+json"));
        assert_eq!(value["status"], status.as_u16());
        assert!(value["title"].is_string() && value["detail"].is_string(), "{value}");
    }
    (status, value)
}
