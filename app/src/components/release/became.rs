use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Action, After, AfterState, NodeRelease, Outcome, ReleaseResult, Verdict};

use super::{named, words};
use crate::components::say::Look;
use crate::components::sentence::capital;
use crate::components::verdict::verdict_class;
use crate::lang::{duration, t};
use crate::ui::each;

/// What became of one lock, in words; of one on several masters, on each of them.
#[component]
pub(super) fn Became(result: ReleaseResult, action: Action) -> impl IntoView {
    let class = match result.outcome {
        Outcome::Released | Outcome::Held | Outcome::Extended | Outcome::PutBack | Outcome::Raised => "say good",
        Outcome::Signalled | Outcome::Partial | Outcome::Unknown => "say warn",
        Outcome::WouldRelease => "say calm",
        Outcome::ChangedHands | Outcome::Gone | Outcome::Refused | Outcome::Failed => "say bad",
    };
    let now = result.holder_now.as_ref().map(|holder| t!(has_it_now, named(holder)));
    let nodes = result.nodes;
    let count = nodes.len();
    let node = move |at: usize| {
        let [name, class, word, detail] = nodes.get(at).map(on_node).unwrap_or_default();
        view! {
            <li>
                <code>{name}</code>
                " "
                <span class=class>{word}</span>
                <small>{detail}</small>
            </li>
        }
    };
    view! {
        <p class=class>
            <b>{words::outcome(action, result.outcome)}</b>
            " "
            {capital(&result.detail)}
            {now}
        </p>
        <ul class="on-nodes" aria-label=t!(masters)>
            {each(move || count, node)}
        </ul>
        {result.after.map(|after| view! { <p>{after_said(&after)}</p> })}
    }
}

/// What became of it on one master: its name, the look and the word, and the sentence.
fn on_node(node: &NodeRelease) -> [String; 4] {
    let look = match node.outcome {
        Outcome::Released | Outcome::Held | Outcome::Extended | Outcome::PutBack | Outcome::Raised => {
            Look::Verdict(Verdict::Alive)
        }
        Outcome::Gone => Look::Over,
        Outcome::ChangedHands | Outcome::Refused => Look::Verdict(Verdict::Gone),
        Outcome::Partial | Outcome::Signalled | Outcome::Failed | Outcome::WouldRelease => Look::State,
        Outcome::Unknown => Look::Verdict(Verdict::Unknown),
    };
    let word = words::on_node(node.outcome);
    // The word says it already.
    let detail = if node.detail == word { String::new() } else { capital(&node.detail) };
    [shown(&node.node), verdict_class(look).to_owned(), word.to_owned(), detail]
}

fn after_said(after: &After) -> String {
    let watched = duration(after.watched_ms);
    let who = after.holder.as_ref().map_or_else(|| t!(somebody).to_owned(), named);
    match after.state {
        AfterState::Free => t!(nobody_took_it_in_the, watched),
        AfterState::Taken => t!(it_was_taken_by_within, who, watched),
        AfterState::CameBack => t!(the_same_token_is_back, who, watched),
        AfterState::ReleaseLost => t!(it_did_not_last).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_that_was_not_reached_says_so_and_what_is_left_there() {
        let node = |outcome, detail: &str| NodeRelease {
            node: "127.0.0.1:7001".to_owned(),
            outcome,
            detail: detail.to_owned(),
        };
        let [name, _, word, detail] = on_node(&node(Outcome::Failed, "it is down\u{202e}; nothing was done"));
        assert_eq!((name.as_str(), word.as_str()), ("127.0.0.1:7001", "not tried"));
        assert_eq!(detail, "It is down\\u{202e}; nothing was done.");
        let [_, class, word, detail] = on_node(&node(Outcome::Released, "freed"));
        assert_eq!((class.as_str(), word.as_str(), detail.as_str()), ("verdict alive", "freed", ""));
    }
}
