//! What a release would do, and what became of it, in words.

use lockkeeper_model::words::{duration, shown};
use lockkeeper_model::{After, AfterState, Outcome, PreviewedLock, ReleaseResult, Strength, Time, Told};

use super::action::Deed;
use super::exit::Exit;
use super::screen::{Look, Tone};
use super::words::{self, sentence, whole};

/// What would happen to one lock, with everything that should give pause.
pub(super) fn of_lock(lock: &PreviewedLock, deed: Deed, now: Time, look: Look) -> String {
    let holder = &lock.holder;
    let verdict = holder.verdict.word();
    let evidence = holder.evidence.iter().map(|line| whole(line)).collect::<Vec<_>>().join("; ");
    let told = match lock.told {
        Told::AtOnce => "learns of it at once",
        Told::AtRenewal => "learns of it when it next renews or lets go",
        Told::Never => "is never told",
    };
    let told_because = whole(&lock.told_because);
    let strength = match lock.strength {
        Strength::Atomic => "compared and freed in one step of the store",
        Strength::SessionExact => "names one session that can never be another's",
        Strength::CheckedThenActed => "compared first, then freed: between the two there is a moment",
        Strength::Quorum => "compared and freed in one step on each of its masters, one master after the other",
    };
    let items = lock.collateral.items.iter().map(|item| whole(item)).collect::<Vec<_>>().join("; ");
    let collateral = match (items.is_empty(), lock.collateral.complete) {
        (true, true) => "nothing else".to_owned(),
        (true, false) => "nothing else is known".to_owned(),
        (false, true) => items,
        (false, false) => format!("{items}; maybe more"),
    };
    let mut facts = vec![
        (deed.whom(), format!("{}, for {}", words::holder(holder), words::held_for(&holder.held_since, now))),
        ("Alive?", if evidence.is_empty() { verdict.to_owned() } else { format!("{verdict}: {evidence}") }),
        ("What happens", format!("{} ({strength})", whole(&lock.plan))),
        ("The old holder", if told_because.is_empty() { told.to_owned() } else { format!("{told}: {told_because}") }),
        ("Also ends", collateral),
    ];
    facts.extend([("Renewed", &lock.renewed), ("Next", &lock.next)].into_iter().filter_map(|(term, text)| {
        let text = whole(text);
        (!text.is_empty()).then_some((term, text))
    }));
    facts.extend(lock.waiters.as_ref().map(|waiters| ("Waiting", words::waiting(waiters))));
    let mut out = look.facts(&facts);
    for warning in &lock.warnings {
        let text = look.wrapped(&format!("  WARNING: {}", whole(&warning.text)), 4);
        out.push_str(&look.paint(text.trim_end(), Tone::Bad));
        out.push('\n');
    }
    out
}

/// What became of one lock; of one on several masters, on each of them.
pub(super) fn became(result: &ReleaseResult, look: Look) -> String {
    let tone = match result.outcome {
        Outcome::Released | Outcome::Held | Outcome::Extended | Outcome::PutBack | Outcome::Raised => Tone::Good,
        Outcome::WouldRelease => Tone::Plain,
        Outcome::Signalled | Outcome::Partial | Outcome::Unknown => Tone::Warn,
        Outcome::ChangedHands | Outcome::Gone | Outcome::Refused | Outcome::Failed => Tone::Bad,
    };
    let lock = format!("{}/{}", shown(&result.source), shown(result.id.as_str()));
    let mut said = format!("{lock}: {}. {}", outcome(result.outcome), sentence(&result.detail));
    if let Some(holder) = &result.holder_now {
        said.push_str(&format!(" {} has it now.", words::holder(holder)));
    }
    if let Some(after) = &result.after {
        said.push_str(&format!(" {}", after_said(after)));
    }
    let mut out = look.paint(look.wrapped(&said, 2).trim_end(), tone) + "\n";
    for node in &result.nodes {
        let said = format!("  {}: {}. {}", shown(&node.node), outcome(node.outcome), sentence(&node.detail));
        out.push_str(&look.wrapped(&said, 4));
    }
    out
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Released => "released",
        Outcome::WouldRelease => "as previewed, it would be released",
        Outcome::Held => "released and kept closed",
        Outcome::Extended => "kept closed for longer",
        Outcome::PutBack => "given back to its former holder",
        Outcome::Raised => "its fencing counter was raised",
        Outcome::ChangedHands => "not released, it changed hands",
        Outcome::Gone => "not released, it was free already",
        Outcome::Partial => "released on some of its masters",
        Outcome::Signalled => "accepted and not finished",
        Outcome::Refused => "not released",
        Outcome::Failed => "not released, it could not be tried",
        Outcome::Unknown => "UNKNOWN: it was sent and no answer came",
    }
}

fn after_said(after: &After) -> String {
    let watched = duration(after.watched_ms);
    let who = after.holder.as_ref().map_or_else(|| "somebody".to_owned(), words::holder);
    match after.state {
        AfterState::Free => format!("Nobody took it in the {watched} that it was watched afterwards."),
        AfterState::Taken => format!("It was taken by {who} within {watched}."),
        AfterState::CameBack => format!("The same token is back: {who} took it again within {watched}."),
        AfterState::ReleaseLost => format!("It did not last: it was {}.", lockkeeper_model::words::RELEASE_LOST),
    }
}

/// How what was done can be taken back, for as long as that is possible.
pub(super) fn way_back(locks: &[PreviewedLock], results: &[ReleaseResult]) -> String {
    let of = |result: &ReleaseResult| {
        let until = result.put_back_until?;
        let lock = locks.iter().find(|lock| (&lock.source, &lock.id) == (&result.source, &result.id))?;
        let place = format!("{}/{}", shown(&lock.source), shown(lock.id.as_str()));
        let generation = shown(&lock.generation);
        Some(format!(
            "Until {until} it can be given back, if nobody takes it: \
             lockkeeper release --action put-back --generation {generation} '{place}'"
        ))
    };
    results.iter().filter_map(of).collect::<Vec<_>>().join("\n")
}

/// What the outcomes of all locks come to. Done only where each of them is; in doubt where some of them may be.
pub(super) fn exit(outcomes: &[Outcome]) -> Exit {
    use Outcome::{Extended, Held, PutBack, Raised, Released, WouldRelease};
    let is_done = |outcome: &Outcome| matches!(outcome, Released | Held | Extended | PutBack | Raised | WouldRelease);
    let may_be = |outcome: &Outcome| matches!(outcome, Outcome::Partial | Outcome::Signalled | Outcome::Unknown);
    match outcomes {
        [] => Exit::CouldNot,
        all if all.iter().all(is_done) => Exit::Done,
        some if some.iter().any(|outcome| is_done(outcome) || may_be(outcome)) => Exit::InDoubt,
        none if none.iter().all(|outcome| *outcome == Outcome::Failed) => Exit::CouldNot,
        _ => Exit::NothingReleased,
    }
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{Collateral, NodeRelease, OtherLocks, Warning};

    use super::super::fixtures::lock;
    use super::*;

    #[test]
    fn the_plan_says_who_loses_it_what_happens_and_every_warning() {
        let lock = lock();
        let warning = |text: &str| Warning { code: "c".to_owned(), text: text.to_owned() };
        let previewed = PreviewedLock {
            source: lock.source,
            id: lock.id,
            name: lock.name,
            generation: lock.generation,
            holder: lock.holders[0].clone(),
            strength: Strength::Atomic,
            told: Told::AtRenewal,
            told_because: "its script finds another token".to_owned(),
            plan: "the key is deleted".to_owned(),
            collateral: Collateral { complete: false, items: Vec::new() },
            waiters: None,
            next: String::new(),
            renewed: String::new(),
            others: OtherLocks::default(),
            actions: Vec::new(),
            warnings: vec![warning("it is alive"), warning("evil\u{1b}[0m")],
        };
        let said = of_lock(&previewed, Deed::Release, Time(61_000), Look::PLAIN);
        for part in [
            "Held by         0f8e41…0003 (worker-3, process 42), for 1 m 01 s\n",
            "Alive?          alive: renewed 1.0 s ago, every 10.0 s\n",
            "What happens    the key is deleted (compared and freed in one step of the store)\n",
            "The old holder  learns of it when it next renews or lets go: its script finds another token\n",
            "Also ends       nothing else is known\n",
            "  WARNING: it is alive\n  WARNING: evil\\u{1b}[0m\n",
        ] {
            assert!(said.contains(part), "{part}\n---\n{said}");
        }
    }

    #[test]
    fn what_became_of_it_says_who_has_it_now_and_what_each_master_did() {
        let result = ReleaseResult {
            source: "orders".to_owned(),
            id: lock().id,
            outcome: Outcome::ChangedHands,
            detail: "another holder has it".to_owned(),
            holder_now: Some(lock().holders[0].clone()),
            woken: None,
            after: None,
            held_until: None,
            put_back_until: None,
            nodes: vec![NodeRelease {
                node: "a:1".to_owned(),
                outcome: Outcome::Failed,
                detail: "it is down".to_owned(),
            }],
        };
        assert_eq!(
            became(&result, Look::PLAIN),
            "orders/lock:stock:4711: not released, it changed hands. Another holder has it. \
             0f8e41…0003 (worker-3, process 42) has it now.\n  \
             a:1: not released, it could not be tried. It is down.\n"
        );
        let after = After { state: AfterState::Free, holder: None, watched_ms: 1_500 };
        let freed = ReleaseResult { outcome: Outcome::Released, after: Some(after), holder_now: None, ..result };
        assert!(became(&freed, Look::PLAIN).contains("Nobody took it in the 1.5 s that it was watched afterwards."));
    }

    #[test]
    fn only_what_is_done_for_certain_and_everywhere_is_done() {
        use Outcome::{ChangedHands, Failed, Gone, Held, Partial, Refused, Released, Signalled, Unknown};
        for (outcomes, code) in [
            (vec![Released, Held], Exit::Done),
            (vec![Released, ChangedHands], Exit::InDoubt),
            (vec![Partial], Exit::InDoubt),
            (vec![Unknown, Failed], Exit::InDoubt),
            (vec![Signalled], Exit::InDoubt),
            (vec![ChangedHands], Exit::NothingReleased),
            (vec![Gone, Failed], Exit::NothingReleased),
            (vec![Refused], Exit::NothingReleased),
            (vec![Failed, Failed], Exit::CouldNot),
            (vec![], Exit::CouldNot),
        ] {
            assert_eq!(exit(&outcomes), code, "{outcomes:?}");
        }
    }
}
