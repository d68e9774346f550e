use leptos::prelude::*;
use lockkeeper_model::Lock;
use lockkeeper_model::words::shown;

use crate::components::say;

/// One flag on a card.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    let cards = Memo::new(move |_| lock.with(|lock| lock.as_ref().map(cards)).unwrap_or_default());
    view! {
        <For each=move || cards.get() key=Clone::clone let(card)>
            <section class="flag">
                <p>
                    <i class="tag">{card.name}</i>
                    " "
                    <b>{card.what}</b>
                    " "
                    {card.why}
                </p>
                {(!card.todo.is_empty())
                    .then(|| {
                        view! {
                            <p>
                                <b>"What to do: "</b>
                                {card.todo}
                            </p>
                        }
                    })}
            </section>
        </For>
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
