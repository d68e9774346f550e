//! Several locks in one dialog: a line each, what it says opened on demand, and what became of each afterwards.

use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Action, LeftOut, PreviewTarget, PreviewedLock, ReleaseResult, Strength};

use super::became::Became;
use super::plan::Plan;
use super::words;
use crate::components::say::Look;
use crate::components::sentence::{capital, whole};
use crate::components::verdict::verdict_class;
use crate::lang::{self, count, t};
use crate::live::Live;
use crate::live::board::Condition;
use crate::ui::text;

/// Locks that are named where something is said of many; the others are counted.
const NAMED: usize = 4;

/// What has to be ticked: each warning by itself, and those of one kind on several locks together.
pub(super) fn to_tick(locks: &[PreviewedLock]) -> Vec<String> {
    if let [only] = locks {
        return only.warnings.iter().map(|warning| whole(&warning.text)).collect();
    }
    let mut kinds: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for lock in locks {
        for warning in &lock.warnings {
            match kinds.iter_mut().find(|(code, ..)| *code == warning.code) {
                Some((.., names)) => names.push(&lock.name),
                None => kinds.push((&warning.code, &warning.text, vec![&lock.name])),
            }
        }
    }
    let said = |(_, text, names): (&str, &str, Vec<&str>)| match &names[..] {
        [only] => format!("{}: {}", shown(only), capital(text)),
        [first, others @ ..] => t!(alike, shown(first), capital(text), list(others)),
        [] => capital(text),
    };
    kinds.into_iter().map(said).collect()
}

/// `a, b, c, d and 3 more`.
fn list(names: &[&str]) -> String {
    let named: Vec<String> = names.iter().take(NAMED).map(|name| shown(name)).collect();
    match names.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => t!(and_more_in_several, named.join(", "), count(more as u64)),
    }
}

/// `2 released, 1 changed hands`, in the order in which they came about.
pub(super) fn summed_up(results: &[ReleaseResult]) -> String {
    let mut counts: Vec<(&str, u64)> = Vec::new();
    for result in results {
        let word = words::in_a_word(result.outcome);
        match counts.iter_mut().find(|(known, _)| *known == word) {
            Some((_, n)) => *n += 1,
            None => counts.push((word, 1)),
        }
    }
    counts.into_iter().map(|(word, n)| format!("{} {word}", count(n))).collect::<Vec<_>>().join(", ")
}

/// What would happen to each, and to which nothing would.
#[component]
pub(super) fn Several(
    locks: Vec<PreviewedLock>,
    left_out: Vec<LeftOut>,
    /// What was chosen: as it was then.
    targets: StoredValue<Vec<PreviewTarget>>,
    action: Action,
) -> impl IntoView {
    let without = left_out.len();
    view! {
        {(without > 0)
            .then(|| {
                view! {
                    <div class="say bad" role="alert">
                        <b>{t!(cannot_be_released_and_will, count(without as u64))}</b>
                    </div>
                    <ul class="several" aria-label=t!(what_cannot_be_released)>
                        {left_out
                            .into_iter()
                            .map(|left| {
                                view! {
                                    <li class="plainly">
                                        <b>{shown(left.id.as_str())}</b>
                                        " "
                                        <small>{shown(&left.source)}</small>
                                        <p lang=lang::of_the_server()>{capital(&left.because)}</p>
                                    </li>
                                }
                            })
                            .collect_view()}
                    </ul>
                }
            })}
        <ul class="several" aria-label=t!(what_would_be_released)>
            {locks.into_iter().map(|lock| view! { <Line lock targets action /> }).collect_view()}
        </ul>
    }
}

/// One lock in a line, with its plan and its warnings inside.
#[component]
fn Line(lock: PreviewedLock, targets: StoredValue<Vec<PreviewTarget>>, action: Action) -> impl IntoView {
    let live = expect_context::<Live>();
    let verdict = lock.holder.verdict;
    let strength = match lock.strength {
        Strength::Atomic => t!(in_one_step),
        Strength::SessionExact => t!(one_session),
        Strength::CheckedThenActed => t!(compared_first_then_freed),
        Strength::Quorum => t!(each_master_in_one_step),
    };
    let warnings = match lock.warnings.len() {
        0 => String::new(),
        1 => t!(one_warning).to_owned(),
        n => t!(warnings_in_several, n),
    };
    let chosen = targets.with_value(|targets| {
        targets.iter().find(|target| target.source == lock.source && target.id == lock.id).cloned()
    });
    let late = text(move || {
        live.shown.track();
        let row = chosen.as_ref().and_then(|chosen| live.row_of(&chosen.source, &chosen.id));
        let (Some(row), Some(chosen)) = (row, &chosen) else { return "" };
        row.with(|view| match &view.condition {
            Condition::Ended(_) => t!(it_ended_while_you_were),
            _ if view.row.generation != chosen.generation => {
                t!(it_changed_hands_while_you_were)
            }
            _ => "",
        })
    });
    let texts: Vec<String> = lock.warnings.iter().map(|warning| capital(&warning.text)).collect();
    view! {
        <li>
            <details>
                <summary>
                    <b>{shown(&lock.name)}</b>
                    <small>{shown(&lock.source)}</small>
                    <span class=verdict_class(Look::Verdict(verdict))>{lang::verdict(verdict)}</span>
                    <small>{strength}</small>
                    <small>{warnings}</small>
                    <span class="late" role="status">
                        {late}
                    </span>
                </summary>
                <Plan lock=lock.clone() action />
                <ul class="warnings">{texts.into_iter().map(|text| view! { <li>{text}</li> }).collect_view()}</ul>
            </details>
        </li>
    }
}

/// What became of each.
#[component]
pub(super) fn Results(results: Vec<ReleaseResult>, action: Action) -> impl IntoView {
    view! {
        <ul class="several" aria-label=t!(what_became_of_each)>
            {results
                .into_iter()
                .map(|result| {
                    let name = shown(result.id.as_str());
                    let source = shown(&result.source);
                    view! {
                        <li class="plainly">
                            <h3>{name} " " <small>{source}</small></h3>
                            <Became result action />
                        </li>
                    }
                })
                .collect_view()}
        </ul>
    }
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{LockId, Outcome, Warning};

    use super::super::tests::previewed;
    use super::*;

    fn with(name: &str, warnings: &[(&str, &str)]) -> PreviewedLock {
        let warnings = warnings
            .iter()
            .map(|(code, text)| Warning { code: (*code).to_owned(), text: (*text).to_owned() })
            .collect();
        PreviewedLock { name: name.to_owned(), warnings, ..previewed() }
    }

    #[test]
    fn warnings_of_one_kind_are_ticked_once_and_name_their_locks() {
        let one = with("a", &[("holder_alive", "it is alive"), ("no_fencing", "no token")]);
        assert_eq!(to_tick(std::slice::from_ref(&one)), ["it is alive", "no token"]);
        let locks = [one, with("b\u{1b}", &[("holder_alive", "it is alive too")]), with("c", &[])];
        assert_eq!(to_tick(&locks), ["a: It is alive. Alike: b\\u{1b}.", "a: No token."]);
        let many: Vec<PreviewedLock> = (0..9).map(|n| with(&n.to_string(), &[("x", "y")])).collect();
        assert_eq!(to_tick(&many), ["0: Y. Alike: 1, 2, 3, 4 and 4 more."]);
    }

    #[test]
    fn results_are_summed_up_by_what_became_of_them() {
        let result = |outcome| ReleaseResult {
            source: "orders".to_owned(),
            id: LockId::of_key(b"a"),
            outcome,
            detail: String::new(),
            holder_now: None,
            woken: None,
            after: None,
            held_until: None,
            put_back_until: None,
            nodes: Vec::new(),
        };
        let results = [Outcome::Released, Outcome::ChangedHands, Outcome::Released].map(result);
        assert_eq!(summed_up(&results), "2 released, 1 changed hands");
        assert_eq!(summed_up(&[Outcome::WouldRelease].map(result)), "1 would be released");
    }
}
