//! `lockkeeper audit`: reads the file or the tables, beside running servers or without one; or asks a server.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use lockkeeper_model::{AuditEntry, Time, words};

use super::{AuditError, Filter, Format, Part, Store, Verdict, verify};
use crate::config::default_data_dir;
use crate::recorder::db::Target;
use crate::terminal::{AskedServer, Exit, export_audit, list_audit};

/// The file cannot be read.
const EXIT_UNREADABLE: u8 = 1;

/// The file was changed.
const EXIT_CHANGED: u8 = 3;

/// Entries that an export takes at once.
const BATCH: usize = 500;

/// Entries that are listed unless told otherwise: a screen or two.
const DEFAULT_LISTED: u64 = 50;

/// Interrupted attempts that are counted; beyond, it is said that there are more.
const MAX_OPEN: usize = 1_000;

/// What to do with the audit.
#[derive(Debug, Args)]
pub struct AuditArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Prints entries, newest first.
    #[command(after_help = Exit::help())]
    List {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        filter: FilterArguments,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = DEFAULT_LISTED)]
        limit: u64,
        #[command(flatten)]
        server: AskedServer,
    },
    /// Checks that nothing was changed, removed, inserted or moved. Returns 0 if so, 3 if not, and 1 if the file cannot be read.
    ///
    /// Entries that were cut off at the end cannot be noticed from the file alone, and neither can a file that was written
    /// anew as a whole: note the hash of the head somewhere else from time to time, and give it to `--head`.
    Verify {
        #[command(flatten)]
        place: Place,
        /// A hash that was noted earlier: one of the entries must have it.
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
    /// Writes entries to standard output, oldest first.
    #[command(after_help = Exit::help())]
    Export {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        filter: FilterArguments,
        /// In which form.
        #[arg(long, value_enum, value_name = "FORMAT", default_value = "jsonl")]
        format: Format,
        #[command(flatten)]
        server: AskedServer,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// Where the server keeps its data [default: as `lockkeeper serve` has it].
    #[arg(long, value_name = "DIR", env = "LOCKKEEPER_DATA_DIR")]
    data_dir: Option<PathBuf>,

    /// The PostgreSQL in which servers keep their audit, `postgres://…` as `lockkeeper serve` has it, instead of a folder.
    #[arg(long, value_name = "URL", env = "LOCKKEEPER_STORE", hide_env_values = true)]
    store: Option<String>,
}

#[derive(Debug, Args)]
struct FilterArguments {
    /// Only about this source.
    #[arg(long)]
    source: Option<String>,
    /// Only about the lock with this id.
    #[arg(long)]
    lock: Option<String>,
    /// Only by this person.
    #[arg(long)]
    actor: Option<String>,
    /// Only with this outcome, `released` or `mistyped` for example.
    #[arg(long)]
    outcome: Option<String>,
    /// Not from before this moment, `2026-01-01T02:40:00Z` for example.
    #[arg(long, value_name = "TIME")]
    since: Option<Time>,
    /// From before this moment.
    #[arg(long, value_name = "TIME")]
    until: Option<Time>,
}

impl From<FilterArguments> for Filter {
    fn from(given: FilterArguments) -> Filter {
        let FilterArguments { source, lock, actor, outcome, since, until } = given;
        Filter { source, lock, actor, outcome, since, until, reach: None }
    }
}

impl FilterArguments {
    /// The same as the parameters of a question to a server.
    fn query(&self) -> Vec<(&'static str, String)> {
        let moment = |time: Option<Time>| time.map(|time| time.to_string());
        [
            ("source", self.source.clone()),
            ("lock", self.lock.clone()),
            ("actor", self.actor.clone()),
            ("outcome", self.outcome.clone()),
            ("since", moment(self.since)),
            ("until", moment(self.until)),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
        .collect()
    }
}

/// Why it did not get to its end.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Audit(#[from] AuditError),
    #[error("could not write the answer: {0}")]
    Io(#[from] io::Error),
}

impl AuditArguments {
    /// Does it.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match &self.what {
            What::List { filter, limit, server, .. } if server.is_asked() => {
                return list_audit(server, &filter.query(), *limit);
            }
            What::Export { filter, format, server, .. } if server.is_asked() => {
                return export_audit(server, &filter.query(), *format);
            }
            What::List { .. } | What::Export { .. } | What::Verify { .. } => {}
        }
        let mut out = BufWriter::new(io::stdout().lock());
        let done = self.answer(&mut out).and_then(|code| {
            out.flush()?;
            Ok(code)
        });
        match done {
            Ok(code) => code,
            // Whoever reads has read enough.
            Err(Trouble::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(trouble) => {
                eprintln!("lockkeeper: {trouble}");
                ExitCode::from(EXIT_UNREADABLE)
            }
        }
    }

    fn answer(self, out: &mut impl Write) -> Result<ExitCode, Trouble> {
        match self.what {
            What::List { place, filter, limit, .. } => list(&place.store()?, &filter.into(), limit, out)?,
            What::Export { place, filter, format, .. } => export(&place.store()?, &filter.into(), format, out)?,
            What::Verify { place, head } => {
                let head = head.map(|head| head.trim().to_ascii_lowercase());
                let store = place.store()?;
                let verdict = verify(&store, head.as_deref())?;
                report(&verdict, head.is_some(), &store, out)?;
                if !verdict.is_intact() {
                    return Ok(ExitCode::from(EXIT_CHANGED));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Place {
    fn store(&self) -> Result<Store, AuditError> {
        if let Some(url) = self.store.as_deref().filter(|url| !url.trim().is_empty()) {
            let target = Target::parse(url).map_err(|because| AuditError(format!("`--store` {because}")))?;
            return Store::read_shared(&target);
        }
        let dir =
            self.data_dir.clone().or_else(default_data_dir).ok_or_else(|| {
                AuditError("there is no folder for data: give `--data-dir`, or set `HOME`".to_owned())
            })?;
        Store::read(Path::new(&dir))
    }
}

fn list(store: &Store, filter: &Filter, limit: u64, out: &mut impl Write) -> Result<(), Trouble> {
    let (mut left, mut before) = (limit, None);
    while left > 0 {
        let batch = usize::try_from(left).unwrap_or(BATCH).min(BATCH);
        let found = store.entries(filter, Part::Before(before), batch)?;
        for entry in &found.entries {
            writeln!(out, "{}", line(entry))?;
        }
        before = found.more_after;
        left = if before.is_some() { left.saturating_sub(found.entries.len() as u64) } else { 0 };
    }
    Ok(())
}

/// One entry for the eye. What strangers chose is made safe to look at.
pub(crate) fn line(entry: &AuditEntry) -> String {
    let shown = |text: &Option<String>| text.as_deref().map(words::shown).unwrap_or_default();
    let mut line = format!("{:>6}  {}  {:<10}", entry.seq, entry.at, entry.kind.word());
    if let Some(attempt) = entry.attempt {
        line.push_str(&format!("  of {attempt}"));
    }
    line.push_str(&format!("  {}", words::shown(&entry.actor.name)));
    line.push_str(&match &entry.actor.address {
        Some(address) => format!(" ({}, {})", words::shown(&entry.actor.via), words::shown(address)),
        None => format!(" ({})", words::shown(&entry.actor.via)),
    });
    if entry.lock.is_some() {
        line.push_str(&format!("  {} `{}`", shown(&entry.action), shown(&entry.lock)));
        line.push_str(&format!(" of `{}`", shown(&entry.source)));
    }
    if let Some(word) = entry.outcome.as_ref().or(entry.seen.as_ref()) {
        line.push_str(&format!("  {}", words::shown(word)));
    }
    line.push_str(&format!("  {}", words::shown(&entry.detail)));
    if entry.reason.is_some() {
        line.push_str(&format!("  reason: {}", shown(&entry.reason)));
    }
    line
}

fn export(store: &Store, filter: &Filter, format: Format, out: &mut impl Write) -> Result<(), Trouble> {
    out.write_all(format.header().as_bytes())?;
    // What comes after the beginning is for the next export.
    let (mut after, upto) = (0, store.chain()?.length);
    loop {
        let found = store.entries(filter, Part::Between(after, upto), BATCH)?;
        for entry in &found.entries {
            out.write_all(format.line(entry).as_bytes())?;
        }
        match found.more_after {
            Some(last) => after = last,
            None => return Ok(()),
        }
    }
}

fn report(verdict: &Verdict, was_noted: bool, store: &Store, out: &mut impl Write) -> Result<(), Trouble> {
    let (length, head) = (verdict.chain.length, &verdict.chain.head);
    if verdict.is_intact() {
        let entries =
            if length == 1 { "1 entry is".to_owned() } else { format!("{} entries are", words::count(length)) };
        writeln!(out, "intact: {entries} chained without a break")?;
    } else {
        writeln!(out, "CHANGED: the audit is not as it was written")?;
        for finding in &verdict.findings {
            writeln!(out, "  {finding}")?;
        }
        if verdict.more > 0 {
            writeln!(out, "  and {} more", words::count(verdict.more))?;
        }
    }
    writeln!(out, "head: {length} {}", words::shown(head))?;
    match verdict.noted_at {
        Some(seq) => writeln!(
            out,
            "the noted hash is that of entry {seq}, after which {} were appended",
            length.saturating_sub(seq)
        )?,
        None if was_noted => {}
        None => writeln!(
            out,
            "note the head elsewhere and give its hash to `--head` next time: only that shows entries cut off at the end"
        )?,
    }
    // A file that was tampered with may have entries that cannot be read; that was said above.
    if let Ok(open) = store.without_completion(MAX_OPEN)
        && !open.is_empty()
    {
        let numbers: Vec<String> = open.iter().take(10).map(|entry| entry.seq.to_string()).collect();
        let more = if open.len() > numbers.len() { " and more" } else { "" };
        writeln!(
            out,
            "attempted, outcome unknown (a server is at it, or was ended in the middle): {}{more}",
            numbers.join(", ")
        )?;
    }
    Ok(())
}
