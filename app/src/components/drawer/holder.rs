use leptos::prelude::*;
use lockkeeper_model::words::{short_token, shown};
use lockkeeper_model::{Action, Holder, Lock, Mode, PreviewRequest, Time};

use super::release_button::ReleaseButton;
use crate::components::facts::{self, Facts};
use crate::components::facts_list::FactsList;
use crate::components::say::{self, Look};
use crate::components::sentence::{capital, verdict_on};
use crate::components::verdict::verdict_class;
use crate::lang::{self, t};
use crate::live::Live;
use crate::ui::{Drain, DrainBar, When, copies, copies_shown, each, flag, maybe, text};

/// A token up to this many characters is read and compared as a whole: a UUID with a thread behind it. A longer one is
/// copied.
const LONGEST_WHOLE: usize = 64;

/// One hold: who has it, whether that one lives and what this rests on, for how long yet, and what else is known.
#[component]
pub(crate) fn HolderBlock(
    /// The lock.
    lock: Memo<Option<Lock>>,
    /// The holder's place among all.
    at: usize,
    /// Whether there are others.
    #[prop(into)]
    several: Signal<bool>,
    /// Set to open the dialog.
    releasing: RwSignal<Option<PreviewRequest>>,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let holder = move || lock.with(|lock| lock.as_ref()?.holders.get(at).cloned());
    let mode = move || lock.with(|lock| lock.as_ref().map_or(Mode::Exclusive, |lock| lock.mode));
    let offered = flag(move || lock.with(|lock| lock.as_ref().is_some_and(|lock| lock.no_release.is_none())));
    let about = move |say: fn(&Holder) -> String| maybe(move || holder().as_ref().map(say));
    let who = about(|holder| {
        say::identity(&holder.identity).unwrap_or_else(|| t!(unknown_its_token_names_nobody).to_owned())
    });
    let token = about(short);
    let whole = text(move || holder().map(|holder| holder.token.unwrap_or(holder.token_b64)).unwrap_or_default());
    // The class and the word of the verdict, then its evidence: lines of the same form as all other facts.
    let judged = Memo::new(move |_| {
        let now = Time(live.now.get());
        holder().map(|holder| judged(&holder, now)).unwrap_or_default()
    });
    let class = text(move || judged.with(|judged| judged.first().map_or("", |(class, _)| *class)));
    let line = move |at: usize| maybe(move || judged.with(|judged| judged.get(at).map(|(_, line)| line.clone())));
    let facts = Memo::new(move |_| {
        let now = Time(live.now.get());
        holder().map(|holder| facts::of_holder(&holder, mode(), now)).unwrap_or_default()
    });
    view! {
        <section class="holder" aria-label=who>
            <When holds=several>
                <h3>{text(move || format!("{} {}", one_of(mode()), at + 1))}</h3>
            </When>
            <p>
                <b>{who}</b>
                {copies_shown(t!(holder))}
            </p>
            <p class=class>{line(0)}</p>
            <ul class="evidence">
                {each(move || judged.with(Vec::len).saturating_sub(1), move |at| view! { <li>{line(at + 1)}</li> })}
            </ul>
            <dl class="facts">
                <dt>{t!(token)}</dt>
                <dd>
                    <code title=text(move || shown(&whole.get()))>{token}</code>
                    {copies(t!(the_token), whole)}
                </dd>
            </dl>
            <LeaseBar lock at />
            <FactsList facts />
            <When holds=flag(move || several.get() && offered.get())>
                <div class="holder-release">
                    <ReleaseButton lock action=Action::Release at releasing />
                </div>
            </When>
        </section>
    }
}

/// What is left of a lease, drawn.
#[component]
fn LeaseBar(lock: Memo<Option<Lock>>, at: usize) -> impl IntoView {
    let live = expect_context::<Live>();
    let holder = move || lock.with(|lock| lock.as_ref()?.holders.get(at).cloned());
    let drain = move || holder().as_ref().and_then(drain);
    let endless = flag(move || holder().is_some_and(|holder| holder.lease.expires_at.is_none()));
    let ends_at = Memo::new(move |_| drain().map_or(0, |drain| drain.ends_at));
    let length_ms = Memo::new(move |_| drain().map_or(1, |drain| drain.length_ms));
    let stopped_at = Memo::new(move |_| if live.link.get().is_live() { None } else { Some(live.now.get()) });
    view! {
        <div class="lease" class:endless=endless>
            <When holds=flag(move || drain().is_some())>
                <DrainBar ends_at length_ms stopped_at now=move || live.exact_now() />
            </When>
            <When holds=endless>
                <div class="drain" aria-hidden="true"></div>
            </When>
        </div>
    }
}

/// What is judged of a holder: the look and the word of the verdict, then what it rests on. What the passing of time
/// changes is judged here; what the server knows beyond that is added.
fn judged(holder: &Holder, now: Time) -> Facts {
    let (verdict, mut lines) = verdict_on(holder, now);
    let timed = lines.len();
    lines.extend(holder.evidence.iter().skip(timed).cloned());
    let mut judged: Facts = vec![(verdict_class(Look::Verdict(verdict)), lang::verdict(verdict).to_owned())];
    judged.extend(lines.iter().map(|line| ("", capital(line))));
    judged
}

/// The lease as it was last granted; `None` where its length is not known.
fn drain(holder: &Holder) -> Option<Drain> {
    let ends_at = holder.lease.expires_at?;
    let granted = holder.renewals.last_at.or(holder.held_since.not_before.and(holder.held_since.not_after))?;
    Some(Drain { ends_at: ends_at.0, length_ms: ends_at.since(granted) }).filter(|drain| drain.length_ms > 0)
}

fn short(holder: &Holder) -> String {
    match &holder.token {
        Some(token) if token.is_empty() => t!(empty_token).to_owned(),
        Some(token) if token.chars().count() <= LONGEST_WHOLE => shown(token),
        Some(token) => short_token(token),
        None => t!(not_text_base64, short_token(&holder.token_b64)),
    }
}

fn one_of(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive | Mode::Leader => t!(holder),
        Mode::Shared => t!(reader),
        Mode::Semaphore => t!(permit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::lock;

    #[test]
    fn what_only_the_server_knows_stands_under_what_time_changes() {
        let mut holder = lock().holders[0].clone();
        holder.evidence = vec!["renewed 0.1 s ago, every 10.0 s".to_owned(), "its token was made at noon".to_owned()];
        let said = judged(&holder, Time(61_000));
        assert_eq!(said[0], ("verdict alive", "alive".to_owned()));
        let evidence: Vec<&str> = said[1..].iter().map(|(_, line)| line.as_str()).collect();
        assert_eq!(evidence, ["Renewed 1.0 s ago, every 10.0 s.", "Its token was made at noon."]);
    }

    #[test]
    fn a_lease_is_drawn_only_where_its_length_is_known() {
        let mut holder = lock().holders[0].clone();
        assert_eq!(drain(&holder), Some(Drain { ends_at: 90_000, length_ms: 30_000 }));
        holder.renewals.last_at = None;
        holder.held_since.not_before = None;
        assert_eq!(drain(&holder), None);
    }
}
