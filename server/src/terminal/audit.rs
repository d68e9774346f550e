//! `lockkeeper audit --server`: the audit as a server tells it, for whoever is not on its machine.

use std::process::ExitCode;

use clap::Args;
use lockkeeper_model::AuditPage;
use reqwest::Method;

use super::exit::{Exit, Trouble};
use super::link::{ANSWER_TIMEOUT, IdentityArguments, Link, ServerArguments, words_of};
use super::screen::{Screen, aside};
use super::{linked, on_stdout};
use crate::recorder::audit::Format;
use crate::recorder::audit::command::line;

/// Entries that are asked for at once: the largest page that the server gives.
const PAGE: u64 = 1_000;

/// Whether to ask a server rather than to read the file.
#[derive(Debug, Args)]
pub struct AskedServer {
    /// Asks a running server in place of reading the file: the one that is named, else `LOCKKEEPER_SERVER`, else
    /// http://127.0.0.1:7420.
    #[arg(long, value_name = "URL", num_args = 0..=1, help_heading = "Server")]
    server: Option<Option<String>>,

    #[command(flatten)]
    identity: IdentityArguments,
}

impl AskedServer {
    /// Whether a server is to be asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.server.is_some()
    }

    fn given(&self) -> ServerArguments {
        let named = self.server.clone().flatten().or_else(|| std::env::var("LOCKKEEPER_SERVER").ok());
        ServerArguments { server: named.unwrap_or_default(), identity: self.identity.clone() }
    }
}

/// Prints up to `limit` entries that pass the filter, newest first.
#[must_use]
pub fn list(server: &AskedServer, filter: &[(&str, String)], limit: u64) -> ExitCode {
    on_stdout(async |screen| linked(&server.given(), async |link| pages(link, filter, limit, screen).await).await)
}

/// Writes all entries that pass the filter, oldest first.
#[must_use]
pub fn export(server: &AskedServer, filter: &[(&str, String)], format: Format) -> ExitCode {
    on_stdout(async |screen| linked(&server.given(), async |link| whole(link, filter, format, screen).await).await)
}

async fn pages(link: &Link, filter: &[(&str, String)], limit: u64, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
    let (mut left, mut before) = (limit, None);
    while left > 0 {
        let size = left.min(PAGE).to_string();
        let from = before.map(|seq: u64| seq.to_string());
        let mut query: Vec<(&str, &str)> = filter.iter().map(|(name, value)| (*name, value.as_str())).collect();
        query.push(("limit", &size));
        query.extend(from.as_deref().map(|from| ("before", from)));
        let page: AuditPage = link.read(&link.ask(&["audit"], &query).await?)?;
        screen.say(&page.entries.iter().map(|entry| line(entry) + "\n").collect::<String>())?;
        left = left.saturating_sub(page.entries.len() as u64);
        before = page.next_before;
        if before.is_none() || page.entries.is_empty() {
            break;
        }
    }
    Ok(Exit::Done)
}

async fn whole(
    link: &Link,
    filter: &[(&str, String)],
    format: Format,
    screen: &mut Screen<'_>,
) -> Result<Exit, Trouble> {
    let mut query: Vec<(&str, &str)> = filter.iter().map(|(name, value)| (*name, value.as_str())).collect();
    query.push(("format", format.word()));
    let mut export = link.open(link.request(Method::GET, &["audit"], &query), ANSWER_TIMEOUT).await?;
    loop {
        let cut_off = |because: String| {
            aside("what was written is not everything");
            Trouble::new(Exit::CouldNot, format!("the export broke off: {because}"))
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, export.chunk()).await {
            Ok(Ok(Some(chunk))) => screen.raw(&chunk)?,
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return Err(cut_off(words_of(error))),
            Err(_) => return Err(cut_off("the server fell silent".to_owned())),
        }
    }
    screen.say("")?;
    Ok(Exit::Done)
}
