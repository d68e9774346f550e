use leptos::prelude::*;
use lockkeeper_model::words::shown;

use super::NavLink;
use super::sentence::capital;
use crate::lang::{self, t};
use crate::live::audit::Attempt;
use crate::live::route::Route;
use crate::ui::{copies, copies_shown, day, hms, maybe, text};

/// One line of the audit: what was asked for, by whom, and what came of it.
#[component]
pub(crate) fn Attempted(
    /// The attempt or refusal.
    attempt: Signal<Option<Attempt>>,
) -> impl IntoView {
    let say =
        move |say: fn(&Attempt) -> String| text(move || attempt.with(|it| it.as_ref().map(say).unwrap_or_default()));
    let lock = move || {
        let (source, id) = attempt.with(|it| it.as_ref().and_then(|it| it.lock.clone()))?;
        let route = Route { lock: Some((source.clone(), id.clone())), ..Route::default() };
        Some(view! {
            <NavLink route>{shown(id.as_str())}</NavLink>
            {copies_shown(t!(the_key))}
            " "
            <small>{t!(in_source, shown(&source))}</small>
        })
    };
    let told = say(|it| it.told.iter().map(|told| capital(told)).collect::<Vec<_>>().join(" "));
    let reason = maybe(move || {
        let reason = attempt.with(|it| it.as_ref().map(|it| it.reason.clone()))?;
        (!reason.is_empty()).then(|| t!(reason, shown(&reason)))
    });
    view! {
        <li class=say(|it| look(&it.outcome).to_owned())>
            <time title=say(|it| it.at.to_string())>
                {say(|it| hms(it.at))} " " <small>{say(|it| day(it.at))}</small>
                {copies(t!(time), say(|it| it.at.to_string()))}
            </time>
            <span class="by">
                {say(|it| shown(&it.who))} " " <small>{say(|it| shown(&it.via))}</small>
            </span>
            <span class="what">
                {say(|it| action(&it.action).to_owned())} " " {lock}
            </span>
            <b class="outcome">{say(|it| outcome(&it.outcome))}</b>
            <p><span lang=lang::of_the_server()>{told}</span> " " <small>{reason}</small></p>
        </li>
    }
}

/// What was asked for, as the beginning of a line. An audit is read for longer than a program lives: a word that is not
/// known here is shown as it is.
fn action(word: &str) -> String {
    match word {
        "" => t!(asked).to_owned(),
        "release" => t!(release_of).to_owned(),
        "evict_waiter" => t!(eviction_of_the_first_waiter).to_owned(),
        other => t!(of, lang::action_named(other)),
    }
}

/// What came of it.
fn outcome(word: &str) -> String {
    match word {
        "" => t!(told_afterwards).to_owned(),
        "attempted" => t!(attempted_outcome_not_known).to_owned(),
        other => lang::outcome_named(other),
    }
}

/// Whether something was changed, nothing was, or that is not known.
fn look(outcome: &str) -> &'static str {
    match outcome {
        "released" | "held" | "put_back" | "extended" | "raised" => "done",
        "attempted" | "unknown" | "partial" | "signalled" => "open",
        _ => "not-done",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_later_version_are_shown_as_they_are_and_hostile_ones_are_not() {
        assert_eq!((action("release").as_str(), outcome("changed_hands").as_str()), ("release of", "changed hands"));
        assert_eq!(outcome("re\u{202e}leased"), "re\\u{202e}leased");
        assert_eq!(outcome("attempted"), "attempted, outcome not known");
        assert_eq!(["released", "attempted", "mistyped"].map(look), ["done", "open", "not-done"]);
    }
}
