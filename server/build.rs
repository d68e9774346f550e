//! Has the server built again when the app that it carries was built again.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A path that does not exist would make every build a full one, so before the app was ever built its folder is
    // watched instead: `dist` appearing in it is a change of it.
    let dist = Path::new("../app/dist");
    println!("cargo::rerun-if-changed={}", if dist.exists() { "../app/dist" } else { "../app" });
}
