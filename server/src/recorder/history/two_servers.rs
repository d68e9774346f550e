//! Several servers on one PostgreSQL: each transition is in the history once, whoever of them ends and whenever.

use std::time::Duration;

use lockkeeper_model::{Certainty, Event, LockState, Mode, RecordingState, Time, TransitionKind};

use super::{Filter, History, Limits, Tape};
use crate::access::Reach;
use crate::clock;
use crate::recorder::db::testing::PostgresServer;
use crate::registry::{Cause, Entry, LoggedEvent, Stood};
use crate::source::{DialectTraits, Recognition, SourceId};

static TOKEN: Recognition =
    Recognition { dialect: "token", certainty: Certainty::Certain, because: "test", traits: &DialectTraits::PLAIN };

/// How long something may take that has to happen.
const DEADLINE: Duration = Duration::from_secs(60);

/// A server that watches and records.
struct Server {
    history: History,
    tape: Tape,
    seq: u64,
}

impl Server {
    fn start(store: &PostgresServer, run: &str) -> Server {
        let history = History::share(&store.target(), Limits::of(1_000_000, super::DEFAULT_MAX_MB)).unwrap();
        let tape = history.tape().unwrap();
        tape.begin(run.to_owned(), vec!["orders".to_owned()], clock::now());
        Server { history, tape, seq: 0 }
    }

    /// Sees this, `later` milliseconds after it happened.
    fn sees(&mut self, (kind, key, token, at): (TransitionKind, &str, &str, Time), later: i64) {
        self.seq += 1;
        let expires = at.0 + 30_000 + later / 5;
        let entry = Entry {
            seq: self.seq,
            at: Time(at.0 + later),
            first_at: at,
            count: 1,
            kind,
            token: token.as_bytes().into(),
            previous: None,
            cause: Cause::Seen,
            held_ms: kind.ends().then_some(5),
            audit: None,
        };
        let after = Stood {
            recognition: &TOKEN,
            mode: Mode::Exclusive,
            state: LockState::Held,
            count: u32::from(!kind.ends()),
            expires: if kind.ends() { i64::MAX } else { expires },
        };
        let key = Some(key.to_owned().into());
        self.tape.leave(&[LoggedEvent { source: SourceId(0), key, entry, because: None, after: Some(after) }]);
    }

    async fn until(&self, what: &str, holds: impl AsyncFn(&History) -> bool) {
        let waiting = async {
            while !holds(&self.history).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
    }

    /// Everything that is written, oldest first.
    async fn written(&self) -> Vec<Event> {
        let page = self.history.older(Filter::of(Reach::ALL), None, 10_000, false).await;
        let mut events = page.map(|page| page.unwrap_or_default().events).unwrap_or_default();
        events.reverse();
        events
    }
}

/// What happened to whom.
fn told(events: &[Event]) -> Vec<String> {
    let told = |event: &Event| {
        let holder = event.holder.clone().unwrap_or_default();
        let lock = event.lock.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{lock} {} {holder}", event.transition.word())
    };
    events.iter().map(told).collect()
}

/// Waits until whoever began by now has seen another write since: after two signs of life of that one.
async fn follows(store: &PostgresServer) {
    let alive = || -> i64 { store.ask("SELECT max(alive) FROM lockkeeper.runs").parse().unwrap() };
    let after = clock::now().0 + 1_500;
    let waiting = async {
        while alive() < after {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.expect("the writer gives signs of life");
}

/// Lock after lock is taken and let go of by the same two tokens, as libraries do that have one for each process.
struct Story {
    last: Time,
    step: i64,
}

impl Story {
    fn new() -> Story {
        Story { last: Time(0), step: 0 }
    }

    fn next(&mut self) -> (TransitionKind, &'static str, &'static str, Time) {
        let at = clock::now().max(Time(self.last.0 + 10));
        self.last = at;
        let key = ["a", "b", "c"][(self.step % 3) as usize];
        let token = ["w1", "w2"][(self.step / 9 % 2) as usize];
        let kind = [TransitionKind::Acquired, TransitionKind::Renewed, TransitionKind::Released];
        self.step += 1;
        (kind[((self.step - 1) / 3 % 3) as usize], key, token, at)
    }

    /// What `steps` of it are.
    fn whole(steps: i64) -> Vec<String> {
        let mut story = Story::new();
        let mut told: Vec<String> = Vec::new();
        for _ in 0..steps {
            let (kind, key, token, _) = story.next();
            told.push(format!("{key} {} {token}", kind.word()));
        }
        told
    }
}

#[tokio::test]
async fn what_the_writer_did_not_get_to_is_written_by_the_one_that_takes_over_and_nothing_twice() {
    let store = PostgresServer::start();
    let mut writer = Server::start(&store, "aaaa");
    let mut story = Story::new();
    writer.sees(story.next(), 0);
    writer.until("the first to be written", async |history| history.numbers().written > 0).await;
    let mut other = Server::start(&store, "bbbb");
    follows(&store).await;
    for _ in 0..60 {
        let next = story.next();
        writer.sees(next, 0);
        other.sees(next, 3);
    }
    writer.until("all of it to be written", async |history| history.numbers().waiting == 0).await;
    // The writer has seen this and ends before it has written it.
    let pending: Vec<_> = (0..30).map(|_| story.next()).collect();
    pending.iter().for_each(|next| other.sees(*next, 3));
    drop(writer);
    other.until("the other to take over", async |history| history.numbers().written >= 30).await;
    let last = story.next();
    other.sees(last, 3);
    other.until("what it sees to be written", async |history| history.numbers().written >= 31).await;
    assert_eq!(told(&other.written().await), Story::whole(92));
    assert_eq!(other.history.numbers().written, 31, "nothing else was written");
}

#[tokio::test]
async fn a_lost_postgresql_is_said_and_nothing_is_written_twice_or_missed_when_it_is_back() {
    let store = PostgresServer::start();
    let mut one = Server::start(&store, "aaaa");
    let mut story = Story::new();
    one.sees(story.next(), 0);
    one.until("the first to be written", async |history| history.numbers().written > 0).await;
    let mut other = Server::start(&store, "bbbb");
    follows(&store).await;
    for round in 0..3 {
        for _ in 0..20 {
            let next = story.next();
            one.sees(next, 0);
            other.sees(next, -4);
        }
        store.stop();
        for server in [&one, &other] {
            server.until("it to be said", async |history| history.state().0 == RecordingState::Failing).await;
        }
        for _ in 0..20 {
            let next = story.next();
            one.sees(next, 0);
            other.sees(next, -4);
        }
        store.start_again();
        for server in [&one, &other] {
            server.until("it to be back", async |history| history.state().0 == RecordingState::Recording).await;
        }
        let expected = Story::whole(1 + 40 * (round + 1));
        let all = async |_: &History| one.written().await.len() >= expected.len();
        one.until("everything to be written", all).await;
        assert_eq!(told(&one.written().await), expected, "round {round}");
    }
}

#[tokio::test]
async fn what_is_like_what_was_written_right_before_a_lost_connection_is_written_too() {
    let store = PostgresServer::start();
    let mut server = Server::start(&store, "aaaa");
    let mut story = Story::new();
    for count in [20, 40, 60, 80] {
        (0..20).for_each(|_| server.sees(story.next(), 0));
        server.until("all of it to be written", async |history| history.numbers().written >= count).await;
        store.ask("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()");
    }
    assert_eq!(told(&server.written().await), Story::whole(80));
}

#[tokio::test]
async fn one_that_comes_later_leaves_the_writing_to_who_saw_what_is_not_written_yet() {
    let store = PostgresServer::start();
    let mut writer = Server::start(&store, "aaaa");
    let mut story = Story::new();
    writer.sees(story.next(), 0);
    writer.until("the first to be written", async |history| history.numbers().written > 0).await;
    let mut witness = Server::start(&store, "bbbb");
    follows(&store).await;
    let pending: Vec<_> = (0..30).map(|_| story.next()).collect();
    pending.iter().for_each(|next| witness.sees(*next, 3));
    drop(writer);
    let mut later = Server::start(&store, "cccc");
    let last = story.next();
    for server in [&mut witness, &mut later] {
        server.sees(last, 3);
    }
    witness.until("all of it to be written", async |history| history.numbers().written >= 31).await;
    assert_eq!(told(&later.written().await), Story::whole(32));
    assert_eq!(later.history.numbers().written, 0);
}

#[tokio::test]
async fn who_saw_it_is_waited_for_when_nobody_has_a_connection() {
    let store = PostgresServer::start();
    let mut writer = Server::start(&store, "aaaa");
    let mut story = Story::new();
    writer.sees(story.next(), 0);
    writer.until("the first to be written", async |history| history.numbers().written > 0).await;
    let mut witness = Server::start(&store, "bbbb");
    follows(&store).await;
    store.stop();
    drop(writer);
    witness.until("it to be said", async |history| history.state().0 == RecordingState::Failing).await;
    let later = Server::start(&store, "cccc");
    for _ in 0..30 {
        witness.sees(story.next(), 3);
    }
    store.start_again();
    witness.until("all of it to be written", async |history| history.numbers().written >= 30).await;
    assert_eq!(told(&later.written().await), Story::whole(31));
    assert_eq!(later.history.numbers().written, 0);
}

#[tokio::test]
async fn a_server_that_begins_when_nobody_writes_tells_of_the_time_between() {
    let store = PostgresServer::start();
    let mut first = Server::start(&store, "aaaa");
    first.sees((TransitionKind::Acquired, "a", "w1", clock::now()), 0);
    first.until("it to be written", async |history| history.numbers().written > 0).await;
    first.history.close().await;
    drop(first);
    // The next begins later than the last sign of life, whatever the clock's steps are.
    let ended = clock::now();
    while clock::now() == ended {
        tokio::task::yield_now().await;
    }
    let mut next = Server::start(&store, "bbbb");
    next.sees((TransitionKind::Released, "a", "w1", clock::now()), 0);
    next.until("it to be written", async |history| history.numbers().written > 0).await;
    let events = next.written().await;
    assert_eq!(told(&events), ["a acquired w1", " gap ", "a released w1"]);
    assert_eq!(events[1].cause.as_deref(), Some("not_running"));
    assert_eq!(events[2].id, "bbbb-1");
}

#[tokio::test]
async fn one_that_watches_less_is_noticed() {
    let store = PostgresServer::start();
    let mut writer = Server::start(&store, "aaaa");
    writer.sees((TransitionKind::Acquired, "a", "w1", clock::now()), 0);
    writer.until("it to be written", async |history| history.numbers().written > 0).await;
    let history = History::share(&store.target(), Limits::default()).unwrap();
    let tape = history.tape().unwrap();
    tape.begin("bbbb".to_owned(), vec!["orders".to_owned(), "vault".to_owned()], clock::now());
    let other = Server { history, tape, seq: 0 };
    other.until("it to be said", async |history| history.state().0 == RecordingState::Failing).await;
    let because = other.history.state().1.unwrap();
    assert!(because.contains("does not watch `vault`"), "{because}");
}
