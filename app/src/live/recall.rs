//! What is asked about the past over HTTP.

use lockkeeper_model::{Lock, LockId, Question, SortKey, Time};

use super::answers::Refusal;
use super::api::{get, send};
use super::incidents::{Packet, read_list, read_packet};
use super::past::{Activity, Board, Stats, Timeline};
use super::route::encode;

/// Transitions that are asked for at once: some screens full.
const TIMELINE_PAGE: u32 = 100;

/// Locks that are looked through for one: those whose names contain its name.
const NAMESAKES: u32 = 60;

/// The locks that were held at a moment and answer a question.
pub(super) async fn board(at: Time, question: &Question, offset: u64, limit: u32) -> Result<Board, Refusal> {
    let mut path = format!("/api/v1/locks?at={at}&offset={offset}&limit={limit}");
    let sort = (question.sort != SortKey::default()).then(|| question.sort.word());
    let parts = [
        ("q", Some(question.q.as_str()).filter(|q| !q.is_empty())),
        ("source", question.source.as_deref()),
        ("dialect", question.dialect.as_deref()),
        ("state", question.state.as_deref()),
        ("flag", question.flag.as_deref()),
        ("sort", sort),
        ("order", question.order.map(lockkeeper_model::Order::word)),
    ];
    for (name, value) in parts {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    ask(path, Board::read).await
}

/// One lock as it was at a moment; `None` where it was not held, or nobody knows.
pub(super) async fn lock(at: Time, source: &str, id: &LockId) -> Option<Lock> {
    let question = Question { q: id.as_str().to_owned(), source: Some(source.to_owned()), ..Question::default() };
    let board = board(at, &question, 0, NAMESAKES).await.ok()?;
    board.locks.into_iter().find(|lock| lock.id == *id)
}

/// What happened to a lock before a moment, newest first; the page that begins behind `cursor`.
pub(crate) async fn timeline(
    source: &str,
    id: &LockId,
    to: Option<Time>,
    cursor: Option<String>,
) -> Result<Timeline, Refusal> {
    let mut path = format!("/api/v1/history?limit={TIMELINE_PAGE}&{}", about(source, id));
    if let Some(to) = to {
        path.push_str(&format!("&to={to}"));
    }
    if let Some(cursor) = cursor {
        path.push_str(&format!("&cursor={}", encode(&cursor)));
    }
    ask(path, Timeline::read).await
}

/// How much happened between two moments, in so many steps at most.
pub(crate) async fn activity(from: Time, to: Time, steps: u32) -> Result<Activity, Refusal> {
    ask(format!("/api/v1/activity?from={from}&to={to}&steps={steps}"), Activity::read).await
}

/// What went on at a lock between two moments.
pub(crate) async fn stats(source: &str, id: &LockId, from: Time, to: Time) -> Result<Stats, Refusal> {
    ask(format!("/api/v1/stats?from={from}&to={to}&{}", about(source, id)), Stats::read).await
}

/// Everything that was frozen.
pub(crate) async fn incidents() -> Result<Vec<Packet>, Refusal> {
    ask("/api/v1/incidents".to_owned(), read_list).await
}

/// One packet.
pub(crate) async fn incident(id: &str) -> Result<Packet, Refusal> {
    ask(incident_path(id), read_packet).await
}

/// Where a packet is for programs; with `.md` behind it, for people.
pub(crate) fn incident_path(id: &str) -> String {
    format!("/api/v1/incidents/{}", encode(id))
}

/// The same for people, as Markdown; empty where it cannot be had.
pub(crate) async fn incident_markdown(id: &str) -> String {
    match get(format!("{}.md", incident_path(id))).await {
        Ok((200, text)) => text,
        _ => String::new(),
    }
}

/// Keeps what is known of a lock in some time, under a title.
pub(crate) async fn freeze(title: &str, source: &str, id: &LockId, from: Time, to: Time) -> Result<Packet, Refusal> {
    // Written as text, because a type that is written once would be a kilobyte of the download.
    let json = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let (title, source, id) = (json(title), json(source), json(id.as_str()));
    let lock = format!(r#"{{"source":{source},"id":{id}}}"#);
    let body = format!(r#"{{"title":{title},"locks":[{lock}],"from":"{from}","to":"{to}"}}"#);
    let answer = send("POST", "/api/v1/incidents".to_owned(), Some(body)).await;
    let (status, body) = answer.map_err(|_| Refusal::unreachable(true))?;
    read_packet(status, &body)
}

fn about(source: &str, id: &LockId) -> String {
    format!("source={}&lock={}", encode(source), encode(id.as_str()))
}

async fn ask<T>(path: String, read: fn(u16, &str) -> Result<T, Refusal>) -> Result<T, Refusal> {
    let (status, body) = get(path).await.map_err(|_| Refusal::unreachable(false))?;
    read(status, &body)
}
