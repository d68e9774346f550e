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
use leptos::either::Either;
use leptos::prelude::*;
use lock::LockPage;
use locks::LocksPage;
use settings::SettingsPage;
use sources::SourcesPage;
use warnings::WarningsPage;

use crate::components::{Banners, Kept, Requests, Shortcuts, Strip, TopBar};
use crate::lang::Wording;
use crate::live::Live;
use crate::live::route::Page;
use crate::nav::Nav;
use crate::parts::{Parts, Piece};
use crate::ui::follow_copies;

/// The whole of what is on the screen.
#[component]
pub(crate) fn App() -> impl IntoView {
    let nav = Nav::start();
    let live = Live::start();
    provide_context(nav);
    provide_context(live);
    provide_context(Kept::start());
    let parts = Parts::start(live);
    provide_context(parts);
    follow_copies();
    let wording = Wording::start();
    provide_context(wording);
    let page = Memo::new(move |_| nav.route.with(|route| route.page));
    Effect::new(move |_| {
        wording.spoken.track();
        document().set_title(&format!("{} · Lockkeeper", page.get().name()));
        // Once it is drawn: on a narrow screen the name of the page may be beyond the edge.
        request_animation_frame(show_current);
    });
    // Words are read where they are drawn: another language is another drawing. It stands on the other side each time, so that
    // nothing of the one before is kept: a list would keep its rows, in their language.
    let side = StoredValue::new(false);
    move || {
        wording.spoken.track();
        side.update_value(|side| *side = !*side);
        match side.get_value() {
            true => Either::Left(drawn(page, parts)),
            false => Either::Right(drawn(page, parts)),
        }
    }
}

/// Moves the names of the pages so far that the one of this page is seen.
fn show_current() {
    let Ok(Some(link)) = document().query_selector("nav [aria-current]") else { return };
    let Some(names) = link.closest("nav").ok().flatten() else { return };
    let (link, beyond) = (link.get_bounding_client_rect(), names.get_bounding_client_rect());
    if link.right() > beyond.right() || link.left() < beyond.left() {
        let middle = link.left() - beyond.left() - (beyond.width() - link.width()) / 2.0;
        names.set_scroll_left(names.scroll_left() + middle as i32);
    }
}

fn drawn(page: Memo<Page>, parts: Parts) -> AnyView {
    view! {
        <TopBar />
        <Strip />
        <Banners />
        <Requests />
        <Shortcuts />
        {move || match page.get() {
            // In an owner of its own, as the others are: what it offers to its pieces has to go with it.
            Page::Locks => (|| view! { <LocksPage /> }.into_any()).into_any(),
            page => parts.draw(Piece::Page(page)),
        }}
    }
    .into_any()
}

/// The pages of what is so now, other than the first.
pub(crate) fn aside(page: Page) -> AnyView {
    match page {
        Page::Audit => view! { <AuditPage /> }.into_any(),
        Page::Contention => view! { <ContentionPage /> }.into_any(),
        Page::Holders => view! { <HoldersPage /> }.into_any(),
        Page::Sources => view! { <SourcesPage /> }.into_any(),
        Page::Settings => view! { <SettingsPage /> }.into_any(),
        #[cfg(feature = "gallery")]
        Page::Gallery => view! { <gallery::GalleryPage /> }.into_any(),
        Page::Warnings => view! { <WarningsPage /> }.into_any(),
        Page::Locks | Page::History | Page::Incidents | Page::Lock => ().into_any(),
    }
}

/// The pages of what was, and of everything about one lock.
pub(crate) fn past(page: Page) -> AnyView {
    match page {
        Page::History => view! { <HistoryPage /> }.into_any(),
        Page::Incidents => view! { <IncidentsPage /> }.into_any(),
        Page::Lock => view! { <LockPage /> }.into_any(),
        _ => ().into_any(),
    }
}
