//! Signing in with an OpenID Connect provider: the authorization code flow with PKCE, state and nonce (OpenID Connect
//! Core 1.0, section 3.1; RFC 7636; RFC 9700).

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use lockkeeper_model::{Time, words};
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreGenderClaim, CoreIdToken, CoreIdTokenVerifier, CoreJwsSigningAlgorithm,
    CoreProviderMetadata,
};
use openidconnect::{
    AccessToken, AdditionalClaims, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken,
    IssuerUrl, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
    SignatureVerificationError, SubjectIdentifier, TokenResponse as _, UserInfoClaims,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::Sha256;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::Secret;
use super::fetch::{Fetch, FetchError};
use super::names::foreign_name;
use crate::clock;

/// How long somebody may take to sign in at the provider: to find a second factor, and no more.
const SIGN_IN_MS: i64 = 10 * 60 * 1_000;

/// A provider that could not be reached, or whose keys did not fit, is asked again at most this often: each request could
/// be a stranger's.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Signatures that only the provider can make. Not those with the client's secret, which we could make ourselves, and
/// not `none`.
const SIGNED_BY_PROVIDER: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
];

/// An OpenID Connect provider, and what we are to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcSettings {
    /// The provider's name for itself: where its discovery document is found, exactly as written there.
    pub issuer: String,
    /// Our name there.
    pub client_id: String,
    /// Our secret there; `None` for a public client.
    pub client_secret: Option<Secret>,
    /// Where the provider sends people back to.
    pub redirect: Url,
    /// Scopes to ask for besides `openid`.
    pub scopes: Vec<String>,
    /// The claim that names the person; where it is missing, `sub`.
    pub name_claim: String,
    /// The claim that lists their groups.
    pub groups_claim: String,
    /// Certificates of the authorities to trust, as PEM; `None`: those that the system trusts.
    pub ca: Option<PathBuf>,
}

/// Why somebody could not be signed in. Shown to that person and written to the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OidcError {
    /// There is no provider.
    #[error("nobody signs in with a provider here")]
    NoProvider,
    /// The provider's discovery document or keys.
    #[error("the provider cannot be used: {0}")]
    Provider(String),
    /// The answer is not for a sign-in that this browser began here lately.
    #[error("this browser did not begin that sign-in here within the last {} minutes", SIGN_IN_MS / 60_000)]
    Stray,
    /// The provider or the person said no.
    #[error("the provider refused: {0}")]
    Refused(String),
    /// The code could not be exchanged.
    #[error("the provider did not take its own code back: {0}")]
    Exchange(String),
    /// The token is not what it must be.
    #[error("what the provider says of the person cannot be believed: {0}")]
    Token(String),
    /// The claims hold no name that can be shown.
    #[error("the provider says no name that can be used: neither `{0}` nor `sub` is one")]
    Nameless(String),
}

/// Where to send the browser, and what it is to bring back.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) url: Url,
    pub(super) sealed: Secret,
}

/// Who the provider says it is, and where they wanted to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identified {
    pub(super) name: String,
    pub(super) groups: Vec<String>,
    pub(super) next: String,
}

/// What the provider sends the browser back with.
#[derive(Clone, Debug, Default)]
pub struct Returned {
    /// The code.
    pub code: Option<Secret>,
    /// What we sent along.
    pub state: Option<String>,
    /// Why there is no code, as a word.
    pub error: Option<String>,
    /// The same for people.
    pub error_description: Option<String>,
}

/// A sign-in under way. The browser keeps it, sealed, so that strangers who begin many fill no memory here.
#[derive(Serialize, Deserialize)]
struct UnderWay {
    state: String,
    nonce: String,
    verifier: String,
    next: String,
    at: Time,
}

/// The claims beside those that the library knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Others {
    #[serde(flatten)]
    all: Map<String, Value>,
}

impl AdditionalClaims for Others {}

/// What is known of the provider.
#[derive(Debug, Default)]
struct Known {
    metadata: Option<Arc<CoreProviderMetadata>>,
    failed: Option<OidcError>,
    asked_at: Option<Instant>,
}

/// Speaks to the provider.
#[derive(Debug)]
pub(super) struct Oidc {
    settings: OidcSettings,
    fetch: Fetch,
    known: Mutex<Known>,
    /// Seals what the browser keeps; of this run only.
    seal: [u8; 32],
}

impl Oidc {
    pub(super) fn new(settings: OidcSettings) -> Result<Oidc, FetchError> {
        let fetch = Fetch::new(settings.ca.as_deref())?;
        Ok(Oidc { settings, fetch, known: Mutex::default(), seal: rand::random() })
    }

    /// Looks the provider up, so that a wrong setting is in the log at the start. A provider that is down then is no
    /// reason not to watch locks: it is looked up again when somebody signs in.
    pub(super) async fn look_up(&self) {
        match self.metadata().await {
            Ok(_) => tracing::info!(issuer = self.settings.issuer, "the OpenID Connect provider answers"),
            Err(error) => tracing::error!(
                issuer = self.settings.issuer,
                "{error}; nobody signs in with it until it can be used. `issuer` must be what the provider calls itself"
            ),
        }
    }

    /// Begins to sign somebody in, who wants to go to `next` afterwards.
    pub(super) async fn begin(&self, next: &str) -> Result<Begun, OidcError> {
        let metadata = self.metadata().await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let client = CoreClient::from_provider_metadata(CoreProviderMetadata::clone(&metadata), self.client_id(), None)
            .set_redirect_uri(self.redirect());
        let mut request = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
            .set_pkce_challenge(challenge);
        for scope in &self.settings.scopes {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        let (url, state, nonce) = request.url();
        let under_way = UnderWay {
            state: state.secret().clone(),
            nonce: nonce.secret().clone(),
            verifier: verifier.secret().clone(),
            next: next.to_owned(),
            at: clock::now(),
        };
        Ok(Begun { url, sealed: self.sealed(&under_way) })
    }

    /// Finds out who was sent back by the provider; `sealed` is what the browser kept.
    pub(super) async fn finish(&self, returned: Returned, sealed: Option<&str>) -> Result<Identified, OidcError> {
        let under_way = sealed.and_then(|sealed| self.unsealed(sealed)).ok_or(OidcError::Stray)?;
        // First: whatever else the address says may be anybody's.
        if returned.state.as_deref() != Some(under_way.state.as_str()) {
            return Err(OidcError::Stray);
        }
        if let Some(error) = returned.error {
            let description = returned.error_description.map(|text| format!(" ({text})")).unwrap_or_default();
            return Err(OidcError::Refused(words::shown(&format!("{error}{description}"))));
        }
        let code = returned.code.ok_or(OidcError::Stray)?;
        let metadata = self.metadata().await?;
        let secret = self.settings.client_secret.as_ref().map(|secret| ClientSecret::new(secret.expose().to_owned()));
        let client =
            CoreClient::from_provider_metadata(CoreProviderMetadata::clone(&metadata), self.client_id(), secret)
                .set_redirect_uri(self.redirect());
        let tokens = client
            .exchange_code(AuthorizationCode::new(code.expose().to_owned()))
            .map_err(|error| OidcError::Provider(whole(&error)))?
            .set_pkce_verifier(PkceCodeVerifier::new(under_way.verifier))
            .request_async(&self.fetch)
            .await
            .map_err(|error| OidcError::Exchange(whole(&error)))?;
        let id_token = tokens.id_token().ok_or_else(|| OidcError::Token("there is no ID token".to_owned()))?;
        let nonce = Nonce::new(under_way.nonce);
        let mut claims = match self.verified(&metadata, id_token, &nonce) {
            // Its keys were changed since we asked for them.
            Err(ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey)) => {
                let renewed = self.renewed(&metadata).await?;
                self.verified(&renewed, id_token, &nonce)
            }
            verified => verified,
        }
        .map_err(|error| OidcError::Token(whole(&error)))?;
        if !claims.contains_key(&self.settings.groups_claim)
            && let Some(more) = self.user_info(&metadata, &claims, tokens.access_token()).await?
        {
            for (name, value) in more {
                claims.entry(name).or_insert(value);
            }
        }
        let (name, groups) = self.read(&claims)?;
        Ok(Identified { name, groups, next: under_way.next })
    }

    /// The claims of an ID token, once its signature, issuer, audience, age and nonce are as they must be.
    fn verified(
        &self,
        metadata: &CoreProviderMetadata,
        token: &CoreIdToken,
        nonce: &Nonce,
    ) -> Result<Map<String, Value>, ClaimsVerificationError> {
        let issuer = metadata.issuer().clone();
        let verifier = CoreIdTokenVerifier::new_public_client(self.client_id(), issuer, metadata.jwks().clone())
            .set_allowed_algs(SIGNED_BY_PROVIDER);
        token.claims(&verifier, nonce)?;
        // The same token once more, for the claims that the library has no name for.
        let text = token.to_string();
        let payload = text.split('.').nth(1).and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok());
        payload
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or_else(|| ClaimsVerificationError::Other("its claims are no JSON object".to_owned()))
    }

    /// What the provider's user info endpoint adds, where there is one.
    async fn user_info(
        &self,
        metadata: &Arc<CoreProviderMetadata>,
        claims: &Map<String, Value>,
        token: &AccessToken,
    ) -> Result<Option<Map<String, Value>>, OidcError> {
        if metadata.userinfo_endpoint().is_none() {
            return Ok(None);
        }
        let client = CoreClient::from_provider_metadata(CoreProviderMetadata::clone(metadata), self.client_id(), None);
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
        let more: UserInfoClaims<Others, CoreGenderClaim> = client
            .user_info(token.clone(), Some(SubjectIdentifier::new(subject)))
            .map_err(|error| OidcError::Provider(whole(&error)))?
            .request_async(&self.fetch)
            .await
            .map_err(|error| OidcError::Token(whole(&error)))?;
        match serde_json::to_value(&more) {
            Ok(Value::Object(more)) => Ok(Some(more)),
            _ => Ok(None),
        }
    }

    fn read(&self, claims: &Map<String, Value>) -> Result<(String, Vec<String>), OidcError> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).and_then(foreign_name);
        let name = text(&self.settings.name_claim)
            .or_else(|| text("sub"))
            .ok_or_else(|| OidcError::Nameless(self.settings.name_claim.clone()))?;
        let groups = match claims.get(&self.settings.groups_claim) {
            Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            // One group is a text with some providers.
            Some(Value::String(group)) => vec![group.clone()],
            _ => Vec::new(),
        };
        Ok((name, groups))
    }

    async fn metadata(&self) -> Result<Arc<CoreProviderMetadata>, OidcError> {
        let mut known = self.known.lock().await;
        match (&known.metadata, &known.failed) {
            (Some(metadata), _) => Ok(metadata.clone()),
            (None, Some(error)) if known.is_fresh() => Err(error.clone()),
            (None, _) => self.ask(&mut known).await,
        }
    }

    /// The provider's metadata and keys, asked for again unless that was just done.
    async fn renewed(&self, old: &Arc<CoreProviderMetadata>) -> Result<Arc<CoreProviderMetadata>, OidcError> {
        let mut known = self.known.lock().await;
        match &known.metadata {
            Some(metadata) if !Arc::ptr_eq(metadata, old) || known.is_fresh() => Ok(metadata.clone()),
            _ => self.ask(&mut known).await,
        }
    }

    async fn ask(&self, known: &mut Known) -> Result<Arc<CoreProviderMetadata>, OidcError> {
        known.asked_at = Some(Instant::now());
        let issuer =
            IssuerUrl::new(self.settings.issuer.clone()).map_err(|error| OidcError::Provider(whole(&error)))?;
        match CoreProviderMetadata::discover_async(issuer, &self.fetch).await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                (known.metadata, known.failed) = (Some(metadata.clone()), None);
                Ok(metadata)
            }
            Err(error) => {
                let error = OidcError::Provider(whole(&error));
                known.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    fn client_id(&self) -> ClientId {
        ClientId::new(self.settings.client_id.clone())
    }

    fn redirect(&self) -> RedirectUrl {
        RedirectUrl::from_url(self.settings.redirect.clone())
    }

    fn sealed(&self, under_way: &UnderWay) -> Secret {
        let text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(under_way).unwrap_or_default());
        let tag = URL_SAFE_NO_PAD.encode(self.tag(&text).finalize().into_bytes());
        Secret::new(format!("{text}.{tag}"))
    }

    fn unsealed(&self, sealed: &str) -> Option<UnderWay> {
        let (text, tag) = sealed.split_once('.')?;
        self.tag(text).verify_slice(&URL_SAFE_NO_PAD.decode(tag).ok()?).ok()?;
        let under_way: UnderWay = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        (clock::now().since(under_way.at) <= SIGN_IN_MS).then_some(under_way)
    }

    fn tag(&self, text: &str) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut tag = Hmac::<Sha256>::new_from_slice(&self.seal).expect("a key of any length");
        tag.update(text.as_bytes());
        tag
    }
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.asked_at.is_some_and(|at| at.elapsed() < ASK_AGAIN)
    }
}

/// An error with all that caused it: the library's own words rarely say what went wrong.
fn whole(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(said, ": {error}");
        cause = error.source();
    }
    words::shown(&said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oidc() -> Oidc {
        Oidc::new(OidcSettings {
            issuer: "http://127.0.0.1:1".to_owned(),
            client_id: "lockkeeper".to_owned(),
            client_secret: Some(Secret::new("hunter2")),
            redirect: Url::parse("http://127.0.0.1:7420/auth/callback").unwrap(),
            scopes: Vec::new(),
            name_claim: "preferred_username".to_owned(),
            groups_claim: "groups".to_owned(),
            ca: None,
        })
        .unwrap()
    }

    fn under_way(at: Time) -> UnderWay {
        let text = |text: &str| text.to_owned();
        UnderWay { state: text("s"), nonce: text("n"), verifier: text("v"), next: text("/"), at }
    }

    #[test]
    fn only_what_was_sealed_here_lately_is_unsealed() {
        let (oidc, other) = (oidc(), oidc());
        let sealed = oidc.sealed(&under_way(clock::now()));
        assert_eq!(oidc.unsealed(sealed.expose()).unwrap().state, "s");
        assert!(other.unsealed(sealed.expose()).is_none());
        assert!(oidc.unsealed(&sealed.expose()[1..]).is_none());
        assert!(oidc.unsealed("").is_none() && oidc.unsealed("a.b").is_none());
        let old = oidc.sealed(&under_way(clock::now().plus(-SIGN_IN_MS - 1_000)));
        assert!(oidc.unsealed(old.expose()).is_none());
    }

    #[tokio::test]
    async fn an_answer_to_nothing_that_was_asked_is_stray() {
        let oidc = oidc();
        let sealed = oidc.sealed(&under_way(clock::now()));
        let returned = |state: &str| Returned { state: Some(state.to_owned()), ..Returned::default() };
        for (returned, sealed) in
            [(returned("s"), None), (returned("t"), Some(sealed.expose())), (returned("s"), Some(sealed.expose()))]
        {
            assert_eq!(oidc.finish(returned, sealed).await, Err(OidcError::Stray));
        }
        let refused = Returned { error: Some("access_denied".to_owned()), ..returned("s") };
        let said = oidc.finish(refused, Some(sealed.expose())).await.unwrap_err();
        assert_eq!(said, OidcError::Refused("access_denied".to_owned()));
    }

    #[tokio::test]
    async fn a_provider_that_does_not_answer_is_said_without_the_secret() {
        let oidc = oidc();
        let said = oidc.begin("/").await.unwrap_err();
        assert!(matches!(&said, OidcError::Provider(_)), "{said:?}");
        assert!(!format!("{said} {said:?} {oidc:?}").contains("hunter2"));
    }

    #[test]
    fn names_and_groups_are_read_from_the_claims_that_were_configured() {
        let oidc = oidc();
        let read = |json: &str| oidc.read(&serde_json::from_str(json).unwrap());
        assert_eq!(
            read(r#"{"sub":"1","preferred_username":"ada","groups":["a",1,"b"]}"#),
            Ok(("ada".to_owned(), vec!["a".to_owned(), "b".to_owned()]))
        );
        assert_eq!(read(r#"{"sub":"1","groups":"a"}"#), Ok(("1".to_owned(), vec!["a".to_owned()])));
        assert_eq!(read(r#"{"sub":"1","preferred_username":"a\nb"}"#), Ok(("1".to_owned(), vec![])));
        assert_eq!(read(r#"{"sub":""}"#), Err(OidcError::Nameless("preferred_username".to_owned())));
    }
}
