//! The rules of a release, each broken on purpose once. Time is paused: the watching afterwards costs nothing.

use std::sync::Arc;
use std::time::Duration;

use lockkeeper_model::{
    Action, Actor, AfterState, AuditKind, Flag, LockId, Mode, Outcome, PreviewAnswer, PreviewRequest, PreviewTarget,
    ReleaseRequest, ReleaseResult, SourceState, Told, TransitionKind, Verdict, WaitersBasis,
};

use super::ticket::TicketError;
use super::{Refusal, ReleaseDesk, Rules};
use crate::access::Scope;
use crate::fake::{CARELESS_TRAITS, Change, Fake, SHARED_TOKEN_TRAITS, b64, nothing};
use crate::recorder::audit::{Audit, Filter, Store};
use crate::source::ReleaseReply;

const RELEASED: ReleaseReply = ReleaseReply::Released { woken: None };

/// By how much the clock goes on between two looks at what is written later.
pub(super) const A_WHILE: Duration = Duration::from_millis(500);

pub(super) struct Scene {
    pub(super) fake: Fake,
    pub(super) audit: Audit,
    pub(super) desk: Arc<ReleaseDesk>,
}

/// `orders` is live and `lock:stock:4711` is held by `alice`.
pub(super) fn scene() -> Scene {
    let fake = Fake::new(&["orders", "other"]);
    fake.hold("lock:stock:4711", "alice", "g1");
    let audit = Audit::in_memory().unwrap();
    let desk = Arc::new(ReleaseDesk::new(fake.board.clone(), Rules::with_releasing(true), audit.clone()));
    Scene { fake, desk, audit }
}

pub(super) fn person() -> Actor {
    Actor::anonymous(Some("127.0.0.1".to_owned()))
}

pub(super) fn target(generation: &str) -> PreviewTarget {
    PreviewTarget {
        source: "orders".to_owned(),
        id: LockId::of_key(b"lock:stock:4711"),
        generation: generation.to_owned(),
        holder: None,
    }
}

impl Scene {
    pub(super) async fn preview(&self, target: PreviewTarget) -> Result<PreviewAnswer, Refusal> {
        self.desk
            .preview(
                &person(),
                &PreviewRequest { locks: vec![target], action: Action::Release, hold_ms: None, leave_out: false },
                &Scope::everything(),
            )
            .await
    }

    /// A ticket for `alice`.
    async fn ticket(&self) -> String {
        let answer = self.preview(target("g1")).await.unwrap();
        self.fake.asked();
        answer.ticket
    }

    pub(super) fn reply(&self, reply: ReleaseReply, change: Change) {
        self.fake.with(|world| world.replies.push_back((reply, change)));
    }

    pub(super) fn before_look(&self, change: Change) {
        self.fake.with(|world| world.before_look.push_back(change));
    }

    async fn try_execute(&self, ticket: &str, confirm: &str, reason: &str) -> Result<ReleaseResult, Refusal> {
        let request = ReleaseRequest {
            ticket: ticket.to_owned(),
            confirm: confirm.to_owned(),
            reason: reason.to_owned(),
            ..Default::default()
        };
        let answer = self.desk.execute(&person(), &request, &Scope::everything(), None).await?;
        assert_eq!(answer.results.len(), 1);
        Ok(answer.results.into_iter().next().unwrap())
    }

    async fn dry_run(&self, request: &ReleaseRequest) {
        let request = ReleaseRequest { dry_run: true, ..request.clone() };
        self.desk.execute(&person(), &request, &Scope::everything(), None).await.unwrap();
    }

    pub(super) async fn execute(&self, ticket: &str) -> ReleaseResult {
        self.try_execute(ticket, "4711", "worker 7 crashed").await.unwrap()
    }

    pub(super) fn attempts(&self) -> usize {
        self.fake.asked().iter().filter(|asked| asked.starts_with("release ")).count()
    }
}

pub(super) fn codes(answer: &PreviewAnswer) -> Vec<&str> {
    answer.locks[0].warnings.iter().map(|warning| warning.code.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn nothing_can_be_previewed_or_released_while_it_is_switched_off() {
    let fake = Fake::new(&["orders"]);
    fake.hold("lock:stock:4711", "alice", "g1");
    let audit = Audit::in_memory().unwrap();
    let scene =
        Scene { desk: Arc::new(ReleaseDesk::new(fake.board.clone(), Rules::default(), audit.clone())), fake, audit };
    assert!(matches!(scene.preview(target("g1")).await, Err(Refusal::Off)));
    assert!(matches!(scene.try_execute("x", "x", "x").await, Err(Refusal::Off)));
    assert_eq!(scene.fake.asked(), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_preview_reads_the_store_first_and_says_what_would_happen() {
    let scene = scene();
    let answer = scene.preview(target("g1")).await.unwrap();
    assert_eq!(scene.fake.asked(), ["look"]);
    assert_eq!(answer.confirm, "4711");
    assert!(answer.reason_required);
    let [lock] = answer.locks.as_slice() else { panic!("{answer:?}") };
    assert_eq!((lock.generation.as_str(), lock.holder.token.as_deref()), ("g1", Some("alice")));
    assert_eq!((lock.told, lock.told_because.as_str()), (Told::AtRenewal, "its next renewal fails"));
    assert_eq!(lock.plan, "The key is deleted only if its value is still this token.");
    assert!(lock.collateral.complete && lock.collateral.items.is_empty());
    assert_eq!(codes(&answer), ["no_fencing"]);
}

#[tokio::test(start_paused = true)]
async fn the_locks_own_generation_is_as_good_as_its_only_holders() {
    assert!(scene().preview(target("lock of g1")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn everything_that_should_give_pause_is_said() {
    let scene = scene();
    scene.fake.with(|world| {
        world.hold(b"lock:stock:4711", &[(b"alice", "g1")], &SHARED_TOKEN_TRAITS);
        let held = world.held.values_mut().next().unwrap();
        held.lock.flags = vec![Flag::CameBack];
        held.lock.waiters.count = Some(2);
        held.lock.waiters.basis = WaitersBasis::Inferred;
        held.lock.holders[0].verdict = Verdict::Alive;
        held.lock.holders[0].evidence = vec!["renewed 0.4 s ago, every 10.0 s".to_owned()];
    });
    scene.fake.set_status(0, |status| {
        status.state = SourceState::Degraded;
        status.problem = Some("the feed was refused".to_owned());
        status.environment = Some("production".to_owned());
    });
    let answer = scene.preview(target("g1")).await.unwrap();
    assert_eq!(codes(&answer), ["holder_alive", "shared_token", "no_fencing", "came_back", "not_live", "production"]);
    let texts: Vec<_> = answer.locks[0].warnings.iter().map(|warning| warning.text.as_str()).collect();
    assert_eq!(
        texts[0],
        "renewed 0.4 s ago, every 10.0 s: this holder is alive and will go on working unprotected and never notice"
    );
    assert_eq!(texts[4], "`orders` is degraded (the feed was refused): other things here may be old");
    assert!(answer.locks[0].plan.ends_with("wakes its waiters. 2 waiters (inferred) may take it next."));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_may_free_the_next_ones_lock_or_take_it_again_is_named_beforehand() {
    let scene = scene();
    scene.fake.with(|world| world.hold(b"lock:stock:4711", &[(b"alice", "g1")], &CARELESS_TRAITS));
    let answer = scene.preview(target("g1")).await.unwrap();
    assert_eq!(codes(&answer), ["unsafe_unlock", "no_fencing", "comes_back"]);
    let texts: Vec<_> = answer.locks[0].warnings.iter().map(|warning| warning.text.as_str()).collect();
    assert_eq!(
        texts[0],
        "when this holder lets go later, that can free the next holder's lock: this library deletes without comparing"
    );
    assert_eq!(
        texts[2],
        "the release may not last: its next renewal takes the lock again; only stopping the holder ends that"
    );
    // Once it was seen, it is not a mere possibility.
    scene.fake.with(|world| world.held.values_mut().next().unwrap().lock.flags = vec![Flag::CameBack]);
    assert_eq!(codes(&scene.preview(target("g1")).await.unwrap()), ["unsafe_unlock", "no_fencing", "came_back"]);
}

#[tokio::test(start_paused = true)]
async fn silence_of_a_library_that_never_renews_is_no_sign_of_death() {
    let scene = scene();
    scene.fake.with(|world| world.hold(b"lock:stock:4711", &[(b"alice", "g1")], &SHARED_TOKEN_TRAITS));
    let answer = scene.preview(target("g1")).await.unwrap();
    assert_eq!(codes(&answer), ["shared_token", "no_fencing", "never_renews"]);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_names_nobody_is_said_to_protect_nobody() {
    let scene = scene();
    scene.fake.with(|world| world.held.values_mut().next().unwrap().lock.flags = vec![Flag::NoOwner]);
    assert_eq!(codes(&scene.preview(target("g1")).await.unwrap()), ["no_owner", "no_fencing"]);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_changed_hands_while_it_was_read_again_gets_no_ticket() {
    let scene = scene();
    scene.before_look(Box::new(|world| {
        world.hold(b"lock:stock:4711", &[(b"bob", "g2")], &crate::fake::TRAITS);
    }));
    let refusal = scene.preview(target("g1")).await.unwrap_err();
    assert_eq!(refusal.to_string(), "`lock:stock:4711` changed hands: `bob` has it now");
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_free_gets_no_ticket() {
    let scene = scene();
    scene.before_look(Box::new(|world| world.free("lock:stock:4711")));
    assert!(matches!(scene.preview(target("g1")).await, Err(Refusal::Gone { .. })));
}

#[tokio::test(start_paused = true)]
async fn one_of_several_holders_must_be_named() {
    let scene = scene();
    scene.fake.with(|world| {
        world.hold(b"lock:stock:4711", &[(b"alice", "g1"), (b"bob", "g2")], &crate::fake::TRAITS);
    });
    assert!(matches!(scene.preview(target("lock of g1+g2")).await, Err(Refusal::SeveralHolders { holders: 2, .. })));
    let bob = PreviewTarget { holder: Some(b64("bob")), ..target("g2") };
    assert_eq!(scene.preview(bob).await.unwrap().locks[0].holder.token.as_deref(), Some("bob"));
    let carol = PreviewTarget { holder: Some(b64("carol")), ..target("lock of g1+g2") };
    assert!(matches!(scene.preview(carol).await, Err(Refusal::ChangedHands { .. })));
}

/// `lock:stock:4711` is a semaphore of these holders.
fn semaphore(world: &mut crate::fake::World, holders: &[(&[u8], &str)]) {
    world.hold(b"lock:stock:4711", holders, &crate::fake::TRAITS);
    let held = world.held.values_mut().find(|held| held.lock.holders.len() == holders.len()).unwrap();
    held.lock.mode = Mode::Semaphore;
}

const ALICE: (&[u8], &str) = (b"alice", "g1");
const BOB: (&[u8], &str) = (b"bob", "g2");
const CAROL: (&[u8], &str) = (b"carol", "g3");

#[tokio::test(start_paused = true)]
async fn holds_of_one_lock_are_freed_one_after_the_other() {
    let scene = scene();
    scene.fake.with(|world| semaphore(world, &[ALICE, BOB, CAROL]));
    let [alice, bob] = [("alice", "g1"), ("bob", "g2")]
        .map(|(holder, generation)| PreviewTarget { holder: Some(b64(holder)), ..target(generation) });
    let answer = scene
        .desk
        .preview(
            &person(),
            &PreviewRequest { locks: vec![alice, bob], action: Action::Release, hold_ms: None, leave_out: false },
            &Scope::everything(),
        )
        .await
        .unwrap();
    scene.fake.asked();
    scene.reply(RELEASED, Box::new(|world| semaphore(world, &[BOB, CAROL])));
    scene.reply(RELEASED, Box::new(|world| semaphore(world, &[CAROL])));
    let (ticket, confirm) = (answer.ticket, answer.confirm);
    let request = ReleaseRequest { ticket, confirm, reason: "both crashed".to_owned(), ..Default::default() };
    scene.dry_run(&request).await;
    scene.fake.asked();
    let results = scene.desk.execute(&person(), &request, &Scope::everything(), None).await.unwrap().results;
    for result in results {
        // Carol had it before and has it still: nobody took what was freed.
        let after = result.after.unwrap();
        assert_eq!((result.outcome, after.state, after.holder), (Outcome::Released, AfterState::Free, None));
    }
    let asked = scene.fake.asked();
    let attempts: Vec<&str> = asked.iter().map(String::as_str).filter(|asked| asked.starts_with("release")).collect();
    let [before, after] = ["releasing lock:stock:4711", "released lock:stock:4711"];
    let [alice, bob] = ["alice", "bob"].map(|who| format!("release lock:stock:4711 of {who}"));
    assert_eq!(attempts, [alice.as_str(), after, bob.as_str(), after]);
    assert_eq!(asked.iter().filter(|asked| *asked == before).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn that_others_hold_a_semaphore_is_no_change_of_hands() {
    let scene = scene();
    scene.fake.with(|world| semaphore(world, &[ALICE, BOB]));
    let alice = || PreviewTarget { holder: Some(b64("alice")), ..target("g1") };
    let ticket = scene.preview(alice()).await.unwrap().ticket;
    scene.fake.with(|world| semaphore(world, &[BOB]));
    let result = scene.execute(&ticket).await;
    assert_eq!((result.outcome, result.holder_now), (Outcome::ChangedHands, None));
    assert_eq!(result.detail, "this holder has let go; others have it; nothing was done");
    let refusal = scene.preview(alice()).await.unwrap_err();
    assert_eq!(refusal.to_string(), "that holder of `lock:stock:4711` has let go of it; 1 still hold it");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_became_a_writer_is_not_what_was_previewed() {
    let scene = scene();
    let ticket = scene.ticket().await;
    scene.fake.with(|world| world.held.values_mut().next().unwrap().orders[0].mode = Mode::Shared);
    assert_eq!(scene.execute(&ticket).await.outcome, Outcome::Refused);
    assert_eq!(scene.attempts(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_gets_no_ticket() {
    let scene = scene();
    scene.fake.with(|world| world.is_deaf = true);
    assert!(matches!(scene.preview(target("g1")).await, Err(Refusal::Unreadable { .. })));
    scene.fake.asked();
    scene.fake.set_status(0, |status| status.state = SourceState::Down);
    assert!(matches!(scene.preview(target("g1")).await, Err(Refusal::Unreadable { .. })));
    assert_eq!(scene.fake.asked(), [] as [&str; 0], "a store that is known to be down is not asked");
}

#[tokio::test(start_paused = true)]
async fn a_look_that_came_back_empty_handed_is_no_look() {
    let scene = scene();
    let ticket = scene.ticket().await;
    scene.fake.hold("lock:stock:4711", "alice", "g1");
    scene.fake.with(|world| world.is_blind = true);
    assert!(matches!(scene.preview(target("g1")).await, Err(Refusal::Unreadable { .. })));
    assert_eq!(scene.execute(&ticket).await.outcome, Outcome::Failed);
    assert_eq!(scene.attempts(), 0);
}

#[tokio::test(start_paused = true)]
async fn requests_that_make_no_sense_are_refused_by_name() {
    let scene = scene();
    let none = PreviewRequest { locks: Vec::new(), action: Action::Release, hold_ms: None, leave_out: false };
    assert!(matches!(
        scene.desk.preview(&person(), &none, &Scope::everything()).await,
        Err(Refusal::Count { found: 0, .. })
    ));
    let many =
        PreviewRequest { locks: vec![target("g1"); 101], action: Action::Release, hold_ms: None, leave_out: false };
    assert!(matches!(
        scene.desk.preview(&person(), &many, &Scope::everything()).await,
        Err(Refusal::Count { found: 101, max: 100 })
    ));
    let twice =
        PreviewRequest { locks: vec![target("g1"); 2], action: Action::Release, hold_ms: None, leave_out: false };
    assert!(matches!(scene.desk.preview(&person(), &twice, &Scope::everything()).await, Err(Refusal::Twice { .. })));
    let elsewhere = PreviewTarget { source: "nowhere".to_owned(), ..target("g1") };
    assert!(matches!(
        scene.preview(elsewhere).await,
        Err(Refusal::UnknownSource { known, .. }) if known == ["orders", "other"]
    ));
}

#[tokio::test(start_paused = true)]
async fn a_release_looks_announces_and_tries_once_in_that_order() {
    let scene = scene();
    let ticket = scene.ticket().await;
    scene.reply(RELEASED, Box::new(|world| world.free("lock:stock:4711")));
    let result = scene.execute(&ticket).await;
    assert_eq!(result.outcome, Outcome::Released);
    let asked = scene.fake.asked();
    assert!(asked[0].starts_with("subscribe"), "{asked:?}");
    assert_eq!(
        asked[1..6],
        ["look", "releasing lock:stock:4711", "release lock:stock:4711 of alice", "released lock:stock:4711", "look",],
        "the last look is for stores that tell nothing by themselves"
    );
    let after = result.after.unwrap();
    assert_eq!((after.state, after.holder, after.watched_ms), (AfterState::Free, None, 1_500));
    assert_eq!(result.detail, "freed; nobody has taken it in the 1.5 s since");
    assert_eq!(scene.desk.outcomes().find(|(word, _)| *word == "released"), Some(("released", 1)));
}

#[tokio::test(start_paused = true)]
async fn who_takes_a_freed_lock_is_told_as_soon_as_it_happens() {
    let scene = scene();
    let ticket = scene.ticket().await;
    scene.reply(
        ReleaseReply::Released { woken: Some(2) },
        Box::new(|world| {
            world.hold(b"lock:stock:4711", &[(b"bob", "g2")], &crate::fake::TRAITS);
            world.tell("lock:stock:4711", TransitionKind::Forced);
            world.tell("lock:stock:4711", TransitionKind::Acquired);
        }),
    );
    let result = scene.execute(&ticket).await;
    let after = result.after.unwrap();
    assert_eq!((after.state, after.watched_ms), (AfterState::Taken, 0));
    assert_eq!(after.holder.unwrap().token.as_deref(), Some("bob"));
    assert_eq!(result.woken, Some(2));
    assert_eq!(result.detail, "freed; 2 sleeping waiters were woken; `bob` had it within 0 ms");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_lost_after_the_release_is_not_said_to_hold_a_free_lock() {
    let scene = scene();
    let ticket = scene.ticket().await;
    scene.reply(
        RELEASED,
        Box::new(|world| {
            world.free("lock:stock:4711");
            world.is_deaf = true;
        }),
    );
    let result = scene.execute(&ticket).await;
    assert_eq!((result.outcome, result.after), (Outcome::Released, None));
    assert_eq!(result.detail, "freed; the store was lost before anybody could see what came after");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_comes_back_is_told_from_a_new_holder() {
    let scene = scene();
    let ticket = scene.ticket().await;
    scene.reply(RELEASED, Box::new(|world| world.hold(b"lock:stock:4711", &[(b"alice", "g2")], &crate::fake::TRAITS)));
    assert_eq!(scene.execute(&ticket).await.after.unwrap().state, AfterState::CameBack);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_changed_hands_since_the_preview_is_not_touched() {
    let scene = scene();
    let ticket = scene.ticket().await;
    scene.fake.hold("lock:stock:4711", "bob", "g2");
    let result = scene.execute(&ticket).await;
    assert_eq!((result.outcome, scene.attempts()), (Outcome::ChangedHands, 0));
    assert_eq!(result.holder_now.unwrap().token.as_deref(), Some("bob"));
    assert_eq!(result.detail, "`bob` has it now; nothing was done");
}

#[tokio::test(start_paused = true)]
async fn an_equal_token_of_a_new_hold_is_not_touched() {
    let scene = scene();
    let ticket = scene.ticket().await;
    scene.fake.hold("lock:stock:4711", "alice", "g2");
    let result = scene.execute(&ticket).await;
    assert_eq!((result.outcome, scene.attempts()), (Outcome::ChangedHands, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_was_entered_again_is_not_touched() {
    let scene = scene();
    let ticket = scene.ticket().await;
    scene.fake.with(|world| world.held.values_mut().next().unwrap().orders[0].count = 2);
    let result = scene.execute(&ticket).await;
    assert_eq!((result.outcome, scene.attempts()), (Outcome::Refused, 0));
    assert_eq!(result.detail, "the hold count changed from 1 to 2 since the preview; nothing was done");
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_free_already_is_not_touched() {
    let scene = scene();
    let ticket = scene.ticket().await;
    scene.fake.with(|world| world.free("lock:stock:4711"));
    assert_eq!(scene.execute(&ticket).await.outcome, Outcome::Gone);
    assert_eq!(scene.attempts(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_read_again_is_not_asked_to_free() {
    let scene = scene();
    let ticket = scene.ticket().await;
    scene.fake.with(|world| world.is_deaf = true);
    assert_eq!(scene.execute(&ticket).await.outcome, Outcome::Failed);
    assert_eq!(scene.attempts(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_answers_is_what_is_told_and_the_announcement_is_taken_back() {
    let because = "its lease was pushed out".to_owned();
    for (reply, outcome) in [
        (ReleaseReply::ChangedHands, Outcome::ChangedHands),
        (ReleaseReply::Gone, Outcome::Gone),
        (ReleaseReply::Refused { because: because.clone() }, Outcome::Refused),
        (ReleaseReply::Failed { because: because.clone() }, Outcome::Failed),
        (ReleaseReply::Unknown { because }, Outcome::Unknown),
    ] {
        let scene = scene();
        let ticket = scene.ticket().await;
        scene.reply(reply.clone(), nothing());
        let result = scene.execute(&ticket).await;
        assert_eq!((result.outcome, result.after), (outcome, None));
        let asked = scene.fake.asked();
        assert!(asked.contains(&"not released lock:stock:4711".to_owned()), "{reply:?}");
        assert_eq!(asked.iter().filter(|asked| asked.starts_with("release ")).count(), 1, "never tried twice");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mistyped_confirmation_keeps_the_ticket_and_an_attempt_uses_it_up() {
    let scene = scene();
    let ticket = scene.ticket().await;
    for (confirm, reason) in [("4712", "worker 7 crashed"), ("", "worker 7 crashed")] {
        assert!(matches!(scene.try_execute(&ticket, confirm, reason).await, Err(Refusal::Unconfirmed { .. })));
    }
    for reason in ["", "  ", "no", "a\u{0}b c", &"x".repeat(501)] {
        assert!(matches!(scene.try_execute(&ticket, "4711", reason).await, Err(Refusal::Reason { .. })), "{reason:?}");
    }
    assert_eq!(scene.attempts(), 0);
    scene.reply(ReleaseReply::Failed { because: "no".to_owned() }, nothing());
    assert_eq!(scene.execute(&ticket).await.outcome, Outcome::Failed);
    let again = scene.try_execute(&ticket, "4711", "worker 7 crashed").await;
    assert!(matches!(again, Err(Refusal::Ticket(TicketError::Used))));
    assert_eq!(scene.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_attempts_at_once_with_one_ticket_one_is_made() {
    let scene = scene();
    let ticket = scene.ticket().await;
    scene.reply(RELEASED, Box::new(|world| world.free("lock:stock:4711")));
    let (one, other) = tokio::join!(
        scene.try_execute(&ticket, "4711", "worker 7 crashed"),
        scene.try_execute(&ticket, "4711", "worker 7 crashed"),
    );
    assert_eq!([one.is_ok(), other.is_ok()].iter().filter(|ok| **ok).count(), 1);
    assert_eq!(scene.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_asker_who_leaves_does_not_leave_the_release_half_done() {
    let scene = scene();
    let ticket = scene.ticket().await;
    scene.reply(RELEASED, Box::new(|world| world.free("lock:stock:4711")));
    {
        let leaving = scene.try_execute(&ticket, "4711", "worker 7 crashed");
        tokio::pin!(leaving);
        let first_poll = std::future::poll_fn(|context| {
            std::task::Poll::Ready(Future::poll(leaving.as_mut(), context).is_pending())
        });
        assert!(first_poll.await);
    }
    while scene.desk.outcomes().all(|(_, count)| count == 0) {
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!(scene.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn several_locks_are_freed_with_one_ticket_each_judged_by_itself() {
    let scene = scene();
    scene.fake.hold("lock:b", "bob", "g5");
    let b = PreviewTarget { id: LockId::of_key(b"lock:b"), ..target("g5") };
    let answer = scene
        .desk
        .preview(
            &person(),
            &PreviewRequest { locks: vec![target("g1"), b], action: Action::Release, hold_ms: None, leave_out: false },
            &Scope::everything(),
        )
        .await
        .unwrap();
    assert_eq!(answer.confirm, "release 2 locks");
    scene.fake.hold("lock:b", "carol", "g6");
    scene.reply(RELEASED, Box::new(|world| world.free("lock:stock:4711")));
    let request = ReleaseRequest {
        ticket: answer.ticket,
        confirm: "release 2 locks".to_owned(),
        reason: "both are stuck".to_owned(),
        ..Default::default()
    };
    scene.dry_run(&request).await;
    let results = scene.desk.execute(&person(), &request, &Scope::everything(), None).await.unwrap().results;
    let outcomes: Vec<_> = results.iter().map(|result| (result.id.as_str(), result.outcome)).collect();
    assert_eq!(outcomes, [("lock:stock:4711", Outcome::Released), ("lock:b", Outcome::ChangedHands)]);
}

fn evict(generation: &str, waiter: Option<&str>) -> PreviewRequest {
    let target = PreviewTarget { holder: waiter.map(b64), ..target(generation) };
    PreviewRequest { locks: vec![target], action: Action::EvictWaiter, hold_ms: None, leave_out: false }
}

/// `orders` is live, nobody holds `lock:stock:4711`, and `alice` is at the head of its queue.
fn queue(verdict: Verdict) -> Scene {
    let scene = scene();
    scene.fake.with(|world| world.queue(b"lock:stock:4711", b"alice", "w1", verdict));
    scene
}

#[tokio::test(start_paused = true)]
async fn a_dead_waiter_is_taken_out_of_the_queue_of_a_free_lock() {
    let scene = queue(Verdict::Gone);
    let answer = scene.desk.preview(&person(), &evict("w1", Some("alice")), &Scope::everything()).await.unwrap();
    let [lock] = answer.locks.as_slice() else { panic!("{answer:?}") };
    assert_eq!((answer.confirm.as_str(), lock.holder.token.as_deref()), ("4711", Some("alice")));
    assert!(lock.plan.starts_with("The head leaves the queue"), "{}", lock.plan);
    assert_eq!((lock.told, codes(&answer)), (Told::Never, vec![]));
    scene.fake.asked();
    scene.reply(ReleaseReply::Released { woken: Some(1) }, Box::new(|world| world.free("lock:stock:4711")));
    let result = scene.execute(&answer.ticket).await;
    assert_eq!((result.outcome, result.woken), (Outcome::Released, Some(1)));
    assert!(result.detail.starts_with("taken out of the queue; 1 sleeping waiter was woken"), "{}", result.detail);
    let asked = scene.fake.asked();
    assert!(asked.contains(&"release lock:stock:4711 of alice".to_owned()), "{asked:?}");
    assert!(!asked.iter().any(|asked| asked.starts_with("releasing")), "nobody's hold ends: {asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_not_proven_dead_is_taken_out_only_after_a_warning() {
    for (verdict, code) in [(Verdict::Alive, "waiter_alive"), (Verdict::Unknown, "waiter_not_proven_dead")] {
        let answer = queue(verdict)
            .desk
            .preview(&person(), &evict("lock of w1", Some("alice")), &Scope::everything())
            .await
            .unwrap();
        assert_eq!(codes(&answer), [code]);
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_waiter_that_was_seen_at_the_head_can_be_named() {
    let scene = queue(Verdict::Gone);
    for request in [evict("w1", Some("bob")), evict("w0", Some("alice"))] {
        assert!(matches!(
            scene.desk.preview(&person(), &request, &Scope::everything()).await,
            Err(Refusal::QueueMoved { .. })
        ));
    }
    assert!(matches!(
        scene.desk.preview(&person(), &evict("w1", None), &Scope::everything()).await,
        Err(Refusal::NoEviction { .. })
    ));
    scene.fake.hold("lock:stock:4711", "bob", "g2");
    assert!(matches!(
        scene.desk.preview(&person(), &evict("w1", Some("alice")), &Scope::everything()).await,
        Err(Refusal::ChangedHands { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_moved_since_the_preview_is_left_alone() {
    let moves: [(Change, Outcome); 4] = [
        (Box::new(|world| world.queue(b"lock:stock:4711", b"alice", "w2", Verdict::Alive)), Outcome::ChangedHands),
        (Box::new(|world| world.queue(b"lock:stock:4711", b"bob", "w3", Verdict::Gone)), Outcome::ChangedHands),
        (
            Box::new(|world| world.hold(b"lock:stock:4711", &[(b"bob", "g2")], &crate::fake::TRAITS)),
            Outcome::ChangedHands,
        ),
        (Box::new(|world| world.free("lock:stock:4711")), Outcome::Gone),
    ];
    for (change, outcome) in moves {
        let scene = queue(Verdict::Gone);
        let answer = scene.desk.preview(&person(), &evict("w1", Some("alice")), &Scope::everything()).await.unwrap();
        scene.before_look(change);
        assert_eq!(scene.execute(&answer.ticket).await.outcome, outcome);
        assert_eq!(scene.attempts(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_ticket_for_a_waiter_frees_no_hold() {
    let scene = queue(Verdict::Gone);
    let answer = scene.desk.preview(&person(), &evict("w1", Some("alice")), &Scope::everything()).await.unwrap();
    scene.fake.hold("lock:stock:4711", "alice", "w1");
    assert_eq!(scene.execute(&answer.ticket).await.outcome, Outcome::ChangedHands);
    assert_eq!(scene.attempts(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_released_safely_is_refused_and_not_only_hidden() {
    let scene = scene();
    scene.fake.with(|world| world.hold(b"lock:stock:4711", &[(b"alice", "g1")], &crate::fake::NO_RELEASE_TRAITS));
    assert!(matches!(scene.preview(target("g1")).await, Err(Refusal::NotOffered { because: "it would hurt", .. })));
}

/// Kind, outcome and what was seen, oldest first.
pub(super) async fn written(audit: &Audit) -> Vec<(AuditKind, Option<String>, Option<String>)> {
    let entries = audit.page(Filter::default(), None, 100).await.unwrap().entries;
    entries.into_iter().rev().map(|entry| (entry.kind, entry.outcome, entry.seen)).collect()
}

/// The same, once there are so many.
pub(super) async fn until_written(audit: &Audit, entries: usize) -> Vec<(AuditKind, Option<String>, Option<String>)> {
    loop {
        match written(audit).await {
            few if few.len() < entries => tokio::time::advance(A_WHILE).await,
            all => break all,
        }
    }
}

pub(super) fn entry(
    kind: AuditKind,
    outcome: Option<&str>,
    seen: Option<&str>,
) -> (AuditKind, Option<String>, Option<String>) {
    (kind, outcome.map(str::to_owned), seen.map(str::to_owned))
}

#[tokio::test(start_paused = true)]
async fn the_intention_is_on_the_disk_when_the_store_is_asked_and_the_completion_when_it_is_watched() {
    let dir = tempfile::TempDir::new().unwrap();
    let fake = Fake::new(&["orders"]);
    fake.hold("lock:stock:4711", "alice", "g1");
    let audit = Audit::open(dir.path(), None).unwrap();
    let desk = Arc::new(ReleaseDesk::new(fake.board.clone(), Rules::with_releasing(true), audit.clone()));
    let scene = Scene { fake, audit, desk };
    let ticket = scene.ticket().await;
    let length = |dir: &std::path::Path| Store::read(dir).unwrap().chain().unwrap().length;
    let (at_attempt, at_watch) = (dir.path().to_owned(), dir.path().to_owned());
    // The first reading comes before the attempt, the second when the watching is over.
    scene.before_look(nothing());
    scene.before_look(Box::new(move |_| assert_eq!(length(&at_watch), 2)));
    scene.reply(
        RELEASED,
        Box::new(move |world| {
            assert_eq!(length(&at_attempt), 1);
            world.free("lock:stock:4711");
        }),
    );
    assert_eq!(scene.execute(&ticket).await.outcome, Outcome::Released);
    assert_eq!(
        until_written(&scene.audit, 4).await,
        [
            entry(AuditKind::Intention, Some("attempted"), None),
            entry(AuditKind::Completion, Some("released"), None),
            // With the answer, and when it was watched on.
            entry(AuditKind::FollowUp, None, Some("free")),
            entry(AuditKind::FollowUp, None, Some("free")),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn without_an_audit_nothing_is_tried() {
    let fake = Fake::new(&["orders"]);
    fake.hold("lock:stock:4711", "alice", "g1");
    let audit = Audit::not_kept("the disk is away");
    let scene = Scene {
        desk: Arc::new(ReleaseDesk::new(fake.board.clone(), Rules::with_releasing(true), audit.clone())),
        fake,
        audit,
    };
    let ticket = scene.ticket().await;
    let result = scene.execute(&ticket).await;
    assert_eq!((result.outcome, scene.attempts()), (Outcome::Refused, 0));
    assert_eq!(
        result.detail,
        "the audit cannot be written, and nothing is released without it: no audit is kept: the disk is away; nothing \
         was done"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_is_turned_away_is_written_down_with_what_they_wanted() {
    let scene = scene();
    assert!(scene.preview(target("g0")).await.is_err());
    let ticket = scene.ticket().await;
    assert!(scene.try_execute(&ticket, "4712", "worker 7 crashed").await.is_err());
    assert!(scene.try_execute(&ticket, "4711", "x").await.is_err());
    assert!(scene.try_execute("forged", "4711", "worker 7 crashed").await.is_err());
    assert!(
        scene
            .desk
            .preview(
                &person(),
                &PreviewRequest { locks: vec![], action: Action::Release, hold_ms: None, leave_out: false },
                &Scope::everything()
            )
            .await
            .is_err()
    );
    let refusal = |outcome| entry(AuditKind::Refusal, Some(outcome), None);
    let expected = ["changed_hands", "mistyped", "refused", "forged", "refused"].map(refusal);
    assert_eq!(written(&scene.audit).await, expected);
    let entries = scene.audit.page(Filter::default(), None, 100).await.unwrap().entries;
    let [_, forged, _, mistyped, changed] = entries.as_slice() else { panic!("{entries:#?}") };
    assert_eq!((changed.lock.as_deref(), changed.ticket.as_deref()), (Some("lock:stock:4711"), None));
    assert_eq!((mistyped.token.as_deref(), mistyped.reason.as_deref()), (Some("alice"), Some("worker 7 crashed")));
    assert_eq!((forged.lock.as_deref(), forged.actor.address.as_deref()), (None, Some("127.0.0.1")));
    assert!(forged.ticket.is_some() && forged.ticket != mistyped.ticket);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_stayed_unknown_is_looked_up() {
    let scene = scene();
    let ticket = scene.ticket().await;
    let because = "it was sent, and no answer came".to_owned();
    scene.reply(ReleaseReply::Unknown { because }, Box::new(|world| world.free("lock:stock:4711")));
    assert_eq!(scene.execute(&ticket).await.outcome, Outcome::Unknown);
    let truth = loop {
        match written(&scene.audit).await.pop().unwrap() {
            (AuditKind::FollowUp, _, seen) => break seen,
            _ => tokio::time::advance(A_WHILE).await,
        }
    };
    assert_eq!(truth.as_deref(), Some("free"));
}
