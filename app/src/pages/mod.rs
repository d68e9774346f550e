//! The pages, and the frame around them.

mod audit;
mod locks;

use audit::AuditPage;
use leptos::prelude::*;
use locks::LocksPage;

use crate::components::{Banners, Kept, Palette, Requests, Strip, TopBar};
use crate::live::Live;
use crate::live::route::Page;
use crate::nav::Nav;

/// The whole of what is on the screen.
#[component]
pub(crate) fn App() -> impl IntoView {
    let nav = Nav::start();
    let live = Live::start();
    provide_context(nav);
    provide_context(live);
    provide_context(Kept::start());
    let page = Memo::new(move |_| nav.route.with(|route| route.page));
    Effect::new(move |_| document().set_title(&format!("{} · Lockkeeper", page.get().name())));
    view! {
        <TopBar />
        <Strip />
        <Banners />
        <Requests />
        <Palette />
        {move || match page.get() {
            Page::Locks => view! { <LocksPage /> }.into_any(),
            Page::Audit => view! { <AuditPage /> }.into_any(),
        }}
    }
}
