//! What is fetched after the page: pages and dialogs that are rarely opened, in parts that the build cuts off.
//!
//! Whatever only a part uses lies in it. A part is fetched when something of it is opened, and otherwise once the page is
//! live and at rest, so that a link that is lost later makes nothing unreachable. Built without the feature `parts`, all
//! of it is there from the start.

use std::time::Duration;

use leptos::prelude::*;
use leptos::wasm_split::SplitLoaderError;
use lockkeeper_model::Approval;
use wasm_bindgen_futures::spawn_local;

use crate::components::{DecideDialog, Grouped, Shortcut, ShortcutDialog, reload};
use crate::lang::t;
use crate::live::Live;
use crate::live::route::Page;
use crate::pages;
use crate::ui::{When, flag, skeleton, text};

/// How long the page has been live before what nobody asked for is fetched: the rows come first.
const REST: Duration = Duration::from_secs(1);

/// How long a part may take before it is said that it does not come; one that comes later is shown all the same.
const PATIENCE: Duration = Duration::from_secs(15);

/// Something that a part draws.
#[derive(Clone)]
pub(crate) enum Piece {
    /// A page other than the first.
    Page(Page),
    /// The locks put together.
    Groups,
    /// A dialog that a key opened, until that is `None` again.
    Shortcut(RwSignal<Option<Shortcut>>),
    /// The dialog in which a request is decided: what is asked, what closes it, and what looks again at what waits.
    Decide(Box<Approval>, RwSignal<Option<String>>, Callback<()>),
}

/// Draws the pieces of a part.
type Draw = fn(Piece) -> AnyView;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// What is so now, beside the locks.
    Aside,
    /// What was, and everything about one lock.
    Past,
}

/// How far a part has come.
#[derive(Clone, Copy)]
enum Progress {
    Absent,
    Coming,
    There(Draw),
    Failed,
}

/// The parts of the app, as state.
#[derive(Clone, Copy)]
pub(crate) struct Parts {
    live: Live,
    aside: RwSignal<Progress>,
    past: RwSignal<Progress>,
}

macro_rules! part {
    ($name:ident, $draw:ident) => {
        #[cfg(feature = "parts")]
        #[leptos::wasm_split::wasm_split($name, fallible, wasm_split_path = leptos::wasm_split)]
        fn $name() -> Result<Draw, SplitLoaderError> {
            Ok($draw)
        }

        #[cfg(not(feature = "parts"))]
        async fn $name() -> Result<Draw, SplitLoaderError> {
            Ok($draw)
        }
    };
}

part!(aside, draw_aside);
part!(past, draw_past);

fn draw_aside(piece: Piece) -> AnyView {
    match piece {
        Piece::Page(page) => pages::aside(page),
        Piece::Groups => view! { <Grouped /> }.into_any(),
        Piece::Shortcut(opened) => view! { <ShortcutDialog opened /> }.into_any(),
        Piece::Decide(request, deciding, look) => view! { <DecideDialog request=*request deciding look /> }.into_any(),
    }
}

fn draw_past(piece: Piece) -> AnyView {
    match piece {
        Piece::Page(page) => pages::past(page),
        Piece::Groups | Piece::Shortcut(_) | Piece::Decide(..) => ().into_any(),
    }
}

impl Piece {
    fn part(&self) -> Part {
        match self {
            Piece::Page(Page::History | Page::Incidents | Page::Lock) => Part::Past,
            Piece::Page(_) | Piece::Groups | Piece::Shortcut(_) | Piece::Decide(..) => Part::Aside,
        }
    }

    /// Whether it opens over the page: long after the click that asked for it, it would only be in the way.
    fn is_dialog(&self) -> bool {
        matches!(self, Piece::Shortcut(_) | Piece::Decide(..))
    }

    fn close(&self) {
        match self {
            Piece::Shortcut(opened) => opened.set(None),
            Piece::Decide(_, deciding, _) => deciding.set(None),
            Piece::Page(_) | Piece::Groups => {}
        }
    }

    /// What stands in its place until it is there.
    fn awaited(&self) -> AnyView {
        match self {
            Piece::Page(page) => view! {
                <main class="page">
                    <h1>{page.name()}</h1>
                    {skeleton("table", t!(asking))}
                </main>
            }
            .into_any(),
            Piece::Groups => skeleton("table", t!(asking)),
            Piece::Shortcut(_) | Piece::Decide(..) => ().into_any(),
        }
    }
}

impl Parts {
    /// Fetches every part in its time, and those that did not come again whenever the connection is back.
    pub(crate) fn start(live: Live) -> Parts {
        let parts = Parts { live, aside: RwSignal::new(Progress::Absent), past: RwSignal::new(Progress::Absent) };
        let is_live = Memo::new(move |_| live.link.get().is_live());
        Effect::new(move |_| {
            if is_live.get() {
                set_timeout(move || [Part::Aside, Part::Past].into_iter().for_each(|part| parts.fetch(part)), REST);
            }
        });
        parts
    }

    /// Draws a piece as soon as its part is there; until then what stands in its place, or why it does not come.
    pub(crate) fn draw(self, piece: Piece) -> AnyView {
        let part = piece.part();
        let progress = self.progress(part);
        self.fetch(part);
        let given_up = StoredValue::new(false);
        let drawn = move || match progress.get() {
            Progress::There(_) if given_up.get_value() && piece.is_dialog() => {
                piece.close();
                ().into_any()
            }
            Progress::There(draw) => draw(piece.clone()),
            Progress::Absent | Progress::Coming => piece.awaited(),
            Progress::Failed => {
                given_up.set_value(true);
                self.missing(&piece, given_up)
            }
        };
        drawn.into_any()
    }

    fn progress(self, part: Part) -> RwSignal<Progress> {
        match part {
            Part::Aside => self.aside,
            Part::Past => self.past,
        }
    }

    fn fetch(self, part: Part) {
        let progress = self.progress(part);
        if matches!(progress.get_untracked(), Progress::Coming | Progress::There(_)) {
            return;
        }
        progress.set(Progress::Coming);
        set_timeout(
            move || {
                if matches!(progress.get_untracked(), Progress::Coming) {
                    progress.set(Progress::Failed);
                }
            },
            PATIENCE,
        );
        spawn_local(async move {
            let draw = match part {
                Part::Aside => aside().await,
                Part::Past => past().await,
            };
            progress.set(draw.map_or(Progress::Failed, Progress::There));
        });
    }

    /// Says that a piece did not come, and what to do.
    fn missing(self, piece: &Piece, given_up: StoredValue<bool>) -> AnyView {
        let part = piece.part();
        let again = move |_| {
            given_up.set_value(false);
            self.fetch(part);
        };
        let is_live = flag(move || self.live.link.get().is_live());
        // A server that answers and does not have the part has most likely become another.
        let said = text(move || if is_live.get() { t!(part_is_not_there) } else { t!(part_is_out_of_reach) });
        let banner = view! {
            <div class="banner bad">
                <p role="alert">{said}</p>
                <button type="button" class="plain" on:click=again>
                    {t!(try_now)}
                </button>
                <When holds=is_live>
                    <button type="button" class="plain" on:click=reload>
                        {t!(reload_to_update)}
                    </button>
                </When>
            </div>
        };
        match piece {
            Piece::Page(page) => view! {
                <main class="page">
                    <h1>{page.name()}</h1>
                    {banner}
                </main>
            }
            .into_any(),
            Piece::Groups | Piece::Shortcut(_) | Piece::Decide(..) => banner.into_any(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_but_the_first_belongs_to_a_part() {
        let of = |part: Part| -> Vec<Page> {
            let pages = Page::ALL.iter().copied().filter(|page| *page != Page::Locks);
            pages.filter(|page| Piece::Page(*page).part() == part).collect()
        };
        assert_eq!(of(Part::Past), [Page::History, Page::Incidents, Page::Lock]);
        assert!(of(Part::Aside).contains(&Page::Audit), "what is in no other part");
    }
}
