use leptos::prelude::*;
use lockkeeper_model::words::{short_token, shown};
use lockkeeper_model::{Lock, OnNode, Quorum, QuorumNode, Time, Verdict};

use crate::components::facts::Facts;
use crate::components::facts_list::FactsList;
use crate::components::say::Look;
use crate::components::sentence::capital;
use crate::components::verdict::verdict_class;
use crate::lang::{count, duration, t};
use crate::live::Live;
use crate::ui::{When, each, flag, hms, maybe, text};

/// How a lock stands on several independent masters: what follows from all of them, then what each of them says.
#[component]
pub(crate) fn Masters(
    /// The lock.
    lock: Memo<Option<Lock>>,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let quorum = move || lock.with(|lock| lock.as_ref()?.quorum.clone());
    let facts = Memo::new(move |_| {
        let now = Time(live.now.get());
        quorum().map(|quorum| facts(&quorum, now)).unwrap_or_default()
    });
    let row = move |at: usize| {
        let said = move |say: fn(&QuorumNode, Time) -> String| {
            maybe(move || {
                let now = Time(live.now.get());
                lock.with(|lock| lock.as_ref()?.quorum.as_ref()?.nodes.get(at).map(|node| say(node, now)))
            })
        };
        view! {
            <tr>
                <th scope="row">
                    {said(|node, _| shown(&node.node))}
                    <small>{said(reading)}</small>
                    <small class="restarted">{said(restarted)}</small>
                </th>
                <td>
                    <span class=said(|node, _| on_node(node.state).0.to_owned())>
                        {said(|node, _| on_node(node.state).1.to_owned())}
                    </span>
                </td>
                <td>
                    <code title=said(|node, _| shown(token(node).unwrap_or_default()))>{said(short)}</code>
                </td>
                <td>{said(left)}</td>
            </tr>
        }
    };
    view! {
        <When holds=flag(move || quorum().is_some())>
            <h3>{t!(masters)}</h3>
            <p>{text(move || quorum().as_ref().map(says).unwrap_or_default())}</p>
            <FactsList facts />
            <table class="masters" aria-label=t!(what_each_master_has_of)>
                <thead>
                    <tr>
                        <th scope="col">{t!(master)}</th>
                        <th scope="col">{t!(there)}</th>
                        <th scope="col">{t!(token)}</th>
                        <th scope="col">{t!(left_heading)}</th>
                    </tr>
                </thead>
                <tbody>{each(move || quorum().map_or(0, |quorum| quorum.nodes.len()), row)}</tbody>
            </table>
        </When>
    }
}

/// The server's sentence without the time that is left: that one was true when it was written, and runs among the facts.
fn says(quorum: &Quorum) -> String {
    let left = quorum.valid_for_ms.map(|ms| t!(guaranteed_for_another, duration(ms))).unwrap_or_default();
    capital(&quorum.says.replacen(&left, "", 1))
}

fn facts(quorum: &Quorum, now: Time) -> Facts {
    let all = count(quorum.nodes.len() as u64);
    let mut facts = vec![
        (t!(votes), t!(of_masters, count(u64::from(quorum.votes)), all)),
        (t!(needed), t!(left_of_all, count(u64::from(quorum.needed)), all)),
    ];
    if let Some(until) = quorum.valid_until {
        facts.push((
            t!(guaranteed),
            match until <= now {
                true => t!(not_any_more_since, hms(until)),
                false => t!(until_left, hms(until), duration(until.since(now))),
            },
        ));
    }
    facts
}

/// The look and the words of what a master has: the shapes are those of verdicts, the words say which it is.
fn on_node(state: OnNode) -> (&'static str, &'static str) {
    let (look, words) = match state {
        OnNode::Holds => (Look::Verdict(Verdict::Alive), t!(holds_it_there)),
        OnNode::Other => (Look::Verdict(Verdict::Gone), t!(other_token)),
        OnNode::Absent => (Look::Over, t!(absent)),
        OnNode::Unreachable => (Look::State, t!(unreachable)),
        OnNode::Unread => (Look::Verdict(Verdict::Unknown), t!(unread)),
    };
    (verdict_class(look), words)
}

fn token(node: &QuorumNode) -> Option<&str> {
    node.token.as_deref().or(node.token_b64.as_deref())
}

fn short(node: &QuorumNode, _: Time) -> String {
    match (&node.token, &node.token_b64) {
        (Some(token), _) if token.is_empty() => t!(empty).to_owned(),
        (Some(token), _) => short_token(token),
        (None, Some(b64)) => t!(not_text, short_token(b64)),
        (None, None) => "–".to_owned(),
    }
}

/// The lease there. What is not read has none that anybody knows.
fn left(node: &QuorumNode, now: Time) -> String {
    match (node.expires_at, node.state) {
        (Some(end), _) if end <= now => t!(over_not_confirmed).to_owned(),
        (Some(end), _) => duration(end.since(now)),
        (None, OnNode::Holds | OnNode::Other) => t!(no_expiry).to_owned(),
        (None, OnNode::Absent) => "–".to_owned(),
        (None, OnNode::Unreachable | OnNode::Unread) => t!(unknown).to_owned(),
    }
}

/// When it was last read there, and how exactly.
fn reading(node: &QuorumNode, _: Time) -> String {
    let Some(at) = node.read_at else {
        return if node.state == OnNode::Absent { t!(nothing_was_ever_found) } else { t!(never_read) }.to_owned();
    };
    let took = node.round_trip_ms.map(|ms| t!(took, duration(ms))).unwrap_or_default();
    t!(read_at_in_masters, hms(at), took)
}

fn restarted(node: &QuorumNode, _: Time) -> String {
    if node.restarted_within_lease { t!(restarted_within_the_lease) } else { "" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::quorum;

    #[test]
    fn the_time_that_is_left_runs_and_is_not_said_twice() {
        let quorum = quorum();
        assert_eq!(says(&quorum), "Owned: its token stands on 3 of 5 masters, 3 are needed (1 cannot be reached).");
        let guaranteed = |now| facts(&quorum, now).remove(2).1;
        assert_eq!(guaranteed(Time(61_000)), "until 00:01:29, 28 s left");
        assert_eq!(guaranteed(Time(89_000)), "not any more since 00:01:29");
    }

    #[test]
    fn every_state_of_a_master_has_its_own_word_and_its_own_shape() {
        let states = [OnNode::Holds, OnNode::Other, OnNode::Absent, OnNode::Unreachable, OnNode::Unread];
        for (at, one) in states.into_iter().enumerate() {
            for other in &states[at + 1..] {
                let (one, other) = (on_node(one), on_node(*other));
                assert!(one.0 != other.0 && one.1 != other.1, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_master_that_was_not_read_is_not_said_to_have_nothing() {
        let nodes = quorum().nodes;
        let now = Time(61_000);
        let line = |at: usize| (short(&nodes[at], now), left(&nodes[at], now), reading(&nodes[at], now));
        let read = "read at 00:01:00, took 2 ms".to_owned();
        assert_eq!(line(0), ("0f8e41…0003".to_owned(), "29 s".to_owned(), read.clone()));
        assert_eq!(line(1), ("–".to_owned(), "–".to_owned(), "nothing was ever found".to_owned()));
        assert_eq!(line(2), ("–".to_owned(), "unknown".to_owned(), read));
        let endless = QuorumNode { expires_at: None, token: None, ..nodes[0].clone() };
        assert_eq!(
            (left(&endless, now), short(&endless, now)),
            ("no expiry".to_owned(), "MGY4ZQ== (not text)".to_owned())
        );
        assert_eq!(left(&nodes[0], Time(90_000)), "over, not confirmed");
    }
}
