//! Signing in and out, and what of it is written down: who, when, from where, and never what they typed as a password.

use std::sync::Arc;

use axum::http::{Extensions, HeaderMap};
use lockkeeper_model::Actor;

use super::{AppState, caller};
use crate::access::{OidcError, Person, Returned, Secret, SignInError, Via};

/// Who is meant where a name is nobody's: people type passwords into the field for the name.
const SOMEBODY: &str = "unknown";

/// What somebody typed to sign in.
pub(super) struct Typed {
    pub(super) name: String,
    pub(super) password: Secret,
    /// Empty where they have no second factor.
    pub(super) code: Secret,
}

/// Where a request comes from.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) extensions: &'a Extensions,
}

impl Origin<'_> {
    fn actor(self, state: &AppState, name: &str, via: Via) -> Actor {
        let from = state.door.client(self.headers, caller::peer(self.extensions));
        Actor { name: name.to_owned(), via: via.word().to_owned(), address: Some(from.to_string()) }
    }

    /// Writes down what this person did.
    pub(super) async fn tell(self, state: &AppState, person: &Person, outcome: &str, detail: &str) {
        state.audit.accessed(&self.actor(state, &person.name, person.via), outcome, detail).await;
    }
}

/// Signs somebody in by what they typed.
pub(super) async fn sign_in(
    state: &AppState,
    typed: Typed,
    from: Origin<'_>,
) -> Result<(Secret, Arc<Person>), SignInError> {
    let Typed { name, password, code } = typed;
    let answer = state.door.sign_in(&name, password, &code, from.headers, caller::peer(from.extensions)).await;
    match &answer {
        Ok((_, person)) => from.tell(state, person, "signed_in", "signed in with a password").await,
        Err(SignInError::Wrong) => {
            let known = if state.door.knows(&name) { name.trim() } else { SOMEBODY };
            let actor = from.actor(state, known, Via::Password);
            state.audit.accessed(&actor, "not_signed_in", "wrong name, password or code").await;
        }
        // Nothing was compared: the attempts that led to this are written down, and this is logged.
        Err(SignInError::Wait(_) | SignInError::Busy | SignInError::NoUsers) => {}
    }
    answer
}

/// Signs somebody in whom the provider sent back.
pub(super) async fn finish_with_provider(
    state: &AppState,
    returned: Returned,
    from: Origin<'_>,
) -> Result<(Secret, String), OidcError> {
    let answer = state.door.finish_with_provider(returned, from.headers, caller::peer(from.extensions)).await;
    match answer {
        Ok((key, person, next)) => {
            from.tell(state, &person, "signed_in", "signed in with the provider").await;
            Ok((key, next))
        }
        Err(error) => {
            // What does not come from a sign-in that began here is anybody's, and logged.
            if matches!(error, OidcError::Refused(_) | OidcError::Token(_) | OidcError::Nameless(_)) {
                let actor = from.actor(state, SOMEBODY, Via::Oidc);
                state.audit.accessed(&actor, "not_signed_in", "the provider's answer was not believed").await;
            }
            Err(error)
        }
    }
}

/// Ends the session that the browser has.
pub(super) async fn sign_out(state: &AppState, from: Origin<'_>) {
    if let Some(person) = state.door.sign_out(from.headers) {
        from.tell(state, &person, "signed_out", "signed out").await;
    }
}
