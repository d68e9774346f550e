use leptos::prelude::*;
use lockkeeper_model::words::shown;

use crate::live::Live;
use crate::ui::{Glyph, Icon, ThemeButton, When};

/// The bar at the top: whose page this is, and on what.
#[component]
pub(crate) fn TopBar() -> impl IntoView {
    let live = expect_context::<Live>();
    let environments = Memo::new(move |_| {
        live.sources.with(|sources| {
            let mut names: Vec<String> = sources.iter().filter_map(|source| source.environment.clone()).collect();
            names.sort();
            names.dedup();
            names
        })
    });
    let demo = Memo::new(move |_| live.server.with(|server| server.as_ref().is_some_and(|server| server.demo)));
    let version =
        move || live.server.with(|server| server.as_ref().map(|server| format!("Lockkeeper {}", server.version)));
    view! {
        <header class="top">
            <a class="brand" href="/" title=version>
                <Icon glyph=Glyph::Gate />
                "Lockkeeper"
            </a>
            <nav aria-label="Pages">
                <a href="/" aria-current="page">
                    "Locks"
                </a>
            </nav>
            <When holds=demo>
                <span class="badge demo">"Demo: invented locks on a throw-away Redis"</span>
            </When>
            <For each=move || environments.get() key=Clone::clone let(name)>
                <span class="badge" class:production=name == "production">
                    {shown(&name)}
                </span>
            </For>
            <ThemeButton />
        </header>
    }
}
