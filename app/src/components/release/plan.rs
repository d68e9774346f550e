use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Action, Holder, OtherLocks, PreviewedLock, Strength, Time, Told};

use super::words::Words;
use crate::components::facts;
use crate::components::say::{self, Judgement, Look};
use crate::components::sentence::{verdict_on, whole};
use crate::components::verdict::verdict_class;
use crate::lang::{self, count, t};
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
        Told::AtOnce => t!(learns_of_it_at_once),
        Told::AtRenewal => t!(learns_of_it_when_it),
        Told::Never => t!(is_never_told),
    };
    let strength = match lock.strength {
        Strength::Atomic => match action {
            Action::Release => t!(compared_and_freed_in_one),
            Action::EvictWaiter => t!(compared_and_taken_out_in),
            Action::ReleaseAndHold => t!(compared_and_replaced_in_one),
            Action::ExtendHold | Action::RaiseFence => t!(compared_and_changed_in_one),
            Action::PutBack => t!(looked_at_and_put_back),
        },
        Strength::SessionExact => t!(names_one_session_that_can),
        Strength::CheckedThenActed => t!(compared_first_then_freed_between),
        Strength::Quorum => t!(compared_and_freed_in_one_step),
    };
    let collateral = match (lock.collateral.items.is_empty(), lock.collateral.complete) {
        (true, true) => t!(nothing_else).to_owned(),
        (true, false) => t!(nothing_else_is_known).to_owned(),
        (false, complete) => {
            let items = lock.collateral.items.iter().map(|item| shown(item)).collect::<Vec<_>>().join("; ");
            if complete { items } else { t!(maybe_more, items) }
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
            <dt>{t!(is_it_alive)}</dt>
            <dd>
                <span class=judged(|judgement| verdict_class(judgement.look).to_owned())>
                    {judged(|judgement| judgement.word.to_owned())}
                </span>
                {judged(|judgement| format!(": {}", shown(&judgement.evidence)))}
            </dd>
            {(!renewed.is_empty()).then(|| view! {
                <dt>{t!(renewed)}</dt>
                <dd lang=lang::of_the_server()>{renewed}</dd>
            })}
            {(!next.is_empty()).then(|| view! {
                <dt>{t!(who_is_next)}</dt>
                <dd lang=lang::of_the_server()>{next}</dd>
            })}
            {(lock.others.count > 0).then(|| view! {
                <dt>{t!(it_also_holds)}</dt>
                <dd>{others(&lock.others)}</dd>
            })}
            <dt>{t!(what_happens)}</dt>
            <dd><span lang=lang::of_the_server()>{whole(&lock.plan)}</span> " " <small>{strength}</small></dd>
            <dt>{words.whom_after}</dt>
            <dd>{told} {(!lock.told_because.is_empty()).then(|| format!(": {}", whole(&lock.told_because)))}</dd>
            <dt>{t!(also_ends)}</dt>
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
        said.push_str(&t!(and_more_in_plan, count(more as u64)));
    }
    if !others.complete {
        said.push_str(t!(and_maybe_others_not_all));
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
        _ => t!(for_so_long, say::held_for(&holder.held_since, now)),
    }
}

/// Whether it lives. A holder is judged as time passes; of a waiter nothing but the server's word is known.
fn judged(action: Action, holder: &Holder, now: Time) -> Judgement {
    let (verdict, evidence) = match action {
        Action::EvictWaiter | Action::PutBack => (holder.verdict, holder.evidence.clone()),
        _ => verdict_on(holder, now),
    };
    Judgement { word: lang::verdict(verdict), look: Look::Verdict(verdict), evidence: evidence.join("; ") }
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
