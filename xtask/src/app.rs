//! Building the app that runs in the browser.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::install::{self, AppTools};
use crate::step::{forget_xtask, run, step};
use crate::workspace::Workspace;
use crate::{fingerprint, pack, tools};

/// What Rust's compiler emits for the browser and wasm-opt must be told of. Every browser of the last years knows it.
const WASM_FEATURES: [&str; 6] = [
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
];

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
        if let Some(wasm_opt) = &tools.wasm_opt {
            shrink(workspace, wasm_opt)?;
        }
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
    format!("trunk {}, wasm-opt {}", tools::TRUNK_VERSION, found.wasm_opt.is_some())
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
    // Integrity attributes would name the file before it is shrunk; it comes from the same server as the page.
    run(command
        .args(["build", "--release", "--no-sri=true", "--dist"])
        .arg(workspace.dist())
        .current_dir(folder)
        .env("PATH", path)
        .env("RUST_LOG", std::env::var_os("RUST_LOG").unwrap_or_else(|| "warn".into()))
        // Trunk accepts only `true` and `false` in this variable and stops at the customary `1`.
        .env_remove("NO_COLOR"))
}

/// Makes the app's code smaller, in place. The name keeps the fingerprint of the code before: the two are
/// interchangeable for the page that loads them.
fn shrink(workspace: &Workspace, wasm_opt: &Path) -> Result<()> {
    let wasm = only_wasm_in(&workspace.dist())?;
    let smaller = workspace.target.join("xtask").join("app.wasm");
    std::fs::create_dir_all(workspace.target.join("xtask")).context("create `target/xtask`")?;
    // The compiler has optimised for size already; what the strongest passes save in bytes they lose in compression.
    run(Command::new(wasm_opt).arg("-O1").args(WASM_FEATURES).arg(&wasm).arg("--output").arg(&smaller))?;
    std::fs::copy(&smaller, &wasm).with_context(|| format!("replace `{}`", wasm.display()))?;
    Ok(())
}

fn only_wasm_in(dist: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(dist).with_context(|| format!("list `{}`", dist.display()))?;
    let found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        _ => bail!("find the app's code: {} wasm files in `{}`, expected one", found.len(), dist.display()),
    }
}
