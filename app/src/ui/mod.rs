//! Pieces that could belong to any product and know no locks.

mod copy;
mod derived;
mod drain;
mod each;
mod icon;
mod moment;
mod theme;
mod when;

pub(crate) use copy::CopyButton;
pub(crate) use derived::{flag, maybe, text};
pub(crate) use drain::{Drain, DrainBar};
pub(crate) use each::each;
pub(crate) use icon::{Glyph, Icon};
pub(crate) use moment::{Moment, day, hms};
pub(crate) use theme::ThemeButton;
pub(crate) use when::When;
