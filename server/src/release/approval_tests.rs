//! What takes two people, and every way in which one could try to be both.

use std::time::Duration;

use lockkeeper_model::{
    Actor, Approval, ApprovalRequest, ApprovalState, AuditKind, Decision, DecisionRequest, Outcome, PreviewAnswer,
    ReleaseRequest, ReleaseResult,
};

use super::approval::{APPROVAL_LIFE_MS, ApprovalRefusal, Decided, OpenApprovals};
use super::rule_tests::{ADA, RELEASED, Scene, confirmed, gone, only, scene, signed_in, target};
use super::ticket::{BoundHold, Permission, Tickets};
use super::{FRESH_SIGN_IN, Refusal, Rules};
use crate::access::{Grant, Person, Policy, Right, Role, Scope, Via};

const BOB: &str = "bob";
const WHY: &str = "worker 7 crashed";

fn two_persons() -> Scene {
    scene(Rules { two_persons: true, cool_down: Duration::ZERO, ..Rules::default() })
}

impl Scene {
    /// `lock:a` of the source in production.
    async fn preview_a(&self, who: &str) -> PreviewAnswer {
        self.preview(who, vec![target("orders", "lock:a", "g1")]).await.unwrap()
    }

    async fn ask_as(&self, actor: &Actor, ticket: &str) -> Result<Approval, Refusal> {
        let request = ApprovalRequest { ticket: ticket.to_owned(), reason: WHY.to_owned() };
        self.desk.ask_approval(actor, &request, &Scope::everything()).await
    }

    /// Ada asks for `lock:a`.
    async fn asked(&self) -> Approval {
        let preview = self.preview_a(ADA).await;
        self.ask_as(&signed_in(ADA), &preview.ticket).await.unwrap()
    }

    async fn decide_as(&self, actor: &Actor, id: &str, decision: Decision) -> Result<Approval, Refusal> {
        let request = DecisionRequest { decision, reason: "looked at it".to_owned() };
        self.desk.decide(actor, id, &request, &Scope::everything()).await
    }

    async fn break_glass(
        &self,
        actor: &Actor,
        preview: &PreviewAnswer,
        signed_in: Option<Duration>,
    ) -> Result<Vec<ReleaseResult>, Refusal> {
        let request = ReleaseRequest { break_glass: true, ..confirmed(preview, WHY) };
        Ok(self.desk.execute(actor, &request, &Scope::everything(), signed_in).await?.results)
    }
}

fn state(preview: &PreviewAnswer) -> ApprovalState {
    preview.approval.as_ref().unwrap().state
}

fn needed(refusal: Refusal) -> ApprovalState {
    let Refusal::Approval(ApprovalRefusal::Needed(state)) = refusal else { panic!("{refusal:?}") };
    state
}

#[tokio::test(start_paused = true)]
async fn in_production_one_asks_another_approves_and_the_first_carries_it_out_once() {
    let scene = two_persons();
    let preview = scene.preview_a(ADA).await;
    assert_eq!(state(&preview), ApprovalState::Unasked);
    let refusal = scene.execute(ADA, &confirmed(&preview, WHY)).await.unwrap_err();
    assert_eq!(needed(refusal), ApprovalState::Unasked);

    // The refusal did not use the ticket up, and neither does asking; asking twice is asking once.
    let asked = scene.ask_as(&signed_in(ADA), &preview.ticket).await.unwrap();
    assert_eq!(scene.ask_as(&signed_in(ADA), &preview.ticket).await.unwrap().id, asked.id);
    assert_eq!((asked.state, asked.may_decide, asked.reason.as_str()), (ApprovalState::Pending, false, WHY));
    let refusal = scene.execute(ADA, &confirmed(&preview, WHY)).await.unwrap_err();
    assert_eq!(needed(refusal), ApprovalState::Pending);

    let bob = signed_in(BOB);
    let listed = scene.desk.approvals(&bob, &Scope::everything()).approvals;
    assert_eq!((listed.len(), listed[0].may_decide, listed[0].locks[0].id.as_str()), (1, true, "lock:a"));
    let shown = scene.desk.approval(&bob, &asked.id, &Scope::everything()).await.unwrap();
    assert_eq!((shown.is_unchanged, shown.locks[0].holder.token.as_deref()), (true, Some("alice")));
    assert_eq!(shown.locks, scene.preview_a(BOB).await.locks, "it is the same preview");
    let approved = scene.decide_as(&bob, &asked.id, Decision::Approve).await.unwrap();
    assert_eq!((approved.state, approved.decided_by), (ApprovalState::Approved, Some(bob)));

    let preview = scene.preview_a(ADA).await;
    assert_eq!(state(&preview), ApprovalState::Approved);
    scene.attempts();
    scene.replies([RELEASED]);
    assert_eq!(only(&scene.execute(ADA, &confirmed(&preview, WHY)).await.unwrap()), Outcome::Released);
    assert_eq!(scene.attempts(), ["lock:a"]);

    // It was good once.
    let again = scene.preview_a(ADA).await;
    assert_eq!(state(&again), ApprovalState::Unasked);
    assert_eq!(needed(scene.execute(ADA, &confirmed(&again, WHY)).await.unwrap_err()), ApprovalState::Unasked);
    let approvals: Vec<_> =
        scene.written(20).await.into_iter().filter(|entry| entry.0 == AuditKind::Approval).collect();
    let told: Vec<_> = approvals.iter().map(|entry| (&*entry.1, &*entry.2, &*entry.3)).collect();
    assert_eq!(
        told,
        [
            ("lock:a", "asked", "a second person was asked to approve this"),
            ("lock:a", "approved", "approved what `ada` asked for"),
            ("lock:a", "used", "the approval of `bob` was used"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn outside_of_production_and_where_it_is_not_asked_for_one_person_is_enough() {
    let elsewhere = two_persons();
    let preview = elsewhere.preview(ADA, vec![target("other", "lock:a", "g1")]).await.unwrap();
    assert_eq!(preview.approval, None);
    let refusal = elsewhere.ask_as(&signed_in(ADA), &preview.ticket).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Approval(ApprovalRefusal::NotNeeded)));
    elsewhere.replies([gone()]);
    assert_eq!(only(&elsewhere.execute(ADA, &confirmed(&preview, WHY)).await.unwrap()), Outcome::Gone);

    let scene = scene(Rules::default());
    let preview = scene.preview_a(ADA).await;
    assert_eq!(preview.approval, None);
    scene.replies([gone()]);
    assert_eq!(only(&scene.execute(ADA, &confirmed(&preview, WHY)).await.unwrap()), Outcome::Gone);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_their_own_second_person_however_they_come_in() {
    let scene = two_persons();
    let asked = scene.asked().await;
    for via in ["password", "oidc", "proxy"] {
        for name in ["ada", "Ada"] {
            let same = Actor { name: name.to_owned(), via: via.to_owned(), address: Some("192.0.2.7".to_owned()) };
            let refusal = scene.decide_as(&same, &asked.id, Decision::Approve).await.unwrap_err();
            assert!(matches!(refusal, Refusal::Approval(ApprovalRefusal::SamePerson)), "{name} {via}: {refusal:?}");
        }
    }
    // Whose a token is, nobody can say: it neither approves nor asks.
    for via in ["token", "loopback"] {
        let program = Actor { name: "deploy".to_owned(), via: via.to_owned(), address: None };
        let refusal = scene.decide_as(&program, &asked.id, Decision::Approve).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Approval(ApprovalRefusal::NotSignedIn)), "{via}: {refusal:?}");
        let locks = vec![target("orders", "lock:b", "g2")];
        let request =
            lockkeeper_model::PreviewRequest { locks, action: Default::default(), hold_ms: None, leave_out: false };
        let ticket = scene.desk.preview(&program, &request, &Scope::everything()).await.unwrap().ticket;
        let refusal = scene.ask_as(&program, &ticket).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Approval(ApprovalRefusal::NotSignedIn)), "{via}: {refusal:?}");
    }
    assert_eq!(scene.asked().await.state, ApprovalState::Pending);
    let refused = scene.written(20).await.into_iter().filter(|entry| entry.0 == AuditKind::Refusal);
    assert!(refused.filter(|entry| entry.2 == "not_allowed").count() >= 8, "each try is written down");
}

#[tokio::test(start_paused = true)]
async fn what_was_denied_is_not_carried_out_and_can_be_asked_for_anew() {
    let scene = two_persons();
    let asked = scene.asked().await;
    scene.decide_as(&signed_in(BOB), &asked.id, Decision::Deny).await.unwrap();
    let refusal = scene.decide_as(&signed_in("carol"), &asked.id, Decision::Approve).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Approval(ApprovalRefusal::Decided(Decision::Deny))), "a decision stands");
    let preview = scene.preview_a(ADA).await;
    assert_eq!(state(&preview), ApprovalState::Denied);
    assert_eq!(needed(scene.execute(ADA, &confirmed(&preview, WHY)).await.unwrap_err()), ApprovalState::Denied);
    let anew = scene.asked().await;
    assert!(anew.id != asked.id && anew.state == ApprovalState::Pending);
}

#[tokio::test(start_paused = true)]
async fn an_approval_is_for_nobody_else_and_for_no_other_hold() {
    let scene = two_persons();
    let asked = scene.asked().await;
    scene.decide_as(&signed_in(BOB), &asked.id, Decision::Approve).await.unwrap();
    scene.attempts();
    // Neither for somebody else, nor for another lock, nor together with another one.
    let carols = scene.preview_a("carol").await;
    assert_eq!(needed(scene.execute("carol", &confirmed(&carols, WHY)).await.unwrap_err()), ApprovalState::Unasked);
    let other = scene.preview(ADA, vec![target("orders", "lock:b", "g2")]).await.unwrap();
    assert_eq!(needed(scene.execute(ADA, &confirmed(&other, WHY)).await.unwrap_err()), ApprovalState::Unasked);
    let both = vec![target("orders", "lock:a", "g1"), target("orders", "lock:b", "g2")];
    let both = scene.preview(ADA, both).await.unwrap();
    scene.execute(ADA, &ReleaseRequest { dry_run: true, ..confirmed(&both, WHY) }).await.unwrap();
    assert_eq!(needed(scene.execute(ADA, &confirmed(&both, WHY)).await.unwrap_err()), ApprovalState::Unasked);

    // The lock let go and was taken again: another generation, though the token is the same. Then another count.
    scene.fake.hold("lock:a", "alice", "g7");
    let taken_again = scene.preview(ADA, vec![target("orders", "lock:a", "g7")]).await.unwrap();
    assert_eq!(state(&taken_again), ApprovalState::Unasked);
    let refusal = scene.desk.approval(&signed_in(BOB), &asked.id, &Scope::everything()).await.unwrap_err();
    assert!(matches!(refusal, Refusal::ChangedHands { .. }), "the second person is told: {refusal:?}");
    scene.fake.hold("lock:a", "alice", "g1");
    let key = bytes::Bytes::from_static(b"lock:a");
    scene.fake.with(|world| world.held.get_mut(&key).unwrap().orders[0].count = 2);
    assert_eq!(state(&scene.preview_a(ADA).await), ApprovalState::Unasked);
    let shown = scene.desk.approval(&signed_in(BOB), &asked.id, &Scope::everything()).await.unwrap();
    assert!(!shown.is_unchanged);
    assert!(scene.attempts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn approvals_are_there_for_who_may_decide_them_and_for_who_asked() {
    let scene = two_persons();
    let asked = scene.asked().await;
    let role = |name: &str, right, keys: &[&str]| {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        Role { name: name.into(), groups: Vec::new(), grant: Grant::new([right], &[], &keys) }
    };
    let policy = Policy::new(vec![
        role("looks", Right::View, &[]),
        role("approves", Right::Approve, &[]),
        role("elsewhere", Right::Approve, &["lock:b"]),
    ]);
    let scope = |role: &str| {
        let roles = vec![role.into()];
        policy.scope(&Person {
            name: BOB.into(),
            via: Via::Password,
            roles,
            membership: crate::access::Membership::Named,
            only: None,
            session: None,
        })
    };
    let bob = signed_in(BOB);
    let ids = |scope: &Scope| scene.desk.approvals(&bob, scope).approvals.len();
    assert_eq!((ids(&scope("approves")), ids(&scope("looks")), ids(&scope("elsewhere"))), (1, 0, 0));
    for role in ["looks", "elsewhere"] {
        let refusal = scene.desk.approval(&bob, &asked.id, &scope(role)).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Approval(ApprovalRefusal::Unknown)), "{role}: {refusal:?}");
        let request = DecisionRequest { decision: Decision::Approve, reason: WHY.to_owned() };
        let refusal = scene.desk.decide(&bob, &asked.id, &request, &scope(role)).await.unwrap_err();
        assert_eq!(refusal.to_string(), "there is no such approval, or not any more", "{role}");
    }
    // Whoever asked sees it as long as the locks are there for them, and may not decide it.
    let ada = signed_in(ADA);
    assert!(!scene.desk.approvals(&ada, &scope("looks")).approvals[0].may_decide);
    assert!(scene.desk.approvals(&ada, &scope("elsewhere")).approvals.is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_a_second_person_somebody_who_has_just_signed_in_can_go_and_everybody_is_told() {
    let scene = two_persons();
    let preview = scene.preview_a(ADA).await;
    let ada = signed_in(ADA);
    let token = Actor { via: "token".to_owned(), ..ada.clone() };
    for (signed_in, who) in
        [(None, &ada), (Some(FRESH_SIGN_IN + Duration::from_millis(1)), &ada), (Some(Duration::ZERO), &token)]
    {
        let locks = vec![target("orders", "lock:a", "g1")];
        let request =
            lockkeeper_model::PreviewRequest { locks, action: Default::default(), hold_ms: None, leave_out: false };
        let preview = scene.desk.preview(who, &request, &Scope::everything()).await.unwrap();
        let refusal = scene.break_glass(who, &preview, signed_in).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Approval(ApprovalRefusal::StaleSignIn)), "{who:?}: {refusal:?}");
    }
    assert!(scene.attempts().is_empty());
    scene.replies([RELEASED]);
    let results = scene.break_glass(&ada, &preview, Some(FRESH_SIGN_IN)).await.unwrap();
    assert_eq!(only(&results), Outcome::Released);
    let asked = scene.fake.asked();
    let told = asked.iter().position(|asked| asked.starts_with("announce ")).unwrap();
    let tried = asked.iter().position(|asked| asked.starts_with("release ")).unwrap();
    assert!(told < tried && asked[told].contains("lock:a") && asked[told].contains(WHY), "{asked:?}");
    let written = scene.written(20).await;
    let glass = written.iter().position(|entry| entry.2 == "break_glass").unwrap();
    assert_eq!((written[glass].0, &*written[glass].1), (AuditKind::Approval, "lock:a"));
    assert_eq!(written[glass + 1].0, AuditKind::Intention);
}

#[tokio::test(start_paused = true)]
async fn break_glass_skips_the_second_person_and_nothing_else() {
    let scene = two_persons();
    let ada = signed_in(ADA);
    let both = vec![target("orders", "lock:a", "g1"), target("orders", "lock:b", "g2")];
    let preview = scene.preview(ADA, both).await.unwrap();
    let now = Some(Duration::ZERO);
    assert!(matches!(scene.break_glass(&ada, &preview, now).await, Err(Refusal::DryRunNeeded { .. })));
    let request = ReleaseRequest { break_glass: true, reason: String::new(), ..confirmed(&preview, WHY) };
    let answer = scene.desk.execute(&ada, &request, &Scope::everything(), now).await;
    assert!(matches!(answer, Err(Refusal::Reason { .. })));
    scene.fake.hold("lock:a", "bob", "g9");
    let preview = scene.preview(ADA, vec![target("orders", "lock:b", "g2")]).await.unwrap();
    scene.fake.hold("lock:b", "bob", "g9");
    assert_eq!(only(&scene.break_glass(&ada, &preview, now).await.unwrap()), Outcome::ChangedHands);
    // Where nobody else is needed it means nothing, and nobody is alarmed.
    let preview = scene.preview(ADA, vec![target("other", "lock:c", "g3")]).await.unwrap();
    scene.fake.asked();
    scene.replies([gone()]);
    assert_eq!(only(&scene.break_glass(&ada, &preview, None).await.unwrap()), Outcome::Gone);
    assert!(!scene.fake.asked().iter().any(|asked| asked.starts_with("announce ")));
}

fn permission(key: &str) -> Permission {
    let now = crate::clock::now();
    let tickets = Tickets::new();
    let hold = BoundHold {
        source: "orders".to_owned(),
        key: key.as_bytes().to_vec(),
        token: b"alice".to_vec(),
        generation: "g1".to_owned(),
        count: 1,
        fencing: None,
        mode: lockkeeper_model::Mode::Exclusive,
        hold_ms: None,
    };
    let ada = signed_in(ADA);
    let (ticket, _) = tickets.issue(&ada, Default::default(), "x", vec![hold], now).unwrap();
    tickets.check(&ticket, &ada, now).unwrap()
}

#[test]
fn an_approval_ends_by_itself_and_what_one_person_may_ask_for_is_bounded() {
    let (approvals, now) = (OpenApprovals::default(), crate::clock::now());
    let ada = signed_in(ADA);
    let (first, is_new) = approvals.ask(&ada, &permission("0"), WHY, now).unwrap();
    assert!(is_new);
    for n in 1..16 {
        approvals.ask(&ada, &permission(&n.to_string()), WHY, now.plus(1)).unwrap();
    }
    assert!(matches!(approvals.ask(&ada, &permission("one more"), WHY, now), Err(ApprovalRefusal::TooMany)));
    assert!(approvals.ask(&signed_in(BOB), &permission("one more"), WHY, now).is_ok());
    let end = now.plus(APPROVAL_LIFE_MS);
    assert!(approvals.find(&first.id, end.plus(-1)).is_some());
    let decided = Decided { by: signed_in(BOB), decision: Decision::Approve, reason: WHY.to_owned(), at: end.plus(-1) };
    approvals.decide(&first.id, decided.clone(), end.plus(-1)).unwrap();
    assert!(approvals.find(&first.id, end).is_none(), "approving it does not make it last longer");
    assert!(matches!(approvals.use_up(&first.id, end), Err(ApprovalRefusal::Needed(_))));
    assert!(matches!(approvals.decide(&first.id, decided, end), Err(ApprovalRefusal::Unknown)));
}
