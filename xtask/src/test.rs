//! Everything that must hold before a change is taken.

use std::process::Command;

use anyhow::Result;

use crate::args::Pictures;
use crate::step::{cargo, output, run, say, step};
use crate::workspace::Workspace;
use crate::{app, dependencies, install, tools};

/// Runs every check; the first that fails ends it. Cheap ones come first.
pub(crate) fn everything(workspace: &Workspace) -> Result<()> {
    let cargo_in_root = |args: &[&str]| run(cargo().args(args).current_dir(&workspace.root));

    step("check the format", "", || cargo_in_root(&["fmt", "--all", "--check"]))?;
    step("check the dependencies", "", || dependencies::check(workspace))?;
    install::for_tests(workspace)?;
    // First, because the server carries it: without it the server's own code is another.
    app::build(workspace)?;
    step("lint what runs in the browser", "about a minute the first time", || {
        cargo_in_root(&[
            "clippy",
            "--quiet",
            "--package",
            "lockkeeper-model",
            "--package",
            "lockkeeper-app",
            "--target",
            "wasm32-unknown-unknown",
            "--",
            "--deny",
            "warnings",
        ])
    })?;
    step("lint everything else", "about 3 minutes the first time", || {
        cargo_in_root(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"])
    })?;
    build_tests(workspace)?;
    step("run the tests", "about 8 minutes", || {
        let mut command = tests(workspace);
        command.arg("--no-fail-fast");
        if let Some(axe) = tools::axe(&workspace.tools) {
            command.env("LOCKKEEPER_AXE", axe);
        }
        if let Some(provider) = tools::oidc_provider(&workspace.tools) {
            command.env("LOCKKEEPER_OIDC_PROVIDER", provider);
        }
        if let Some(generator) = tools::client_generator(&workspace.tools) {
            command.env("LOCKKEEPER_CLIENT_GENERATOR", generator);
        }
        run(&mut command)
    })?;
    // By themselves: a page that waits for a busy machine says other things than the one that was kept.
    match other_browser(workspace) {
        None => look_at_pages(workspace, Pictures::Check),
        Some(why) => {
            say(&format!("the pictures of the pages are not compared: {why}"));
            Ok(())
        }
    }
}

/// Why the pictures in `docs/pictures` cannot be compared here, if they cannot: each version of the browser draws letters and
/// fields in its own way.
fn other_browser(workspace: &Workspace) -> Option<String> {
    let kept = std::fs::read_to_string(workspace.root.join("docs/pictures/browser.txt")).unwrap_or_default();
    let here = output("chromium", &["--version"]).unwrap_or_default();
    let (drew, draws) = (tools::major_version(&kept), tools::major_version(&here));
    (drew.is_none() || drew != draws).then(|| {
        let version = |number: Option<u32>| number.map_or("an unknown version".to_owned(), |number| number.to_string());
        format!("Chromium {} drew them, and here is {}", version(drew), version(draws))
    })
}

/// Takes the pictures in `docs/pictures` anew, or compares the pages with them. Those that would differ by less than is tolerated
/// stay as they are.
pub(crate) fn pictures(workspace: &Workspace, mode: Pictures) -> Result<()> {
    install::for_tests(workspace)?;
    app::build(workspace)?;
    build_tests(workspace)?;
    look_at_pages(workspace, mode)
}

fn look_at_pages(workspace: &Workspace, mode: Pictures) -> Result<()> {
    let (title, word) = match mode {
        Pictures::Take => ("take the pictures", "renew"),
        Pictures::Check => ("compare the pictures", "compare"),
    };
    step(title, "about 2 minutes", || {
        run(tests(workspace).args(["--test", "end_to_end", "--", "pictures::"]).env("LOCKKEEPER_PICTURES", word))
    })
}

/// The binary and the tests in one go: asked for apart, cargo would build their dependencies twice, with different
/// features.
fn build_tests(workspace: &Workspace) -> Result<()> {
    step("build the server and the tests", "about 5 minutes the first time", || {
        run(cargo().args(["build", "--workspace", "--bins", "--tests"]).current_dir(&workspace.root))
    })
}

/// Cargo, about to run tests against the binary that was built.
fn tests(workspace: &Workspace) -> Command {
    let mut command = cargo();
    command
        .args(["test", "--workspace"])
        .current_dir(&workspace.root)
        .env("LOCKKEEPER_BIN", workspace.target.join("debug").join("lockkeeper"));
    command
}
