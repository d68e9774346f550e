//! `lockkeeper release`: says what would happen, has it confirmed, and then what became of it. Whatever else can be done with
//! a lock goes the same way.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use clap::Args;
use lockkeeper_model::words::shown;
use lockkeeper_model::{
    Approval, ApprovalRequest, ApprovalState, Holder, Lock, LockId, Outcome, PreviewAnswer, PreviewRequest,
    PreviewTarget, Problem, ReleaseAnswer, ReleaseRequest, Time,
};

use super::action::{Deed, hold_ms};
use super::approvals;
use super::exit::{Exit, Trouble};
use super::find::{Found, Named, find};
use super::link::{ANSWER_TIMEOUT, Answer, Link, NoAnswer, ServerArguments};
use super::plan;
use super::screen::{Look, Screen, Tone, aside};
use super::words::{self, whole};

/// The longest line that is read from a person: the server takes reasons of 500 characters.
const MAX_LINE_BYTES: u64 = 4 * 1024;

/// The shortest beginning of a token that says whose it is: fewer characters are a slip of the hand.
const MIN_TOKEN_CHARS: usize = 4;

/// Which locks to release, and how that is confirmed.
#[derive(Debug, Args)]
pub struct ReleaseArguments {
    /// The locks: an id, `source/id`, or the end of a name where no other lock has the same.
    #[arg(required = true, value_name = "LOCK")]
    locks: Vec<String>,

    /// What to do with them.
    #[arg(long, value_enum, default_value_t)]
    action: Deed,

    /// How long to keep others out: `90s`, `5m` or `1h`, an hour at most; without it five minutes.
    #[arg(long = "for", value_name = "DURATION", value_parser = hold_ms)]
    hold_ms: Option<i64>,

    /// Whose hold is to end, where several hold one lock: the token, or its beginning.
    #[arg(long, value_name = "TOKEN")]
    holder: Option<String>,

    /// Releases only what has this generation, as `lockkeeper locks --json` shows it: the hold that a script looked at
    /// before, and no later one.
    #[arg(long, value_name = "GENERATION")]
    generation: Option<String>,

    /// The text that the preview asks for. On a terminal it is asked for; elsewhere it has to be given.
    #[arg(long, value_name = "TEXT")]
    confirm: Option<String>,

    /// Why, for the audit. On a terminal it is asked for; elsewhere it has to be given.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// Says what would happen and does nothing.
    #[arg(long, conflicts_with_all = ["ask", "break_glass"])]
    dry_run: bool,

    /// Asks another person to approve it, and does nothing else. Needs a sign-in: see `--user`.
    #[arg(long, conflicts_with = "break_glass")]
    ask: bool,

    /// Goes without the approval that is needed. Needs a sign-in, and everybody who sees the locks is told.
    #[arg(long)]
    break_glass: bool,

    /// One after the other, and none any more after the first that is not released.
    #[arg(long)]
    stop_at_first_failure: bool,

    /// Prints the server's answer as JSON, and what it says before to standard error.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    pub(super) server: ServerArguments,
}

impl ReleaseArguments {
    pub(super) async fn run(&self, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        let is_attended = !self.json && io::stdin().is_terminal() && io::stdout().is_terminal();
        self.check(is_attended)?;
        let mut targets = Vec::with_capacity(self.locks.len());
        let mut now = Time(0);
        for text in &self.locks {
            let (target, seen_at) = self.meant(link, text).await?;
            targets.push(target);
            now = now.max(seen_at);
        }
        let request =
            PreviewRequest { locks: targets, action: self.action.action(), hold_ms: self.hold_ms, leave_out: false };
        let answer = link.post(&["releases", "preview"], &request, ANSWER_TIMEOUT).await?;
        let answer = link.granted(answer)?;
        let preview: PreviewAnswer = link.read(&answer)?;
        self.say_plan(&preview, now, screen).map_err(|trouble| self.unread(trouble))?;
        if self.dry_run {
            return self.leave_it(&answer, &preview, screen);
        }
        if self.ask {
            return self.ask_another(link, preview.ticket, screen).await;
        }

        if preview.dry_run_required {
            // The server wants to be asked once more before it frees several; a person reads what it says.
            let request = ReleaseRequest { ticket: preview.ticket.clone(), dry_run: true, ..ReleaseRequest::default() };
            let (_, results) = execute(link, &request).await?;
            self.say_results(&results, screen).map_err(|trouble| self.unread(trouble))?;
        }
        let confirm = match &self.confirm {
            Some(confirm) => confirm.clone(),
            None => asked(&format!("Type `{}` to confirm: ", shown(&preview.confirm)))?,
        };
        let reason = match &self.reason {
            Some(reason) => reason.clone(),
            None => asked("Why (for the audit): ")?,
        };
        let request = ReleaseRequest {
            ticket: preview.ticket,
            confirm,
            reason,
            dry_run: false,
            stop_at_first_failure: self.stop_at_first_failure,
            break_glass: self.break_glass,
        };
        let (answer, results) = execute(link, &request).await?;
        let outcomes: Vec<Outcome> = results.results.iter().map(|result| result.outcome).collect();
        let way_back = plan::way_back(&preview.locks, &results.results);
        // It has happened, whether or not anybody reads what.
        let _ = match self.json {
            true => screen.json(&answer.body),
            false => {
                let look = screen.look;
                screen.say(&results.results.iter().map(|result| plan::became(result, look)).collect::<String>())
            }
        };
        if !way_back.is_empty() {
            aside(&way_back);
        }
        Ok(plan::exit(&outcomes))
    }

    /// What can be said before anybody is asked.
    fn check(&self, is_attended: bool) -> Result<(), Trouble> {
        if self.locks.len() > 1 && (self.holder.is_some() || self.generation.is_some()) {
            let text = "`--holder` and `--generation` are about one lock, and several are named";
            return Err(Trouble::new(Exit::Usage, text).hint("release them one by one"));
        }
        if self.hold_ms.is_some() && !self.action.action().holds() {
            let text = "`--for` is about keeping others out, which this action does not";
            return Err(Trouble::new(Exit::Usage, text).hint("`--action hold` or `--action extend`"));
        }
        if self.ask && !is_attended && self.reason.is_none() {
            return Err(Trouble::new(Exit::Usage, "nobody can be asked here: `--reason` is needed"));
        }
        if !self.dry_run && !self.ask && !is_attended && (self.confirm.is_none() || self.reason.is_none()) {
            let text = "nobody can be asked here: `--confirm` and `--reason` are both needed";
            return Err(
                Trouble::new(Exit::Usage, text).hint("`--dry-run` says what would happen, and which text confirms it")
            );
        }
        Ok(())
    }

    /// What is meant by a text, and when that was seen. A lock that is to be put back is held by nobody.
    async fn meant(&self, link: &Link, text: &str) -> Result<(PreviewTarget, Time), Trouble> {
        let found = match find(link, text, None).await? {
            Named::Held(found) => *found,
            Named::NotHeld { said, .. } if self.action != Deed::PutBack => return Err(said),
            Named::NotHeld { places, .. } => {
                let is_whole = |(source, id): &(String, LockId)| format!("{source}/{}", id.as_str()) == text;
                let Some((source, id)) = places.into_iter().find(is_whole) else {
                    let text = format!("nobody has `{}`, so its end names no lock", shown(text));
                    return Err(Trouble::new(Exit::Usage, text).hint("give the lock whole, as `source/id`"));
                };
                return Ok((self.former(source, id)?, Time(0)));
            }
        };
        let Found { lock, by_its_end, coverage, now, .. } = found;
        if by_its_end && !coverage.complete {
            return Err(not_certain(text, &lock));
        }
        self.action.check(&lock)?;
        Ok((self.target(&lock)?, now))
    }

    /// The hold that is to be given back: the one that the release named, which ended with it.
    fn former(&self, source: String, id: LockId) -> Result<PreviewTarget, Trouble> {
        let Some(generation) = self.generation.clone() else {
            let text = "`--generation` is needed: it says which hold is to be given back";
            return Err(Trouble::new(Exit::Usage, text).hint("a release says it, and so does the audit"));
        };
        Ok(PreviewTarget { source, id, generation, holder: None })
    }

    /// The hold that is meant, or the waiter, bound to what was seen of it.
    fn target(&self, lock: &Lock) -> Result<PreviewTarget, Trouble> {
        if self.action == Deed::PutBack {
            return self.former(lock.source.clone(), lock.id.clone());
        }
        if self.action == Deed::Evict {
            return self.head(lock);
        }
        let holder = chosen(lock, self.holder.as_deref())?;
        Ok(PreviewTarget {
            source: lock.source.clone(),
            id: lock.id.clone(),
            generation: self.generation.clone().unwrap_or_else(|| holder.generation.clone()),
            holder: Some(holder.token_b64.clone()),
        })
    }

    /// The waiter at the head of the queue of a lock that nobody holds, as far as the server knows it.
    fn head(&self, lock: &Lock) -> Result<PreviewTarget, Trouble> {
        let name = format!("{}/{}", shown(&lock.source), shown(lock.id.as_str()));
        if let Some(holder) = lock.holders.first() {
            let text = format!("`{name}` is held by {}: nobody is taken out of its queue", words::holder(holder));
            return Err(Trouble::new(Exit::NothingReleased, text));
        }
        let head = lock.waiters.list.first().filter(|_| lock.waiters.ordered).and_then(|head| head.token_b64.clone());
        let Some(holder) = head.or_else(|| self.holder.clone()) else {
            return Err(Trouble::new(Exit::NothingReleased, format!("`{name}` has no queue that is known")));
        };
        let generation = self.generation.clone().unwrap_or_else(|| lock.generation.clone());
        Ok(PreviewTarget { source: lock.source.clone(), id: lock.id.clone(), generation, holder: Some(holder) })
    }

    /// Asks another person, who sees it in their dashboard and by `lockkeeper approvals`.
    async fn ask_another(&self, link: &Link, ticket: String, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        let reason = match &self.reason {
            Some(reason) => reason.clone(),
            None => asked("Why (for whoever is to approve, and for the audit): ")?,
        };
        let answer = link.post(&["approvals"], &ApprovalRequest { ticket, reason }, ANSWER_TIMEOUT).await?;
        let answer = link.granted(answer)?;
        if self.json {
            screen.json(&answer.body)?;
        } else {
            let approval: Approval = link.read(&answer)?;
            screen.say(&approvals::said(&approval, screen.look))?;
        }
        Ok(Exit::Done)
    }

    /// What would happen, where a person sees it.
    fn say_plan(&self, preview: &PreviewAnswer, now: Time, screen: &mut Screen<'_>) -> Result<(), Trouble> {
        let look = if self.json { Look::PLAIN } else { screen.look };
        let mut said = String::new();
        for lock in &preview.locks {
            let title = self.action.question(lock);
            said.push_str(&look.paint(look.wrapped(&title, 2).trim_end(), Tone::Strong));
            said.push('\n');
            said.push_str(&plan::of_lock(lock, self.action, now, look));
        }
        if let Some(pattern) = &preview.reason_pattern {
            said.push_str(&look.wrapped(&format!("The reason has to contain `{}`.", shown(pattern)), 2));
        }
        if preview.approval.as_ref().is_some_and(|need| need.required && need.state != ApprovalState::Approved) {
            let hint = "Another person has to approve this first: `--ask` asks for that, `--break-glass` goes without.";
            said.push_str(&look.wrapped(hint, 2));
        }
        self.tell(&said, screen)
    }

    fn say_results(&self, results: &ReleaseAnswer, screen: &mut Screen<'_>) -> Result<(), Trouble> {
        let look = if self.json { Look::PLAIN } else { screen.look };
        self.tell(&results.results.iter().map(|result| plan::became(result, look)).collect::<String>(), screen)
    }

    /// What a person reads before the answer.
    fn tell(&self, said: &str, screen: &mut Screen<'_>) -> Result<(), Trouble> {
        if self.json {
            aside(said.trim_end());
        } else {
            screen.say(said)?;
        }
        Ok(())
    }

    /// Whoever reads from a pipe and stops has read enough, but what was to be done is not done by that.
    fn unread(&self, trouble: Trouble) -> Trouble {
        match trouble {
            Trouble::Output(error) if !self.dry_run => Trouble::new(
                Exit::CouldNot,
                format!("nothing was done, because what would happen was not read: {error}"),
            ),
            other => other,
        }
    }

    fn leave_it(&self, answer: &Answer, preview: &PreviewAnswer, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        if self.json {
            screen.json(&answer.body)?;
        } else {
            let confirm = shown(&preview.confirm);
            screen.say(&format!("Nothing was done. The text that confirms it is `{confirm}`.\n"))?;
        }
        Ok(Exit::Done)
    }
}

/// The holder that is meant.
fn chosen<'a>(lock: &'a Lock, wanted: Option<&str>) -> Result<&'a Holder, Trouble> {
    let name = format!("{}/{}", shown(&lock.source), shown(lock.id.as_str()));
    let list = || -> String {
        lock.holders.iter().map(|holder| format!("\n  {}", whole(token(holder)))).take(MOST_LISTED).collect()
    };
    match (lock.holders.as_slice(), wanted) {
        ([], _) => Err(Trouble::new(Exit::NotFound, format!("nobody has `{name}`: there is nothing to release"))),
        ([one], None) => Ok(one),
        (several, None) => {
            let text = format!("{} hold `{name}`:{}", several.len(), list());
            Err(Trouble::new(Exit::Usage, text).hint("say whose hold is to end by `--holder`"))
        }
        (some, Some(wanted)) => {
            let is_exact = |holder: &&Holder| token(holder) == wanted || holder.token_b64 == wanted;
            if let Some(exact) = some.iter().find(is_exact) {
                return Ok(exact);
            }
            let is_long = wanted.chars().count() >= MIN_TOKEN_CHARS;
            let fits: Vec<&Holder> =
                some.iter().filter(|holder| is_long && token(holder).starts_with(wanted)).collect();
            match fits.as_slice() {
                [one] => Ok(one),
                [] => {
                    let text = format!("`{}` does not hold `{name}`; its holders now are:{}", shown(wanted), list());
                    Err(Trouble::new(Exit::NothingReleased, text).hint("nothing was done"))
                }
                _ => {
                    let text = format!("`{}` fits several holders of `{name}`:{}", shown(wanted), list());
                    Err(Trouble::new(Exit::Usage, text).hint("give more of the token"))
                }
            }
        }
    }
}

/// Holders that are listed to choose from.
const MOST_LISTED: usize = 50;

fn token(holder: &Holder) -> &str {
    holder.token.as_deref().unwrap_or(&holder.token_b64)
}

fn not_certain(text: &str, lock: &Lock) -> Trouble {
    let id = format!("{}/{}", shown(&lock.source), shown(lock.id.as_str()));
    let text = format!("`{}` is the end of `{id}`, and maybe of others: not every source was seen whole", shown(text));
    Trouble::new(Exit::Usage, text).hint("give the lock whole, as `source/id`")
}

/// Has it done, and says what is known of that.
async fn execute(link: &Link, request: &ReleaseRequest) -> Result<(Answer, ReleaseAnswer), Trouble> {
    let answer = match link.post(&["releases"], request, ANSWER_TIMEOUT).await {
        Ok(answer) => answer,
        Err(NoAnswer::NotSent(trouble)) => return Err(trouble),
        Err(NoAnswer::Lost(trouble)) => return Err(in_doubt(&trouble.to_string())),
    };
    if let Ok(results) = link.read::<ReleaseAnswer>(&answer) {
        return Ok((answer, results));
    }
    match link.problem(&answer) {
        Ok(problem) if is_certain(&problem) => Err(Trouble::of_problem(&problem)),
        Ok(problem) => Err(in_doubt(&whole(&problem.detail))),
        Err(trouble) => Err(in_doubt(&trouble.to_string())),
    }
}

/// Whether a problem says that nothing was tried: the server turned the request away, or had no room for it. Anything else
/// from behind may have come after the attempt.
fn is_certain(problem: &Problem) -> bool {
    let turned_away = ["/problems/busy", "/problems/full", "/problems/source-down"];
    problem.status < 500 || turned_away.contains(&problem.kind.as_str())
}

fn in_doubt(because: &str) -> Trouble {
    let because = because.trim_start_matches("lockkeeper: ");
    Trouble::new(Exit::InDoubt, format!("whether it was released is not known: {because}"))
        .hint("`lockkeeper why` shows who has it now, and `lockkeeper audit list` what was tried")
}

/// A line that a person types.
fn asked(question: &str) -> Result<String, Trouble> {
    let mut stderr = io::stderr();
    stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush())?;
    let mut line = String::new();
    let read = io::stdin().lock().take(MAX_LINE_BYTES).read_line(&mut line);
    match read {
        Ok(0) | Err(_) => Err(Trouble::new(Exit::Unconfirmed, "nothing was typed, and nothing was done")),
        Ok(_) => Ok(line.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{Identity, Mode, Waiter};

    use super::super::fixtures::lock;
    use super::*;
    use crate::terminal::IdentityArguments;

    fn arguments(locks: &[&str]) -> ReleaseArguments {
        let identity = IdentityArguments { token_file: None, user: None, password_file: None, ca: None };
        ReleaseArguments {
            locks: locks.iter().map(|&lock| lock.to_owned()).collect(),
            action: Deed::Release,
            hold_ms: None,
            holder: None,
            generation: None,
            confirm: None,
            reason: None,
            dry_run: false,
            ask: false,
            break_glass: false,
            stop_at_first_failure: false,
            json: false,
            server: ServerArguments { server: String::new(), identity },
        }
    }

    #[test]
    fn where_nobody_can_be_asked_both_texts_are_needed() {
        let one = arguments(&["a"]);
        assert!(one.check(true).is_ok());
        assert_eq!(one.check(false).unwrap_err().exit(), Exit::Usage);
        let half = ReleaseArguments { confirm: Some("a".to_owned()), ..arguments(&["a"]) };
        assert_eq!(half.check(false).unwrap_err().exit(), Exit::Usage);
        let both = ReleaseArguments { reason: Some("b".to_owned()), ..half };
        assert!(both.check(false).is_ok());
        assert!(ReleaseArguments { dry_run: true, ..arguments(&["a"]) }.check(false).is_ok());
    }

    #[test]
    fn a_time_is_for_what_keeps_others_out_and_asking_takes_a_reason_alone() {
        let timed = |action| ReleaseArguments { action, hold_ms: Some(60_000), ..arguments(&["a"]) };
        assert_eq!(timed(Deed::Release).check(true).unwrap_err().exit(), Exit::Usage);
        assert!(timed(Deed::Hold).check(true).is_ok() && timed(Deed::Extend).check(true).is_ok());
        let asking = ReleaseArguments { ask: true, ..arguments(&["a"]) };
        assert_eq!(asking.check(false).unwrap_err().exit(), Exit::Usage);
        assert!(ReleaseArguments { reason: Some("b".to_owned()), ..asking }.check(false).is_ok());
    }

    #[test]
    fn what_is_given_back_is_named_by_the_release() {
        let back = ReleaseArguments { action: Deed::PutBack, ..arguments(&["a"]) };
        assert_eq!(back.target(&lock()).unwrap_err().exit(), Exit::Usage);
        let named = ReleaseArguments { generation: Some("h1".to_owned()), ..back };
        let target = named.target(&lock()).unwrap();
        assert_eq!((target.generation.as_str(), target.holder), ("h1", None));
    }

    #[test]
    fn the_head_of_a_queue_is_taken_out_where_nobody_holds_the_lock() {
        let evicting = ReleaseArguments { action: Deed::Evict, ..arguments(&["a"]) };
        assert_eq!(evicting.target(&lock()).unwrap_err().exit(), Exit::NothingReleased);
        let mut free = lock();
        free.holders.clear();
        free.waiters.ordered = true;
        assert_eq!(evicting.target(&free).unwrap_err().exit(), Exit::NothingReleased, "nobody is in it");
        free.waiters.list = ["MQ==", "Mg=="].map(waiter).into();
        let target = evicting.target(&free).unwrap();
        assert_eq!((target.holder.as_deref(), target.generation), (Some("MQ=="), free.generation));
    }

    fn waiter(token_b64: &str) -> Waiter {
        Waiter {
            token: None,
            token_b64: Some(token_b64.to_owned()),
            identity: Identity::default(),
            expires_at: None,
            abandoned: None,
            reported: None,
        }
    }

    #[test]
    fn a_generation_or_a_holder_is_of_one_lock() {
        let several = ReleaseArguments { generation: Some("g".to_owned()), ..arguments(&["a", "b"]) };
        assert_eq!(several.check(true).unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn a_release_is_bound_to_the_hold_that_was_seen() {
        let target = arguments(&["a"]).target(&lock()).unwrap();
        assert_eq!((target.generation.as_str(), target.holder.as_deref()), ("h1", Some("MGY4ZQ==")));
        let earlier = ReleaseArguments { generation: Some("h0".to_owned()), ..arguments(&["a"]) };
        assert_eq!(earlier.target(&lock()).unwrap().generation, "h0");
    }

    #[test]
    fn a_plan_that_nobody_reads_is_not_carried_out_and_not_said_to_be() {
        let broken = || Trouble::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(arguments(&["a"]).unread(broken()).exit(), Exit::CouldNot);
        let dry = ReleaseArguments { dry_run: true, ..arguments(&["a"]) };
        assert_eq!(dry.unread(broken()).exit(), Exit::Done);
    }

    #[test]
    fn of_several_holders_the_one_that_is_meant_is_named() {
        let mut readers = lock();
        readers.mode = Mode::Shared;
        let mut second = readers.holders[0].clone();
        (second.token, second.token_b64) = (None, "/wA=".to_owned());
        readers.holders.push(second);
        let refused = chosen(&readers, None).unwrap_err();
        assert_eq!(refused.exit(), Exit::Usage);
        assert!(refused.to_string().contains("\n  0f8e41d2a2c911ef8b0a0242ac120003\n  /wA=\nhint: "), "{refused}");
        assert_eq!(chosen(&readers, Some("0f8e41")).unwrap().token_b64, "MGY4ZQ==");
        assert_eq!(chosen(&readers, Some("/wA=")).unwrap().token_b64, "/wA=");
        assert_eq!(chosen(&readers, Some("0f8")).unwrap_err().exit(), Exit::NothingReleased);
        assert_eq!(chosen(&readers, Some("someone else")).unwrap_err().exit(), Exit::NothingReleased);
        readers.holders[1] = readers.holders[0].clone();
        readers.holders[1].token_b64 = "b".to_owned();
        assert_eq!(chosen(&readers, Some("0f8e41")).unwrap_err().exit(), Exit::Usage);
        readers.holders.clear();
        assert_eq!(chosen(&readers, None).unwrap_err().exit(), Exit::NotFound);
    }

    #[test]
    fn what_came_after_an_attempt_leaves_it_in_doubt() {
        let problem = |kind: &str, status| Problem {
            kind: format!("/problems/{kind}"),
            title: String::new(),
            status,
            detail: "d".to_owned(),
            hint: None,
        };
        for (kind, status, certain) in [
            ("unconfirmed", 422, true),
            ("ticket-used", 410, true),
            ("busy", 503, true),
            ("closing", 503, false),
            ("slow", 504, false),
            ("internal", 500, false),
        ] {
            assert_eq!(is_certain(&problem(kind, status)), certain, "{kind}");
        }
        assert_eq!(in_doubt("lockkeeper: lost").exit(), Exit::InDoubt);
    }
}
