//! Reading the configuration again while the server runs. What can follow it does: roles, formats, the patterns of
//! sources, rules of warnings and webhooks. What cannot is said by name and stays as it was at the start; a file that cannot be used changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lockkeeper_model::{Time, words};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::access::Policy;
use crate::clock;
use crate::config::{Config, Given, LogFormat, Settings, SourceConfig};
use crate::source::redis::{self, Format};
use crate::source::{Command, Rules, SourceHandle};
use crate::warning::Warnings;

/// How long a source may take to stop reading by the former rules: it gives its connections up, which waits for nobody.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What came of reading the configuration last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRead {
    /// When the configuration that is in force was read.
    pub read_at: Time,
    /// Why what was read later could not be used, if so.
    pub problem: Option<String>,
    /// What was read and is not in force before a restart.
    pub waiting: Vec<String>,
}

impl LastRead {
    /// The server starts with what it has read.
    #[must_use]
    pub fn at_start() -> LastRead {
        LastRead { read_at: clock::now(), problem: None, waiting: Vec::new() }
    }
}

/// The one that reads the configuration again, and has everybody follow it.
#[derive(Debug)]
pub struct Reload {
    settings: Settings,
    log_format: Option<Given<LogFormat>>,
    /// What is in force.
    now: Config,
    policy: watch::Sender<Arc<Policy>>,
    sources: Vec<SourceHandle>,
    warnings: Warnings,
    last: watch::Sender<LastRead>,
}

impl Reload {
    /// With what the server was started: the command line's part of it, the whole, the sources in its order, where its
    /// policy is put, and who follows its rules of warnings and its webhooks. The other end tells what came of reading it last.
    #[must_use]
    pub fn new(
        settings: Settings,
        log_format: Option<Given<LogFormat>>,
        now: Config,
        policy: watch::Sender<Arc<Policy>>,
        sources: Vec<SourceHandle>,
        warnings: Warnings,
    ) -> (Reload, watch::Receiver<LastRead>) {
        let (last, told) = watch::channel(LastRead::at_start());
        (Reload { settings, log_format, now, policy, sources, warnings, last }, told)
    }

    /// Reads it again whenever it is asked to.
    pub async fn run(mut self, mut asked: mpsc::Receiver<()>) {
        while asked.recv().await.is_some() {
            match self.again().await {
                Ok(waiting) => {
                    for what in &waiting {
                        tracing::warn!("{what} changed in the configuration, which counts after a restart");
                    }
                    tracing::info!("the configuration was read anew and is in force");
                    self.last.send_replace(LastRead { read_at: clock::now(), problem: None, waiting });
                }
                Err(problem) => {
                    tracing::error!(
                        "the configuration cannot be used, so what was read before stays in force: {problem}"
                    );
                    self.last.send_modify(|last| last.problem = Some(problem));
                }
            }
        }
    }

    /// Reads it once more. Returns what counts after a restart only.
    async fn again(&mut self) -> Result<Vec<String>, String> {
        let new = Config::for_serve(self.settings.clone(), self.log_format.clone()).map_err(|error| {
            let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
            format!("{error}{hint}")
        })?;
        if new.access.is_configured() != self.now.access.is_configured() {
            let because =
                "`[access]` was added or taken away, without which the roles would mean something else; restart";
            return Err(because.to_owned());
        }
        let mut waiting = waiting(&self.now, &new);
        let quorum = self.now.sources.iter().find(|source| !source.masters.is_empty());
        let mut formats = changed_formats(&self.now.formats, &new.formats);
        if let Some(quorum) = quorum.filter(|_| !formats.is_empty()) {
            waiting
                .push(format!("`[[format]]` (while the Redlock quorum `{}` is watched)", words::shown(&quorum.name)));
            formats.clear();
        }
        // What can fail comes first: nothing is taken up by halves.
        self.warnings.tell(&new.webhooks)?;
        self.follow(&new, formats).await?;
        self.warnings.follow(new.warnings).await.map_err(|error| error.to_string())?;
        self.now.policy = new.policy.clone();
        self.policy.send_replace(Arc::new(new.policy));
        Ok(waiting)
    }

    /// Has the sources go on by the new formats and patterns, where those are others.
    async fn follow(&mut self, new: &Config, formats: Vec<Format>) -> Result<(), String> {
        let formats: Arc<[Format]> = formats.into();
        let go = CancellationToken::new();
        // Whatever happens here, no source waits for ever.
        let _go = go.clone().drop_guard();
        let mut stopping = Vec::new();
        for (place, source) in self.sources.iter().enumerate() {
            let Some(known) = self.now.sources.get(place).filter(|known| known.masters.is_empty()) else { continue };
            let patterns = same(known, new).map_or(&known.patterns, |found| &found.patterns);
            if formats.is_empty() && *patterns == known.patterns {
                continue;
            }
            let (stopped, has_stopped) = oneshot::channel();
            let rules = Rules { patterns: patterns.clone(), formats: formats.clone(), stopped, go: go.clone() };
            source.commands.send(Command::Follow(rules)).await.map_err(|_| "the server is shutting down".to_owned())?;
            stopping.push((place, patterns.clone(), has_stopped));
        }
        for (place, patterns, has_stopped) in stopping {
            if timeout(STOP_TIMEOUT, has_stopped).await.is_err() {
                tracing::warn!(source.name = %self.sources[place].name, "the source takes long to stop");
            }
            self.now.sources[place].patterns = patterns;
        }
        if !formats.is_empty() {
            redis::teach(new.formats.clone()).map_err(|error| error.to_string())?;
            self.now.formats.clone_from(&new.formats);
        }
        Ok(())
    }
}

/// The same source in another configuration: what it is called, and all of it but its patterns.
fn same<'a>(known: &SourceConfig, new: &'a Config) -> Option<&'a SourceConfig> {
    let is_same = |found: &&SourceConfig| {
        SourceConfig { patterns: known.patterns.clone(), ..SourceConfig::clone(found) } == *known
    };
    new.sources.iter().find(|found| found.name == known.name).filter(is_same)
}

/// What differs that no running server can follow.
fn waiting(now: &Config, new: &Config) -> Vec<String> {
    // Field by field, so that a new one cannot be forgotten here.
    let Config {
        listen,
        release,
        trace_enabled,
        trace_max_commands_per_second,
        data_dir,
        store,
        audit_webhook,
        history,
        log_format,
        sources,
        formats: _,
        policy: _,
        links,
        access,
        tls,
        charted,
        otlp,
        warnings: _,
        webhooks: _,
    } = now;
    let settings = [
        ("`listen`", *listen != new.listen),
        ("`[release]`", *release != new.release),
        (
            "`[trace]`",
            (*trace_enabled, *trace_max_commands_per_second) != (new.trace_enabled, new.trace_max_commands_per_second),
        ),
        ("`data_dir`", *data_dir != new.data_dir),
        ("`store`", *store != new.store),
        ("`[audit]`", *audit_webhook != new.audit_webhook),
        ("`[history]`", *history != new.history),
        ("`log_format`", *log_format != new.log_format),
        ("`[[link]]`", *links != new.links),
        ("`[access]`", *access != new.access),
        ("`[tls]`", *tls != new.tls),
        ("`[metrics]`", *charted != new.charted),
        ("`[telemetry]`", *otlp != new.otlp),
    ];
    let mut waiting: Vec<String> =
        settings.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()).collect();
    let named = |config: &Config| config.sources.iter().map(|source| source.name.clone()).collect::<BTreeSet<_>>();
    let (known, found) = (named(now), named(new));
    waiting.extend(found.difference(&known).map(|name| format!("the source `{}`, which is new,", words::shown(name))));
    waiting.extend(known.difference(&found).map(|name| format!("the source `{}`, which is gone,", words::shown(name))));
    for source in sources {
        let Some(found) = new.sources.iter().find(|found| found.name == source.name) else { continue };
        let name = words::shown(&source.name);
        if same(source, new).is_none() {
            waiting.push(format!("how the source `{name}` is watched"));
        } else if !source.masters.is_empty() && source.patterns != found.patterns {
            waiting.push(format!("the patterns of the Redlock quorum `{name}`"));
        }
    }
    waiting
}

/// The formats by which a key may be read otherwise than before.
fn changed_formats(now: &[Format], new: &[Format]) -> Vec<Format> {
    let kept = |ours: &[Format], theirs: &[Format]| -> Vec<Format> {
        ours.iter().filter(|format| theirs.contains(format)).cloned().collect()
    };
    let all = now.iter().chain(new);
    // The first that fits counts, so that another order is another rule.
    if kept(now, new) != kept(new, now) {
        return all.cloned().collect();
    }
    all.filter(|format| !(now.contains(format) && new.contains(format))).cloned().collect()
}

#[cfg(test)]
mod tests;
