//! Reads what to do, wires the parts, binds, waits.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lockkeeper::access::Door;
use lockkeeper::board::{self, BoardOptions};
use lockkeeper::config::{self, Command, CommandLine, Config, ConfigError, Given, LogFormat, Settings, SourceConfig};
use lockkeeper::http::{AppState, Configured, Incoming};
use lockkeeper::recorder::audit::Audit;
use lockkeeper::recorder::history::{History, keep_checkpoints};
use lockkeeper::recorder::notes::Notes;
use lockkeeper::release::MAX_LOCKS;
use lockkeeper::reload::{LastRead, Reload};
use lockkeeper::source::{SourceId, redis, redlock};
use lockkeeper::telemetry::Telemetry;
use lockkeeper::tls::Identity;
use lockkeeper::warning::{self, NotKept, Remembered, Store, Warnings};
use lockkeeper::watched::Watched;
use lockkeeper::webhook::Pace;
use lockkeeper::{clock, demo, http};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Reports that may wait for the board, up to 500 readings each: enough that it never waits for the next one, and so few
/// that a busy board slows a scan rather than filling memory.
const WAITING_REPORTS: usize = 16;

/// How long tasks that ignore the end may hold the process up.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The configuration cannot be used.
const EXIT_CONFIG: u8 = 2;

/// A scan takes millions of small replies apart on all cores at once. With the system's allocator that is a tenth slower
/// and leaves more memory behind.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let CommandLine { command, log_format } = match CommandLine::read(std::env::args_os()) {
        Ok(line) => line,
        Err(error) => return usage(&error),
    };
    let mut told = None;
    let config = match command {
        Command::Serve(settings) => {
            told = Some((settings.clone(), log_format.clone()));
            Config::for_serve(settings, log_format)
        }
        Command::Demo(settings) => Config::for_demo(settings, log_format),
        Command::Terminal(command) => return command.run(config::command_line()),
        Command::Audit(audit) => return audit.run(),
        Command::User(command) => return done(command.run(&mut std::io::stdout())),
        Command::Token(command) => return done(command.run(&mut std::io::stdout())),
    };
    let config = match config {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    done(run(config, told))
}

fn done(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lockkeeper: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config, told: Option<Told>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("could not start the runtime")?;
    let telemetry = Telemetry::start(config.log_format, config.otlp.as_ref(), runtime.handle())?;
    let result = runtime.block_on(serve(config, told));
    telemetry.end();
    runtime.shutdown_timeout(LAST_WAIT);
    result
}

/// What the command line and the environment said, with which the file is read again; a demo has none.
type Told = (Settings, Option<Given<LogFormat>>);

async fn serve(mut config: Config, told: Option<Told>) -> anyhow::Result<()> {
    let is_demo = told.is_none();
    let stop = CancellationToken::new();
    let at_start = config.clone();
    let (set_policy, policy) = Watched::given(std::mem::take(&mut config.policy));
    let is_secure = config.access.secure;
    let door = Door::new(std::mem::take(&mut config.access), policy.clone(), &stop).context("could not start")?;
    let door = Arc::new(door);
    let tls = match config.tls.take() {
        Some(Identity { cert, key }) => {
            let identity = Identity { cert: cert.clone(), key: key.clone() };
            Some(Watched::follow(vec![cert, key], move || identity.load(), stop.clone())?)
        }
        None => None,
    };

    // Before any store is spoken to: a second server must not scan for nothing.
    let listener = TcpListener::bind(config.listen).await.map_err(|error| cannot_listen(&config, &error))?;
    let listen = listener.local_addr().context("could not learn the address that was bound")?;

    // Ended before `stop`: requests under way still need the board and the stores.
    let closing = CancellationToken::new();

    if !listen.ip().is_loopback() && !is_secure {
        tracing::warn!(
            %listen,
            "without TLS, passwords and sessions can be read on their way here; set `[tls]`, or, where a proxy in front \
             speaks TLS, `url = \"https://…\"` under `[access]`"
        );
    }

    if let Some(target) = config.store.as_ref().filter(|target| target.is_plain_over_a_network()) {
        tracing::warn!(store = %target, "without TLS, what is recorded can be read on its way: say `sslmode=verify-full`");
    }
    let demo = if is_demo { Some(demo::start(stop.clone()).await?) } else { None };
    if let Some(demo) = &demo {
        config.sources = vec![SourceConfig::for_demo(&demo.url)?];
    }
    let audit = audit(&mut config, is_demo)?;

    redis::teach(std::mem::take(&mut config.formats))?;
    let (reports, board_reports) = mpsc::channel(WAITING_REPORTS);
    let mut handles = Vec::with_capacity(config.sources.len());
    for (position, source) in config.sources.iter().enumerate() {
        let id = SourceId(u16::try_from(position).context("more than 65,535 sources")?);
        let limit = config.trace_limit();
        handles.push(match source.to_redlock(config.release.enabled, limit, is_demo) {
            Some(redlock) => redlock::spawn(id, redlock, reports.clone(), stop.clone()),
            None => {
                let redis = source.to_redis(config.release.enabled, limit, is_demo);
                redis::spawn(id, redis, reports.clone(), stop.clone())
            }
        });
    }
    let history = history(&config, is_demo);
    let max_locks = u32::try_from(config.release.max_locks.min(MAX_LOCKS)).unwrap_or(u32::MAX);
    let notes = notes(&config, is_demo)?;
    let configured = Configured::of(&at_start, is_demo);
    let (store, remembered) = warnings_store(&config, is_demo);
    let (opened, heard) = mpsc::channel(warning::WAITING);
    let options = BoardOptions {
        release_enabled: config.release.enabled,
        max_locks,
        demo: is_demo,
        tape: history.tape(),
        rules: config.warnings.clone(),
        remembered,
        told: Some(opened),
    };
    let board = board::spawn(handles.clone(), board_reports, options, stop.clone());
    let dir = config.data_dir.clone().or_else(config::default_data_dir).filter(|_| store.is_ok());
    let url = at_start.access.url.clone();
    let warnings = Warnings::start(board.clone(), heard, store, dir.as_deref(), url, Pace::default());
    warnings.tell(&config.webhooks).map_err(|error| anyhow::anyhow!("could not set up the webhooks: {error}"))?;
    let last_read = match told {
        Some((settings, log_format)) => {
            let (reload, last) = Reload::new(settings, log_format, at_start, set_policy, handles, warnings.clone());
            tokio::spawn(reload.run(hangups()?));
            last
        }
        None => watch::channel(LastRead::at_start()).1,
    };
    let state = AppState::new(
        board.clone(),
        audit.clone(),
        config.release.clone(),
        config.trace_enabled,
        listen,
        closing.clone(),
    )
    .context("could not start")?
    .behind(door, policy)
    .showing(configured, notes)
    .telling(config.charted.into(), last_read)
    .remembering(history.clone())
    .warning(warnings.clone());
    tokio::spawn(warning::learn(history.clone(), board.clone()));
    tokio::spawn(keep_checkpoints(history.clone(), board.clone(), stop.clone()));

    tokio::spawn(lockkeeper::release::resume(board.clone(), audit));
    tokio::spawn(state.desk.clone().note_lost_releases());

    let mut asked_to_stop = signals()?;
    tokio::spawn(async move {
        asked_to_stop.recv().await;
        tracing::info!("stopping");
        closing.cancel();
        asked_to_stop.recv().await;
        // Asked twice: somebody is in a hurry.
        std::process::exit(1);
    });

    let names: Vec<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let version = env!("CARGO_PKG_VERSION");
    let line = format!("Lockkeeper {version} is watching {} on {scheme}://{listen}/", names.join(", "));
    // Whoever started us may have stopped reading, which is no reason to stop serving.
    let _ = writeln!(std::io::stdout(), "{line}");

    http::serve(Incoming::new(listener, tls), state).await;
    // While the board can be asked: what is left of the last minute. Without a board there is nothing left.
    let _ = board.tell_waits().await;
    stop.cancel();
    history.close().await;
    warnings.close().await;
    if let Some(demo) = demo {
        demo.end().await;
    }
    Ok(())
}

/// The audit, where it is to be kept. A server that may release does not start without one.
fn audit(config: &mut Config, is_demo: bool) -> anyhow::Result<Audit> {
    if is_demo {
        // The demo's store is thrown away as well.
        return Audit::in_memory().context("could not set up the audit");
    }
    let opened = match (&config.store, config.data_dir.clone().or_else(config::default_data_dir)) {
        (Some(target), dir) => {
            return Audit::share(target, config.audit_webhook.take(), dir.as_deref())
                .context("could not open the audit");
        }
        (None, Some(dir)) => Audit::open(&dir, config.audit_webhook.take()).context("could not open the audit"),
        (None, None) => Err(anyhow::anyhow!("there is no folder for the audit")),
    };
    match opened {
        Err(error) if config.release.enabled => Err(anyhow::anyhow!(
            "{error:#}\n\
             hint: nothing is released that is not written down: give a folder of this server's own that it may write, \
             for example `--data-dir /var/lib/lockkeeper`, or switch releasing off"
        )),
        Err(error) => {
            tracing::info!("no audit is kept, and requests to release are refused in the log only: {error:#}");
            Ok(Audit::not_kept(&format!("{error:#}")))
        }
        opened => opened,
    }
}

/// The history, where it is to be kept. A server that cannot keep one goes on without: what is shown live needs none.
fn history(config: &Config, is_demo: bool) -> History {
    if is_demo {
        return History::not_kept("nothing of the demo is written down");
    }
    if let Some(target) = &config.store {
        return History::share(target, config.history).unwrap_or_else(|error| {
            tracing::warn!("no history is written down: {error}");
            History::not_kept(&error.to_string())
        });
    }
    let Some(dir) = config.data_dir.clone().or_else(config::default_data_dir) else {
        return History::not_kept("there is no folder for it: name one with `--data-dir`");
    };
    History::open(&dir, config.history).unwrap_or_else(|error| {
        tracing::warn!("no history is written down: {error}");
        History::not_kept(&error.to_string())
    })
}

/// Where acknowledgements and mutes are kept, and what an earlier run left there. A server that cannot keep them goes on
/// without, and says so where they are made.
fn warnings_store(config: &Config, is_demo: bool) -> (Result<Store, NotKept>, Remembered) {
    if is_demo {
        return (Err(NotKept("nothing of the demo is written down".to_owned())), Remembered::default());
    }
    let Some(dir) = config.data_dir.clone().or_else(config::default_data_dir) else {
        let because = "there is no folder for them: name one with `--data-dir`".to_owned();
        return (Err(NotKept(because)), Remembered::default());
    };
    let opened = Store::open(&dir).and_then(|mut store| store.remembered(clock::now()).map(|known| (store, known)));
    match opened {
        Ok((store, remembered)) => (Ok(store), remembered),
        Err(error) => {
            tracing::warn!("acknowledgements and mutes of warnings will not survive a restart: {error}");
            (Err(NotKept(error.to_string())), Remembered::default())
        }
    }
}

/// What people wrote about locks. Where it cannot be kept on disk it is kept in memory, and whoever writes is told so.
fn notes(config: &Config, is_demo: bool) -> anyhow::Result<Notes> {
    if let Some(target) = config.store.as_ref().filter(|_| !is_demo) {
        return Ok(Notes::share(target));
    }
    let dir = config.data_dir.clone().or_else(config::default_data_dir).filter(|_| !is_demo);
    match dir.map(|dir| Notes::open(&dir)) {
        Some(Ok(notes)) => return Ok(notes),
        Some(Err(error)) => tracing::warn!("notes are kept in memory alone: {error}"),
        None => {}
    }
    Notes::in_memory().context("could not make room for notes")
}

/// SIGXFSZ, on Linux and on macOS.
const FILE_TOO_LARGE: i32 = 25;

/// SIGTERM and SIGINT, one message each.
fn signals() -> anyhow::Result<mpsc::Receiver<()>> {
    // Where files may not grow beyond a limit, this would end the process. Once it is listened for, the write fails
    // instead, as on a full disk. That stays so when nobody listens any more.
    drop(signal(SignalKind::from_raw(FILE_TOO_LARGE)).context("could not listen for signals")?);
    let (tx, rx) = mpsc::channel(2);
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).context("could not listen for signals")?;
        let tx = tx.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if tx.send(()).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(rx)
}

/// SIGHUP, one message each. Those that come while one is obeyed are one.
fn hangups() -> anyhow::Result<mpsc::Receiver<()>> {
    let mut signals = signal(SignalKind::hangup()).context("could not listen for signals")?;
    let (tx, rx) = mpsc::channel(1);
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            if let Err(TrySendError::Closed(())) = tx.try_send(()) {
                return;
            }
        }
    });
    Ok(rx)
}

fn cannot_listen(config: &Config, error: &std::io::Error) -> anyhow::Error {
    let listen = config.listen;
    match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "could not listen on `{listen}`: the address is in use\n\
             hint: another Lockkeeper may be there already, see http://{listen}/; or choose another port, for example \
             `--listen {}:{}`",
            listen.ip(),
            listen.port().checked_add(1).unwrap_or(7420),
        ),
        _ => anyhow::anyhow!("could not listen on `{listen}`: {error}"),
    }
}

/// What `--help` and `--version` ask for, or what is wrong with the command line.
fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        eprint!("{}", config::without_urls(&error.render().to_string()));
    } else {
        // Nobody is left to tell that there is nobody to tell.
        let _ = error.print();
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn refuse(error: &ConfigError) -> ExitCode {
    eprintln!("lockkeeper: {error}");
    if let Some(hint) = error.hint() {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(EXIT_CONFIG)
}
