//! The questions that are asked over HTTP: what a release would do, the release itself, and whether the server still knows
//! whose page this is.

use lockkeeper_model::{PreviewAnswer, PreviewRequest, ReleaseAnswer, ReleaseRequest};
use serde::Serialize;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{RequestInit, Response};

use super::answers::{Refusal, read_preview, read_release};

/// Asks what a release would do, and for a ticket.
pub(crate) async fn preview(request: &PreviewRequest) -> Result<PreviewAnswer, Refusal> {
    let (status, body) = post("/api/v1/releases/preview", request).await.map_err(|_| Refusal::unreachable(false))?;
    read_preview(status, &body)
}

/// Releases what was previewed.
pub(crate) async fn release(request: &ReleaseRequest) -> Result<ReleaseAnswer, Refusal> {
    let (status, body) = post("/api/v1/releases", request).await.map_err(|_| Refusal::unreachable(true))?;
    read_release(status, &body)
}

/// Whether the server does not know any more whose page this is. A refused WebSocket does not say why.
pub(crate) async fn is_signed_out() -> bool {
    let asked = JsFuture::from(leptos::prelude::window().fetch_with_str("/api/v1/session")).await;
    asked.ok().and_then(|answer| answer.dyn_into::<Response>().ok()).is_some_and(|answer| answer.status() == 401)
}

async fn post(path: &str, body: &impl Serialize) -> Result<(u16, String), JsValue> {
    let body = serde_json::to_string(body).map_err(|_| JsValue::NULL)?;
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
