//! Installing what is missing. Everything here looks first and does nothing when it is there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::{cargo, find_program, output, run, say, step};
use crate::tools::{self, Tool};
use crate::workspace::Workspace;

const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// A program that the system's packages carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SystemProgram {
    /// The program.
    program: &'static str,
    /// Debian's package.
    package: &'static str,
}

/// Plays the demo's store, and every store in the tests.
pub(crate) const REDIS: SystemProgram = SystemProgram { program: "redis-server", package: "redis-server" };
/// Plays the store that several servers share. Its programs are outside of the `PATH`, but for this one.
const POSTGRES: SystemProgram = SystemProgram { program: "pg_ctlcluster", package: "postgresql" };
const CHROMIUM: SystemProgram = SystemProgram { program: "chromium", package: "chromium" };
const CHROMEDRIVER: SystemProgram = SystemProgram { program: "chromedriver", package: "chromium-driver" };

/// Debian's package of the letters in pictures of pages, which would differ from those that are kept with any others.
const LETTERS: &str = "fonts-dejavu-core";
const LETTERS_FILE: &str = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";

/// Where the tools that build the app are.
#[derive(Debug)]
pub(crate) struct AppTools {
    /// Folders to put in front of the `PATH`.
    pub(crate) path: Vec<PathBuf>,
    /// What makes code fit for the browser.
    pub(crate) wasm_bindgen: PathBuf,
    /// What cuts it into parts.
    pub(crate) wasm_split: PathBuf,
    /// The optimiser, if there is one.
    pub(crate) wasm_opt: Option<PathBuf>,
}

/// All that any chore needs.
pub(crate) fn everything(workspace: &Workspace) -> Result<()> {
    for_app(workspace)?;
    for_tests(workspace)?;
    say("everything is there");
    Ok(())
}

/// What building the app needs.
pub(crate) fn for_app(workspace: &Workspace) -> Result<AppTools> {
    wasm_target()?;
    let trunk = built(workspace, &Tool::trunk(), &["--locked"], "about 7 minutes, once")?;
    // Its published lock file is older than this toolchain likes, hence without `--locked`.
    let wasm_bindgen = built(workspace, &Tool::wasm_bindgen(workspace)?, &[], "about 3 minutes, once")?;
    let splitter = Tool::wasm_split();
    let wasm_split = built(workspace, &splitter, &["--locked", "--features", "build-binary"], "about 2 minutes, once")?;
    let wasm_opt = wasm_opt(workspace);
    Ok(AppTools {
        wasm_bindgen: wasm_bindgen.join("wasm-bindgen"),
        wasm_split: wasm_split.join(splitter.name),
        path: vec![trunk, wasm_bindgen],
        wasm_opt,
    })
}

/// What the tests need beyond that.
pub(crate) fn for_tests(workspace: &Workspace) -> Result<()> {
    system_programs(&[REDIS, POSTGRES, CHROMIUM, CHROMEDRIVER])?;
    let found = output("fc-match", &["DejaVu Sans"]).is_some_and(|found| found.starts_with("DejaVuSans"));
    if !found && !Path::new(LETTERS_FILE).is_file() {
        install_packages(&[LETTERS])?;
    }
    if tools::axe(&workspace.tools).is_none() && !npm(workspace, "axe-core", tools::AXE_VERSION, &[]) {
        say("without `axe-core` (from npm) the accessibility audit is skipped");
    }
    if tools::oidc_provider(&workspace.tools).is_none()
        && !npm(workspace, "oidc-provider", tools::OIDC_PROVIDER_VERSION, &[])
    {
        say("without `oidc-provider` (from npm) signing in with OpenID Connect is not tested");
    }
    let (generator, version) = (tools::CLIENT_GENERATOR, tools::CLIENT_GENERATOR_VERSION);
    if tools::client_generator(&workspace.tools).is_none() {
        npm(workspace, generator, version, &tools::CLIENT_COMPILER);
    }
    if tools::client_generator(&workspace.tools).is_none() {
        say(&format!("without `{generator}` (from npm) and node 20 no client is generated from the API's description"));
    }
    Ok(())
}

fn wasm_target() -> Result<()> {
    let libraries = output("rustc", &["--print", "target-libdir", "--target", WASM_TARGET]);
    if libraries.is_some_and(|dir| PathBuf::from(dir.trim()).is_dir()) {
        return Ok(());
    }
    if find_program("rustup").is_none() {
        bail!(
            "build for the browser: this Rust has no `{WASM_TARGET}`; install Rust with rustup, or your system's package for that target"
        );
    }
    step(&format!("add Rust's `{WASM_TARGET}` target"), "about 10 s, once", || {
        run(Command::new("rustup").args(["target", "add", WASM_TARGET]))
    })
}

/// A tool that cargo builds. Returns the folder of the program.
fn built(workspace: &Workspace, tool: &Tool, flags: &[&str], usually: &str) -> Result<PathBuf> {
    if let Some(dir) = tool.find(&workspace.tools) {
        return Ok(dir);
    }
    let folder = tool.folder(&workspace.tools);
    let by_hand = format!("cargo install {} --version {}", tool.package, tool.version);
    step(&format!("install {} {}", tool.name, tool.version), usually, || {
        // Not in the repository, whose settings are not meant for other people's tools.
        run(cargo()
            .args(["install", "--quiet", tool.package, "--version", &tool.version, "--root"])
            .arg(&folder)
            .args(flags)
            .current_dir(std::env::temp_dir())
            .env_remove("CARGO_TARGET_DIR"))
        .with_context(|| format!("install it by hand with `{by_hand}`"))
    })?;
    tool.find(&workspace.tools)
        .with_context(|| format!("find {} {} after installing it; try `{by_hand}`", tool.name, tool.version))
}

fn wasm_opt(workspace: &Workspace) -> Option<PathBuf> {
    if let Some(program) = tools::wasm_opt(&workspace.tools) {
        return Some(program);
    }
    if npm(workspace, "binaryen", tools::BINARYEN_VERSION, &[])
        && let Some(program) = tools::wasm_opt(&workspace.tools)
    {
        return Some(program);
    }
    say("without a recent `wasm-opt` (from npm's `binaryen`) the app works and is somewhat larger");
    None
}

/// Unpacks an npm package into our folder, and others beside it. What comes from there is optional, so a failure is only
/// reported.
fn npm(workspace: &Workspace, package: &str, version: &str, beside: &[&str]) -> bool {
    if find_program("npm").is_none() {
        return false;
    }
    let folder = tools::npm_folder(&workspace.tools, package, version);
    let installed = step(&format!("install {package} {version} from npm"), "about 5 s, once", || {
        std::fs::create_dir_all(&folder).with_context(|| format!("create `{}`", folder.display()))?;
        run(Command::new("npm")
            .args(["install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix"])
            .arg(&folder)
            .arg(format!("{package}@{version}"))
            .args(beside))
    });
    if let Err(error) = &installed {
        say(&format!("could not {error:#}"));
    }
    installed.is_ok()
}

/// Installs the packages of those programs that are not there.
pub(crate) fn system_programs(wanted: &[SystemProgram]) -> Result<()> {
    let packages = missing_packages(wanted, |program| find_program(program).is_some());
    if packages.is_empty() {
        return Ok(());
    }
    install_packages(&packages)?;
    let still = missing_packages(wanted, |program| find_program(program).is_some());
    if !still.is_empty() {
        bail!("find `{0}` after installing it; try `{1}`", still.join("`, `"), by_hand(&still));
    }
    Ok(())
}

/// How a person installs packages.
fn by_hand(packages: &[&str]) -> String {
    format!("sudo apt-get install {}", packages.join(" "))
}

/// Installs packages of the system.
fn install_packages(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if find_program("apt-get").is_none() {
        bail!(
            "install {}: this is no Debian or Ubuntu, so install the packages that your system has for it",
            packages.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        );
    }
    step(&format!("install {names} with apt-get"), "about a minute, once", || {
        run(&mut as_root("apt-get", &["-qq", "update"]))
            .and_then(|()| {
                let mut args = vec!["-qq", "install", "--yes", "--no-install-recommends"];
                args.extend(packages);
                run(&mut as_root("apt-get", &args))
            })
            .with_context(|| format!("install it by hand with `{}`", by_hand(packages)))
    })
}

/// The packages of those programs that are not there.
fn missing_packages(wanted: &[SystemProgram], is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    wanted.iter().filter(|wanted| !is_there(wanted.program)).map(|wanted| wanted.package).collect()
}

/// A command as root. `sudo -n` never asks: where it would, the person is told what to type instead.
fn as_root(program: &str, args: &[&str]) -> Command {
    let is_root = output("id", &["-u"]).is_some_and(|id| id.trim() == "0");
    let mut command = if is_root { Command::new("env") } else { Command::new("sudo") };
    if !is_root {
        command.args(["-n", "env"]);
    }
    command.arg("DEBIAN_FRONTEND=noninteractive").arg(program).args(args);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed() {
        let wanted = [REDIS, POSTGRES, CHROMIUM, CHROMEDRIVER];
        assert_eq!(missing_packages(&wanted, |_| true), Vec::<&str>::new());
        assert_eq!(
            missing_packages(&wanted, |program| program == "redis-server"),
            ["postgresql", "chromium", "chromium-driver"]
        );
    }
}
