//! All the locks that answer to a question, as a file: what it was at one moment, read piece by piece.

use std::collections::VecDeque;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use lockkeeper_model::{Lock, Time, words};

use super::{ApiError, AppState};
use crate::board::{Board, BoardClosed};
use crate::recorder::audit::{Format, cell};
use crate::view::Asked;

/// Locks in one file: more than anybody reads in a spreadsheet, and some seconds of the server's time.
pub(super) const MAX_LOCKS: u32 = 100_000;

/// Locks that are read at once: a millisecond or two of the board's time, so that everybody else's frames go on.
const PIECE: usize = 250;

const COLUMNS: [&str; 22] = [
    "as_of",
    "source",
    "id",
    "name",
    "state",
    "mode",
    "dialect",
    "certainty",
    "holders",
    "token",
    "host",
    "pid",
    "client_name",
    "verdict",
    "held_since_not_before",
    "held_since_not_after",
    "held_since_basis",
    "expires_at",
    "waiters",
    "waiters_basis",
    "flags",
    "generation",
];

/// Sends every lock that is an answer now and is still there when its line is written, each as it is then.
pub(super) async fn export(state: &AppState, asked: Asked, format: Format) -> Result<Response, ApiError> {
    let slot = state.admit_export()?;
    let listed = state.board.rows(asked, MAX_LOCKS).await?;
    if listed.total > u64::from(MAX_LOCKS) {
        let detail = format!(
            "{} locks are an answer, expected at most {} for a file",
            words::count(listed.total),
            words::count(u64::from(MAX_LOCKS))
        );
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "too-many-locks", "Too many locks for a file", detail)
            .hint("narrow the question by `q`, `source` or `flag`, or read pages of JSON"));
    }
    let header = match format {
        Format::Csv => COLUMNS.join(",") + "\r\n",
        Format::Jsonl => String::new(),
    };
    let begin = Progress { board: state.board.clone(), format, left: listed.rows.into(), text: Some(header) };
    let pieces = stream::try_unfold((begin, slot), |(mut progress, slot)| async move {
        let text = progress.next().await?;
        Ok::<_, BoardClosed>(text.map(|text| (text, (progress, slot))))
    });
    let extension = format.word();
    let headers = [
        (CONTENT_TYPE, format.content_type().to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"lockkeeper-locks.{extension}\"")),
    ];
    // An error in the middle breaks the connection off: nobody takes a part for the whole.
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// How far an export got.
struct Progress {
    board: Board,
    format: Format,
    left: VecDeque<u64>,
    /// What stands before the first lock, until it was sent.
    text: Option<String>,
}

impl Progress {
    async fn next(&mut self) -> Result<Option<String>, BoardClosed> {
        let mut text = self.text.take().unwrap_or_default();
        while text.is_empty() && !self.left.is_empty() {
            let rows = self.left.drain(..self.left.len().min(PIECE)).collect();
            text.extend(self.board.of_rows(rows).await?.iter().map(|lock| line(self.format, lock)));
        }
        Ok((!text.is_empty()).then_some(text))
    }
}

fn line(format: Format, lock: &Lock) -> String {
    match format {
        Format::Csv => csv(lock),
        // Numbers, texts and nothing else: this cannot fail.
        Format::Jsonl => serde_json::to_string(lock).unwrap_or_default() + "\n",
    }
}

/// Of several holders the first is described; unknown is an empty cell.
fn csv(lock: &Lock) -> String {
    let holder = lock.holders.first();
    let identity = holder.map(|holder| &holder.identity);
    let text = |text: Option<&String>| text.map(|text| cell(text)).unwrap_or_default();
    let time = |time: Option<Time>| time.map(|time| time.to_string()).unwrap_or_default();
    let flags: Vec<&str> = lock.flags.iter().map(|flag| flag.word()).collect();
    let cells: [String; COLUMNS.len()] = [
        lock.as_of.to_string(),
        cell(&lock.source),
        cell(lock.id.as_str()),
        cell(&lock.name),
        lock.state.word().to_owned(),
        word(&lock.mode),
        cell(&lock.dialect.name),
        word(&lock.dialect.certainty),
        lock.holders.len().to_string(),
        holder.map(|holder| cell(holder.token.as_ref().unwrap_or(&holder.token_b64))).unwrap_or_default(),
        text(identity.and_then(|identity| identity.host.as_ref())),
        identity.and_then(|identity| identity.pid).map(|pid| pid.to_string()).unwrap_or_default(),
        text(identity.and_then(|identity| identity.client_name.as_ref())),
        holder.map(|holder| holder.verdict.word().to_owned()).unwrap_or_default(),
        time(lock.held_since.not_before),
        time(lock.held_since.not_after),
        word(&lock.held_since.basis),
        time(lock.lease.expires_at),
        lock.waiters.count.map(|count| count.to_string()).unwrap_or_default(),
        word(&lock.waiters.basis),
        flags.join(" "),
        cell(&lock.generation),
    ];
    cells.join(",") + "\r\n"
}

/// A word of the contract, as JSON has it.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
