//! `lockkeeper watch`: transitions as they come, over lost links and restarts of the server.

use std::time::Duration;

use clap::Args;
use lockkeeper_model::words::{duration, shown};
use lockkeeper_model::{Event, LockId, Time, TransitionKind};
use reqwest::{Method, Response};
use tokio::time::Instant;

use super::exit::{Exit, Trouble};
use super::find::{Named, find};
use super::link::{Link, ServerArguments, words_of};
use super::screen::{Look, Screen, Tone, aside};
use super::sse::{Parser, TooLarge};
use super::{locks, words};

/// A stream that says nothing for so long is lost: the server gives a sign of life every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

/// Before the first new attempt to connect, and before each when the server stays away: soon enough to miss little, and
/// seldom enough not to be in the way of a server that starts.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Given in place of an event's id by whoever saw none yet: the server knows no such event, says so with a gap, and tells
/// what it still has.
const NO_EVENT_YET: &str = "none";

/// What to watch.
#[derive(Debug, Args)]
pub struct WatchArguments {
    /// Only of this source.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Only of this lock: its id, `source/id`, or the end of its name where no other lock has the same. One that nobody
    /// holds now needs the id.
    #[arg(long, value_name = "LOCK")]
    lock: Option<String>,

    /// Prints each event as a line of JSON, as the server sends it.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    pub(super) server: ServerArguments,
}

/// What to ask for, and how far it was told.
struct Watch {
    source: Option<String>,
    lock: Option<String>,
    /// The last event that was told.
    last: Option<String>,
    /// The server's clock at the beginning: what was before is not told, whoever tells it.
    began: Time,
    json: bool,
}

impl WatchArguments {
    pub(super) async fn run(&self, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        let begin = link.coverage().await?;
        let (mut source, mut lock) = (self.source.clone(), None);
        if let Some(text) = &self.lock {
            match find(link, text, source.as_deref()).await? {
                Named::Held(found) => (source, lock) = (Some(found.lock.source), Some(found.lock.id)),
                Named::NotHeld { places, said } => match places.as_slice() {
                    [] => return Err(said),
                    [(only, id)] => (source, lock) = (Some(only.clone()), Some(id.clone())),
                    [(_, id), ..] => lock = Some(id.clone()),
                },
            }
        }
        let what = lock.as_ref().map_or_else(|| "every lock".to_owned(), |lock| shown(lock.as_str()));
        let place = source.as_ref().map_or_else(String::new, |source| format!(" of {}", shown(source)));
        let coverage = locks::coverage(&begin.coverage, Look::PLAIN);
        let begins = format!("watching {what}{place}, as of {}\n{}", begin.as_of, coverage.trim_end());
        let lock = lock.map(|id: LockId| id.as_str().to_owned());
        let mut watch = Watch { source, lock, last: None, began: begin.as_of, json: self.json };
        watch.go_on(&begins, link, screen).await
    }
}

impl Watch {
    /// Until somebody ends it, or the server does not let one any more.
    async fn go_on(&mut self, begins: &str, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        let mut lost: Option<(Instant, String)> = None;
        let mut wait = FIRST_WAIT;
        loop {
            match self.open(link, lost.is_some()).await {
                Ok(stream) => {
                    match lost.take() {
                        // Only now: what happens from here on is told.
                        None => aside(begins),
                        Some((since, _)) => {
                            let away = i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX);
                            aside(&format!("connected again after {}", duration(away)));
                        }
                    }
                    let (because, heard) = self.follow(stream, screen).await?;
                    if heard {
                        wait = FIRST_WAIT;
                    }
                    aside(&format!("lost the link to {}: {because}; trying again", link.address()));
                    lost = Some((Instant::now(), because));
                }
                Err(trouble) => match &mut lost {
                    Some((_, said)) if trouble.exit() == Exit::CouldNot => {
                        // Once, not at every attempt.
                        let because = trouble.to_string();
                        if *said != because {
                            aside(&because);
                            *said = because;
                        }
                    }
                    _ => return Err(trouble),
                },
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn open(&self, link: &Link, again: bool) -> Result<Response, Trouble> {
        let query: Vec<(&str, &str)> = [("source", &self.source), ("lock", &self.lock)]
            .into_iter()
            .filter_map(|(name, value)| value.as_deref().map(|value| (name, value)))
            .collect();
        let request = link.request(Method::GET, &["events"], &query).header("accept", "text/event-stream");
        let request = match &self.last {
            Some(last) => request.header("last-event-id", last),
            None if again => request.header("last-event-id", NO_EVENT_YET),
            None => request,
        };
        link.open(request, SILENCE).await
    }

    /// Tells what comes. Returns why nothing more does, and whether anything did.
    async fn follow(&mut self, mut stream: Response, screen: &mut Screen<'_>) -> Result<(String, bool), Trouble> {
        let mut parser = Parser::default();
        let mut heard = false;
        loop {
            let chunk = match tokio::time::timeout(SILENCE, stream.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Ok(("the server ended it".to_owned(), heard)),
                Ok(Err(error)) => return Ok((words_of(error), heard)),
                Err(_) => return Ok((format!("silence for {} s", SILENCE.as_secs()), heard)),
            };
            heard = true;
            let Ok(messages) = parser.feed(&chunk).map_err(|TooLarge| ()) else {
                return Err(Trouble::new(Exit::CouldNot, "the server sent an event that is too large for one"));
            };
            for message in messages {
                let event: Event = serde_json::from_str(&message.data).map_err(|error| {
                    let because = words::whole(&error.to_string());
                    Trouble::new(Exit::CouldNot, format!("the server sent an event that cannot be read: {because}"))
                })?;
                // Whoever saw no event yet is told everything that the server still has.
                let is_new = self.last.is_some() || event.at >= self.began;
                if is_new {
                    self.tell(&event, &message.data, screen)?;
                    self.last = message.id.or(self.last.take());
                }
            }
        }
    }

    fn tell(&self, event: &Event, data: &str, screen: &mut Screen<'_>) -> Result<(), Trouble> {
        match self.json {
            true => screen.json(data)?,
            false => screen.say(&line(event, screen.look))?,
        }
        Ok(())
    }
}

/// One transition.
fn line(event: &Event, look: Look) -> String {
    let lock = event.lock.as_ref().map(|lock| format!("/{}", shown(lock.as_str()))).unwrap_or_default();
    let source = if event.source == "*" { "every source".to_owned() } else { shown(&event.source) };
    let text = look.wrapped(&format!("{}  {source}{lock}  {}", event.at, words::event(event)), 2);
    match event.transition {
        TransitionKind::Gap => look.paint(text.trim_end(), Tone::Warn) + "\n",
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::event;
    use super::*;

    #[test]
    fn a_transition_is_a_line_and_a_gap_is_said() {
        assert_eq!(
            line(&event(TransitionKind::Acquired, 1_000), Look::PLAIN),
            "1970-01-01T00:00:01.000Z  orders/lock:stock:4711  taken by 0f8e41…0003\n"
        );
        let gap = Event {
            source: "*".to_owned(),
            lock: None,
            cause: Some("not_kept".to_owned()),
            evidence: Some("events are not kept\u{1b}".to_owned()),
            ..event(TransitionKind::Gap, 0)
        };
        assert_eq!(
            line(&gap, Look::PLAIN),
            "1970-01-01T00:00:00.000Z  every source  GAP: something was not seen here (not_kept: events are not kept\\u{1b})\n"
        );
    }
}
