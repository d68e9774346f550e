use leptos::html;
use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Approval, Decision, ShownApproval};
use wasm_bindgen_futures::spawn_local;

use super::said;
use crate::components::release::Plan;
use crate::components::sentence::whole;
use crate::lang::t;
use crate::live::answers::Refusal;
use crate::live::api;
use crate::ui::{When, flag, maybe, text};

/// The same preview as the other person saw, made afresh, and a word on it.
#[component]
pub(crate) fn DecideDialog(
    /// What is asked.
    request: Approval,
    /// Set to `None` to close.
    deciding: RwSignal<Option<String>>,
    /// Looks again at what waits.
    look: Callback<()>,
) -> impl IntoView {
    let dialog = NodeRef::<html::Dialog>::new();
    let seen = RwSignal::new(None::<Result<ShownApproval, Refusal>>);
    let reason = RwSignal::new(String::new());
    let outcome = RwSignal::new(None::<Result<Approval, Refusal>>);
    let sending = RwSignal::new(false);
    let id = StoredValue::new(request.id.clone());
    spawn_local(async move {
        let answer = api::approval(&id.get_value()).await;
        let _ = seen.try_set(Some(answer));
    });
    Effect::new(move |_| {
        if let Some(dialog) = dialog.get()
            && !dialog.open()
        {
            let _ = dialog.show_modal();
        }
    });
    let close = move |_| {
        if let Some(dialog) = dialog.get_untracked() {
            dialog.close();
        }
    };
    let decide = move |decision: Decision| {
        if sending.get_untracked() {
            return;
        }
        sending.set(true);
        let reason = reason.get_untracked();
        spawn_local(async move {
            let answer = api::decide(&id.get_value(), decision, reason).await;
            let _ = outcome.try_set(Some(answer));
            let _ = sending.try_set(false);
            look.run(());
        });
    };
    let is_open = flag(move || outcome.with(|outcome| !matches!(outcome, Some(Ok(_)))));
    let is_unchanged = flag(move || seen.with(|seen| matches!(seen, Some(Ok(seen)) if seen.is_unchanged)));
    let is_ready = move || is_unchanged.get() && !reason.with(|reason| reason.trim().is_empty()) && !sending.get();
    let refused = maybe(move || {
        let of = |refusal: &Refusal| whole(&refusal.detail);
        let late = outcome.with(|outcome| outcome.as_ref().and_then(|outcome| outcome.as_ref().err().map(of)));
        let early = seen.with(|seen| seen.as_ref().and_then(|seen| seen.as_ref().err().map(of)));
        let changed = seen.with(|seen| matches!(seen, Some(Ok(seen)) if !seen.is_unchanged));
        let changed = changed.then(|| t!(what_was_asked_for_is).to_owned());
        late.or(early).or(changed)
    });
    let action = request.action;
    let title = said(&request);
    view! {
        <dialog class="release" aria-labelledby="decide-title" node_ref=dialog on:close=move |_| deciding.set(None)>
            <h2 id="decide-title">{t!(approve_question)}</h2>
            <p>{title}</p>
            {move || {
                let locks = seen.with(|seen| match seen {
                    Some(Ok(seen)) => seen.locks.clone(),
                    _ => Vec::new(),
                });
                locks
                    .into_iter()
                    .map(|lock| {
                        let warnings: Vec<String> = lock.warnings.iter().map(|warning| whole(&warning.text)).collect();
                        view! {
                            <Plan lock action />
                            <ul class="warnings">{warnings.into_iter().map(|text| view! { <li>{text}</li> }).collect_view()}</ul>
                        }
                    })
                    .collect_view()
            }}
            <p class="say bad" role="alert" hidden=flag(move || refused.with(Option::is_none))>
                {refused}
            </p>
            <p class="say good" role="status" hidden=is_open>
                {maybe(move || outcome.with(|outcome| outcome.as_ref()?.as_ref().ok().map(decided)))}
            </p>
            <When holds=is_open>
                <label class="field" for="decide-reason">
                    {t!(why)}
                </label>
                <input
                    id="decide-reason"
                    class="typed"
                    type="text"
                    autocomplete="off"
                    on:input:target=move |event| reason.set(event.target().value())
                />
            </When>
            <div class="acts">
                <When holds=is_open>
                    <button type="button" class="danger" disabled=flag(move || !is_ready()) on:click=move |_| decide(Decision::Approve)>
                        {t!(approve)}
                    </button>
                    <button type="button" class="plain" disabled=flag(move || sending.get()) on:click=move |_| decide(Decision::Deny)>
                        {t!(deny)}
                    </button>
                </When>
                <span class="spread"></span>
                <button type="button" class="plain" on:click=close>
                    {text(move || if is_open.get() { t!(cancel) } else { t!(close) })}
                </button>
            </div>
        </dialog>
    }
}

/// What was decided.
fn decided(approval: &Approval) -> String {
    let asker = shown(&approval.asker.name);
    match approval.state {
        lockkeeper_model::ApprovalState::Denied => t!(denied_is_told, asker),
        _ => t!(approved_can_carry_it_out, asker),
    }
}
