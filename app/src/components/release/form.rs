//! What a person reads, ticks and types before anything is done.

use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{
    Action, ApprovalState, PreviewAnswer, PreviewTarget, PreviewedLock, ReleaseRequest, ReleaseResult,
};
use wasm_bindgen_futures::spawn_local;

use super::plan::Plan;
use super::several::{Several, summed_up, to_tick};
use super::words::Words;
use super::{Step, changed_since};
use crate::components::sentence::whole;
use crate::lang::{self, t};
use crate::live::answers::Refusal;
use crate::live::{Live, api};
use crate::ui::{When, flag, maybe, text};

/// What the person has done so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Form {
    ticked: Vec<usize>,
    confirm: String,
    reason: String,
    break_glass: bool,
    stop_at_first_failure: bool,
    /// What a dry run came to.
    dry: Option<Vec<ReleaseResult>>,
}

impl Form {
    /// Whether everything that was asked of the person is done.
    fn is_complete(&self, preview: &PreviewAnswer) -> bool {
        let asks_another = self.asks_another(preview);
        self.ticked.len() == to_tick(&preview.locks).len()
            && (self.confirm == preview.confirm || asks_another)
            && (!preview.reason_required || !self.reason.trim().is_empty())
            && (!preview.dry_run_required || self.dry.is_some() || asks_another)
    }

    /// Whether somebody else has to be asked before anything is done.
    fn asks_another(&self, preview: &PreviewAnswer) -> bool {
        needs_another(preview) && !self.break_glass
    }
}

/// Whether a second person is needed who has not approved yet.
fn needs_another(preview: &PreviewAnswer) -> bool {
    preview.approval.as_ref().is_some_and(|need| need.required && need.state != ApprovalState::Approved)
}

/// A box to tick, with what is acknowledged by it.
fn tick(text: String, is_of_the_server: bool, done: impl Fn(bool) + 'static) -> AnyView {
    view! {
        <label class="tick">
            <input type="checkbox" on:change:target=move |event| done(event.target().checked()) />
            <span lang=is_of_the_server.then(lang::of_the_server).flatten()>{text}</span>
        </label>
    }
    .into_any()
}

/// The plan, the warnings, the fields, and the button that stays dead until all of them are done.
#[component]
pub(super) fn Ready(
    preview: PreviewAnswer,
    /// What was asked for.
    targets: StoredValue<Vec<PreviewTarget>>,
    action: Action,
    form: RwSignal<Form>,
    step: RwSignal<Step>,
    close: impl Fn() + 'static,
    ask_again: Callback<()>,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let several = targets.with_value(|targets| targets.len() > 1);
    let left = {
        let end = preview.expires_at;
        Memo::new(move |_| (end.0 - live.running_now.get()).max(0) / 1_000)
    };
    let locks = StoredValue::new(preview.locks.clone());
    // Of several each is judged by itself, and its line says so: the others can still be freed.
    let changed = Memo::new(move |_| {
        if several {
            return None;
        }
        live.detail.with(|detail| {
            let lock = detail.as_ref()?.lock.as_ref();
            locks.with_value(|locks| locks.iter().find_map(|previewed| changed_since(action, previewed, lock)))
        })
    });
    let warnings = to_tick(&preview.locks);
    let plans = if several {
        view! { <Several locks=preview.locks.clone() left_out=preview.left_out.clone() targets action /> }.into_any()
    } else {
        let plan = |lock: &PreviewedLock| view! { <Plan lock=lock.clone() action /> };
        preview.locks.iter().map(plan).collect_view().into_any()
    };
    let required = preview.reason_required;
    let needs_another = needs_another(&preview);
    let approved = preview.approval.is_some() && !needs_another;
    let dry_run_required = preview.dry_run_required;
    let pattern = preview.reason_pattern.as_ref().map(|pattern| t!(it_has_to_contain, shown(pattern)));
    let confirm = shown(&preview.confirm);
    let preview = StoredValue::new(preview);
    let complete = Memo::new(move |_| form.with(|form| preview.with_value(|preview| form.is_complete(preview))));
    let asks_another = Memo::new(move |_| form.with(|form| preview.with_value(|preview| form.asks_another(preview))));
    let ready = move || complete.get() && changed.with(Option::is_none) && left.get() > 0;
    let dry_run_refused = RwSignal::new(None::<Refusal>);
    let request = move |dry_run| {
        let Form { confirm, reason, break_glass, stop_at_first_failure, .. } = form.get_untracked();
        let ticket = preview.with_value(|preview| preview.ticket.clone());
        if dry_run {
            return ReleaseRequest { ticket, dry_run, ..ReleaseRequest::default() };
        }
        ReleaseRequest { ticket, confirm, reason, break_glass, stop_at_first_failure, dry_run }
    };
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        if !ready() {
            return;
        }
        let request = request(false);
        let asks_another = asks_another.get_untracked();
        step.set(Step::Sending);
        spawn_local(async move {
            let next = if asks_another {
                match api::ask_approval(request.ticket, request.reason).await {
                    Ok(approval) => Step::Waiting(approval.id, approval.expires_at),
                    Err(refusal) => Step::Failed(refusal),
                }
            } else {
                match api::release(&request).await {
                    Ok(answer) => Step::Done(answer),
                    Err(refusal) => Step::Failed(refusal),
                }
            };
            // The dialog may have been closed meanwhile.
            let _ = step.try_set(next);
        });
    };
    let rehearse = move |_| {
        let request = request(true);
        spawn_local(async move {
            let answer = api::release(&request).await;
            let _ = form.try_update(|form| form.dry = answer.as_ref().ok().map(|answer| answer.results.clone()));
            let _ = dry_run_refused.try_set(answer.err());
        });
    };
    let rehearsed = maybe(move || {
        form.with(|form| form.dry.as_ref().map(|results| t!(dry_run_nothing_was_done, summed_up(results))))
    });
    let wont_rehearse = maybe(move || {
        dry_run_refused.with(|refusal| refusal.as_ref().map(|refusal| t!(no_dry_run, whole(&refusal.detail))))
    });
    view! {
        <form on:submit=submit>
            {plans}
            {warnings
                .into_iter()
                .enumerate()
                .map(|(at, text)| {
                    tick(
                        text,
                        true,
                        move |ticked| {
                            form.update(|form| {
                                form.ticked.retain(|ticked| *ticked != at);
                                if ticked {
                                    form.ticked.push(at);
                                }
                            });
                        },
                    )
                })
                .collect_view()}
            {approved.then(|| view! { <p class="say good">{t!(a_second_person_has_approved)}</p> })}
            {needs_another
                .then(|| {
                    view! {
                        <p class="say warn">
                            {t!(this_is_production_another_person)}
                        </p>
                        {tick(
                            t!(break_glass_do_it_without).to_owned(),
                            false,
                            move |checked| form.update(|form| form.break_glass = checked),
                        )}
                    }
                })}
            {several
                .then(|| {
                    view! {
                        <p role="status" class="rehearsed">
                            {rehearsed}
                            {wont_rehearse}
                        </p>
                        {tick(
                            t!(one_after_the_other_after).to_owned(),
                            false,
                            move |checked| form.update(|form| form.stop_at_first_failure = checked),
                        )}
                    }
                })}
            <When holds=flag(move || !asks_another.get())>
                <label class="field" for="release-confirm">
                    {t!(form_type)}
                    <code>{confirm.clone()}</code>
                    {t!(to_confirm)}
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
            </When>
            <label class="field" for="release-reason">
                {t!(why)}
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
                {if required { t!(required) } else { "" }}
                {pattern}
                {t!(written_to_the_log_of)}
            </small>
            <When holds=flag(move || changed.with(Option::is_some))>
                <p class="say bad" role="alert">{maybe(move || changed.get())}</p>
            </When>
            <div class="acts">
                {several
                    .then(|| {
                        let over = flag(move || left.get() == 0 || asks_another.get());
                        view! {
                            <button type="button" class="plain" disabled=over on:click=rehearse>
                                {t!(dry_run)}
                            </button>
                        }
                    })}
                <button type="submit" class="danger" disabled=flag(move || !ready())>
                    {text(move || if asks_another.get() { t!(ask_a_second_person) } else { Words::of(action).button })}
                </button>
                <When holds=flag(move || left.get() == 0 || changed.with(Option::is_some))>
                    <button type="button" class="plain" on:click=move |_| ask_again.run(())>
                        {t!(new_preview)}
                    </button>
                </When>
                <span class="spread"></span>
                <small>
                    {text(move || match left.get() {
                        0 => t!(expired_ask_for_a_new).to_owned(),
                        left if dry_run_required && !asks_another.get() && form.with(|form| form.dry.is_none()) => {
                            t!(a_dry_run_comes_first, left)
                        }
                        left => t!(valid_for_s, left),
                    })}
                </small>
                <button type="button" class="plain" on:click=move |_| close()>
                    {t!(cancel)}
                </button>
            </div>
        </form>
    }
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{ApprovalNeed, Time};

    use super::super::tests::previewed;
    use super::*;

    fn preview() -> PreviewAnswer {
        PreviewAnswer {
            ticket: "t".to_owned(),
            expires_at: Time(0),
            confirm: "stock:4711".to_owned(),
            reason_required: true,
            reason_pattern: None,
            dry_run_required: false,
            approval: None,
            locks: vec![previewed()],
            left_out: Vec::new(),
        }
    }

    #[test]
    fn the_button_stays_dead_until_everything_is_done() {
        let preview = preview();
        let mut form = Form { confirm: "stock:4711".to_owned(), reason: " ".to_owned(), ..Form::default() };
        assert!(!form.is_complete(&preview));
        form.ticked.push(0);
        assert!(!form.is_complete(&preview));
        form.reason = "INC-2041".to_owned();
        assert!(form.is_complete(&preview));
        form.confirm = "stock:471".to_owned();
        assert!(!form.is_complete(&preview));

        // Whoever only asks somebody else has nothing to confirm; whoever breaks the glass has.
        let need = ApprovalNeed { required: true, state: ApprovalState::Unasked, id: None, expires_at: None };
        let preview = PreviewAnswer { approval: Some(need.clone()), ..preview };
        assert!(form.is_complete(&preview) && form.asks_another(&preview));
        form.break_glass = true;
        assert!(!form.is_complete(&preview) && !form.asks_another(&preview));
        let approved = ApprovalNeed { state: ApprovalState::Approved, ..need };
        let preview = PreviewAnswer { approval: Some(approved), ..preview };
        assert!(!Form::default().asks_another(&preview));
    }

    #[test]
    fn where_a_dry_run_comes_first_there_is_none_without_it() {
        let preview = PreviewAnswer { dry_run_required: true, ..preview() };
        let mut form = Form {
            ticked: vec![0],
            confirm: "stock:4711".to_owned(),
            reason: "INC-2041".to_owned(),
            ..Form::default()
        };
        assert!(!form.is_complete(&preview));
        form.dry = Some(Vec::new());
        assert!(form.is_complete(&preview));
    }
}
