use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use lockkeeper_model::SourceStatus;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::extract::Query;
use super::session::{self, SessionAnswer};
use super::{ApiError, AppState};
use crate::access::{GrantInWords, Right, Tenure};
use crate::config::{Config, Link};
use crate::release::Rules;
use crate::source::redis;

/// What of the configuration is shown and not known elsewhere: nothing of it is a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configured {
    links: Arc<[Link]>,
    serves: Option<Serves>,
}

impl Configured {
    /// Of this configuration.
    #[must_use]
    pub fn of(config: &Config, is_demo: bool) -> Configured {
        let data_dir = config.data_dir.clone().or_else(crate::config::default_data_dir).filter(|_| !is_demo);
        Configured {
            links: config.links.clone().into(),
            serves: Some(Serves {
                version: env!("CARGO_PKG_VERSION"),
                listen: config.listen.to_string(),
                tls: config.tls.is_some(),
                data_dir: data_dir.map(|dir| dir.display().to_string()),
                store: config.store.as_ref().map(ToString::to_string),
                history_keep_ms: config.history.keep_ms,
                history_max_bytes: config.history.max_bytes,
                audit_webhook: config.audit_webhook.is_some(),
                telemetry: config.otlp.is_some(),
            }),
        }
    }
}

/// How the server is set up, as far as it concerns whoever asks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SettingsAnswer {
    /// Who asks.
    me: SessionAnswer,
    /// What they are granted, grant by grant.
    grants: Vec<GrantInWords>,
    /// Where else there is something to read about a lock; empty for whoever sees none.
    links: Vec<ShownLink>,
    /// What is asked of whoever releases; null for whoever sees no lock.
    release: Option<ReleaseRules>,
    /// How the server is run; null without `admin`.
    server: Option<ServerSettings>,
}

/// A link to another tool.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShownLink {
    /// What it is called on the screen.
    name: String,
    /// An address with `{source}`, `{lock}`, `{holder}`, `{host}` and `{pid}` in it, to be replaced by their percent-encoded
    /// values. A link that needs what is not known is not offered.
    template: String,
}

/// What is asked of whoever releases.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReleaseRules {
    /// Whether anything is released at all.
    enabled: bool,
    /// Locks in one request.
    max_locks: usize,
    /// Releases that one person may try in a minute.
    attempts_per_minute: u32,
    /// For how long a lock that was released cannot be released again, in milliseconds.
    cool_down_ms: u64,
    /// Whether the two limits before apply to every source, and not to those in production alone.
    limits_everywhere: bool,
    /// Whether a release in production takes another person's approval.
    two_persons: bool,
    /// The regular expression that a reason has to match in production.
    reason_pattern: Option<String>,
}

/// How the server is run.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ServerSettings {
    /// Where it listens, and what it keeps.
    #[serde(flatten)]
    serves: Option<Serves>,
    /// Whether tracing is switched on.
    trace_enabled: bool,
    /// The roles. Where they apply, which names sources and locks, is for whoever sees everything.
    roles: Vec<ShownRole>,
    /// The formats that were taught; null for whoever does not see everything, because they name locks.
    formats: Option<Vec<ShownFormat>>,
    /// How each source in scope is watched.
    sources: Vec<ShownSource>,
}

/// Where the server listens, and what it keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Serves {
    version: &'static str,
    /// Address and port.
    listen: String,
    /// Whether it speaks TLS itself.
    tls: bool,
    /// The folder of the audit, the history and notes; null where nothing outlives it.
    data_dir: Option<String>,
    /// The PostgreSQL of the audit, the history and notes, without credentials; null where the folder has them.
    store: Option<String>,
    /// For how long history is kept, in milliseconds, at most.
    history_keep_ms: i64,
    /// How much of it, in bytes, at most.
    history_max_bytes: u64,
    /// Whether somebody is told of every entry of the audit.
    audit_webhook: bool,
    /// Whether traces of requests are sent to a collector.
    telemetry: bool,
}

/// A role.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShownRole {
    name: String,
    /// Who has it.
    groups: Vec<String>,
    /// What it grants.
    grant: GrantInWords,
}

/// A way of storing locks that the operator taught.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShownFormat {
    /// Shown as the dialect.
    name: String,
    /// Which keys are its locks.
    pattern: String,
    /// Whether what wakes its waiters is known.
    signal: bool,
}

/// How a source is watched.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShownSource {
    name: String,
    kind: String,
    /// Without credentials.
    address: String,
    environment: Option<String>,
    /// Empty: the built-in catalogue decides.
    patterns: Vec<String>,
    /// Commands a second that watching may cost while others use it.
    budget_commands_per_second: u64,
    release_enabled: bool,
}

/// How the server is set up: one's own rights for everybody, the rules for whoever sees locks, everything for `admin`.
#[utoipa::path(
    get, path = "/api/v1/settings", tag = "access", operation_id = "getSettings",
    responses(
        (status = 200, body = SettingsAnswer),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Extension(tenure): Extension<Tenure>,
    query: Query,
) -> Result<Json<SettingsAnswer>, ApiError> {
    query.finish(&[])?;
    let sees_locks = caller.scope.may_anywhere(Right::View);
    let links = state.configured.links.iter().filter(|_| sees_locks);
    let server = match caller.scope.may_anywhere(Right::Admin) {
        true => Some(server(&state, &caller).await?),
        false => None,
    };
    Ok(Json(SettingsAnswer {
        me: session::answer(&state, &caller.person, &caller.scope, tenure.ends_at()),
        grants: caller.scope.in_words(),
        links: links.map(|link| ShownLink { name: link.name.clone(), template: link.template.clone() }).collect(),
        release: sees_locks.then(|| rules(state.desk.rules())),
        server,
    }))
}

async fn server(state: &AppState, caller: &Caller) -> Result<ServerSettings, ApiError> {
    let sees_all = caller.scope.sees_all();
    let policy = state.policy.current();
    let roles = policy.roles().iter().map(|role| ShownRole {
        name: role.name.to_string(),
        groups: role.groups.clone(),
        grant: if sees_all { role.grant.in_words() } else { role.grant.rights_in_words() },
    });
    let roles = roles.collect();
    let formats = sees_all.then(|| {
        let taught = redis::formats().into_iter();
        taught
            .map(|format| ShownFormat { name: format.name, pattern: format.pattern, signal: format.signal.is_some() })
            .collect()
    });
    // Whoever sees no lock of a source is not told that there is one.
    let sources = match caller.scope.may_anywhere(Right::View) {
        true => state.board.statuses(caller.scope.seen()).await?.into_iter().map(source).collect(),
        false => Vec::new(),
    };
    let (serves, trace_enabled) = (state.configured.serves.clone(), state.trace_enabled);
    Ok(ServerSettings { serves, trace_enabled, roles, formats, sources })
}

fn source(status: SourceStatus) -> ShownSource {
    ShownSource {
        name: status.name,
        kind: status.kind,
        address: status.address,
        environment: status.environment,
        patterns: status.patterns,
        budget_commands_per_second: status.budget.commands_per_second,
        release_enabled: status.release_enabled,
    }
}

fn rules(rules: &Rules) -> ReleaseRules {
    ReleaseRules {
        enabled: rules.enabled,
        max_locks: rules.max_locks,
        attempts_per_minute: rules.attempts_per_minute.get(),
        cool_down_ms: u64::try_from(rules.cool_down.as_millis()).unwrap_or(u64::MAX),
        limits_everywhere: rules.limits_everywhere,
        two_persons: rules.two_persons,
        reason_pattern: rules.reason_pattern.as_ref().map(|pattern| pattern.as_str().to_owned()),
    }
}
