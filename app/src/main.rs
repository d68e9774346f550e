//! The dashboard that runs in the browser.
//!
//! [`live`] is the link to the server and the state that its frames are folded into, [`lang`] has the words of it all, [`ui`]
//! could belong to any product,
//! [`components`] know locks, [`pages`] put them together, [`parts`] are those that are fetched later. Whatever can be decided without a browser is decided in plain
//! types with tests beside them.

#![expect(unreachable_pub, reason = "the component macro makes the props of a crate-visible component public")]

mod components;
#[cfg(any(test, feature = "gallery"))]
mod fixtures;
mod lang;
mod live;
mod nav;
mod pages;
mod parts;
mod ui;

fn main() {
    // What has stopped must not look as if it were live.
    std::panic::set_hook(Box::new(|panic| components::say_stopped(&panic.to_string())));
    leptos::mount::mount_to_body(pages::App);
}
