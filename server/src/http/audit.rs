use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use lockkeeper_model::{AuditPage, Time, words};

use super::caller::Caller;
use super::extract::Query;
use super::openapi::FileFormat;
use super::{ApiError, AppState};
use crate::access::Right;
use crate::recorder::audit::{Audit, AuditError, Filter, Format};

const PARAMETERS: &[&str] = &["source", "lock", "actor", "outcome", "since", "until", "limit", "before", "format"];

/// Entries on a page unless told otherwise.
const DEFAULT_LIMIT: usize = 100;

/// Entries on the largest page: about a megabyte.
const MAX_LIMIT: u64 = 1_000;

/// Entries that an export reads at once.
const BATCH: usize = 500;

/// Who did or was refused what, when and why, with the locks in scope; newest first. As CSV or JSON Lines it is everything
/// that passes the filter, oldest first.
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "releasing", operation_id = "listAudit",
    params(
        ("source" = Option<String>, Query, description = "only about this source"),
        ("lock" = Option<String>, Query, description = "only about the lock with this id"),
        ("actor" = Option<String>, Query, description = "only by the actor of this name"),
        ("outcome" = Option<String>, Query, description = "only with this outcome, `released` or `mistyped` for example"),
        ("since" = Option<Time>, Query, description = "not from before this moment"),
        ("until" = Option<Time>, Query, description = "from before this moment"),
        ("limit" = Option<u32>, Query, description = "entries on the page, 1 to 1000; default 100; not for an export"),
        ("before" = Option<u64>, Query, description = "only entries with a lower `seq`, as `next_before` of the page before says; not for an export"),
        ("format" = inline(Option<FileFormat>), Query, description = "`json`, `csv` or `jsonl`; without it the header `Accept` decides"),
    ),
    responses(
        (status = 200, content(
            (AuditPage = "application/json"),
            (String = "text/csv"),
            (String = "application/jsonl"),
        )),
        (status = 503, description = "no audit is kept, or it cannot be read", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, ApiError> {
    let scope = &caller.scope;
    if !scope.may_anywhere(Right::Admin) {
        caller.needs(Right::View)?;
    }
    let filter = Filter {
        reach: Some(scope.seen().clone()),
        source: query.take("source"),
        lock: query.take("lock"),
        actor: query.take("actor"),
        outcome: query.take("outcome"),
        since: query.take_time("since")?,
        until: query.take_time("until")?,
    };
    let limit = query.take_number("limit", MAX_LIMIT)?;
    if limit == Some(0) {
        let detail = format!("`limit` is `0`, expected a whole number from 1 to {MAX_LIMIT}");
        return Err(ApiError::bad_request("bad-parameter", detail));
    }
    let before = query.take_number("before", u64::MAX)?;
    let format = match query.take("format") {
        Some(word) => named_format(&word)?,
        None => accepted_format(&headers),
    };
    query.finish(PARAMETERS)?;
    let Some(format) = format else {
        let limit = limit.map_or(DEFAULT_LIMIT, |limit| limit as usize);
        let mut page: AuditPage = state.audit.page(filter, before, limit).await.map_err(|error| unreadable(&error))?;
        // It counts what the scope hides.
        page.chain = page.chain.filter(|_| scope.sees_all() || scope.may_anywhere(Right::Admin));
        return Ok(Json(page).into_response());
    };
    if limit.is_some() || before.is_some() {
        let detail = "`limit` and `before` cut pages, and an export is not cut into pages";
        return Err(ApiError::bad_request("bad-parameter", detail).hint("narrow an export by `since` and `until`"));
    }
    export(&state, filter, format).await
}

async fn export(state: &AppState, filter: Filter, format: Format) -> Result<Response, ApiError> {
    let slot = state.admit_export()?;
    // What is written from now on is for the next export.
    let upto = state.audit.chain().await.map_err(|error| unreadable(&error))?.length;
    let begin = Progress { audit: state.audit.clone(), filter, format, after: 0, upto, text: Some(format.header()) };
    let batches = stream::try_unfold((begin, slot), |(mut progress, slot)| async move {
        let text = progress.next().await?;
        Ok::<_, AuditError>(text.map(|text| (text, (progress, slot))))
    });
    let headers = [
        (CONTENT_TYPE, format.content_type().to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", format.file_name())),
    ];
    // An error in the middle breaks the connection off: nobody takes a part for the whole.
    Ok((headers, Body::from_stream(batches)).into_response())
}

/// How far an export got.
struct Progress {
    audit: Audit,
    filter: Filter,
    format: Format,
    after: u64,
    upto: u64,
    /// What stands before the first entry, until it was sent.
    text: Option<String>,
}

impl Progress {
    async fn next(&mut self) -> Result<Option<String>, AuditError> {
        let mut text = self.text.take().unwrap_or_default();
        while text.is_empty() && self.after < self.upto {
            let found = self.audit.run(self.filter.clone(), self.after, self.upto, BATCH).await?;
            self.after = found.more_after.unwrap_or(self.upto);
            text.extend(found.entries.iter().map(|entry| self.format.line(entry)));
        }
        Ok((!text.is_empty()).then_some(text))
    }
}

pub(super) fn named_format(word: &str) -> Result<Option<Format>, ApiError> {
    match word {
        "json" => Ok(None),
        "csv" => Ok(Some(Format::Csv)),
        "jsonl" => Ok(Some(Format::Jsonl)),
        _ => {
            let detail = format!("`format` is `{}`, expected `json`, `csv` or `jsonl`", words::shown(word));
            Err(ApiError::bad_request("bad-parameter", detail))
        }
    }
}

/// The first of the accepted forms that there is; a page of JSON for whoever does not say.
fn accepted_format(headers: &HeaderMap) -> Option<Format> {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let forms = accepted.flat_map(|value| value.split(',')).filter_map(|form| form.split(';').next());
    for form in forms {
        match form.trim() {
            "text/csv" => return Some(Format::Csv),
            "application/jsonl" | "application/x-ndjson" | "application/x-jsonlines" => return Some(Format::Jsonl),
            "application/json" | "*/*" | "application/*" => return None,
            _ => {}
        }
    }
    None
}

fn unreadable(error: &AuditError) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no-audit", "The audit cannot be read", error.to_string())
        .hint("give the server a folder that it may write with `--data-dir`")
}
