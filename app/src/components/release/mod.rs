use leptos::html;
use leptos::prelude::*;
use lockkeeper_model::words::{duration, short_token, shown};
use lockkeeper_model::{
    Action, After, AfterState, Holder, Lock, Outcome, PreviewAnswer, PreviewRequest, PreviewTarget, PreviewedLock,
    ReleaseAnswer, ReleaseRequest, ReleaseResult, Strength, Time, Told,
};
use wasm_bindgen_futures::spawn_local;

use super::say::{self, Judgement, Look};
use super::sentence::{capital, verdict_on};
use super::verdict::verdict_class;
use crate::live::answers::Refusal;
use crate::live::{Live, api};
use crate::ui::{When, flag, maybe, text};

/// How far a release has come.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// The preview is asked for.
    Asking,
    /// There is no preview.
    Refused(Refusal),
    /// The person reads and types.
    Ready(PreviewAnswer),
    /// The release is under way.
    Sending,
    /// The server answered.
    Done(ReleaseAnswer),
    /// It did not, or not with results.
    Failed(Refusal),
}

/// What the person has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Form {
    ticked: Vec<usize>,
    confirm: String,
    reason: String,
}

impl Form {
    /// Whether everything that was asked of the person is done.
    fn is_complete(&self, preview: &PreviewAnswer) -> bool {
        let warnings: usize = preview.locks.iter().map(|lock| lock.warnings.len()).sum();
        self.ticked.len() == warnings
            && self.confirm == preview.confirm
            && (!preview.reason_required || !self.reason.trim().is_empty())
    }
}

/// What happened to the lock since its preview, if that makes the preview void.
fn changed_since(preview: &PreviewedLock, lock: Option<&Lock>) -> Option<String> {
    let Some(lock) = lock else {
        return Some("It is not held any more: there is nothing to release.".to_owned());
    };
    let same = lock.generation == preview.generation
        || lock.holders.iter().any(|holder| holder.generation == preview.generation);
    if same {
        return None;
    }
    let now = lock.holders.first().map_or_else(|| "somebody else".to_owned(), named);
    Some(format!("It changed hands while you were reading: {now} has it now. This preview is void."))
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

/// The way to a release: what would happen, what gives pause, the name typed, a reason; and what became of it.
#[component]
pub(crate) fn ReleaseDialog(
    /// What to release.
    target: PreviewTarget,
    /// What a person calls it.
    name: String,
    /// Set to `None` to close.
    releasing: RwSignal<Option<PreviewTarget>>,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let step = RwSignal::new(Step::Asking);
    let form = RwSignal::new(Form::default());
    let dialog = NodeRef::<html::Dialog>::new();
    let source = target.source.clone();
    let latest = RwSignal::new(Some(target));
    let ask = move || {
        step.set(Step::Asking);
        form.set(Form::default());
        let request = PreviewRequest { locks: latest.get_untracked().into_iter().collect(), action: Action::Release };
        spawn_local(async move {
            let answer = api::preview(&request).await;
            // The dialog may have been closed meanwhile.
            let _ = step.try_set(match answer {
                Ok(preview) => Step::Ready(preview),
                Err(refusal) => Step::Refused(refusal),
            });
        });
    };
    // A new preview is of what is on the screen now, not of what was there before.
    let ask_again = Callback::new(move |()| {
        let newer = live.detail.with_untracked(|detail| {
            let lock = detail.as_ref()?.lock.as_ref()?;
            (lock.holders.len() == 1).then(|| lock.generation.clone())
        });
        if let Some(generation) = newer {
            latest.update(|target| {
                if let Some(target) = target {
                    target.generation = generation;
                    target.holder = None;
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
    let environment = {
        let source = source.clone();
        live.sources.with_untracked(|sources| {
            sources.iter().find(|known| known.name == source).and_then(|known| known.environment.clone())
        })
    };
    let from = {
        let source = shown(&source);
        environment.map_or_else(|| source.clone(), |environment| format!("{source} · {}", shown(&environment)))
    };
    let close = move || {
        if let Some(dialog) = dialog.get_untracked() {
            dialog.close();
        }
    };
    view! {
        <dialog class="release" aria-labelledby="release-title" node_ref=dialog on:close=move |_| releasing.set(None)>
            <h2 id="release-title">{format!("Release {name}?")}</h2>
            <small>{from}</small>
            <div class="results" role="status">
                {move || match step.get() {
                    Step::Done(answer) => answer.results.into_iter().map(|result| view! { <Became result /> }).collect_view(),
                    _ => Vec::new(),
                }}
            </div>
            {move || match step.get() {
                Step::Asking => view! { <p class="say calm">"Asking what would happen…"</p> }.into_any(),
                Step::Refused(refusal) => {
                    view! {
                        <Refused refusal />
                        <Ends close again=Some(ask_again) />
                    }
                        .into_any()
                }
                Step::Ready(preview) => view! { <Ready preview form step close ask_again /> }.into_any(),
                Step::Sending => view! { <p class="say calm">"Releasing…"</p> }.into_any(),
                Step::Failed(refusal) => {
                    let again = refusal.ask_again.then_some(ask_again);
                    view! {
                        <Refused refusal />
                        <Ends close again />
                    }
                        .into_any()
                }
                Step::Done(_) => view! { <Ends close again=None /> }.into_any(),
            }}
        </dialog>
    }
}

/// Why it did not go on.
#[component]
fn Refused(refusal: Refusal) -> impl IntoView {
    view! {
        <div class="say bad" role="alert">
            <b>"Nothing was confirmed as released. "</b>
            {shown(&refusal.detail)}
            {refusal.hint.map(|hint| view! { <p>{shown(&hint)}</p> })}
        </div>
    }
}

/// The buttons under something that is over.
#[component]
fn Ends(close: impl Fn() + 'static, again: Option<Callback<()>>) -> impl IntoView {
    view! {
        <div class="acts">
            {again.map(|again| view! {
                <button type="button" class="plain" on:click=move |_| again.run(())>
                    "New preview"
                </button>
            })}
            <span class="spread"></span>
            <button type="button" class="plain" on:click=move |_| close()>
                "Close"
            </button>
        </div>
    }
}

/// The plan, the warnings, the fields, and the button that stays dead until all of them are done.
#[component]
fn Ready(
    preview: PreviewAnswer,
    form: RwSignal<Form>,
    step: RwSignal<Step>,
    close: impl Fn() + 'static,
    ask_again: Callback<()>,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let left = {
        let end = preview.expires_at;
        Memo::new(move |_| (end.0 - live.running_now.get()).max(0) / 1_000)
    };
    let locks = StoredValue::new(preview.locks.clone());
    let changed = Memo::new(move |_| {
        live.detail.with(|detail| {
            let lock = detail.as_ref()?.lock.as_ref();
            locks.with_value(|locks| locks.iter().find_map(|previewed| changed_since(previewed, lock)))
        })
    });
    let complete = {
        let preview = preview.clone();
        Memo::new(move |_| form.with(|form| form.is_complete(&preview)))
    };
    let ready = move || complete.get() && changed.with(Option::is_none) && left.get() > 0;
    let ticket = preview.ticket.clone();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        if !ready() {
            return;
        }
        let Form { confirm, reason, .. } = form.get_untracked();
        let request = ReleaseRequest { ticket: ticket.clone(), confirm, reason };
        step.set(Step::Sending);
        spawn_local(async move {
            let answer = api::release(&request).await;
            let _ = step.try_set(match answer {
                Ok(answer) => Step::Done(answer),
                Err(refusal) => Step::Failed(refusal),
            });
        });
    };
    let warnings: Vec<String> =
        preview.locks.iter().flat_map(|lock| &lock.warnings).map(|warning| shown(&warning.text)).collect();
    let required = preview.reason_required;
    view! {
        <form on:submit=submit>
            {preview.locks.iter().map(|lock| view! { <Plan lock=lock.clone() /> }).collect_view()}
            {warnings
                .into_iter()
                .enumerate()
                .map(|(at, text)| {
                    let tick = move |event: leptos::ev::Targeted<leptos::ev::Event, web_sys::HtmlInputElement>| {
                        let ticked = event.target().checked();
                        form.update(|form| {
                            if ticked {
                                form.ticked.push(at);
                            } else {
                                form.ticked.retain(|ticked| *ticked != at);
                            }
                        });
                    };
                    view! {
                        <label class="tick">
                            <input type="checkbox" on:change:target=tick />
                            <span>{text}</span>
                        </label>
                    }
                })
                .collect_view()}
            <label class="field" for="release-confirm">
                "Type "
                <code>{shown(&preview.confirm)}</code>
                " to confirm"
            </label>
            <input
                id="release-confirm"
                class="typed"
                type="text"
                autocomplete="off"
                autocapitalize="off"
                spellcheck="false"
                on:input:target=move |event| form.update(|form| form.confirm = event.target().value())
            />
            <label class="field" for="release-reason">
                "Why"
            </label>
            <input
                id="release-reason"
                class="typed"
                type="text"
                autocomplete="off"
                required=required
                aria-describedby="release-reason-hint"
                on:input:target=move |event| form.update(|form| form.reason = event.target().value())
            />
            <small id="release-reason-hint">
                {if required { "Required. " } else { "" }}
                "Written to the log of the server before anything is tried."
            </small>
            <When holds=flag(move || changed.with(Option::is_some))>
                <p class="say bad" role="alert">{maybe(move || changed.get())}</p>
            </When>
            <div class="acts">
                <button type="submit" class="danger" disabled=flag(move || !ready())>
                    "Release"
                </button>
                <When holds=flag(move || left.get() == 0 || changed.with(Option::is_some))>
                    <button type="button" class="plain" on:click=move |_| ask_again.run(())>
                        "New preview"
                    </button>
                </When>
                <span class="spread"></span>
                <small>
                    {text(move || match left.get() {
                        0 => "expired: ask for a new preview".to_owned(),
                        left => format!("valid for {left} s"),
                    })}
                </small>
                <button type="button" class="plain" on:click=move |_| close()>
                    "Cancel"
                </button>
            </div>
        </form>
    }
}

/// What would happen to one lock.
#[component]
fn Plan(lock: PreviewedLock) -> impl IntoView {
    let live = expect_context::<Live>();
    let holder = lock.holder.clone();
    let held = {
        let holder = holder.clone();
        text(move || format!(", for {}", say::held_for(&holder.held_since, Time(live.running_now.get()))))
    };
    let judged = move |said: fn(Judgement) -> String| {
        let holder = holder.clone();
        text(move || {
            let (verdict, evidence) = verdict_on(&holder, Time(live.running_now.get()));
            said(Judgement { word: verdict.word(), look: Look::Verdict(verdict), evidence: evidence.join("; ") })
        })
    };
    let told = match lock.told {
        Told::AtOnce => "learns of it at once",
        Told::AtRenewal => "learns of it when it next renews or lets go",
        Told::Never => "is never told",
    };
    let strength = match lock.strength {
        Strength::Atomic => "Compared and freed in one step of the store.",
        Strength::SessionExact => "Names one session that can never be another's.",
        Strength::CheckedThenActed => "Compared first, then freed: between the two there is a moment.",
        Strength::Quorum => "One step on each of its masters.",
    };
    let collateral = match (lock.collateral.items.is_empty(), lock.collateral.complete) {
        (true, true) => "nothing else".to_owned(),
        (true, false) => "nothing else is known".to_owned(),
        (false, complete) => {
            let items = lock.collateral.items.iter().map(|item| shown(item)).collect::<Vec<_>>().join("; ");
            if complete { items } else { format!("{items}; maybe more") }
        }
    };
    let who = say::identity(&lock.holder.identity).map(|who| format!(", {who}"));
    view! {
        <dl class="plan">
            <dt>"Held by"</dt>
            <dd>
                <code>{say::token(&lock.holder)}</code>
                {who}
                {held}
            </dd>
            <dt>"Is it alive?"</dt>
            <dd>
                <span class=judged(|judgement| verdict_class(judgement.look).to_owned())>
                    {judged(|judgement| judgement.word.to_owned())}
                </span>
                {judged(|judgement| format!(": {}", shown(&judgement.evidence)))}
            </dd>
            <dt>"What happens"</dt>
            <dd>{shown(&lock.plan)} " " <small>{strength}</small></dd>
            <dt>"The old holder"</dt>
            <dd>{told} {(!lock.told_because.is_empty()).then(|| format!(": {}", shown(&lock.told_because)))}</dd>
            <dt>"Also ends"</dt>
            <dd>{collateral}</dd>
        </dl>
    }
}

/// What became of one lock, in words.
#[component]
fn Became(result: ReleaseResult) -> impl IntoView {
    let class = match result.outcome {
        Outcome::Released | Outcome::Held => "say good",
        Outcome::Signalled | Outcome::Partial | Outcome::Unknown => "say warn",
        Outcome::ChangedHands | Outcome::Gone | Outcome::Refused | Outcome::Failed => "say bad",
    };
    let now = result.holder_now.as_ref().map(|holder| format!(" {} has it now.", named(holder)));
    view! {
        <p class=class>
            <b>{say::outcome(result.outcome)}</b>
            " "
            {capital(&result.detail)}
            {now}
        </p>
        {result.after.map(|after| view! { <p>{after_said(&after)}</p> })}
    }
}

fn after_said(after: &After) -> String {
    let watched = duration(after.watched_ms);
    let who = after.holder.as_ref().map_or_else(|| "somebody".to_owned(), named);
    match after.state {
        AfterState::Free => format!("Nobody took it in the {watched} that it was watched afterwards."),
        AfterState::Taken => format!("It was taken by {who} within {watched}."),
        AfterState::CameBack => format!("The same token is back: {who} took it again within {watched}."),
    }
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{Collateral, Warning};

    use super::*;
    use crate::fixtures::lock;

    fn previewed() -> PreviewedLock {
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
            warnings: vec![Warning { code: "holder_alive".to_owned(), text: "alive".to_owned() }],
        }
    }

    #[test]
    fn the_button_stays_dead_until_everything_is_done() {
        let preview = PreviewAnswer {
            ticket: "t".to_owned(),
            expires_at: Time(0),
            confirm: "stock:4711".to_owned(),
            reason_required: true,
            locks: vec![previewed()],
        };
        let mut form = Form { confirm: "stock:4711".to_owned(), reason: " ".to_owned(), ..Form::default() };
        assert!(!form.is_complete(&preview));
        form.ticked.push(0);
        assert!(!form.is_complete(&preview));
        form.reason = "INC-2041".to_owned();
        assert!(form.is_complete(&preview));
        form.confirm = "stock:471".to_owned();
        assert!(!form.is_complete(&preview));
    }

    #[test]
    fn a_lock_that_changes_hands_makes_the_preview_void() {
        let mut now = lock();
        assert_eq!(changed_since(&previewed(), Some(&now)), None);
        now.generation = "g2".to_owned();
        now.holders[0].generation = "h2".to_owned();
        let said = changed_since(&previewed(), Some(&now)).unwrap();
        assert!(said.contains("0f8e41…0003 (worker-3, process 42) has it now"), "{said}");
        assert!(changed_since(&previewed(), None).unwrap().contains("not held any more"));
    }
}
