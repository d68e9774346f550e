//! Everything that must hold before a change is taken.

use anyhow::Result;

use crate::step::{cargo, run, step};
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
    // The binary and the tests in one go: asked for apart, cargo would build their dependencies twice, with
    // different features.
    step("build the server and the tests", "about 5 minutes the first time", || {
        cargo_in_root(&["build", "--workspace", "--bins", "--tests"])
    })?;
    step("run the tests", "about 5 minutes", || {
        let mut command = cargo();
        command
            .args(["test", "--workspace", "--no-fail-fast"])
            .current_dir(&workspace.root)
            .env("LOCKKEEPER_BIN", workspace.target.join("debug").join("lockkeeper"));
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
    })
}
