//! Pieces that know locks.

mod approvals;
mod attempted;
mod banner;
mod chrome;
mod drawer;
mod empty;
mod facts;
mod facts_list;
mod history;
mod lock_row;
mod lock_table;
mod nav_link;
mod palette;
mod picture;
mod release;
mod say;
mod search;
mod selection;
mod sentence;
mod strip;
mod toolbar;
mod verdict;
mod view_menu;

pub(crate) use approvals::Requests;
pub(crate) use attempted::Attempted;
pub(crate) use banner::Banners;
pub(crate) use chrome::TopBar;
pub(crate) use drawer::Drawer;
pub(crate) use lock_table::{LockTable, TableKeys};
pub(crate) use nav_link::NavLink;
pub(crate) use palette::Palette;
pub(crate) use search::Typed;
pub(crate) use selection::{Selecting, SelectionBar};
pub(crate) use strip::Strip;
pub(crate) use toolbar::Toolbar;
pub(crate) use view_menu::Kept;
