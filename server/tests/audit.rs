//! `lockkeeper audit` on files that were left alone, and on files that were not.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use lockkeeper::recorder::audit::{Audit, Deed, FILE};
use lockkeeper_model::{Action, Actor, Outcome};
use rusqlite::Connection;
use tempfile::TempDir;

fn run(arguments: &[&str], dir: &Path) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lockkeeper"))
        .arg("audit")
        .args(arguments)
        .env_clear()
        .env("LOCKKEEPER_DATA_DIR", dir)
        .output()
        .unwrap();
    let Output { status, stdout, stderr } = output;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn deed(lock: &str) -> Deed {
    let actor =
        Actor { name: "alice\u{1b}[2J".to_owned(), via: "oidc".to_owned(), address: Some("10.0.0.7".to_owned()) };
    Deed::by(&actor).action(Action::Release).lock("orders", lock, "7.3").token(b"0f8e41c29a7d4be3").reason("=worker 7")
}

/// A folder with six entries: a refusal, two attempts and what came of them.
fn written() -> TempDir {
    let dir = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let audit = Audit::open(dir.path(), None).unwrap();
        audit.refused(vec![deed("lock:a")], "mistyped", "release refused: that is not the text").await;
        for lock in ["lock:a", "lock:b\n"] {
            let attempt = audit.intend(deed(lock)).await.unwrap();
            assert!(attempt.ended(Outcome::Released, "freed").await);
            if lock == "lock:a" {
                attempt.followed("free", "nobody has taken it").await;
            }
        }
    });
    dir
}

fn head(dir: &Path) -> String {
    let (_, said, _) = run(&["verify"], dir);
    said.lines().find_map(|line| line.strip_prefix("head: 6 ")).unwrap().to_owned()
}

/// What somebody does who may write the file and knows SQLite: the triggers are back afterwards.
fn tamper(dir: &Path, sql: &str) {
    let file = Connection::open(dir.join(FILE)).unwrap();
    let mut found = file.prepare("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").unwrap();
    let triggers: Vec<(String, String)> =
        found.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    assert_eq!(triggers.len(), 3);
    for (name, _) in &triggers {
        file.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
    file.execute_batch(sql).unwrap();
    for (_, made) in &triggers {
        file.execute_batch(made).unwrap();
    }
}

#[test]
fn a_file_that_was_left_alone_is_intact_and_says_where_it_ends() {
    let dir = written();
    let (code, said, _) = run(&["verify"], dir.path());
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("intact: 6 entries are chained without a break\nhead: 6 "), "{said}");
    let head = head(dir.path());
    let (code, said, _) = run(&["verify", "--head", &head.to_uppercase()], dir.path());
    assert_eq!(code, 0);
    assert!(said.contains("the noted hash is that of entry 6, after which 0 were appended"), "{said}");
    let (code, said, _) = run(&["verify", "--head", "abc"], dir.path());
    assert_eq!(code, 3);
    assert!(said.contains("no entry has the hash given by `--head`"), "{said}");
}

#[test]
fn whatever_was_done_to_the_file_is_found_and_returns_3() {
    for (sql, finding) in [
        ("UPDATE entries SET entry = replace(entry, 'worker 7', 'worker 8') WHERE seq = 2", "entry 2 was changed"),
        ("UPDATE entries SET hash = replace(hash, 'a', 'b') WHERE seq = 3", "entry 3 was changed"),
        ("DELETE FROM entries WHERE seq = 3", "entry 3 is missing"),
        ("DELETE FROM entries WHERE seq < 3", "entries 1 to 2 are missing"),
        (
            "DELETE FROM entries WHERE seq = 3; UPDATE entries SET seq = seq - 1 WHERE seq > 3",
            "entry 3 was moved: it says that it is entry 4",
        ),
        (
            "UPDATE entries SET seq = -seq WHERE seq IN (2, 3); UPDATE entries SET seq = seq + 5 WHERE seq IN (-2, -3)",
            "entry 2 was moved: it says that it is entry 3",
        ),
        (
            "INSERT INTO entries (seq, entry, hash) SELECT 7, entry, hash FROM entries WHERE seq = 1",
            "entry 7 was moved",
        ),
        (
            "INSERT INTO entries (seq, entry, hash) SELECT 0, entry, hash FROM entries WHERE seq = 1",
            "entry 0 stands where",
        ),
    ] {
        let dir = written();
        tamper(dir.path(), sql);
        let (code, said, _) = run(&["verify"], dir.path());
        assert_eq!(code, 3, "{sql}: {said}");
        assert!(said.starts_with("CHANGED: the audit is not as it was written\n  "), "{said}");
        assert!(said.contains(finding), "{sql}: {said}");
        assert!(!said.contains("trigger"), "{said}");
    }
}

#[test]
fn entries_cut_off_at_the_end_are_found_by_a_noted_hash_only() {
    let dir = written();
    let head = head(dir.path());
    tamper(dir.path(), "DELETE FROM entries WHERE seq > 4");
    let (code, said, _) = run(&["verify"], dir.path());
    assert_eq!(code, 0);
    assert!(said.contains("head: 4 ") && said.contains("only that shows entries cut off at the end"), "{said}");
    let (code, said, _) = run(&["verify", "--head", &head], dir.path());
    assert_eq!(code, 3);
    assert!(said.contains("entries were cut off at the end, or all were rewritten"), "{said}");
}

#[test]
fn lists_are_for_the_eye_and_exports_for_programs() {
    let dir = written();
    let (code, said, _) = run(&["list"], dir.path());
    assert_eq!(code, 0);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 6, "{said}");
    assert!(lines[0].starts_with("     6  20") && lines[5].starts_with("     1  20"), "{said}");
    assert!(
        lines[0].contains(r"completion  of 5  alice\u{1b}[2J (oidc, 10.0.0.7)  release `lock:b\u{a}` of `orders`"),
        "{said}"
    );
    assert!(lines[5].ends_with("mistyped  release refused: that is not the text  reason: =worker 7"), "{said}");
    let (_, said, _) = run(&["list", "--limit", "2", "--lock", "lock:a"], dir.path());
    assert_eq!(said.lines().count(), 2);
    assert!(said.contains("  free  nobody has taken it  reason"), "{said}");
    let (_, said, _) = run(&["list", "--outcome", "mistyped", "--since", "2020-01-01T00:00:00Z"], dir.path());
    assert_eq!(said.lines().count(), 1);

    let (_, said, _) = run(&["export"], dir.path());
    let seqs: Vec<u64> =
        said.lines().map(|line| serde_json::from_str::<lockkeeper_model::AuditEntry>(line).unwrap().seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
    let (_, said, _) = run(&["export", "--format", "csv", "--actor", "nobody"], dir.path());
    assert_eq!(said.matches("\r\n").count(), 1);
    let (_, said, _) = run(&["export", "--format", "csv"], dir.path());
    assert!(said.contains("\"'=worker 7\"") && said.contains("\"lock:b\n\""), "{said}");
    assert!(!said.contains("0f8e41c29a7d4be3"), "the token is in it");
}

#[test]
fn a_folder_without_an_audit_returns_1_and_a_bad_argument_2() {
    let dir = TempDir::new().unwrap();
    for what in ["list", "verify", "export"] {
        let (code, said, complaint) = run(&[what], dir.path());
        assert_eq!((code, said.as_str()), (1, ""));
        assert!(complaint.starts_with("lockkeeper: there is no audit in `"), "{complaint}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "reading makes nothing");
    let (code, _, complaint) = run(&["list", "--since", "yesterday"], dir.path());
    assert_eq!(code, 2);
    assert!(complaint.contains("`yesterday` is no RFC 3339 time"), "{complaint}");
}

#[test]
fn a_reader_that_stops_early_is_no_error() {
    let dir = written();
    let command = format!("{} audit list | head -n 1", env!("CARGO_BIN_EXE_lockkeeper"));
    let output = Command::new("sh")
        .args(["-c", &command])
        .env("LOCKKEEPER_DATA_DIR", dir.path())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn a_server_that_may_release_does_not_start_without_an_audit() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("a-file/below");
    std::fs::write(dir.path().join("a-file"), "").unwrap();
    let serve = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockkeeper"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--redis", "redis://127.0.0.1:1"]);
        command.args(arguments).env_clear().current_dir(dir.path());
        command
    };
    let complaint = |arguments: &[&str]| {
        let output = serve(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = complaint(&["--allow-release", "--data-dir", file.to_str().unwrap()]);
    assert!(said.contains(&format!("could not open the audit: `{}` cannot be used: ", file.display())), "{said}");
    assert!(said.contains("hint: nothing is released that is not written down"), "{said}");
    let said = complaint(&["--allow-release"]);
    assert!(said.contains("there is no folder for the audit"), "{said}");

    // Two servers do not share one.
    let data = dir.path().join("data");
    let _held = Audit::open(&data, None).unwrap();
    let said = complaint(&["--allow-release", "--data-dir", data.to_str().unwrap()]);
    assert!(said.contains("another Lockkeeper keeps its audit there"), "{said}");
}
