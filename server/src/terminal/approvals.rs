//! `lockkeeper approvals`: what waits for a second person, and that person's word.

use clap::{Args, Subcommand};
use lockkeeper_model::words::shown;
use lockkeeper_model::{Approval, ApprovalState, Approvals, Decision, DecisionRequest, ShownApproval};

use super::action::Deed;
use super::exit::{Exit, Trouble};
use super::link::{ANSWER_TIMEOUT, Link, ServerArguments};
use super::plan;
use super::screen::{Look, Screen, Tone};

/// What to do about approvals.
#[derive(Debug, Args)]
pub struct ApprovalsArguments {
    #[command(subcommand)]
    what: Option<What>,

    /// Prints the server's answer as JSON.
    #[arg(long, global = true)]
    json: bool,

    #[command(flatten)]
    pub(super) server: ServerArguments,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists those that one asked for or may decide; so does `lockkeeper approvals` alone.
    List,
    /// Says what one of them is about, and what it would do now.
    Show {
        /// The approval, as the list names it.
        id: String,
    },
    /// Approves what another person asked for. They carry it out.
    Approve(Word),
    /// Refuses what another person asked for.
    Deny(Word),
}

#[derive(Debug, Args)]
struct Word {
    /// The approval, as the list names it.
    id: String,
    /// Why, for the audit and for whoever asked.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl ApprovalsArguments {
    pub(super) async fn run(&self, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        match &self.what {
            None | Some(What::List) => self.list(link, screen).await,
            Some(What::Show { id }) => self.show(link, id, screen).await,
            Some(What::Approve(word)) => self.decide(link, word, Decision::Approve, screen).await,
            Some(What::Deny(word)) => self.decide(link, word, Decision::Deny, screen).await,
        }
    }

    async fn list(&self, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        let answer = link.ask(&["approvals"], &[]).await?;
        let Approvals { approvals } = link.read(&answer)?;
        match (self.json, approvals.is_empty()) {
            (true, _) => screen.json(&answer.body)?,
            (false, true) => screen.say("Nothing waits for a second person.\n")?,
            (false, false) => {
                let look = screen.look;
                screen.say(&approvals.iter().map(|approval| said(approval, look)).collect::<String>())?;
            }
        }
        Ok(if approvals.is_empty() { Exit::NotFound } else { Exit::Done })
    }

    async fn show(&self, link: &Link, id: &str, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        let answer = link.ask(&["approvals", id], &[]).await?;
        if self.json {
            screen.json(&answer.body)?;
            return Ok(Exit::Done);
        }
        let shown: ShownApproval = link.read(&answer)?;
        let now = link.coverage().await?.as_of;
        let look = screen.look;
        let deed = Deed::of(shown.approval.action);
        let mut out = said(&shown.approval, look);
        for lock in &shown.locks {
            out.push_str(&look.heading(&deed.question(lock)));
            out.push_str(&plan::of_lock(lock, deed, now, look));
        }
        if !shown.is_unchanged {
            let text = "It is not as it was when it was asked for: what changed would be refused.";
            out.push_str(&(look.paint(text, Tone::Bad) + "\n"));
        }
        screen.say(&out)?;
        Ok(Exit::Done)
    }

    async fn decide(
        &self,
        link: &Link,
        word: &Word,
        decision: Decision,
        screen: &mut Screen<'_>,
    ) -> Result<Exit, Trouble> {
        let request = DecisionRequest { decision, reason: word.reason.clone() };
        let answer = link.post(&["approvals", &word.id], &request, ANSWER_TIMEOUT).await?;
        let answer = link.granted(answer)?;
        if self.json {
            screen.json(&answer.body)?;
        } else {
            let approval: Approval = link.read(&answer)?;
            screen.say(&said(&approval, screen.look))?;
        }
        Ok(Exit::Done)
    }
}

/// One approval: what, by whom, why, and how far it is.
pub(super) fn said(approval: &Approval, look: Look) -> String {
    let (state, tone) = match approval.state {
        ApprovalState::Unasked => ("over", Tone::Dim),
        ApprovalState::Pending if approval.may_decide => ("waits for your word", Tone::Warn),
        ApprovalState::Pending => ("waits for another person", Tone::Warn),
        ApprovalState::Approved => ("approved: whoever asked may carry it out, once", Tone::Good),
        ApprovalState::Denied => ("refused", Tone::Bad),
    };
    let locks = approval.locks.iter().map(|lock| format!("{}/{}", shown(&lock.source), shown(lock.id.as_str())));
    let mut facts = vec![
        ("What", format!("{} {}", approval.action.word().replace('_', " "), locks.collect::<Vec<_>>().join(", "))),
        ("Asked by", format!("{} at {}: {}", shown(&approval.asker.name), approval.asked_at, shown(&approval.reason))),
    ];
    if let Some(decided_by) = &approval.decided_by {
        let because = shown(approval.decided_because.as_deref().unwrap_or_default());
        facts.push(("Decided by", format!("{}: {because}", shown(&decided_by.name))));
    }
    facts.push(("Ends at", approval.expires_at.to_string()));
    let title = look.paint(&format!("{}: {state}", shown(&approval.id)), tone);
    format!("{title}\n{}", look.facts(&facts))
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{Action, Actor, ApprovalLock, LockId, Time};

    use super::*;

    #[test]
    fn an_approval_says_what_who_and_why_harmlessly() {
        let actor = |name: &str| Actor { name: name.to_owned(), via: "password".to_owned(), address: None };
        let approval = Approval {
            id: "a1".to_owned(),
            state: ApprovalState::Pending,
            asker: actor("ada\u{1b}"),
            action: Action::ReleaseAndHold,
            reason: "worker 7 crashed".to_owned(),
            asked_at: Time(0),
            expires_at: Time(60_000),
            decided_by: None,
            decided_because: None,
            decided_at: None,
            may_decide: true,
            locks: vec![ApprovalLock {
                source: "orders".to_owned(),
                id: LockId::of_key(b"lock:a"),
                generation: "g1".to_owned(),
            }],
        };
        assert_eq!(
            said(&approval, Look::PLAIN),
            "a1: waits for your word\n  What      release and hold orders/lock:a\n  Asked by  ada\\u{1b} at \
             1970-01-01T00:00:00.000Z: worker 7 crashed\n  Ends at   1970-01-01T00:01:00.000Z\n"
        );
        let decided = Approval {
            state: ApprovalState::Denied,
            decided_by: Some(actor("bob")),
            decided_because: Some("it is alive".to_owned()),
            ..approval
        };
        assert!(said(&decided, Look::PLAIN).contains("a1: refused\n"));
        assert!(said(&decided, Look::PLAIN).contains("  Decided by  bob: it is alive\n"));
    }
}
