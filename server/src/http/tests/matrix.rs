//! Who may do what: every endpoint as everybody, and that nobody is told of what is not theirs to see.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use lockkeeper_model::wire::ServerFrame;
use lockkeeper_model::{Certainty, LockId, SourceState, Time, TraceEnd, TraceReport, WarningRule};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::super::Identify;
use super::super::router::api;
use super::{Rim, ask};
use crate::access::{Grant, Guest, Membership, NotBelieved, Person, Policy, Right, Role, Tenure, Via};
use crate::clock;
use crate::fake::{Fake, nothing};
use crate::recorder::history::{History, Limits};
use crate::release::{ReleaseDesk, Rules};
use crate::reload::LastRead;
use crate::source::{
    Batch, DialectTraits, Form, Hint, Recognition, ReleaseReply, Report, Seen, Sight, SourceId, WaitersSeen,
};
use crate::warning::{self, Limit, Override, Setting, WarningAsk};
use crate::watched::Watched;
use crate::webhook::Pace;

/// Says in a test who asks. The product has nothing like it.
const WHO: &str = "x-test-who";

/// Those who ask, in the order of a row of [`ROWS`].
const ALL: [&str; 10] =
    ["nobody", "none", "viewer", "part", "tracer", "operator", "approver", "admin", "narrowed", "loopback"];

/// What each of them is answered with.
type Expected = [u16; ALL.len()];

/// In sources and names: a lock that all may see who see anything, one that only some see, and a source that only some
/// see.
const SEEN: &str = "lock:stock:4711";
const HIDDEN: &str = "lock:payroll:run";
const ELSEWHERE: &str = "lock:ledger:close";

/// Method and path as they are asked, the path of the route, the body, and what everybody is told.
type Row = (&'static str, &'static str, &'static str, &'static str, Expected);

/// Answers about everything that the asker may see.
const WATCHING: Expected = [401, 403, 200, 200, 200, 200, 200, 403, 200, 200];
/// And about the server, for whoever looks after it.
const AUDITING: Expected = [401, 403, 200, 200, 200, 200, 200, 200, 200, 200];
/// Answers to whoever it is, as long as that is known.
const KNOWN: Expected = [401, 200, 200, 200, 200, 200, 200, 200, 200, 200];
const ANYBODY: Expected = [200; ALL.len()];

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("GET", "/api/v1/sources", "/api/v1/sources", "", WATCHING),
    ("GET", "/api/v1/locks", "/api/v1/locks", "", WATCHING),
    ("GET", "/api/v1/locks", "/api/v1/locks?q=secret", "", WATCHING),
    ("GET", "/api/v1/locks", "/api/v1/locks?q=l&sort=name&order=asc&limit=1", "", WATCHING),
    ("GET", "/api/v1/locks", "/api/v1/locks?sort=waiters&offset=1&limit=1", "", WATCHING),
    ("GET", "/api/v1/locks", "/api/v1/locks?state=waiting", "", WATCHING),
    ("GET", "/api/v1/locks", "/api/v1/locks?flag=no-expiry", "", WATCHING),
    ("GET", "/api/v1/locks", "/api/v1/locks?source=orders", "", WATCHING),
    ("GET", "/api/v1/locks", "/api/v1/locks?source=vault", "", [401, 403, 200, 400, 400, 400, 200, 403, 200, 200]),
    ("GET", "/api/v1/locks/{source}/{id}", "/api/v1/locks/orders/lock:stock:4711", "", WATCHING),
    ("GET", "/api/v1/locks/{source}/{id}", "/api/v1/locks/orders/lock:payroll:run", "", [401, 403, 200, 404, 200, 404, 200, 403, 200, 200]),
    ("GET", "/api/v1/locks/{source}/{id}", "/api/v1/locks/orders/lock:payroll:lst", "", [401, 403, 404, 404, 404, 404, 404, 403, 404, 404]),
    ("GET", "/api/v1/locks/{source}/{id}", "/api/v1/locks/vault/lock:ledger:close", "", [401, 403, 200, 404, 404, 404, 200, 403, 200, 200]),
    ("GET", "/api/v1/locks/{source}/{id}/events", "/api/v1/locks/orders/lock:stock:4711/events", "", WATCHING),
    ("GET", "/api/v1/locks/{source}/{id}/events", "/api/v1/locks/orders/lock:payroll:run/events", "", WATCHING),
    ("GET", "/api/v1/locks/{source}/{id}/events", "/api/v1/locks/vault/lock:ledger:close/events", "", [401, 403, 200, 404, 404, 404, 200, 403, 200, 200]),
    ("GET", "/api/v1/locks/{source}/{id}/notes", "/api/v1/locks/orders/lock:stock:4711/notes", "", WATCHING),
    ("GET", "/api/v1/locks/{source}/{id}/notes", "/api/v1/locks/orders/lock:payroll:run/notes", "", WATCHING),
    ("GET", "/api/v1/locks/{source}/{id}/notes", "/api/v1/locks/vault/lock:ledger:close/notes", "", [401, 403, 200, 404, 404, 404, 200, 403, 200, 200]),
    ("POST", "/api/v1/locks/{source}/{id}/notes", "/api/v1/locks/orders/lock:stock:4711/notes", "seen", [401, 403, 403, 403, 403, 403, 403, 403, 403, 201]),
    ("POST", "/api/v1/locks/{source}/{id}/notes", "/api/v1/locks/orders/lock:payroll:lst/notes", "seen", [401, 403, 403, 403, 403, 403, 403, 403, 403, 404]),
    ("GET", "/api/v1/contention", "/api/v1/contention", "", WATCHING),
    ("GET", "/api/v1/contention", "/api/v1/contention?source=vault", "", [401, 403, 200, 400, 400, 400, 200, 403, 200, 200]),
    ("GET", "/api/v1/groups", "/api/v1/groups?group=prefix", "", WATCHING),
    ("GET", "/api/v1/groups", "/api/v1/groups?group=dialect&q=secret", "", WATCHING),
    ("GET", "/api/v1/groups", "/api/v1/groups?group=holder&source=vault", "", [401, 403, 200, 400, 400, 400, 200, 403, 200, 200]),
    ("GET", "/api/v1/locks", "/api/v1/locks?group=prefix&within=payroll:", "", WATCHING),
    ("GET", "/api/v1/holders", "/api/v1/holders", "", WATCHING),
    ("GET", "/api/v1/holders", "/api/v1/holders?holder=process:web-1:7", "", WATCHING),
    ("GET", "/api/v1/holders", "/api/v1/holders?source=vault", "", [401, 403, 200, 400, 400, 400, 200, 403, 200, 200]),
    ("GET", "/api/v1/graph", "/api/v1/graph", "", WATCHING),
    ("GET", "/api/v1/graph", "/api/v1/graph?source=vault", "", [401, 403, 200, 400, 400, 400, 200, 403, 200, 200]),
    ("GET", "/api/v1/events", "/api/v1/events?last_event_id=x-1", "", WATCHING),
    ("GET", "/api/v1/events", "/api/v1/events?source=vault", "", [401, 403, 200, 400, 400, 400, 200, 403, 200, 200]),
    ("GET", "/api/v1/events", "/api/v1/events?lock=lock:payroll:run&last_event_id=x-1", "", WATCHING),
    ("GET", "/api/v1/locks", "/api/v1/locks?at=MIDDLE", "", WATCHING),
    ("GET", "/api/v1/locks", "/api/v1/locks?at=MIDDLE&q=secret&limit=2", "", WATCHING),
    ("GET", "/api/v1/locks", "/api/v1/locks?at=2020-01-01T00:00:00Z", "", [401, 403, 404, 404, 404, 404, 404, 403, 404, 404]),
    ("GET", "/api/v1/locks/{source}/{id}/events", "/api/v1/locks/orders/lock:stock:4711/events?from=2020-01-01T00:00:00Z", "", WATCHING),
    ("GET", "/api/v1/locks/{source}/{id}/events", "/api/v1/locks/orders/lock:payroll:run/events?from=2020-01-01T00:00:00Z", "", WATCHING),
    ("GET", "/api/v1/history", "/api/v1/history", "", WATCHING),
    ("GET", "/api/v1/history", "/api/v1/history?pattern=lock:*&limit=2", "", WATCHING),
    ("GET", "/api/v1/history", "/api/v1/history?source=vault", "", WATCHING),
    ("GET", "/api/v1/history", "/api/v1/history?lock=lock:payroll:run&transition=acquired", "", WATCHING),
    ("GET", "/api/v1/history", "/api/v1/history?holder=secret-of-alice", "", WATCHING),
    ("GET", "/api/v1/stats", "/api/v1/stats", "", WATCHING),
    ("GET", "/api/v1/activity", "/api/v1/activity", "", WATCHING),
    ("GET", "/api/v1/waited", "/api/v1/waited", "", WATCHING),
    ("GET", "/api/v1/stats", "/api/v1/stats?lock=lock:payroll:run", "", WATCHING),
    ("POST", "/api/v1/incidents", "/api/v1/incidents", "seen", [401, 403, 403, 403, 403, 403, 403, 403, 403, 201]),
    ("GET", "/api/v1/incidents", "/api/v1/incidents", "", WATCHING),
    ("GET", "/api/v1/incidents/{id}", "/api/v1/incidents/SEEN", "", WATCHING),
    ("GET", "/api/v1/incidents/{id}", "/api/v1/incidents/HIDDEN", "", [401, 403, 200, 404, 200, 404, 200, 403, 200, 200]),
    ("GET", "/api/v1/incidents/{id}", "/api/v1/incidents/BOTH.md", "", [401, 403, 200, 404, 404, 404, 200, 403, 200, 200]),
    ("GET", "/api/v1/stream", "/api/v1/stream", "", [401, 403, 426, 426, 426, 426, 426, 403, 426, 426]),
    ("POST", "/api/v1/releases/preview", "/api/v1/releases/preview", "seen", [401, 403, 403, 403, 403, 200, 403, 403, 403, 200]),
    ("POST", "/api/v1/releases/preview", "/api/v1/releases/preview", "hidden", [401, 403, 403, 403, 403, 409, 403, 403, 403, 200]),
    ("POST", "/api/v1/releases/preview", "/api/v1/releases/preview", "elsewhere", [401, 403, 403, 403, 403, 400, 403, 403, 403, 200]),
    ("POST", "/api/v1/releases/preview", "/api/v1/releases/preview", "both", [401, 403, 403, 403, 403, 403, 403, 403, 403, 200]),
    ("POST", "/api/v1/releases/preview", "/api/v1/releases/preview", "hold", [401, 403, 403, 403, 403, 403, 403, 403, 403, 200]),
    ("POST", "/api/v1/releases", "/api/v1/releases", "hold", [401, 403, 403, 403, 403, 410, 403, 403, 403, 409]),
    ("POST", "/api/v1/releases", "/api/v1/releases", "seen", [401, 403, 403, 403, 403, 409, 403, 403, 403, 409]),
    ("POST", "/api/v1/releases", "/api/v1/releases", "hidden", [401, 403, 403, 403, 403, 410, 403, 403, 403, 409]),
    ("POST", "/api/v1/approvals", "/api/v1/approvals", "seen", [401, 403, 403, 403, 403, 201, 403, 403, 403, 403]),
    ("POST", "/api/v1/approvals", "/api/v1/approvals", "hidden", [401, 403, 403, 403, 403, 410, 403, 403, 403, 403]),
    ("GET", "/api/v1/approvals", "/api/v1/approvals", "", WATCHING),
    ("GET", "/api/v1/approvals/{id}", "/api/v1/approvals/ID-OF-seen", "", [401, 403, 404, 404, 404, 404, 200, 403, 404, 200]),
    ("GET", "/api/v1/approvals/{id}", "/api/v1/approvals/ID-OF-hidden", "", [401, 403, 404, 404, 404, 404, 200, 403, 404, 200]),
    ("GET", "/api/v1/approvals/{id}", "/api/v1/approvals/ID-OF-elsewhere", "", [401, 403, 404, 404, 404, 404, 200, 403, 404, 200]),
    ("GET", "/api/v1/approvals/{id}", "/api/v1/approvals/unknown", "", [401, 403, 404, 404, 404, 404, 404, 403, 404, 404]),
    ("POST", "/api/v1/approvals/{id}", "/api/v1/approvals/ID-OF-seen", "approve", [401, 403, 404, 404, 404, 404, 200, 403, 404, 403]),
    ("POST", "/api/v1/approvals/{id}", "/api/v1/approvals/ID-OF-hidden", "approve", [401, 403, 404, 404, 404, 404, 200, 403, 404, 403]),
    ("GET", "/api/v1/warnings", "/api/v1/warnings", "", WATCHING),
    ("GET", "/api/v1/warnings", "/api/v1/warnings?state=open,resolved&rule=held-long&limit=1", "", WATCHING),
    ("GET", "/api/v1/warnings", "/api/v1/warnings?lock=lock:payroll:run", "", WATCHING),
    ("GET", "/api/v1/warnings", "/api/v1/warnings?source=vault", "", [401, 403, 200, 400, 400, 400, 200, 403, 200, 200]),
    ("POST", "/api/v1/warnings/{id}/acknowledge", "/api/v1/warnings/ID-OF-seen/acknowledge", "note", [401, 403, 403, 403, 403, 403, 403, 403, 403, 200]),
    ("POST", "/api/v1/warnings/{id}/acknowledge", "/api/v1/warnings/ID-OF-hidden/acknowledge", "note", [401, 403, 403, 403, 403, 403, 403, 403, 403, 200]),
    ("POST", "/api/v1/warnings/{id}/acknowledge", "/api/v1/warnings/unknown/acknowledge", "note", [401, 403, 403, 403, 403, 403, 403, 403, 403, 404]),
    ("GET", "/api/v1/mutes", "/api/v1/mutes", "", WATCHING),
    ("POST", "/api/v1/mutes", "/api/v1/mutes", "seen", [401, 403, 403, 403, 403, 403, 403, 403, 403, 201]),
    ("POST", "/api/v1/mutes", "/api/v1/mutes", "elsewhere", [401, 403, 403, 403, 403, 403, 403, 403, 403, 201]),
    ("DELETE", "/api/v1/mutes/{id}", "/api/v1/mutes/MUTE-OF-hidden", "", [401, 403, 403, 403, 403, 403, 403, 403, 403, 204]),
    ("DELETE", "/api/v1/mutes/{id}", "/api/v1/mutes/unknown", "", [401, 403, 403, 403, 403, 403, 403, 403, 403, 404]),
    ("GET", "/api/v1/deliveries", "/api/v1/deliveries", "", [401, 403, 403, 403, 403, 403, 403, 200, 403, 200]),
    ("POST", "/api/v1/webhooks/test", "/api/v1/webhooks/test", "any", [401, 403, 403, 403, 403, 403, 403, 404, 403, 404]),
    ("GET", "/api/v1/audit", "/api/v1/audit", "", AUDITING),
    ("GET", "/api/v1/audit", "/api/v1/audit?format=jsonl", "", AUDITING),
    ("GET", "/api/v1/audit", "/api/v1/audit?source=vault&limit=1", "", AUDITING),
    ("POST", "/api/v1/traces", "/api/v1/traces", "orders", [401, 403, 403, 403, 200, 403, 403, 403, 403, 200]),
    ("POST", "/api/v1/traces", "/api/v1/traces", "vault", [401, 403, 403, 403, 404, 403, 403, 403, 403, 200]),
    ("GET", "/api/v1/sources/{source}/trace", "/api/v1/sources/orders/trace", "", [401, 403, 200, 403, 200, 403, 200, 403, 200, 200]),
    ("GET", "/api/v1/sources/{source}/trace", "/api/v1/sources/vault/trace", "", [401, 403, 200, 404, 404, 404, 200, 403, 200, 200]),
    ("GET", "/api/v1/session", "/api/v1/session", "", KNOWN),
    ("POST", "/api/v1/session", "/api/v1/session", "stranger", [404; ALL.len()]),
    ("DELETE", "/api/v1/session", "/api/v1/session", "", [401, 204, 204, 204, 204, 204, 204, 204, 204, 204]),
    ("POST", "/api/v1/session/password", "/api/v1/session/password", "password", [401, 409, 409, 409, 409, 409, 409, 409, 409, 409]),
    ("GET", "/api/v1/sessions", "/api/v1/sessions", "", KNOWN),
    ("GET", "/api/v1/sessions", "/api/v1/sessions?all=true", "", [401, 403, 403, 403, 403, 403, 403, 200, 403, 200]),
    ("DELETE", "/api/v1/sessions", "/api/v1/sessions", "", KNOWN),
    ("DELETE", "/api/v1/sessions/{id}", "/api/v1/sessions/00000000000000ff", "", [401, 404, 404, 404, 404, 404, 404, 404, 404, 404]),
    ("GET", "/api/v1/settings", "/api/v1/settings", "", KNOWN),
    ("GET", "/api/v1/openapi.json", "/api/v1/openapi.json", "", ANYBODY),
    ("GET", "/healthz", "/healthz", "", ANYBODY),
    ("GET", "/readyz", "/readyz", "", [503; ALL.len()]),
    ("GET", "/metrics", "/metrics", "", AUDITING),
];

/// What must not be in any answer to them, beside what they asked for by name.
fn hidden_from(who: &str) -> Vec<&'static str> {
    let of_orders = [HIDDEN, "payroll", "secret-of-hr", "4 attempts at payroll"];
    let of_vault = ["vault", ELSEWHERE, "ledger", "secret-of-finance"];
    // With its colon: any four digits stand in some hash or other.
    let of_all = ["orders", SEEN, ":4711", "secret-of-alice"];
    match who {
        "part" | "operator" => [of_orders, of_vault].concat(),
        "tracer" => of_vault.to_vec(),
        "nobody" | "none" | "admin" => [of_orders, of_vault, of_all].concat(),
        _ => Vec::new(),
    }
}

fn policy() -> Policy {
    let role = |name: &str, rights: &[Right], sources: &[&str], keys: &[&str]| {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let grant = Grant::new(rights.iter().copied(), &texts(sources), &texts(keys));
        Role { name: name.into(), groups: Vec::new(), grant }
    };
    Policy::new(vec![
        role("viewer", &[Right::View], &[], &[]),
        role("part", &[Right::View], &["ord*"], &["lock:stock:*"]),
        role("tracer", &[Right::Trace], &["orders"], &[]),
        role("operator", &[Right::Release], &["orders"], &["lock:stock:*"]),
        role("approver", &[Right::Approve], &["*"], &["*"]),
        role("admin", &[Right::Admin], &[], &[]),
        role("noter", &[Right::Annotate], &["orders"], &["lock:stock:*"]),
        role("boss", &Right::ALL, &[], &[]),
    ])
}

/// Believes what the header says.
#[derive(Debug)]
struct ByHeader;

impl Identify for ByHeader {
    fn who(&self, headers: &HeaderMap, _: Option<SocketAddr>) -> Result<Guest, NotBelieved> {
        let known = |name: &str, via, role: &str, only| Person {
            name: name.into(),
            via,
            roles: vec![role.into()],
            membership: Membership::Named,
            only,
            session: None,
        };
        let person = match headers.get(WHO).and_then(|who| who.to_str().ok()) {
            None | Some("nobody") => return Err(NotBelieved::Nobody),
            Some("loopback") => Person::loopback(),
            Some("narrowed") => known("narrowed", Via::Token, "boss", Some(vec![Right::View])),
            Some(name) => known(name, Via::Password, name, None),
        };
        Ok(Guest { person: Arc::new(person), tenure: Tenure::Endless })
    }
}

static TRAITS: DialectTraits =
    DialectTraits { strip_prefix: "lock:", waiters_counted: true, ..DialectTraits::COMPARING };
static TOKEN: Recognition =
    Recognition { dialect: "token", certainty: Certainty::Certain, because: "test", traits: &TRAITS };

/// Two sources with something to hide in each.
struct Scene {
    rim: Rim,
    reports: mpsc::Sender<Batch>,
    /// Where what happens is written down, if it is.
    _dir: Option<TempDir>,
}

impl Scene {
    async fn new() -> Scene {
        Scene::of(History::not_kept("a test"), None).await
    }

    /// The same, with everything written down, and incidents about each lock.
    async fn recorded() -> (Scene, BTreeMap<&'static str, String>) {
        let dir = TempDir::new().unwrap();
        let history = History::open(dir.path(), Limits::default()).unwrap();
        let scene = Scene::of(history.clone(), Some(dir)).await;
        history.checkpoint(&scene.rim.fake.board).await.unwrap();
        let middle = clock::now();
        scene.holds(0, HIDDEN, "secret-of-hr-2").await;
        scene.holds(1, ELSEWHERE, "secret-of-finance-2").await;
        let mut names = BTreeMap::from([("MIDDLE", middle.to_string())]);
        for (name, locks, title) in [
            ("SEEN", vec![("orders", SEEN)], "a stuck order"),
            ("HIDDEN", vec![("orders", HIDDEN)], "4 attempts at payroll"),
            ("BOTH", vec![("orders", SEEN), ("vault", ELSEWHERE)], "the order and the ledger"),
        ] {
            let body = incident(&locks, title);
            let (status, said) = scene.ask("loopback", "POST", "/api/v1/incidents", body).await;
            assert_eq!(status, StatusCode::CREATED, "{said}");
            let packet: Value = serde_json::from_str(said.split_once('\n').unwrap().1).unwrap();
            names.insert(name, packet["id"].as_str().unwrap().to_owned());
        }
        (scene, names)
    }

    async fn of(history: History, dir: Option<TempDir>) -> Scene {
        let (fake, reports) = Fake::watched(&["orders", "vault"], history.tape());
        let mut rim = Rim::around(fake);
        rim.state.history = history;
        // Neither source is in production unless a test says so.
        let rules = Rules { two_persons: true, ..Rules::with_releasing(true) };
        rim.state.desk = Arc::new(ReleaseDesk::new(rim.fake.board.clone(), rules, rim.state.audit.clone()));
        rim.state.policy = Watched::fixed(policy());
        rim.state.identify = Arc::new(ByHeader);
        let not_kept = Err(warning::NotKept("`/srv/vault` cannot be used".to_owned()));
        let (_, nothing_told) = mpsc::channel(1);
        rim.state.warnings =
            warning::Warnings::start(rim.fake.board.clone(), nothing_told, not_kept, None, None, Pace::default());
        let scene = Scene { rim, reports, _dir: dir };
        scene.holds(0, SEEN, "secret-of-alice").await;
        scene.holds(0, HIDDEN, "secret-of-hr").await;
        scene.holds(1, ELSEWHERE, "secret-of-finance").await;
        for (source, key) in [(0, SEEN), (0, HIDDEN), (1, ELSEWHERE)] {
            // Each report is the whole truth about its source.
            let keys: &[&str] = if source == 0 { &[SEEN, HIDDEN] } else { &[key] };
            let counts = keys.iter().map(|key| (key.to_string().into(), WaitersSeen { count: 4 })).collect();
            scene.report(source, Report::Waiting { counts, at: clock::now() }).await;
        }
        scene.rim.fake.set_status(0, |status| {
            status.patterns = vec!["lock:*".to_owned(), "payroll".to_owned()];
            status.feed_because = Some("client tracking of `lock:` and `payroll`".to_owned());
            status.not_locks.sample =
                vec![(LockId::of_key(b"lock:payroll:lst"), "it is a list, 4 attempts at payroll".to_owned())];
        });
        scene.rim.fake.set_status(1, |status| {
            status.state = SourceState::Down;
            status.problem = Some("vault-1 refused the connection".to_owned());
        });
        scene
    }

    async fn holds(&self, source: u16, key: &str, token: &str) {
        let at = clock::now();
        let seen = Seen::Held(Form::exclusive(&TOKEN, token.as_bytes(), None));
        let key = Bytes::copy_from_slice(key.as_bytes());
        let sight = Sight { key, seen, asked_at: at, read_at: at, noticed_at: Some(at), hint: Hint::New };
        self.report(source, Report::Sights { sights: vec![sight], scan: false }).await;
    }

    async fn report(&self, source: u16, report: Report) {
        let (folded, told) = oneshot::channel();
        let batch = Batch { source: SourceId(source), report, folded: Some(folded) };
        self.reports.send(batch).await.unwrap();
        told.await.unwrap();
    }

    /// The status, the headers and the body of an answer, of a stream as much as comes at once.
    async fn ask(&self, who: &str, method: &str, path: &str, body: String) -> (StatusCode, String) {
        let mut request = ask(Method::from_bytes(method.as_bytes()).unwrap(), path, Body::from(body));
        request.headers_mut().insert(WHO, who.parse().unwrap());
        // Answers are compared byte for byte, and each would have an id of its own.
        request.headers_mut().insert("x-request-id", "the-same".parse().unwrap());
        request.headers_mut().insert("content-type", "application/json".parse().unwrap());
        // The history is written by a thread as well, and whatever is asked here is answered at once.
        let response = clock::standing(self.rim.send(request)).await;
        let status = response.status();
        let mut said = format!("{:?}\n", response.headers());
        let mut chunks = response.into_body().into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = String::from_utf8(chunk.unwrap().to_vec()).unwrap();
            // A stream that only says that it lives has said all that there is.
            if chunk.starts_with(": alive") {
                break;
            }
            said.push_str(&chunk);
        }
        (status, said)
    }

    async fn json(&self, who: &str, path: &str) -> Value {
        let (_, said) = self.ask(who, "GET", path, String::new()).await;
        serde_json::from_str(said.split_once('\n').unwrap().1).unwrap()
    }

    /// The body of a row, as somebody would send it who knows what there is.
    async fn body(&self, who: &str, path: &str, kind: &str) -> String {
        match (path, kind) {
            (_, "") => String::new(),
            ("/api/v1/session/password", _) => {
                json!({"old": "whatever it is", "new": "whatever it will be"}).to_string()
            }
            ("/api/v1/session", name) => json!({"name": name, "password": "whatever it is"}).to_string(),
            ("/api/v1/traces", source) => {
                self.rim.fake.with(|world| world.traces.push_back(Ok(report(source))));
                json!({"source": source, "seconds": 1}).to_string()
            }
            ("/api/v1/incidents", _) => incident(&[("orders", SEEN)], "a stuck order"),
            ("/api/v1/warnings/{id}/acknowledge", _) => json!({"note": "a test"}).to_string(),
            ("/api/v1/mutes", "seen") => mute("orders", SEEN),
            ("/api/v1/mutes", _) => mute("vault", ELSEWHERE),
            ("/api/v1/webhooks/test", _) => json!({}).to_string(),
            ("/api/v1/locks/{source}/{id}/notes", _) => {
                let lock = self.json("loopback", &format!("/api/v1/locks/orders/{SEEN}")).await;
                json!({"text": "a test", "generation": lock["generation"]}).to_string()
            }
            ("/api/v1/approvals/{id}", _) => json!({"decision": "approve", "reason": "a test"}).to_string(),
            ("/api/v1/releases" | "/api/v1/approvals", kind) => {
                let request = self.preview(kind).await;
                let (mut status, mut said) = self.ask(who, "POST", "/api/v1/releases/preview", request.clone()).await;
                if status != StatusCode::OK {
                    // Whoever has no ticket of their own brings somebody else's.
                    (status, said) = self.ask("loopback", "POST", "/api/v1/releases/preview", request).await;
                }
                assert_eq!(status, StatusCode::OK, "{said}");
                let answer: Value = serde_json::from_str(said.split_once('\n').unwrap().1).unwrap();
                self.rim.fake.with(|world| world.replies.push_back((ReleaseReply::Gone, nothing())));
                if path == "/api/v1/approvals" {
                    return json!({"ticket": answer["ticket"], "reason": "a test"}).to_string();
                }
                json!({"ticket": answer["ticket"], "confirm": answer["confirm"], "reason": "a test"}).to_string()
            }
            (_, kind) => self.preview(kind).await,
        }
    }

    /// Both sources are in production, and somebody asked for an approval of each lock. Returns the path with the id of
    /// the one that it names.
    async fn ask_approvals(&self, path: &str) -> String {
        for source in [0, 1] {
            self.rim.fake.set_status(source, |status| status.environment = Some("production".to_owned()));
        }
        let mut path = path.to_owned();
        for kind in ["seen", "hidden", "elsewhere"] {
            let body = self.body("boss", "/api/v1/approvals", kind).await;
            let (status, said) = self.ask("boss", "POST", "/api/v1/approvals", body).await;
            assert_eq!(status, StatusCode::CREATED, "{said}");
            let approval: Value = serde_json::from_str(said.split_once('\n').unwrap().1).unwrap();
            path = path.replace(&format!("ID-OF-{kind}"), approval["id"].as_str().unwrap());
        }
        path
    }

    /// Something is warned of at every lock, and each of them is muted for another rule. Returns the path with the id of the
    /// one that it names.
    async fn warn(&self, path: &str) -> String {
        let setting = Setting { for_ms: 0, limit: Limit::Renewed(true), ..Setting::default_of(WarningRule::HeldLong) };
        let always = Override { rule: WarningRule::HeldLong, source: None, pattern: None, setting: Some(setting) };
        let rules = warning::Rules::new(vec![always]);
        self.rim.fake.board.tell_warnings(WarningAsk::Follow { rules }).await.unwrap();
        let mut path = path.to_owned();
        for (kind, source, id) in
            [("seen", "orders", SEEN), ("hidden", "orders", HIDDEN), ("elsewhere", "vault", ELSEWHERE)]
        {
            let page = self.json("loopback", &format!("/api/v1/warnings?source={source}&lock={id}")).await;
            assert_eq!((page["total"].as_u64(), page["warnings"][0]["lock"].as_str()), (Some(1), Some(id)), "{page}");
            path = path.replace(&format!("ID-OF-{kind}"), page["warnings"][0]["id"].as_str().unwrap());
            let (status, said) = self.ask("loopback", "POST", "/api/v1/mutes", mute(source, id)).await;
            assert_eq!(status, StatusCode::CREATED, "{said}");
            let muted: Value = serde_json::from_str(said.split_once('\n').unwrap().1).unwrap();
            path = path.replace(&format!("MUTE-OF-{kind}"), muted["id"].as_str().unwrap());
        }
        path
    }

    /// Entries about every lock, about several at once and about none.
    async fn fill_audit(&self) {
        for kind in ["seen", "hidden", "elsewhere", "both"] {
            let mut request: Value = serde_json::from_str(&self.preview(kind).await).unwrap();
            let last = request["locks"].as_array_mut().unwrap().last_mut().unwrap();
            last["generation"] = json!("an older one");
            let (status, said) = self.ask("loopback", "POST", "/api/v1/releases/preview", request.to_string()).await;
            assert_eq!(status, StatusCode::CONFLICT, "{said}");
        }
        let release = json!({"ticket": "forged", "confirm": "x", "reason": "secret-of-hr and secret-of-finance"});
        assert_eq!(self.ask("loopback", "POST", "/api/v1/releases", release.to_string()).await.0, StatusCode::GONE);
    }

    async fn preview(&self, kind: &str) -> String {
        let locks: &[(&str, &str)] = match kind {
            // To keep a lock closed needs a right beside that to release it.
            "seen" | "hold" => &[("orders", SEEN)],
            "hidden" => &[("orders", HIDDEN)],
            "elsewhere" => &[("vault", ELSEWHERE)],
            // Needs the right to free several at once.
            _ => &[("orders", SEEN), ("orders", HIDDEN)],
        };
        // The source is said to be down; a preview is about one that answers.
        self.rim.fake.set_status(1, |status| status.state = SourceState::Live);
        let mut targets = Vec::new();
        for (source, id) in locks {
            let lock = self.json("loopback", &format!("/api/v1/locks/{source}/{id}")).await;
            targets.push(json!({"source": source, "id": id, "generation": lock["generation"]}));
        }
        let action = if kind == "hold" { "release_and_hold" } else { "release" };
        json!({"locks": targets, "action": action}).to_string()
    }
}

/// Asks for a lock to be muted.
fn mute(source: &str, id: &str) -> String {
    let reason = format!("{id} is being looked at");
    json!({"source": source, "lock": id, "rule": "no-expiry", "for_ms": 60_000, "reason": reason}).to_string()
}

fn is_about_warnings(route: &str) -> bool {
    route.starts_with("/api/v1/warnings") || route.starts_with("/api/v1/mutes")
}

/// Asks for these locks to be frozen.
fn incident(locks: &[(&str, &str)], title: &str) -> String {
    let locks: Vec<Value> = locks.iter().map(|(source, id)| json!({"source": source, "id": id})).collect();
    let (from, to) = ("2020-01-01T00:00:00Z", "2120-01-01T00:00:00Z");
    json!({"title": title, "locks": locks, "from": from, "to": to}).to_string()
}

/// Whether the answer is about what was written down.
fn is_remembered(route: &str, path: &str) -> bool {
    let routes = [
        "/api/v1/history",
        "/api/v1/stats",
        "/api/v1/activity",
        "/api/v1/waited",
        "/api/v1/incidents",
        "/api/v1/incidents/{id}",
    ];
    routes.contains(&route) || path.contains("?at=") || path.contains("?from=")
}

fn report(source: &str) -> Arc<TraceReport> {
    Arc::new(TraceReport {
        source: source.to_owned(),
        lock: None,
        from: Time(0),
        to: Time(1_000),
        ended: TraceEnd::Complete,
        ended_because: format!("4 attempts at {}", if source == "orders" { "payroll" } else { "the ledger" }),
        commands: 1,
        bytes: 1,
        unreadable: 0,
        cost: String::new(),
        largest_delay_ms: 0,
        locks: Vec::new(),
        locks_not_counted: 0,
        already_blocked: None,
        missing: Vec::new(),
        nodes: Vec::new(),
    })
}

/// The answer, without what the question itself named.
fn beyond_the_question(said: &str, asked: &str) -> String {
    let asked = asked.replace("%3A", ":");
    let mut named: Vec<&str> = ["lock:payroll:lst", HIDDEN, ELSEWHERE, SEEN, "vault", "orders"]
        .into_iter()
        .filter(|name| asked.contains(name))
        .collect();
    named.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let decoded = said.replace("%3A", ":");
    named.into_iter().fold(decoded, |said, name| said.replace(name, "…"))
}

#[tokio::test(start_paused = true)]
async fn everybody_may_do_what_their_roles_grant_and_is_told_of_nothing_else() {
    let routed: BTreeSet<&str> = api().iter().map(|(path, _)| *path).collect();
    let tested: BTreeSet<&str> = ROWS.iter().map(|(_, route, ..)| *route).collect();
    assert_eq!(routed, tested, "every route has a row, and every row a route");
    let description = serde_json::to_value(super::super::openapi::description()).unwrap();
    let documented = include_str!("../../../../docs/security.md");
    for (route, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().map(|method| method.to_uppercase()) {
            assert!(documented.contains(&format!("| `{method} {route}` |")), "undocumented: {method} {route}");
            assert!(ROWS.iter().any(|row| (row.0, row.1) == (method.as_str(), route)), "no row for {method} {route}");
        }
    }

    for (method, route, path, body, expected) in ROWS {
        for (who, status) in ALL.into_iter().zip(expected) {
            let (scene, names) = match is_remembered(route, path) {
                true => Scene::recorded().await,
                false => (Scene::new().await, BTreeMap::new()),
            };
            let path = names.iter().fold((*path).to_owned(), |path, (name, value)| path.replace(name, value));
            if route.ends_with("/trace") {
                for source in ["orders", "vault"] {
                    let body = scene.body("loopback", "/api/v1/traces", source).await;
                    assert_eq!(scene.ask("loopback", "POST", "/api/v1/traces", body).await.0, StatusCode::OK);
                }
            }
            if *route == "/api/v1/audit" {
                scene.fill_audit().await;
            }
            let mut path = (*path).to_owned();
            if route.starts_with("/api/v1/approvals") {
                path = scene.ask_approvals(&path).await;
            }
            if is_about_warnings(route) {
                path = scene.warn(&path).await;
            }
            let body = scene.body(who, route, body).await;
            let (answered, said) = scene.ask(who, method, &path, body.clone()).await;
            assert_eq!(answered.as_u16(), *status, "{who}: {method} {path} {body}\n{said}");
            let described = &description["paths"][route][method.to_lowercase()]["responses"];
            let is_described = described[answered.as_str()].is_object() || answered.is_client_error();
            assert!(is_described, "{method} {route} is not said to answer {answered}");
            let unasked = beyond_the_question(&said, &format!("{path} {body}"));
            for secret in hidden_from(who) {
                for form in [secret.to_owned(), STANDARD.encode(secret).trim_end_matches('=').to_owned()] {
                    assert!(!unasked.contains(&form), "{who} is told of {secret}: {method} {path}\n{said}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hidden_lock_is_answered_as_one_that_is_not_there() {
    let scene = Scene::new().await;
    let absent = "lock:payroll:nix";
    for who in ["part", "operator"] {
        for path in ["/api/v1/locks/orders/ID", "/api/v1/locks/orders/ID/events", "/api/v1/events?lock=ID"] {
            let mut answers = Vec::new();
            for id in [HIDDEN, "lock:payroll:lst", absent] {
                let (status, said) = scene.ask(who, "GET", &path.replace("ID", id), String::new()).await;
                let encoded = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC);
                answers.push((status, said.replace(&encoded.to_string(), "ID").replace(id, "ID")));
            }
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{path}: {answers:#?}");
        }
    }
    let hidden = scene.preview("hidden").await;
    let absent = hidden.replace(HIDDEN, absent);
    let (hidden, absent) = (
        scene.ask("operator", "POST", "/api/v1/releases/preview", hidden).await,
        scene.ask("operator", "POST", "/api/v1/releases/preview", absent).await,
    );
    assert_eq!(hidden.1.replace(HIDDEN, "ID"), absent.1.replace("lock:payroll:nix", "ID"));
    assert_eq!((hidden.0, absent.0), (StatusCode::CONFLICT, StatusCode::CONFLICT));
    assert!(scene.rim.fake.asked().is_empty(), "the store is not asked about what is hidden");

    let vault = scene.json("part", "/api/v1/locks/vault/x").await.to_string();
    let nowhere = scene.json("part", "/api/v1/locks/nowhere/x").await.to_string();
    assert_eq!(vault.replace("vault", "S"), nowhere.replace("nowhere", "S"));
}

#[tokio::test(start_paused = true)]
async fn numbers_are_those_of_the_visible() {
    let scene = Scene::new().await;
    let mut totals = BTreeMap::new();
    for who in ["viewer", "part", "tracer", "operator"] {
        let locks = scene.json(who, "/api/v1/locks").await;
        let sources = scene.json(who, "/api/v1/sources").await;
        let counted: Vec<u64> = sources["sources"].as_array().unwrap().iter().map(locks_of).collect();
        let graph = scene.json(who, "/api/v1/graph").await;
        totals.insert(who, (locks["total"].as_u64().unwrap(), counted, graph["locks"].as_array().unwrap().len()));
    }
    assert_eq!(totals["viewer"], (3, vec![2, 1], 3));
    assert_eq!(totals["tracer"], (2, vec![2], 2));
    assert_eq!(totals["part"], (1, vec![1], 1));
    assert_eq!(totals["operator"], totals["part"]);
    let metrics = scene.ask("viewer", "GET", "/metrics", String::new()).await.1;
    assert!(metrics.contains("lockkeeper_locks{source=\"orders\"} 2") && metrics.contains("lockkeeper_viewers"));
    let metrics = scene.ask("tracer", "GET", "/metrics", String::new()).await.1;
    assert!(metrics.contains("lockkeeper_locks{source=\"orders\"} 2") && !metrics.contains("lockkeeper_viewers"));
    let metrics = scene.ask("admin", "GET", "/metrics", String::new()).await.1;
    assert!(!metrics.contains("source=") && metrics.contains("lockkeeper_viewers"));
}

#[tokio::test(start_paused = true)]
async fn the_audit_tells_of_the_visible_and_of_who_was_not_allowed() {
    let scene = Scene::new().await;
    scene.fill_audit().await;
    for (who, entries) in [("viewer", 6), ("tracer", 4), ("part", 2), ("operator", 2), ("admin", 0), ("loopback", 6)] {
        let page = scene.json(who, "/api/v1/audit").await;
        assert_eq!(page["entries"].as_array().unwrap().len(), entries, "{who}: {page}");
        let sees_all = ["viewer", "loopback"].contains(&who);
        assert_eq!(page["chain"]["length"].as_u64(), (sees_all || who == "admin").then_some(6), "{who}");
        let is_chained = |entry: &Value| entry["previous"] != "" && entry["hash"].is_string();
        assert!(page["entries"].as_array().unwrap().iter().all(|entry| is_chained(entry) == sees_all), "{who}: {page}");
        let (_, lines) = scene.ask(who, "GET", "/api/v1/audit?format=jsonl", String::new()).await;
        assert_eq!(lines.matches("\"seq\":").count(), entries, "{who}: {lines}");
    }
    // Of a request about two locks, the entry about the one does not name the other.
    let beside = scene.json("part", "/api/v1/audit?limit=1&outcome=changed_hands").await;
    assert_eq!(beside["entries"][0]["detail"], "preview refused because of another lock of it", "{beside}");
    assert_eq!(scene.json("part", "/api/v1/audit?limit=1").await["next_before"], beside["entries"][0]["seq"]);

    for (who, kind, outcome) in
        [("viewer", "seen", "not_allowed"), ("operator", "both", "not_allowed"), ("operator", "hidden", "gone")]
    {
        let request = scene.preview(kind).await;
        scene.ask(who, "POST", "/api/v1/releases/preview", request).await;
        let newest = &scene.json("loopback", "/api/v1/audit").await["entries"][0];
        assert_eq!(newest["actor"], json!({"name": who, "via": "password", "address": null}));
        assert_eq!((&newest["kind"], &newest["outcome"]), (&json!("refusal"), &json!(outcome)), "{newest}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_approval_that_is_hidden_is_answered_as_one_that_is_not_there() {
    let scene = Scene::new().await;
    let hidden = scene.ask_approvals("/api/v1/approvals/ID-OF-hidden").await;
    let decision = json!({"decision": "approve", "reason": "a test"}).to_string();
    for who in ["viewer", "operator", "tracer"] {
        for (method, body) in [("GET", ""), ("POST", decision.as_str())] {
            let there = scene.ask(who, method, &hidden, body.to_owned()).await;
            assert_eq!(there, scene.ask(who, method, "/api/v1/approvals/nowhere", body.to_owned()).await, "{who}");
        }
        assert_eq!(scene.json(who, "/api/v1/approvals").await, json!({"approvals": []}));
    }
    assert_eq!(scene.json("approver", "/api/v1/approvals").await["approvals"].as_array().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_the_configuration_is_for_whoever_sees_everything_or_looks_after_the_server() {
    let mut scene = Scene::new().await;
    let problem = Some("lockkeeper.toml:3:1: `payroll`".to_owned());
    scene.rim.state.reloads = watch::channel(LastRead { problem, ..LastRead::at_start() }).1;
    for (who, is_told) in [("nobody", false), ("part", false), ("tracer", false), ("viewer", true), ("admin", true)] {
        let ready = scene.json(who, "/readyz").await;
        assert_eq!(ready["configuration"].is_string(), is_told, "{who}: {ready}");
    }
    let metrics = scene.ask("admin", "GET", "/metrics", String::new()).await.1;
    assert!(metrics.contains("lockkeeper_config_last_reload_successful 0"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_ticket_is_good_for_nobody_else() {
    let scene = Scene::new().await;
    let release = scene.body("loopback", "/api/v1/releases", "seen").await;
    let forged = json!({"ticket": "forged", "confirm": "x", "reason": "a test"}).to_string();
    let (status, refused) = scene.ask("operator", "POST", "/api/v1/releases", release.clone()).await;
    assert_eq!(status, StatusCode::GONE, "{refused}");
    assert_eq!(refused, scene.ask("operator", "POST", "/api/v1/releases", forged).await.1);
    let audit = scene.json("loopback", "/api/v1/audit?outcome=forged&lock=lock%3Astock%3A4711").await;
    assert_eq!(audit["entries"][0]["actor"]["name"], "operator", "{audit}");
    // It was not used up by that.
    assert_eq!(scene.ask("loopback", "POST", "/api/v1/releases", release).await.0, StatusCode::CONFLICT);
}

fn locks_of(source: &Value) -> u64 {
    source["coverage"]["locks"].as_u64().unwrap()
}

#[tokio::test]
async fn the_socket_tells_a_viewer_of_nothing_beyond_the_scope() {
    let scene = Scene::new().await;
    let (address, _) = scene.rim.listen().await;
    let mut request = format!("ws://{address}/api/v1/stream").into_client_request().unwrap();
    request.headers_mut().insert(WHO, "part".parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    for said in [
        json!({"kind": "follow", "lock": ["vault", ELSEWHERE]}),
        json!({"kind": "follow", "lock": ["orders", HIDDEN]}),
        json!({"kind": "ask", "ask": 1, "question": {"source": "vault"}, "offset": 0, "limit": 9}),
        json!({"kind": "ask", "ask": 2, "question": {"q": "secret", "sort": "name"}, "offset": 0, "limit": 9}),
    ] {
        socket.send(Message::text(said.to_string())).await.unwrap();
    }
    let mut heard = String::new();
    let (mut total, mut refused) = (0, String::new());
    while total == 0 {
        let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
        match serde_json::from_str(&text).unwrap() {
            ServerFrame::Hello { release_enabled, .. } => assert!(!release_enabled, "a viewer is not offered it"),
            ServerFrame::Sources { sources, dialects, open_warnings, .. } => {
                assert_eq!(open_warnings, 0);
                assert_eq!(sources[0].trace_limit, None, "a trace is of a whole source");
                assert_eq!((sources.len(), sources[0].coverage.locks), (1, 1));
                assert_eq!(dialects.iter().map(|dialect| dialect.locks).sum::<u64>(), 1);
            }
            ServerFrame::Detail { id, lock, events, .. } => {
                assert_eq!((id.as_str(), lock.is_none(), events.len()), (HIDDEN, true, 0));
                continue;
            }
            ServerFrame::Refused { detail } => {
                refused = detail;
                continue;
            }
            ServerFrame::Window { ask: 1, rows, .. } => assert!(rows.is_empty()),
            ServerFrame::Window { total: found, all, facets, rows, .. } => {
                assert_eq!((found, all, facets.waiting, facets.no_expiry, rows.len()), (1, 1, 1, 1, 1));
                total = found;
            }
            ServerFrame::Facets { facets, .. } => {
                assert!(facets.iter().all(|facet| facet.field != "source" || facet.value == "orders"), "{facets:?}");
            }
            ServerFrame::Delta { .. } | ServerFrame::Notice { .. } => {}
        }
        heard.push_str(&text);
    }
    assert_eq!(refused, "there is no source `vault`");

    // What happens beyond the scope is not heard of: the next that is heard is what happens within it.
    scene.holds(0, HIDDEN, "secret-of-hr-2").await;
    scene.holds(0, SEEN, "secret-of-bob").await;
    while !heard.contains("secret-of-bob") {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
            heard.push_str(&text);
        }
    }
    for secret in hidden_from("part") {
        assert!(!heard.contains(secret), "{secret} in {heard}");
    }
}

#[tokio::test(start_paused = true)]
async fn warnings_are_seen_acknowledged_and_muted_within_the_scope() {
    let scene = Scene::new().await;
    let paths = scene.warn("ID-OF-seen ID-OF-hidden MUTE-OF-seen MUTE-OF-hidden").await;
    let ids: Vec<&str> = paths.split(' ').collect();
    let page = scene.json("noter", "/api/v1/warnings").await;
    assert_eq!((page["total"].as_u64(), page["warnings"][0]["lock"].as_str()), (Some(1), Some(SEEN)), "{page}");
    let status = async |method: &str, path: String, body: String| scene.ask("noter", method, &path, body).await.0;
    let acknowledge = |id: &str| format!("/api/v1/warnings/{id}/acknowledge");
    assert_eq!(status("POST", acknowledge(ids[0]), "{}".to_owned()).await, StatusCode::OK);
    assert_eq!(status("POST", acknowledge(ids[1]), "{}".to_owned()).await, StatusCode::NOT_FOUND);
    let page = scene.json("noter", "/api/v1/warnings?state=acknowledged").await;
    assert_eq!(page["warnings"][0]["acknowledged"]["by"], "noter", "{page}");

    let mutes = "/api/v1/mutes".to_owned();
    let all = json!({"source": "orders", "pattern": "*", "for_ms": 60_000, "reason": "too loud"}).to_string();
    assert_eq!(status("POST", mutes.clone(), all).await, StatusCode::FORBIDDEN, "a pattern needs the whole source");
    assert_eq!(status("POST", mutes.clone(), mute("orders", HIDDEN)).await, StatusCode::FORBIDDEN);
    assert_eq!(status("POST", mutes.clone(), mute("vault", ELSEWHERE)).await, StatusCode::NOT_FOUND);
    assert_eq!(scene.json("noter", "/api/v1/mutes").await["mutes"].as_array().unwrap().len(), 1);
    assert_eq!(status("DELETE", format!("{mutes}/{}", ids[3]), String::new()).await, StatusCode::NOT_FOUND);
    assert_eq!(status("DELETE", format!("{mutes}/{}", ids[2]), String::new()).await, StatusCode::NO_CONTENT);
    let long =
        json!({"source": "orders", "lock": SEEN, "for_ms": 31 * 86_400_000_i64, "reason": "for ever"}).to_string();
    assert_eq!(status("POST", mutes, long).await, StatusCode::UNPROCESSABLE_ENTITY, "a mute ends");
    assert_eq!(status("GET", "/api/v1/warnings?state=unread".to_owned(), String::new()).await, StatusCode::BAD_REQUEST);
}
