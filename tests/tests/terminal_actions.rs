//! Whatever can be done with a lock, from a terminal: several at once, holding, opening, giving back, raising a fence, and
//! what takes two people.

use lockkeeper_model::PreviewAnswer;
use lockkeeper_tests::{Dialect, Left, Program};

use crate::approvals;
use crate::terminal::{DONE, NOT_ALLOWED, NOT_FOUND, NOTHING_RELEASED, Scene, USAGE};

/// Does it as a script does: looks first, and confirms by what the preview asked for.
async fn confirmed(scene: &Scene, args: &[&str]) -> Left {
    let look = [&["release"], args, &["--dry-run", "--json"]].concat();
    let preview: PreviewAnswer = serde_json::from_str(&scene.printed(&look).await).unwrap();
    let act = [&["release"], args, &["--confirm", &preview.confirm, "--reason", "a test"]].concat();
    scene.program(&act).run().await
}

#[tokio::test(flavor = "multi_thread")]
async fn several_locks_are_released_together_or_not_named_at_all() {
    let scene = Scene::set().await;
    let (one, two) = (scene.held("several-one").await, scene.held("several-two").await);
    let plan = scene.printed(&["release", "several-one", "several-two", "--dry-run"]).await;
    assert!(plan.contains("several-one") && plan.contains("several-two"), "{plan}");
    // One that is not there ends it before anything is asked for.
    let missing = ["release", "several-one", "several-none", "--confirm", "x", "--reason", "a test"];
    scene.refused(&missing, NOT_FOUND).await;
    assert!(one.renew().await && two.renew().await);
    let about_one = ["release", "several-one", "several-two", "--holder", "x", "--confirm", "x", "--reason", "a test"];
    scene.refused(&about_one, USAGE).await;

    let left = confirmed(&scene, &["several-one", "several-two"]).await;
    assert_eq!(left.code, DONE, "{left:#?}");
    assert_eq!(left.out.matches(": released. ").count(), 2, "{left:#?}");
    assert!(!one.renew().await && !two.renew().await);

    let (one, two) = (scene.held("several-three").await, scene.held("several-four").await);
    let left = confirmed(&scene, &["several-three", "several-four", "--stop-at-first-failure"]).await;
    assert_eq!((left.code, left.out.matches(": released. ").count()), (DONE, 2), "{left:#?}");
    assert!(!one.renew().await && !two.renew().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_kept_closed_for_longer_opened_and_given_back() {
    let scene = Scene::set().await;
    let holder = scene.held("kept").await;
    let open = ["release", "kept", "--action", "open", "--confirm", "kept", "--reason", "a test"];
    let refused = scene.refused(&open, NOTHING_RELEASED).await;
    assert!(refused.err.contains("no operator keeps others out of"), "{refused:#?}");
    scene.refused(&["release", "kept", "--for", "5m", "--dry-run"], USAGE).await;
    scene.refused(&["release", "kept", "--action", "hold", "--for", "2h", "--dry-run"], USAGE).await;

    let held = confirmed(&scene, &["kept", "--action", "hold", "--for", "5m"]).await;
    assert!(held.code == DONE && held.out.contains(": released and kept closed. "), "{held:#?}");
    assert!(!holder.renew().await && !holder.take().await);
    let extended = confirmed(&scene, &["kept", "--action", "extend", "--for", "10m"]).await;
    assert!(extended.code == DONE && extended.out.contains(": kept closed for longer. "), "{extended:#?}");
    let opened = confirmed(&scene, &["kept", "--action", "open"]).await;
    assert!(opened.code == DONE && opened.out.contains(": released. "), "{opened:#?}");

    let holder = scene.held("lent").await;
    let source = scene.api.source().await.name;
    let released = confirmed(&scene, &["lent"]).await;
    assert_eq!(released.code, DONE, "{released:#?}");
    let way_back = released.err.lines().find_map(|line| line.split_once("--generation ")).expect("a way back").1;
    let generation = way_back.split(' ').next().unwrap();
    let whole = format!("{source}/{}", holder.key);
    assert!(way_back.contains(&whole), "{released:#?}");
    scene.refused(&["release", "lent", "--action", "put-back", "--dry-run"], USAGE).await;
    scene.refused(&["release", &whole, "--action", "put-back", "--dry-run"], USAGE).await;
    let back = confirmed(&scene, &[&whole, "--action", "put-back", "--generation", generation]).await;
    assert!(back.code == DONE && back.out.contains(": given back to its former holder. "), "{back:#?}");
    assert!(holder.renew().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_is_raised_and_only_an_idle_queue_loses_its_head() {
    let scene = Scene::set().await;
    let fenced = Dialect::ALL.iter().find(|dialect| dialect.name == "lockkeeper-client").unwrap();
    assert!(fenced.contender(&scene.store, "guarded").take().await);
    let key = &fenced.keys("guarded")[0];
    let lock = scene.api.until_lock("the lock", key, |lock| lock.holders.len() == 1).await;
    let before: u64 = lock.holders[0].fencing_token.as_ref().unwrap().value.parse().unwrap();
    let raised = confirmed(&scene, &[key, "--action", "raise-fence"]).await;
    assert!(raised.code == DONE && raised.out.contains(": its fencing counter was raised. "), "{raised:#?}");
    assert!(raised.out.contains(&format!("is {} now", before + 1)), "{raised:#?}");
    scene.refused(&["release", key, "--action", "evict", "--dry-run"], NOTHING_RELEASED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_two_people_is_asked_for_approved_and_carried_out_from_terminals() {
    let scene = approvals::Scene::set().await;
    let password = scene.dir.path().join("password");
    std::fs::write(&password, approvals::PASSWORD).unwrap();
    let password = password.to_str().unwrap();
    let run = async |who: &str, args: &[&str]| {
        let args = [args, &["--user", who, "--password-file", password]].concat();
        Program::new(&args).env("LOCKKEEPER_SERVER", &scene.server.url()).run().await
    };
    let ada = scene.signed_in("ada").await;
    let (holder, _) = scene.held(&ada, "two").await;
    let release = ["release", "two", "--confirm", "two", "--reason", "worker 7 crashed"];
    let alone = run("ada", &release).await;
    assert_eq!(alone.code, NOT_ALLOWED, "{alone:#?}");
    assert_eq!(run("bob", &["approvals"]).await.code, NOT_FOUND);

    let asked = run("ada", &["release", "two", "--ask", "--reason", "worker 7 crashed"]).await;
    assert!(asked.code == DONE && asked.out.contains(": waits for another person\n"), "{asked:#?}");
    let listed = run("bob", &["approvals"]).await;
    let line = listed.out.lines().find(|line| line.ends_with(": waits for your word")).expect("an approval");
    let id = line.split(':').next().unwrap();
    assert!(listed.out.contains("worker 7 crashed"), "{listed:#?}");
    let shown = run("bob", &["approvals", "show", id]).await;
    assert!(shown.code == DONE && shown.out.contains("Held by") && shown.out.contains("What happens"), "{shown:#?}");
    let own = run("ada", &["approvals", "approve", id, "--reason", "me too"]).await;
    assert_eq!(own.code, NOT_ALLOWED, "{own:#?}");
    let approved = run("bob", &["approvals", "approve", id, "--reason", "looked at it"]).await;
    assert!(approved.code == DONE && approved.out.contains(": approved: "), "{approved:#?}");
    let done = run("ada", &release).await;
    assert_eq!(done.code, DONE, "{done:#?}");
    assert!(!holder.renew().await);

    let (holder, _) = scene.held(&ada, "glass").await;
    let asked = run("ada", &["release", "glass", "--ask", "--reason", "worker 7 crashed"]).await;
    let id = asked.out.lines().find(|line| line.contains(": waits for")).unwrap().split(':').next().unwrap().to_owned();
    let denied = run("bob", &["approvals", "deny", &id, "--reason", "it is alive"]).await;
    assert!(denied.code == DONE && denied.out.contains(": refused\n"), "{denied:#?}");
    assert!(holder.renew().await);
    let glass = ["release", "glass", "--confirm", "glass", "--reason", "nobody else is awake", "--break-glass"];
    assert_eq!(run("ada", &glass).await.code, DONE);
    assert!(!holder.renew().await);
    // Every command signed out again.
    let sessions = ada.get("/api/v1/sessions").await.json::<serde_json::Value>();
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 1, "{sessions}");
    let wrong = scene.dir.path().join("wrong");
    std::fs::write(&wrong, "not this one, surely").unwrap();
    let args = ["approvals", "--user", "ada", "--password-file", wrong.to_str().unwrap()];
    let refused = Program::new(&args).env("LOCKKEEPER_SERVER", &scene.server.url()).run().await;
    assert_eq!(refused.code, NOT_ALLOWED, "{refused:#?}");
    assert!(!format!("{refused:?}").contains("not this one"), "{refused:#?}");
}
