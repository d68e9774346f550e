//! What is asked over HTTP: what a release would do, the release itself, and a trace.

use lockkeeper_model::{PreviewAnswer, PreviewRequest, ReleaseAnswer, ReleaseRequest, TraceRequest};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{RequestInit, Response};

use super::answers::{Refusal, read_preview, read_release};

/// Asks what a release would do, and for a ticket.
pub(crate) async fn preview(request: &PreviewRequest) -> Result<PreviewAnswer, Refusal> {
    let (status, body) = post("/api/v1/releases/preview", serde_json::to_string(request))
        .await
        .map_err(|_| Refusal::unreachable(false))?;
    read_preview(status, &body)
}

/// Releases what was previewed.
pub(crate) async fn release(request: &ReleaseRequest) -> Result<ReleaseAnswer, Refusal> {
    let (status, body) =
        post("/api/v1/releases", serde_json::to_string(request)).await.map_err(|_| Refusal::unreachable(true))?;
    read_release(status, &body)
}

/// Samples the traffic of a store. The answer comes when that is over; it is empty if none came.
pub(crate) async fn trace(request: &TraceRequest) -> String {
    post("/api/v1/traces", serde_json::to_string(request)).await.map_or_else(|_| String::new(), |(_, body)| body)
}

/// Takes the body as text: the code around a request is compiled once.
async fn post(path: &str, body: serde_json::Result<String>) -> Result<(u16, String), JsValue> {
    let body = body.map_err(|_| JsValue::NULL)?;
    let init = RequestInit::new();
    init.set_method("POST");
    init.set_body(&JsValue::from_str(&body));
    let request = web_sys::Request::new_with_str_and_init(path, &init)?;
    request.headers().set("content-type", "application/json")?;
    let response: Response =
        JsFuture::from(leptos::prelude::window().fetch_with_request(&request)).await?.dyn_into()?;
    let text = JsFuture::from(response.text()?).await?;
    Ok((response.status(), text.as_string().unwrap_or_default()))
}
