//! Who asks, and what they may see and do.
//!
//! - [`door`]: how a request becomes a person: a password and a session, a token, a proxy's header, a provider.
//! - [`person`]: somebody who asks, however that was found out.
//! - [`rights`]: what roles are granted, and what follows from it for one person. No IO, no clock.
//! - [`narrow`]: what is said of a source to somebody who sees a part of its locks.
//!
//! Whoever answers a request asks the [`Scope`] of its [`Person`], and nothing else. A lock outside it does not exist
//! for that person.

pub mod door;
mod fetch;
mod names;
pub mod narrow;
mod oidc;
pub mod password;
pub mod person;
mod proxy;
pub mod rights;
mod secret;
mod sessions;
mod store;
mod tenure;
#[cfg(test)]
mod testing;
#[cfg(test)]
pub(crate) mod tests;
mod throttle;
pub mod tokens;
pub mod totp;
pub mod users;

pub use door::{Door, DoorError, Guest, NotBelieved, PasswordError, Settings, SignInError};
pub use fetch::FetchError;
pub use oidc::{OidcError, OidcSettings, Returned};
pub use person::{Membership, Person, SessionId, Via};
pub use proxy::ProxySettings;
pub use rights::{Grant, GrantInWords, Policy, Reach, Right, Rights, Role, Scope};
pub use secret::Secret;
pub use sessions::{Limits, Listed};
pub use tenure::Tenure;
pub(crate) use throttle::network;
