//! What another person asks somebody to approve: a banner for each, and the dialog in which it is decided.

mod decide;

use std::time::Duration;

pub(crate) use decide::DecideDialog;
use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Approval, ApprovalState};
use wasm_bindgen_futures::spawn_local;

use crate::lang::{self, t};
use crate::live::{Live, api};
use crate::parts::{Parts, Piece};

/// How often it is looked whether somebody asks. They wait on the phone, not on this page.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Only there is a second person ever needed.
const PRODUCTION: &str = "production";

/// Everything that waits for the word of whoever sees this.
#[component]
pub(crate) fn Requests() -> impl IntoView {
    let live = expect_context::<Live>();
    let parts = expect_context::<Parts>();
    let requests = RwSignal::new(Vec::<Approval>::new());
    let deciding = RwSignal::new(None::<String>);
    let look = move || {
        let in_production = live
            .sources
            .with_untracked(|sources| sources.iter().any(|one| one.environment.as_deref() == Some(PRODUCTION)));
        if !in_production || !live.link.get_untracked().is_live() {
            return;
        }
        spawn_local(async move {
            let mut open = api::approvals().await;
            open.retain(|approval| approval.may_decide && approval.state == ApprovalState::Pending);
            // The page may have been drawn anew meanwhile.
            if requests.try_with_untracked(|known| *known != open) == Some(true) {
                requests.set(open);
            }
        });
    };
    if let Ok(looking) = set_interval_with_handle(look, LOOK_EVERY) {
        on_cleanup(move || looking.clear());
    }
    view! {
        <section class="banners" aria-label=t!(requests)>
            <For each=move || requests.get() key=|request| request.id.clone() let(request)>
                <div class="banner warn">
                    <p role="status">{said(&request)}</p>
                    <button type="button" class="plain" on:click=move |_| deciding.set(Some(request.id.clone()))>
                        {t!(look_and_decide)}
                    </button>
                </div>
            </For>
            {move || {
                deciding.get().map(|id| {
                    let request = requests.with_untracked(|all| all.iter().find(|one| one.id == id).cloned());
                    request.map(|request| parts.draw(Piece::Decide(Box::new(request), deciding, Callback::new(move |()| look()))))
                })
            }}
        </section>
    }
}

/// What is asked, in a line.
fn said(request: &Approval) -> String {
    let locks: Vec<String> = request.locks.iter().map(|lock| shown(lock.id.as_str())).collect();
    let (who, what, locks) = (shown(&request.asker.name), lang::action(request.action), locks.join(", "));
    t!(asks_you_to_approve, who, what, locks, shown(&request.reason))
}
