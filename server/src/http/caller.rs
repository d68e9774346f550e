//! Who asks, and what they may see and do: the one thing that handlers ask about rights.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use lockkeeper_model::Actor;

use super::{ApiError, AppState};
use crate::access::{Door, Guest, NotBelieved, Person, Reach, Right, Scope, Tenure, Via};

/// Finds out who asks.
pub trait Identify: fmt::Debug + Send + Sync {
    /// Who sends a request with these headers from this address.
    ///
    /// # Errors
    /// When nothing says so, or what says so is not believed.
    fn who(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Result<Guest, NotBelieved>;
}

impl Identify for Door {
    fn who(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Result<Guest, NotBelieved> {
        self.admit(headers, peer)
    }
}

/// The address that a request came from; `None` where there is no connection, as in a test.
pub(super) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}

/// Puts the [`Person`] who asks beside the request, and for how long that counts. A request of nobody goes on: some
/// answers are for everybody. One whose credential is not believed does not: whoever sends it should know.
pub(super) async fn identify(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    match state.identify.who(request.headers(), peer(request.extensions())) {
        Ok(guest) => {
            request.extensions_mut().insert(Person::clone(&guest.person));
            request.extensions_mut().insert(guest.tenure);
        }
        Err(NotBelieved::Nobody) if !is_for_known(&request) => {}
        Err(error) => return ApiError::from(error).into_response(),
    }
    next.run(request).await
}

/// All of the API is, except its description and signing in; the app's files and what probes ask are for everybody.
fn is_for_known(request: &Request) -> bool {
    let path = request.uri().path();
    let is_sign_in = path == super::session::PATH && request.method() == Method::POST;
    path == "/metrics" || path.starts_with("/api/") && !is_sign_in && path != super::openapi::PATH
}

/// Who asks, and what of everything they may see and do. A handler that takes it answers nobody who is unknown.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) person: Person,
    pub(super) scope: Scope,
    /// Where the request came from; `None` where there is no connection, as in a test.
    peer: Option<IpAddr>,
    /// How long ago they signed in; `None` where they did not, as with a token.
    pub(super) signed_in: Option<Duration>,
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Caller, ApiError> {
        if let Some(known) = parts.extensions.get::<Caller>() {
            return Ok(known.clone());
        }
        let person = parts.extensions.get::<Person>().cloned().ok_or_else(ApiError::unknown_caller)?;
        let person = state.policy.current().of_today(&person);
        let caller = Caller {
            scope: state.scope_of(&person),
            person,
            peer: peer(&parts.extensions).map(|peer| peer.ip()),
            signed_in: parts.extensions.get::<Tenure>().and_then(Tenure::signed_in),
        };
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}

impl Caller {
    /// Who it is, for the audit and for the ticket of a release.
    pub(super) fn actor(&self) -> Actor {
        let address = self.peer.map(|address| address.to_string());
        match self.person.via {
            Via::Loopback => Actor::anonymous(address),
            via => Actor { name: self.person.name.to_string(), via: via.word().to_owned(), address },
        }
    }

    /// Waits until they may see or do something else than now: what goes on for long must not go on with what was.
    pub(super) fn outdated(&self, state: &AppState) -> impl Future<Output = ()> + Send + use<> {
        let (state, person, scope) = (state.clone(), self.person.clone(), self.scope.clone());
        async move {
            let mut policy = state.policy.clone();
            while state.scope_of(&person) == scope {
                policy.changed().await;
            }
        }
    }

    /// Goes on only with somebody who has the right on anything at all.
    pub(super) fn needs(&self, right: Right) -> Result<(), ApiError> {
        if self.scope.may_anywhere(right) { Ok(()) } else { Err(ApiError::not_allowed(right, None)) }
    }

    /// Goes on only with somebody who has the right on the whole source.
    pub(super) fn needs_all_of(&self, right: Right, source: &str) -> Result<(), ApiError> {
        if self.scope.may_all_of(right, source) { Ok(()) } else { Err(ApiError::not_allowed(right, Some(source))) }
    }

    /// Whether they see everything or look after the server: others are not told of its folders and troubles.
    pub(super) fn is_insider(&self) -> bool {
        self.scope.sees_all() || self.scope.may_anywhere(Right::Admin)
    }

    /// Which locks there are for them, if there are any.
    pub(super) fn seen(&self) -> Result<&Reach, ApiError> {
        self.needs(Right::View)?;
        Ok(self.scope.seen())
    }
}

impl ApiError {
    /// Nothing says who asks.
    fn unknown_caller() -> ApiError {
        NotBelieved::Nobody.into()
    }

    /// Whoever asks lacks a right: everywhere, or on the whole of a source.
    pub(super) fn not_allowed(right: Right, source: Option<&str>) -> ApiError {
        let detail = match source {
            None => format!("`{right}` is needed for this, and none of your roles grants it"),
            Some(source) => format!(
                "`{right}` is needed on every lock of `{}` for this, and none of your roles grants it there",
                lockkeeper_model::words::shown(source)
            ),
        };
        ApiError::new(StatusCode::FORBIDDEN, "not-allowed", "Not allowed", detail)
            .hint("whoever runs this server grants rights to roles: `[[role]]` in lockkeeper.toml")
    }
}

impl From<NotBelieved> for ApiError {
    fn from(error: NotBelieved) -> ApiError {
        let refused = ApiError::new(StatusCode::UNAUTHORIZED, "who", "Who are you?", error.to_string());
        match error {
            NotBelieved::Nobody => refused.hint("sign in at /sign-in, or send a token: `Authorization: Bearer …`"),
            NotBelieved::Token => refused.hint("`lockkeeper token list` shows which there are; `token new` makes one"),
            NotBelieved::Scheme => refused.hint("send `Authorization: Bearer lkt_…`"),
            NotBelieved::Proxy => refused.hint("see how the proxy sets the header; it must replace what clients send"),
        }
    }
}
