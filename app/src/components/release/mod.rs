//! The way to a release, or to whatever else is done to a lock: what would happen, what gives pause, the name typed, a
//! reason; and what became of it.

mod became;
mod form;
mod hold_time;
mod plan;
mod several;
mod words;

use became::Became;
use form::{Form, Ready};
use hold_time::HoldTime;
use several::{Results, summed_up};
use std::time::Duration;

use leptos::html;
use leptos::prelude::*;
use lockkeeper_model::words::{short_token, shown};
use lockkeeper_model::{
    Action, AfterState, Approval, ApprovalState, Flag, Holder, Lock, Outcome, PreviewAnswer, PreviewRequest,
    PreviewTarget, PreviewedLock, ReleaseAnswer, Time,
};
pub(crate) use plan::Plan;
use wasm_bindgen_futures::spawn_local;
use words::Words;

use super::drawer::{head, may_evict};
use super::say;
use super::sentence::whole;
use crate::lang::{self, duration, t};
use crate::live::answers::Refusal;
use crate::live::{Live, api};
use crate::ui::{When, flag, text};

/// How often it is looked whether the second person has decided: soon enough for two people on the phone.
const LOOK_FOR_APPROVAL: Duration = Duration::from_secs(2);

/// How far a release has come.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// The preview is asked for.
    Asking,
    /// There is no preview.
    Refused(Refusal),
    /// The person reads and types.
    Ready(PreviewAnswer),
    /// Somebody else was asked to approve it, and has until then.
    Waiting(String, Time),
    /// The release is under way.
    Sending,
    /// The server answered.
    Done(ReleaseAnswer),
    /// It did not, or not with results.
    Failed(Refusal),
}

/// What happened to the lock since its preview, if that makes the preview void.
fn changed_since(action: Action, preview: &PreviewedLock, lock: Option<&Lock>) -> Option<String> {
    let same = |lock: &Lock| match action {
        Action::Release | Action::ReleaseAndHold | Action::ExtendHold | Action::RaiseFence => {
            lock.generation == preview.generation
                || lock.holders.iter().any(|holder| holder.generation == preview.generation)
        }
        Action::PutBack => lock.holders.is_empty(),
        Action::EvictWaiter => {
            may_evict(lock) && head(lock).is_some_and(|head| head.token_b64.as_ref() == Some(&preview.holder.token_b64))
        }
    };
    let happened = match (lock, action) {
        (Some(lock), _) if same(lock) => return None,
        (None, Action::PutBack) => return None,
        (Some(Lock { holders, .. }), _) if !holders.is_empty() => {
            t!(it_changed_hands_while_you, named(&holders[0]))
        }
        (_, Action::Release) => t!(it_is_not_held_any).to_owned(),
        (_, Action::ReleaseAndHold | Action::ExtendHold | Action::RaiseFence | Action::PutBack) => {
            t!(it_is_not_held_any_more).to_owned()
        }
        (None, Action::EvictWaiter) => t!(nobody_waits_for_it_any).to_owned(),
        (Some(_), Action::EvictWaiter) => t!(the_queue_moved_while_you).to_owned(),
    };
    Some(t!(this_preview_is_void, happened))
}

/// A holder in one line: the token, and who that is.
fn named(holder: &Holder) -> String {
    let token = match &holder.token {
        Some(token) => short_token(token),
        None => format!("b64:{}", short_token(&holder.token_b64)),
    };
    match say::identity(&holder.identity) {
        Some(who) => format!("{token} ({who})"),
        None => token,
    }
}

/// The dialog.
#[component]
pub(crate) fn ReleaseDialog(
    /// What to do, and to what.
    request: PreviewRequest,
    /// What a person calls the lock.
    name: String,
    /// Set to `None` to close.
    releasing: RwSignal<Option<PreviewRequest>>,
    /// Told when it was tried, whatever came of it.
    #[prop(optional)]
    done: Option<Callback<()>>,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let step = RwSignal::new(Step::Asking);
    let form = RwSignal::new(Form::default());
    let dialog = NodeRef::<html::Dialog>::new();
    let action = request.action;
    let words = Words::of(action);
    let several = request.locks.len() > 1;
    let from = from(live, &request);
    let targets = StoredValue::new(request.locks.clone());
    let latest = RwSignal::new(Some(request));
    // The holds that the last preview was about: what was released is named by its generation when it is to come back.
    let previewed = StoredValue::new(Vec::<String>::new());
    let ask = move || {
        let Some(request) = latest.get_untracked() else { return };
        step.set(Step::Asking);
        form.set(Form::default());
        spawn_local(async move {
            let answer = api::preview(&request).await;
            // The dialog may have been closed meanwhile.
            let _ = step.try_set(match answer {
                Ok(preview) => {
                    previewed.set_value(preview.locks.iter().map(|lock| lock.generation.clone()).collect());
                    Step::Ready(preview)
                }
                Err(refusal) => Step::Refused(refusal),
            });
        });
    };
    let hold_for = Callback::new(move |ms| {
        latest.update(|request| {
            if let Some(request) = request {
                request.hold_ms = Some(ms);
            }
        });
        ask();
    });
    // A new preview is of what is on the screen now, not of what was there before.
    let ask_again = Callback::new(move |()| {
        let newer = live.detail.with_untracked(|detail| {
            // Several stay what they were when they were chosen: what changed hands since was not meant.
            let detail = detail.as_ref().filter(|_| !several);
            let lock = detail?.lock.as_ref()?;
            match action {
                // What was released is what can be put back, whatever is on the screen.
                Action::PutBack => None,
                Action::Release | Action::ReleaseAndHold | Action::ExtendHold | Action::RaiseFence => {
                    (lock.holders.len() == 1).then(|| (lock.generation.clone(), None))
                }
                Action::EvictWaiter => {
                    let head = head(lock).filter(|_| may_evict(lock))?;
                    Some((lock.generation.clone(), head.token_b64.clone()))
                }
            }
        });
        if let Some((generation, holder)) = newer {
            latest.update(|request| {
                if let Some(target) = request.as_mut().and_then(|request| request.locks.first_mut()) {
                    target.generation = generation;
                    target.holder = holder;
                }
            });
        }
        ask();
    });
    Effect::new(move |_| {
        if let Some(dialog) = dialog.get()
            && !dialog.open()
        {
            let _ = dialog.show_modal();
        }
    });
    ask();
    Effect::new(move |_| {
        if let (Step::Done(_), Some(done)) = (step.get(), done) {
            done.run(());
        }
    });
    let close = move || {
        if let Some(dialog) = dialog.get_untracked() {
            dialog.close();
        }
    };
    view! {
        <dialog class="release" aria-labelledby="release-title" node_ref=dialog on:close=move |_| releasing.set(None)>
            <h2 id="release-title">{lang::fill(words.title, [&name])}</h2>
            <small>{from}</small>
            <div class="results" role="status">
                {move || match step.get() {
                    Step::Done(answer) if several => {
                        view! {
                            <p class="say calm">
                                <b>{summed_up(&answer.results)}</b>
                            </p>
                            <Results results=answer.results action />
                        }
                            .into_any()
                    }
                    Step::Done(answer) => {
                        answer.results.into_iter().map(|result| view! { <Became result action /> }).collect_view().into_any()
                    }
                    _ => ().into_any(),
                }}
                <When holds=flag(move || lost(live, step))>
                    <p class="say warn">{t!(it_did_not_last)}</p>
                </When>
            </div>
            <When holds=flag(move || action.holds() && matches!(step.get(), Step::Asking | Step::Ready(_)))>
                <HoldTime hold_for />
            </When>
            {move || match step.get() {
                Step::Asking => view! { <p class="say calm">{t!(asking_what_would_happen)}</p> }.into_any(),
                Step::Refused(refusal) => {
                    view! {
                        <Refused refusal words />
                        <Ends close again=Some(ask_again) />
                    }
                        .into_any()
                }
                Step::Ready(preview) => view! { <Ready preview targets action form step close ask_again /> }.into_any(),
                Step::Waiting(id, until) => view! { <Waiting id until step ask close /> }.into_any(),
                Step::Sending => view! { <p class="say calm">{words.under_way}</p> }.into_any(),
                Step::Failed(refusal) => {
                    let again = refusal.ask_again.then_some(ask_again);
                    view! {
                        <Refused refusal words />
                        <Ends close again />
                    }
                        .into_any()
                }
                Step::Done(answer) => {
                    let former = previewed.with_value(|previewed| to_put_back(&answer, previewed));
                    let until = answer.results.first().and_then(|result| result.put_back_until);
                    let left = text(move || {
                        let left = until.map_or(0, |until| until.0 - live.running_now.get()).max(0) / 1_000;
                        t!(put_back_s, left)
                    });
                    let is_left = flag(move || until.is_some_and(|until| until.0 > live.running_now.get()));
                    view! {
                        {former.map(|request| {
                            let request = StoredValue::new(request);
                            view! {
                                <When holds=is_left>
                                    <p>
                                        <button
                                            type="button"
                                            class="plain"
                                            on:click=move |_| releasing.set(Some(request.get_value()))
                                        >
                                            {left}
                                        </button>
                                        " "
                                        <small>{t!(was_it_the_wrong_one)}</small>
                                    </p>
                                </When>
                            }
                        })}
                        <Ends close again=None />
                    }
                        .into_any()
                }
            }}
        </dialog>
    }
}

/// Whether the store lost the release that was answered, as the lock beside the dialog shows.
fn lost(live: Live, step: RwSignal<Step>) -> bool {
    let is_lost = live.detail.with(|detail| {
        let lock = detail.as_ref().and_then(|detail| detail.lock.as_ref());
        lock.filter(|lock| lock.flags.contains(&Flag::ReleaseLost)).map(|lock| (lock.source.clone(), lock.id.clone()))
    });
    let Some((source, id)) = is_lost else { return false };
    step.with(|step| match step {
        // What the answer says itself is not said twice.
        Step::Done(answer) => answer.results.iter().any(|result| {
            let is_told = result.after.as_ref().is_some_and(|after| after.state == AfterState::ReleaseLost);
            result.source == source && result.id == id && result.outcome == Outcome::Released && !is_told
        }),
        _ => false,
    })
}

/// The sources of what is asked for, each with its environment.
fn from(live: Live, request: &PreviewRequest) -> String {
    let mut names: Vec<&str> = request.locks.iter().map(|target| target.source.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let said: Vec<String> = live.sources.with_untracked(|sources| {
        let environment = |name: &str| sources.iter().find(|known| known.name == name)?.environment.as_deref();
        names
            .into_iter()
            .map(|name| match environment(name) {
                Some(environment) => format!("{} · {}", shown(name), shown(environment)),
                None => shown(name),
            })
            .collect()
    });
    said.join(", ")
}

/// Asks for what was released to be given back to its former holder, where that can be done.
fn to_put_back(answer: &ReleaseAnswer, generations: &[String]) -> Option<PreviewRequest> {
    let ([result], [generation]) = (&answer.results[..], generations) else { return None };
    result.put_back_until?;
    let (source, id, generation) = (result.source.clone(), result.id.clone(), generation.clone());
    let target = PreviewTarget { source, id, generation, holder: None };
    Some(PreviewRequest { locks: vec![target], action: Action::PutBack, hold_ms: None, leave_out: false })
}

/// Why it did not go on.
#[component]
fn Refused(refusal: Refusal, words: Words) -> impl IntoView {
    view! {
        <div class="say bad" role="alert">
            <b>{words.not_confirmed} " "</b>
            {whole(&refusal.detail)}
            {refusal.hint.map(|hint| view! { <p>{shown(&hint)}</p> })}
        </div>
    }
}

/// Waits for the word of a second person.
#[component]
fn Waiting(
    id: String,
    until: Time,
    step: RwSignal<Step>,
    ask: impl Fn() + Copy + Send + Sync + 'static,
    close: impl Fn() + 'static,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let id = StoredValue::new(id);
    let look = move || {
        spawn_local(async move {
            let all = api::approvals().await;
            let Some(wanted) = id.try_get_value() else { return };
            let Some(found) = all.into_iter().find(|approval| approval.id == wanted) else { return };
            match found.state {
                // A fresh preview: what was approved is bound to the hold, and the hold may have gone meanwhile.
                ApprovalState::Approved => ask(),
                ApprovalState::Denied => step.set(Step::Refused(denied(&found))),
                ApprovalState::Pending | ApprovalState::Unasked => {}
            }
        });
    };
    if let Ok(every) = set_interval_with_handle(look, LOOK_FOR_APPROVAL) {
        on_cleanup(move || every.clear());
    }
    let left = text(move || {
        let left = (until.0 - live.running_now.get()).max(0);
        t!(asked_waiting_for_somebody_who, duration(left / 1_000 * 1_000))
    });
    view! {
        <p class="say calm" role="status">
            {t!(a_second_person_was_asked)}
        </p>
        <p>
            <small>{left} {t!(you_may_close_this_the)}</small>
        </p>
        <Ends close again=None />
    }
}

/// What a denial says.
fn denied(approval: &Approval) -> Refusal {
    let who = approval.decided_by.as_ref().map_or_else(|| t!(somebody_capital).to_owned(), |actor| shown(&actor.name));
    let because = approval.decided_because.as_deref().filter(|because| !because.is_empty());
    let detail = match because {
        Some(because) => t!(denied_it_because, who, shown(because)),
        None => t!(denied_it, who),
    };
    Refusal { detail, hint: None, ask_again: false }
}

/// The buttons under something that is over.
#[component]
fn Ends(close: impl Fn() + 'static, again: Option<Callback<()>>) -> impl IntoView {
    view! {
        <div class="acts">
            {again.map(|again| view! {
                <button type="button" class="plain" on:click=move |_| again.run(())>
                    {t!(new_preview)}
                </button>
            })}
            <span class="spread"></span>
            <button type="button" class="plain" on:click=move |_| close()>
                {t!(close)}
            </button>
        </div>
    }
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{Collateral, ReleaseResult, Strength, Time, Told, Warning};

    use super::*;
    use crate::fixtures::{lock, stuck};

    pub(super) fn previewed() -> PreviewedLock {
        let lock = lock();
        PreviewedLock {
            source: lock.source,
            id: lock.id,
            name: lock.name,
            generation: lock.generation,
            holder: lock.holders[0].clone(),
            strength: Strength::Atomic,
            told: Told::AtRenewal,
            told_because: String::new(),
            plan: String::new(),
            collateral: Collateral::default(),
            waiters: None,
            next: String::new(),
            renewed: String::new(),
            others: Default::default(),
            actions: Vec::new(),
            warnings: vec![Warning { code: "holder_alive".to_owned(), text: "alive".to_owned() }],
        }
    }

    #[test]
    fn a_lock_that_changes_hands_makes_the_preview_void() {
        let mut now = lock();
        assert_eq!(changed_since(Action::Release, &previewed(), Some(&now)), None);
        now.generation = "g2".to_owned();
        now.holders[0].generation = "h2".to_owned();
        let said = changed_since(Action::Release, &previewed(), Some(&now)).unwrap();
        assert!(said.contains("0f8e41…0003 (worker-3, process 42) has it now"), "{said}");
        assert!(changed_since(Action::Release, &previewed(), None).unwrap().contains("not held any more"));
    }

    #[test]
    fn what_is_to_be_put_back_is_void_as_soon_as_somebody_has_it() {
        let changed = |lock: Option<&Lock>| changed_since(Action::PutBack, &previewed(), lock);
        assert_eq!((changed(None), changed(Some(&stuck()))), (None, None));
        assert!(changed(Some(&lock())).unwrap().contains("has it now"));
    }

    #[test]
    fn what_was_released_is_put_back_by_the_generation_that_was_released() {
        let result = ReleaseResult {
            source: "orders".to_owned(),
            id: lock().id,
            outcome: Outcome::Released,
            detail: String::new(),
            holder_now: None,
            woken: None,
            after: None,
            held_until: None,
            put_back_until: Some(Time(9)),
            nodes: Vec::new(),
        };
        let mut answer = ReleaseAnswer { results: vec![result] };
        let request = to_put_back(&answer, &["h1".to_owned()]).unwrap();
        assert_eq!((request.action, request.locks[0].generation.as_str()), (Action::PutBack, "h1"));
        assert_eq!(to_put_back(&answer, &[]), None);
        answer.results[0].put_back_until = None;
        assert_eq!(to_put_back(&answer, &["h1".to_owned()]), None);
    }

    #[test]
    fn an_eviction_is_void_as_soon_as_another_is_at_the_head_or_somebody_has_it() {
        let mut preview = previewed();
        preview.holder.token_b64 = "Yjo3".to_owned();
        let changed = |lock: Option<&Lock>| changed_since(Action::EvictWaiter, &preview, lock);
        let mut now = stuck();
        assert_eq!(changed(Some(&now)), None);
        now.waiters.list[0].token_b64 = Some("Yzo4".to_owned());
        assert!(changed(Some(&now)).unwrap().contains("another is at its head"));
        assert!(changed(Some(&lock())).unwrap().contains("(worker-3, process 42) has it now"));
        assert!(changed(None).unwrap().contains("there is nobody to evict"));
    }
}
