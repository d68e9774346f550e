use leptos::prelude::*;

use super::{Glyph, Icon, text};
use crate::lang::t;

const REMEMBERED_AS: &str = "lockkeeper-theme";

/// Light, dark, or whatever the system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theme {
    Auto,
    Light,
    Dark,
}

impl Theme {
    const ALL: [Theme; 3] = [Theme::Auto, Theme::Light, Theme::Dark];

    fn word(self) -> &'static str {
        match self {
            Theme::Auto => "auto",
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }

    fn said(self) -> &'static str {
        match self {
            Theme::Auto => t!(theme_auto),
            Theme::Light => t!(theme_light),
            Theme::Dark => t!(theme_dark),
        }
    }

    fn next(self) -> Theme {
        match self {
            Theme::Auto => Theme::Light,
            Theme::Light => Theme::Dark,
            Theme::Dark => Theme::Auto,
        }
    }

    fn remembered() -> Theme {
        let stored = window().local_storage().ok().flatten();
        let word = stored.and_then(|storage| storage.get_item(REMEMBERED_AS).ok().flatten());
        Theme::ALL.into_iter().find(|theme| word.as_deref() == Some(theme.word())).unwrap_or(Theme::Auto)
    }
}

/// Switches between light, dark and the system's choice, and remembers it.
#[component]
pub(crate) fn ThemeButton() -> impl IntoView {
    let theme = RwSignal::new(Theme::remembered());
    Effect::new(move |_| {
        let theme = theme.get();
        if let Some(root) = document().document_element() {
            let _ = root.set_attribute("data-theme", theme.word());
        }
        // Without storage the choice lasts as long as the page.
        if let Ok(Some(storage)) = window().local_storage() {
            let _ = storage.set_item(REMEMBERED_AS, theme.word());
        }
    });
    let label = text(move || t!(theme_is, theme.get().said()));
    view! {
        <button type="button" class="plain icon-button" aria-label=label title=label on:click=move |_| theme.update(|theme| *theme = theme.next())>
            <Icon glyph=Glyph::Contrast />
        </button>
    }
}
