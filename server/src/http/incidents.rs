use std::collections::HashSet;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use lockkeeper_model::{AuditEntry, EdgeKind, IncidentLock, IncidentRequest, Time, WaitGraph, words};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::extract::{self, Query, known_source};
use super::{ApiError, AppState};
use crate::access::{Reach, Right};
use crate::clock;
use crate::recorder::audit;
use crate::recorder::history::{Filter, FrozenLock, Listed, Packet, Unavailable};

/// Locks in one packet: more is not an incident but an outage, and its packet would be too large to read.
const MAX_LOCKS: usize = 32;

/// Transitions of each lock: some hundred pages of reading.
const MAX_EVENTS: usize = 1_000;

/// Entries of the audit about each lock.
const MAX_ENTRIES: usize = 200;

/// The longest title, in characters.
const MAX_TITLE_CHARS: usize = 200;

/// Every packet whose locks are all in scope.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct IncidentsAnswer {
    /// Newest first.
    incidents: Vec<Listed>,
}

/// Freezes what is known of some locks in some time: how they were held, what happened, who waited, what people did.
#[utoipa::path(
    post, path = "/api/v1/incidents", tag = "remembering", operation_id = "freezeIncident",
    request_body = IncidentRequest,
    responses(
        (status = 201, description = "frozen; `Location` says where", body = Packet),
        (status = 403, description = "one of these locks is not for you to write notes on", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 422, description = "the title, the locks or the time cannot be used", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 503, description = "nothing is written down, or it cannot be now", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn freeze(
    State(state): State<AppState>,
    caller: Caller,
    extract::Json(request): extract::Json<IncidentRequest>,
) -> Result<Response, ApiError> {
    caller.needs(Right::Annotate)?;
    check(&request)?;
    let mut keys = Vec::with_capacity(request.locks.len());
    for lock in &request.locks {
        known_source(&state, caller.scope.seen(), &lock.source, StatusCode::NOT_FOUND)?;
        let key = lock.id.key().map_err(|error| ApiError::bad_request("bad-lock-id", error.to_string()))?;
        if !caller.scope.may(Right::Annotate, &lock.source, &key) {
            return Err(ApiError::not_allowed(Right::Annotate, None));
        }
        keys.push(key);
    }
    let packet = gather(&state, &caller, request, keys).await?;
    state.history.freeze(&packet).await?;
    let location = [(LOCATION, format!("/api/v1/incidents/{}", packet.id))];
    Ok((StatusCode::CREATED, location, Json(packet)).into_response())
}

/// What was frozen.
#[utoipa::path(
    get, path = "/api/v1/incidents", tag = "remembering", operation_id = "listIncidents",
    responses(
        (status = 200, body = IncidentsAnswer),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    query: Query,
) -> Result<Json<IncidentsAnswer>, ApiError> {
    let reach = caller.seen()?;
    query.finish(&[])?;
    let mut packets = state.history.frozen().await?;
    packets.retain(|packet| is_seen(packet, reach));
    Ok(Json(IncidentsAnswer { incidents: packets.into_iter().map(Listed::from).collect() }))
}

/// One packet; as Markdown where the id ends with `.md` or the header `Accept` asks for it.
#[utoipa::path(
    get, path = "/api/v1/incidents/{id}", tag = "remembering", operation_id = "getIncident",
    params(("id" = String, Path, description = "its id; with `.md` behind it as Markdown")),
    responses(
        (status = 200, content((Packet = "application/json"), (String = "text/markdown"))),
        (status = 404, description = "there is no such packet", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, ApiError> {
    let reach = caller.seen()?;
    query.finish(&[])?;
    let (id, is_markdown) = match id.strip_suffix(".md") {
        Some(id) => (id.to_owned(), true),
        None => (id, wants_markdown(&headers)),
    };
    let packet = state.history.packet(id.clone()).await?.filter(|packet| is_seen(packet, reach));
    let packet = packet.ok_or_else(|| {
        ApiError::not_found(
            "no-such-incident",
            "No such incident",
            format!("there is no incident `{}`", words::shown(&id)),
        )
    })?;
    Ok(match is_markdown {
        true => ([(CONTENT_TYPE, "text/markdown; charset=utf-8")], packet.markdown()).into_response(),
        false => Json(packet).into_response(),
    })
}

fn check(request: &IncidentRequest) -> Result<(), ApiError> {
    let unusable = |detail: String| {
        Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-incident", "That cannot be frozen", detail))
    };
    let title = request.title.trim().chars().count();
    if !(1..=MAX_TITLE_CHARS).contains(&title) {
        return unusable(format!("`title` has {title} characters, expected 1 to {MAX_TITLE_CHARS}"));
    }
    let count = request.locks.len();
    if !(1..=MAX_LOCKS).contains(&count) {
        return unusable(format!("`locks` has {count}, expected 1 to {MAX_LOCKS}"));
    }
    if request.locks.iter().collect::<HashSet<_>>().len() != count {
        return unusable("`locks` names one of them twice".to_owned());
    }
    if request.from >= request.to {
        return unusable(format!("`from` is {}, expected a moment before `to`, {}", request.from, request.to));
    }
    Ok(())
}

async fn gather(
    state: &AppState,
    caller: &Caller,
    request: IncidentRequest,
    keys: Vec<Vec<u8>>,
) -> Result<Packet, ApiError> {
    let IncidentRequest { title, locks, from, to } = request;
    state.board.tell_waits().await?;
    let mut missing = Vec::new();
    let mut at_first = at_first(state, caller, &locks, from, &mut missing).await?;
    let mut frozen = Vec::with_capacity(locks.len());
    let mut entries: Vec<AuditEntry> = Vec::new();
    for (place, (lock, key)) in locks.into_iter().zip(keys).enumerate() {
        let filter = Filter {
            source: Some(lock.source.clone()),
            key: Some(key),
            from: Some(from),
            to: Some(to),
            ..Filter::of(caller.scope.seen().clone())
        };
        let page = state.history.older(filter.clone(), None, MAX_EVENTS, true).await?.unwrap_or_default();
        if page.next.is_some() {
            missing.push(format!(
                "of `{}` only the last {MAX_EVENTS} transitions are here",
                words::shown(lock.id.as_str())
            ));
        }
        let stats = state.history.stats(filter).await?;
        let about = audit::Filter {
            source: Some(lock.source.clone()),
            lock: Some(lock.id.as_str().to_owned()),
            since: Some(from),
            until: Some(to),
            reach: Some(caller.scope.seen().clone()),
            ..audit::Filter::default()
        };
        match state.audit.page(about, None, MAX_ENTRIES).await {
            Ok(page) => entries.extend(page.entries),
            Err(error) => missing.push(format!("what was done from here: {error}")),
        }
        let IncidentLock { source, id } = lock;
        frozen.push(FrozenLock { source, id, at_first: at_first[place].take(), events: page.events, stats });
    }
    missing.dedup();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.seq));
    let waits = state.board.graph(None, caller.scope.seen().clone()).await?;
    let chosen: HashSet<IncidentLock> = frozen.iter().map(FrozenLock::which).collect();
    Ok(Packet {
        id: uuid::Uuid::new_v4().simple().to_string(),
        title: title.trim().to_owned(),
        by: caller.actor().name,
        at: clock::now(),
        from,
        to,
        graph: only(waits.graph, &chosen),
        graph_as_of: waits.as_of,
        locks: frozen,
        audit: entries,
        missing,
    })
}

/// Each lock as it was at the beginning.
async fn at_first(
    state: &AppState,
    caller: &Caller,
    locks: &[IncidentLock],
    from: Time,
    missing: &mut Vec<String>,
) -> Result<Vec<Option<Box<lockkeeper_model::Lock>>>, ApiError> {
    let (wanted, reach) = (locks.to_vec(), caller.scope.seen().clone());
    let found = state
        .history
        .then(from, move |then| wanted.iter().map(|lock| then.lock(&reach, lock).map(Box::new)).collect::<Vec<_>>());
    match found.await {
        Ok(found) => Ok(found),
        Err(Unavailable::Unreadable(error)) => Err(error.into()),
        Err(because) => {
            missing.push(format!("how the locks were at the beginning: {because}"));
            Ok(locks.iter().map(|_| None).collect())
        }
    }
}

/// The part of the graph that is about these locks.
fn only(graph: WaitGraph, chosen: &HashSet<IncidentLock>) -> WaitGraph {
    let WaitGraph { parties, locks, edges, cycles, .. } = graph;
    let is_chosen = |lock: &lockkeeper_model::ContendedLock| {
        chosen.contains(&IncidentLock { source: lock.source.clone(), id: lock.id.clone() })
    };
    let locks: Vec<_> = locks.into_iter().filter(is_chosen).collect();
    let nodes: HashSet<String> = locks.iter().map(|lock| lock.node.clone()).collect();
    let edges: Vec<_> = edges
        .into_iter()
        .filter(|edge| match edge.kind {
            EdgeKind::Waits => nodes.contains(&edge.to),
            EdgeKind::HeldBy => nodes.contains(&edge.from),
        })
        .collect();
    let joined: HashSet<&String> = edges.iter().flat_map(|edge| [&edge.from, &edge.to]).collect();
    let parties = parties.into_iter().filter(|party| joined.contains(&party.id)).collect();
    let is_whole = |nodes: &[String]| nodes.iter().all(|node| joined.contains(node));
    let cycles = cycles.into_iter().filter(|cycle| is_whole(&cycle.nodes)).collect();
    WaitGraph { parties, locks, edges, cycles, ..WaitGraph::default() }
}

fn is_seen(packet: &Packet, reach: &Reach) -> bool {
    packet.locks.iter().all(|frozen| frozen.id.key().is_ok_and(|key| reach.has(&frozen.source, &key)))
}

fn wants_markdown(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut forms = accepted.flat_map(|value| value.split(',')).filter_map(|form| form.split(';').next());
    forms.find_map(|form| match form.trim() {
        "text/markdown" => Some(true),
        "application/json" | "application/*" | "*/*" => Some(false),
        _ => None,
    }) == Some(true)
}
