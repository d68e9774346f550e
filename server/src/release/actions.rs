//! What can be done with a lock beside releasing it: what each asks for, where it is offered, and what it would do.
//!
//! | Action | Compares | Then |
//! |---|---|---|
//! | release and hold | as a release | an operator's token stands in the holder's place, for a while; nobody is woken |
//! | extend a hold | that token, as a release | its lease begins anew |
//! | put back | that nobody has the lock | the former holder has it again, as it was |
//! | raise the fence | as a release, and the counter | the counter is one higher |

use lockkeeper_model::{
    Action, Collateral, DEFAULT_HOLD_MS, HOLD_MS, Holder, LockId, Mode, OtherLocks, Outcome, PreviewRequest,
    PreviewedLock, SourceStatus, Strength, Time, Told, TransitionKind, Warning, words,
};

use super::Refusal;
use super::former::Former;
use super::preview::{explain, warn_of_source};
use crate::access::Right;
use crate::board::{Found, Held};
use crate::source::operator_hold::{self, OperatorHold};
use crate::source::{Act, ReleaseOrder};

/// Why a lock on several masters is only released.
const ON_SEVERAL_MASTERS: &str = "it lies on several masters, where it could be done on some of them only";

/// The rights that an action needs on each lock.
pub(super) fn rights(action: Action) -> &'static [Right] {
    if action.holds() { &[Right::Release, Right::Hold] } else { &[Right::Release] }
}

/// For how long an operator is to hold the locks, in milliseconds; `None` where none is to.
///
/// # Errors
/// When it is out of bounds, or makes no sense for the action.
pub(super) fn hold_ms(request: &PreviewRequest) -> Result<Option<i64>, Refusal> {
    match (request.action.holds(), request.hold_ms) {
        (false, None) => Ok(None),
        (false, Some(_)) => Err(Refusal::HoldTime {
            problem: format!("makes no sense for the action `{}`, leave it out", request.action.word()),
        }),
        (true, asked) => match asked.unwrap_or(DEFAULT_HOLD_MS) {
            ms if HOLD_MS.contains(&ms) => Ok(Some(ms)),
            ms => Err(Refusal::HoldTime {
                problem: format!("is {ms}, expected {} to {} milliseconds", HOLD_MS.start(), HOLD_MS.end()),
            }),
        },
    }
}

/// What an action is called where it is refused: "… `lock` is not offered".
pub(super) fn called(action: Action) -> &'static str {
    match action {
        Action::Release => "a release of",
        Action::EvictWaiter => "taking a waiter from the queue of",
        Action::ReleaseAndHold => "holding",
        Action::ExtendHold => "an extension of",
        Action::PutBack => "putting back",
        Action::RaiseFence => "raising the fence of",
    }
}

/// What is typed where the name of a lock cannot be, and what there are several of.
pub(super) fn verb(action: Action) -> (&'static str, &'static str) {
    match action {
        Action::Release => ("release", "locks"),
        Action::EvictWaiter => ("evict", "waiters"),
        Action::ReleaseAndHold => ("hold", "locks"),
        Action::ExtendHold => ("extend", "holds"),
        Action::PutBack => ("put back", "locks"),
        Action::RaiseFence => ("raise", "fences"),
    }
}

/// Why an action is not offered on this hold; `None` where it is. A release has its own rules.
pub(super) fn not_offered(action: Action, held: &Held, holder: &Holder) -> Option<&'static str> {
    let Held { lock, traits, .. } = held;
    if !matches!(action, Action::ReleaseAndHold | Action::ExtendHold | Action::RaiseFence) {
        return None;
    }
    if lock.quorum.is_some() {
        return Some(ON_SEVERAL_MASTERS);
    }
    let by_operator = OperatorHold::of(token(held, holder)).is_some() && holder.identity.operator.is_some();
    match action {
        Action::ReleaseAndHold if by_operator => Some("an operator holds it already: extend the hold, or open it"),
        Action::ReleaseAndHold if lock.mode != Mode::Exclusive => {
            Some("several may hold it at a time, so that an operator in the place of one would keep nobody out")
        }
        Action::ReleaseAndHold => traits.no_hold,
        Action::ExtendHold if !by_operator => Some("no operator holds it, and a program's lease is its own to extend"),
        Action::RaiseFence if holder.fencing_token.is_none() || traits.raise_fence.is_none() => {
            Some("no fencing counter of it is known in the store")
        }
        _ => None,
    }
}

fn token<'a>(held: &'a Held, holder: &Holder) -> &'a [u8] {
    let place = held.lock.holders.iter().position(|one| one.generation == holder.generation);
    place.and_then(|place| held.orders.get(place)).map_or(&[], |order| &order.token)
}

/// Whether somebody loses the lock by it. Nobody does when a waiter goes, or when what a holder has is changed.
pub(super) fn ends_a_hold(action: Action) -> bool {
    matches!(action, Action::Release | Action::ReleaseAndHold)
}

/// The order with what it is to do.
pub(super) fn to_be_sent(action: Action, order: ReleaseOrder, hold_ms: Option<i64>, person: &str) -> ReleaseOrder {
    let lease_ms = hold_ms.unwrap_or(DEFAULT_HOLD_MS);
    let act = match action {
        // A queue's order says by itself that it evicts, and a former hold's that it puts back.
        Action::Release | Action::EvictWaiter | Action::PutBack => return order,
        Action::ReleaseAndHold => Act::Hold { with: operator_hold::token(order.dialect, person).into(), lease_ms },
        Action::ExtendHold => Act::ExtendHold { lease_ms },
        Action::RaiseFence => Act::RaiseFence,
    };
    ReleaseOrder { act, ..order }
}

/// What an action is called in what is told of it.
pub(super) struct Words {
    /// What became of what was freed.
    pub(super) what: &'static str,
    /// Why nothing was left to do.
    pub(super) over: &'static str,
    /// What may have been done.
    pub(super) done: &'static str,
}

/// The words for an action.
pub(super) fn words_for(action: Action) -> Words {
    let (what, over, done) = match action {
        Action::Release => ("freed", "it was free already", "freed"),
        Action::EvictWaiter => ("taken out of the queue", "nobody is in its queue any more", "done"),
        Action::ReleaseAndHold => ("freed", "it was free already", "freed and held"),
        Action::ExtendHold => ("extended", "the operator's hold is over", "extended"),
        Action::PutBack => ("put back", "nobody has it", "put back"),
        Action::RaiseFence => ("raised", "it was free already", "raised"),
    };
    Words { what, over, done }
}

/// What it is called that an action other than freeing was done.
pub(super) fn outcome(action: Action) -> Outcome {
    match action {
        Action::ReleaseAndHold => Outcome::Held,
        Action::ExtendHold => Outcome::Extended,
        Action::PutBack => Outcome::PutBack,
        Action::RaiseFence => Outcome::Raised,
        // Freeing has its own answer.
        Action::Release | Action::EvictWaiter => Outcome::Unknown,
    }
}

/// What was done, in a sentence.
pub(super) fn done(action: Action, person: &str, held_until: Option<Time>, number: Option<i64>) -> String {
    let until = held_until.map(|at| format!(" until {at}")).unwrap_or_default();
    let person = words::shown(person);
    match action {
        Action::ReleaseAndHold => format!("freed, and held for `{person}`{until}; nobody was woken"),
        Action::ExtendHold => format!("the operator's hold stands{until}"),
        Action::PutBack => "the former holder has it again, as it was".to_owned(),
        Action::RaiseFence => match number {
            Some(number) => format!("the fencing counter is {number} now; the holder keeps the lock"),
            None => "the fencing counter was raised; the holder keeps the lock".to_owned(),
        },
        Action::Release | Action::EvictWaiter => {
            "the store did something else than to free it: look at the lock".to_owned()
        }
    }
}

/// What putting an operator in a holder's place would do.
pub(super) fn explain_hold(held: &Held, holder: &Holder, status: &SourceStatus, ms: i64) -> PreviewedLock {
    let mut shown = explain(held, holder, status);
    let who_waits = match held.lock.waiters.count {
        Some(0) => "Nobody is known to wait for it.".to_owned(),
        Some(1) => "The one who waits goes on waiting.".to_owned(),
        Some(waiters) => format!("The {waiters} who wait go on waiting."),
        None => "Those who wait, of whom nothing is known, go on waiting.".to_owned(),
    };
    shown.plan = format!(
        "What a release compares is compared, and in the same step of the store your token takes the holder's place, for \
         {}: nobody gets in. Nobody is woken. {who_waits} Then open it, which wakes them, or extend your hold; if you do \
         neither, the lock lapses by itself and is free.",
        words::duration(ms)
    );
    // As long as the operator has it, nobody can take it again.
    shown.warnings.retain(|warning| warning.code != "comes_back");
    shown
}

/// What extending an operator's hold would do.
pub(super) fn explain_extension(held: &Held, holder: &Holder, status: &SourceStatus, ms: i64) -> PreviewedLock {
    let left = match holder.lease.ttl_ms {
        Some(left) => format!("instead of in {}", words::duration(left.max(0))),
        None => "instead of never".to_owned(),
    };
    let who = words::shown(holder.identity.operator.as_deref().unwrap_or_default());
    let plan = format!(
        "If exactly this token still has the lock, the hold of `{who}` ends in {} from then on, {left}. Nothing else is \
         changed, and nobody is woken.",
        words::duration(ms)
    );
    PreviewedLock { plan, warnings: of_source(status), ..explain(held, holder, status) }
}

/// What counting up the fencing counter would do, and what it would not.
pub(super) fn explain_fence(held: &Held, holder: &Holder, status: &SourceStatus) -> PreviewedLock {
    let number = holder.fencing_token.as_ref().map_or("unknown", |fence| fence.value.as_str());
    let next = number.parse::<i64>().ok().and_then(|number| number.checked_add(1));
    let next = next.map_or_else(|| "one more".to_owned(), |next| next.to_string());
    let plan = format!(
        "The fencing counter in the store goes from {} to {next}, only if it is still that and exactly this holder still \
         has the lock. The holder keeps the lock, and nobody is woken. What the lock protects refuses this holder's writes \
         from then on only if it compares their number with this counter; where it compares with the highest number that \
         it has met, it refuses them when somebody with a higher one has written; where it compares nothing, this changes \
         nothing. {}",
        words::shown(number),
        held.traits.raise_fence.unwrap_or_default()
    );
    PreviewedLock {
        plan,
        told: Told::Never,
        told_because: "Nobody tells the holder: it finds out when what the lock protects refuses it.".to_owned(),
        warnings: of_source(status),
        ..explain(held, holder, status)
    }
}

/// What giving a lock back to its former holder would do.
pub(super) fn explain_put_back(former: &Former, found: &Found, id: &LockId, status: &SourceStatus) -> PreviewedLock {
    let lease = match former.order.expires_not_after {
        Some(end) => {
            format!("and the lease that it had, which ends in {}", words::duration(end.since(found.as_of).max(0)))
        }
        None => "and without an expiry, as it was".to_owned(),
    };
    let mut warnings = Vec::new();
    let mut warn = |code: &str, text: &str| warnings.push(Warning { code: code.to_owned(), text: text.to_owned() });
    if is_taken_since(found, former.released_at) {
        warn(
            "taken_meanwhile",
            "somebody had the lock since it was released: the former holder does not know of what they did",
        );
    }
    if former.order.expires_not_after.is_none() {
        warn(
            "no_expiry",
            "the hold had no expiry: if the former holder is gone, or gave the lock up because it was gone, it stays locked \
             until somebody releases it again",
        );
    }
    warn(
        "former_may_have_noticed",
        "a holder that noticed the release by now does not go on by itself, and does not let go of what it is given back",
    );
    warn_of_source(status, &mut warn);
    PreviewedLock {
        source: former.source_name.clone(),
        id: id.clone(),
        name: former.name.clone(),
        generation: former.holder.generation.clone(),
        holder: former.holder.clone(),
        strength: Strength::Atomic,
        told: Told::Never,
        told_because: "Nobody tells it. One that did not notice the release goes on as if nothing had happened."
            .to_owned(),
        plan: format!(
            "If nobody has the lock, its former holder has it again in one step of the store: with exactly the token, \
             the count of {} {lease}. Who has it by then keeps it.",
            former.order.count
        ),
        collateral: Collateral { complete: true, items: Vec::new() },
        waiters: None,
        next: String::new(),
        renewed: String::new(),
        others: OtherLocks::default(),
        actions: Vec::new(),
        warnings,
    }
}

/// Whether somebody took the lock after this moment, as far as was watched.
fn is_taken_since(found: &Found, at: Time) -> bool {
    found.events.iter().take_while(|event| event.at > at).any(|event| {
        matches!(event.transition, TransitionKind::Acquired | TransitionKind::HandedOver | TransitionKind::TakenOver)
    })
}

fn of_source(status: &SourceStatus) -> Vec<Warning> {
    let mut warnings = Vec::new();
    warn_of_source(status, &mut |code, text| {
        warnings.push(Warning { code: code.to_owned(), text: text.to_owned() });
    });
    warnings
}
