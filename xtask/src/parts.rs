//! Cutting the app into what the first page needs and what is fetched later.
//!
//! Trunk leaves the page, its styles and the app's code as the compiler made it. That code is cut where the app says so
//! (`app/src/parts.rs`), before wasm-bindgen makes the first part fit for the browser: the cuts follow relocations and
//! names, which neither wasm-bindgen nor wasm-opt keeps.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::install::AppTools;
use crate::pack;
use crate::step::run;
use crate::workspace::Workspace;

/// What Rust's compiler emits for the browser and wasm-opt must be told of. Every browser of the last years knows it.
const WASM_FEATURES: [&str; 6] = [
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
];

/// What the files are called while they are made.
const NAME: &str = "app";
/// What the splitter calls the script that fetches the parts.
const LOADER: &str = "__wasm_split.js";
const PAGE: &str = "index.html";

/// Replaces the code that trunk left by its parts.
pub(crate) fn cut(workspace: &Workspace, tools: &AppTools) -> Result<()> {
    let folder = workspace.target.join("xtask").join("parts");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("empty `{}`", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("create `{}`", folder.display()))?;
    let compiled = workspace.target.join("wasm32-unknown-unknown").join("wasm").join("lockkeeper-app.wasm");
    run(Command::new(&tools.wasm_split).args(["--target", "web", "--out-name", NAME]).arg(&compiled).arg(&folder))?;
    let first = folder.join(format!("{NAME}.wasm"));
    run(Command::new(&tools.wasm_bindgen)
        // The parts find what they share with the first among its exports, by their names.
        .args(["--target", "web", "--keep-lld-exports", "--no-demangle", "--remove-name-section", "--no-typescript"])
        .args(["--out-name", NAME, "--out-dir"])
        .arg(&folder)
        .arg(&first))?;
    fs::remove_file(&first).with_context(|| format!("remove `{}`", first.display()))?;
    if let Some(wasm_opt) = &tools.wasm_opt {
        for wasm in files_in(&folder, "wasm")? {
            shrink(wasm_opt, &wasm)?;
        }
    }
    put_in_place(&folder, &workspace.dist())
}

fn shrink(wasm_opt: &Path, wasm: &Path) -> Result<()> {
    let smaller = wasm.with_extension("smaller");
    // The compiler has optimised for size already; what the strongest passes save in bytes they lose in compression.
    run(Command::new(wasm_opt).arg("-O1").args(WASM_FEATURES).arg(wasm).arg("--output").arg(&smaller))?;
    fs::rename(&smaller, wasm).with_context(|| format!("replace `{}`", wasm.display()))
}

/// Puts the parts into `dist` in place of the one that is there.
///
/// All of them have the hash of them all in their names: a part fits only the others that it was cut with, so those of
/// another build are never taken for it.
fn put_in_place(folder: &Path, dist: &Path) -> Result<()> {
    let (wasms, scripts) = (files_in(folder, "wasm")?, files_in(folder, "js")?);
    let mut hasher = DefaultHasher::new();
    for file in wasms.iter().chain(&scripts) {
        name_of(file).hash(&mut hasher);
        fs::read(file).with_context(|| format!("read `{}`", file.display()))?.hash(&mut hasher);
    }
    let page = dist.join(PAGE);
    let html = fs::read_to_string(&page).with_context(|| format!("read `{}`", page.display()))?;
    let [former_wasm] = files_in(dist, "wasm")?.try_into().map_err(|found: Vec<PathBuf>| {
        anyhow::anyhow!("find the app's code: {} wasm files in `{}`, expected one", found.len(), dist.display())
    })?;
    let Some(former) = name_of(&former_wasm).strip_suffix("_bg.wasm").map(str::to_owned) else {
        bail!("find the app's code: `{}` is not called …_bg.wasm", former_wasm.display());
    };
    let stem = format!("lockkeeper-app-{:016x}", hasher.finish());
    for file in [former_wasm, dist.join(format!("{former}.js"))] {
        fs::remove_file(&file).with_context(|| format!("remove `{}`", file.display()))?;
    }
    for wasm in &wasms {
        let to = dist.join(named(name_of(wasm), &stem));
        fs::copy(wasm, &to).with_context(|| format!("write `{}`", to.display()))?;
    }
    let names: Vec<&str> = wasms.iter().chain(&scripts).map(|file| name_of(file)).collect();
    for script in &scripts {
        let said = fs::read_to_string(script).with_context(|| format!("read `{}`", script.display()))?;
        let to = dist.join(named(name_of(script), &stem));
        fs::write(&to, renamed(&pack::squeezed(&said), &names, &stem))
            .with_context(|| format!("write `{}`", to.display()))?;
    }
    // Asked for together with the script that imports it, instead of after that has come.
    let preload = format!("<link crossorigin href=/{} rel=modulepreload></head>", named(LOADER, &stem));
    let html = html.replace(&former, &stem).replacen("</head>", &preload, 1);
    fs::write(&page, html).with_context(|| format!("write `{}`", page.display()))
}

/// `split_past.wasm` → `lockkeeper-app-0123456789abcdef_split_past.wasm`; the first keeps the name that trunk's page asks for.
fn named(file: &str, stem: &str) -> String {
    match file.strip_prefix(NAME) {
        Some(rest) => format!("{stem}{rest}"),
        None => format!("{stem}_{}", file.trim_start_matches('_')),
    }
}

/// A script that asks for the others by the names that they have now. What the code itself calls them stays: the browser is
/// told of each import by that name.
fn renamed(script: &str, files: &[&str], stem: &str) -> String {
    let mut script = script.to_owned();
    for file in files {
        for before in ["from ", "new URL("] {
            script = script.replace(&format!("{before}\"./{file}\""), &format!("{before}\"./{}\"", named(file, stem)));
        }
    }
    script
}

/// The files of a kind, in the order of their names.
fn files_in(folder: &Path, kind: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list `{}`", folder.display()))? {
        let path = entry.with_context(|| format!("list `{}`", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == kind) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn name_of(file: &Path) -> &str {
    file.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_take_the_place_of_the_whole_under_names_that_change_with_any_of_them() {
        let folder = std::env::temp_dir().join(format!("lockkeeper-parts-{}", std::process::id()));
        let dist = folder.join("dist");
        let place = |part: &str| {
            fs::create_dir_all(&dist).unwrap();
            fs::write(dist.join(PAGE), "<head><link href=/x-1_bg.wasm><link href=/x-1.js></head>").unwrap();
            fs::write(dist.join("x-1_bg.wasm"), "whole").unwrap();
            fs::write(dist.join("x-1.js"), "whole").unwrap();
            fs::write(folder.join("app_bg.wasm"), "first").unwrap();
            fs::write(folder.join("split_past.wasm"), part).unwrap();
            let script =
                "import * as import1 from \"./__wasm_split.js\"\nconst by = { \"./__wasm_split.js\": import1 };";
            fs::write(folder.join("app.js"), script).unwrap();
            let loader =
                "import { initSync } from \"./app.js\";\nfetch(new URL(\"./split_past.wasm\", import.meta.url));";
            fs::write(folder.join(LOADER), loader).unwrap();
            put_in_place(&folder, &dist).unwrap();
            let html = fs::read_to_string(dist.join(PAGE)).unwrap();
            let (_, rest) = html.split_once("href=/").unwrap();
            rest.split_once("_bg.wasm").unwrap().0.to_owned()
        };
        let stem = place("one");
        let read = |name: &str| fs::read_to_string(dist.join(name)).unwrap();
        assert_eq!(read(&format!("{stem}_bg.wasm")), "first");
        assert_eq!(read(&format!("{stem}_split_past.wasm")), "one");
        let script = read(&format!("{stem}.js"));
        assert!(script.contains(&format!("from \"./{stem}_wasm_split.js\"")), "{script}");
        assert!(script.contains("{ \"./__wasm_split.js\": import1 }"), "the code calls it so: {script}");
        let loader = read(&format!("{stem}_wasm_split.js"));
        assert!(loader.contains(&format!("from \"./{stem}.js\"")), "{loader}");
        assert!(loader.contains(&format!("new URL(\"./{stem}_split_past.wasm\", ")), "{loader}");
        let page = read(PAGE);
        assert!(page.contains(&format!("href=/{stem}.js>")), "{page}");
        assert!(page.contains(&format!("href=/{stem}_wasm_split.js rel=modulepreload")), "{page}");
        assert!(!dist.join("x-1.js").exists() && !dist.join("x-1_bg.wasm").exists());

        fs::remove_dir_all(&dist).unwrap();
        assert_ne!(place("two"), stem, "the names of all change with one");
        fs::remove_dir_all(&folder).unwrap();
    }
}
