//! Requests to a provider: over TLS that is checked, without redirects, and with a bound on what is read.

use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use axum::http;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};

use crate::tls::{BadTls, TlsFiles};

/// How long the provider may take to answer: a person is waiting.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer that is read: keys and claims are some kilobytes.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The certificates to trust.
    #[error(transparent)]
    Tls(#[from] BadTls),
    /// The request, the connection or the answer.
    #[error("{}", if .0.is_timeout() { "there was no answer in time" } else { "the request failed" })]
    Http(#[from] reqwest::Error),
    /// Too much of an answer.
    #[error("the answer has more than {MAX_ANSWER_BYTES} bytes")]
    Large,
    /// An answer that is none.
    #[error("the answer cannot be read")]
    Form(#[from] http::Error),
}

/// Sends requests.
#[derive(Debug)]
pub(super) struct Fetch(reqwest::Client);

impl Fetch {
    /// Trusts these authorities, or those that the system trusts.
    pub(super) fn new(ca: Option<&Path>) -> Result<Fetch, FetchError> {
        let tls = TlsFiles { ca: ca.map(Path::to_owned), ..TlsFiles::default() }.load()?;
        let client = reqwest::Client::builder()
            .use_preconfigured_tls(tls)
            // A redirect could lead to places that only this machine reaches.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()?;
        Ok(Fetch(client))
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, FetchError> {
        let mut answer = self.0.execute(request.try_into()?).await.map_err(reqwest::Error::without_url)?;
        let mut response = http::Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            std::mem::swap(headers, answer.headers_mut());
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(FetchError::Large);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(response.body(body)?)
    }
}

impl<'c> AsyncHttpClient<'c> for Fetch {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}
