//! What the operator asks of whoever releases, each rule kept and broken once.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use lockkeeper_model::{
    Action, Actor, LockId, Outcome, PreviewAnswer, PreviewRequest, PreviewTarget, ReleaseRequest, ReleaseResult,
};

use super::{Refusal, ReleaseDesk, Rules};
use crate::access::Scope;
use crate::fake::{Fake, nothing};
use crate::recorder::audit::Audit;
use crate::source::ReleaseReply;

const ADA: &str = "ada";

/// `orders` is in production, `other` is not; each has locks `lock:a`, `lock:b` and `lock:c`.
struct Scene {
    fake: Fake,
    desk: Arc<ReleaseDesk>,
}

fn scene(rules: Rules) -> Scene {
    let fake = Fake::new(&["orders", "other"]);
    for (name, generation) in [("lock:a", "g1"), ("lock:b", "g2"), ("lock:c", "g3")] {
        fake.hold(name, "alice", generation);
    }
    fake.set_status(0, |status| status.environment = Some("production".to_owned()));
    let audit = Audit::in_memory().unwrap();
    let desk = Arc::new(ReleaseDesk::new(fake.board.clone(), Rules { enabled: true, ..rules }, audit));
    Scene { fake, desk }
}

fn signed_in(name: &str) -> Actor {
    Actor { name: name.to_owned(), via: "password".to_owned(), address: None }
}

fn target(source: &str, key: &str, generation: &str) -> PreviewTarget {
    PreviewTarget {
        source: source.to_owned(),
        id: LockId::of_key(key.as_bytes()),
        generation: generation.to_owned(),
        holder: None,
    }
}

impl Scene {
    async fn preview(&self, who: &str, locks: Vec<PreviewTarget>) -> Result<PreviewAnswer, Refusal> {
        let request = PreviewRequest { locks, action: Action::Release };
        self.desk.preview(&signed_in(who), &request, &Scope::everything()).await
    }

    async fn execute(&self, who: &str, request: &ReleaseRequest) -> Result<Vec<ReleaseResult>, Refusal> {
        Ok(self.desk.execute(&signed_in(who), request, &Scope::everything()).await?.results)
    }

    /// What the next attempts are answered with.
    fn replies<const N: usize>(&self, replies: [ReleaseReply; N]) {
        self.fake.with(|world| world.replies.extend(replies.into_iter().map(|reply| (reply, nothing()))));
    }

    /// The keys that the store was asked to free.
    fn attempts(&self) -> Vec<String> {
        let asked = self.fake.asked();
        asked.iter().filter_map(|asked| Some(asked.strip_prefix("release ")?.split(' ').next()?.to_owned())).collect()
    }
}

/// What was previewed, confirmed as it should be.
fn confirmed(preview: &PreviewAnswer, reason: &str) -> ReleaseRequest {
    ReleaseRequest { ticket: preview.ticket.clone(), confirm: preview.confirm.clone(), reason: reason.to_owned() }
}

const RELEASED: ReleaseReply = ReleaseReply::Released { woken: None };

fn gone() -> ReleaseReply {
    ReleaseReply::Gone
}

fn only(results: &[ReleaseResult]) -> Outcome {
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
    let scene = scene(Rules { attempts_per_minute: NonZeroU32::new(2).unwrap(), ..Rules::default() });
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
    let scene = scene(Rules::default());
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
