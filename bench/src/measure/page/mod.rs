//! What a person meets who has the page open, in a real browser.

pub(super) mod first_row;
pub(super) mod memory;
pub(super) mod pixel;
pub(super) mod scroll;
pub(super) mod typing;

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::browser::Browser;
use crate::process::Lockkeeper;

/// A row that has something to say.
const ROW: &str = "[...document.querySelectorAll('[role=grid] tbody [role=row] .c-lock')]\
                   .some(cell => cell.textContent.trim() !== '')";

/// The page of a server, with rows on it.
fn opened(browser: &mut Browser, server: &Lockkeeper, query: &str) -> Result<()> {
    browser.open(&format!("http://{}/{query}", server.address))?;
    browser.until("rows", ROW)
}

/// Milliseconds that a script answered with.
fn durations(list: &Value) -> Vec<Duration> {
    crate::browser::numbers(list).into_iter().map(|ms| Duration::from_secs_f64(ms.max(0.0) / 1_000.0)).collect()
}
