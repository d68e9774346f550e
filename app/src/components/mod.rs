//! Pieces that know locks.

mod activity;
mod approvals;
mod attempted;
mod banner;
mod chrome;
mod drawer;
mod empty;
mod facts;
mod facts_list;
mod freeze;
mod history;
mod lock_past;
mod lock_row;
mod lock_table;
mod nav_link;
mod picture;
mod release;
pub(crate) mod say;
mod scrubber;
mod sentence;
mod strip;
mod toolbar;
mod verdict;

pub(crate) use approvals::Requests;
pub(crate) use attempted::Attempted;
pub(crate) use banner::Banners;
pub(crate) use chrome::TopBar;
pub(crate) use drawer::Drawer;
pub(crate) use history::Lines;
pub(crate) use lock_past::Added;
pub(crate) use lock_table::{LockTable, TableKeys};
pub(crate) use nav_link::NavLink;
pub(crate) use scrubber::Scrubber;
pub(crate) use strip::Strip;
pub(crate) use toolbar::Toolbar;
