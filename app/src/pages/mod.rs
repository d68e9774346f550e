//! The pages, and the frame around them.

mod audit;
mod contention;
#[cfg(feature = "gallery")]
mod gallery;
mod history;
mod holders;
mod incidents;
mod lock;
mod locks;
mod settings;
mod sources;
mod warnings;

use audit::AuditPage;
use contention::ContentionPage;
use history::HistoryPage;
use holders::HoldersPage;
use incidents::IncidentsPage;
use leptos::prelude::*;
use lock::LockPage;
use locks::LocksPage;
use settings::SettingsPage;
use sources::SourcesPage;
use warnings::WarningsPage;

use crate::components::{Banners, Kept, Palette, Requests, Strip, TopBar};
use crate::lang::Wording;
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
    let wording = Wording::start();
    provide_context(wording);
    let page = Memo::new(move |_| nav.route.with(|route| route.page));
    Effect::new(move |_| {
        wording.spoken.track();
        document().set_title(&format!("{} · Lockkeeper", page.get().name()));
    });
    // Words are read where they are drawn: another language is another drawing.
    move || {
        wording.spoken.track();
        drawn(page)
    }
}

fn drawn(page: Memo<Page>) -> AnyView {
    view! {
        <TopBar />
        <Strip />
        <Banners />
        <Requests />
        <Palette />
        {move || match page.get() {
            Page::Locks => view! { <LocksPage /> }.into_any(),
            Page::Audit => view! { <AuditPage /> }.into_any(),
            Page::History => view! { <HistoryPage /> }.into_any(),
            Page::Incidents => view! { <IncidentsPage /> }.into_any(),
            Page::Lock => view! { <LockPage /> }.into_any(),
            Page::Contention => view! { <ContentionPage /> }.into_any(),
            Page::Holders => view! { <HoldersPage /> }.into_any(),
            Page::Sources => view! { <SourcesPage /> }.into_any(),
            Page::Settings => view! { <SettingsPage /> }.into_any(),
            #[cfg(feature = "gallery")]
            Page::Gallery => view! { <gallery::GalleryPage /> }.into_any(),
            Page::Warnings => view! { <WarningsPage /> }.into_any(),
        }}
    }
    .into_any()
}
