use leptos::prelude::*;
use lockkeeper_model::words::{count, shown};
use lockkeeper_model::{Action, Holder, OtherLocks, PreviewedLock, Strength, Time, Told};

use super::words::Words;
use crate::components::facts;
use crate::components::say::{self, Judgement, Look};
use crate::components::sentence::{verdict_on, whole};
use crate::components::verdict::verdict_class;
use crate::live::Live;
use crate::ui::text;

/// What would happen to one lock.
#[component]
pub(crate) fn Plan(lock: PreviewedLock, action: Action) -> impl IntoView {
    let live = expect_context::<Live>();
    let words = Words::of(action);
    let holder = lock.holder.clone();
    let so_far = {
        let holder = holder.clone();
        text(move || so_far(action, &holder, Time(live.running_now.get())))
    };
    let judged = move |said: fn(Judgement) -> String| {
        let holder = holder.clone();
        text(move || said(judged(action, &holder, Time(live.running_now.get()))))
    };
    let told = match lock.told {
        Told::AtOnce => "learns of it at once",
        Told::AtRenewal => "learns of it when it next renews or lets go",
        Told::Never => "is never told",
    };
    let strength = match lock.strength {
        Strength::Atomic => match action {
            Action::Release => "Compared and freed in one step of the store.",
            Action::EvictWaiter => "Compared and taken out in one step of the store.",
            Action::ReleaseAndHold => "Compared and replaced in one step of the store: nobody gets in between.",
            Action::ExtendHold | Action::RaiseFence => "Compared and changed in one step of the store.",
            Action::PutBack => "Looked at and put back in one step of the store, only if nobody has it.",
        },
        Strength::SessionExact => "Names one session that can never be another's.",
        Strength::CheckedThenActed => "Compared first, then freed: between the two there is a moment.",
        Strength::Quorum => "Compared and freed in one step on each of its masters, one master after the other.",
    };
    let collateral = match (lock.collateral.items.is_empty(), lock.collateral.complete) {
        (true, true) => "nothing else".to_owned(),
        (true, false) => "nothing else is known".to_owned(),
        (false, complete) => {
            let items = lock.collateral.items.iter().map(|item| shown(item)).collect::<Vec<_>>().join("; ");
            if complete { items } else { format!("{items}; maybe more") }
        }
    };
    let (renewed, next) = (whole(&lock.renewed), whole(&lock.next));
    let who = say::identity(&lock.holder.identity).map(|who| format!(", {who}"));
    view! {
        <dl class="plan">
            <dt>{words.whom}</dt>
            <dd>
                <code>{say::token(&lock.holder)}</code>
                {who}
                {so_far}
            </dd>
            <dt>"Is it alive?"</dt>
            <dd>
                <span class=judged(|judgement| verdict_class(judgement.look).to_owned())>
                    {judged(|judgement| judgement.word.to_owned())}
                </span>
                {judged(|judgement| format!(": {}", shown(&judgement.evidence)))}
            </dd>
            {(!renewed.is_empty()).then(|| view! {
                <dt>"Renewed"</dt>
                <dd>{renewed}</dd>
            })}
            {(!next.is_empty()).then(|| view! {
                <dt>"Who is next"</dt>
                <dd>{next}</dd>
            })}
            {(lock.others.count > 0).then(|| view! {
                <dt>"It also holds"</dt>
                <dd>{others(&lock.others)}</dd>
            })}
            <dt>"What happens"</dt>
            <dd>{whole(&lock.plan)} " " <small>{strength}</small></dd>
            <dt>{words.whom_after}</dt>
            <dd>{told} {(!lock.told_because.is_empty()).then(|| format!(": {}", whole(&lock.told_because)))}</dd>
            <dt>"Also ends"</dt>
            <dd>{collateral}</dd>
        </dl>
    }
}

/// What else the holder has: some of it by name.
fn others(others: &OtherLocks) -> String {
    let named: Vec<String> = others.list.iter().map(|id| shown(id.as_str())).collect();
    let more = (others.count as usize).saturating_sub(named.len());
    let mut said = named.join(", ");
    if more > 0 {
        said.push_str(&format!(" and {} more", count(more as u64)));
    }
    if !others.complete {
        said.push_str(", and maybe others: not all locks were looked through");
    }
    said
}

/// For how long a holder has had it, or how long a waiter keeps its place.
fn so_far(action: Action, holder: &Holder, now: Time) -> String {
    match action {
        Action::EvictWaiter => {
            facts::place(holder.lease.expires_at, now).map(|place| format!(", {place}")).unwrap_or_default()
        }
        Action::PutBack => String::new(),
        _ => format!(", for {}", say::held_for(&holder.held_since, now)),
    }
}

/// Whether it lives. A holder is judged as time passes; of a waiter nothing but the server's word is known.
fn judged(action: Action, holder: &Holder, now: Time) -> Judgement {
    let (verdict, evidence) = match action {
        Action::EvictWaiter | Action::PutBack => (holder.verdict, holder.evidence.clone()),
        _ => verdict_on(holder, now),
    };
    Judgement { word: verdict.word(), look: Look::Verdict(verdict), evidence: evidence.join("; ") }
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{LockId, Renewals, Verdict};

    use super::*;
    use crate::fixtures::lock;

    #[test]
    fn other_locks_are_named_counted_and_never_said_to_be_all_where_they_may_not_be() {
        let list = vec![LockId::of_key(b"lock:a"), LockId::of_key(b"lock:b\x1b")];
        assert_eq!(others(&OtherLocks { count: 2, complete: true, list: list.clone() }), "lock:a, lock:b\\u{1b}");
        let said = others(&OtherLocks { count: 1_200, complete: false, list });
        assert!(said.contains("and 1,198 more, and maybe others"), "{said}");
    }

    #[test]
    fn a_waiter_is_not_said_to_hold_anything_and_is_judged_by_the_server_alone() {
        let mut waiter = lock().holders.remove(0);
        assert_eq!(so_far(Action::Release, &waiter, Time(60_000)), ", for 1 m 00 s");
        assert_eq!(so_far(Action::EvictWaiter, &waiter, Time(60_000)), ", keeps its place for 30 s");
        (waiter.verdict, waiter.renewals) = (Verdict::Gone, Renewals::default());
        waiter.evidence = vec!["nobody listens".to_owned()];
        let said = judged(Action::EvictWaiter, &waiter, Time(60_000));
        assert_eq!((said.word, said.evidence.as_str()), ("gone", "nobody listens"));
    }
}
