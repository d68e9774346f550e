use leptos::prelude::*;
use lockkeeper_model::words::shown;

use crate::live::Live;
use crate::ui::{Glyph, Icon, ThemeButton, When, maybe};

/// The bar at the top: whose page this is, and on what.
#[component]
pub(crate) fn TopBar() -> impl IntoView {
    let live = expect_context::<Live>();
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
    let version = maybe(move || live.version.get().map(|version| format!("Lockkeeper {version}")));
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
            <When holds=live.demo>
                <span class="badge demo">"Demo: invented locks on a throw-away Redis"</span>
            </When>
            <For each=move || environments() key=Clone::clone let(name)>
                <span class="badge" class:production=name == "production">
                    {shown(&name)}
                </span>
            </For>
            <ThemeButton />
        </header>
    }
}
