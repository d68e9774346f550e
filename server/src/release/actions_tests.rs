//! Holding, extending, putting back and raising at the desk's boundary: what is compared, what is sent, what is told.

use bytes::Bytes;
use lockkeeper_model::{
    Action, AuditKind, Connection, FencingToken, HOLD_MS, Mode, Outcome, PreviewAnswer, PreviewRequest, ReleaseResult,
    Renewals, TransitionKind,
};

use super::Refusal;
use super::former::PUT_BACK_MS;
use super::tests::{Scene, codes, entry, person, scene, target, until_written};
use crate::access::{Grant, Person, Policy, Right, Role, Scope, Via};
use crate::clock;
use crate::fake::{HOLDABLE_TRAITS, TRAITS, World, nothing};
use crate::recorder::audit::{Audit, Filter};
use crate::source::operator_hold::{self, OperatorHold};
use crate::source::{Act, ReleaseReply};

const DONE: ReleaseReply = ReleaseReply::Done { number: None };
const RELEASED: ReleaseReply = ReleaseReply::Released { woken: None };
const KEY: &[u8] = b"lock:stock:4711";

/// `alice` holds `lock:stock:4711`, whose family tolerates everything.
fn holdable() -> Scene {
    let scene = scene();
    scene.fake.with(|world| alice(world, "g1"));
    scene
}

fn alice(world: &mut World, generation: &str) {
    world.hold(KEY, &[(b"alice", generation)], &HOLDABLE_TRAITS);
}

/// An operator holds it.
fn operator(world: &mut World, generation: &str) -> Bytes {
    let token = Bytes::from(operator_hold::token("redis-py", "bob"));
    world.hold(KEY, &[(&token, generation)], &HOLDABLE_TRAITS);
    let held = world.held.get_mut(KEY).unwrap();
    held.lock.holders[0].identity = operator_hold::identity(&token);
    token
}

fn asking(action: Action, generation: &str, hold_ms: Option<i64>) -> PreviewRequest {
    PreviewRequest { locks: vec![target(generation)], action, hold_ms, leave_out: false }
}

async fn previewed(scene: &Scene, request: &PreviewRequest) -> Result<PreviewAnswer, Refusal> {
    scene.desk.preview(&person(), request, &Scope::everything()).await
}

async fn ticket(scene: &Scene, action: Action, generation: &str) -> String {
    previewed(scene, &asking(action, generation, None)).await.unwrap().ticket
}

/// Released, and free.
async fn released(scene: &Scene) -> ReleaseResult {
    let ticket = ticket(scene, Action::Release, "g1").await;
    scene.reply(RELEASED, Box::new(|world| world.free("lock:stock:4711")));
    let result = scene.execute(&ticket).await;
    assert_eq!(result.outcome, Outcome::Released);
    result
}

fn sent(scene: &Scene) -> Vec<Act> {
    scene.fake.with(|world| world.orders.iter().map(|order| order.act.clone()).collect())
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_freed_and_held_in_one_order_and_the_answer_says_until_when() {
    let scene = holdable();
    let answer = previewed(&scene, &asking(Action::ReleaseAndHold, "g1", Some(60_000))).await.unwrap();
    assert!(
        answer.locks[0].plan.contains("your token takes the holder's place, for 1 m 00 s"),
        "{}",
        answer.locks[0].plan
    );
    let before = clock::now();
    scene.reply(DONE, Box::new(|world| drop(operator(world, "g2"))));
    scene.fake.asked();
    let result = scene.execute(&answer.ticket).await;
    assert_eq!((result.outcome, result.after), (Outcome::Held, None));
    assert!(result.held_until.unwrap() >= before.plus(60_000));
    assert_eq!(result.holder_now.unwrap().identity.operator.as_deref(), Some("bob"));
    let [Act::Hold { with, lease_ms: 60_000 }] = &sent(&scene)[..] else { panic!("{:?}", sent(&scene)) };
    let hold = OperatorHold::of(with).unwrap();
    assert_eq!((hold.dialect, hold.person), ("redis-py", "anonymous"));
    let asked = scene.fake.asked();
    let order = ["releasing lock:stock:4711", "hold lock:stock:4711 of alice", "released lock:stock:4711"];
    assert!(asked.windows(3).any(|three| three == order), "{asked:?}");
    let written = until_written(&scene.audit, 3).await;
    assert_eq!(
        written,
        [
            entry(AuditKind::Intention, Some("attempted"), None),
            entry(AuditKind::Completion, Some("held"), None),
            entry(AuditKind::FollowUp, None, Some("held")),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_hold_lasts_five_minutes_where_nothing_else_is_asked_for() {
    let scene = holdable();
    let ticket = ticket(&scene, Action::ReleaseAndHold, "g1").await;
    scene.reply(DONE, nothing());
    scene.execute(&ticket).await;
    assert!(matches!(sent(&scene)[..], [Act::Hold { lease_ms: 300_000, .. }]));
}

#[tokio::test(start_paused = true)]
async fn a_time_that_is_out_of_bounds_or_makes_no_sense_is_refused_by_name() {
    let scene = holdable();
    for ms in [0, -1, HOLD_MS.start() - 1, HOLD_MS.end() + 1, i64::MAX] {
        let refusal = previewed(&scene, &asking(Action::ReleaseAndHold, "g1", Some(ms))).await.unwrap_err();
        assert_eq!(refusal.to_string(), format!("`hold_ms` is {ms}, expected 1000 to 3600000 milliseconds"));
    }
    for action in [Action::Release, Action::PutBack, Action::RaiseFence, Action::EvictWaiter] {
        let refusal = previewed(&scene, &asking(action, "g1", Some(60_000))).await.unwrap_err();
        assert!(matches!(refusal, Refusal::HoldTime { .. }), "{refusal}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_needs_its_own_right_at_the_preview_and_at_the_attempt() {
    let scene = holdable();
    let scope = |rights: &[Right]| {
        let grant = Grant::new(rights.iter().copied(), &[], &[]);
        let role = Role { name: "oncall".into(), groups: Vec::new(), grant };
        let roles = vec!["oncall".into()];
        let oncall = Person {
            name: "alice".into(),
            via: Via::Password,
            roles,
            membership: crate::access::Membership::Named,
            only: None,
            session: None,
        };
        Policy::new(vec![role]).scope(&oncall)
    };
    let (releases, holds) = (scope(&[Right::Release]), scope(&[Right::Release, Right::Hold]));
    let request = asking(Action::ReleaseAndHold, "g1", None);
    let refused = scene.desk.preview(&person(), &request, &releases).await;
    assert!(matches!(refused, Err(Refusal::NotAllowed { right: Right::Hold, .. })), "{refused:?}");
    let answer = scene.desk.preview(&person(), &request, &holds).await.unwrap();
    let execute = lockkeeper_model::ReleaseRequest {
        ticket: answer.ticket,
        confirm: answer.confirm,
        reason: "worker 7 crashed".to_owned(),
        ..Default::default()
    };
    let refused = scene.desk.execute(&person(), &execute, &releases, None).await;
    assert!(matches!(refused, Err(Refusal::NotAllowed { right: Right::Hold, .. })), "{refused:?}");
    assert_eq!(sent(&scene), []);
}

#[tokio::test(start_paused = true)]
async fn where_an_operators_token_could_harm_no_hold_is_offered() {
    let scene = holdable();
    let request = asking(Action::ReleaseAndHold, "g1", None);
    let refused = async |change: fn(&mut World)| {
        scene.fake.with(|world| alice(world, "g1"));
        scene.fake.with(change);
        let refusal = previewed(&scene, &request).await.unwrap_err();
        assert!(matches!(refusal, Refusal::NotOffered { .. }), "{refusal}");
        refusal.to_string()
    };
    let said = refused(|world| world.hold(KEY, &[(b"alice", "g1")], &TRAITS)).await;
    assert!(said.starts_with("holding `lock:stock:4711` is not offered: it is not known that its library"), "{said}");
    let said = refused(|world| world.held.get_mut(KEY).unwrap().lock.mode = Mode::Semaphore).await;
    assert!(said.contains("would keep nobody out"), "{said}");
    let said = refused(|world| drop(operator(world, "g1"))).await;
    assert!(said.contains("an operator holds it already"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_compared_like_a_release_before_anything_is_sent() {
    let changes: [(crate::fake::Change, Outcome); 4] = [
        (Box::new(|world| world.hold(KEY, &[(b"bob", "g2")], &HOLDABLE_TRAITS)), Outcome::ChangedHands),
        (Box::new(|world| alice(world, "g2")), Outcome::ChangedHands),
        (Box::new(|world| world.free("lock:stock:4711")), Outcome::Gone),
        (Box::new(|world| world.hold(KEY, &[(b"alice", "g1")], &TRAITS)), Outcome::Refused),
    ];
    for (change, outcome) in changes {
        let scene = holdable();
        let ticket = ticket(&scene, Action::ReleaseAndHold, "g1").await;
        scene.before_look(change);
        let result = scene.execute(&ticket).await;
        assert_eq!((result.outcome, result.held_until), (outcome, None));
        assert_eq!(sent(&scene), []);
    }
}

#[tokio::test(start_paused = true)]
async fn only_an_operators_hold_is_extended() {
    let scene = holdable();
    let request = asking(Action::ExtendHold, "g1", Some(600_000));
    assert!(matches!(previewed(&scene, &request).await, Err(Refusal::NotOffered { .. })));
    scene.fake.with(|world| operator(world, "g1"));
    let answer = previewed(&scene, &request).await.unwrap();
    assert!(
        answer.locks[0].plan.contains("the hold of `bob` ends in 10 m 00 s from then on"),
        "{}",
        answer.locks[0].plan
    );
    assert_eq!(codes(&answer), [] as [&str; 0]);
    scene.reply(DONE, nothing());
    let result = scene.execute(&answer.ticket).await;
    assert_eq!((result.outcome, result.after, result.put_back_until), (Outcome::Extended, None, None));
    assert!(result.held_until.is_some());
    assert_eq!(sent(&scene), [Act::ExtendHold { lease_ms: 600_000 }]);
    assert!(!scene.fake.asked().iter().any(|asked| asked.starts_with("releas")), "nobody's hold ends");
}

#[tokio::test(start_paused = true)]
async fn an_operators_hold_is_opened_by_an_ordinary_release_and_is_not_put_back() {
    let scene = holdable();
    scene.fake.with(|world| operator(world, "g1"));
    assert_eq!(released(&scene).await.put_back_until, None);
    assert_eq!(sent(&scene), [Act::Release]);
    assert!(matches!(previewed(&scene, &asking(Action::PutBack, "g1", None)).await, Err(Refusal::NotOffered { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_released_hold_is_put_back_as_it_was_compared() {
    let scene = holdable();
    let before = scene.fake.with(|world| world.held[KEY].orders[0].clone());
    let until = released(&scene).await.put_back_until.unwrap();
    // Its lease ends sooner than the minute is over.
    assert_eq!(Some(until), before.expires_not_after);
    let answer = previewed(&scene, &asking(Action::PutBack, "g1", None)).await.unwrap();
    assert_eq!(answer.locks[0].holder.token.as_deref(), Some("alice"));
    assert_eq!(codes(&answer), ["former_may_have_noticed"]);
    scene.fake.asked();
    scene.reply(DONE, Box::new(|world| alice(world, "g9")));
    let result = scene.execute(&answer.ticket).await;
    assert_eq!((result.outcome, result.holder_now.unwrap().token.as_deref()), (Outcome::PutBack, Some("alice")));
    let order = scene.fake.with(|world| world.orders.last().unwrap().clone());
    assert_eq!(order, crate::source::ReleaseOrder { act: Act::PutBack, ..before });
    let asked = scene.fake.asked();
    let [announced, tried] = ["putting back lock:stock:4711", "put back lock:stock:4711 of alice"];
    assert!(asked.windows(2).any(|two| two == [announced, tried]), "{asked:?}");
    scene.fake.with(|world| world.free("lock:stock:4711"));
    assert!(
        matches!(previewed(&scene, &asking(Action::PutBack, "g1", None)).await, Err(Refusal::NotOffered { .. })),
        "it is put back once"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_who_took_the_lock_meanwhile_loses_it_to_a_put_back() {
    let scene = holdable();
    released(&scene).await;
    scene.fake.hold("lock:stock:4711", "bob", "g2");
    let refused = previewed(&scene, &asking(Action::PutBack, "g1", None)).await;
    assert!(matches!(refused, Err(Refusal::ChangedHands { .. })), "{refused:?}");

    scene.fake.with(|world| world.free("lock:stock:4711"));
    let ticket = ticket(&scene, Action::PutBack, "g1").await;
    scene.fake.hold("lock:stock:4711", "carol", "g3");
    let result = scene.execute(&ticket).await;
    assert_eq!((result.outcome, sent(&scene).len()), (Outcome::ChangedHands, 1));

    // Or took it between the look and the attempt.
    scene.fake.with(|world| world.free("lock:stock:4711"));
    let ticket = super::actions_tests::ticket(&scene, Action::PutBack, "g1").await;
    scene.reply(ReleaseReply::ChangedHands, Box::new(|world| world.hold(KEY, &[(b"dora", "g4")], &HOLDABLE_TRAITS)));
    let result = scene.execute(&ticket).await;
    assert_eq!((result.outcome, result.holder_now.unwrap().token.as_deref()), (Outcome::ChangedHands, Some("dora")));
    assert!(scene.fake.asked().contains(&"not put back lock:stock:4711".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_happened_since_the_release_is_said_before_it_is_put_back() {
    let scene = holdable();
    scene.fake.with(|world| world.held.get_mut(KEY).unwrap().orders[0].expires_not_after = None);
    let until = released(&scene).await.put_back_until.unwrap();
    assert!(until <= clock::now().plus(PUT_BACK_MS));
    scene.fake.with(|world| world.tell("lock:stock:4711", TransitionKind::Acquired));
    scene.fake.with(|world| world.events[0].at = clock::now().plus(1_000));
    let answer = previewed(&scene, &asking(Action::PutBack, "g1", None)).await.unwrap();
    assert_eq!(codes(&answer), ["taken_meanwhile", "no_expiry", "former_may_have_noticed"]);
}

#[tokio::test(start_paused = true)]
async fn what_would_not_come_back_whole_or_was_not_released_here_is_not_put_back() {
    let scene = scene();
    assert_eq!(released(&scene).await.put_back_until, None, "its family says no");
    let scene = holdable();
    scene.fake.with(|world| world.free("lock:stock:4711"));
    assert!(matches!(previewed(&scene, &asking(Action::PutBack, "g1", None)).await, Err(Refusal::NotOffered { .. })));
    scene.fake.with(|world| alice(world, "g1"));
    released(&scene).await;
    let other = previewed(&scene, &asking(Action::PutBack, "g0", None)).await;
    assert!(matches!(other, Err(Refusal::NotOffered { .. })), "another hold of it");
}

/// `alice` has the number 33.
fn fenced() -> Scene {
    let scene = holdable();
    scene.fake.with(|world| fence(world, "33"));
    scene
}

fn fence(world: &mut World, value: &str) {
    let token = FencingToken { kind: "counter".to_owned(), value: value.to_owned() };
    world.held.get_mut(KEY).unwrap().lock.holders[0].fencing_token = Some(token);
}

#[tokio::test(start_paused = true)]
async fn a_fence_is_raised_from_the_number_that_was_seen_and_the_holder_keeps_the_lock() {
    let scene = fenced();
    let answer = previewed(&scene, &asking(Action::RaiseFence, "g1", None)).await.unwrap();
    let plan = &answer.locks[0].plan;
    assert!(
        plan.starts_with("The fencing counter in the store goes from 33 to 34") && plan.contains("keeps the lock"),
        "{plan}"
    );
    scene.fake.asked();
    scene.reply(ReleaseReply::Done { number: Some(34) }, nothing());
    let result = scene.execute(&answer.ticket).await;
    assert_eq!((result.outcome, result.put_back_until), (Outcome::Raised, None));
    assert_eq!(result.detail, "the fencing counter is 34 now; the holder keeps the lock");
    let order = scene.fake.with(|world| world.orders[0].clone());
    assert_eq!((order.act, order.fencing.as_deref()), (Act::RaiseFence, Some("33")));
    let asked = scene.fake.asked();
    assert!(!asked.iter().any(|asked| asked.starts_with("releas")), "nobody's hold ends");
    assert!(asked.contains(&"raised lock:stock:4711 to 34".to_owned()), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_fence_that_moved_or_is_not_there_is_not_raised() {
    let scene = holdable();
    assert!(matches!(
        previewed(&scene, &asking(Action::RaiseFence, "g1", None)).await,
        Err(Refusal::NotOffered { .. })
    ));
    scene.fake.with(|world| fence(world, "33"));
    let ticket = ticket(&scene, Action::RaiseFence, "g1").await;
    scene.before_look(Box::new(|world| fence(world, "34")));
    let result = scene.execute(&ticket).await;
    assert_eq!((result.outcome, sent(&scene).len()), (Outcome::Refused, 0));
    assert!(result.detail.contains("changed from 33 to 34"), "{}", result.detail);
}

/// The detail of the last entry of this length of an audit.
async fn last_detail(audit: &Audit, entries: usize) -> String {
    until_written(audit, entries).await;
    audit.page(Filter::default(), None, 1).await.unwrap().entries.remove(0).detail
}

#[tokio::test(start_paused = true)]
async fn a_released_lock_is_watched_on_for_twice_the_rhythm_of_its_former_holder() {
    let scene = holdable();
    scene.fake.with(|world| {
        let renewals = Renewals { count: 3, period_ms: Some(20_000), ..Renewals::default() };
        world.held.get_mut(KEY).unwrap().lock.holders[0].renewals = renewals;
        world.connection = Some(Connection {
            name: "worker-7".to_owned(),
            addr: None,
            spoke_at: Some(clock::now().plus(3_600_000)),
            closed_at: None,
        });
    });
    released(&scene).await;
    let detail = last_detail(&scene.audit, 4).await;
    assert!(detail.starts_with("watched for 40 s: nobody has taken it; "), "{detail}");
    assert!(detail.contains("`worker-7` is open and has run commands since"), "{detail}");
}

#[tokio::test(start_paused = true)]
async fn who_takes_it_after_the_answer_and_who_comes_back_is_written_down() {
    let scene = holdable();
    released(&scene).await;
    // One reading has been answered, and the watch's own comes at its end.
    scene.before_look(Box::new(|world| world.hold(KEY, &[(b"bob", "g2")], &HOLDABLE_TRAITS)));
    let detail = last_detail(&scene.audit, 4).await;
    assert!(
        detail.contains(": `bob` has it") && detail.contains("connection the former holder has is not known"),
        "{detail}"
    );

    let scene = holdable();
    released(&scene).await;
    scene.before_look(Box::new(|world| alice(world, "g2")));
    until_written(&scene.audit, 4).await;
    let entries = scene.audit.page(Filter::default(), None, 1).await.unwrap().entries;
    assert_eq!((entries[0].seen.as_deref(), entries[0].attempt), (Some("came_back"), Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_read_at_the_end_leaves_what_was_seen_with_the_answer() {
    let scene = holdable();
    released(&scene).await;
    scene.fake.with(|world| world.is_deaf = true);
    while scene.desk.watches.available_permits() < super::afterwards::MAX_WATCHES {
        tokio::task::yield_now().await;
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
    }
    assert_eq!(until_written(&scene.audit, 3).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_should_be_known_before_deciding_is_said() {
    let scene = fenced();
    scene.fake.with(|world| {
        world.others.count = 2;
        world.others.list =
            vec![lockkeeper_model::LockId::of_key(b"lock:b"), lockkeeper_model::LockId::of_key(b"lock:c")];
    });
    let answer = previewed(&scene, &asking(Action::Release, "g1", None)).await.unwrap();
    let lock = &answer.locks[0];
    assert!(lock.plan.contains("Its fencing token is 33:"), "{}", lock.plan);
    assert_eq!((lock.waiters.as_ref(), lock.renewed.as_str()), (None, "It was not seen to renew."));
    assert_eq!(codes(&answer), ["other_locks"]);
    assert_eq!(lock.warnings[0].text, "this holder has 2 other locks, which it keeps: `lock:b`, `lock:c`");
    let offered: Vec<(Action, bool)> =
        lock.actions.iter().map(|offered| (offered.action, offered.not_offered.is_none())).collect();
    assert_eq!(offered, [(Action::ReleaseAndHold, true), (Action::ExtendHold, false), (Action::RaiseFence, true)]);
}
