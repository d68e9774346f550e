//! Which language is spoken: the one that was chosen in this browser, or the first that the browser asks for.

use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::{Language, speak};
use crate::live::api;
use crate::ui::{keep, kept};

/// Where the choice is kept.
const KEPT_AS: &str = "lockkeeper-language";

/// What the page says to people, as state.
#[derive(Clone, Copy)]
pub(crate) struct Wording {
    /// What was chosen; `None`: whatever the browser asks for.
    pub(crate) chosen: RwSignal<Option<Language>>,
    /// What is on the screen. Whoever draws words is drawn anew when this changes.
    pub(crate) spoken: RwSignal<Language>,
    /// The language that was wanted and could not be had.
    pub(crate) failed: RwSignal<Option<Language>>,
}

impl Wording {
    /// Speaks English until the words of another language have come, if one is wanted.
    pub(crate) fn start() -> Wording {
        let kept = kept(KEPT_AS).as_deref().and_then(named);
        let wording = Wording {
            chosen: RwSignal::new(kept),
            spoken: RwSignal::new(Language::English),
            failed: RwSignal::new(None),
        };
        Effect::new(move |_| {
            if let Some(root) = document().document_element() {
                let _ = root.set_attribute("lang", wording.spoken.get().tag());
            }
        });
        wording.follow();
        wording
    }

    /// Speaks another language, and remembers that.
    pub(crate) fn choose(self, language: Option<Language>) {
        keep(KEPT_AS, language.map_or("", Language::tag));
        self.chosen.set(language);
        self.follow();
    }

    /// Fetches what is wanted, or says that it cannot be had.
    pub(crate) fn follow(self) {
        let wanted = self.wanted();
        self.failed.set(None);
        if wanted == Language::English {
            self.say(wanted, "");
            return;
        }
        spawn_local(async move {
            let words = match address(wanted) {
                Some(path) => api::words(path).await,
                None => None,
            };
            // Something else may have been chosen meanwhile.
            if self.wanted() == wanted && !words.is_some_and(|words| self.say(wanted, &words)) {
                self.say(Language::English, "");
                self.failed.set(Some(wanted));
            }
        });
    }

    fn say(self, language: Language, words: &str) -> bool {
        let is_spoken = speak(language, words);
        if is_spoken && self.spoken.get_untracked() != language {
            self.spoken.set(language);
        }
        is_spoken
    }

    fn wanted(self) -> Language {
        self.chosen.get_untracked().unwrap_or_else(|| {
            let asked = window().navigator().languages();
            asked_for(asked.iter().filter_map(|tag| tag.as_string()))
        })
    }
}

/// Where the words of a language are, under the name with a hash that the build gave them; it stands in the page.
fn address(language: Language) -> Option<String> {
    let selector = format!("script[data-words={}]", language.tag());
    document().query_selector(&selector).ok().flatten()?.get_attribute("src")
}

/// The language of a tag such as `de-AT`.
fn named(tag: &str) -> Option<Language> {
    let primary = tag.split('-').next().unwrap_or(tag);
    Language::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(primary))
}

/// The first of these that is spoken here; English if none is.
fn asked_for(mut tags: impl Iterator<Item = String>) -> Language {
    tags.find_map(|tag| named(&tag)).unwrap_or(Language::English)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_language_that_is_spoken_here_is_taken() {
        let asked = |tags: &[&str]| asked_for(tags.iter().map(|tag| (*tag).to_owned()));
        assert_eq!(asked(&["fr-CA", "de-AT", "en"]), Language::German);
        assert_eq!(asked(&["en-GB", "de"]), Language::English);
        assert_eq!(asked(&["DE"]), Language::German);
        assert_eq!((asked(&["den", "ja"]), asked(&[])), (Language::English, Language::English));
    }
}
