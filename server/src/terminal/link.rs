//! The way to a running server: which one, as whom, and what it answers.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use lockkeeper_model::{LockId, Problem};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::{Host, Url};

use super::answers::LocksAnswer;
use super::exit::{Exit, Trouble};
use super::screen::aside;
use super::sign_in;
use super::words::whole;
use crate::access::Secret;
use crate::tls::TlsFiles;

/// The server that is meant unless another is named: where `lockkeeper serve` and `lockkeeper demo` listen.
pub(super) const DEFAULT_SERVER: &str = "http://127.0.0.1:7420";

/// How long a connection may take to come about: across the world it takes a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may take. The server gives up after 30 s, and says so.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

/// The largest answer that is read: a thousand locks with a hundred holders each.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// The largest problem that is read: some sentences.
const MAX_PROBLEM_BYTES: usize = 64 * 1024;

/// The largest file with a token or a password that is read; a token has some fifty bytes, a password 512 at most.
const MAX_TOKEN_BYTES: u64 = 4 * 1024;

/// Which server to speak to, and as whom.
#[derive(Clone, Debug, Args)]
pub struct ServerArguments {
    /// The server to speak to.
    #[arg(
        long,
        value_name = "URL",
        env = "LOCKKEEPER_SERVER",
        hide_env_values = true,
        default_value = DEFAULT_SERVER,
        help_heading = "Server",
        global = true
    )]
    pub(super) server: String,

    #[command(flatten)]
    pub(super) identity: IdentityArguments,
}

/// As whom to speak to a server, and whom to believe that it is one.
#[derive(Clone, Debug, Args)]
pub struct IdentityArguments {
    /// A file with the API token to send. Without it the variable `LOCKKEEPER_TOKEN` is taken, if it is set. A token never
    /// stands on a command line, where everybody on the machine can read it.
    #[arg(long, value_name = "FILE", help_heading = "Server", global = true)]
    pub(super) token_file: Option<PathBuf>,

    /// Signs in as this local user for as long as the command takes, in place of sending a token. What takes two people takes
    /// people, and a token is none. The password is asked for on the terminal.
    #[arg(
        long,
        value_name = "NAME",
        env = "LOCKKEEPER_USER",
        help_heading = "Server",
        conflicts_with = "token_file",
        global = true
    )]
    pub(super) user: Option<String>,

    /// A file with the password of `--user`, where nobody can be asked.
    #[arg(long, value_name = "FILE", help_heading = "Server", requires = "user", global = true)]
    pub(super) password_file: Option<PathBuf>,

    /// The certificates of the authorities to trust, as PEM, in place of those that the system trusts.
    #[arg(long, value_name = "FILE", env = "LOCKKEEPER_CA", help_heading = "Server", global = true)]
    pub(super) ca: Option<PathBuf>,
}

/// A server that can be asked.
#[derive(Debug)]
pub(super) struct Link {
    http: reqwest::Client,
    base: Url,
    /// The cookie of the session, for whoever signed in.
    session: Option<Secret>,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// The body.
    pub(super) body: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The request did not reach anybody.
    NotSent(Trouble),
    /// It was sent, and what became of it is not known.
    Lost(Trouble),
}

impl From<NoAnswer> for Trouble {
    fn from(no_answer: NoAnswer) -> Trouble {
        match no_answer {
            NoAnswer::NotSent(trouble) | NoAnswer::Lost(trouble) => trouble,
        }
    }
}

impl Link {
    /// Reads the token and the certificates; nobody is spoken to yet.
    pub(super) fn to(given: &ServerArguments) -> Result<Link, Trouble> {
        let base = base(&given.server)?;
        let token = match &given.identity.token_file {
            Some(file) => Some(token_of(file)?),
            // Whoever signs in is not also somebody else.
            None if given.identity.user.is_some() => None,
            None => std::env::var("LOCKKEEPER_TOKEN").ok().filter(|token| !token.is_empty()).map(Secret::new),
        };
        let is_near = is_near(&base);
        let secret = if given.identity.user.is_some() { "password" } else { "token" };
        if (token.is_some() || given.identity.user.is_some()) && base.scheme() == "http" && !is_near {
            aside(&format!(
                "lockkeeper: without TLS the {secret} can be read on its way to {base}; use `https://` where the server has it"
            ));
        }
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, bearer(&token)?);
        }
        let tls = tls(&base, given.identity.ca.as_deref())?;
        let builder = reqwest::Client::builder()
            .use_preconfigured_tls(tls)
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirect would take the token along to wherever it leads.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("lockkeeper/", env!("CARGO_PKG_VERSION")));
        // What is on this machine is not reached by way of another.
        let builder = if is_near { builder.no_proxy() } else { builder };
        let http = builder.build().map_err(|error| Trouble::new(Exit::CouldNot, words_of(error)))?;
        Ok(Link { http, base, session: None })
    }

    /// The same, signed in where somebody is to be.
    pub(super) async fn signed_in(given: &ServerArguments) -> Result<Link, Trouble> {
        let mut link = Link::to(given)?;
        if let Some(name) = &given.identity.user {
            link.session = Some(sign_in::begin(&link, name, given.identity.password_file.as_deref()).await?);
        }
        Ok(link)
    }

    /// Signs out again.
    pub(super) async fn leave(&self) {
        if self.session.is_some() {
            // A session that cannot be ended lapses by itself.
            let _ = self.send(self.request(Method::DELETE, &["session"], &[]), ANSWER_TIMEOUT).await;
        }
    }

    /// Its address, for people.
    pub(super) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// A request to `/api/v1/` and these segments.
    pub(super) fn request(&self, method: Method, segments: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let encoded: Vec<String> =
            segments.iter().map(|segment| utf8_percent_encode(segment, NON_ALPHANUMERIC).to_string()).collect();
        let mut url = self.base.clone();
        url.set_path(&format!("/api/v1/{}", encoded.join("/")));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url);
        match &self.session {
            Some(cookie) => request.header(COOKIE, cookie.expose()),
            None => request,
        }
    }

    /// What the server answers to a question, or its refusal.
    pub(super) async fn ask(&self, segments: &[&str], query: &[(&str, &str)]) -> Result<Answer, Trouble> {
        let answer = self.send(self.request(Method::GET, segments, query), ANSWER_TIMEOUT).await?;
        self.granted(answer)
    }

    /// What the server answers to a question, if there is such a thing.
    pub(super) async fn find(&self, segments: &[&str]) -> Result<Result<Answer, Problem>, Trouble> {
        let answer = self.send(self.request(Method::GET, segments, &[]), ANSWER_TIMEOUT).await?;
        match answer.status {
            404 => Ok(Err(self.problem(&answer)?)),
            _ => self.granted(answer).map(Ok),
        }
    }

    /// The same lock has two ids if the other one is one that no URL can have.
    pub(super) fn segment(id: &LockId) -> String {
        match id.as_str() {
            dots @ ("." | "..") => {
                use base64::Engine as _;
                format!("b64:{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(dots))
            }
            id => id.to_owned(),
        }
    }

    /// No locks, but the moment on the server's clock and how much of each source was seen.
    pub(super) async fn coverage(&self) -> Result<LocksAnswer, Trouble> {
        self.read(&self.ask(&["locks"], &[("limit", "0")]).await?)
    }

    /// Sends a body and reads what comes back, whatever it is.
    pub(super) async fn post(
        &self,
        segments: &[&str],
        body: &impl Serialize,
        within: Duration,
    ) -> Result<Answer, NoAnswer> {
        let body = serde_json::to_vec(body)
            .map_err(|error| NoAnswer::NotSent(Trouble::new(Exit::CouldNot, format!("could not ask: {error}"))))?;
        let request = self.request(Method::POST, segments, &[]).header("content-type", "application/json").body(body);
        self.send(request, within).await
    }

    /// Has something taken away, and reads what comes back, whatever it is.
    pub(super) async fn delete(&self, segments: &[&str]) -> Result<Answer, NoAnswer> {
        self.send(self.request(Method::DELETE, segments, &[]), ANSWER_TIMEOUT).await
    }

    async fn send(&self, request: RequestBuilder, within: Duration) -> Result<Answer, NoAnswer> {
        let response = request.timeout(within).send().await.map_err(|error| self.unanswered(error))?;
        let status = response.status().as_u16();
        let body = self.text(response, MAX_ANSWER_BYTES).await.map_err(NoAnswer::Lost)?;
        Ok(Answer { status, body })
    }

    /// An answer that goes on. `silence` is how long it may say nothing before it begins.
    pub(super) async fn open(&self, request: RequestBuilder, silence: Duration) -> Result<Response, Trouble> {
        let answered = tokio::time::timeout(silence, request.send()).await.map_err(|_| self.slow())?;
        let response = answered.map_err(|error| Trouble::from(self.unanswered(error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let read = tokio::time::timeout(silence, self.text(response, MAX_PROBLEM_BYTES)).await;
        let body = read.map_err(|_| self.slow())??;
        let answer = Answer { status: status.as_u16(), body };
        Err(Trouble::of_problem(&self.problem(&answer)?))
    }

    async fn text(&self, mut response: Response, most: usize) -> Result<String, Trouble> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| Trouble::from(self.unanswered(error)))? {
            if body.len() + chunk.len() > most {
                let most = lockkeeper_model::words::bytes(most as u64);
                return Err(self.strange(&format!("the answer has more than {most}")));
            }
            body.extend_from_slice(&chunk);
        }
        String::from_utf8(body).map_err(|_| self.strange("the answer is not text"))
    }

    /// The answer, unless it is a refusal.
    pub(super) fn granted(&self, answer: Answer) -> Result<Answer, Trouble> {
        match answer.status {
            200..300 => Ok(answer),
            _ => Err(Trouble::of_problem(&self.problem(&answer)?)),
        }
    }

    /// The problem that was answered.
    pub(super) fn problem(&self, answer: &Answer) -> Result<Problem, Trouble> {
        serde_json::from_str(&answer.body)
            .map_err(|_| self.strange(&format!("it answers {} and does not say why", answer.status)))
    }

    /// The answer as what it should be.
    pub(super) fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, Trouble> {
        serde_json::from_str(&answer.body).map_err(|error| self.strange(&format!("its answer cannot be read: {error}")))
    }

    fn strange(&self, because: &str) -> Trouble {
        let text = format!("what is at {} does not answer as Lockkeeper does: {}", self.address(), whole(because));
        Trouble::new(Exit::CouldNot, text)
            .hint("see whether the address is right, and whether the server is of the same version as this program")
    }

    fn slow(&self) -> Trouble {
        Trouble::new(Exit::CouldNot, format!("{} did not answer in time", self.address()))
    }

    fn unanswered(&self, error: reqwest::Error) -> NoAnswer {
        let (is_refused, is_late) = (error.is_connect(), error.is_timeout());
        let words = words_of(error);
        let text = match (is_refused, is_late) {
            (true, _) => format!("no server answers at {}: {words}", self.address()),
            (_, true) => format!("{} did not answer in time", self.address()),
            _ => format!("the link to {} was lost: {words}", self.address()),
        };
        let trouble = Trouble::new(Exit::CouldNot, text);
        if !is_refused {
            return NoAnswer::Lost(trouble);
        }
        NoAnswer::NotSent(trouble.hint(match words.contains("certificate") {
            true => "give the certificate of the authority that signed the server's by `--ca`",
            false => "start one with `lockkeeper serve`, or name another by `--server` or `LOCKKEEPER_SERVER`",
        }))
    }
}

/// The address without anything that a server's address does not have.
fn base(given: &str) -> Result<Url, Trouble> {
    // An empty variable is an unset one.
    let given = if given.is_empty() { DEFAULT_SERVER } else { given };
    let bad = |because: &str| {
        Trouble::new(Exit::Usage, format!("`--server` {because}"))
            .hint(format!("a server's address is its scheme, host and port, for example {DEFAULT_SERVER}"))
    };
    let url = Url::parse(given).map_err(|error| bad(&format!("is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad("does not begin with `http://` or `https://` and a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not repeated: it is a password.
        return Err(bad("carries a user or a password").hint("a token comes from `LOCKKEEPER_TOKEN` or `--token-file`"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(bad("has more than a scheme, a host and a port"));
    }
    Ok(url)
}

/// Whether it is on this machine, whatever a resolver says.
fn is_near(base: &Url) -> bool {
    match base.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn tls(base: &Url, ca: Option<&Path>) -> Result<rustls::ClientConfig, Trouble> {
    let unusable = |error: String| Trouble::new(Exit::CouldNot, format!("TLS cannot be used: {error}"));
    if base.scheme() == "https" || ca.is_some() {
        let files = TlsFiles { ca: ca.map(Path::to_owned), ..TlsFiles::default() };
        return files.load().map_err(|error| unusable(error.to_string()));
    }
    // Nobody will be asked for a certificate, so that a system without any is as good.
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?;
    Ok(config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

fn token_of(file: &Path) -> Result<Secret, Trouble> {
    secret_of("--token-file", file)
}

/// What a file holds that a flag names, without the white space around it.
pub(super) fn secret_of(flag: &str, file: &Path) -> Result<Secret, Trouble> {
    let bad = |because: String| Trouble::new(Exit::Usage, format!("`{flag} {}` {because}", file.display()));
    let opened = std::fs::File::open(file).map_err(|error| bad(format!("cannot be read: {error}")))?;
    let mut text = String::new();
    opened
        .take(MAX_TOKEN_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| bad(format!("cannot be read: {error}")))?;
    match text.trim() {
        "" => Err(bad("is empty".to_owned())),
        _ if text.len() as u64 > MAX_TOKEN_BYTES => Err(bad(format!("has more than {MAX_TOKEN_BYTES} bytes"))),
        token => Ok(Secret::new(token)),
    }
}

/// The header that carries the token. What is wrong with it is said without repeating it.
fn bearer(token: &Secret) -> Result<HeaderValue, Trouble> {
    let text = token.expose();
    let value =
        HeaderValue::from_str(&format!("Bearer {text}")).ok().filter(|_| text.chars().all(|c| c.is_ascii_graphic()));
    let mut value = value.ok_or_else(|| {
        Trouble::new(Exit::Usage, "the token has characters that no token has")
            .hint("a token is one word that begins with `lkt_`, as `lockkeeper token new` prints it")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The error with its causes, without the URL: a lock's name may be in it.
pub(super) fn words_of(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(deeper) = cause {
        text.push_str(&format!(": {deeper}"));
        cause = deeper.source();
    }
    whole(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(server: &str) -> Result<Link, Trouble> {
        let identity = IdentityArguments { token_file: None, user: None, password_file: None, ca: None };
        Link::to(&ServerArguments { server: server.to_owned(), identity })
    }

    #[test]
    fn an_address_is_a_scheme_a_host_and_a_port() {
        assert_eq!(base("").unwrap().as_str(), "http://127.0.0.1:7420/");
        assert_eq!(link("https://locks.example.org/").unwrap().address(), "https://locks.example.org");
        for bad in ["locks", "ftp://h", "http://h/path", "http://h/?q=1", "unix:/run/x", "http://"] {
            assert_eq!(base(bad).unwrap_err().exit(), Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let said = base("http://ada:hunter2@h").unwrap_err().to_string();
        assert!(said.contains("LOCKKEEPER_TOKEN") && !said.contains("hunter2"), "{said}");
    }

    #[test]
    fn names_are_one_segment_whatever_is_in_them() {
        let link = link(DEFAULT_SERVER).unwrap();
        let path = |id: &str| {
            let id = Link::segment(&LockId::of_key(id.as_bytes()));
            link.request(Method::GET, &["locks", "a/b", &id], &[]).build().unwrap().url().path().to_owned()
        };
        assert_eq!(path("x/../y?#é"), "/api/v1/locks/a%2Fb/x%2F%2E%2E%2Fy%3F%23%C3%A9");
        assert_eq!(path(".."), "/api/v1/locks/a%2Fb/b64%3ALi4");
        assert_eq!(path("..."), "/api/v1/locks/a%2Fb/%2E%2E%2E");
    }

    #[test]
    fn a_token_that_is_none_is_refused_without_repeating_it() {
        assert!(bearer(&Secret::new("lkt_abc")).unwrap().is_sensitive());
        for bad in ["two words", "lkt_\u{7}", "lkt_é"] {
            let said = bearer(&Secret::new(bad)).unwrap_err().to_string();
            assert!(!said.contains(bad), "{said}");
        }
    }

    #[test]
    fn a_file_with_a_token_may_end_with_a_line_break_and_is_not_read_without_bound() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "lkt_abc\n").unwrap();
        assert_eq!(token_of(file.path()).unwrap().expose(), "lkt_abc");
        for bad in ["\n".to_owned(), "x".repeat(5_000)] {
            std::fs::write(file.path(), bad).unwrap();
            assert_eq!(token_of(file.path()).unwrap_err().exit(), Exit::Usage);
        }
    }

    #[test]
    fn what_is_on_this_machine_is_known_by_its_address() {
        for (url, near) in [("http://localhost:1", true), ("http://[::1]:1", true), ("http://10.0.0.1", false)] {
            assert_eq!(is_near(&Url::parse(url).unwrap()), near, "{url}");
        }
    }
}
