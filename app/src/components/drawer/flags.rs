use leptos::prelude::*;
use lockkeeper_model::Lock;
use lockkeeper_model::words::shown;

use crate::components::say;
use crate::lang::{self, t};
use crate::ui::{When, each, flag, text};

/// One flag on a card.
#[derive(Debug)]
struct Card {
    name: String,
    what: String,
    why: String,
    todo: String,
}

/// What is dangerous about the lock, why that matters, and what to do.
#[component]
pub(crate) fn Flags(
    /// The lock.
    lock: Memo<Option<Lock>>,
) -> impl IntoView {
    let card = move |at: usize| {
        let said = move |part: fn(Card) -> String| {
            text(move || lock.with(|lock| cards(lock.as_ref()?).into_iter().nth(at).map(part)).unwrap_or_default())
        };
        let todo = said(|card| card.todo);
        view! {
            <section class="flag">
                <p>
                    <i class="tag">{said(|card| card.name)}</i>
                    " "
                    <b lang=lang::of_the_server()>{said(|card| card.what)}</b>
                    " "
                    <span lang=lang::of_the_server()>{said(|card| card.why)}</span>
                </p>
                <When holds=flag(move || !todo.with(String::is_empty))>
                    <p>
                        <b>{t!(what_to_do)}</b>
                        <span lang=lang::of_the_server()>{todo}</span>
                    </p>
                </When>
            </section>
        }
    };
    let count = move || lock.with(|lock| lock.as_ref().map_or(0, |lock| lock.flags.len()));
    view! {
        <When holds=flag(move || count() > 0)>
            <h3>{t!(warnings)}</h3>
        </When>
        {each(count, card)}
    }
}

fn cards(lock: &Lock) -> Vec<Card> {
    let card = |flag| {
        let name = say::flag_name(flag);
        match lock.flag_notes.iter().find(|note| note.flag == flag) {
            Some(note) => Card { name, what: shown(&note.what), why: shown(&note.why), todo: shown(&note.todo) },
            None => Card { name, what: String::new(), why: String::new(), todo: String::new() },
        }
    };
    lock.flags.iter().copied().map(card).collect()
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{Flag, FlagNote};

    use super::*;
    use crate::fixtures::lock;

    #[test]
    fn every_flag_has_a_card_whether_it_was_explained_or_not() {
        let mut lock = lock();
        lock.flags = vec![Flag::NoExpiry, Flag::FailedOver];
        lock.flag_notes = vec![FlagNote {
            flag: Flag::NoExpiry,
            what: "It has no expiry.".to_owned(),
            why: "w\u{202e}".to_owned(),
            todo: "t".to_owned(),
        }];
        let cards = cards(&lock);
        assert_eq!((cards[0].what.as_str(), cards[0].why.as_str()), ("It has no expiry.", "w\\u{202e}"));
        assert_eq!((cards[1].name.as_str(), cards[1].todo.as_str()), ("failed over", ""));
    }
}
