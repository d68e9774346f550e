use axum::Json;
use lockkeeper_model::search::STATE_FILTERS;
use lockkeeper_model::{Order, Problem, SortKey};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi, PartialSchema, ToSchema};

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
                       Unknown is `null`, never 0 or empty; what may be null may also be left out. Errors are \
                       `application/problem+json`. In paths, `source` and `id` are one percent-encoded segment each: a \
                       slash is written as `%2F`.",
    ),
    modifiers(&Everywhere),
    servers((url = "/", description = "this server")),
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
        history::waited,
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

/// How one shows who one is; see `docs/access.md`.
const BEARER: &str = "token";
const COOKIE: &str = "session";

/// What answers everybody.
const FOR_ANYBODY: [&str; 3] = [PATH, "/healthz", "/readyz"];

/// What holds of every operation, or of all but a few, said once.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let components = description.components.get_or_insert_default();
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("lkt_…")
            .description(Some("An API token, as `lockkeeper token new` makes one."))
            .build();
        components.add_security_scheme(BEARER, SecurityScheme::Http(token));
        let cookie =
            "The session that `POST /api/v1/session` begins; `__Host-lockkeeper` where Lockkeeper is reached over TLS.";
        let cookie = ApiKey::Cookie(ApiKeyValue::with_description("lockkeeper", cookie));
        components.add_security_scheme(COOKIE, SecurityScheme::ApiKey(cookie));
        // What only parameters name is not found by itself.
        components.schemas.insert(SortKey::name().into_owned(), SortKey::schema());
        components.schemas.insert(Order::name().into_owned(), Order::schema());
        for (path, item) in &mut description.paths.paths {
            for (is_sign_in, operation) in operations(path, item) {
                let is_for_anybody = is_sign_in || FOR_ANYBODY.contains(&path.as_str());
                secure(operation, is_for_anybody);
                describe_errors(operation, is_for_anybody);
            }
        }
    }
}

/// The operations of a path, and whether each is how one signs in.
fn operations<'a>(path: &str, item: &'a mut PathItem) -> impl Iterator<Item = (bool, &'a mut Operation)> {
    let is_session = path == session::PATH;
    let PathItem { get, post, delete, .. } = item;
    [(false, get), (is_session, post), (false, delete)]
        .into_iter()
        .filter_map(|(is_sign_in, operation)| Some((is_sign_in, operation.as_mut()?)))
}

/// Without access control this machine is served as it is, so that no credential is one of the ways.
fn secure(operation: &mut Operation, is_for_anybody: bool) {
    let nothing = SecurityRequirement::default();
    operation.security = Some(match is_for_anybody {
        true => vec![nothing],
        false => {
            let ways = [BEARER, COOKIE].map(|way| SecurityRequirement::new::<_, [&str; 0], &str>(way, []));
            ways.into_iter().chain([nothing]).collect()
        }
    });
}

/// Whatever goes wrong is a problem. Those that any request can meet are named, and the rest has the same form.
fn describe_errors(operation: &mut Operation, is_for_anybody: bool) {
    let takes_something = operation.parameters.is_some() || operation.request_body.is_some();
    let known = [
        (takes_something, "400", "a parameter, the path or the body cannot be understood"),
        (!is_for_anybody, "401", "nothing says who asks, or what says so is not believed"),
        (!is_for_anybody, "403", "none of your roles grants this, or the request comes from another site"),
        (operation.request_body.is_some(), "413", "the body is too large"),
        (operation.request_body.is_some(), "415", "the body is not JSON"),
        (true, "default", "anything else that went wrong; `type` says what"),
    ];
    for (_, status, what) in known.into_iter().filter(|(applies, ..)| *applies) {
        let said = operation.responses.responses.entry(status.to_owned()).or_insert_with(|| problem(what).into());
        if let RefOr::T(said) = said
            && said.description.is_empty()
        {
            said.description = what.to_owned();
        }
    }
    for (status, said) in &mut operation.responses.responses {
        if let RefOr::T(said) = said
            && said.description.is_empty()
        {
            said.description = if status == "200" { "as asked" } else { "as the status says" }.to_owned();
        }
    }
}

fn problem(what: &str) -> Response {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build();
    ResponseBuilder::new().description(what).content("application/problem+json", body).build()
}

/// One of some words, as a parameter takes it.
macro_rules! one_of {
    ($(#[$doc:meta])* $name:ident: $words:expr) => {
        $(#[$doc])*
        pub(super) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let text = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
                text.enum_values(Some($words)).into()
            }
        }

        impl ToSchema for $name {}
    };
}

one_of! {
    /// In which state locks are to be.
    StateFilter: STATE_FILTERS
}

one_of! {
    /// The form of an answer that may be a file.
    FileFormat: ["json", "csv", "jsonl"]
}

/// This description.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "operating", operation_id = "getDescription",
    responses((status = 200, body = BTreeMap<String, serde_json::Value>))
)]
pub(super) async fn show() -> Json<utoipa::openapi::OpenApi> {
    Json(description())
}

pub(super) fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}
