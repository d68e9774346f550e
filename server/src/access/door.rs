//! How a request becomes a person.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE};
use lockkeeper_model::words;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::fetch::FetchError;
use super::names::MAX_NAME_CHARS;
use super::oidc::{Oidc, OidcError, OidcSettings, Returned};
use super::password::{Busy, Verifier};
use super::proxy::{Proxy, ProxySettings, Said};
use super::sessions::{Limits, Listed, Sessions, is_same};
use super::store::StoreError;
use super::tenure::Tenure;
use super::throttle::Throttle;
use super::tokens::Tokens;
use super::totp::UsedCodes;
use super::users::{User, UserError, Users, UsersFile};
use super::{Membership, Person, Policy, Secret, SessionId, Via};
use crate::clock;
use crate::watched::Watched;

/// How long the browser keeps a sign-in that is under way with the provider, in seconds.
const UNDER_WAY_S: u64 = 10 * 60;

/// How long it is waited for what was written to the file of users to be in force: it is looked at every second.
const MAX_UNTIL_IN_FORCE: Duration = Duration::from_secs(3);

/// How somebody may show who they are. Nothing of it: only this machine is served, and everybody on it may do
/// everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The file of local users.
    pub users_file: Option<PathBuf>,
    /// The file of API tokens.
    pub tokens_file: Option<PathBuf>,
    /// A proxy that signs people in.
    pub proxy: Option<ProxySettings>,
    /// A provider that signs people in.
    pub oidc: Option<OidcSettings>,
    /// When sessions end by themselves.
    pub limits: Limits,
    /// Where browsers find the server, where that is not the address that it listens on: a scheme, a host and a port.
    pub url: Option<Url>,
    /// Whether browsers come over TLS, here or at a proxy in front.
    pub secure: bool,
}

impl Settings {
    /// Whether there is any way to show who one is.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.knows_people() || self.tokens_file.is_some()
    }

    /// Whether people can show who they are, as against programs.
    #[must_use]
    pub fn knows_people(&self) -> bool {
        self.users_file.is_some() || self.proxy.is_some() || self.oidc.is_some()
    }
}

/// Knows everybody who may come in.
#[derive(Debug)]
pub struct Door {
    is_open: bool,
    policy: Watched<Policy>,
    users: Option<Locals>,
    tokens: Option<Watched<Tokens>>,
    proxy: Option<Proxy>,
    oidc: Option<Arc<Oidc>>,
    sessions: Arc<Sessions>,
    limits: Limits,
    throttle: Throttle,
    url: Option<Url>,
    cookie: &'static str,
    secure: bool,
}

/// Those who sign in with a password.
#[derive(Debug)]
struct Locals {
    file: UsersFile,
    users: Watched<Users>,
    verifier: Verifier,
    codes: UsedCodes,
}

/// Why there is no door.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// A file of users or tokens.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is needed to speak to the provider.
    #[error("the OpenID Connect provider cannot be spoken to: {0}")]
    Fetch(#[from] FetchError),
}

/// Somebody who is in, and for how long.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Who it is.
    pub person: Arc<Person>,
    /// Until when that counts.
    pub tenure: Tenure,
}

/// Why a request that says who sent it is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBelieved {
    /// It has no credential at all, or a session that has ended.
    #[error("the request does not say who sends it")]
    Nobody,
    /// A token that there is not, or not any more.
    #[error("the token is unknown, has expired or was revoked")]
    Token,
    /// An `Authorization` of another kind.
    #[error("the `Authorization` is not `Bearer` with a token")]
    Scheme,
    /// The proxy says something that cannot be a name.
    #[error("the proxy's header does not hold one name")]
    Proxy,
}

/// Why a sign-in fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// There are no local users.
    #[error("nobody signs in with a password here")]
    NoUsers,
    /// Which of them it is stays untold.
    #[error("the name or the password is wrong, or a code was needed and is wrong, missing or used already")]
    Wrong,
    /// Too many wrong passwords.
    #[error("after several wrong passwords the next attempt may be made in {} s", .0.as_secs() + 1)]
    Wait(Duration),
    /// Too many sign-ins at once.
    #[error("too many people are signing in at once")]
    Busy,
}

/// Why somebody does not get another password or second factor.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// They have none here.
    #[error("you did not sign in with a password of this server")]
    NotLocal,
    /// The old one is not right.
    #[error(transparent)]
    Old(#[from] SignInError),
    /// The device and the server do not make the same codes.
    #[error("the code does not fit the secret, or is over: scan it again, and check the clock of the device")]
    Code,
    /// The new one, or the file.
    #[error(transparent)]
    New(#[from] UserError),
}

impl Door {
    /// The door where nothing says who may come in.
    #[must_use]
    pub fn open() -> Door {
        Door::with(Settings::default(), Watched::fixed(Policy::default()), None, None, None)
    }

    /// The door as configured. Files are read now and followed until `stop`.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn new(settings: Settings, policy: Watched<Policy>, stop: &CancellationToken) -> Result<Door, DoorError> {
        let users = settings
            .users_file
            .clone()
            .map(|file| Watched::follow(vec![file.clone()], move || Users::read(&file), stop.clone()))
            .transpose()?;
        let tokens = settings
            .tokens_file
            .clone()
            .map(|file| Watched::follow(vec![file.clone()], move || Tokens::read(&file), stop.clone()))
            .transpose()?;
        let oidc = settings.oidc.clone().map(Oidc::new).transpose()?.map(Arc::new);
        if let Some(oidc) = oidc.clone() {
            tokio::spawn(async move { oidc.look_up().await });
        }
        let door = Door::with(settings, policy, users.clone(), tokens, oidc);
        if let Some(users) = users {
            tokio::spawn(end_with_their_users(users, door.sessions.clone(), stop.clone()));
        }
        Ok(door)
    }

    fn with(
        settings: Settings,
        policy: Watched<Policy>,
        users: Option<Watched<Users>>,
        tokens: Option<Watched<Tokens>>,
        oidc: Option<Arc<Oidc>>,
    ) -> Door {
        Door {
            is_open: !settings.is_configured(),
            policy,
            users: settings.users_file.zip(users).map(|(file, users)| Locals {
                file: UsersFile(file),
                users,
                verifier: Verifier::new(),
                codes: UsedCodes::default(),
            }),
            tokens,
            proxy: settings.proxy.map(Proxy::new),
            oidc,
            sessions: Arc::new(Sessions::new(settings.limits)),
            limits: settings.limits,
            throttle: Throttle::default(),
            url: settings.url,
            // The prefix keeps neighbours on the same domain from planting one of theirs.
            cookie: if settings.secure { "__Host-lockkeeper" } else { "lockkeeper" },
            secure: settings.secure,
        }
    }

    /// Whether everybody on this machine may come in, because nothing is configured.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether people sign in with a password.
    #[must_use]
    pub fn has_users(&self) -> bool {
        self.users.is_some()
    }

    /// Whether people sign in with a provider.
    #[must_use]
    pub fn has_provider(&self) -> bool {
        self.oidc.is_some()
    }

    /// Whether somebody of this name signs in with a password.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.users.as_ref().is_some_and(|locals| locals.users.current().get(name.trim()).is_some())
    }

    /// Whether anybody needs a code beside their password.
    #[must_use]
    pub fn asks_for_codes(&self) -> bool {
        let has_one = |locals: &Locals| locals.users.current().iter().any(User::has_second_factor);
        self.users.as_ref().is_some_and(has_one)
    }

    /// Whether browsers come over TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Where browsers find the server, where that is not the address that it listens on.
    #[must_use]
    pub fn url(&self) -> Option<&Url> {
        self.url.as_ref()
    }

    /// Who sends a request. A credential that is not good is never passed over for another.
    ///
    /// # Errors
    /// When it does not say so, or is not believed.
    pub fn admit(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Result<Guest, NotBelieved> {
        if self.is_open {
            return Ok(Guest { person: Arc::new(Person::loopback()), tenure: Tenure::Endless });
        }
        if let Some(authorization) = headers.get(AUTHORIZATION) {
            let text = authorization.to_str().ok().and_then(|value| value.split_once(' '));
            return match text {
                Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => self.bearer(token.trim()),
                _ => Err(NotBelieved::Scheme),
            };
        }
        match self.proxy.as_ref().map_or(Said::Nothing, |proxy| proxy.said(headers, peer)) {
            Said::Person { name, groups } => {
                let person = self.person(&name, Via::Proxy, &groups);
                // The proxy is asked again by whatever follows: a stream alone would outlive what it knows.
                let until = Instant::now() + self.limits.absolute;
                return Ok(Guest { person: Arc::new(person), tenure: Tenure::Until(until) });
            }
            Said::Nonsense => return Err(NotBelieved::Proxy),
            Said::Nothing => {}
        }
        let found = self.key(headers).and_then(|key| self.sessions.find(key)).ok_or(NotBelieved::Nobody)?;
        let tenure = Tenure::Session { sessions: self.sessions.clone(), session: found.handle, ended: found.ended };
        Ok(Guest { person: found.person, tenure })
    }

    fn bearer(&self, text: &str) -> Result<Guest, NotBelieved> {
        let tokens = self.tokens.as_ref().ok_or(NotBelieved::Token)?;
        let known = tokens.current();
        let token = known.find(text).filter(|token| token.is_good(clock::now())).ok_or(NotBelieved::Token)?;
        let roles = match &token.roles {
            None => self.policy.current().role_names(),
            Some(roles) => roles.iter().map(|role| Arc::from(role.as_str())).collect(),
        };
        let membership = if token.roles.is_none() { Membership::All } else { Membership::Named };
        let person = Person {
            name: Arc::from(token.name.as_str()),
            via: Via::Token,
            roles,
            membership,
            only: Some(token.rights()),
            session: None,
        };
        let tenure = Tenure::Token { tokens: tokens.clone(), text: Secret::new(text), expires_at: token.expires_at };
        Ok(Guest { person: Arc::new(person), tenure })
    }

    /// Signs somebody in by name, password and, where they have a second factor, a code. Returns the session's key for the
    /// browser, and the person. A session that the browser had before ends.
    ///
    /// # Errors
    /// When one of them is wrong, or there are too many attempts.
    pub async fn sign_in(
        &self,
        name: &str,
        password: Secret,
        code: &Secret,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Result<(Secret, Arc<Person>), SignInError> {
        let locals = self.users.as_ref().ok_or(SignInError::NoUsers)?;
        let from = self.client(headers, peer);
        let user = self.believed(locals, name, password, Some(code), from).await?;
        let signed_in = self.begin_as(&user, headers, from);
        // Looked at after it began: whoever was changed while the passwords were compared is signed out by this, and
        // whoever is changed from now on by the task that watches the file.
        if locals.users.current().get(&user.name) != Some(&user) {
            self.sessions.end(signed_in.0.expose());
            return Err(SignInError::Wrong);
        }
        Ok(signed_in)
    }

    /// Gives somebody who signed in with a password another one. Every session of theirs ends; returns the key of a new one
    /// for the browser.
    ///
    /// # Errors
    /// When they did not, the old password is wrong, the new one cannot be used, or the file cannot be written.
    pub async fn change_password(
        &self,
        person: &Person,
        old: Secret,
        new: Secret,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Result<Secret, PasswordError> {
        let locals = self.locals_of(person)?;
        let from = self.client(headers, peer);
        // Whoever is signed in showed their second factor.
        let user = self.believed(locals, &person.name, old, None, from).await?;
        let file = locals.file.clone();
        let changing = tokio::task::spawn_blocking(move || file.replace_password(&user, &new));
        self.begin_anew(locals, person, changing, headers, from).await
    }

    /// Gives somebody who signed in with a password a second factor, once a code shows that their device has its secret.
    /// Every session of theirs ends; returns the key of a new one for the browser.
    ///
    /// # Errors
    /// When they did not, the password or the code is wrong, or the file cannot be written.
    pub async fn add_second_factor(
        &self,
        person: &Person,
        password: Secret,
        secret: Secret,
        code: &Secret,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Result<Secret, PasswordError> {
        let locals = self.locals_of(person)?;
        let from = self.client(headers, peer);
        let user = self.believed(locals, &person.name, password, None, from).await?;
        if user.has_second_factor() {
            return Err(PasswordError::New(UserError::Changed(words::shown(&user.name))));
        }
        if !locals.codes.spend(&user.name, &secret, code, clock::now()) {
            return Err(PasswordError::Code);
        }
        let file = locals.file.clone();
        let changing = tokio::task::spawn_blocking(move || file.replace_totp(&user, Some(secret)));
        self.begin_anew(locals, person, changing, headers, from).await
    }

    /// Takes the second factor of somebody away who shows password and code once more. Every session of theirs ends;
    /// returns the key of a new one for the browser.
    ///
    /// # Errors
    /// When they did not sign in with a password, the password or the code is wrong, or the file cannot be written.
    pub async fn remove_second_factor(
        &self,
        person: &Person,
        password: Secret,
        code: &Secret,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Result<Secret, PasswordError> {
        let locals = self.locals_of(person)?;
        let from = self.client(headers, peer);
        let user = self.believed(locals, &person.name, password, Some(code), from).await?;
        let file = locals.file.clone();
        let changing = tokio::task::spawn_blocking(move || file.replace_totp(&user, None));
        self.begin_anew(locals, person, changing, headers, from).await
    }

    /// Whether somebody who signed in with a password needs a code beside it; `None`: they did not.
    #[must_use]
    pub fn second_factor_of(&self, person: &Person) -> Option<bool> {
        let locals = self.locals_of(person).ok()?;
        Some(locals.users.current().get(&person.name)?.has_second_factor())
    }

    fn locals_of(&self, person: &Person) -> Result<&Locals, PasswordError> {
        self.users.as_ref().filter(|_| person.via == Via::Password).ok_or(PasswordError::NotLocal)
    }

    /// Ends what somebody had as they were, and lets them in as they are once that is written and in force.
    async fn begin_anew(
        &self,
        locals: &Locals,
        person: &Person,
        changing: JoinHandle<Result<User, UserError>>,
        headers: &HeaderMap,
        from: IpAddr,
    ) -> Result<Secret, PasswordError> {
        let user = changing.await.unwrap_or_else(|_| Err(UserError::Changed(person.name.to_string())))?;
        let mut users = locals.users.clone();
        let in_force = async {
            while users.current().get(&user.name) != Some(&user) {
                users.changed().await;
            }
        };
        // Where somebody else has changed the file meanwhile, what they wrote is what holds.
        let _ = tokio::time::timeout(MAX_UNTIL_IN_FORCE, in_force).await;
        self.sessions.end_all_of(person);
        Ok(self.begin_as(&user, headers, from).0)
    }

    /// The local user who shows that they are it. An attempt that fails slows down the next.
    async fn believed(
        &self,
        locals: &Locals,
        name: &str,
        password: Secret,
        code: Option<&Secret>,
        from: IpAddr,
    ) -> Result<User, SignInError> {
        // Nobody has a longer name, and what is counted is kept.
        let name: String = name.trim().chars().take(MAX_NAME_CHARS + 1).collect();
        let shown = words::shown(&name);
        let attempt = self.throttle.begin(&name, from).map_err(|wait| {
            tracing::warn!(person = shown, address = %from, wait_s = wait.as_secs(), "sign-in refused: too many attempts");
            SignInError::Wait(wait)
        })?;
        let user = locals.users.current().get(&name).cloned();
        let hash = user.as_ref().map(|user| user.password.clone());
        let is_right = locals.verifier.verify(hash, password).await.map_err(|Busy| SignInError::Busy)?;
        let is_shown = |user: &User| match (&user.totp, code) {
            (Some(secret), Some(code)) => locals.codes.spend(&user.name, secret, code, clock::now()),
            _ => true,
        };
        let Some(user) = user.filter(|_| is_right).filter(is_shown) else {
            tracing::warn!(person = shown, address = %from, "sign-in refused: wrong name or password, or code");
            return Err(SignInError::Wrong);
        };
        self.throttle.right(attempt);
        Ok(user)
    }

    fn begin_as(&self, user: &User, headers: &HeaderMap, from: IpAddr) -> (Secret, Arc<Person>) {
        self.begin(self.person(&user.name, Via::Password, &user.groups), Some(user.clone()), headers, from)
    }

    /// Begins to sign somebody in with the provider, who wants to go to `next` afterwards. Returns where to send the
    /// browser, and the `Set-Cookie` with what it is to bring back.
    ///
    /// # Errors
    /// When the provider cannot be used.
    pub async fn begin_with_provider(&self, next: &str) -> Result<(Url, String), OidcError> {
        let oidc = self.oidc.as_ref().ok_or(OidcError::NoProvider)?;
        let begun = oidc.begin(next).await?;
        Ok((begun.url, self.under_way(Some(&begun.sealed))))
    }

    /// Signs somebody in whom the provider sent back. Returns the session's key for the browser, the person, and where they
    /// wanted to go.
    ///
    /// # Errors
    /// When the browser did not begin this here, or what the provider says is not believed.
    pub async fn finish_with_provider(
        &self,
        returned: Returned,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Result<(Secret, Arc<Person>, String), OidcError> {
        let oidc = self.oidc.as_ref().ok_or(OidcError::NoProvider)?;
        let from = self.client(headers, peer);
        let identified = oidc.finish(returned, cookie(headers, self.under_way_name())).await.inspect_err(|error| {
            tracing::warn!(address = %from, "sign-in refused: {error}");
        })?;
        let person = self.person(&identified.name, Via::Oidc, &identified.groups);
        let (key, person) = self.begin(person, None, headers, from);
        Ok((key, person, identified.next))
    }

    /// The `Set-Cookie` for a sign-in under way with the provider. `Lax`: the provider is another site, and the cookie must
    /// come along when it sends the browser back.
    #[must_use]
    pub(crate) fn under_way(&self, sealed: Option<&Secret>) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        let (value, age) = sealed.map_or(("", 0), |sealed| (sealed.expose(), UNDER_WAY_S));
        format!("{}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}", self.under_way_name())
    }

    fn under_way_name(&self) -> &'static str {
        if self.secure { "__Host-lockkeeper-signing-in" } else { "lockkeeper-signing-in" }
    }

    /// Begins a session under a new key, and ends the one that the browser had: a key that somebody planted there is
    /// worth nothing.
    fn begin(&self, person: Person, user: Option<User>, headers: &HeaderMap, from: IpAddr) -> (Secret, Arc<Person>) {
        self.sign_out(headers);
        let (key, person) = self.sessions.begin(person, user, from);
        tracing::info!(person = &*person.name, via = person.via.word(), address = %from, "signed in");
        (key, person)
    }

    /// When a session that begins now ends if nobody uses it.
    #[must_use]
    pub fn unused_until(&self) -> Instant {
        Instant::now() + self.limits.idle.min(self.limits.absolute)
    }

    /// Ends the session that the browser has. Returns whose it was.
    pub fn sign_out(&self, headers: &HeaderMap) -> Option<Arc<Person>> {
        self.sessions.end(self.key(headers)?)
    }

    /// The sessions of somebody, or of everybody, the newest first.
    #[must_use]
    pub fn sessions(&self, of: Option<&Person>) -> Vec<Listed> {
        self.sessions.list(|person| of.is_none_or(|of| is_same(person, of)))
    }

    /// Ends one session of somebody, or of anybody. Returns whose it was; `None`: there is none of that name.
    pub fn end_session(&self, id: SessionId, of: Option<&Person>) -> Option<Arc<Person>> {
        self.sessions.end_one(id, |person| of.is_none_or(|of| is_same(person, of)))
    }

    /// Ends every session of somebody. Returns how many those were.
    pub fn sign_out_everywhere(&self, person: &Person) -> usize {
        let ended = self.sessions.end_all_of(person);
        tracing::info!(person = &*person.name, sessions = ended, "signed out everywhere");
        ended
    }

    /// The `Set-Cookie` that gives the browser its key; without a key, the one that takes it away.
    #[must_use]
    pub fn cookie(&self, key: Option<&Secret>) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        let (value, age) = match key {
            Some(key) => (key.expose(), self.limits.absolute.as_secs()),
            None => ("", 0),
        };
        format!("{}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}", self.cookie)
    }

    fn person(&self, name: &str, via: Via, groups: &[String]) -> Person {
        let roles = self.policy.current().roles_of(groups);
        let membership = Membership::Groups(groups.into());
        Person { name: Arc::from(name), via, roles, membership, only: None, session: None }
    }

    /// The address that a request came from, as far as the proxy in front is believed.
    #[must_use]
    pub fn client(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> IpAddr {
        let peer = peer.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip());
        self.proxy.as_ref().map_or(peer, |proxy| proxy.client(headers, peer))
    }

    fn key<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        cookie(headers, self.cookie)
    }
}

/// The value of a cookie.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Whoever is removed, gets another password or other groups is signed out.
async fn end_with_their_users(mut users: Watched<Users>, sessions: Arc<Sessions>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = users.changed() => {}
        }
        let now = users.current();
        sessions.end_unless(|name| now.get(name).cloned());
    }
}
