//! Pieces that know locks.

mod banner;
mod chrome;
mod drawer;
mod empty;
mod facts;
mod facts_list;
mod history;
mod lock_row;
mod lock_table;
mod picture;
mod release;
mod say;
mod sentence;
mod strip;
mod toolbar;
mod verdict;

pub(crate) use banner::Banners;
pub(crate) use chrome::TopBar;
pub(crate) use drawer::Drawer;
pub(crate) use lock_table::{LockTable, TableKeys};
pub(crate) use strip::Strip;
pub(crate) use toolbar::Toolbar;
