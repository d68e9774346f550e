//! Several servers on one PostgreSQL that keep one audit.

use std::time::Duration;

use lockkeeper_model::{Action, Actor, Outcome};

use super::*;
use crate::recorder::db::testing::PostgresServer;

/// How long something may take that has to happen.
const DEADLINE: Duration = Duration::from_secs(30);

fn deed(lock: &str) -> Deed {
    Deed::by(&Actor::anonymous(None)).action(Action::Release).lock("orders", lock, "7.3").token(b"0f8e41c29a7d")
}

fn share(server: &PostgresServer) -> Audit {
    Audit::share(&server.target(), None, None).unwrap()
}

/// Kind and outcome, or what was seen, of every entry; the chain is whole.
fn written(server: &PostgresServer) -> Vec<(String, String)> {
    let target = server.target();
    let (verdict, found) = aside(|| {
        let store = Store::read_shared(&target).unwrap();
        let found = store.entries(&Filter::default(), Part::Between(0, 1_000), 1_000).unwrap();
        (verify(&store, None).unwrap(), found)
    });
    assert!(verdict.is_intact(), "{verdict:?}");
    let word = |entry: AuditEntry| (entry.kind.word().to_owned(), entry.outcome.or(entry.seen).unwrap_or_default());
    found.entries.into_iter().map(word).collect()
}

fn words(written: &[(String, String)]) -> Vec<(&str, &str)> {
    written.iter().map(|(kind, outcome)| (kind.as_str(), outcome.as_str())).collect()
}

/// Looks again and again whether there is something to take over, until there is.
async fn taken_over(audit: &Audit) -> Vec<Unresolved> {
    let look = async {
        loop {
            let left = audit.take_over().await.unwrap_or_default();
            if !left.is_empty() {
                return left;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, look).await.expect("something to take over")
}

/// Tries again and again to write something.
async fn writes_again(audit: &Audit) -> Attempt {
    let trying = async {
        loop {
            if let Ok(attempt) = audit.intend(deed("lock:again")).await {
                return attempt;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, trying).await.expect("the audit can be written again")
}

#[tokio::test]
async fn the_tables_refuse_changes_removals_and_insertions() {
    let server = PostgresServer::start();
    let audit = share(&server);
    for _ in 0..3 {
        audit.refused(vec![deed("lock:a")], "forged", "no").await;
    }
    for sql in [
        "UPDATE lockkeeper.entries SET hash = 'x' WHERE seq = 2",
        "DELETE FROM lockkeeper.entries WHERE seq = 3",
        "TRUNCATE lockkeeper.entries",
        "INSERT INTO lockkeeper.entries (seq, entry, hash) VALUES (9, '{}', 'x')",
    ] {
        assert!(server.refuses(sql), "{sql}");
    }
    assert_eq!(written(&server).len(), 3);
    server.ask("ALTER TABLE lockkeeper.entries DISABLE TRIGGER entries_are_not_removed");
    let target = server.target();
    let findings = aside(|| verify(&Store::read_shared(&target).unwrap(), None).unwrap().findings);
    assert_eq!(findings, ["the trigger `entries_are_not_removed`, which refuses changes, was removed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_servers_append_to_one_chain() {
    const EACH: usize = 40;
    let server = PostgresServer::start();
    let tasks = [share(&server), share(&server), share(&server)].map(|audit| {
        tokio::spawn(async move {
            for _ in 0..EACH {
                let attempt = audit.intend(deed("lock:a")).await.unwrap();
                assert!(attempt.ended(Outcome::Gone, "it was gone").await);
            }
            audit
        })
    });
    for task in tasks {
        // None of them takes the others' attempts for interrupted ones.
        assert_eq!(task.await.unwrap().take_over().await.unwrap(), []);
    }
    assert_eq!(written(&server).len(), 3 * 2 * EACH);
    assert_eq!(server.ask("SELECT count(*) FROM lockkeeper.attempts"), "0");
}

#[tokio::test]
async fn what_a_server_leaves_open_is_closed_by_another_and_looked_into_once() {
    let server = PostgresServer::start();
    let (first, second, third) = (share(&server), share(&server), share(&server));
    let interrupted = first.intend(deed("lock:a")).await.unwrap();
    let watched = first.intend(deed("lock:b")).await.unwrap();
    assert!(watched.ended(Outcome::Released, "freed").await);
    let living = third.intend(deed("lock:c")).await.unwrap();
    drop((interrupted, watched, first));
    let left = taken_over(&second).await;
    let known: Vec<_> = left.iter().map(|left| (left.intention.seq, left.outcome.as_str())).collect();
    assert_eq!(known, [(1, "unknown"), (2, "released")]);
    assert_eq!(third.take_over().await.unwrap(), [], "it is the second one's now");
    second.resolved(&left[0], Some("free"), "looked up").await;
    // Who took over ends as well, before everything is looked into.
    drop(second);
    let left = taken_over(&third).await;
    assert_eq!(left.iter().map(|left| left.intention.seq).collect::<Vec<_>>(), [2]);
    third.resolved(&left[0], Some("taken"), "looked up").await;
    assert!(living.ended(Outcome::Gone, "it was gone").await);
    assert_eq!(
        words(&written(&server)),
        [
            ("intention", "attempted"),
            ("intention", "attempted"),
            ("completion", "released"),
            ("intention", "attempted"),
            ("completion", "unknown"),
            ("follow_up", "free"),
            ("follow_up", "taken"),
            ("completion", "gone"),
        ]
    );
    assert_eq!(server.ask("SELECT count(*) FROM lockkeeper.attempts"), "0");
}

#[tokio::test]
async fn without_postgresql_nothing_is_attempted_and_what_was_begun_is_written_when_it_is_back() {
    let server = PostgresServer::start();
    let (first, second) = (share(&server), share(&server));
    let begun = first.intend(deed("lock:a")).await.unwrap();
    server.stop();
    let error = first.intend(deed("lock:b")).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("`{}` cannot be used: ", server.target())), "{error}");
    assert!(!begun.ended(Outcome::Gone, "it was gone").await, "it is owed");
    let starting = share(&server);
    assert!(starting.intend(deed("lock:b")).await.is_err());
    server.start_again();
    // The connections of all of them were lost, and nobody takes the others for gone.
    for audit in [&first, &second, &starting] {
        assert!(writes_again(audit).await.ended(Outcome::Gone, "it was gone").await);
    }
    assert_eq!(second.take_over().await.unwrap(), []);
    let written = written(&server);
    assert_eq!(words(&written)[..2], [("intention", "attempted"), ("completion", "gone")]);
    assert_eq!(written.len(), 8);
    assert_eq!(server.ask("SELECT count(*) FROM lockkeeper.attempts"), "0");
}

#[tokio::test]
async fn an_end_that_comes_after_it_was_closed_as_unknown_is_told_as_what_it_is() {
    let server = PostgresServer::start();
    let (cut_off, other) = (share(&server), share(&server));
    let attempt = cut_off.intend(deed("lock:a")).await.unwrap();
    server.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = \
         (SELECT server FROM lockkeeper.attempts)",
    );
    let left = taken_over(&other).await;
    assert_eq!(left.len(), 1);
    assert!(attempt.ended(Outcome::Gone, "it was gone").await);
    let target = server.target();
    let last = aside(|| {
        let store = Store::read_shared(&target).unwrap();
        store.entries(&Filter::default(), Part::Before(None), 1).unwrap().entries
    });
    assert_eq!(last[0].kind, AuditKind::FollowUp);
    assert_eq!(last[0].detail, "said later by the server that had begun it: gone: it was gone");
    assert_eq!(written(&server).len(), 3);
}

#[tokio::test]
async fn what_cannot_be_used_is_named_without_its_password() {
    let server = PostgresServer::start();
    let url = server.url().replace("postgres@", "nobody:secret@");
    let error = Audit::share(&Target::parse(&url).unwrap(), None, None).unwrap_err().to_string();
    assert!(error.contains("role \"nobody\" does not exist") && !error.contains("secret"), "{error}");
    let target = server.target();
    let error = aside(|| Store::read_shared(&target).unwrap_err().to_string());
    assert!(error.ends_with("cannot be used: there is no audit in it"), "{error}");
    drop(share(&server));
    server.ask("UPDATE lockkeeper.versions SET version = 9");
    let error = Audit::share(&target, None, None).unwrap_err().to_string();
    assert!(error.ends_with("the audit in it has version 9, and this Lockkeeper knows version 1"), "{error}");
}

#[tokio::test]
async fn a_lock_whose_id_has_a_zero_byte_is_found() {
    let server = PostgresServer::start();
    let audit = share(&server);
    for lock in ["a\0b", "a\\u0000b", &"é".repeat(20_000)] {
        audit.refused(vec![deed(lock)], "forged", "no").await;
        let filter = Filter { lock: Some(lock.to_owned()), ..Filter::default() };
        let found = audit.page(filter, None, 10).await.unwrap().entries;
        assert_eq!(found.len(), 1, "{lock}");
    }
}
