//! What is known of one lock, term by term. Plain functions: what is known goes in, words come out.

use lockkeeper_model::words::{count, duration, shown};
use lockkeeper_model::{
    Bounds, Certainty, Contention, Event, Holder, Lock, LockState, OnNode, Quorum, QuorumNode, StoredEntry, Time,
    Verdict, Waiter, Waiters,
};

use super::answers::{EventsAnswer, SourceCoverage};
use super::screen::{Look, Tone};
use super::table::{Cell, Column, table};
use super::words::{self, sentence, whole};

/// Holders, waiters and values beyond this number say nothing to a person that the number does not say.
const MOST_LISTED: usize = 50;

/// Transitions that are told: what happened lately, on one screen. `lockkeeper watch` tells what comes next.
const MOST_EVENTS: usize = 10;

/// Terms and what is known of each, in order.
type Facts = Vec<(&'static str, String)>;

/// Everything that is known of a lock.
pub(super) fn lock(lock: &Lock, source: Option<&SourceCoverage>, now: Time, look: Look) -> String {
    let is_old = words::is_old(lock, source);
    let at = if is_old { lock.as_of } else { now };
    let mut out = head(lock, source, is_old, now, look);
    for (nth, holder) in lock.holders.iter().take(MOST_LISTED).enumerate() {
        let several = lock.holders.len() > 1;
        out.push_str(&look.heading(&if several { format!("Holder {}", nth + 1) } else { "Holder".to_owned() }));
        out.push_str(&look.facts(&of_holder(holder, lock, is_old, at)));
    }
    out.push_str(&more(lock.holders.len(), "holders"));
    if let Some(quorum) = &lock.quorum {
        out.push_str(&look.heading("Masters"));
        out.push_str(&masters(quorum, at, look));
    }
    out.push_str(&look.heading("Waiters"));
    out.push_str(&waiters(&lock.waiters, at, look));
    if !lock.flags.is_empty() {
        out.push_str(&look.heading("Warnings"));
        out.push_str(&flags(lock, look));
    }
    if let Some(contention) = &lock.contention {
        out.push_str(&look.heading(&format!("The last {} minutes", contention.over_ms / 60_000)));
        out.push_str(&look.facts(&of_contention(contention)));
    }
    out.push_str(&look.heading("Why this library"));
    out.push_str(&look.facts(&of_dialect(lock)));
    out.push_str(&look.heading("Form"));
    out.push_str(&look.facts(&of_form(lock)));
    out
}

/// Which lock it is, the judgement, and as of when.
fn head(lock: &Lock, source: Option<&SourceCoverage>, is_old: bool, now: Time, look: Look) -> String {
    let mut out = look.paint(&shown(&lock.name), Tone::Strong) + "\n";
    let (dialect, certainty) = (shown(&lock.dialect.name), lock.dialect.certainty.word());
    let (source_name, id) = (shown(&lock.source), shown(lock.id.as_str()));
    out.push_str(&look.wrapped(&format!("{source_name}/{id}: {dialect} ({certainty}), {}", words::mode(lock.mode)), 2));
    let (verdict, tone) = words::alive(lock, is_old);
    let held = match lock.holders.as_slice() {
        [] => words::holders(lock),
        _ => format!("{}, for {}", words::holders(lock), words::held_for(&lock.held_since, lock.as_of.max(now))),
    };
    let held = if is_old { words::holders(lock) } else { held };
    let text = match lock.state {
        LockState::Held if verdict == Verdict::Unknown.word() => {
            format!("whether its holder lives is unknown: held by {held}")
        }
        LockState::Held => format!("{verdict}: held by {held}"),
        LockState::WaitingOnly => "not held: nobody has it, yet somebody waits".to_owned(),
        LockState::NoQuorum => format!("no quorum: no majority agrees on a holder; seen: {}", words::holders(lock)),
        LockState::UnknownHolder => format!("held, and its form does not say by whom: {held}"),
    };
    out.push_str(&look.paint(look.wrapped(&sentence(&text), 0).trim_end(), tone));
    out.push('\n');
    let known = match is_old {
        true => format!("as of {}, {} ago: its source does not answer", lock.as_of, duration(now.since(lock.as_of))),
        false => format!("as of {now}"),
    };
    out.push_str(&look.wrapped(&known, 2));
    if let Some(source) = source {
        out.push_str(&look.wrapped(&words::source_line(source), 2));
    }
    out
}

/// Everything known of one hold.
fn of_holder(holder: &Holder, lock: &Lock, is_old: bool, at: Time) -> Facts {
    let identity = words::identity(&holder.identity);
    let token = match &holder.token {
        Some(token) if token.is_empty() => "(empty)".to_owned(),
        Some(token) => shown(token),
        None => format!("b64:{} (not text)", shown(&holder.token_b64)),
    };
    let (verdict, evidence) =
        if is_old { words::verdict_at(holder, at) } else { (holder.verdict, holder.evidence.clone()) };
    let mut facts: Facts = vec![
        ("Who", identity.unwrap_or_else(|| "unknown: its token names nobody".to_owned())),
        ("Token", token),
        ("Alive?", words::verdict(verdict, is_old).0),
    ];
    facts.extend(evidence.iter().map(|line| ("Because", whole(line))));
    if holder.mode != lock.mode {
        facts.push(("Holds it", words::mode(holder.mode).to_owned()));
    }
    facts.push(("Held since", since(&holder.held_since, at)));
    let lease = match holder.lease.expires_at {
        Some(end) => format!("{}, until {end}", words::left(&holder.lease, at)),
        None => words::left(&holder.lease, at),
    };
    facts.push(("Lease left", lease));
    facts.push(("Renewals", renewals(holder, at)));
    if holder.count != 1 {
        facts.push(("Entered", format!("{} times", count(u64::from(holder.count)))));
    }
    facts.push((
        "Fencing token",
        holder.fencing_token.as_ref().map_or_else(
            || "none: nothing lets the resource refuse a late holder".to_owned(),
            |token| format!("{} ({})", shown(&token.value), shown(&token.kind)),
        ),
    ));
    let identity = &holder.identity;
    let more = [("Instance", &identity.instance), ("Node", &identity.node), ("Its caller says", &identity.metadata)];
    facts.extend(more.into_iter().filter_map(|(term, value)| value.as_ref().map(|value| (term, shown(value)))));
    facts.extend(identity.token_time.map(|made| ("Token made", format!("{made}, by its holder's clock"))));
    facts
}

fn since(bounds: &Bounds, at: Time) -> String {
    let (age, basis) = (words::held_for(bounds, at), words::basis(bounds.basis));
    match (bounds.not_before, bounds.not_after) {
        (Some(early), Some(late)) if late.since(early) >= 1_000 => {
            format!("{age}: between {early} and {late}, {basis}")
        }
        (Some(_), Some(late)) => format!("{age}: {late}, {basis}"),
        (None, Some(late)) => format!("{age}: before {late}, {basis}"),
        (Some(early), None) => format!("unknown: after {early}, {basis}"),
        (None, None) => "unknown".to_owned(),
    }
}

fn renewals(holder: &Holder, at: Time) -> String {
    let renewals = &holder.renewals;
    let Some(last) = renewals.last_at else { return "none was seen".to_owned() };
    let rhythm = renewals.period_ms.map(|ms| format!(", every {}", duration(ms))).unwrap_or_default();
    let missed = match lockkeeper_model::missed_beats(renewals, at) {
        None => String::new(),
        Some(0) => "; no beat missed".to_owned(),
        Some(missed) => format!("; {} missed", words::number_of(u64::from(missed), "beat", "beats")),
    };
    format!("{}, the last {} ago{rhythm}{missed}", count(u64::from(renewals.count)), duration(at.since(last)))
}

/// What follows from all masters, then what each of them says.
fn masters(quorum: &Quorum, at: Time, look: Look) -> String {
    let column = |title, rank| Column { title, rank };
    let columns = [column("MASTER", 0), column("THERE", 0), column("LEFT", 1), column("TOKEN", 2), column("READ", 3)];
    let rows: Vec<Vec<Cell>> = quorum.nodes.iter().take(MOST_LISTED).map(|node| master(node, at)).collect();
    look.wrapped(&sentence(&quorum.says), 0) + &table(&columns, &rows, look)
}

fn master(node: &QuorumNode, at: Time) -> Vec<Cell> {
    let there = match node.state {
        OnNode::Holds => ("holds it", Tone::Good),
        OnNode::Other => ("other token", Tone::Bad),
        OnNode::Absent => ("absent", Tone::Plain),
        OnNode::Unreachable => ("unreachable", Tone::Warn),
        OnNode::Unread => ("unread", Tone::Warn),
    };
    let left = match (node.expires_at, node.state) {
        (Some(end), _) if end <= at => "over, not confirmed".to_owned(),
        (Some(end), _) => duration(end.since(at)),
        (None, OnNode::Holds | OnNode::Other) => "no expiry".to_owned(),
        (None, OnNode::Absent) => "–".to_owned(),
        (None, OnNode::Unreachable | OnNode::Unread) => "unknown".to_owned(),
    };
    let token = words::token(node.token.as_deref(), node.token_b64.as_deref());
    let read = match node.read_at {
        Some(read) => format!("{} ago", duration(at.since(read))),
        None => "never".to_owned(),
    };
    let restarted = if node.restarted_within_lease { ", restarted within the lease" } else { "" };
    vec![
        shown(&node.node).into(),
        (format!("{}{restarted}", there.0), there.1).into(),
        left.into(),
        token.unwrap_or_else(|| "–".to_owned()).into(),
        read.into(),
    ]
}

/// How many wait and how that is known, and those that can be told apart.
fn waiters(waiters: &Waiters, at: Time, look: Look) -> String {
    let because = if waiters.because.is_empty() { String::new() } else { format!(": {}", whole(&waiters.because)) };
    let mut facts: Facts = vec![("How many", format!("{}{because}", words::waiting(waiters)))];
    facts.extend(waiters.longest_wait_ms.map(|ms| ("Longest wait", format!("at least {}", duration(ms)))));
    if !waiters.list.is_empty() {
        facts.push(("Order", if waiters.ordered { "as they will be served" } else { "not known" }.to_owned()));
    }
    facts.extend(waiters.list.iter().take(MOST_LISTED).map(|one| ("", waiter(one, at))));
    look.facts(&facts) + &more(waiters.list.len(), "waiters")
}

fn waiter(waiter: &Waiter, at: Time) -> String {
    let token = || words::token(waiter.token.as_deref(), waiter.token_b64.as_deref());
    let mut parts = vec![words::identity(&waiter.identity).or_else(token).unwrap_or_else(|| "somebody".to_owned())];
    if waiter.abandoned == Some(true) {
        parts.push("abandoned".to_owned());
    }
    parts.extend(waiter.expires_at.map(|end| match end <= at {
        true => format!("its time in the queue was over {} ago", duration(at.since(end))),
        false => format!("keeps its place for {}", duration(end.since(at))),
    }));
    parts.extend(waiter.reported.as_ref().map(|said| {
        let (waits, heard) = (duration(at.since(said.since)), duration(at.since(said.heard_at)));
        format!("says that it has waited for {waits}, last heard {heard} ago")
    }));
    parts.join("; ")
}

/// What is dangerous about it, why that matters, and what to do.
fn flags(lock: &Lock, look: Look) -> String {
    let card = |flag| {
        let name = look.paint(&words::flag(flag), Tone::Warn);
        let Some(note) = lock.flag_notes.iter().find(|note| note.flag == flag) else { return format!("  {name}\n") };
        let facts: Facts = [("what", &note.what), ("why", &note.why), ("what to do", &note.todo)]
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(term, text)| (term, whole(text)))
            .collect();
        format!("  {name}\n{}", look.facts(&facts))
    };
    lock.flags.iter().map(|flag| card(*flag)).collect()
}

/// What went on around it.
fn of_contention(contention: &Contention) -> Facts {
    let blocked = match contention.blocked_ms {
        Some(ms) => {
            let basis = words::waiters_basis(contention.blocked_basis);
            format!("{}, all who waited added up ({basis})", duration(ms))
        }
        None => "unknown: nobody could be counted".to_owned(),
    };
    let seen = |number: Option<u32>| number.map_or_else(|| "unknown".to_owned(), |n| count(u64::from(n)));
    let attempts = match (contention.attempts, contention.refusals) {
        (None, None) => "unknown: neither a sample nor a report told of any".to_owned(),
        (attempts, refusals) => {
            let basis = contention.attempts_basis.map_or("basis unknown", words::waiters_basis);
            let rate = contention.sampled_at.map(|sampled| {
                let (tried, refused) = (seen(contention.attempts_per_second), seen(contention.refusals_per_second));
                format!("; {tried} a second, {refused} refused, sampled at {sampled}")
            });
            format!("{} seen, {} refused ({basis}){}", seen(attempts), seen(refusals), rate.unwrap_or_default())
        }
    };
    vec![
        ("Blocked", blocked),
        ("Hand-overs", format!("{} watched", count(u64::from(contention.hand_overs)))),
        ("Attempts", attempts),
    ]
}

fn of_dialect(lock: &Lock) -> Facts {
    let means = match lock.dialect.certainty {
        Certainty::Certain => "no other known library stores this form",
        Certainty::Likely => "others could store this form, but it is improbable",
        Certainty::Ambiguous => "several libraries store exactly this form",
        Certainty::Configured => "a configured pattern says that it is a lock; nothing says whose",
    };
    vec![
        ("Library", format!("{}, {}", shown(&lock.dialect.name), lock.dialect.certainty.word())),
        ("Because", whole(&lock.dialect.because)),
        ("That means", means.to_owned()),
    ]
}

/// What it consists of, and how that lies in the store.
fn of_form(lock: &Lock) -> Facts {
    let list = |ids: &[lockkeeper_model::LockId]| {
        let names = ids.iter().take(MOST_LISTED).map(|id| shown(id.as_str())).collect::<Vec<_>>().join(", ");
        if ids.len() > MOST_LISTED { format!("{names} and {} more", ids.len() - MOST_LISTED) } else { names }
    };
    let mut facts: Facts = vec![(if lock.keys.len() == 1 { "Key" } else { "Keys" }, list(&lock.keys))];
    facts.extend(lock.permits.map(|permits| ("Permits", format!("{} of {permits} taken", lock.holders.len()))));
    // What the masters say together has its own place.
    let of_masters = lock.quorum.as_ref().map(|quorum| &quorum.says);
    facts.extend(lock.notes.iter().filter(|note| Some(*note) != of_masters).map(|note| ("Noted", whole(note))));
    facts.push(("Generation", shown(&lock.generation)));
    facts.push(("Read at", lock.as_of.to_string()));
    let Some(stored) = &lock.stored else { return facts };
    facts.push(("Stored as", shown(&stored.kind)));
    if !stored.companions.is_empty() {
        facts.push(("Companions", list(&stored.companions)));
    }
    facts.extend(stored.entries.iter().take(MOST_LISTED).map(|entry| ("Value", value(entry))));
    facts
}

fn value(entry: &StoredEntry) -> String {
    let value = match &entry.value {
        Some(value) if value.is_empty() => "(empty)".to_owned(),
        Some(value) => shown(value),
        None => format!("b64:{} (not text)", shown(&entry.value_b64)),
    };
    let of = [entry.key.as_deref(), entry.field.as_deref()].into_iter().flatten().map(shown).collect::<Vec<_>>();
    if of.is_empty() { value } else { format!("{} = {value}", of.join(" ")) }
}

/// What happened to it lately, newest first.
pub(super) fn timeline(answer: &EventsAnswer, look: Look) -> String {
    let mut out = look.heading("Latest transitions");
    let line = |event: &Event| look.wrapped(&format!("  {}  {}", event.at, words::event(event)), 28);
    out.extend(answer.events.iter().take(MOST_EVENTS).map(line));
    let older = answer.events.len().saturating_sub(MOST_EVENTS);
    if older > 0 {
        out.push_str(&format!("  and {older} before\n"));
    }
    if answer.cut {
        out.push_str("  older ones were let go of to bound memory\n");
    }
    if answer.events.is_empty() {
        out.push_str("  nothing was seen yet\n");
    }
    out
}

fn more(number: usize, what: &str) -> String {
    let more = number.saturating_sub(MOST_LISTED);
    if more > 0 { format!("  and {more} more {what}\n") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{Flag, FlagNote, Identity, SourceState, TransitionKind, WaitersBasis};

    use super::super::fixtures::{self, event, quorum, source};
    use super::lock as explained;
    use super::*;

    const NOW: Time = Time(61_000);

    fn said(lock: &Lock) -> String {
        explained(lock, Some(&source("orders")), NOW, Look::PLAIN)
    }

    #[test]
    fn everything_is_said_with_how_it_is_known() {
        let said = said(&fixtures::lock());
        for part in [
            "stock:4711\norders/lock:stock:4711: redis-py (likely), exclusive\n",
            "Alive: held by 0f8e41…0003 (worker-3, process 42), for 1 m 01 s.\n",
            "as of 1970-01-01T00:01:01.000Z\norders: live, all keys seen\n",
            "  Who            worker-3, process 42\n  Token          0f8e41d2a2c911ef8b0a0242ac120003\n",
            "  Because        renewed 1.0 s ago, every 10.0 s\n",
            "  Held since     1 m 01 s: 1970-01-01T00:00:00.000Z, seen as it happened\n",
            "  Lease left     29 s, until 1970-01-01T00:01:30.000Z\n",
            "  Renewals       6, the last 1.0 s ago, every 10.0 s; no beat missed\n",
            "  How many      14 inferred: subscribers of its channel\n  Longest wait  at least 40 s\n",
            "  Because     a UUID\n  That means  others could store this form, but it is improbable\n",
        ] {
            assert!(said.contains(part), "{part}\n---\n{said}");
        }
    }

    #[test]
    fn what_a_flag_is_why_it_matters_and_what_to_do_are_said() {
        let mut lock = fixtures::lock();
        lock.flags = vec![Flag::NoExpiry, Flag::FailedOver];
        let text = |text: &str| text.to_owned();
        lock.flag_notes =
            vec![FlagNote { flag: Flag::NoExpiry, what: text("w"), why: text("y\u{202e}"), todo: text("t") }];
        let said = said(&lock);
        let expected =
            "Warnings\n  no expiry\n  what        w\n  why         y\\u{202e}\n  what to do  t\n  failed over\n";
        assert!(said.contains(expected), "{said}");
    }

    #[test]
    fn of_a_source_that_is_down_nothing_is_said_to_be_so_now() {
        let down = SourceCoverage { state: SourceState::Down, ..source("orders") };
        let said = explained(&fixtures::lock(), Some(&down), Time(120_000), Look::PLAIN);
        assert!(said.contains("Was alive: held by"), "{said}");
        assert!(said.contains("as of 1970-01-01T00:01:00.000Z, 1 m 00 s ago: its source does not answer"), "{said}");
        assert!(said.contains("  Lease left     30 s, until"), "judged as of then: {said}");
    }

    #[test]
    fn each_master_has_its_line_and_one_that_was_not_read_is_unknown() {
        let mut lock = fixtures::lock();
        lock.quorum = Some(quorum());
        let said = said(&lock);
        assert!(said.contains("Masters\nOwned: its token stands on 3 of 5 masters"), "{said}");
        assert!(said.contains("127.0.0.1:7001  unreachable  unknown  –"), "{said}");
        assert!(said.contains("127.0.0.1:7001  holds it     29 s     0f8e41…0003  1.0 s ago"), "{said}");
    }

    #[test]
    fn waiters_that_nobody_can_count_are_unknown_and_abandoned_ones_say_so() {
        let mut lock = fixtures::lock();
        (lock.waiters.count, lock.waiters.basis) = (None, WaitersBasis::Unknown);
        lock.waiters.because = "nothing tells".to_owned();
        lock.waiters.list = vec![Waiter {
            token: Some("b:7".to_owned()),
            token_b64: None,
            identity: Identity::default(),
            expires_at: Some(Time(31_000)),
            abandoned: Some(true),
            reported: None,
        }];
        let said = said(&lock);
        assert!(said.contains("unknown: nothing tells"), "{said}");
        assert!(said.contains("b:7; abandoned; its time in the queue was over 30 s ago"), "{said}");
    }

    #[test]
    fn the_timeline_is_bounded_and_says_so() {
        let events: Vec<Event> = (0..12).map(|at| event(TransitionKind::Acquired, at * 1_000)).collect();
        let said = timeline(&EventsAnswer { events, cut: true }, Look::PLAIN);
        assert!(said.contains("  1970-01-01T00:00:00.000Z  taken by 0f8e41…0003\n"), "{said}");
        assert!(said.ends_with("  and 2 before\n  older ones were let go of to bound memory\n"), "{said}");
        let nothing = timeline(&EventsAnswer { events: Vec::new(), cut: false }, Look::PLAIN);
        assert!(nothing.ends_with("nothing was seen yet\n"), "{nothing}");
    }

    #[test]
    fn hostile_values_are_harmless_wherever_they_stand() {
        let mut lock = fixtures::lock();
        let evil = || "\u{1b}]0;evil\u{7}\u{202e}".to_owned();
        lock.name = evil();
        lock.source = evil();
        lock.dialect.because = evil();
        lock.notes = vec![evil()];
        lock.holders[0].identity.metadata = Some(evil());
        lock.holders[0].evidence = vec![evil()];
        lock.waiters.because = evil();
        let said = said(&lock);
        assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{said}");
    }
}
