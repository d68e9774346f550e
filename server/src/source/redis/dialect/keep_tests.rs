//! The scripts that do more than free a lock, against a real Redis: what they leave there, and that they do nothing when
//! anything is not as it was seen.

use bytes::Bytes;

use super::redisson::script_tests::{RELEASED, Scene, order};
use super::redisson::tests::{A, B};
use super::{Raw, Stored, recognise};
use crate::clock;
use crate::source::operator_hold;
use crate::source::{Act, ReleaseOrder, ReleaseReply};

const DONE: ReleaseReply = ReleaseReply::Done { number: None };

const TOKEN: &str = "0f8e41d2a2c941ef8b0a0242ac120003";

fn held_by_alice(dialect: &str) -> (String, Act) {
    let token = operator_hold::token(dialect, "alice");
    let act = Act::Hold { with: Bytes::from(token.clone()), lease_ms: 60_000 };
    (token, act)
}

fn fenced() -> ReleaseOrder {
    ReleaseOrder { fencing: Some("33".into()), ..order("redisson-fenced", "orders", A.as_bytes(), Some(20_000)) }
}

#[tokio::test]
async fn an_operator_takes_a_strings_place_only_as_it_was_seen_and_wakes_nobody() {
    let scene = Scene::set().await;
    let (token, act) = held_by_alice("python-redis-lock");
    let right = ReleaseOrder { act, ..order("python-redis-lock", "lock:a", TOKEN.as_bytes(), Some(20_000)) };
    scene.all(&[format!("SET lock:a {TOKEN} PX 20000")]).await;
    for (what, wrong) in [
        ("another token", ReleaseOrder { token: Bytes::from("x".repeat(TOKEN.len())), ..right.clone() }),
        ("a lease that was pushed out", {
            ReleaseOrder { expires_not_after: Some(clock::now().plus(9_000)), ..right.clone() }
        }),
        ("an expiry that it did not have", ReleaseOrder { expires_not_after: None, ..right.clone() }),
        ("nothing there", ReleaseOrder { keys: vec![Bytes::from_static(b"lock:b")], ..right.clone() }),
        ("one key of two", {
            ReleaseOrder { keys: vec![Bytes::from_static(b"lock:a"), Bytes::from_static(b"lock:b")], ..right.clone() }
        }),
        ("another type", ReleaseOrder { dialect: "redisson", ..right.clone() }),
    ] {
        scene.refuses(what, &wrong).await;
    }
    // No signal list: whoever waits goes on waiting.
    assert_eq!(scene.release(&right).await, (DONE, vec!["lock:a".to_owned()]));
    assert_eq!(scene.does::<String>("GET lock:a").await, token);
    let left: i64 = scene.does("PTTL lock:a").await;
    assert!((1..=60_000).contains(&left), "{left}");
    scene.refuses("the former holder's hold", &right).await;

    // It is opened as its family frees it, which wakes.
    let opens = order("python-redis-lock", "lock:a", token.as_bytes(), Some(60_000));
    let (reply, keys) = scene.release(&opens).await;
    assert_eq!((reply, keys), (ReleaseReply::Released { woken: None }, vec!["lock-signal:a".to_owned()]));
    scene.end().await;
}

#[tokio::test]
async fn an_operator_takes_all_keys_of_a_lock_or_none() {
    let scene = Scene::set().await;
    let (token, act) = held_by_alice("node-redlock");
    let keys = [&b"lock:a"[..], b"lock:b"].map(Bytes::from_static);
    let right = ReleaseOrder { act, keys: keys.to_vec(), ..order("node-redlock", "lock:a", TOKEN.as_bytes(), None) };
    scene.all(&[format!("SET lock:a {TOKEN}"), "SET lock:b other".to_owned()]).await;
    scene.refuses("another's second key", &right).await;
    let _: () = scene.does(&format!("SET lock:b {TOKEN}")).await;
    assert_eq!(scene.release(&right).await.0, DONE);
    assert_eq!(scene.does::<Vec<String>>("MGET lock:a lock:b").await, [token.clone(), token]);
    scene.end().await;
}

#[tokio::test]
async fn an_operator_takes_the_place_of_a_field_and_its_fence_is_compared_and_kept() {
    let scene = Scene::set().await;
    let (token, act) = held_by_alice("redisson-fenced");
    let right = ReleaseOrder { act, ..fenced() };
    scene
        .all(&[
            format!("HSET orders {A} 1"),
            "PEXPIRE orders 20000".to_owned(),
            "SET redisson_lock_token:{orders} 33".to_owned(),
        ])
        .await;
    for (what, wrong) in [
        ("another thread", ReleaseOrder { token: Bytes::from(B), ..right.clone() }),
        ("another count", ReleaseOrder { count: 2, ..right.clone() }),
        ("another number of the fence", ReleaseOrder { fencing: Some("32".into()), ..right.clone() }),
        ("a lease that was pushed out", {
            ReleaseOrder { expires_not_after: Some(clock::now().plus(9_000)), ..right.clone() }
        }),
    ] {
        scene.refuses(what, &wrong).await;
    }
    let _: () = scene.does(&format!("HSET orders {B} 1")).await;
    scene.refuses("another field", &right).await;
    let _: () = scene.does(&format!("HDEL orders {B}")).await;
    assert_eq!(scene.release(&right).await.0, DONE);
    assert_eq!(scene.does::<Vec<String>>("HGETALL orders").await, [token.as_str(), "1"]);
    assert_eq!(scene.does::<String>("GET redisson_lock_token:{orders}").await, "33");

    let opens = order("redisson", "orders", token.as_bytes(), Some(60_000));
    assert_eq!(scene.release(&opens).await.0, RELEASED);
    assert_eq!(scene.does::<i64>("EXISTS orders").await, 0);
    scene.end().await;
}

#[tokio::test]
async fn only_the_very_hold_that_was_seen_is_extended() {
    let scene = Scene::set().await;
    let token = operator_hold::token("redis-py", "alice");
    let act = Act::ExtendHold { lease_ms: 600_000 };
    let right = ReleaseOrder { act, ..order("redis-py", "lock:a", token.as_bytes(), Some(20_000)) };
    scene.all(&[format!("SET lock:a {} PX 20000", operator_hold::token("redis-py", "alice"))]).await;
    scene.refuses("another hold of the same person", &right).await;
    scene.all(&[format!("SET lock:a {token} PX 20000")]).await;
    assert_eq!(scene.release(&right).await.0, DONE);
    assert!(scene.does::<i64>("PTTL lock:a").await > 500_000);
    scene.refuses("one that was extended since", &right).await;
    scene.end().await;
}

#[tokio::test]
async fn what_was_released_comes_back_exactly_and_overwrites_nobody() {
    let scene = Scene::set().await;
    let back = |of: ReleaseOrder| ReleaseOrder { act: Act::PutBack, ..of };
    let string = back(order("redis-py", "lock:a", TOKEN.as_bytes(), Some(20_000)));
    for other in ["SET lock:a x", "HSET lock:a f 1", "RPUSH lock:a x"] {
        scene.all(&[other.to_owned()]).await;
        scene.refuses(other, &string).await;
    }
    scene.all(&[]).await;
    assert_eq!(scene.release(&string).await, (DONE, vec!["lock:a".to_owned()]));
    assert_eq!(scene.does::<String>("GET lock:a").await, TOKEN);
    assert!(scene.does::<i64>("PTTL lock:a").await > 0);
    scene.refuses("a second time", &string).await;

    scene.all(&[]).await;
    let hash = back(ReleaseOrder { count: 2, ..order("redisson", "orders", A.as_bytes(), None) });
    assert_eq!(scene.release(&hash).await.0, DONE);
    assert_eq!(scene.does::<Vec<String>>("HGETALL orders").await, [A, "2"]);
    assert_eq!(scene.does::<i64>("PTTL orders").await, -1);

    scene.all(&[]).await;
    let late = ReleaseOrder { expires_not_after: Some(clock::now().plus(-1)), ..string };
    let (reply, keys) = scene.release(&late).await;
    assert!(matches!(reply, ReleaseReply::Failed { .. }) && keys.is_empty(), "{reply:?}");
    scene.end().await;
}

#[tokio::test]
async fn a_fence_is_raised_once_for_exactly_the_holder_and_the_number_that_were_seen() {
    let scene = Scene::set().await;
    let right = ReleaseOrder { act: Act::RaiseFence, ..fenced() };
    scene
        .all(&[
            format!("HSET orders {A} 1"),
            "PEXPIRE orders 20000".to_owned(),
            "SET redisson_lock_token:{orders} 33".to_owned(),
        ])
        .await;
    scene.refuses("another holder", &ReleaseOrder { token: Bytes::from(B), ..right.clone() }).await;
    scene.refuses("another number", &ReleaseOrder { fencing: Some("32".into()), ..right.clone() }).await;
    assert_eq!(scene.release(&right).await.0, ReleaseReply::Done { number: Some(34) });
    assert_eq!(scene.does::<Vec<String>>("HGETALL orders").await, [A, "1"], "the holder keeps the lock");
    scene.refuses("a second time", &right).await;

    let token = "906d85dadd81e4936a6412af9d4c34ae0102abcd";
    scene.all(&[format!("SET lock:a {token} PX 20000"), "SET {lock:a}:fence 7".to_owned()]).await;
    let client = order("lockkeeper-client", "lock:a", token.as_bytes(), Some(20_000));
    let client = ReleaseOrder { act: Act::RaiseFence, fencing: Some("7".into()), ..client };
    assert_eq!(scene.release(&client).await.0, ReleaseReply::Done { number: Some(8) });

    let none = ReleaseOrder { dialect: "redis-py", ..client };
    assert!(matches!(scene.release(&none).await.0, ReleaseReply::Failed { .. }), "a family without a counter");
    scene.end().await;
}

#[test]
fn an_operators_hold_is_recognised_under_any_name_and_freed_as_its_family_is() {
    let seen = |root: &Raw| {
        let stored = Stored { root, beside: &[], configured: false, now_ms: 0 };
        let form = recognise(&stored).pop()?.form;
        let recognition = form.recognition;
        let who = (recognition.traits.identity)(&form.holds[0].token).operator;
        Some((recognition.dialect, who, recognition.traits.no_release))
    };
    let alice = || Some("alice".to_owned());
    for dialect in
        ["redis-py", "python-redis-lock", "node-redlock", "spring", "laravel", "token", "distributedlock-net"]
    {
        let token = operator_hold::token(dialect, "alice");
        assert_eq!(seen(&Raw::string("anything", token.as_bytes(), Some(9))), Some((dialect, alice(), None)));
    }
    let token = operator_hold::token("redisson", "alice");
    assert_eq!(seen(&Raw::hash("orders", &[(&token, "1")], Some(9))), Some(("redisson", alice(), None)));
    // A family that would not leave it alone never had one.
    let token = operator_hold::token("celery-once", "alice");
    assert_eq!(seen(&Raw::string("anything", token.as_bytes(), Some(9))), None);
}
