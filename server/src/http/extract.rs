//! What handlers take: path, query and body, each refused with the thing's name and value.

use std::str::FromStr as _;

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::Bytes;
use lockkeeper_model::{LockId, Time, words};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::caller::Caller;
use super::{ApiError, AppState};
use crate::access::Reach;
use crate::source::SourceHandle;

/// The largest request body: a ticket of the longest kind, with a reason.
pub(super) const MAX_BODY_BYTES: usize = 128 * 1024;

/// The longest query: every parameter at its longest, percent-encoded.
const MAX_QUERY_BYTES: usize = 8 * 1024;

/// The `{source}/{id}` of a path.
pub(super) struct LockPath {
    pub(super) source: SourceHandle,
    pub(super) id: LockId,
    pub(super) key: Bytes,
    /// It does not exist for whoever asks. That follows from its name alone, so that neither the answer nor the time that
    /// it takes tells whether there is one.
    pub(super) is_hidden: bool,
}

impl FromRequestParts<AppState> for LockPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<LockPath, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let reach = caller.seen()?;
        let Path((source, id)) = Path::<(String, String)>::from_request_parts(parts, state).await.map_err(|_| {
            ApiError::bad_request("bad-path", "the path is not percent-encoded UTF-8")
                .hint("a key that is not UTF-8 has an id that begins with `b64:`")
        })?;
        let source = known_source(state, reach, &source, StatusCode::NOT_FOUND)?.clone();
        let id = LockId::parse(&id).map_err(|error| ApiError::bad_request("bad-lock-id", error.to_string()))?;
        let key: Bytes = id.key().map_err(|error| ApiError::bad_request("bad-lock-id", error.to_string()))?.into();
        let is_hidden = !reach.has(&source.name, &key);
        Ok(LockPath { source, id, key, is_hidden })
    }
}

/// The source of that name, or who there is, for whoever has this reach.
pub(super) fn known_source<'a>(
    state: &'a AppState,
    reach: &Reach,
    name: &str,
    status: StatusCode,
) -> Result<&'a SourceHandle, ApiError> {
    state.board.source_for(name, reach).ok_or_else(|| {
        let known: Vec<String> = state.board.sources_for(reach).map(|source| source.name.to_string()).collect();
        ApiError::unknown_source(status, name, &known)
    })
}

/// The parameters of a query, each at most once. Taken out by name; what is left over is unknown.
pub(super) struct Query {
    parameters: Vec<(String, String)>,
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query, ApiError> {
        Query::parse(parts.uri.query().unwrap_or_default())
    }
}

impl Query {
    pub(super) fn parse(query: &str) -> Result<Query, ApiError> {
        if query.len() > MAX_QUERY_BYTES {
            let detail = format!("the query has {} bytes, expected at most {MAX_QUERY_BYTES}", query.len());
            return Err(ApiError::new(StatusCode::URI_TOO_LONG, "long-query", "The query is too long", detail));
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if parameters.iter().any(|(known, _)| *known == name) {
                let detail = format!("`{}` is given twice", words::shown(&name));
                return Err(ApiError::bad_request("bad-parameter", detail));
            }
            parameters.push((name, value));
        }
        Ok(Query { parameters })
    }

    /// The parameter's value; an empty one counts as absent, as forms send it.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let index = self.parameters.iter().position(|(known, _)| known == name)?;
        Some(self.parameters.swap_remove(index).1).filter(|value| !value.is_empty())
    }

    /// The source that alone is asked about, if one is.
    pub(super) fn take_source<'a>(
        &mut self,
        state: &'a AppState,
        reach: &Reach,
    ) -> Result<Option<&'a SourceHandle>, ApiError> {
        self.take("source").map(|name| known_source(state, reach, &name, StatusCode::BAD_REQUEST)).transpose()
    }

    /// A whole number from 0 to `max`.
    pub(super) fn take_number(&mut self, name: &str, max: u64) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.parse() {
            Ok(number) if number <= max => Ok(Some(number)),
            _ => {
                let detail = format!("`{name}` is `{}`, expected a whole number up to {max}", words::shown(&value));
                Err(ApiError::bad_request("bad-parameter", detail))
            }
        }
    }

    /// A moment.
    pub(super) fn take_time(&mut self, name: &str) -> Result<Option<Time>, ApiError> {
        let Some(text) = self.take(name) else { return Ok(None) };
        Time::from_str(&text)
            .map(Some)
            .map_err(|error| ApiError::bad_request("bad-parameter", format!("`{name}`: {error}")))
    }

    /// Refuses what was not taken.
    pub(super) fn finish(self, known: &[&str]) -> Result<(), ApiError> {
        let Some((name, _)) = self.parameters.iter().find(|(name, _)| !known.contains(&name.as_str())) else {
            return Ok(());
        };
        let detail = format!("`{}` is not a parameter here", words::shown(name));
        Err(ApiError::bad_request("unknown-parameter", detail)
            .hint(format!("the parameters are: {}", known.join(", "))))
    }
}

fn decode(text: &str) -> Result<String, ApiError> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().map(std::borrow::Cow::into_owned).map_err(|_| {
        ApiError::bad_request("bad-query", format!("`{}` is not percent-encoded UTF-8", words::shown(text)))
    })
}

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Json<T>, ApiError> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Json(body)),
            Err(rejection) => Err(bad_body(&rejection)),
        }
    }
}

fn bad_body(rejection: &JsonRejection) -> ApiError {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => unsupported_media_type(),
        _ => ApiError::bad_request("bad-body", words::shown(&rejection.body_text())),
    }
}

fn too_large() -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "large-body",
        "The body is too large",
        format!("the body has more than {MAX_BODY_BYTES} bytes"),
    )
}

/// A body in another form than JSON, which is also how a foreign page would have to send it without asking first.
pub(super) fn unsupported_media_type() -> ApiError {
    ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "not-json",
        "The body is not JSON",
        "the `Content-Type` is not `application/json`",
    )
}
