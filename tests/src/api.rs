use std::path::Path;

use lockkeeper_model::{
    Coverage, Event, Lock, LockId, PreviewAnswer, PreviewRequest, PreviewTarget, Problem, ReleaseAnswer,
    ReleaseRequest, SourceState, SourceStatus, Time,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::HeaderName;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{described, until};

/// Speaks to a server's public contract.
#[derive(Clone, Debug)]
pub struct Api {
    http: reqwest::Client,
    base: String,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The `Content-Type`.
    pub content_type: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as what it should be.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }

    /// The problem that was answered.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn problem(&self) -> Problem {
        assert_eq!(self.content_type, "application/problem+json", "{self:#?}");
        let problem: Problem = self.json();
        assert_eq!(problem.status, self.status, "{self:#?}");
        problem
    }
}

/// `GET /api/v1/locks`.
#[derive(Clone, Debug, Deserialize)]
pub struct Locks {
    /// When this was true.
    pub as_of: Time,
    /// Locks that are an answer.
    pub total: u64,
    /// How much of each store was seen.
    pub coverage: serde_json::Value,
    /// The page.
    pub locks: Vec<Lock>,
}

#[derive(Deserialize)]
struct Sources {
    sources: Vec<SourceStatus>,
}

#[derive(Deserialize)]
struct Events {
    events: Vec<Event>,
}

impl Api {
    /// Speaks to the server at `host:port`.
    ///
    /// # Panics
    /// When there is no HTTP client to be had.
    #[must_use]
    pub fn new(address: &str) -> Api {
        let http = reqwest::Client::builder().timeout(crate::DEADLINE).no_proxy().build().unwrap();
        Api { http, base: format!("http://{address}") }
    }

    /// The same server, asked with this header each time.
    ///
    /// # Panics
    /// When it cannot be a header.
    #[must_use]
    pub fn with(&self, name: &'static str, value: &str) -> Api {
        self.with_all(&[(name, value)])
    }

    /// The same server, asked with these headers each time.
    ///
    /// # Panics
    /// When they cannot be headers.
    #[must_use]
    pub fn with_all(&self, headers: &[(&'static str, &str)]) -> Api {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
        let http = reqwest::Client::builder().timeout(crate::DEADLINE).no_proxy().default_headers(headers);
        Api { http: http.redirect(reqwest::redirect::Policy::none()).build().unwrap(), base: self.base.clone() }
    }

    /// The same server, asked as whoever has this token.
    #[must_use]
    pub fn bearing(&self, token: &str) -> Api {
        self.with("authorization", &format!("Bearer {token}"))
    }

    /// Speaks TLS to the server at `host:port`, and trusts nobody but the authority in this file.
    ///
    /// # Panics
    /// When the file holds no certificate.
    #[must_use]
    pub fn over_tls(address: &str, ca: &Path) -> Api {
        let ca = reqwest::Certificate::from_pem(&std::fs::read(ca).unwrap()).unwrap();
        let http = reqwest::Client::builder().timeout(crate::DEADLINE).no_proxy().tls_built_in_root_certs(false);
        Api { http: http.add_root_certificate(ca).build().unwrap(), base: format!("https://{address}") }
    }

    /// Any request.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Any `GET`.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, self.request(Method::GET, path)).await
    }

    /// Any `POST` of a JSON body.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn post(&self, path: &str, body: &impl serde::Serialize) -> Answer {
        self.send(Method::POST, path, self.request(Method::POST, path).json(body)).await
    }

    /// The only source.
    ///
    /// # Panics
    /// When there are several.
    pub async fn source(&self) -> SourceStatus {
        let mut sources = self.get("/api/v1/sources").await.json::<Sources>().sources;
        assert_eq!(sources.len(), 1, "{sources:#?}");
        sources.remove(0)
    }

    /// Waits until the only source is as wanted.
    pub async fn until_source(&self, what: &str, passes: impl Fn(&SourceStatus) -> bool) -> SourceStatus {
        until(what, async || self.source().await, passes).await
    }

    /// Waits until the only source is live.
    pub async fn until_live(&self) -> SourceStatus {
        self.until_source("the source to be live", |source| source.state == SourceState::Live).await
    }

    /// How much of the only source was seen.
    pub async fn coverage(&self) -> Coverage {
        self.source().await.coverage
    }

    /// A page of locks; `query` without the question mark.
    pub async fn locks(&self, query: &str) -> Locks {
        let answer = self.get(&format!("/api/v1/locks?{query}")).await;
        assert_eq!(answer.status, 200, "{answer:#?}");
        answer.json()
    }

    /// A held lock of the only source; `None` if it is not held.
    pub async fn lock(&self, key: impl AsRef<[u8]>) -> Option<Lock> {
        let answer = self.get(&self.path_of(key.as_ref()).await).await;
        match answer.status {
            200 => Some(answer.json()),
            404 => None,
            _ => panic!("{answer:#?}"),
        }
    }

    /// Waits until a lock is held and as wanted.
    pub async fn until_lock(&self, what: &str, key: impl AsRef<[u8]>, passes: impl Fn(&Lock) -> bool) -> Lock {
        let passes = |lock: &Option<Lock>| lock.as_ref().is_some_and(&passes);
        until(what, async || self.lock(key.as_ref()).await, passes).await.unwrap()
    }

    /// A lock's transitions, newest first.
    pub async fn events(&self, key: impl AsRef<[u8]>) -> Vec<Event> {
        let path = self.path_of(key.as_ref()).await;
        let answer = self.get(&format!("{path}/events")).await;
        if answer.status == 404 { Vec::new() } else { answer.json::<Events>().events }
    }

    /// The words for a lock's transitions, oldest first.
    pub async fn story(&self, key: impl AsRef<[u8]>) -> Vec<&'static str> {
        let mut words: Vec<_> = self.events(key).await.iter().map(|event| event.transition.word()).collect();
        words.reverse();
        words
    }

    /// Waits until a lock's story ends with these words.
    pub async fn until_story(&self, key: impl AsRef<[u8]>, words: &[&'static str]) {
        until(
            &format!("a story that ends with {words:?}"),
            async || self.story(key.as_ref()).await,
            |story| story.ends_with(words),
        )
        .await;
    }

    /// What releasing this lock, as it is now, would do.
    pub async fn preview(&self, lock: &Lock) -> PreviewAnswer {
        let answer = self.try_preview(&[lock]).await;
        assert_eq!(answer.status, 200, "{answer:#?}");
        answer.json()
    }

    /// The same for several, with whatever comes back.
    pub async fn try_preview(&self, locks: &[&Lock]) -> Answer {
        let locks = locks
            .iter()
            .map(|lock| PreviewTarget {
                source: lock.source.clone(),
                id: lock.id.clone(),
                generation: lock.generation.clone(),
                holder: None,
            })
            .collect();
        self.post(
            "/api/v1/releases/preview",
            &PreviewRequest { locks, action: Default::default(), hold_ms: None, leave_out: false },
        )
        .await
    }

    /// Releases what was previewed, properly confirmed.
    pub async fn release(&self, preview: &PreviewAnswer) -> (u16, ReleaseAnswer) {
        let answer = self.try_release(&preview.ticket, &preview.confirm, "a test").await;
        assert!(matches!(answer.status, 200 | 409 | 502), "{answer:#?}");
        (answer.status, answer.json())
    }

    /// Asks what releasing what was previewed would come to.
    pub async fn dry_run(&self, preview: &PreviewAnswer) -> (u16, ReleaseAnswer) {
        let request = ReleaseRequest { ticket: preview.ticket.clone(), dry_run: true, ..Default::default() };
        let answer = self.post("/api/v1/releases", &request).await;
        assert!(matches!(answer.status, 200 | 409 | 502), "{answer:#?}");
        (answer.status, answer.json())
    }

    /// Releases, with whatever comes back.
    pub async fn try_release(&self, ticket: &str, confirm: &str, reason: &str) -> Answer {
        let request = ReleaseRequest {
            ticket: ticket.to_owned(),
            confirm: confirm.to_owned(),
            reason: reason.to_owned(),
            ..Default::default()
        };
        self.post("/api/v1/releases", &request).await
    }

    /// Sends a request and reads the whole answer, which must be as the server describes it.
    async fn send(&self, method: Method, path: &str, request: reqwest::RequestBuilder) -> Answer {
        let said = answer(request).await;
        let read = async || answer(self.request(Method::GET, described::PATH)).await.json();
        described::check(method.as_str(), path, &said, read).await;
        said
    }

    async fn path_of(&self, key: &[u8]) -> String {
        let source = self.source().await.name;
        let id = LockId::of_key(key);
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        format!("/api/v1/locks/{}/{}", encoded(&source), encoded(id.as_str()))
    }
}

/// Sends a request and reads the whole answer.
async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("the server to answer");
    let content_type = response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    Answer { status, content_type: content_type.unwrap_or_default(), body: response.text().await.unwrap() }
}
