use leptos::prelude::*;

/// The drawings of the page.
#[derive(Clone, Copy)]
pub(crate) enum Glyph {
    /// The gate of a canal lock.
    Gate,
    /// A magnifying glass.
    Search,
    /// A cross.
    Close,
    /// A half-filled circle.
    Contrast,
    /// Two bars.
    Pause,
    /// A triangle.
    Play,
}

impl Glyph {
    fn path(self) -> &'static str {
        match self {
            Glyph::Gate => "M3 20V9l5-3v14M21 20V9l-5-3v14M8 12h8M3 20h18",
            Glyph::Search => "M5 11a6 6 0 1 0 12 0a6 6 0 1 0-12 0M16 16l5 5",
            Glyph::Close => "M6 6l12 12M18 6L6 18",
            Glyph::Contrast => "M4 12a8 8 0 1 0 16 0a8 8 0 1 0-16 0M12 4v16M12 8h4.5M12 12h8M12 16h4.5",
            Glyph::Pause => "M9 5v14M15 5v14",
            Glyph::Play => "M8 5l11 7l-11 7z",
        }
    }
}

/// A drawing beside a word; it says nothing by itself.
#[component]
pub(crate) fn Icon(
    /// Which.
    glyph: Glyph,
) -> impl IntoView {
    view! {
        <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
            <path d=glyph.path() />
        </svg>
    }
}
