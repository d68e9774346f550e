//! Webhooks, with a receiver that is really there: what it is sent, when it is away, and what it may not do to us.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes as Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use lockkeeper_model::{Delivery, LockId, LockWarning, Severity, WarningRule, WarningState};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use url::Url;

use super::super::watch::Told;
use super::super::{Form, Hook, NotKept, Pick, Warnings};
use super::*;
use crate::fake::Fake;
use crate::webhook::{Pace, sign};

const SECRET: &[u8] = b"a secret of the test";

/// In no time, and yet several times.
const HASTY: Pace = Pace {
    answer: Duration::from_millis(300),
    tries: 3,
    first_wait: Duration::from_millis(5),
    longest_wait: Duration::from_millis(10),
};

/// How a receiver answers; the last goes on for ever.
#[derive(Clone, Copy, Debug)]
enum Answer {
    With(StatusCode),
    /// Elsewhere, where somebody would be told who must not be.
    Redirect,
    /// After everybody has lost patience.
    Never,
    /// With more than anybody would read.
    Endless,
}

#[derive(Clone)]
struct Receiver {
    url: Url,
    got: watch::Sender<Vec<(HeaderMap, String)>>,
    answers: Arc<Mutex<Vec<Answer>>>,
}

impl Receiver {
    async fn listen(answers: &[Answer]) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/hooks/hunter2", listener.local_addr().unwrap())).unwrap();
        let receiver = Receiver { url, got: watch::Sender::default(), answers: Arc::new(Mutex::new(answers.to_vec())) };
        let app = Router::new().fallback(Receiver::take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        receiver
    }

    async fn take(State(receiver): State<Receiver>, uri: Uri, headers: HeaderMap, body: Body) -> Response {
        assert_eq!(uri.path(), "/hooks/hunter2", "a redirect was followed");
        receiver.got.send_modify(|got| got.push((headers, String::from_utf8(body.to_vec()).unwrap())));
        let answer = {
            let mut answers = receiver.answers.lock().unwrap();
            if answers.len() > 1 { answers.remove(0) } else { answers[0] }
        };
        match answer {
            Answer::With(status) => status.into_response(),
            Answer::Redirect => (StatusCode::TEMPORARY_REDIRECT, [("location", "/elsewhere")]).into_response(),
            Answer::Never => std::future::pending().await,
            Answer::Endless => {
                let chunk = || Ok::<_, std::convert::Infallible>(Body::from(vec![b'x'; 65_536]));
                axum::body::Body::from_stream(futures_util::stream::repeat_with(chunk)).into_response()
            }
        }
    }

    fn got(&self) -> Vec<(HeaderMap, String)> {
        self.got.borrow().clone()
    }

    async fn until_asked(&self) {
        self.got.subscribe().wait_for(|got| !got.is_empty()).await.unwrap();
    }

    fn hook(&self, form: Form) -> Hook {
        Hook {
            name: form.word().to_owned(),
            url: self.url.clone(),
            secret: Some(SECRET.to_vec()),
            form,
            pick: Pick { rules: Vec::new(), severity: Severity::Info, sources: Vec::new() },
        }
    }
}

/// Whoever tells, and what to tell it.
async fn desk(hooks: &[Hook]) -> (Warnings, mpsc::Sender<Told>) {
    desk_in(None, hooks, HASTY)
}

/// The same, with a folder for what waits at the end.
fn desk_in(dir: Option<&Path>, hooks: &[Hook], pace: Pace) -> (Warnings, mpsc::Sender<Told>) {
    let (told, heard) = mpsc::channel(16);
    let base = Url::parse("https://locks.example.org/").unwrap();
    let kept = Err(NotKept("a test".to_owned()));
    let warnings = Warnings::start(Fake::new(&["s"]).board, heard, kept, dir, Some(base), pace);
    warnings.tell(hooks).unwrap();
    (warnings, told)
}

fn told(event: &'static str) -> Told {
    let is_over = event == "resolved";
    let warning = LockWarning {
        id: "00112233445566778899aabbccddeeff".to_owned(),
        rule: WarningRule::NoExpiry,
        severity: Severity::Critical,
        state: if is_over { WarningState::Resolved } else { WarningState::Open },
        source: "s".to_owned(),
        lock: Some(LockId::of_key(b"lock:a")),
        about: "a".to_owned(),
        since: Time(0),
        opened_at: Time(600_000),
        says: "`<!channel> & co` has it.".to_owned(),
        why: "Because.".to_owned(),
        todo: "Look.".to_owned(),
        times: 1,
        acknowledged: None,
        muted: None,
        resolved_at: is_over.then_some(Time(700_000)),
        resolved: is_over.then(|| "It was let go.".to_owned()),
        stale: false,
    };
    Told { warning, key: None, event: Some(event), told_as: Some(Severity::Critical) }
}

/// The deliveries, oldest first, once so many are decided.
async fn decided(warnings: &Warnings, count: usize) -> Vec<Delivery> {
    let are_decided = |all: &[Delivery]| all.iter().filter(|delivery| delivery.done_at.is_some()).count() >= count;
    let all = tokio::time::timeout(Duration::from_secs(20), warnings.until_deliveries(are_decided));
    let mut deliveries = all.await.unwrap();
    deliveries.reverse();
    deliveries
}

#[tokio::test]
async fn a_receiver_can_tell_that_it_is_us_and_that_it_is_now() {
    let receiver = Receiver::listen(&[Answer::With(StatusCode::NO_CONTENT)]).await;
    let (warnings, tell) = desk(&[receiver.hook(Form::Json)]).await;
    tell.send(told("opened")).await.unwrap();
    tell.send(told("resolved")).await.unwrap();
    let deliveries = decided(&warnings, 2).await;
    let got = receiver.got();
    for ((headers, body), event) in got.iter().zip(["opened", "resolved"]) {
        let header = |name: &str| headers[name].to_str().unwrap();
        let timestamp = header("x-lockkeeper-timestamp");
        let signed = sign(SECRET, &[timestamp.as_bytes(), b".", body.as_bytes()]).unwrap();
        assert_eq!(header("x-lockkeeper-signature"), format!("v1={signed}"));
        let age_s = crate::clock::now().0 / 1_000 - timestamp.parse::<i64>().unwrap();
        assert!((0..60).contains(&age_s), "{timestamp}");
        let said: Value = serde_json::from_str(body).unwrap();
        assert_eq!((said["event"].as_str(), said["warning"]["lock"].as_str()), (Some(event), Some("lock:a")));
        assert_eq!(said["link"], "https://locks.example.org/warnings?warning=00112233445566778899aabbccddeeff");
        assert!(deliveries.iter().any(|one| one.id == header("x-lockkeeper-delivery") && one.event == event));
    }
    assert!(deliveries.iter().all(|one| one.outcome == "delivered" && one.tries == 1), "{deliveries:#?}");
}

#[tokio::test]
async fn what_waits_when_the_server_ends_is_sent_after_the_next_start_as_the_same_deliveries() {
    let dir = TempDir::new().unwrap();
    let away = Receiver::listen(&[Answer::Never]).await;
    let patient = Pace { answer: Duration::from_secs(600), ..HASTY };
    let hooks = [away.hook(Form::Json)];
    let (warnings, tell) = desk_in(Some(dir.path()), &hooks, patient);
    tell.send(told("opened")).await.unwrap();
    tell.send(told("resolved")).await.unwrap();
    let both = async { (warnings.until_deliveries(|all| all.len() >= 2).await, away.until_asked().await) };
    let (deliveries, ()) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    let mut names: Vec<String> = deliveries.into_iter().map(|one| one.id).collect();
    names.reverse();
    warnings.close().await;

    // Whoever is told by another name is another.
    let well = Receiver::listen(&[Answer::With(StatusCode::OK)]).await;
    let other = Hook { name: "other".to_owned(), ..well.hook(Form::Json) };
    let (warnings, tell) = desk_in(Some(dir.path()), std::slice::from_ref(&other), HASTY);
    assert!(warnings.deliveries().is_empty());
    warnings.tell(&[other, well.hook(Form::Json)]).unwrap();
    let deliveries = decided(&warnings, 2).await;
    assert_eq!(deliveries.iter().map(|one| one.id.clone()).collect::<Vec<_>>(), names);
    assert!(deliveries.iter().all(|one| one.webhook == "json" && one.outcome == "delivered"), "{deliveries:#?}");
    let got = well.got();
    let sent = |at: usize| got[at].0["x-lockkeeper-delivery"].to_str().unwrap();
    assert_eq!([sent(0), sent(1)], [&names[0], &names[1]]);
    assert_eq!(away.got()[0].0["x-lockkeeper-delivery"], names[0].as_str(), "a receiver can tell that it is the same");

    // Nothing is left for the run after that.
    warnings.close().await;
    drop((warnings, tell));
    let (warnings, _tell) = desk_in(Some(dir.path()), &[well.hook(Form::Json)], HASTY);
    assert!(warnings.deliveries().is_empty());
}

#[tokio::test]
async fn one_that_fails_first_is_asked_again_and_one_that_refuses_is_not() {
    let failing = [Answer::With(StatusCode::INTERNAL_SERVER_ERROR), Answer::With(StatusCode::OK)];
    let failing = Receiver::listen(&failing).await;
    let refusing = Receiver::listen(&[Answer::With(StatusCode::NOT_FOUND)]).await;
    let hooks = [Hook { name: "failing".to_owned(), ..failing.hook(Form::Json) }, refusing.hook(Form::Json)];
    let (warnings, tell) = desk(&hooks).await;
    tell.send(told("opened")).await.unwrap();
    let deliveries = decided(&warnings, 2).await;
    let of = |name: &str| deliveries.iter().find(|one| one.webhook == name).unwrap();
    assert_eq!((of("failing").outcome.as_str(), of("failing").tries), ("delivered", 2));
    assert_eq!((of("json").outcome.as_str(), of("json").tries), ("refused", 1));
    let got = failing.got();
    assert_eq!(got.len(), 2);
    assert_eq!(got[0].0["x-lockkeeper-delivery"], got[1].0["x-lockkeeper-delivery"], "it is the same delivery");
}

#[tokio::test]
async fn one_that_is_slow_or_gone_holds_up_no_other() {
    let slow = Receiver::listen(&[Answer::Never]).await;
    let well = Receiver::listen(&[Answer::With(StatusCode::OK)]).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = Url::parse(&format!("http://{}/hunter2", nobody.local_addr().unwrap())).unwrap();
    drop(nobody);
    let named = |name: &str, url: &Url| Hook { name: name.to_owned(), url: url.clone(), ..well.hook(Form::Json) };
    let hooks = [named("slow", &slow.url), named("gone", &gone), named("well", &well.url)];
    let (warnings, tell) = desk(&hooks).await;
    tell.send(told("opened")).await.unwrap();
    let deliveries = decided(&warnings, 3).await;
    let of = |name: &str| deliveries.iter().find(|one| one.webhook == name).unwrap();
    assert_eq!(of("well").outcome, "delivered");
    for name in ["slow", "gone"] {
        assert_eq!((of(name).outcome.as_str(), of(name).tries), ("failed", HASTY.tries), "{name}");
        assert!(!of(name).detail.as_deref().unwrap().contains("hunter2"), "{:?}", of(name));
    }
    assert!(of("well").done_at < of("slow").done_at);
}

#[tokio::test]
async fn no_redirect_is_followed_and_no_answer_is_read() {
    let redirecting = Receiver::listen(&[Answer::Redirect]).await;
    let endless = Receiver::listen(&[Answer::Endless]).await;
    let hooks = [redirecting.hook(Form::Json), Hook { name: "endless".to_owned(), ..endless.hook(Form::Json) }];
    let (warnings, tell) = desk(&hooks).await;
    tell.send(told("opened")).await.unwrap();
    let deliveries = decided(&warnings, 2).await;
    let of = |name: &str| deliveries.iter().find(|one| one.webhook == name).unwrap();
    assert_eq!((of("json").outcome.as_str(), redirecting.got().len()), ("refused", 1));
    assert_eq!(of("endless").outcome, "delivered");
}

#[tokio::test]
async fn slack_reads_blocks_in_which_nobody_is_called_by_a_strangers_text() {
    let receiver = Receiver::listen(&[Answer::With(StatusCode::OK)]).await;
    let (warnings, tell) = desk(&[receiver.hook(Form::Slack)]).await;
    let mut called = told("opened");
    called.warning.about = "<!channel>".to_owned();
    tell.send(called).await.unwrap();
    decided(&warnings, 1).await;
    let said: Value = serde_json::from_str(&receiver.got()[0].1).unwrap();
    assert_eq!(said["text"], "critical no-expiry — &lt;!channel&gt; in s");
    let text = said["blocks"][0]["text"]["text"].as_str().unwrap();
    assert!(text.contains("`&lt;!channel&gt; &amp; co` has it."), "{text}");
    assert!(text.ends_with("|Look at it>"), "{text}");
}

#[tokio::test]
async fn pagerduty_is_told_what_is_over_under_the_same_name() {
    let receiver = Receiver::listen(&[Answer::With(StatusCode::ACCEPTED)]).await;
    let (warnings, tell) = desk(&[receiver.hook(Form::PagerDuty)]).await;
    for event in ["opened", "acknowledged", "resolved"] {
        tell.send(told(event)).await.unwrap();
    }
    decided(&warnings, 3).await;
    assert_eq!(warnings.test(Some("pagerduty")).len(), 1);
    decided(&warnings, 5).await;
    let got: Vec<Value> = receiver.got().iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect();
    let actions: Vec<&str> = got.iter().map(|event| event["event_action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["trigger", "acknowledge", "resolve", "trigger", "resolve"]);
    assert!(got.iter().all(|event| event["routing_key"] == "a secret of the test"));
    assert!(got[..3].iter().all(|event| event["dedup_key"] == "00112233445566778899aabbccddeeff"));
    assert_eq!(got[3]["dedup_key"], got[4]["dedup_key"]);
    let payload = &got[0]["payload"];
    assert_eq!((payload["severity"].as_str(), payload["source"].as_str()), (Some("critical"), Some("s")));
    assert!(receiver.got()[0].0.get("x-lockkeeper-signature").is_none(), "a routing key signs nothing");
}

#[tokio::test]
async fn a_receiver_is_told_of_what_it_asked_for() {
    let receiver = Receiver::listen(&[Answer::With(StatusCode::OK)]).await;
    let hook = |name: &str, pick: Pick| Hook { name: name.to_owned(), pick, ..receiver.hook(Form::Json) };
    let all = Pick { rules: Vec::new(), severity: Severity::Info, sources: Vec::new() };
    let hooks = [
        hook("other rules", Pick { rules: vec![WarningRule::HeldLong], ..all.clone() }),
        hook("other sources", Pick { sources: vec!["t*".to_owned()], ..all.clone() }),
        hook(
            "this",
            Pick { rules: vec![WarningRule::NoExpiry], severity: Severity::Critical, sources: vec!["s*".to_owned()] },
        ),
    ];
    let (warnings, tell) = desk(&hooks).await;
    let mild = told("opened");
    tell.send(Told { told_as: Some(Severity::Info), ..mild }).await.unwrap();
    tell.send(told("opened")).await.unwrap();
    let names: Vec<String> = decided(&warnings, 1).await.into_iter().map(|one| one.webhook).collect();
    assert_eq!(names, ["this"]);
}
