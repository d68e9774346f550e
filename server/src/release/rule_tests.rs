//! What the operator asks of whoever releases, each rule kept and broken once.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use lockkeeper_model::{
    Action, Actor, AuditKind, LockId, Outcome, PreviewAnswer, PreviewRequest, PreviewTarget, ReleaseRequest,
    ReleaseResult,
};

use super::{ReasonPattern, Refusal, ReleaseDesk, Rules};
use crate::access::Scope;
use crate::fake::{Fake, nothing};
use crate::recorder::audit::{Audit, Filter};
use crate::source::ReleaseReply;

pub(super) const ADA: &str = "ada";

/// `orders` is in production, `other` is not; each has locks `lock:a`, `lock:b` and `lock:c`.
pub(super) struct Scene {
    pub(super) fake: Fake,
    pub(super) audit: Audit,
    pub(super) desk: Arc<ReleaseDesk>,
}

pub(super) fn scene(rules: Rules) -> Scene {
    let fake = Fake::new(&["orders", "other"]);
    for (name, generation) in [("lock:a", "g1"), ("lock:b", "g2"), ("lock:c", "g3")] {
        fake.hold(name, "alice", generation);
    }
    fake.set_status(0, |status| status.environment = Some("production".to_owned()));
    let audit = Audit::in_memory().unwrap();
    let desk = Arc::new(ReleaseDesk::new(fake.board.clone(), Rules { enabled: true, ..rules }, audit.clone()));
    Scene { fake, audit, desk }
}

pub(super) fn signed_in(name: &str) -> Actor {
    Actor { name: name.to_owned(), via: "password".to_owned(), address: None }
}

pub(super) fn target(source: &str, key: &str, generation: &str) -> PreviewTarget {
    PreviewTarget {
        source: source.to_owned(),
        id: LockId::of_key(key.as_bytes()),
        generation: generation.to_owned(),
        holder: None,
    }
}

impl Scene {
    pub(super) async fn preview(&self, who: &str, locks: Vec<PreviewTarget>) -> Result<PreviewAnswer, Refusal> {
        let request = PreviewRequest { locks, action: Action::Release, hold_ms: None, leave_out: false };
        self.desk.preview(&signed_in(who), &request, &Scope::everything()).await
    }

    pub(super) async fn execute(&self, who: &str, request: &ReleaseRequest) -> Result<Vec<ReleaseResult>, Refusal> {
        Ok(self.desk.execute(&signed_in(who), request, &Scope::everything(), None).await?.results)
    }

    /// What the next attempts are answered with.
    pub(super) fn replies<const N: usize>(&self, replies: [ReleaseReply; N]) {
        self.fake.with(|world| world.replies.extend(replies.into_iter().map(|reply| (reply, nothing()))));
    }

    /// Kind, lock, outcome and sentence of the newest entries of the audit, oldest first.
    pub(super) async fn written(&self, newest: usize) -> Vec<(AuditKind, String, String, String)> {
        let mut entries = self.audit.page(Filter::default(), None, newest).await.unwrap().entries;
        entries.reverse();
        let told = entries
            .into_iter()
            .map(|entry| (entry.kind, entry.lock.unwrap_or_default(), entry.outcome.unwrap_or_default(), entry.detail));
        told.collect()
    }

    /// The keys that the store was asked to free.
    pub(super) fn attempts(&self) -> Vec<String> {
        let asked = self.fake.asked();
        asked.iter().filter_map(|asked| Some(asked.strip_prefix("release ")?.split(' ').next()?.to_owned())).collect()
    }
}

/// What was previewed, confirmed as it should be.
pub(super) fn confirmed(preview: &PreviewAnswer, reason: &str) -> ReleaseRequest {
    ReleaseRequest {
        ticket: preview.ticket.clone(),
        confirm: preview.confirm.clone(),
        reason: reason.to_owned(),
        ..Default::default()
    }
}

pub(super) const RELEASED: ReleaseReply = ReleaseReply::Released { woken: None };

pub(super) fn gone() -> ReleaseReply {
    ReleaseReply::Gone
}

pub(super) fn only(results: &[ReleaseResult]) -> Outcome {
    let [result] = results else { panic!("{results:#?}") };
    result.outcome
}

#[tokio::test(start_paused = true)]
async fn a_request_has_at_most_as_many_locks_as_the_rules_say() {
    let scene = scene(Rules { max_locks: 2, ..Rules::default() });
    let [a, b, c] = ["a", "b", "c"].map(|name| target("other", &format!("lock:{name}"), "g"));
    let refusal = scene.preview(ADA, vec![a, b, c]).await.unwrap_err();
    assert_eq!(refusal.to_string(), "`locks` has 3 entries, expected 1 to 2");
}

#[tokio::test(start_paused = true)]
async fn nobody_tries_more_often_in_a_minute_than_the_rules_say() {
    let scene =
        scene(Rules { attempts_per_minute: NonZeroU32::new(2).unwrap(), limits_everywhere: true, ..Rules::default() });
    let mut last = None;
    for attempt in 0..3 {
        let preview = scene.preview(ADA, vec![target("other", "lock:a", "g1")]).await.unwrap();
        let request = confirmed(&preview, "worker 7 crashed");
        // What is mistyped is no attempt.
        let mistyped = ReleaseRequest { confirm: "x".to_owned(), ..request.clone() };
        assert!(matches!(scene.execute(ADA, &mistyped).await, Err(Refusal::Unconfirmed { .. })));
        scene.replies([gone()]);
        let answer = scene.execute(ADA, &request).await;
        assert_eq!(answer.is_ok(), attempt < 2, "{answer:?}");
        last = answer.err().map(|refusal| (refusal, request));
    }
    let (refusal, request) = last.unwrap();
    assert_eq!(
        refusal.to_string(),
        "you tried 2 releases in a minute, which is as many as one person may; the next may be tried in 30 s"
    );
    assert_eq!(scene.attempts().len(), 2);
    // Others are not kept waiting, and the ticket was not used up.
    let preview = scene.preview("bob", vec![target("other", "lock:a", "g1")]).await.unwrap();
    assert_eq!(only(&scene.execute("bob", &confirmed(&preview, "worker 7 crashed")).await.unwrap()), Outcome::Gone);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert!(scene.execute(ADA, &request).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_was_released_is_left_alone_for_a_while() {
    let scene = scene(Rules { limits_everywhere: true, ..Rules::default() });
    for (reply, cools) in [
        (gone(), false),
        (ReleaseReply::ChangedHands, false),
        (ReleaseReply::Failed { because: "it is away".to_owned() }, false),
        (ReleaseReply::Unknown { because: "no answer came".to_owned() }, true),
    ] {
        let preview = scene.preview(ADA, vec![target("other", "lock:a", "g1")]).await.unwrap();
        scene.replies([reply]);
        scene.execute(ADA, &confirmed(&preview, "worker 7 crashed")).await.unwrap();
        let preview = scene.preview("bob", vec![target("other", "lock:a", "g1")]).await.unwrap();
        let warned = preview.locks[0].warnings.iter().any(|warning| warning.code == "cooling_down");
        assert_eq!(warned, cools);
    }
    let preview = scene.preview("bob", vec![target("other", "lock:a", "g1")]).await.unwrap();
    scene.attempts();
    let refusal = scene.execute("bob", &confirmed(&preview, "worker 7 crashed")).await.unwrap_err();
    let Refusal::CoolingDown { id, until } = &refusal else { panic!("{refusal:?}") };
    assert_eq!((id.as_str(), scene.attempts().len()), ("lock:a", 0));
    assert!(refusal.to_string().ends_with(&format!("cannot be released again before {until}")), "{refusal}");
    // No other lock is.
    let preview = scene.preview("bob", vec![target("other", "lock:b", "g2")]).await.unwrap();
    scene.replies([RELEASED]);
    assert_eq!(only(&scene.execute("bob", &confirmed(&preview, "worker 7 crashed")).await.unwrap()), Outcome::Released);
}

fn outcomes(results: &[ReleaseResult]) -> Vec<(&str, Outcome)> {
    results.iter().map(|result| (result.id.as_str(), result.outcome)).collect()
}

/// `a`, `b` and `c` of one source; `orders` is in production.
fn three(source: &str) -> Vec<PreviewTarget> {
    [("lock:a", "g1"), ("lock:b", "g2"), ("lock:c", "g3")].map(|(key, at)| target(source, key, at)).to_vec()
}

#[tokio::test(start_paused = true)]
async fn outside_of_production_nothing_is_limited_unless_the_operator_says_so() {
    let scene = scene(Rules { attempts_per_minute: NonZeroU32::MIN, ..Rules::default() });
    for _ in 0..3 {
        let preview = scene.preview(ADA, three("other")).await.unwrap();
        assert!(!preview.dry_run_required);
        scene.replies([(); 3].map(|()| ReleaseReply::Unknown { because: "no answer came".to_owned() }));
        let results = scene.execute(ADA, &confirmed(&preview, "all three are stuck")).await.unwrap();
        assert!(results.iter().all(|result| result.outcome == Outcome::Unknown), "{results:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn several_locks_are_freed_only_after_a_dry_run_which_changes_nothing() {
    let scene = scene(Rules::default());
    let preview = scene.preview(ADA, three("orders")).await.unwrap();
    assert!(
        preview.dry_run_required && !scene.preview(ADA, three("orders")[..1].to_vec()).await.unwrap().dry_run_required
    );
    let request = confirmed(&preview, "all three are stuck");
    let refusal = scene.execute(ADA, &request).await.unwrap_err();
    assert_eq!(refusal.to_string(), "a ticket for 3 holds has to be used for a dry run first");

    scene.fake.hold("lock:b", "bob", "g9");
    scene.fake.with(|world| world.free("lock:c"));
    scene.attempts();
    let dry_run = ReleaseRequest { dry_run: true, confirm: String::new(), reason: String::new(), ..request.clone() };
    let results = scene.execute(ADA, &dry_run).await.unwrap();
    let expected = [("lock:a", Outcome::WouldRelease), ("lock:b", Outcome::ChangedHands), ("lock:c", Outcome::Gone)];
    assert_eq!(outcomes(&results), expected);
    assert_eq!(results[0].detail, "it would be freed: it is as it was previewed");
    assert_eq!(results[1].holder_now.as_ref().unwrap().token.as_deref(), Some("bob"));
    assert_eq!((scene.attempts().len(), scene.desk.outcomes().map(|(_, count)| count).sum::<u64>()), (0, 0));
    let written = scene.written(3).await;
    let words: Vec<_> = written.iter().map(|(kind, lock, outcome, _)| (*kind, &**lock, &**outcome)).collect();
    let dry = AuditKind::DryRun;
    assert_eq!(words, [(dry, "lock:a", "would_release"), (dry, "lock:b", "changed_hands"), (dry, "lock:c", "gone")]);

    // The ticket is as good as before, and each is compared by itself.
    scene.replies([RELEASED]);
    let results = scene.execute(ADA, &request).await.unwrap();
    let expected = [("lock:a", Outcome::Released), ("lock:b", Outcome::ChangedHands), ("lock:c", Outcome::Gone)];
    assert_eq!(outcomes(&results), expected);
    assert_eq!(scene.attempts(), ["lock:a"]);
    assert!(matches!(scene.execute(ADA, &dry_run).await, Err(Refusal::Ticket(_))), "it is used up");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_of_one_ticket_is_none_of_another() {
    let scene = scene(Rules::default());
    let [seen, unseen] =
        [scene.preview(ADA, three("orders")).await.unwrap(), scene.preview(ADA, three("orders")).await.unwrap()];
    let dry_run = ReleaseRequest { dry_run: true, ..confirmed(&seen, "") };
    scene.execute(ADA, &dry_run).await.unwrap();
    let refusal = scene.execute(ADA, &confirmed(&unseen, "all three are stuck")).await.unwrap_err();
    assert!(matches!(refusal, Refusal::DryRunNeeded { holds: 3 }));
    assert!(scene.attempts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_not_said_to_be_as_it_was() {
    let scene = scene(Rules::default());
    let preview = scene.preview(ADA, three("orders")).await.unwrap();
    scene.fake.with(|world| world.is_blind = true);
    let results = scene.execute(ADA, &ReleaseRequest { dry_run: true, ..confirmed(&preview, "") }).await.unwrap();
    assert!(results.iter().all(|result| result.outcome == Outcome::Failed), "{results:#?}");
}

#[tokio::test(start_paused = true)]
async fn after_the_first_failure_nothing_more_is_tried() {
    let scene = scene(Rules::default());
    let preview = scene.preview(ADA, three("orders")).await.unwrap();
    let request = ReleaseRequest { stop_at_first_failure: true, ..confirmed(&preview, "all three are stuck") };
    scene.execute(ADA, &ReleaseRequest { dry_run: true, ..request.clone() }).await.unwrap();
    scene.attempts();
    scene.replies([RELEASED, ReleaseReply::Refused { because: "its lease was pushed out".to_owned() }]);
    let results = scene.execute(ADA, &request).await.unwrap();
    let expected = [("lock:a", Outcome::Released), ("lock:b", Outcome::Refused), ("lock:c", Outcome::Refused)];
    assert_eq!(outcomes(&results), expected);
    assert_eq!(results[2].detail, "not tried, because `lock:b` failed first");
    assert_eq!(scene.attempts(), ["lock:a", "lock:b"]);
    // What came after the first one may have been seen and written by now as well.
    let written = scene.written(20).await;
    let refused: Vec<_> = written.iter().filter(|(kind, ..)| *kind == AuditKind::Refusal).collect();
    let [(_, lock, outcome, detail)] = refused[..] else { panic!("{written:#?}") };
    assert_eq!((&**lock, &**outcome), ("lock:c", "refused"));
    assert_eq!(detail, "not tried, because another lock of the request failed first", "it names no other lock");
}

#[tokio::test(start_paused = true)]
async fn without_a_failure_all_are_freed_one_after_the_other() {
    let scene = scene(Rules::default());
    let preview = scene.preview(ADA, three("orders")).await.unwrap();
    let request = ReleaseRequest { stop_at_first_failure: true, ..confirmed(&preview, "all three are stuck") };
    scene.execute(ADA, &ReleaseRequest { dry_run: true, ..request.clone() }).await.unwrap();
    scene.attempts();
    scene.replies([RELEASED, RELEASED, RELEASED]);
    let results = scene.execute(ADA, &request).await.unwrap();
    assert!(results.iter().all(|result| result.outcome == Outcome::Released), "{results:#?}");
    assert_eq!(scene.attempts(), ["lock:a", "lock:b", "lock:c"]);
}

#[tokio::test(start_paused = true)]
async fn in_production_a_reason_contains_what_is_demanded() {
    let pattern = Some(ReasonPattern::parse(r"INC-\d+").unwrap());
    let scene = scene(Rules { reason_pattern: pattern, ..Rules::default() });
    let elsewhere = scene.preview(ADA, vec![target("other", "lock:a", "g1")]).await.unwrap();
    assert_eq!(elsewhere.reason_pattern, None);
    scene.replies([gone()]);
    assert!(scene.execute(ADA, &confirmed(&elsewhere, "worker 7 crashed")).await.is_ok());

    let production = scene.preview(ADA, vec![target("orders", "lock:a", "g1")]).await.unwrap();
    assert_eq!(production.reason_pattern.as_deref(), Some(r"INC-\d+"));
    scene.attempts();
    let refusal = scene.execute(ADA, &confirmed(&production, "worker 7 crashed")).await.unwrap_err();
    assert!(matches!(refusal, Refusal::ReasonPattern { .. }));
    assert!(scene.attempts().is_empty());
    scene.replies([gone()]);
    assert!(scene.execute(ADA, &confirmed(&production, "INC-4711: worker 7 crashed")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_released_is_left_out_of_the_ticket_with_its_reason_and_written_down() {
    let scene = scene(Rules::default());
    scene.fake.hold("lock:b", "carol", "g6");
    let ask = async |locks: Vec<PreviewTarget>| {
        let request = PreviewRequest { locks, action: Action::Release, hold_ms: None, leave_out: true };
        scene.desk.preview(&signed_in(ADA), &request, &Scope::everything()).await
    };
    let handed_over = target("orders", "lock:b", "g2");
    let free = target("orders", "lock:free", "g9");
    let locks = vec![handed_over.clone(), target("orders", "lock:a", "g1"), free.clone()];
    let answer = ask(locks).await.unwrap();
    assert_eq!(answer.locks.iter().map(|lock| lock.id.as_str()).collect::<Vec<_>>(), ["lock:a"]);
    assert_eq!(answer.confirm, "a", "the ticket is for one lock");
    let left: Vec<_> = answer.left_out.iter().map(|left| (left.id.as_str(), left.holder_now.is_some())).collect();
    assert_eq!(left, [("lock:b", true), ("lock:free", false)]);
    assert!(answer.left_out[0].because.contains("changed hands"), "{}", answer.left_out[0].because);
    assert!(answer.left_out[1].because.contains("not held any more"), "{}", answer.left_out[1].because);
    let written = scene.audit.page(Filter::default(), None, 10).await.unwrap().entries;
    let written: Vec<_> = written.iter().map(|entry| (entry.lock.as_deref(), entry.outcome.as_deref())).collect();
    assert_eq!(written, [(Some("lock:free"), Some("gone")), (Some("lock:b"), Some("changed_hands"))]);

    // Without anything that is left there is no ticket.
    assert!(matches!(ask(vec![handed_over, free]).await, Err(Refusal::ChangedHands { .. })));
}
