//! `lockkeeper warnings`: what somebody should know, who looks into it, and what nobody is told of.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use lockkeeper_model::words::{duration, shown};
use lockkeeper_model::{
    AcknowledgeRequest, LockWarning, Mute, MuteRequest, Severity, Time, WarningPage, WarningRule, WarningState,
};
use serde::Deserialize;

use super::exit::{Exit, Trouble};
use super::find::{Named, find, place_named};
use super::link::{ANSWER_TIMEOUT, Link, ServerArguments};
use super::screen::{Look, Screen, Tone};
use super::span;
use super::table::{Cell, Column, table};
use super::words::{number_of, whole};

/// Warnings that are asked for: the largest page that the server gives.
const MOST: &str = "1000";

/// How much of an id is printed: enough to tell those of a bad day apart, and the server knows the rest.
const ID_DIGITS: usize = 10;

/// How long the id of a warning is, in hexadecimal digits.
const WHOLE_ID_DIGITS: usize = 32;

/// What to do about warnings.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct WarningsArguments {
    #[command(subcommand)]
    what: Option<What>,

    #[command(flatten)]
    list: ListArguments,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists warnings, the worst first.
    List(ListArguments),
    /// Says that one looks into a warning.
    Ack(AckArguments),
    /// Has nobody told of a lock, or of all locks that match a pattern, for a while.
    Mute(MuteArguments),
    /// Lists what nobody is told of.
    Mutes(MutesArguments),
    /// Has people told again.
    Unmute(UnmuteArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Only these states; without it all but the resolved.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(WarningState::ALL.map(WarningState::word)))]
    state: Vec<String>,

    /// Only of this source.
    #[arg(long)]
    source: Option<String>,

    /// Only of the lock with this id.
    #[arg(long)]
    lock: Option<String>,

    /// Only of this rule.
    #[arg(long, value_parser = PossibleValuesParser::new(WarningRule::ALL.map(WarningRule::word)))]
    rule: Option<String>,

    /// Only of at least this severity.
    #[arg(long, value_parser = PossibleValuesParser::new(Severity::ALL.map(Severity::word)))]
    severity: Option<String>,

    /// Prints the server's answer as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Debug, Args)]
struct AckArguments {
    /// The warning: its id, or the beginning of it.
    id: String,

    /// Something to add, for the others.
    #[arg(long)]
    note: Option<String>,

    /// Prints the server's answer as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Debug, Args)]
struct MuteArguments {
    /// The lock: its id, or the end of its name where no other lock has the same. Or else `--pattern`.
    #[arg(required_unless_present = "pattern", conflicts_with = "pattern")]
    lock: Option<String>,

    /// All locks of `--source` whose ids match this Redis glob; with `*` what is about the source itself as well.
    #[arg(long, value_name = "GLOB", requires = "source")]
    pattern: Option<String>,

    /// The source.
    #[arg(long)]
    source: Option<String>,

    /// Only this rule; without it every rule.
    #[arg(long, value_parser = PossibleValuesParser::new(WarningRule::ALL.map(WarningRule::word)))]
    rule: Option<String>,

    /// For how long, from 1m to 30d.
    #[arg(long = "for", value_name = "SPAN", value_parser = span::parse)]
    span: i64,

    /// Why.
    #[arg(long)]
    reason: String,

    /// Prints the server's answer as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Debug, Args)]
struct MutesArguments {
    /// Prints the server's answer as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Debug, Args)]
struct UnmuteArguments {
    /// The mute: its id, or the beginning of it.
    id: String,

    #[command(flatten)]
    server: ServerArguments,
}

/// `GET /api/v1/mutes`.
#[derive(Debug, Deserialize)]
struct MutesAnswer {
    as_of: Time,
    mutes: Vec<Mute>,
}

impl WarningsArguments {
    /// Which server is asked, and as whom.
    pub(super) fn server(&self) -> &ServerArguments {
        match &self.what {
            None => &self.list.server,
            Some(What::List(given)) => &given.server,
            Some(What::Ack(given)) => &given.server,
            Some(What::Mute(given)) => &given.server,
            Some(What::Mutes(given)) => &given.server,
            Some(What::Unmute(given)) => &given.server,
        }
    }

    pub(super) async fn run(&self, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        match &self.what {
            None => self.list.run(link, screen).await,
            Some(What::List(given)) => given.run(link, screen).await,
            Some(What::Ack(given)) => given.run(link, screen).await,
            Some(What::Mute(given)) => given.run(link, screen).await,
            Some(What::Mutes(given)) => given.run(link, screen).await,
            Some(What::Unmute(given)) => given.run(link, screen).await,
        }
    }
}

impl ListArguments {
    async fn run(&self, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        let states = match self.state.is_empty() {
            true => "open,acknowledged,muted".to_owned(),
            false => self.state.join(","),
        };
        // An empty parameter is an absent one.
        let given = |text: &'_ Option<String>| text.clone().unwrap_or_default();
        let (source, lock, rule, severity) =
            (given(&self.source), given(&self.lock), given(&self.rule), given(&self.severity));
        let query = [
            ("state", states.as_str()),
            ("source", &source),
            ("lock", &lock),
            ("rule", &rule),
            ("severity", &severity),
            ("limit", MOST),
        ];
        let answer = link.ask(&["warnings"], &query).await?;
        let page: WarningPage = link.read(&answer)?;
        if self.json {
            screen.json(&answer.body)?;
        } else {
            screen.say(&listing(&page, screen.look))?;
        }
        Ok(if page.total == 0 { Exit::NotFound } else { Exit::Done })
    }
}

impl AckArguments {
    async fn run(&self, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        let page: WarningPage = link.read(&link.ask(&["warnings"], &[("limit", MOST)]).await?)?;
        let ids = page.warnings.iter().map(|warning| warning.id.as_str());
        // There may be more than one page has; a whole id needs none.
        let id = match is_whole(&self.id) {
            true => self.id.clone(),
            false => begins_with("warning", &self.id, ids)?,
        };
        let body = AcknowledgeRequest { note: self.note.clone() };
        let answer = link.granted(link.post(&["warnings", &id, "acknowledge"], &body, ANSWER_TIMEOUT).await?)?;
        if self.json {
            screen.json(&answer.body)?;
            return Ok(Exit::Done);
        }
        let warning: LockWarning = link.read(&answer)?;
        let by = warning.acknowledged.as_ref().map_or_else(String::new, |noted| format!(" by {}", shown(&noted.by)));
        screen.say(&screen.look.wrapped(&format!("acknowledged{by}: {}", whole(&warning.says)), 2))?;
        Ok(Exit::Done)
    }
}

impl MuteArguments {
    async fn run(&self, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        let (source, lock) = match &self.lock {
            None => (self.source.clone().unwrap_or_default(), None),
            Some(text) => match find(link, text, self.source.as_deref()).await? {
                Named::Held(found) => (found.lock.source, Some(found.lock.id)),
                // Of a lock that is free just now nobody wants to be told tonight, either.
                Named::NotHeld { places, said } => match place_named(text, places) {
                    Some((source, id)) => (source, Some(id)),
                    None => return Err(said),
                },
            },
        };
        let request = MuteRequest {
            source,
            lock,
            pattern: self.pattern.clone(),
            rule: self.rule.as_deref().and_then(WarningRule::of_word),
            for_ms: self.span,
            reason: self.reason.clone(),
        };
        let answer = link.granted(link.post(&["mutes"], &request, ANSWER_TIMEOUT).await?)?;
        if self.json {
            screen.json(&answer.body)?;
            return Ok(Exit::Done);
        }
        let mute: Mute = link.read(&answer)?;
        screen.say(&screen.look.wrapped(&format!("muted until {}: {}", mute.until, about(&mute)), 2))?;
        screen.say(&format!("to be told again: lockkeeper warnings unmute {}\n", short(&mute.id)))?;
        Ok(Exit::Done)
    }
}

impl MutesArguments {
    async fn run(&self, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        let answer = link.ask(&["mutes"], &[]).await?;
        let MutesAnswer { as_of, mutes } = link.read(&answer)?;
        if self.json {
            screen.json(&answer.body)?;
        } else {
            screen.say(&mute_listing(&mutes, as_of, screen.look))?;
        }
        Ok(if mutes.is_empty() { Exit::NotFound } else { Exit::Done })
    }
}

impl UnmuteArguments {
    async fn run(&self, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        let MutesAnswer { mutes, .. } = link.read(&link.ask(&["mutes"], &[]).await?)?;
        let id = begins_with("mute", &self.id, mutes.iter().map(|mute| mute.id.as_str()))?;
        link.granted(link.delete(&["mutes", &id]).await?)?;
        screen.say("people are told again\n")?;
        Ok(Exit::Done)
    }
}

fn is_whole(id: &str) -> bool {
    id.len() == WHOLE_ID_DIGITS && id.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// The only one of these ids that begins like this.
fn begins_with<'a>(what: &str, begin: &str, ids: impl Iterator<Item = &'a str>) -> Result<String, Trouble> {
    // Nothing is the beginning of everything, and names nothing.
    let mut found: Vec<&str> = ids.filter(|id| !begin.is_empty() && id.starts_with(begin)).collect();
    match (found.pop(), found.len()) {
        (Some(id), 0) => Ok(id.to_owned()),
        (None, _) => {
            let text = format!("there is no {what} whose id begins with `{}`", shown(begin));
            Err(Trouble::new(Exit::NotFound, text).hint("`lockkeeper warnings` lists them; `warnings mutes` the mutes"))
        }
        (Some(_), others) => {
            let several = number_of(others as u64 + 1, what, &format!("{what}s"));
            let text = format!("the ids of {several} begin with `{}`", shown(begin));
            Err(Trouble::new(Exit::Usage, text).hint("write more of it"))
        }
    }
}

fn short(id: &str) -> String {
    shown(&id.chars().take(ID_DIGITS).collect::<String>())
}

fn tone(severity: Severity) -> Tone {
    match severity {
        Severity::Info => Tone::Plain,
        Severity::Warning => Tone::Warn,
        Severity::Critical => Tone::Bad,
    }
}

fn listing(page: &WarningPage, look: Look) -> String {
    let mut out = String::new();
    if !page.warnings.is_empty() {
        let column = |title, rank| Column { title, rank };
        let columns = [
            column("ID", 0),
            column("SEVERITY", 0),
            column("STATE", 1),
            column("RULE", 0),
            column("SOURCE", 3),
            column("ABOUT", 0),
            column("FOR", 2),
        ];
        out.push_str(&table(&columns, &page.warnings.iter().map(|one| row(one, page.as_of)).collect::<Vec<_>>(), look));
        for warning in &page.warnings {
            out.push_str(&look.heading(&format!("{} {}", short(&warning.id), shown(&warning.about))));
            out.push_str(&look.facts(&facts(warning)));
        }
        out.push('\n');
    }
    let number = match page.total {
        0 => "no warning".to_owned(),
        total => number_of(total, "warning", "warnings"),
    };
    out.push_str(&format!("{number}, as of {}\n", page.as_of));
    if (page.warnings.len() as u64) < page.total {
        out.push_str(&format!("of which {} are listed\n", page.warnings.len()));
    }
    if page.not_listed > 0 {
        let more = number_of(page.not_listed, "lock", "locks");
        out.push_str(&format!("and {more} more with something to warn of, too many to be told one by one\n"));
    }
    if let Some(because) = &page.not_kept {
        out.push_str(&look.wrapped(&format!("what is noted here does not survive a restart: {}", whole(because)), 2));
    }
    out
}

fn row(warning: &LockWarning, now: Time) -> Vec<Cell> {
    let until = warning.resolved_at.unwrap_or(now);
    let state = match warning.stale {
        true => format!("was {}", warning.state.word()),
        false => warning.state.word().to_owned(),
    };
    vec![
        short(&warning.id).into(),
        (warning.severity.word().to_owned(), tone(warning.severity)).into(),
        state.into(),
        warning.rule.word().to_owned().into(),
        shown(&warning.source).into(),
        shown(&warning.about).into(),
        duration(until.since(warning.since)).into(),
    ]
}

fn facts(warning: &LockWarning) -> Vec<(&'static str, String)> {
    let mut facts = vec![("What", whole(&warning.says)), ("Why", whole(&warning.why)), ("Do", whole(&warning.todo))];
    if let Some(noted) = &warning.acknowledged {
        let note = noted.note.as_deref().map(|note| format!(": {}", whole(note))).unwrap_or_default();
        facts.push(("Looks into it", format!("{}, since {}{note}", shown(&noted.by), noted.at)));
    }
    if let Some(muted) = &warning.muted {
        facts.push(("Muted", format!("until {} by {}: {}", muted.until, shown(&muted.by), whole(&muted.reason))));
    }
    if let (Some(at), Some(how)) = (warning.resolved_at, &warning.resolved) {
        facts.push(("Resolved", format!("{at}: {}", whole(how))));
    }
    if warning.stale {
        let why = "its source cannot be reached, or was not seen whole since: this is the last that is known";
        facts.push(("Old", why.to_owned()));
    }
    facts
}

/// What a mute is about.
fn about(mute: &Mute) -> String {
    let rule = mute.rule.map_or_else(|| "every rule".to_owned(), |rule| rule.word().to_owned());
    let which = match (&mute.lock, &mute.pattern) {
        (Some(lock), _) => shown(lock.as_str()),
        (None, pattern) => shown(pattern.as_deref().unwrap_or_default()),
    };
    format!("{rule} of {which} in {}", shown(&mute.source))
}

fn mute_listing(mutes: &[Mute], now: Time, look: Look) -> String {
    if mutes.is_empty() {
        return format!("nothing is muted, as of {now}\n");
    }
    let column = |title, rank| Column { title, rank };
    let columns = [column("ID", 0), column("ENDS IN", 0), column("WHAT", 0), column("BY", 2), column("REASON", 1)];
    let row = |mute: &Mute| -> Vec<Cell> {
        vec![
            short(&mute.id).into(),
            duration(mute.until.since(now)).into(),
            about(mute).into(),
            shown(&mute.by).into(),
            whole(&mute.reason).into(),
        ]
    };
    let rows: Vec<Vec<Cell>> = mutes.iter().map(row).collect();
    format!("{}\n{}, as of {now}\n", table(&columns, &rows, look), number_of(mutes.len() as u64, "mute", "mutes"))
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{Acknowledgement, LockId};

    use super::*;

    fn warning() -> LockWarning {
        LockWarning {
            id: "00112233445566778899aabbccddeeff".to_owned(),
            rule: WarningRule::NoExpiry,
            severity: Severity::Warning,
            state: WarningState::Acknowledged,
            source: "orders".to_owned(),
            lock: Some(LockId::of_key(b"lock:a")),
            about: "a\x1b".to_owned(),
            since: Time(0),
            opened_at: Time(600_000),
            says: "It has no expiry.".to_owned(),
            why: "Because.".to_owned(),
            todo: "Look.".to_owned(),
            times: 1,
            acknowledged: Some(Acknowledgement { by: "ada".to_owned(), at: Time(0), note: Some("on it".to_owned()) }),
            muted: None,
            resolved_at: None,
            resolved: None,
            stale: true,
        }
    }

    fn page(warnings: Vec<LockWarning>) -> WarningPage {
        WarningPage {
            as_of: Time(660_000),
            total: warnings.len() as u64,
            warnings,
            not_listed: 0,
            rules: Vec::new(),
            not_kept: Some("a demo".to_owned()),
        }
    }

    #[test]
    fn a_warning_says_what_is_so_who_looks_into_it_and_whether_that_is_old() {
        let said = listing(&page(vec![warning()]), Look::PLAIN);
        for part in [
            "ID          SEVERITY  STATE             RULE       SOURCE  ABOUT    FOR\n",
            "0011223344  warning   was acknowledged  no-expiry  orders  a\\u{1b}  11 m 00 s\n",
            "What           It has no expiry.\n",
            "Looks into it  ada, since 1970-01-01T00:00:00.000Z: on it\n",
            "1 warning, as of 1970-01-01T00:11:00.000Z\n",
            "what is noted here does not survive a restart: a demo\n",
        ] {
            assert!(said.contains(part), "{part}\n---\n{said}");
        }
        assert!(listing(&page(Vec::new()), Look::PLAIN).starts_with("no warning, as of "));
    }

    #[test]
    fn the_beginning_of_an_id_is_enough_where_only_one_has_it() {
        let ids = ["abc1", "abd2"];
        assert_eq!(begins_with("mute", "abc", ids.into_iter()).unwrap(), "abc1");
        assert_eq!(begins_with("mute", "ab", ids.into_iter()).unwrap_err().exit(), Exit::Usage);
        assert_eq!(begins_with("mute", "x", ids.into_iter()).unwrap_err().exit(), Exit::NotFound);
        assert_eq!(begins_with("mute", "", ["abc"].into_iter()).unwrap_err().exit(), Exit::NotFound);
        assert!(is_whole("00112233445566778899aabbccddeeff") && !is_whole("0011"));
    }
}
