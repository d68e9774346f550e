use std::sync::Arc;
use std::time::Duration;

use lockkeeper_model::Time;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Secret;
use super::sessions::{Handle, Sessions};
use super::tokens::Tokens;
use crate::clock;
use crate::watched::Watched;

/// For how long it counts that somebody showed who they are. What is answered at once need not care; a stream ends
/// with it.
#[derive(Clone, Debug)]
pub enum Tenure {
    /// For as long as the server runs.
    Endless,
    /// Until then.
    Until(Instant),
    /// For as long as a session.
    Session {
        /// All sessions.
        sessions: Arc<Sessions>,
        /// This one.
        session: Handle,
        /// Cancelled when it is ended.
        ended: CancellationToken,
    },
    /// For as long as a token is good.
    Token {
        /// All tokens.
        tokens: Watched<Tokens>,
        /// This one.
        text: Secret,
        /// When it ends by itself.
        expires_at: Time,
    },
}

impl Tenure {
    /// Waits until it is over.
    pub async fn over(self) {
        match self {
            Tenure::Endless => std::future::pending().await,
            Tenure::Until(end) => sleep_until(end).await,
            Tenure::Session { sessions, session, ended } => {
                // It is put off whenever the session is used.
                while let Some(end) = sessions.ends_at(session) {
                    tokio::select! {
                        () = ended.cancelled() => return,
                        () = sleep_until(end) => {}
                    }
                }
            }
            Tenure::Token { mut tokens, text, expires_at } => {
                let left = u64::try_from(expires_at.since(clock::now())).unwrap_or_default();
                let mut expired = Box::pin(sleep(Duration::from_millis(left)));
                while tokens.current().find(text.expose()).is_some() {
                    tokio::select! {
                        () = &mut expired => return,
                        () = tokens.changed() => {}
                    }
                }
            }
        }
    }

    /// When it is over as things are; `None`: never, or not known to this clock.
    #[must_use]
    pub fn ends_at(&self) -> Option<Instant> {
        match self {
            Tenure::Endless => None,
            Tenure::Until(end) => Some(*end),
            Tenure::Session { sessions, session, .. } => sessions.ends_at(*session),
            Tenure::Token { expires_at, .. } => {
                let left = u64::try_from(expires_at.since(clock::now())).unwrap_or_default();
                Some(Instant::now() + Duration::from_millis(left))
            }
        }
    }

    /// How long ago the person showed who they are; `None` where they did not sign in, or not here.
    #[must_use]
    pub fn signed_in(&self) -> Option<Duration> {
        match self {
            Tenure::Session { sessions, session, .. } => sessions.age(*session),
            Tenure::Endless | Tenure::Until(_) | Tenure::Token { .. } => None,
        }
    }

    /// The person did something, so that a session is not idle.
    pub fn touch(&self) {
        if let Tenure::Session { sessions, session, .. } = self {
            sessions.touch(*session);
        }
    }
}
