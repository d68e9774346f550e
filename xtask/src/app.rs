//! Building the app that runs in the browser.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::install::{self, AppTools};
use crate::step::{forget_xtask, run, step};
use crate::workspace::Workspace;
use crate::{fingerprint, pack, parts, tools};

/// Leaves the app in `app/dist`, ready to be carried by the server.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let tools = install::for_app(workspace)?;
    let stamp = workspace.target.join("xtask").join("app.stamp");
    let fingerprint = fingerprint::of(&inputs(&workspace.root), &tool_versions(&tools))?;
    let is_built = workspace.dist().join("index.html").is_file();
    if is_built && std::fs::read_to_string(&stamp).is_ok_and(|built| built == fingerprint) {
        return Ok(());
    }
    step("build the app", "about 3 minutes the first time", || {
        trunk(workspace, &tools)?;
        parts::cut(workspace, &tools)?;
        pack::join_styles(&workspace.dist())?;
        pack::compress(&workspace.dist())
    })?;
    // After the build: one that failed is tried again.
    if let Some(dir) = stamp.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("create `{}`", dir.display()))?;
    }
    std::fs::write(&stamp, fingerprint).with_context(|| format!("write `{}`", stamp.display()))
}

/// All that the app is made of.
fn inputs(root: &Path) -> Vec<PathBuf> {
    [".cargo/config.toml", "app", "model", "style", "Cargo.toml", "Cargo.lock", "Trunk.toml"]
        .iter()
        .map(|name| root.join(name))
        .collect()
}

fn tool_versions(found: &AppTools) -> String {
    let (trunk, wasm_split) = (tools::TRUNK_VERSION, tools::WASM_SPLIT_VERSION);
    format!("trunk {trunk}, wasm-split {wasm_split}, wasm-opt {}", found.wasm_opt.is_some())
}

fn trunk(workspace: &Workspace, tools: &AppTools) -> Result<()> {
    // Trunk fetches a tool that it does not find on the `PATH` in the right version, so they come first there.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(tools.path.iter().cloned().chain(std::env::split_paths(&path)))
        .context("put the tools on the `PATH`")?;
    let program = tools.path.first().context("find trunk")?.join("trunk");
    let folder =
        if workspace.root.join("Trunk.toml").is_file() { workspace.root.clone() } else { workspace.root.join("app") };
    let mut command = Command::new(program);
    forget_xtask(&mut command);
    // Integrity attributes would name the code before it is cut and shrunk; it comes from the same server as the page.
    run(command
        .args(["build", "--release", "--no-sri=true", "--features", "parts", "--dist"])
        .arg(workspace.dist())
        .current_dir(folder)
        .env("PATH", path)
        .env("RUST_LOG", std::env::var_os("RUST_LOG").unwrap_or_else(|| "warn".into()))
        // Trunk accepts only `true` and `false` in this variable and stops at the customary `1`.
        .env_remove("NO_COLOR"))
}
