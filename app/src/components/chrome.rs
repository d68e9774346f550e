use leptos::prelude::*;
use lockkeeper_model::words::shown;

use super::NavLink;
use crate::lang::{self, t};
use crate::live::Live;
use crate::live::route::{Page, Route};
use crate::nav::Nav;
use crate::ui::{Glyph, Icon, ThemeButton, When, each, flag, maybe, text};

/// The bar at the top: whose page this is, and on what.
#[component]
pub(crate) fn TopBar() -> impl IntoView {
    let live = expect_context::<Live>();
    let nav = expect_context::<Nav>();
    let environments = move || {
        live.sources.with(|sources| {
            let mut names: Vec<String> = Vec::new();
            for name in sources.iter().filter_map(|source| source.environment.as_ref()) {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
            names
        })
    };
    let badge = move |at: usize| {
        let name = text(move || environments().get(at).cloned().unwrap_or_default());
        view! {
            <span class="badge" class:production=flag(move || name.with(|name| name == "production"))>
                {text(move || shown(&name.get()))}
            </span>
        }
    };
    let version = maybe(move || live.version.get().map(|version| format!("Lockkeeper {version}")));
    view! {
        <header class="top">
            <a class="brand" href="/" title=version>
                <Icon glyph=Glyph::Gate />
                "Lockkeeper"
            </a>
            <nav aria-label=t!(pages)>
                {Page::ALL
                    .iter()
                    .copied()
                    .filter(|page| page.is_offered())
                    .map(|page| {
                        let current = maybe(move || {
                            nav.route.with(|route| (route.page == page).then(|| "page".to_owned()))
                        });
                        let route = Route { page, ..Route::default() };
                        view! {
                            <NavLink route current>
                                {page.name()}
                                {badge_of(page, live)}
                            </NavLink>
                        }
                    })
                    .collect_view()}
            </nav>
            <When holds=live.demo>
                <span class="badge demo">{t!(demo_invented_locks_on_a)}</span>
            </When>
            {each(move || environments().len(), badge)}
            <ThemeButton />
        </header>
    }
}

/// How many warnings nobody has answered, beside the name of their page.
fn badge_of(page: Page, live: Live) -> Option<impl IntoView> {
    (page == Page::Warnings).then(|| {
        let class = text(move || format!("count {}", live.worst.get().unwrap_or_default()));
        view! {
            <When holds=flag(move || live.warnings.get() > 0)>
                " "
                <span class=class>{text(move || live.warnings.get().to_string())}</span>
                <span class="unseen">{maybe(move || live.worst.get().map(|worst| t!(open_the_worst_is, lang::severity_named(&worst))))}</span>
            </When>
        }
    })
}
