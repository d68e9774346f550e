use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use lockkeeper_model::{Holder, Problem, QuestionError, words};
use serde::Serialize;
use utoipa::ToSchema;

use crate::board::BoardClosed;
use crate::release::{ApprovalRefusal, Refusal, seconds};

/// Everything that can go wrong at the rim, as `application/problem+json`. What a browser reads here carries neither
/// addresses nor credentials.
#[derive(Clone, Debug)]
pub struct ApiError(Box<Answer>);

/// Boxed above: errors are rare, and every handler's answer would be as large as the largest of them.
#[derive(Clone, Debug)]
struct Answer {
    status: StatusCode,
    problem: Problem,
    holder_now: Option<Box<Holder>>,
    retry_after_s: Option<u32>,
}

/// A problem, and who has the lock now where that is the problem.
#[derive(Serialize, ToSchema)]
pub(super) struct ProblemWithHolder {
    /// As every problem.
    #[serde(flatten)]
    problem: Problem,
    /// Who has the lock now. Only if it changed hands.
    #[serde(skip_serializing_if = "Option::is_none")]
    holder_now: Option<Box<Holder>>,
}

impl ApiError {
    /// `kind` names the problem for programs, `title` for people, `detail` this occurrence.
    pub(super) fn new(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>) -> ApiError {
        let problem = Problem {
            kind: format!("/problems/{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            hint: None,
        };
        ApiError(Box::new(Answer { status, problem, holder_now: None, retry_after_s: None }))
    }

    /// What went wrong and what to try, for a page.
    pub(super) fn in_words(&self) -> String {
        let Problem { detail, hint, .. } = &self.0.problem;
        hint.as_ref().map_or_else(|| detail.clone(), |hint| format!("{detail}: {hint}"))
    }

    /// With what it is answered.
    pub(super) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What to try.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> ApiError {
        self.0.problem.hint = Some(hint.into());
        self
    }

    /// When to try again.
    #[must_use]
    pub(super) fn retry_after(mut self, seconds: u32) -> ApiError {
        self.0.retry_after_s = Some(seconds);
        self
    }

    pub(super) fn bad_request(kind: &str, detail: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, kind, "The request cannot be understood", detail)
    }

    pub(super) fn not_found(kind: &str, title: &str, detail: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, kind, title, detail)
    }

    /// A source that is not watched.
    pub(super) fn unknown_source(status: StatusCode, name: &str, known: &[String]) -> ApiError {
        let detail = format!("there is no source `{}`", words::shown(name));
        ApiError::new(status, "unknown-source", "No such source", detail).hint(match known {
            [] => "there are none for you".to_owned(),
            known => format!("the sources are: {}", known.join(", ")),
        })
    }

    /// No room for one more of `what`.
    pub(super) fn full(what: &str, size: usize) -> ApiError {
        let mut error = ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "full",
            "Too many at once",
            format!("all {size} places for {what} are taken"),
        )
        .hint("close some, or try again later");
        error.0.retry_after_s = Some(5);
        error
    }

    /// The server is on its way out.
    pub(super) fn closing() -> ApiError {
        let mut error = ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "closing",
            "The server is shutting down",
            BoardClosed.to_string(),
        );
        error.0.retry_after_s = Some(2);
        error
    }

    /// Something broke here; the log knows what.
    pub(super) fn internal() -> ApiError {
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something broke in the server",
            "the request could not be answered because of a bug in Lockkeeper",
        )
        .hint("the server's log has the details")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Answer { status, problem, holder_now, retry_after_s } = *self.0;
        let body = serde_json::to_vec(&ProblemWithHolder { problem, holder_now }).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after_s {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<BoardClosed> for ApiError {
    fn from(_: BoardClosed) -> ApiError {
        ApiError::closing()
    }
}

impl From<QuestionError> for ApiError {
    fn from(error: QuestionError) -> ApiError {
        ApiError::bad_request("bad-parameter", error.to_string())
    }
}

fn approval(refusal: &ApprovalRefusal, detail: String) -> ApiError {
    let forbidden = |kind: &str, title: &str| ApiError::new(StatusCode::FORBIDDEN, kind, title, detail.clone());
    let conflict = |kind: &str, title: &str| ApiError::new(StatusCode::CONFLICT, kind, title, detail.clone());
    match refusal {
        ApprovalRefusal::Needed(_) => forbidden("approval-needed", "Another person has to approve this").hint(
            "nothing was tried and the ticket is still good for its minute; send it with your reason to POST \
             /api/v1/approvals, and preview again when it is approved",
        ),
        ApprovalRefusal::NotSignedIn => forbidden("sign-in-needed", "Not for a token")
            .hint("sign in as a person; a token can neither ask for an approval nor give one"),
        ApprovalRefusal::StaleSignIn => forbidden("sign-in-needed", "Sign in again")
            .hint("nothing was tried and the ticket is still good for its minute; a token or a proxy is no sign-in"),
        ApprovalRefusal::SamePerson => forbidden("same-person", "It takes another person")
            .hint("somebody else with the right `approve` on every lock of it can decide it"),
        ApprovalRefusal::Unknown => ApiError::not_found("no-such-approval", "No such approval", detail)
            .hint("approvals end after ten minutes, when they are used, and when the server starts anew"),
        ApprovalRefusal::NotNeeded => {
            conflict("approval-not-needed", "Nobody else is needed").hint("send the ticket to POST /api/v1/releases")
        }
        ApprovalRefusal::Decided(_) => {
            conflict("approval-decided", "It was decided already").hint("nothing was changed")
        }
        ApprovalRefusal::TooMany => {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many approvals are open", detail)
                .hint("have some decided first")
                .retry_after(60)
        }
        ApprovalRefusal::NotWritten(_) => {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "audit", "The audit cannot be written", detail)
                .hint("nothing was tried, approved or denied; see the server's log")
        }
    }
}

/// Whole seconds after which a wait is over.
fn whole_seconds(wait: Duration) -> u32 {
    u32::try_from(seconds(wait)).unwrap_or(u32::MAX)
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        use crate::release::TicketError;

        let detail = refusal.to_string();
        match refusal {
            Refusal::Off => ApiError::new(StatusCode::FORBIDDEN, "release-off", "Releasing is switched off", detail)
                .hint("start the server with `--allow-release`, or set `enabled = true` under `[release]`"),
            Refusal::NoRight(_) | Refusal::NotAllowed { .. } => {
                ApiError::new(StatusCode::FORBIDDEN, "not-allowed", "Not allowed", detail)
                    .hint("whoever runs this server grants rights to roles: `[[role]]` in lockkeeper.toml")
            }
            Refusal::Count { .. } | Refusal::Twice { .. } | Refusal::Id(_) => {
                ApiError::bad_request("bad-locks", detail)
            }
            Refusal::UnknownSource { name, known } => ApiError::unknown_source(StatusCode::BAD_REQUEST, &name, &known),
            Refusal::Unreadable { .. } => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "source-down", "The store does not answer", detail)
                    .hint("nothing was released; try again when the source answers")
            }
            Refusal::HoldGone { .. } => ApiError::new(StatusCode::CONFLICT, "gone", "The hold is over already", detail)
                .hint("nothing has to be done for this holder"),
            Refusal::Gone { .. } => ApiError::new(StatusCode::CONFLICT, "gone", "The lock is free already", detail)
                .hint("nothing needs to be released; its events say how it ended"),
            Refusal::ChangedHands { holder_now, .. } => {
                let mut error = ApiError::new(StatusCode::CONFLICT, "changed-hands", "The lock changed hands", detail)
                    .hint("look at the lock again before deciding");
                error.0.holder_now = Some(holder_now);
                error
            }
            Refusal::NotOffered { .. } => {
                ApiError::new(StatusCode::CONFLICT, "not-offered", "It is not offered", detail)
                    .hint("nothing was done; the lock's stored form is among its details")
            }
            Refusal::NoEviction { .. } => {
                ApiError::new(StatusCode::CONFLICT, "no-eviction", "There is no such waiter to take out", detail)
                    .hint("nothing was done; look at the lock again before deciding")
            }
            Refusal::QueueMoved { .. } => ApiError::new(StatusCode::CONFLICT, "queue-moved", "The queue moved", detail)
                .hint("look at the lock again before deciding"),
            Refusal::SeveralHolders { .. } => ApiError::bad_request("holder-needed", detail)
                .hint("add `holder` with the `token_b64` of the one whose hold is to end"),
            Refusal::Ticket(TicketError::TooMany) | Refusal::Busy => {
                let mut error =
                    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many releases at once", detail)
                        .hint("nothing was tried and the ticket is still good; try again in a moment");
                error.0.retry_after_s = Some(2);
                error
            }
            Refusal::ReasonPattern { .. } => {
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "reason-pattern", "The reason lacks something", detail)
                    .hint("nothing was tried and the ticket is still good; the pattern is a regular expression")
            }
            Refusal::DryRunNeeded { .. } => ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "dry-run-needed",
                "A dry run is needed first",
                detail,
            )
            .hint("nothing was tried; send the same ticket with `dry_run: true`, read the results, then send it again"),
            Refusal::Approval(refusal) => approval(&refusal, detail),
            Refusal::TooOften { wait, .. } => {
                let hint = "nothing was tried and the ticket is still good for its minute";
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too-often", "Too many releases", detail)
                    .hint(hint)
                    .retry_after(whole_seconds(wait))
            }
            Refusal::CoolingDown { until, .. } => {
                let wait = Duration::from_millis(until.since(crate::clock::now()).max(0).unsigned_abs());
                let hint = "nothing was tried; look at who has it now before trying again";
                ApiError::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "cooling-down",
                    "The lock was released a moment ago",
                    detail,
                )
                .hint(hint)
                .retry_after(whole_seconds(wait))
            }
            Refusal::Ticket(TicketError::TooLong) => {
                ApiError::bad_request("bad-locks", detail).hint("preview fewer locks at once")
            }
            Refusal::Ticket(error) => {
                let kind = match error {
                    TicketError::Expired(_) => "ticket-expired",
                    TicketError::Used => "ticket-used",
                    _ => "ticket-unknown",
                };
                ApiError::new(StatusCode::GONE, kind, "The ticket is not good any more", detail)
                    .hint("nothing was tried; ask for a new preview")
            }
            Refusal::Unconfirmed { .. } => ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "unconfirmed",
                "The confirmation does not match",
                detail,
            )
            .hint("nothing was tried and the ticket is still good"),
            Refusal::Reason { .. } => {
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "reason-needed", "A reason is needed", detail)
                    .hint("nothing was tried and the ticket is still good")
            }
            Refusal::HoldTime { .. } => ApiError::bad_request("bad-hold-time", detail),
            Refusal::Closing(closed) => closed.into(),
        }
    }
}
