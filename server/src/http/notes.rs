use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use lockkeeper_model::{AuditKind, Time, words};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::Caller;
use super::extract::{self, LockPath, Query};
use super::{ApiError, AppState, locks};
use crate::access::Right;
use crate::clock;
use crate::recorder::audit::{self, Deed};
use crate::recorder::notes::{MAX_CHARS, Note, NotesError};

/// What to write on a lock.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NoteRequest {
    /// The note, of 1 to 500 characters.
    text: String,
    /// The generation of the lock that it is about, as the answer about the lock has it.
    generation: String,
}

/// What people wrote on a lock.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NotesAnswer {
    /// Newest first; up to 100 are kept of one lock.
    notes: Vec<ShownNote>,
    /// Whether whoever asks may write one here.
    may_write: bool,
    /// Whether they outlive the server.
    lasting: bool,
}

/// A note on a lock.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShownNote {
    /// When it was written.
    at: Time,
    /// By whom.
    author: String,
    /// How it was known who that is.
    via: String,
    /// What they wrote.
    text: String,
    /// What it is about.
    about: About,
}

/// Which hold a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum About {
    /// Those who hold the lock now, as they hold it now.
    Now,
    /// An earlier hold: the lock changed hands after it was written, or is free.
    Earlier,
    /// The server was started anew after it was written, and cannot tell.
    Unknown,
}

/// What people wrote on a lock, and about which hold of it.
#[utoipa::path(
    get, path = "/api/v1/locks/{source}/{id}/notes", tag = "watching", operation_id = "listNotes",
    params(("source" = String, Path), ("id" = String, Path, description = "percent-encoded")),
    responses(
        (status = 200, body = NotesAnswer),
        (status = 503, description = "notes cannot be read", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    path: LockPath,
    query: Query,
) -> Result<Json<NotesAnswer>, ApiError> {
    query.finish(&[])?;
    let lasting = state.notes.are_lasting();
    if path.is_hidden {
        return Ok(Json(NotesAnswer { notes: Vec::new(), may_write: false, lasting }));
    }
    let notes = state.notes.of_lock(path.source.name.to_string(), path.key.clone()).await?;
    let found = state.board.lock(path.source.id, path.key.clone()).await?;
    let now = found.held.map(|held| held.lock.generation);
    let may_write = caller.scope.may(Right::Annotate, &path.source.name, &path.key);
    let notes = notes.into_iter().map(|note| shown(note, now.as_deref())).collect();
    Ok(Json(NotesAnswer { notes, may_write, lasting }))
}

/// Writes a note on a lock that is held, about those who hold it. The audit has it before anybody reads it.
#[utoipa::path(
    post, path = "/api/v1/locks/{source}/{id}/notes", tag = "watching", operation_id = "writeNote",
    params(("source" = String, Path), ("id" = String, Path, description = "percent-encoded")),
    request_body = NoteRequest,
    responses(
        (status = 201, description = "written", body = ShownNote),
        (status = 403, description = "it is not for you to write notes on this lock", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 404, description = "nobody holds it", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 409, description = "it changed hands since it was looked at", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 422, description = "the text is empty or too long", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 503, description = "it cannot be written down", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn write(
    State(state): State<AppState>,
    caller: Caller,
    path: LockPath,
    extract::Json(request): extract::Json<NoteRequest>,
) -> Result<Response, ApiError> {
    caller.needs(Right::Annotate)?;
    let text = checked(&request.text)?;
    if path.is_hidden {
        return Err(locks::not_held(&path));
    }
    if !caller.scope.may(Right::Annotate, &path.source.name, &path.key) {
        return Err(ApiError::not_allowed(Right::Annotate, None));
    }
    let Some(held) = state.board.lock(path.source.id, path.key.clone()).await?.held else {
        return Err(locks::not_held(&path));
    };
    if held.lock.generation != request.generation {
        let detail = format!("`{}` changed hands since you looked at it", words::shown(path.id.as_str()));
        return Err(ApiError::new(StatusCode::CONFLICT, "changed-hands", "The lock changed hands", detail)
            .hint("nothing was written; look at who has it now"));
    }
    let actor = caller.actor();
    if state.audit.is_kept() {
        let deed = Deed::by(&actor).lock(&path.source.name, path.id.as_str(), &request.generation).reason(&text);
        let note = audit::Note { deed, outcome: "noted", detail: "a note was written on the lock".to_owned() };
        state.audit.note(AuditKind::Note, vec![note]).await.map_err(|error| unwritable(&error.to_string()))?;
    }
    let note = Note {
        at: clock::now(),
        author: actor.name,
        via: actor.via,
        text,
        generation: request.generation.clone(),
        of_this_run: true,
    };
    state.notes.add(path.source.name.to_string(), path.key.clone(), note.clone()).await?;
    Ok((StatusCode::CREATED, Json(shown(note, Some(&request.generation)))).into_response())
}

fn checked(text: &str) -> Result<String, ApiError> {
    let text = text.trim();
    let chars = text.chars().count();
    if (1..=MAX_CHARS).contains(&chars) {
        return Ok(text.to_owned());
    }
    let detail = format!("`text` has {chars} characters, expected 1 to {MAX_CHARS}");
    Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-note", "That cannot be a note", detail)
        .hint("nothing was written; what is longer belongs where a link leads to"))
}

fn shown(note: Note, now: Option<&str>) -> ShownNote {
    let about = match now {
        _ if !note.of_this_run => About::Unknown,
        Some(now) if now == note.generation => About::Now,
        _ => About::Earlier,
    };
    ShownNote { at: note.at, author: note.author, via: note.via, text: note.text, about }
}

fn unwritable(because: &str) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "notes", "Notes cannot be kept now", because.to_owned())
        .hint("nothing was written; see the server's log")
}

impl From<NotesError> for ApiError {
    fn from(error: NotesError) -> ApiError {
        tracing::warn!("notes cannot be kept: {error}");
        unwritable("the file of notes cannot be read or written")
    }
}
