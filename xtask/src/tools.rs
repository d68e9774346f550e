//! The tools that are built or fetched into our own folder: which, in which version, and where they are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::lockfile;
use crate::step::{find_program, output};
use crate::workspace::Workspace;

/// Builds the app. Fixed, because its output is what the server serves.
pub(crate) const TRUNK_VERSION: &str = "0.21.14";
/// Cuts the app into parts, where `wasm_split_helpers` in `Cargo.lock` marks them: the two read each other's marks.
pub(crate) const WASM_SPLIT_VERSION: &str = "0.2.4";
/// Shrinks the app. Newer ones are as good; this one was tried.
pub(crate) const BINARYEN_VERSION: &str = "132.0.0";
/// Audits accessibility in the browser tests.
pub(crate) const AXE_VERSION: &str = "4.14.1";

/// The OpenID Connect provider that the tests sign in with.
pub(crate) const OIDC_PROVIDER_VERSION: &str = "9.13.3";

/// Makes a client from the description of the API, for the tests.
pub(crate) const CLIENT_GENERATOR: &str = "@hey-api/openapi-ts";
/// The last that runs on node 20.
pub(crate) const CLIENT_GENERATOR_VERSION: &str = "0.95.0";

/// What checks that client and what is written against it; beside the generator, which needs the first.
pub(crate) const CLIENT_COMPILER: [&str; 2] = ["typescript@5.9.3", "@types/node@20.19.25"];

/// Older ones do not run the generator.
const OLDEST_NODE: u32 = 20;

/// Older ones (Debian 12 has 108) do not know instructions that Rust emits.
const OLDEST_WASM_OPT: u32 = 116;

/// A program in a fixed version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    /// The program.
    pub(crate) name: &'static str,
    /// What carries it: a crate or an npm package.
    pub(crate) package: &'static str,
    /// The only version that will do.
    pub(crate) version: String,
    /// Whether it tells its version; one that does not is taken from our own folder alone.
    pub(crate) tells: bool,
}

impl Tool {
    pub(crate) fn trunk() -> Tool {
        Tool { name: "trunk", package: "trunk", version: TRUNK_VERSION.to_owned(), tells: true }
    }

    pub(crate) fn wasm_split() -> Tool {
        Tool {
            name: "wasm-split-cli",
            package: "wasm_split_cli_support",
            version: WASM_SPLIT_VERSION.to_owned(),
            tells: false,
        }
    }

    /// The command line part of wasm-bindgen, which must match the library to the last digit.
    pub(crate) fn wasm_bindgen(workspace: &Workspace) -> Result<Tool> {
        let lockfile = std::fs::read_to_string(workspace.root.join("Cargo.lock")).context("read `Cargo.lock`")?;
        let version = lockfile::version_of(&lockfile, "wasm-bindgen")
            .context("find the version of `wasm-bindgen` in `Cargo.lock`: the app does not depend on it")?;
        Ok(Tool { name: "wasm-bindgen", package: "wasm-bindgen-cli", version: version.to_owned(), tells: true })
    }

    /// Our folder for this version.
    pub(crate) fn folder(&self, tools: &Path) -> PathBuf {
        tools.join(format!("{}-{}", self.name, self.version))
    }

    /// The folder that holds a program of this version: our own, or one that is on the `PATH` anyway.
    pub(crate) fn find(&self, tools: &Path) -> Option<PathBuf> {
        let own = self.folder(tools).join("bin");
        if !self.tells {
            return own.join(self.name).is_file().then_some(own);
        }
        let elsewhere = find_program(self.name).and_then(|program| program.parent().map(Path::to_owned));
        [Some(own), elsewhere].into_iter().flatten().find(|dir| {
            output(dir.join(self.name), &["--version"]).is_some_and(|said| last_word(&said) == self.version)
        })
    }
}

/// An npm package of ours, once it is unpacked.
pub(crate) fn npm_folder(tools: &Path, package: &str, version: &str) -> PathBuf {
    tools.join(format!("{package}-{version}"))
}

/// The script that audits accessibility, if it is there.
pub(crate) fn axe(tools: &Path) -> Option<PathBuf> {
    let script = npm_folder(tools, "axe-core", AXE_VERSION).join("node_modules/axe-core/axe.min.js");
    script.is_file().then_some(script)
}

/// The folder of the OpenID Connect provider, if it and what runs it are there.
pub(crate) fn oidc_provider(tools: &Path) -> Option<PathBuf> {
    let folder = npm_folder(tools, "oidc-provider", OIDC_PROVIDER_VERSION);
    let is_there = find_program("node").is_some() && folder.join("node_modules/oidc-provider/package.json").is_file();
    is_there.then_some(folder)
}

/// The folder of what makes and checks a client, if it and what runs it are there.
pub(crate) fn client_generator(tools: &Path) -> Option<PathBuf> {
    let folder = npm_folder(tools, CLIENT_GENERATOR, CLIENT_GENERATOR_VERSION);
    let runs = output("node", &["--version"]).and_then(|said| major_version(&said)).is_some_and(|v| v >= OLDEST_NODE);
    let parts = [CLIENT_GENERATOR, "typescript", "@types/node"];
    let is_there = |part: &&str| folder.join("node_modules").join(part).join("package.json").is_file();
    (runs && parts.iter().all(is_there)).then_some(folder)
}

/// A `wasm-opt` that is new enough, if there is one: ours, or one on the `PATH`.
pub(crate) fn wasm_opt(tools: &Path) -> Option<PathBuf> {
    let own = npm_folder(tools, "binaryen", BINARYEN_VERSION).join("node_modules/.bin/wasm-opt");
    [Some(own), find_program("wasm-opt")].into_iter().flatten().find(|program| {
        output(program, &["--version"]).and_then(|said| major_version(&said)).is_some_and(|v| v >= OLDEST_WASM_OPT)
    })
}

/// The first number in what a program says of its version: 20 of `v20.20.2`, 132 of `wasm-opt version 132 (version_132)`.
pub(crate) fn major_version(said: &str) -> Option<u32> {
    said.split(|letter: char| !letter.is_ascii_digit()).find(|part| !part.is_empty())?.parse().ok()
}

/// `trunk 0.21.14` → `0.21.14`.
fn last_word(said: &str) -> &str {
    said.split_whitespace().next_back().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_tools_say() {
        assert_eq!(major_version("wasm-opt version 132 (version_132)"), Some(132));
        assert_eq!(major_version("wasm-opt version 108"), Some(108));
        assert_eq!(major_version("what?"), None);
        assert_eq!(major_version("v20.20.2\n"), Some(20));
        assert_eq!(major_version("Chrome/156\n"), Some(156));
        assert_eq!(major_version("Chromium 156.0.8078.79 built on Debian GNU/Linux 12"), Some(156));
        assert_eq!(last_word("trunk 0.21.14\n"), "0.21.14");
    }

    #[test]
    fn a_tool_of_another_version_is_not_found() {
        let none = Tool { name: "sh", package: "sh", version: "0.0.0-none".to_owned(), tells: true };
        assert_eq!(none.find(Path::new("/lockkeeper-there-is-no-such-folder")), None);
        assert_eq!(none.folder(Path::new("/t")), Path::new("/t/sh-0.0.0-none"));
    }
}
