use axum::Json;
use utoipa::OpenApi;

use super::{
    approvals, audit, contention, events, graph, groups, health, history, holders, incidents, locks, metrics, notes,
    password, releases, session, sessions, settings, sources, stream, traces, warnings,
};

/// Where it is. It says what there could be, and nothing of what there is.
pub(super) const PATH: &str = "/api/v1/openapi.json";

/// The description of the public contract.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Lockkeeper",
        description = "Who holds every distributed lock, whether the holder is alive, who waits; and the release of a \
                       stuck one.\n\nTimes are RFC 3339 in UTC with milliseconds; durations are integers named `_ms`. \
                       Unknown is `null`, never 0 or empty. Errors are `application/problem+json`. In paths, `source` \
                       and `id` are one percent-encoded segment each: a slash is written as `%2F`.",
    ),
    paths(
        sources::list,
        locks::list,
        locks::show,
        locks::events,
        notes::list,
        notes::write,
        graph::show,
        contention::show,
        groups::list,
        holders::list,
        events::follow,
        stream::open,
        history::list,
        history::stats,
        history::activity,
        incidents::list,
        incidents::freeze,
        incidents::show,
        releases::preview,
        releases::execute,
        approvals::ask,
        approvals::list,
        approvals::show,
        approvals::decide,
        audit::list,
        warnings::list,
        warnings::acknowledge,
        warnings::mutes,
        warnings::mute,
        warnings::unmute,
        warnings::deliveries,
        warnings::test,
        traces::run,
        traces::last,
        session::show,
        session::begin,
        session::end,
        password::change,
        sessions::list,
        sessions::end_all,
        sessions::end,
        settings::show,
        health::live,
        health::ready,
        metrics::scrape,
        show,
    ),
    tags(
        (name = "watching", description = "Nothing here changes anything."),
        (name = "remembering", description = "What was written down of what happened, as far back as it is kept."),
        (name = "releasing", description = "Preview, then release exactly what was previewed."),
        (name = "warning", description = "What somebody should know before customers notice, and who looks into it."),
        (name = "tracing", description = "Looking at every command for some seconds. It costs the store something."),
        (name = "access", description = "Who asks, and what they may do."),
        (name = "operating", description = "For the people who run the server."),
    )
)]
struct Description;

/// This description.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "operating", responses((status = 200, body = Object)))]
pub(super) async fn show() -> Json<utoipa::openapi::OpenApi> {
    Json(description())
}

pub(super) fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}
