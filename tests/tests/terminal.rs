//! What the dashboard shows and does, from a terminal and from scripts; and what a script decides by.

use std::path::PathBuf;
use std::time::Duration;

use lockkeeper_model::{Event, Lock, ReleaseAnswer, TransitionKind};
use lockkeeper_tests::{
    Api, Authority, Caught, Family, Left, LockClient, Locks, Program, Proxy, RedisServer, Server, free_port,
    lockkeeper, store, until,
};
use tempfile::TempDir;

const LEASE: Duration = Duration::from_secs(600);

pub(crate) const DONE: Option<i32> = Some(0);
pub(crate) const COULD_NOT: Option<i32> = Some(1);
pub(crate) const USAGE: Option<i32> = Some(2);
pub(crate) const NOT_FOUND: Option<i32> = Some(3);
pub(crate) const NOTHING_RELEASED: Option<i32> = Some(4);
pub(crate) const IN_DOUBT: Option<i32> = Some(5);
pub(crate) const NOT_ALLOWED: Option<i32> = Some(6);
pub(crate) const UNCONFIRMED: Option<i32> = Some(7);

/// A server with a store, and commands that speak to it.
pub(crate) struct Scene {
    redis: RedisServer,
    pub(crate) server: Server,
    pub(crate) api: Api,
    pub(crate) store: fred::clients::Client,
}

impl Scene {
    pub(crate) async fn set() -> Scene {
        let redis = RedisServer::start().await;
        let server = Server::releasing(&redis).await;
        let (api, store) = (server.api(), redis.client().await);
        Scene { redis, server, api, store }
    }

    /// A lock that is held, and seen to be.
    pub(crate) async fn held(&self, name: &str) -> LockClient {
        let holder = Family::RedisPy.client(&self.store, name, Some(LEASE));
        assert!(holder.take().await);
        self.seen(&holder).await;
        holder
    }

    pub(crate) async fn seen(&self, holder: &LockClient) -> Lock {
        let is_holder = |lock: &Lock| lock.holders[0].token.as_ref() == Some(&holder.token);
        self.api.until_lock("the lock", &holder.key, is_holder).await
    }

    pub(crate) fn program(&self, args: &[&str]) -> Program {
        Program::new(args).env("LOCKKEEPER_SERVER", &self.server.url())
    }

    /// Runs a command that does what it is asked.
    pub(crate) async fn printed(&self, args: &[&str]) -> String {
        let left = self.program(args).run().await;
        assert_eq!(left.code, DONE, "{args:?}: {left:#?}");
        left.out
    }

    /// Runs a command that does not.
    pub(crate) async fn refused(&self, args: &[&str], code: Option<i32>) -> Left {
        let left = self.program(args).run().await;
        assert_eq!(left.code, code, "{args:?}: {left:#?}");
        assert!(left.err.starts_with("lockkeeper: ") || left.err.starts_with("error: "), "{left:#?}");
        left
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_a_table_for_people_and_the_answer_for_programs() {
    let scene = Scene::set().await;
    let nothing = scene.program(&["locks"]).run().await;
    assert_eq!(nothing.code, NOT_FOUND, "{nothing:#?}");
    assert!(nothing.out.starts_with("no lock fits, as of "), "{nothing:#?}");

    let holder = scene.held("stock:4711").await;
    scene.held("mail").await;
    let table = scene.printed(&["locks", "--sort", "name"]).await;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("LOCK ") && lines[0].contains("ALIVE?") && lines[0].contains("WAITING"), "{table}");
    assert!(lines[1].starts_with("mail ") && lines[2].starts_with("stock:4711 "), "{table}");
    assert!(lines[2].contains(&holder.token[..6]) && lines[2].contains("unknown"), "{table}");
    assert!(lines[4].starts_with("2 locks, as of 20"), "{table}");
    assert_eq!(lines[5], format!("{}: live, all keys seen", scene.redis.source()));
    assert!(!table.contains('\u{1b}'), "a pipe has no colours: {table}");

    let page: Locks = serde_json::from_str(&scene.printed(&["locks", "--q", "4711", "--json"]).await).unwrap();
    assert_eq!((page.total, page.locks[0].name.as_str()), (1, "stock:4711"));
    let one = scene.printed(&["locks", "--limit", "1"]).await;
    assert!(one.contains("1 of 2 locks"), "{one}");
    scene.refused(&["locks", "--source", "nowhere"], NOT_FOUND).await;
    for wrong in [["locks", "--state", "asleep"], ["locks", "--limit", "0"], ["locks", "--sort", "colour"]] {
        scene.refused(&wrong, USAGE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_obeys_nothing_that_stands_in_a_store() {
    let scene = Scene::set().await;
    let holder = scene.held("evil\u{1b}[2J\u{9b}31m\u{202e}").await;
    let printed = [
        scene.printed(&["locks"]).await,
        scene.printed(&["locks", "--json"]).await,
        scene.printed(&["why", &holder.key]).await,
        scene.printed(&["why", &holder.key, "--json"]).await,
    ];
    for text in printed {
        let harmful = text.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!(harmful, None, "{text}");
        assert!(text.contains("evil"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn why_says_everything_about_one_lock() {
    let scene = Scene::set().await;
    let holder = scene.held("stock:4711").await;
    // So far that no reading takes it for the same deadline.
    let _: i64 = store(&scene.store, "PEXPIRE", [holder.key.as_str(), "1200000"]).await;
    scene.api.until_lock("a renewal", &holder.key, |lock| lock.holders[0].renewals.count == 1).await;
    let source = scene.redis.source();
    for name in ["4711", "stock:4711", "lock:stock:4711", &format!("{source}/lock:stock:4711")] {
        let said = scene.printed(&["why", name]).await;
        for part in [
            &format!("stock:4711\n{source}/lock:stock:4711: redis-py (likely), exclusive\n"),
            "\nas of 20",
            &format!("\n{source}: live, all keys seen\n"),
            "\nHolder\n",
            &format!("Token          {}\n", holder.token),
            "\n  Alive?         ",
            "\n  Because        renewed once, ",
            ", seen as it happened\n",
            "\n  Renewals       1, the last ",
            "\nWaiters\n  How many  unknown: ",
            "\nWhy this library\n  Library     redis-py, likely\n",
            "\nLatest transitions\n",
            "  renewed by ",
            "  taken by ",
            "\nWhat a release would do\n",
            "\n  What happens    ",
            "\n  The old holder  learns of it when it next renews or lets go",
            "\n  WARNING: ",
        ] {
            assert!(said.contains(part), "{name}: {part}\n---\n{said}");
        }
    }
    let lock: Lock = serde_json::from_str(&scene.printed(&["why", "4711", "--json"]).await).unwrap();
    assert_eq!(lock.holders[0].token.as_ref(), Some(&holder.token));

    assert!(holder.release().await);
    scene.api.until_story(&holder.key, &["released"]).await;
    let gone = scene.refused(&["why", "lock:stock:4711"], NOT_FOUND).await;
    assert!(gone.out.contains("not held now\n") && gone.out.contains("  released by "), "{gone:#?}");
    assert!(gone.err.contains("is not held now"), "{gone:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_fits_several_locks_is_not_guessed_at() {
    let scene = Scene::set().await;
    let holders = [scene.held("stock:4711").await, scene.held("order:4711").await];
    let said = scene.refused(&["why", "4711"], USAGE).await.err;
    assert!(said.contains("`4711` fits 2 locks:") && holders.iter().all(|one| said.contains(&one.key)), "{said}");
    let release = ["release", "4711", "--confirm", "4711", "--reason", "a test"];
    scene.refused(&release, USAGE).await;
    assert!(holders[0].renew().await && holders[1].renew().await);
    scene.printed(&["why", "stock:4711"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_in_a_pipe_is_confirmed_by_what_the_preview_asked_for() {
    let scene = Scene::set().await;
    let holder = scene.held("stock:4711").await;

    let plan = scene.printed(&["release", "4711", "--dry-run"]).await;
    for part in ["What happens", "WARNING: ", "Nothing was done. The text that confirms it is `4711`.\n"] {
        assert!(plan.contains(part), "{part}\n---\n{plan}");
    }
    scene.refused(&["release", "4711"], USAGE).await;
    scene.refused(&["release", "4711", "--confirm", "4711"], USAGE).await;
    for (confirm, reason) in [("47", "a test"), ("", "a test"), ("4711", ""), ("4711", "x")] {
        let release = ["release", "4711", "--confirm", confirm, "--reason", reason];
        let left = scene.program(&release).run().await;
        assert_eq!(left.code, UNCONFIRMED, "{release:?}: {left:#?}");
        assert!(left.err.contains("nothing was tried"), "{left:#?}");
    }
    assert!(holder.renew().await, "none of that did anything");

    let said = scene.printed(&["release", "4711", "--confirm", "4711", "--reason", "a test"]).await;
    assert!(said.contains("/lock:stock:4711: released. "), "{said}");
    assert!(said.contains("Nobody took it in the "), "{said}");
    assert!(!holder.renew().await);
    scene.refused(&["release", "4711", "--confirm", "4711", "--reason", "a test"], NOT_FOUND).await;

    let again = scene.held("stock:4711").await;
    let left = scene.program(&["release", "4711", "--json", "--confirm", "4711", "--reason", "a test"]).run().await;
    let answer: ReleaseAnswer = serde_json::from_str(&left.out).unwrap();
    assert_eq!((left.code, answer.results.len()), (DONE, 1), "{left:#?}");
    assert!(left.err.contains("WARNING: "), "{left:#?}");
    assert!(!again.renew().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_a_script_did_not_look_at_is_not_released() {
    let scene = Scene::set().await;
    let first = scene.held("handed").await;
    let looked: Lock = serde_json::from_str(&scene.printed(&["why", "handed", "--json"]).await).unwrap();
    let second = first.fresh();
    assert!(first.release().await && second.take().await);
    scene.seen(&second).await;
    for generation in [&looked.generation, &looked.holders[0].generation] {
        let release =
            ["release", "handed", "--generation", generation, "--confirm", "handed", "--reason", "worker 7 crashed"];
        let left = scene.refused(&release, NOTHING_RELEASED).await;
        assert!(left.err.contains("changed hands") && left.err.contains(&second.token[..6]), "{left:#?}");
    }
    assert!(second.renew().await, "the new holder lost its lock");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_nobody_heard_back_from_is_in_doubt() {
    let scene = Scene::set().await;
    let holder = scene.held("doubtful").await;
    let port = scene.server.address().rsplit(':').next().unwrap().parse().unwrap();
    let network = Proxy::to(port).await;
    network.freeze_at(b"POST /api/v1/releases HTTP", Caught::Delivered);
    let release = ["release", "doubtful", "--confirm", "doubtful", "--reason", "a test"];
    let server = format!("http://127.0.0.1:{}", network.port());
    let running = tokio::spawn(Program::new(&release).env("LOCKKEEPER_SERVER", &server).run());
    network.frozen().await;
    scene.api.until_story(&holder.key, &["forced"]).await;
    network.cut();
    let left = running.await.unwrap();
    assert_eq!(left.code, IN_DOUBT, "{left:#?}");
    assert!(left.err.contains("whether it was released is not known"), "{left:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_the_confirmation_and_the_reason_are_asked_for() {
    let scene = Scene::set().await;
    let holder = scene.held("stock:4711").await;
    let release = ["release", "4711"];
    let on_a_terminal = || Program::on_a_terminal(&release).env("LOCKKEEPER_SERVER", &scene.server.url());
    let mistyped = on_a_terminal().run_with("4712\nworker 7 crashed\n").await;
    assert_eq!(mistyped.code, UNCONFIRMED, "{mistyped:#?}");
    assert!(holder.renew().await);
    let left = on_a_terminal().run_with("4711\nworker 7 crashed\n").await;
    assert_eq!(left.code, DONE, "{left:#?}");
    let (warning, question) = (left.out.find("WARNING: ").unwrap(), left.out.find("Type `4711` to confirm: ").unwrap());
    assert!(warning < question && left.out.contains("Why (for the audit): "), "{left:#?}");
    assert!(!holder.renew().await);
    let audit = scene.printed(&["audit", "list", "--server"]).await;
    assert!(audit.contains("reason: worker 7 crashed"), "{audit}");

    scene.held("coloured").await;
    let coloured = Program::on_a_terminal(&["locks"]).env("LOCKKEEPER_SERVER", &scene.server.url());
    assert!(coloured.env("TERM", "xterm").run().await.out.contains("\u{1b}[1mLOCK\u{1b}[0m"));
    let plain = Program::on_a_terminal(&["locks"]).env("LOCKKEEPER_SERVER", &scene.server.url());
    assert!(!plain.env("TERM", "xterm").env("NO_COLOR", "1").run().await.out.contains('\u{1b}'));
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_goes_on_over_a_restart_of_the_server_and_says_what_it_does_not_know() {
    let redis = RedisServer::start().await;
    let client = redis.client().await;
    let address = format!("127.0.0.1:{}", free_port());
    let serve = async || {
        let server = Server::serve().redis(&redis.url()).arg("--listen").arg(&address).start_where_it_is_told().await;
        server.ready().await;
        server
    };
    let mut server = serve().await;
    let url = server.url();
    let program = |args: &[&str]| Program::new(args).env("LOCKKEEPER_SERVER", &url).start();
    let (json, text) = (program(&["watch", "--json"]), program(&["watch"]));
    let only = program(&["watch", "--source", &redis.source(), "--lock", "lock:second", "--json"]);
    for watching in [&json, &text, &only] {
        watching.until_said("watching ").await;
    }
    let take = async |name: &str| {
        let holder = Family::RedisPy.client(&client, name, Some(LEASE));
        assert!(holder.take().await);
        holder
    };
    let events =
        |lines: &[String]| -> Vec<Event> { lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let tells = |lines: &[String], kind: TransitionKind, key: Option<&str>| {
        let about = |event: &Event| event.lock.as_ref().map(|lock| lock.as_str().to_owned()).as_deref() == key;
        events(lines).iter().any(|event| event.transition == kind && about(event))
    };
    take("first").await;
    json.until_printed("the first lock", |lines| tells(lines, TransitionKind::Acquired, Some("lock:first"))).await;
    text.until_printed("the first lock", |lines| lines.iter().any(|line| line.contains("/lock:first  taken by ")))
        .await;

    server.stop().await;
    for watching in [&json, &text] {
        watching.until_said("lost the link to ").await;
    }
    let mut server = serve().await;
    for watching in [&json, &text, &only] {
        watching.until_said("connected again after ").await;
    }
    take("second").await;
    json.until_printed("a gap, and what came after", |lines| {
        tells(lines, TransitionKind::Gap, None) && tells(lines, TransitionKind::Acquired, Some("lock:second"))
    })
    .await;
    text.until_printed("the same in words", |lines| {
        let has = |part: &str| lines.iter().any(|line| line.contains(part));
        has("GAP: something was not seen here (not_kept: ") && has("/lock:second  taken by ")
    })
    .await;
    let lines =
        only.until_printed("the one lock", |lines| tells(lines, TransitionKind::Acquired, Some("lock:second"))).await;
    assert!(!tells(&lines, TransitionKind::FirstSeen, Some("lock:first")), "{lines:#?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_what_it_may_and_never_shows() {
    let redis = RedisServer::start().await;
    let dir = TempDir::new().unwrap();
    let path = |name: &str| -> String { dir.path().join(name).to_str().unwrap().to_owned() };
    let config = format!(
        "[[source]]\nurl = \"{}\"\n[[role]]\nname = \"all\"\ngroups = [\"all\"]\nrights = [\"view\", \"release\"]\n\
         [access]\ntokens_file = \"{}\"\n",
        redis.url(),
        path("tokens.toml"),
    );
    let mut tokens = Vec::new();
    for right in ["view", "release"] {
        let new =
            ["token", "new", "--name", right, "--right", "view", "--right", right, "--file", &path("tokens.toml")];
        let made = lockkeeper(&new, "").await;
        assert!(made.status.success(), "{made:?}");
        tokens.push(String::from_utf8(made.stdout).unwrap().trim().to_owned());
    }
    let [view, release] = tokens.as_slice() else { panic!("two tokens") };
    let server = Server::serve().config(&config).arg("--allow-release").start().await;
    let api = server.api().bearing(view);
    let holder = Family::RedisPy.client(&redis.client().await, "guarded", Some(LEASE));
    assert!(holder.take().await);
    api.until_lock("the lock", &holder.key, |_| true).await;

    let with = |args: &[&str], token: &str| {
        let program = Program::new(args).env("LOCKKEEPER_SERVER", &server.url()).env("LOCKKEEPER_TOKEN", token);
        program.run()
    };
    let freeing = ["release", "guarded", "--confirm", "guarded", "--reason", "a test"];
    for (args, token, says) in [
        (&["locks"][..], "", "sign in at /sign-in, or send a token"),
        (&["locks"], "lkt_nonsense", "token"),
        (&["watch"], "", "send a token"),
        (&freeing, view, "`release` is needed"),
    ] {
        let left = with(args, token).await;
        assert_eq!(left.code, NOT_ALLOWED, "{args:?}: {left:#?}");
        assert!(left.err.contains(says) && !left.err.contains("lkt_nonsense"), "{args:?}: {left:#?}");
    }
    assert!(holder.renew().await, "nothing was released");
    let why = with(&["why", "guarded"], view).await;
    assert!(why.code == DONE && why.out.contains("you may not release"), "{why:#?}");
    let audit = with(&["audit", "list", "--server"], view).await;
    assert_eq!(audit.out.lines().count(), 1, "looking is not refused, and a release is: {audit:#?}");

    let file = PathBuf::from(path("token"));
    std::fs::write(&file, format!("{release}\n")).unwrap();
    let left = with(&[&freeing[..], &["--token-file", &path("token")]].concat(), "lkt_nonsense").await;
    assert_eq!(left.code, DONE, "the file wins: {left:#?}");
    assert!(!format!("{left:?}").contains(release.as_str()), "{left:#?}");
    assert!(!holder.renew().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_certificate_of_its_own_authority_is_believed_by_that() {
    let authority = Authority::new();
    let redis = RedisServer::start().await;
    let tls =
        format!("[tls]\ncert = \"{}\"\nkey = \"{}\"\n", authority.path("server.pem"), authority.path("server.key"));
    let server = Server::serve().config(&format!("[[source]]\nurl = \"{}\"\n{tls}", redis.url())).start().await;
    let ca = authority.path("ca.pem");
    let left = Program::new(&["sources", "--server", &server.url(), "--ca", &ca]).run().await;
    assert_eq!(left.code, DONE, "{left:#?}");
    assert!(left.out.contains(&redis.source()), "{left:#?}");
    let missing = Program::new(&["sources", "--server", &server.url(), "--ca", "no-such.pem"]).run().await;
    assert!(missing.code == COULD_NOT && missing.err.contains("`no-such.pem` cannot be read"), "{missing:#?}");
    let stranger = Authority::new();
    let left = Program::new(&["sources", "--server", &server.url(), "--ca", &stranger.path("ca.pem")]).run().await;
    assert_eq!(left.code, COULD_NOT, "{left:#?}");
    assert!(left.err.contains("hint: ") && left.err.contains("`--ca`"), "{left:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_work_says_why_and_what_to_try() {
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let left = Program::new(&["locks", "--server", &nobody]).run().await;
    assert_eq!(left.code, COULD_NOT, "{left:#?}");
    assert!(left.err.starts_with(&format!("lockkeeper: no server answers at {nobody}")), "{left:#?}");
    assert!(left.err.contains("hint: start one with `lockkeeper serve`"), "{left:#?}");

    let secret = Program::new(&["locks", "--server", "http://ada:hunter2@127.0.0.1"]).run().await;
    assert_eq!(secret.code, USAGE);
    assert!(!secret.err.contains("hunter2"), "{secret:#?}");
    // Something that is no Lockkeeper.
    let redis = RedisServer::start().await;
    let left = Program::new(&["locks", "--server", &format!("http://127.0.0.1:{}", redis.port())]).run().await;
    assert_eq!(left.code, COULD_NOT, "{left:#?}");

    let scene = Scene::set().await;
    scene.held("unread").await;
    let unread = scene.program(&["locks"]).run_unread().await;
    assert_eq!((unread.code, unread.err.as_str()), (DONE, ""), "whoever stops reading has read enough");
    let off = scene.refused(&["trace", &scene.redis.source()], NOT_ALLOWED).await;
    assert!(off.err.contains("--allow-trace"), "{off:#?}");
    scene.refused(&["trace", "nowhere", "--seconds", "11"], USAGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_is_the_same_from_the_server_and_from_the_file() {
    let redis = RedisServer::start().await;
    let data = TempDir::new().unwrap();
    let dir = data.path().to_str().unwrap();
    let server = Server::serve().redis(&redis.url()).arg("--allow-release").arg("--data-dir").arg(dir).start().await;
    server.ready().await;
    let holder = Family::RedisPy.client(&redis.client().await, "job", Some(LEASE));
    assert!(holder.take().await);
    let api = server.api();
    let lock = api.until_lock("the lock", &holder.key, |_| true).await;
    assert_eq!(api.release(&api.preview(&lock).await).await.0, 200);
    for args in [
        &["audit", "list"][..],
        &["audit", "list", "--limit", "1"],
        &["audit", "list", "--outcome", "released", "--lock", &holder.key],
        &["audit", "export"],
        &["audit", "export", "--format", "csv"],
    ] {
        let file = Program::new(args).env("LOCKKEEPER_DATA_DIR", dir).run().await;
        let url = server.url();
        let told = Program::new(&[args, &["--server", &url]].concat()).env("LOCKKEEPER_DATA_DIR", dir).run().await;
        assert!(file.code == DONE && !file.out.is_empty(), "{args:?}: {file:#?}");
        assert_eq!(told, file, "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_names_those_who_try_in_vain() {
    let redis = RedisServer::start().await;
    let server = Server::serve().redis(&redis.url()).arg("--allow-trace").start().await;
    server.ready().await;
    let client = redis.client().await;
    let holder = Family::RedisPy.client(&client, "wanted", Some(LEASE));
    assert!(holder.take().await);
    server.api().until_lock("the lock", &holder.key, |_| true).await;
    let waiter = holder.fresh();
    let trying = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(40));
        loop {
            tick.tick().await;
            waiter.take().await;
        }
    });
    let args = ["trace", &redis.source(), "wanted", "--seconds", "1", "--server", &server.url()];
    // A store that answers late for a moment is not traced.
    let left = until("a trace", async || Program::new(&args).run().await, |left| left.code == DONE).await;
    trying.abort();
    for part in [": sampled from 20", "\nlock:wanted\n  Attempts  ", "\n  Wants it  ", "\n  It cost "] {
        assert!(left.out.contains(part), "{part}\n---\n{}", left.out);
    }
    let args = ["trace", &redis.source(), "lock:untouched", "--seconds", "1", "--server", &server.url()];
    let left =
        until("a trace of nothing", async || Program::new(&args).run().await, |left| left.code == NOT_FOUND).await;
    assert!(left.out.contains("lock:untouched\n  Attempts  nobody tried to take it"), "{left:#?}");
    let _: i64 = store(&client, "DEL", [holder.key.as_str()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_and_man_are_told_of_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = Program::new(&["completions", shell]).run().await;
        assert!(script.code == DONE && script.out.contains("dry-run"), "{script:#?}");
        if shell == "bash" {
            let checked = std::process::Command::new("bash").args(["-n", "-c", &script.out]).output().unwrap();
            assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
        }
    }
    for (args, names) in [(&["man"][..], "lockkeeper 1"), (&["man", "release"], "lockkeeper-release 1")] {
        let page = Program::new(args).run().await;
        assert!(page.code == DONE && page.out.contains(&format!(".TH {names}")), "{page:#?}");
        assert!(page.out.contains(".SH SYNOPSIS"), "{page:#?}");
    }
    let help = Program::new(&["release", "--help"]).run().await;
    for line in ["  0  done", "  4  nothing released: ", "  7  not confirmed: "] {
        assert!(help.out.contains(line), "{help:#?}");
    }
    assert_eq!(Program::new(&["man", "nothing"]).run().await.code, USAGE);
}
