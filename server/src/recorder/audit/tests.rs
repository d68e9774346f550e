//! The file as the desk uses it, and what happens when it cannot be written.

use lockkeeper_model::{Action, Actor, Outcome, Time};
use tempfile::TempDir;

use super::writer::{MAX_ACCESSES, MAX_REFUSALS};
use super::*;
use crate::recorder::db::testing::PostgresServer;

fn deed(lock: &str) -> Deed {
    let actor = Actor::anonymous(Some("127.0.0.1".to_owned()));
    Deed::by(&actor)
        .action(Action::Release)
        .lock("orders", lock, "7.3")
        .token(b"0f8e41c29a7d4be3b6d0a54f1c2e9d77")
        .ticket("a ticket")
        .reason("worker 7 crashed")
}

fn by(name: &str) -> Deed {
    Deed::by(&Actor { name: name.to_owned(), via: "oidc".to_owned(), address: None }).action(Action::Release)
}

async fn all(audit: &Audit) -> Vec<AuditEntry> {
    let mut entries = audit.page(Filter::default(), None, 1_000).await.unwrap().entries;
    entries.reverse();
    entries
}

/// Number, kind, attempt, outcome and what was seen.
type Told<'a> = (u64, &'a str, Option<u64>, Option<&'a str>, Option<&'a str>);

fn told(entries: &[AuditEntry]) -> Vec<Told<'_>> {
    entries
        .iter()
        .map(|entry| (entry.seq, entry.kind.word(), entry.attempt, entry.outcome.as_deref(), entry.seen.as_deref()))
        .collect()
}

/// Where an audit is kept.
enum Place {
    File(TempDir),
    Shared(PostgresServer),
}

impl Place {
    fn open(&self) -> Audit {
        match self {
            Place::File(dir) => Audit::open(dir.path(), None).unwrap(),
            Place::Shared(server) => Audit::share(&server.target(), None, None).unwrap(),
        }
    }

    /// What somebody sees who reads it beside its server.
    fn beside<T: Send>(&self, look: impl FnOnce(Store) -> T + Send) -> T {
        aside(|| {
            look(match self {
                Place::File(dir) => Store::read(dir.path()).unwrap(),
                Place::Shared(server) => Store::read_shared(&server.target()).unwrap(),
            })
        })
    }
}

/// The same story wherever the audit is kept.
macro_rules! in_both {
    ($($story:ident,)+) => {
        mod in_a_file {
            $(#[tokio::test]
            async fn $story() {
                super::$story(super::Place::File(tempfile::TempDir::new().unwrap())).await;
            })+
        }

        mod in_postgres {
            $(#[tokio::test]
            async fn $story() {
                super::$story(super::Place::Shared(super::PostgresServer::start())).await;
            })+
        }
    };
}

in_both! {
    an_attempt_is_an_intention_a_completion_and_what_was_seen,
    entries_are_found_by_what_they_say_and_come_in_pages,
    names_of_any_characters_survive,
}

async fn an_attempt_is_an_intention_a_completion_and_what_was_seen(place: Place) {
    let audit = place.open();
    let attempt = audit.intend(deed("lock:a")).await.unwrap();
    // Another connection sees it before the attempt begins.
    assert_eq!(place.beside(|store| store.chain()).unwrap().length, 1);
    assert!(attempt.ended(Outcome::Released, "freed").await);
    assert!(attempt.ended(Outcome::Unknown, "not counted").await);
    attempt.followed("free", "nobody has taken it").await;
    let entries = all(&audit).await;
    assert_eq!(
        told(&entries),
        [
            (1, "intention", None, Some("attempted"), None),
            (2, "completion", Some(1), Some("released"), None),
            (3, "follow_up", Some(1), None, Some("free")),
        ]
    );
    for entry in &entries {
        assert_eq!((entry.source.as_deref(), entry.lock.as_deref()), (Some("orders"), Some("lock:a")));
        assert_eq!((entry.reason.as_deref(), entry.token.as_deref()), (Some("worker 7 crashed"), Some("0f8e41…9d77")));
        assert_eq!(entry.actor.address.as_deref(), Some("127.0.0.1"));
    }
    let verdict = place.beside(|store| verify(&store, Some(&entries[2].hash))).unwrap();
    assert!(verdict.is_intact(), "{verdict:?}");
    assert_eq!((verdict.chain.length, verdict.noted_at), (3, Some(3)));
    assert_eq!(audit.written().map(|(_, count)| count), [1, 1, 1, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn the_file_refuses_changes_removals_and_insertions() {
    let dir = TempDir::new().unwrap();
    let audit = Audit::open(dir.path(), None).unwrap();
    for _ in 0..3 {
        audit.refused(vec![deed("lock:a")], "forged", "no").await;
    }
    let file = rusqlite::Connection::open(dir.path().join(FILE)).unwrap();
    for (sql, complaint) in [
        ("UPDATE entries SET hash = 'x' WHERE seq = 2", "never changed"),
        ("DELETE FROM entries WHERE seq = 3", "never removed"),
        ("INSERT INTO entries (seq, entry, hash) VALUES (9, '{}', 'x')", "only appended"),
        ("INSERT OR REPLACE INTO entries (seq, entry, hash) VALUES (2, '{}', 'x')", "only appended"),
        ("UPDATE entries SET outcome = 'released'", "generated column"),
    ] {
        let error = file.execute(sql, ()).unwrap_err().to_string();
        assert!(error.contains(complaint), "{sql}: {error}");
    }
    assert!(verify(&Store::read(dir.path()).unwrap(), None).unwrap().is_intact());
    file.execute_batch("DROP TRIGGER entries_are_not_removed").unwrap();
    let findings = verify(&Store::read(dir.path()).unwrap(), None).unwrap().findings;
    assert_eq!(findings, ["the trigger `entries_are_not_removed`, which refuses changes, was removed"]);
}

async fn entries_are_found_by_what_they_say_and_come_in_pages(place: Place) {
    let audit = place.open();
    audit.refused(vec![deed("lock:a"), deed("lock:b")], "mistyped", "no").await;
    audit.refused(vec![by("alice").lock("other", "lock:a", "g")], "used", "no").await;
    audit.refused(vec![by("alice")], "forged", "no").await;
    let entries = all(&audit).await;
    let seqs = async |filter: Filter| -> Vec<u64> {
        audit.page(filter, None, 10).await.unwrap().entries.iter().map(|entry| entry.seq).collect()
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(seqs(Filter::default()).await, [4, 3, 2, 1]);
    assert_eq!(seqs(Filter { source: text("orders"), ..Filter::default() }).await, [2, 1]);
    assert_eq!(seqs(Filter { lock: text("lock:a"), ..Filter::default() }).await, [3, 1]);
    assert_eq!(seqs(Filter { lock: text("lock:a"), source: text("other"), ..Filter::default() }).await, [3]);
    assert_eq!(seqs(Filter { actor: text("alice"), ..Filter::default() }).await, [4, 3]);
    assert_eq!(seqs(Filter { outcome: text("mistyped"), ..Filter::default() }).await, [2, 1]);
    assert_eq!(seqs(Filter { lock: text("' OR 1=1 --"), ..Filter::default() }).await, [0; 0]);
    let third = entries[2].at;
    let since = seqs(Filter { since: Some(third), ..Filter::default() }).await;
    assert!(since.starts_with(&[4, 3]), "{since:?}");
    assert_eq!(seqs(Filter { until: Some(Time(0)), ..Filter::default() }).await, [0; 0]);

    let page = audit.page(Filter::default(), None, 3).await.unwrap();
    assert_eq!((page.entries.len(), page.next_before, page.chain.unwrap().length), (3, Some(2), 4));
    let page = audit.page(Filter::default(), page.next_before, 3).await.unwrap();
    assert_eq!((page.entries.len(), page.entries[0].seq, page.next_before), (1, 1, None));
    let page = audit.page(Filter::default(), None, 4).await.unwrap();
    assert_eq!((page.entries.len(), page.next_before), (4, None));
    let run = audit.run(Filter::default(), 1, 3, 10).await.unwrap();
    assert_eq!(run.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [2, 3]);
}

async fn names_of_any_characters_survive(place: Place) {
    let audit = place.open();
    let lock = "lock:\u{0}\u{1b}[31m\u{202e}\"'\\é\n";
    audit.refused(vec![deed(lock)], "forged", "no").await;
    let filter = Filter { lock: Some(lock.to_owned()), ..Filter::default() };
    assert_eq!(audit.page(filter, None, 1).await.unwrap().entries[0].lock.as_deref(), Some(lock));
}

/// Makes a file as full as its disk: not one page may be added.
fn fill(store: &Store) {
    // One page goes to what is written next as long as the last has room, so the file is filled up first.
    let pages: i64 = store.sqlite().pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.sqlite().pragma_update(None, "max_page_count", pages).unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_attempted_on_a_full_disk_and_what_was_begun_is_written_when_there_is_room() {
    let audit = Audit::in_memory().unwrap();
    let begun = audit.intend(deed("lock:a")).await.unwrap();
    audit
        .read(|store| {
            fill(store);
            Ok(())
        })
        .await
        .unwrap();
    let error = loop {
        // The last pages take a few more.
        match audit.intend(deed("lock:b")).await {
            Ok(attempt) => assert!(attempt.ended(Outcome::Gone, &"x".repeat(2_000)).await || audit.not_written() > 0),
            Err(error) => break error,
        }
    };
    assert_eq!(error.to_string(), "there is no room left for the audit");
    assert!(!begun.ended(Outcome::Released, &"freed".repeat(400)).await, "it cannot be on the disk");
    let (before, not_written) = (audit.chain().await.unwrap().length, audit.not_written());
    assert!(not_written >= 2);

    // Somebody makes room.
    audit
        .read(|store| {
            store.sqlite().pragma_update(None, "max_page_count", 1_000_000)?;
            Ok(())
        })
        .await
        .unwrap();
    // Nobody asks for anything more: what is owed is written all the same. Time is paused, and so passes at once.
    for _ in 0..10 {
        tokio::time::sleep(RETRY).await;
    }
    assert!(audit.chain().await.unwrap().length > before);
    audit.refused(vec![deed("lock:c")], "forged", "no").await;
    let entries = all(&audit).await;
    let owed: Vec<_> = entries.iter().filter(|entry| entry.seq > before && entry.attempt == Some(1)).collect();
    assert_eq!(owed.len(), 1, "{entries:#?}");
    assert_eq!(owed[0].outcome.as_deref(), Some("released"));
    assert_eq!(entries.last().unwrap().outcome.as_deref(), Some("forged"));
    let verdict = audit.read(|store| verify(store, None)).await.unwrap();
    assert!(verdict.is_intact(), "{verdict:?}");
}

#[tokio::test]
async fn a_file_that_another_program_has_locked_or_that_may_not_be_written_stops_the_attempt() {
    let dir = TempDir::new().unwrap();
    let audit = Audit::open(dir.path(), None).unwrap();
    let other = rusqlite::Connection::open(dir.path().join(FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = audit.intend(deed("lock:a")).await.unwrap_err();
    assert_eq!(error.to_string(), "another program has locked the audit's file");
    other.execute_batch("ROLLBACK").unwrap();
    assert!(audit.intend(deed("lock:a")).await.is_ok());

    let audit = Audit::in_memory().unwrap();
    let read_only = |store: &Store| Ok(store.sqlite().pragma_update(None, "query_only", true)?);
    audit.read(read_only).await.unwrap();
    let error = audit.intend(deed("lock:a")).await.unwrap_err();
    assert_eq!(error.to_string(), "the audit's file may not be written");
    assert!(Audit::not_kept("no folder").intend(deed("lock:a")).await.is_err());
}

#[tokio::test]
async fn attempts_that_a_run_did_not_survive_are_closed_as_unknown_and_wait_for_the_truth() {
    let dir = TempDir::new().unwrap();
    let audit = Audit::open(dir.path(), None).unwrap();
    let interrupted = audit.intend(deed("lock:a")).await.unwrap();
    let watched = audit.intend(deed("lock:b")).await.unwrap();
    assert!(watched.ended(Outcome::Released, "freed").await);
    let done = audit.intend(deed("lock:c")).await.unwrap();
    assert!(done.ended(Outcome::Released, "freed").await);
    done.followed("free", "nobody").await;
    let nothing = audit.intend(deed("lock:d")).await.unwrap();
    assert!(nothing.ended(Outcome::ChangedHands, "another has it").await);
    assert_eq!(audit.unresolved().await.unwrap(), [], "those of this run are followed by whoever began them");
    let error = Audit::open(dir.path(), None).unwrap_err();
    assert!(error.to_string().ends_with("cannot be used: another Lockkeeper keeps its audit there"), "{error}");
    // What a process that ends leaves: its lock is gone, its file is as it was.
    drop((audit, interrupted, watched, done, nothing));

    let audit = Audit::open(dir.path(), None).unwrap();
    let entries = all(&audit).await;
    let last = entries.last().unwrap();
    assert_eq!((last.attempt, last.outcome.as_deref()), (Some(1), Some("unknown")));
    assert!(last.detail.starts_with("attempted, outcome unknown"), "{last:?}");
    let unresolved = audit.unresolved().await.unwrap();
    let known: Vec<_> = unresolved.iter().map(|left| (left.intention.seq, left.outcome.as_str())).collect();
    assert_eq!(known, [(1, "unknown"), (2, "released")]);
    for left in &unresolved {
        audit.resolved(left, Some("free"), "looked up").await;
    }
    assert_eq!(audit.unresolved().await.unwrap(), []);
    assert_eq!(all(&audit).await.last().unwrap().seen.as_deref(), Some("free"));
    assert!(verify(&Store::read(dir.path()).unwrap(), None).unwrap().is_intact());
}

#[tokio::test]
async fn a_flood_of_refusals_does_not_fill_the_disk_and_is_told_of() {
    let audit = Audit::in_memory().unwrap();
    for _ in 0..MAX_REFUSALS + 25 {
        audit.refused(vec![by("mallory")], "forged", "no").await;
    }
    assert_eq!((audit.chain().await.unwrap().length, audit.left_out()), (MAX_REFUSALS, 25));
    // Releases go on.
    assert!(audit.intend(deed("lock:a")).await.is_ok());
    let page = audit.page(Filter::default(), None, 2).await.unwrap();
    assert_eq!(page.entries[0].kind, AuditKind::Intention);
    assert!(page.entries[1].detail.starts_with("25 refused requests since "), "{:?}", page.entries[1]);
    audit.close().await;
    assert_eq!(audit.chain().await.unwrap().length, MAX_REFUSALS + 2, "told once");
}

#[tokio::test]
async fn a_flood_of_sign_ins_does_not_fill_the_disk_nor_hide_refusals() {
    let audit = Audit::in_memory().unwrap();
    let mallory = Actor { name: "unknown".to_owned(), via: "password".to_owned(), address: None };
    for _ in 0..MAX_ACCESSES + 3 {
        audit.accessed(&mallory, "not_signed_in", "wrong name, password or code").await;
    }
    assert_eq!((audit.chain().await.unwrap().length, audit.left_out()), (MAX_ACCESSES, 3));
    audit.refused(vec![by("mallory")], "forged", "no").await;
    let page = audit.page(Filter::default(), None, 2).await.unwrap();
    assert_eq!(page.entries[0].kind, AuditKind::Refusal);
    let told = &page.entries[1];
    assert_eq!((told.kind, told.outcome.as_deref()), (AuditKind::Access, Some("left_out")));
    assert!(told.detail.starts_with("3 sign-ins, sign-outs and failed ones since "), "{told:?}");
}

#[tokio::test]
async fn what_is_no_audit_is_named() {
    let dir = TempDir::new().unwrap();
    let error = Store::read(dir.path()).unwrap_err().to_string();
    assert!(error.starts_with("there is no audit in `") && error.ends_with("no file `audit.db`"), "{error}");
    std::fs::write(dir.path().join(FILE), "not a database, but long enough to be taken for one by its size alone")
        .unwrap();
    assert_eq!(Store::read(dir.path()).unwrap_err().to_string(), "the audit's file is not an SQLite file");
    let error = Audit::open(dir.path(), None).unwrap_err().to_string();
    assert!(error.ends_with("cannot be used: the audit's file is not an SQLite file"), "{error}");

    let file = dir.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let error = Audit::open(&file, None).unwrap_err().to_string();
    assert!(error.starts_with(&format!("`{}` cannot be used: ", file.display())), "{error}");
}

#[tokio::test]
async fn only_its_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = TempDir::new().unwrap();
    let inner = dir.path().join("deeper/data");
    let audit = Audit::open(&inner, None).unwrap();
    audit.refused(vec![deed("lock:a")], "forged", "no").await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    for file in std::fs::read_dir(&inner).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn once_it_is_closed_the_file_alone_is_everything() {
    let dir = TempDir::new().unwrap();
    let audit = Audit::open(dir.path(), None).unwrap();
    audit.refused(vec![deed("lock:a")], "forged", "no").await;
    audit.close().await;
    let copy = TempDir::new().unwrap();
    std::fs::copy(dir.path().join(FILE), copy.path().join(FILE)).unwrap();
    let chain = Store::read(copy.path()).unwrap().chain().unwrap();
    assert_eq!(chain, audit.chain().await.unwrap());
    assert_eq!(chain.length, 1);
}
