//! What the process says of itself while it runs: log lines, and traces of requests to whoever collects them.

use std::fmt;
use std::future::Future;
use std::io::IsTerminal as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{Request, Response};
use bytes::Bytes;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, filter};
use url::Url;

use crate::config::LogFormat;
use crate::tls::{BadTls, TlsFiles};

/// The Redis client reports every lost connection itself; the sources report it once, in words.
const DEFAULT_LOG: &str = "info,fred=off";

/// The service as collectors name it, unless `OTEL_SERVICE_NAME` says otherwise.
const SERVICE: &str = "lockkeeper";

/// Where a collector takes traces, below its address (OTLP 1.0, "OTLP/HTTP Request").
const TRACES_PATH: &str = "v1/traces";

/// How long a collector may take to answer. Meanwhile spans wait in a bounded queue, and what finds no room is left out.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest answer of a collector that is read: it says how many spans it did not take.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How long the end of the process waits for the last spans to leave.
const LAST_SPANS: Duration = Duration::from_millis(500);

/// Why there is no telemetry.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The authorities to trust.
    #[error(transparent)]
    Tls(#[from] BadTls),
    /// The HTTP client.
    #[error("the HTTP client for traces cannot be made: {0}")]
    Http(#[from] reqwest::Error),
    /// The exporter.
    #[error("traces cannot be sent: {0}")]
    Exporter(String),
    /// The address.
    #[error("`telemetry.otlp` cannot have `{TRACES_PATH}` below it")]
    Address,
    /// Somebody else takes the log lines already.
    #[error("the log was set up twice")]
    Twice,
}

/// What is to be ended with the process.
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sends log lines to standard error from now on, and traces of requests to the collector at `otlp`, if there is one.
    /// `LOCKKEEPER_LOG` chooses the lines; what it does not understand is reported and left out.
    ///
    /// # Errors
    /// When what sends traces cannot be set up, or this was called before.
    pub fn start(format: LogFormat, otlp: Option<&Url>, runtime: &Handle) -> Result<Telemetry, TelemetryError> {
        let chosen = std::env::var("LOCKKEEPER_LOG").unwrap_or_else(|_| DEFAULT_LOG.to_owned());
        let chosen = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse_lossy(chosen);
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let lines = match format {
            LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        let traces = otlp.map(|otlp| traces(otlp, runtime)).transpose()?;
        let spans = traces.as_ref().map(|traces| {
            // Only ours: what sends them has spans, too, and would never come to an end.
            let ours = filter::filter_fn(|about| {
                about.target().starts_with("lockkeeper") && *about.level() <= tracing::Level::INFO
            });
            tracing_opentelemetry::layer().with_tracer(traces.tracer(SERVICE)).with_filter(ours)
        });
        let all = tracing_subscriber::registry().with(lines.with_filter(chosen)).with(spans);
        all.try_init().map_err(|_| TelemetryError::Twice)?;
        Ok(Telemetry { traces })
    }

    /// Sends what was not sent yet, for a moment. To be called while the runtime still runs.
    pub fn end(self) {
        if let Some(Err(error)) = self.traces.map(|traces| traces.shutdown_with_timeout(LAST_SPANS)) {
            tracing::warn!("the last traces were not sent: {error}");
        }
    }
}

fn traces(otlp: &Url, runtime: &Handle) -> Result<SdkTracerProvider, TelemetryError> {
    let endpoint = {
        let mut endpoint = otlp.clone();
        let mut path = endpoint.path_segments_mut().map_err(|()| TelemetryError::Address)?;
        path.pop_if_empty().extend(TRACES_PATH.split('/'));
        drop(path);
        endpoint
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint.as_str())
        .with_timeout(EXPORT_TIMEOUT)
        .with_http_client(Sender::new(runtime.clone())?)
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    let about = Resource::builder().with_service_name(service_name()).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(about).build())
}

fn service_name() -> String {
    std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| SERVICE.to_owned())
}

/// Sends spans through the server's own runtime; the exporter has a thread of its own without one.
#[derive(Clone)]
struct Sender {
    client: reqwest::Client,
    runtime: Handle,
    /// The last attempt failed, which was said.
    is_failing: Arc<AtomicBool>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl Sender {
    fn new(runtime: Handle) -> Result<Sender, TelemetryError> {
        let client = reqwest::Client::builder()
            .use_preconfigured_tls(TlsFiles::default().load()?)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(EXPORT_TIMEOUT)
            .build()?;
        Ok(Sender { client, runtime, is_failing: Arc::default() })
    }

    async fn send(self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.exchange(request).await;
        let problem = match &sent {
            Err(error) => Some(error.to_string()),
            Ok(answer) if !answer.status().is_success() => Some(format!("the collector answers {}", answer.status())),
            Ok(_) => None,
        };
        let was_failing = self.is_failing.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(problem) if !was_failing => tracing::warn!("traces cannot be sent and are left out: {problem}"),
            None if was_failing => tracing::info!("traces are sent again"),
            _ => {}
        }
        sent
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut answer = self.client.execute(request.try_into()?).await.map_err(reqwest::Error::without_url)?;
        let response = Response::builder().status(answer.status());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(format!("the collector's answer has more than {MAX_ANSWER_BYTES} bytes").into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(response.body(body.into())?)
    }
}

impl HttpClient for Sender {
    fn send_bytes<'a, 'f>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'a: 'f,
        Self: 'f,
    {
        let sending = self.runtime.spawn(self.clone().send(request));
        Box::pin(async move { sending.await? })
    }
}
