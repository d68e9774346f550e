use leptos::prelude::*;

use super::{each, flag, text};

/// What can be chosen while somebody types in a box beside it: the box keeps the focus and names the option at hand in
/// `aria-activedescendant`.
#[component]
pub(crate) fn Listbox(
    /// Its id; those of the options are made of it, see [`option_id`].
    id: &'static str,
    /// What it is called.
    label: &'static str,
    /// The options: what each says, and what is said beside it.
    #[prop(into)]
    options: Signal<Vec<(String, String)>>,
    /// The option at hand.
    at: RwSignal<Option<usize>>,
    /// Told which was chosen.
    choose: Callback<usize>,
) -> impl IntoView {
    let option = move |place: usize| {
        let said = move |pick: fn(&(String, String)) -> &String| {
            text(move || options.with(|options| options.get(place).map(pick).cloned().unwrap_or_default()))
        };
        view! {
            <li
                id=option_id(id, place)
                role="option"
                aria-selected=text(move || (at.get() == Some(place)).to_string())
                // The box keeps the focus.
                on:pointerdown=|event| event.prevent_default()
                on:click=move |_| choose.run(place)
            >
                <span>{said(|(said, _)| said)}</span>
                <small>{said(|(_, note)| note)}</small>
            </li>
        }
    };
    view! {
        <ul id=id role="listbox" class="listbox" aria-label=label hidden=flag(move || options.with(Vec::is_empty))>
            {each(move || options.with(Vec::len), option)}
        </ul>
    }
}

/// The id of an option.
pub(crate) fn option_id(list: &str, place: usize) -> String {
    format!("{list}-{place}")
}

/// Moves the option at hand by an arrow key, round and round. Says whether the key was one.
pub(crate) fn move_by_key(key: &str, at: RwSignal<Option<usize>>, length: usize) -> bool {
    let down = match key {
        "ArrowDown" => true,
        "ArrowUp" => false,
        _ => return false,
    };
    if length > 0 {
        at.set(Some(stepped(at.get_untracked(), down, length)));
    }
    true
}

fn stepped(at: Option<usize>, down: bool, length: usize) -> usize {
    match (at, down) {
        (None, true) => 0,
        (None | Some(0), false) => length - 1,
        (Some(at), true) => (at + 1) % length,
        (Some(at), false) => (at - 1).min(length - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_go_round() {
        let steps =
            [(None, true), (None, false), (Some(2), true), (Some(0), false), (Some(1), false), (Some(9), false)];
        assert_eq!(steps.map(|(at, down)| stepped(at, down, 3)), [0, 2, 0, 2, 0, 2]);
    }
}
