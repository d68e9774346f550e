//! `lockkeeper why`: everything that is known about one lock.

use clap::Args;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Action, Lock, LockId, PreviewAnswer, PreviewRequest, PreviewTarget, Time};

use super::action::Deed;
use super::answers::{EventsAnswer, SessionAnswer, SourcesAnswer};
use super::exit::{Exit, Trouble};
use super::find::{Found, Named, find};
use super::link::{ANSWER_TIMEOUT, Link, ServerArguments};
use super::screen::Screen;
use super::words::whole;
use super::{explain, plan};
use crate::access::Right;

/// Which lock to explain.
#[derive(Debug, Args)]
pub struct WhyArguments {
    /// The lock: its id, `source/id`, or the end of its name where no other lock has the same.
    lock: String,

    /// Prints the server's answer as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    pub(super) server: ServerArguments,
}

impl WhyArguments {
    pub(super) async fn run(&self, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        let found = match find(link, &self.lock, None).await? {
            Named::Held(found) => *found,
            Named::NotHeld { places, said } => {
                if !self.json {
                    past(link, screen, &places).await?;
                }
                return Err(said);
            }
        };
        if self.json {
            screen.json(&found.answer.body)?;
            return Ok(Exit::Done);
        }
        let Found { lock, coverage, now, .. } = found;
        screen.say(&explain::lock(&lock, coverage.of(&lock.source), now, screen.look))?;
        let events = events(link, &lock.source, &lock.id).await?;
        screen.say(&explain::timeline(&events, screen.look))?;
        let release = release(link, &lock, now, screen).await?;
        let heading = screen.look.heading("What a release would do");
        screen.say(&(heading + &release))?;
        Ok(Exit::Done)
    }
}

async fn events(link: &Link, source: &str, id: &LockId) -> Result<EventsAnswer, Trouble> {
    link.read(&link.ask(&["locks", source, &Link::segment(id), "events"], &[]).await?)
}

/// What happened to locks that may be meant and are not held now.
async fn past(link: &Link, screen: &mut Screen<'_>, places: &[(String, LockId)]) -> Result<(), Trouble> {
    for (source, id) in places {
        let events = events(link, source, id).await?;
        if !events.events.is_empty() {
            let name = format!("{}/{}: not held now\n", shown(source), shown(id.as_str()));
            screen.say(&(name + &explain::timeline(&events, screen.look)))?;
        }
    }
    Ok(())
}

/// What a release would do, if one could ask for it. Whoever may not is not made to ask: that they were refused would be
/// written into the audit.
async fn release(link: &Link, lock: &Lock, now: Time, screen: &Screen<'_>) -> Result<String, Trouble> {
    let said = |text: &str| Ok(screen.look.wrapped(&format!("  {text}"), 2));
    if let Some(because) = &lock.no_release {
        return said(&format!("it is not offered: {}", whole(because)));
    }
    let holder = match lock.holders.as_slice() {
        [] => return said("nobody has it: there is nothing to release"),
        [one] => one,
        several => {
            return said(&format!(
                "{} hold it: `lockkeeper release --dry-run --holder TOKEN` says it for each of them",
                several.len()
            ));
        }
    };
    let SourcesAnswer { sources } = link.read(&link.ask(&["sources"], &[]).await?)?;
    if !sources.iter().any(|source| source.name == lock.source && source.release_enabled) {
        return said("releasing is switched off on this server");
    }
    let SessionAnswer { rights } = link.read(&link.ask(&["session"], &[]).await?)?;
    if !rights.iter().any(|right| right == Right::Release.word()) {
        return said("you may not release: none of your roles grants it");
    }
    let target = PreviewTarget {
        source: lock.source.clone(),
        id: lock.id.clone(),
        generation: lock.generation.clone(),
        holder: Some(holder.token_b64.clone()),
    };
    let request = PreviewRequest { locks: vec![target], action: Action::Release, hold_ms: None, leave_out: false };
    let answer = link.post(&["releases", "preview"], &request, ANSWER_TIMEOUT).await?;
    if answer.status != 200 {
        return said(&whole(&link.problem(&answer)?.detail));
    }
    let preview: PreviewAnswer = link.read(&answer)?;
    Ok(preview.locks.iter().map(|lock| plan::of_lock(lock, Deed::Release, now, screen.look)).collect())
}
