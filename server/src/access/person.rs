//! Somebody who asks.

use std::sync::Arc;

use super::rights::Right;

/// Somebody who asks: a person, or a program with a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// What they are called, in the audit and on the screen.
    pub name: Arc<str>,
    /// How it is known who they are.
    pub via: Via,
    /// The names of their roles. One that the policy does not know grants nothing.
    pub roles: Vec<Arc<str>>,
    /// Where they have those from, so that they follow a policy that changes.
    pub membership: Membership,
    /// The rights that a token is narrowed to, of those that its roles grant; `None`: all of them.
    pub only: Option<Vec<Right>>,
    /// The session they are signed in with; `None` where there is none, as with a token.
    pub session: Option<SessionId>,
}

impl Person {
    /// Whoever reaches the server where nothing says who may: only this machine can.
    #[must_use]
    pub fn loopback() -> Person {
        Person {
            name: Arc::from("loopback"),
            via: Via::Loopback,
            roles: Vec::new(),
            membership: Membership::Named,
            only: None,
            session: None,
        }
    }
}

/// Where somebody has their roles from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// They were named one by one, as for a token.
    Named,
    /// They have every role that there is.
    All,
    /// They have the roles of the groups that they are in.
    Groups(Arc<[String]>),
}

/// How it is known who somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// It is not: nothing is configured, and only this machine reaches the server.
    Loopback,
    /// By a password of a local user.
    Password,
    /// By an API token.
    Token,
    /// A trusted proxy says so.
    Proxy,
    /// An OpenID Connect provider says so.
    Oidc,
}

impl Via {
    /// As answers, logs and the audit write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Via::Loopback => "loopback",
            Via::Password => "password",
            Via::Token => "token",
            Via::Proxy => "proxy",
            Via::Oidc => "oidc",
        }
    }
}

/// Names a session within one run of the server. Not the secret that the browser holds, and drawn by chance, so that it
/// does not tell how many others there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for SessionId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<SessionId, Self::Err> {
        u64::from_str_radix(text, 16).map(SessionId)
    }
}
