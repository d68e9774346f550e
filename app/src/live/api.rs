//! What is asked over HTTP: what a release would do, the release itself, a trace, the
//! audit, what another person is to approve, and whether the server still
//! knows whose page this is.

use std::pin::Pin;

use lockkeeper_model::search::{Condition, Search, Term};
use lockkeeper_model::{
    Approval, ApprovalRequest, Approvals, Decision, DecisionRequest, LockId, PreviewAnswer, PreviewRequest,
    ReleaseAnswer, ReleaseRequest, ShownApproval,
};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{RequestInit, Response};

use super::answers::{Refusal, read_answer, read_release};
use super::audit::AuditPage;
use super::json::{Value, parse};
use super::route::encode;
use super::warnings::{Warning, Warnings};

/// Locks that are named while somebody types: as many as are read at a glance.
const FOUND: u32 = 8;

/// Entries that are asked for at once: some screens full.
const AUDIT_PAGE: u32 = 200;

/// Asks what a release would do, and for a ticket.
pub(crate) async fn preview(request: &PreviewRequest) -> Result<PreviewAnswer, Refusal> {
    let (status, body) = post("/api/v1/releases/preview", serde_json::to_string(request))
        .await
        .map_err(|_| Refusal::unreachable(false))?;
    read_answer(status, &body)
}

/// Asks another person to approve what was previewed.
pub(crate) async fn ask_approval(ticket: String, reason: String) -> Result<Approval, Refusal> {
    let request = ApprovalRequest { ticket, reason };
    let (status, body) =
        post("/api/v1/approvals", serde_json::to_string(&request)).await.map_err(|_| Refusal::unreachable(false))?;
    read_answer(status, &body)
}

/// The approvals that somebody asked for here, or may decide; none where that cannot be found out now.
pub(crate) async fn approvals() -> Vec<Approval> {
    let Ok((status, body)) = get("/api/v1/approvals".to_owned()).await else { return Vec::new() };
    read_answer::<Approvals>(status, &body).map(|answer| answer.approvals).unwrap_or_default()
}

/// What somebody asked for, and what it would do now.
pub(crate) async fn approval(id: &str) -> Result<ShownApproval, Refusal> {
    let (status, body) =
        get(format!("/api/v1/approvals/{}", encode(id))).await.map_err(|_| Refusal::unreachable(false))?;
    read_answer(status, &body)
}

/// Approves or denies it.
pub(crate) async fn decide(id: &str, decision: Decision, reason: String) -> Result<Approval, Refusal> {
    let body = serde_json::to_string(&DecisionRequest { decision, reason }).map_err(|_| Refusal::unreachable(false))?;
    let path = format!("/api/v1/approvals/{}", encode(id));
    let (status, body) = send("POST", path, Some(body)).await.map_err(|_| Refusal::unreachable(true))?;
    read_answer(status, &body)
}

/// Releases what was previewed.
pub(crate) async fn release(request: &ReleaseRequest) -> Result<ReleaseAnswer, Refusal> {
    let (status, body) =
        post("/api/v1/releases", serde_json::to_string(request)).await.map_err(|_| Refusal::unreachable(true))?;
    read_release(status, &body)
}

/// Whether the server does not know any more whose page this is. A refused WebSocket does not say why.
pub(crate) async fn is_signed_out() -> bool {
    let asked = JsFuture::from(leptos::prelude::window().fetch_with_str("/api/v1/session")).await;
    asked.ok().and_then(|answer| answer.dyn_into::<Response>().ok()).is_some_and(|answer| answer.status() == 401)
}

/// Samples the traffic of a store for what is said to one lock. The answer comes when that is over; it is empty if none came.
pub(crate) async fn trace(source: String, lock: LockId, seconds: u32) -> String {
    // Written as text, because a type that is written once would be a kilobyte of the download.
    let json = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let body = format!(r#"{{"source":{},"seconds":{seconds},"lock":{}}}"#, json(&source), json(lock.as_str()));
    post("/api/v1/traces", Ok(body)).await.map_or_else(|_| String::new(), |(_, body)| body)
}

/// The source, the id and the name of a few locks with this text in them; none where that cannot be found out now.
pub(crate) async fn find_locks(text: &str) -> Vec<(String, LockId, String)> {
    let term = Term { excluded: false, condition: Condition::Text(text.trim().to_owned()) };
    let path = format!("/api/v1/locks?limit={FOUND}&q={}", encode(&Search { terms: vec![term] }.to_string()));
    let Ok((200, body)) = get(path).await else { return Vec::new() };
    let Some(answer) = parse(&body) else { return Vec::new() };
    let lock = |lock: &Value| {
        let id = LockId::parse(lock.text("id")).ok()?;
        Some((lock.text("source").to_owned(), id, lock.text("name").to_owned()))
    };
    answer.items("locks").iter().filter_map(lock).collect()
}

/// A page of the audit: of one lock or of all, and only entries before one where that is said.
pub(crate) async fn audit(lock: Option<(String, LockId)>, before: Option<u64>) -> Result<AuditPage, Refusal> {
    let mut path = format!("/api/v1/audit?limit={AUDIT_PAGE}");
    if let Some((source, id)) = lock {
        path.push_str(&format!("&source={}&lock={}", encode(&source), encode(id.as_str())));
    }
    if let Some(before) = before {
        path.push_str(&format!("&before={before}"));
    }
    let (status, body) = get(path).await.map_err(|_| Refusal::unreachable(false))?;
    AuditPage::read(status, &body)
}

/// What is at a path, for whoever reads it field by field.
pub(crate) async fn ask(path: String) -> Result<Value, Refusal> {
    let (status, body) = get(path).await.map_err(|_| Refusal::unreachable(false))?;
    parse(&body).filter(|_| status == 200).ok_or_else(|| Refusal::read(status, &body))
}

/// Writes a note on a lock, about the hold with this generation.
pub(crate) async fn write_note(path: String, text: &str, generation: &str) -> Result<(), Refusal> {
    let json = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let body = format!(r#"{{"text":{},"generation":{}}}"#, json(text), json(generation));
    let (status, body) = send("POST", path, Some(body)).await.map_err(|_| Refusal::unreachable(true))?;
    if status == 201 { Ok(()) } else { Err(Refusal::read(status, &body)) }
}

/// Ends every session of whoever asks.
pub(crate) async fn sign_out_everywhere() -> Result<(), Refusal> {
    let path = "/api/v1/sessions".to_owned();
    let (status, body) = send("DELETE", path, None).await.map_err(|_| Refusal::unreachable(true))?;
    if status == 200 { Ok(()) } else { Err(Refusal::read(status, &body)) }
}

/// What is so, and what was so within a day: of one lock or of all.
pub(crate) async fn warnings(lock: Option<(String, LockId)>) -> Result<Warnings, Refusal> {
    let mut path = "/api/v1/warnings".to_owned();
    if let Some((source, id)) = lock {
        path.push_str(&format!("?source={}&lock={}", encode(&source), encode(id.as_str())));
    }
    let (status, body) = get(path).await.map_err(|_| Refusal::unreachable(false))?;
    Warnings::read(status, &body)
}

/// Says that one looks into a warning.
pub(crate) async fn acknowledge(id: &str) -> Result<(), String> {
    done(send("POST", format!("/api/v1/warnings/{}/acknowledge", encode(id)), Some("{}".to_owned())).await)
}

/// Has nobody told of a warning for so many milliseconds; of its lock, of every rule.
pub(crate) async fn mute(warning: &Warning, every_rule: bool, ms: i64, reason: &str) -> Result<(), String> {
    let json = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let what = match &warning.lock {
        Some(id) => format!(r#""lock":{}"#, json(id.as_str())),
        None => r#""pattern":"*""#.to_owned(),
    };
    // What is about the source itself is muted alone, or everything in it would be.
    let rule = match every_rule && warning.lock.is_some() {
        true => String::new(),
        false => format!(r#""rule":{},"#, json(&warning.rule)),
    };
    let (source, reason) = (json(&warning.source), json(reason));
    let body = format!(r#"{{"source":{source},{what},{rule}"for_ms":{ms},"reason":{reason}}}"#);
    done(send("POST", "/api/v1/mutes".to_owned(), Some(body)).await)
}

/// Has people told again.
pub(crate) async fn unmute(id: &str) -> Result<(), String> {
    done(send("DELETE", format!("/api/v1/mutes/{}", encode(id)), None).await)
}

/// Whether it was done, or why not.
fn done(answer: Result<(u16, String), JsValue>) -> Result<(), String> {
    let refused = |refusal: Refusal| lockkeeper_model::words::shown(&refusal.detail);
    match answer {
        Ok((200..300, _)) => Ok(()),
        Ok((status, body)) => Err(refused(Refusal::read(status, &body))),
        Err(_) => Err(refused(Refusal::unreachable(true))),
    }
}

/// The words of a language, from where the page says that they are; `None` where they do not come.
pub(crate) async fn words(path: String) -> Option<String> {
    match get(path).await {
        Ok((200, words)) => Some(words),
        _ => None,
    }
}

pub(super) type Answer = Pin<Box<dyn Future<Output = Result<(u16, String), JsValue>>>>;

fn post(path: &'static str, body: serde_json::Result<String>) -> Answer {
    match body {
        Ok(body) => send("POST", path.to_owned(), Some(body)),
        Err(_) => Box::pin(async { Err(JsValue::NULL) }),
    }
}

pub(super) fn get(path: String) -> Answer {
    send("GET", path, None)
}

/// Boxed, so that it is compiled once and not into each of those who wait for it.
pub(super) fn send(method: &'static str, path: String, body: Option<String>) -> Answer {
    Box::pin(async move {
        let init = RequestInit::new();
        init.set_method(method);
        if let Some(body) = &body {
            init.set_body(&JsValue::from_str(body));
        }
        let request = web_sys::Request::new_with_str_and_init(&path, &init)?;
        if body.is_some() {
            request.headers().set("content-type", "application/json")?;
        }
        let response: Response =
            JsFuture::from(leptos::prelude::window().fetch_with_request(&request)).await?.dyn_into()?;
        let text = JsFuture::from(response.text()?).await?;
        Ok((response.status(), text.as_string().unwrap_or_default()))
    })
}
