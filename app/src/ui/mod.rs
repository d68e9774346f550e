//! Pieces that could belong to any product and know no locks.

mod copy;
mod derived;
mod drain;
mod each;
mod icon;
mod kept;
mod listbox;
mod moment;
mod skeleton;
mod theme;
mod utc;
mod when;

pub(crate) use copy::{CopyButton, button_of, copies, copies_named, copies_shown, copy_pointed, follow_copies};
pub(crate) use derived::{flag, maybe, text};
pub(crate) use drain::{Bar, Drain, DrainBar, call};
pub(crate) use each::each;
pub(crate) use icon::{Glyph, Icon};
pub(crate) use kept::{keep, kept};
pub(crate) use listbox::{Listbox, move_by_key, option_id};
pub(crate) use moment::{Moment, day, hms};
pub(crate) use skeleton::skeleton;
pub(crate) use theme::ThemeButton;
pub(crate) use utc::was_shown;
pub(crate) use when::When;
